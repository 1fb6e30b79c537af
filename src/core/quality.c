/*
 * quality.c
 *	  Quality of a configuration out of its outcomes, and how certain it is.
 *
 * Quality is 2 sum(hits) / (sum(predicted) + sum(actual)): where each example
 * counts one prediction and one truth it is the mean of hits, for tags it is F1 of
 * all entities.
 *
 * The interval is the percentile bootstrap: examples are drawn with replacement,
 * as many as there are, 1,000 times, and the middle 95 % of the qualities are
 * taken.  Large data are dealt out into GROUPS groups first, of which sums are
 * drawn instead of examples: the interval's own uncertainty from so many groups is
 * that of 1,000 draws, and the time no longer depends on the size of the data.
 */
#include "lat_training.h"
#include "random.h"

#define GROUPS 2048
#define DRAWS 1000
#define CUT_OFF 25				/* draws on either side: 2.5 % */
#define RANDOM_SITE 0x626f6f74u /* "boot": no other user of the seed draws there */

typedef struct Sums
{
	double		hits;
	double		total;			/* predicted + actual */
} Sums;

static void
add_outcome(Sums *sums, const LatOutcome *outcome)
{
	sums->hits += (double) outcome->hits;
	sums->total += (double) outcome->predicted + (double) outcome->actual;
}

static double
quality_of(const Sums *sums)
{
	return sums->total > 0 ? 2 * sums->hits / sums->total : 0;
}

double
lat_quality(const LatOutcome *outcomes, int32_t count)
{
	Sums		sums = {0, 0};

	for (int32_t i = 0; i < count; i++)
		add_outcome(&sums, &outcomes[i]);
	return quality_of(&sums);
}

/* Put a value into a sorted list of n. */
static void
insert_sorted(double *sorted, int n, double value)
{
	int			i = n;

	for (; i > 0 && sorted[i - 1] > value; i--)
		sorted[i] = sorted[i - 1];
	sorted[i] = value;
}

void
lat_quality_interval(const LatOutcome *outcomes, int32_t count, uint64_t seed, double *low,
					 double *high)
{
	Sums		groups[GROUPS];
	double		drawn[DRAWS];
	uint32_t	used = count < GROUPS ? (uint32_t) count : GROUPS;

	for (uint32_t i = 0; i < used; i++)
		groups[i] = (Sums) {0, 0};
	for (int32_t i = 0; i < count; i++)
		add_outcome(&groups[i % GROUPS], &outcomes[i]);
	for (int draw = 0; draw < DRAWS; draw++)
	{
		LatRandom	random = lat_random(seed, (uint32_t) draw, 0, 0, RANDOM_SITE);
		Sums		sums = {0, 0};

		for (uint32_t i = 0; i < used; i++)
		{
			const Sums *group = &groups[lat_random_below(random, i, used)];

			sums.hits += group->hits;
			sums.total += group->total;
		}
		insert_sorted(drawn, draw, quality_of(&sums));
	}
	*low = drawn[CUT_OFF];
	*high = drawn[DRAWS - 1 - CUT_OFF];
}

const char *
lat_metric_name(LatTask task, bool labelled)
{
	if (!labelled || task == LAT_EMBED)
		return "agreement";
	return task == LAT_CLASSIFY ? "accuracy" : "f1";
}
