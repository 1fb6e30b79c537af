/*
 * candidates.c
 *	  Length configurations as individuals of an evolutionary search, and their Pareto frontier.
 *
 * Arithmetic on configurations only; search.c drives it (arXiv 2010.07003, section 3.2):
 *
 *		mutation	from the first layer to the last, with a given chance each, a layer gets a
 *					length drawn between the next one's (of the parent) and the one before's
 *					(of the child): the child never grows
 *		crossover	means of both parents' lengths, rounded up
 *
 * Where the head reads [CLS] alone, the last layer runs for that token only
 * (forward.c) and its length is without effect; it repeats the one before, so
 * that each configuration has one spelling.  Such configurations are bred by
 * their first L - 1 lengths: were the repeated length a bound, the layer before
 * could never shrink.
 *
 * As in the authors' code nothing cheaper than the smallest configuration is
 * tried: training has not been there.
 */
#include "candidates.h"

#include <math.h>
#include <string.h>

#define SHORTEST 2				/* as lat_scale_lengths: [CLS] and one more */

/* ---- the space ---------------------------------------------------------------------------- */

static double
fraction_of(const LatSpace *space, const int32_t *lengths)
{
	return lat_cost(space->config, space->reference_length, lengths, space->cls_only) / space->full;
}

void
lat_space_init(LatSpace *space, const LatConfig *config, const LatSearchOptions *options)
{
	int32_t		smallest[LAT_MAX_LAYERS];
	bool		cls_only = config->task == LAT_CLASSIFY;

	*space = (LatSpace) {
		.config = config,.reference_length = options->reference_length,.cls_only = cls_only,
		.free_layers = config->layers - (cls_only ? 1 : 0),
		.full = lat_cost(config, options->reference_length, NULL, cls_only),
		.paper_full = lat_paper_cost(config, options->reference_length, NULL)
	};
	lat_space_ratio(space, 1 - options->length_drop, smallest);
	space->floor = fraction_of(space, smallest);
}

/* Give the layer whose length is without effect the one before's. */
static void
spell(const LatSpace *space, int32_t *lengths)
{
	if (space->cls_only)
		lengths[space->free_layers] = space->free_layers > 0 ?
			lengths[space->free_layers - 1] : space->reference_length;
}

void
lat_space_ratio(const LatSpace *space, double ratio, int32_t *lengths)
{
	int32_t		length = space->reference_length;

	for (int i = 0; i < space->free_layers; i++)
	{
		/* 0.6 * 5 must stay 3, whatever the last bit of the product says */
		double		kept = ceil(length * ratio - 1e-9);

		if (kept < length)
			length = kept < SHORTEST ? SHORTEST : (int32_t) kept;
		lengths[i] = length;
	}
	spell(space, lengths);
}

void
lat_space_mutate(const LatSpace *space, const int32_t *parent, double chance, LatRandom random,
				 int32_t *child)
{
	int32_t		before = space->reference_length;

	for (int i = 0; i < space->free_layers; i++)
	{
		int32_t		next = i + 1 < space->free_layers ? parent[i + 1] : SHORTEST;

		child[i] = parent[i];
		if (lat_random_double(random, 2 * i) < chance)
			child[i] = next + (int32_t) lat_random_below(random, 2 * i + 1,
														 (uint32_t) (before - next + 1));
		before = child[i];
	}
	spell(space, child);
}

void
lat_space_cross(const LatSpace *space, const int32_t *a, const int32_t *b, int32_t *child)
{
	for (int i = 0; i < space->free_layers; i++)
		child[i] = (a[i] + b[i] + 1) / 2;
	spell(space, child);
}

/* ---- the population ----------------------------------------------------------------------- */

uint32_t
lat_population_table_size(int32_t capacity)
{
	uint32_t	size = 16;

	while (size < 2 * (uint32_t) capacity)
		size *= 2;
	return size;
}

