/*
 * training_plan.c
 *	  What a step works on: its batch, who runs which example, its sub-models.
 *
 * Every process works the plan out for itself.  It depends on the run's seed and
 * the step alone, so all come to the same.
 */
#include <math.h>
#include <string.h>

#include "train.h"

/* ---- sub-models --------------------------------------------------------------------------- */

/* ceil(before * (1 - p)), whatever the product's last bit is */
static int32_t
shortest(int32_t before, double p)
{
	return (int32_t) fmax(1, ceil(before * (1 - p) - 1e-9));
}

void
lat_smallest_lengths(int layers, double p, int32_t reference_length, uint64_t skipped,
					 int32_t *lengths)
{
	int32_t		before = reference_length;

	for (int i = 0; i < layers; i++)
		lengths[i] = before = skipped >> i & 1 ? before : shortest(before, p);
}

/* Each length uniform in ceil(before * (1 - p)) .. before. */
static void
random_lengths(LatTrainer *trainer, int64_t step, int model)
{
	const LatTrainOptions *options = &trainer->block->options;
	LatRandom	random = lat_random(options->seed, (uint32_t) step, (uint32_t) model,
									LAT_SITE_LENGTHS, 0);
	int32_t		before = options->max_tokens;

	for (int i = 0; i < trainer->model.config.layers; i++)
	{
		int32_t		low = shortest(before, options->length_drop);

		if (!(trainer->skipped[model] >> i & 1))
			before = low + (int32_t) lat_random_below(random, (uint32_t) i,
													  (uint32_t) (before - low + 1));
		trainer->lengths[model][i] = before;
	}
}

/* LayerDrop: each layer with the chance; should all go, one drawn at random stays. */
static uint64_t
random_layers(const LatTrainer *trainer, int64_t step, int model)
{
	const LatTrainOptions *options = &trainer->block->options;
	int			layers = trainer->model.config.layers;
	LatRandom	random = lat_random(options->seed, (uint32_t) step, (uint32_t) model,
									LAT_SITE_LAYERS, 0);
	uint64_t	all = layers == 64 ? UINT64_MAX : ((uint64_t) 1 << layers) - 1;
	uint64_t	skipped = 0;

	for (int i = 0; i < layers; i++)
		if (lat_random_double(random, (uint32_t) i) < options->layer_drop)
			skipped |= (uint64_t) 1 << i;
	if (skipped == all)
		skipped ^= (uint64_t) 1 << lat_random_below(random, (uint32_t) layers, (uint32_t) layers);
	return skipped;
}

static void
draw_submodels(LatTrainer *trainer, int64_t step, int phase)
{
	const LatTrainOptions *options = &trainer->block->options;

	trainer->models = phase == 0 ? 1 : options->submodels + 2;
	trainer->skipped[0] = 0;
	for (int model = 1; model < trainer->models; model++)
	{
		trainer->skipped[model] = random_layers(trainer, step, model);
		if (model == 1)
			lat_smallest_lengths(trainer->model.config.layers, options->length_drop,
								 options->max_tokens, trainer->skipped[model],
								 trainer->lengths[model]);
		else
			random_lengths(trainer, step, model);
	}
}

/* ---- plan --------------------------------------------------------------------------------- */

int64_t
lat_epoch_steps(const LatTrainer *trainer)
{
	return (trainer->train.count + trainer->block->options.batch - 1) /
		trainer->block->options.batch;
}

int64_t
lat_total_steps(const LatTrainer *trainer)
{
	return trainer->optimizer.steps[0] + trainer->optimizer.steps[1];
}

/*
 * What a LengthDrop step costs in ordinary ones: the model in full, the smallest sub-model, and
 * random ones, whose lengths shrink half as fast in the mean.
 */
static double
lengthdrop_cost(const LatTrainOptions *options, int layers)
{
	double		smallest = 0;
	double		random = 0;

	for (int i = 0; i < layers; i++)
	{
		smallest += pow(1 - options->length_drop, i) / layers;
		random += pow(1 - options->length_drop / 2, i) / layers;
	}
	return 1 + (1 - options->layer_drop) * (smallest + options->submodels * random);
}

