/*
 * made_up.h
 *	  Made-up outcomes, for tests of the search that need thousands of evaluations.
 *
 * They stand in for lat_evaluate.  An example is known by its token ids; how often
 * each was tried in full is counted.
 */
#ifndef MADE_UP_H
#define MADE_UP_H

#include "core/random.h"
#include "core/lat_training.h"

#define EXAMPLES 700

static uint32_t tried_in_full[EXAMPLES];
static uint64_t evaluations;

/* Chance that an example comes out right under these lengths: some layers matter more. */
static double
chance_right(const int32_t *lengths, int layers, int32_t reference_length)
{
	double		loss = 0;

	for (int i = 0; i < layers; i++)
	{
		double		dropped = 1 - (double) lengths[i] / reference_length;

		loss += dropped * dropped * (i % 2 ? 0.25 : 0.05) / layers;
	}
	return 0.9 - 3 * loss;
}

static int32_t
example_number(const LatExample *example)
{
	return example->ids[1] * 64 + example->ids[2];
}

/* Right or wrong: mostly the same examples are hard under every configuration. */
static bool
is_right(const int32_t *lengths, int layers, int32_t reference_length, int32_t number)
{
	uint64_t	key = 0;
	double		noise;

	for (int i = 0; i < layers; i++)
		key = lat_random_mix(key ^ (uint64_t) lengths[i]);
	noise = lat_random_double(lat_random(key, (uint32_t) number, 0, 0, 0), 0);
	return lat_random_double(lat_random(77, (uint32_t) number, 0, 0, 0), 0) + 0.1 * (noise - 0.5) <
		chance_right(lengths, layers, reference_length);
}

static LatStatus
evaluate_made_up(LatEngine *engine, const LatModel *model, const LatExamples *examples,
				 int32_t first, int32_t count, const int32_t *lengths, int32_t reference_length,
				 const float *references, LatOutcome *outcomes, LatError *error)
{
	int			layers = model->config.layers;

	for (int32_t i = 0; i < count; i++)
	{
		LatExample	example;
		int32_t		number;

		lat_examples_get(examples, first + i, &example);
		number = example_number(&example);
		outcomes[i] = (LatOutcome) {
			is_right(lengths, layers, reference_length, number), 1, 1,
			(float) lengths[layers - 1]
		};
		if (lengths[layers - 1] == reference_length)
			__atomic_fetch_add(&tried_in_full[number], 1, __ATOMIC_RELAXED);
	}
	__atomic_fetch_add(&evaluations, (uint64_t) count, __ATOMIC_RELAXED);
	return LAT_OK;
}

#endif							/* MADE_UP_H */