/* Where these lengths stand in the table, or the empty place where they belong. */
static uint32_t
find_place(const LatPopulation *population, const int32_t *lengths)
{
	int			layers = population->space->config->layers;
	uint64_t	hash = 0;
	uint32_t	place;

	for (int i = 0; i < layers; i++)
		hash = lat_random_mix(hash ^ (uint32_t) lengths[i]);
	place = (uint32_t) hash & (population->table_size - 1);
	while (population->table[place] != 0)
	{
		const LatCandidate *met = &population->candidates[population->table[place] - 1];

		if (memcmp(met->lengths, lengths, layers * sizeof(int32_t)) == 0)
			break;
		place = (place + 1) & (population->table_size - 1);
	}
	return place;
}

void
lat_population_index(LatPopulation *population)
{
	memset(population->table, 0, population->table_size * sizeof(int32_t));
	for (int32_t i = 0; i < *population->count; i++)
		population->table[find_place(population, population->candidates[i].lengths)] = i + 1;
}

bool
lat_population_add(LatPopulation *population, const int32_t *lengths)
{
	const LatSpace *space = population->space;
	uint32_t	place = find_place(population, lengths);
	double		fraction = fraction_of(space, lengths);
	LatCandidate *candidate;

	if (population->table[place] != 0 || fraction < space->floor ||
		*population->count == population->capacity)
		return false;
	candidate = &population->candidates[*population->count];
	*candidate = (LatCandidate) {
		.fraction = fraction,
		.mean_fraction = NAN,
		.paper_fraction = lat_paper_cost(space->config, space->reference_length, lengths) /
			space->paper_full,
		.selection = NAN,.quality = NAN,.quality_low = NAN,.quality_high = NAN
	};
	memcpy(candidate->lengths, lengths, space->config->layers * sizeof(int32_t));
	population->table[place] = ++*population->count;
	return true;
}

/* ---- the frontier ------------------------------------------------------------------------- */

/* Does a come before b: cheaper, then better, then met earlier? */
static bool
comes_before(const double *costs, const double *qualities, int32_t a, int32_t b)
{
	if (costs[a] != costs[b])
		return costs[a] < costs[b];
	if (qualities[a] != qualities[b])
		return qualities[a] > qualities[b];
	return a < b;
}

/* Let the member at `from` of a heap whose first is the last in order sink to its place. */
static void
sink(const double *costs, const double *qualities, int32_t *members, int from, int count)
{
	for (int child = 2 * from + 1; child < count; child = 2 * from + 1)
	{
		int32_t		moved = members[from];

		if (child + 1 < count && comes_before(costs, qualities, members[child], members[child + 1]))
			child++;
		if (!comes_before(costs, qualities, moved, members[child]))
			return;
		members[from] = members[child];
		members[child] = moved;
		from = child;
	}
}

/* Heapsort: libc's qsort may allocate. */
static void
sort_points(const double *costs, const double *qualities, int32_t *members, int count)
{
	for (int i = count / 2 - 1; i >= 0; i--)
		sink(costs, qualities, members, i, count);
	for (int last = count - 1; last > 0; last--)
	{
		int32_t		moved = members[last];

		members[last] = members[0];
		members[0] = moved;
		sink(costs, qualities, members, 0, last);
	}
}

int
lat_pareto_frontier(const double *costs, const double *qualities, int count, int32_t *frontier)
{
	int			sorted = 0;
	int			kept = 0;

	for (int32_t i = 0; i < count; i++)
		if (!isnan(qualities[i]))
			frontier[sorted++] = i;
	sort_points(costs, qualities, frontier, sorted);
	for (int i = 0; i < sorted; i++)
		if (kept == 0 || qualities[frontier[i]] > qualities[frontier[kept - 1]])
			frontier[kept++] = frontier[i];
	return kept;
}

double
lat_pareto_area(const double *costs, const double *qualities, const int32_t *frontier, int count)
{
	double		area = 0;

	for (int i = 0; i < count; i++)
	{
		double		from = fmin(costs[frontier[i]], 1);
		double		to = i + 1 < count ? fmin(costs[frontier[i + 1]], 1) : 1;

		area += (to - from) * qualities[frontier[i]];
	}
	return area;
}