double
lat_work_left(const LatTrainer *trainer, int64_t step)
{
	const int64_t *steps = trainer->optimizer.steps;
	int64_t		before = step < steps[0] ? step : steps[0];

	return (double) (steps[0] - before) + (double) (steps[1] - (step - before)) *
		lengthdrop_cost(&trainer->block->options, trainer->model.config.layers);
}

/* The order of examples in an epoch: Fisher and Yates, seeded by phase and epoch. */
static void
permute(LatTrainer *trainer, int phase, int64_t epoch)
{
	int32_t    *order = trainer->permutation;
	int64_t		key = epoch * LAT_TRAIN_PHASES + phase;
	LatRandom	random = lat_random(trainer->block->options.seed, (uint32_t) phase,
									(uint32_t) epoch, LAT_SITE_PERMUTATION, 0);

	if (trainer->permuted == key)
		return;
	for (int32_t i = 0; i < trainer->train.count; i++)
		order[i] = i;
	for (int32_t i = trainer->train.count - 1; i > 0; i--)
	{
		int32_t		j = (int32_t) lat_random_below(random, (uint32_t) i, (uint32_t) i + 1);
		int32_t		swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
	trainer->permuted = key;
}

/* The batch, longest examples first; each goes to the rank that has the fewest tokens so far. */
static void
deal(LatTrainer *trainer)
{
	int64_t		loads[LAT_MAX_RANKS] = {0};
	int			ranks = trainer->block->options.ranks;

	for (int i = 0; i < trainer->count; i++)
	{
		int32_t		number = trainer->batch[i];
		LatExample	example;
		int			to = i;

		lat_examples_get(&trainer->train, number, &example);
		for (; to > 0 && trainer->tokens[to - 1] < example.tokens; to--)
		{
			trainer->batch[to] = trainer->batch[to - 1];
			trainer->tokens[to] = trainer->tokens[to - 1];
		}
		trainer->batch[to] = number;
		trainer->tokens[to] = example.tokens;
	}
	for (int i = 0; i < trainer->count; i++)
	{
		int			least = 0;

		for (int rank = 1; rank < ranks; rank++)
			if (loads[rank] < loads[least])
				least = rank;
		trainer->rank[i] = least;
		loads[least] += trainer->tokens[i];
	}
	trainer->optimizer.ranks = trainer->count < ranks ? trainer->count : ranks;
}

/* A slot for each distinct word of the batch; and what a single loss weighs. */
static void
read_batch(LatTrainer *trainer)
{
	bool		frozen = trainer->block->options.words == LAT_WORDS_FROZEN;
	int64_t		labelled = 0;

	for (int i = 0; i < trainer->optimizer.word_count; i++)
		trainer->slots[trainer->words[i]] = -1;
	trainer->optimizer.word_count = 0;
	for (int i = 0; i < trainer->count; i++)
	{
		LatExample	example;

		lat_examples_get(&trainer->train, trainer->batch[i], &example);
		for (int t = 0; !frozen && t < example.tokens; t++)
			if (trainer->slots[example.ids[t]] < 0)
			{
				trainer->slots[example.ids[t]] = trainer->optimizer.word_count;
				trainer->words[trainer->optimizer.word_count++] = example.ids[t];
			}
		for (int t = 0; example.labels && t < example.tokens; t++)
			labelled += example.labels[t] >= 0;
	}
	if (trainer->block->task != LAT_TAG)
		labelled = trainer->count;
	trainer->weight = labelled > 0 ? 1.0 / (double) labelled : 0;
}

void
lat_plan_step(LatTrainer *trainer, int64_t step)
{
	int64_t		within;
	int			phase = lat_phase_of(&trainer->optimizer, step, &within);
	int64_t		first = within % lat_epoch_steps(trainer) * trainer->block->options.batch;
	int64_t		left = trainer->train.count - first;

	permute(trainer, phase, within / lat_epoch_steps(trainer));
	trainer->count = left < trainer->block->options.batch ? (int) left :
		trainer->block->options.batch;
	memcpy(trainer->batch, trainer->permutation + first,
		   (size_t) trainer->count * sizeof(int32_t));
	deal(trainer);
	read_batch(trainer);
	draw_submodels(trainer, step, phase);
}
