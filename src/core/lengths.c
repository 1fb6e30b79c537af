/*
 * lengths.c
 *	  Length configurations: scaling to a text, cost in multiply-adds, choice under a budget.
 *
 * A configuration is a non-increasing tuple of lengths, one a layer, at a
 * reference length N (arXiv 2010.07003 section 3.1).  Its fraction is its cost
 * over the cost in full, both as lat_forward executes them.
 */
#include "lat.h"


#define SHORTEST 2				/* [CLS] and one more: an attention over one token has no choice */

void
lat_scale_lengths(const int32_t *lengths, int layers, int32_t reference_length, int32_t tokens,
				  int32_t *scaled)
{
	int32_t		before = tokens;

	for (int i = 0; i < layers; i++)
	{
		int64_t		kept = ((int64_t) tokens * lengths[i] + reference_length - 1) / reference_length;

		kept = kept < SHORTEST ? SHORTEST : kept;
		before = kept < before ? (int32_t) kept : before;
		scaled[i] = before;
	}
}

LatStatus
lat_check_lengths(const LatConfig *config, const int32_t *lengths, int count, LatError *error)
{
	if (count != config->layers)
		return lat_hint(error,
						lat_fail(error, LAT_BAD_ARGUMENT, "%d lengths for a model of %d layers",
								 count, config->layers),
						"Give one length a layer.");
	for (int i = 0; i < count; i++)
	{
		if (lengths[i] < 1)
			return lat_hint(error,
							lat_fail(error, LAT_BAD_ARGUMENT, "length %d of layer %d is below 1",
									 lengths[i], i),
							"A layer keeps at least one token.");
		if (i > 0 && lengths[i] > lengths[i - 1])
			return lat_hint(error,
							lat_fail(error, LAT_BAD_ARGUMENT,
									 "length %d of layer %d is above %d of the layer before",
									 lengths[i], i, lengths[i - 1]),
							"Lengths never grow: a dropped token does not come back.");
	}
	return LAT_OK;
}

/*
 * One layer: t tokens come in, `queries` of them ask, `kept` of them go on.
 * Projections, both products of the attention, feed-forward.
 */
static double
layer_cost(const LatConfig *config, double t, double queries, double projected, double kept)
{
	double		h = config->hidden;

	return 2 * t * h * h		/* keys, values */
		+ queries * h * h		/* queries */
		+ 2 * queries * t * h	/* scores, weighted values */
		+ projected * h * h		/* output projection */
		+ 2 * kept * h * config->intermediate;
}

/* The head, and ELECTRA's embedding projection. */
static double
ends_cost(const LatConfig *config, double tokens)
{
	double		h = config->hidden;
	double		cost = 0;

	if (config->embedding != config->hidden)
		cost += tokens * config->embedding * h;
	if (config->task == LAT_CLASSIFY)
		cost += (config->head_activation != LAT_IDENTITY ? h * h : 0) + h * config->labels;
	else
		cost += tokens * h * config->labels;
	return cost;
}

static double
kept_tokens(double before, const int32_t *lengths, int layer)
{
	return lengths && lengths[layer] < before ? lengths[layer] : before;
}

double
lat_cost(const LatConfig *config, int32_t tokens, const int32_t *lengths, bool cls_only)
{
	double		cost = ends_cost(config, tokens);
	double		t = tokens;

	for (int i = 0; i < config->layers; i++)
	{
		bool		cls_layer = cls_only && config->task == LAT_CLASSIFY && i == config->layers - 1;
		double		kept = cls_layer ? 1 : kept_tokens(t, lengths, i);

		cost += layer_cost(config, t, cls_layer ? 1 : t, kept, kept);
		t = kept;
	}
	return cost;
}

double
lat_paper_cost(const LatConfig *config, int32_t tokens, const int32_t *lengths)
{
	double		cost = ends_cost(config, tokens);
	double		t = tokens;

	for (int i = 0; i < config->layers; i++)
	{
		double		kept = kept_tokens(t, lengths, i);

		cost += layer_cost(config, t, t, t, kept);
		t = kept;
	}
	return cost;
}

int
lat_choose_point(const LatPoint *points, int count, double budget, bool *over_budget)
{
	int			best = LAT_CHOOSE_FULL;
	int			cheapest = LAT_CHOOSE_FULL;

	*over_budget = false;
	if (budget >= 1)
		return LAT_CHOOSE_FULL;
	for (int i = 0; i < count; i++)
	{
		const LatPoint *point = &points[i];

		if (cheapest < 0 || point->fraction < points[cheapest].fraction)
			cheapest = i;
		if (point->fraction > budget)
			continue;
		if (best < 0 || point->quality > points[best].quality ||
			(point->quality == points[best].quality && point->fraction < points[best].fraction))
			best = i;
	}
	*over_budget = best < 0;
	return best < 0 ? cheapest : best;
}
