/*
 * optimizer_test.c
 *	  The schedule, AdamW against its formula in double, clipping, and the three ways to treat word
 *	  embeddings, on a run whose gradients the test makes up.
 *
 *	  Usage: optimizer_test GOLDEN_DIRECTORY
 */
#include "check.h"
#include "core/train.h"
#include "load.h"

#include <math.h>

#define COUNT 8
#define TOKENS 6
#define RANKS 3
#define STEPS 7
#define WORD 30					/* its row gets gradients now and then */
#define UNSEEN 31				/* its row never does */

typedef struct Setup
{
	TestHost	test;
	LatModel	base;
	LatTrainOptions options;
	void	   *block;
	LatTrainer *trainer;
	LatOptimizer *optimizer;
} Setup;

/* A trainer over examples that nobody will run: only its optimizer is used. */
static void
open_setup(Setup *setup, LatWordMode words)
{
	static const LatTeam alone = {.size = 1};
	LatTrainingSizes sizes = {.base = &setup->base,.train_count = COUNT};
	int32_t		ids[TOKENS] = {2, 6, 7, 8, 9, 3};
	LatExample	example = {.tokens = TOKENS,.first = TOKENS,.ids = ids};
	LatError	error = {0};
	size_t		size;
	void	   *train;
	void	   *dev;

	setup->options.words = words;
	sizes.train_bytes = COUNT * lat_example_size(&example);
	CHECK(lat_training_size(&sizes, &setup->options, &size, &error) == LAT_OK, "%s", error.message);
	setup->block = aligned_alloc(64, size);
	memset(setup->block, 0, size);
	CHECK(lat_training_create(&setup->test.host, setup->block, &sizes, &setup->options, &train,
							  &dev, &error) == LAT_OK, "%s", error.message);
	for (int i = 0; i < COUNT; i++)
		lat_example_write(&example, (uint8_t *) train + i * lat_example_size(&example));
	CHECK(lat_trainer_open(&setup->test.host, lat_find_kernels("auto"), &alone, setup->block,
						   &setup->trainer, &error) == LAT_OK, "%s", error.message);
	setup->optimizer = &setup->trainer->optimizer;
	setup->optimizer->ranks = RANKS;
}

static void
close_setup(Setup *setup)
{
	lat_trainer_close(setup->trainer);
	free(setup->block);
	CHECK(setup->test.live == 0, "nothing leaked");
}

/* ---- schedule ----------------------------------------------------------------------------- */

static void
test_schedule(Setup *setup)
{
	LatOptimizer *optimizer = setup->optimizer;
	double		before = 0;
	int64_t		within;

	optimizer->steps[0] = 100;
	optimizer->steps[1] = 50;
	CHECK(lat_phase_of(optimizer, 99, &within) == 0 && within == 99, "the last step of phase 0");
	CHECK(lat_phase_of(optimizer, 100, &within) == 1 && within == 0, "the first step of phase 1");
	for (int64_t step = 0; step < 100; step++)
	{
		double		rate = lat_learning_rate(optimizer, step);

		CHECK(rate > 0 && rate <= setup->options.learning_rate, "step %d: rate %g", (int) step,
			  rate);
		CHECK(step <= 10 ? rate > before : rate < before, "step %d: up for 10 steps, then down",
			  (int) step);
		before = rate;
	}
	CHECK(lat_learning_rate(optimizer, 10) == setup->options.learning_rate, "the highest rate");
	CHECK(lat_learning_rate(optimizer, 100) < before * 30 &&
		  lat_learning_rate(optimizer, 105) == setup->options.learning_rate, "phase 1 begins anew");
}

/* ---- AdamW -------------------------------------------------------------------------------- */

/* The formula of optimizer.c, in double. */
typedef struct Value
{
	double		p;
	double		m;
	double		v;
} Value;

static void
adamw(const Setup *setup, Value *value, double gradient, double rate, int t, double decay)
{
	const LatTrainOptions *o = &setup->options;

	value->p *= 1 - rate * decay;
	value->m = o->beta1 * value->m + (1 - o->beta1) * gradient;
	value->v = o->beta2 * value->v + (1 - o->beta2) * gradient * gradient;
	value->p -= rate / (1 - pow(o->beta1, t)) * value->m /
		(sqrt(value->v / (1 - pow(o->beta2, t))) + o->epsilon);
}

/* Some gradient for float i of a rank in a step. */
static float
made_up(int64_t step, int rank, size_t i)
{
	return (lat_random_float(lat_random(9, (uint32_t) step, (uint32_t) rank, 0, 0), (uint32_t) i) -
			0.5f) * 0.01f;
}

/* Every float of the dense part: its block, and whether it decays, tell what it must become. */
static void
test_adamw(Setup *setup)
{
	LatOptimizer *optimizer = setup->optimizer;
	LatTrainingBlock *block = setup->block;
	float	   *values = lat_block_floats(block, block->trained);
	Value	   *expected = calloc(block->trained_count, sizeof(Value));
	float	   *before = malloc(block->trained_count * sizeof(float));
	uint8_t    *covered = calloc(block->trained_count, 1);
	double		worst = 0;
	int			untouched = 0;
	bool		once = true;

	memcpy(before, values, block->trained_count * sizeof(float));
	for (size_t i = 0; i < block->trained_count; i++)
		expected[i].p = values[i];
	for (int64_t step = 0; step < STEPS; step++)
	{
		double		rate = lat_learning_rate(optimizer, step);
		double		squares = 0;
		double		norm;
		int64_t		t;

		lat_phase_of(optimizer, step, &t);
		for (int rank = 0; rank < RANKS; rank++)
			for (size_t i = 0; i < block->trained_count; i++)
				lat_rank_gradients(optimizer, rank)[i] = made_up(step, rank, i);
		CHECK(lat_optimizer_step(optimizer, step, &norm, NULL) == LAT_OK, "a step");
		for (int b = 0; b < optimizer->block_count; b++)
			for (size_t n = 0; n < optimizer->blocks[b].count; n++)
			{
				size_t		i = optimizer->blocks[b].first + n;
				float		sum = 0;

				for (int rank = 0; rank < RANKS; rank++)
					sum += made_up(step, rank, i);
				squares += (double) sum * sum;
			}
		CHECK(fabs(norm - sqrt(squares)) < 1e-5 * norm && norm > setup->options.clip,
			  "norm %g instead of %g, to be clipped", norm, sqrt(squares));
		for (int b = 0; b < optimizer->block_count; b++)
		{
			const LatParameterBlock *piece = &optimizer->blocks[b];

			for (size_t i = piece->first; i < piece->first + piece->count; i++)
			{
				float		sum = 0;

				for (int rank = 0; rank < RANKS; rank++)
					sum += made_up(step, rank, i);
				if (t == 0)
					expected[i].m = expected[i].v = 0;
				adamw(setup, &expected[i], sum * setup->options.clip / norm, rate, (int) t + 1,
					  piece->decays ? setup->options.decay : 0);
				covered[i]++;
			}
		}
	}
	for (size_t i = 0; i < block->trained_count; i++)
	{
		if (covered[i])
			worst = fmax(worst, fabs(expected[i].p - values[i]));
		else
			untouched += memcmp(&before[i], &values[i], sizeof(float)) == 0 ? 1 : -1000000;
		once = once && (covered[i] == 0 || covered[i] == STEPS);
	}
	CHECK(once, "no float lies in two blocks");
	CHECK(worst < 2e-6, "AdamW over two phases: %.1e off after %d steps", worst, STEPS);

	/* only the headers of linears and the padding between sections are not parameters */
	CHECK(untouched >= 16 && untouched < 1000, "%d floats are no parameters, and stay", untouched);
	printf("AdamW: at most %.1e off after %d steps in two phases\n", worst, STEPS);
	free(expected);
	free(before);
	free(covered);
}

/* ---- words -------------------------------------------------------------------------------- */

static float *
word_values(const Setup *setup, int word)
{
	const LatEmbedding *words = &setup->trainer->model.words;

	return (float *) words->codes + (size_t) word * words->stride;
}

/*
 * Steps in which WORD has a gradient in some, UNSEEN in none. *expected: WORD's first float, as
 * dense (every step) or lazy (moments kept up, their pull left out) has it.
 */
static void
run_words(Setup *setup, bool dense, Value *expected, Value *unseen)
{
	static const bool present[STEPS] = {true, false, true, true, false, false, true};
	LatOptimizer *optimizer = setup->optimizer;
	static const int32_t words[1] = {WORD};

	for (int64_t step = 0; step < STEPS; step++)
	{
		int			count = present[step] ? 1 : 0;
		double		rate = lat_learning_rate(optimizer, step);
		double		norm;
		int64_t		t;
		Value		skipped = *expected;

		lat_phase_of(optimizer, step, &t);
		if (t == 0)
			expected->m = expected->v = skipped.m = skipped.v = 0;
		adamw(setup, expected, present[step] ? 0.3 : 0, rate, (int) t + 1, setup->options.decay);
		if (!dense && !present[step])
			expected->p = skipped.p * (1 - rate * setup->options.decay);
		adamw(setup, unseen, 0, rate, (int) t + 1, setup->options.decay);
		optimizer->words = words;
		optimizer->word_count = count;
		setup->trainer->slots[WORD] = count - 1;
		CHECK(lat_words_catch_up(optimizer, step) == LAT_OK, "catches up");
		for (int rank = 0; rank < RANKS; rank++)
		{
			lat_clear_gradients(optimizer, rank);
			memset(lat_rank_gradients(optimizer, rank), 0,
				   ((LatTrainingBlock *) setup->block)->trained_count * sizeof(float));
			if (count)
				lat_rank_word_gradients(optimizer, rank)[0] = 0.1f;
		}
		CHECK(lat_optimizer_step(optimizer, step, &norm, NULL) == LAT_OK, "a step");
		CHECK(fabs(norm - (count ? 0.3 : 0)) < 1e-6, "norm %g", norm);
	}
	CHECK(lat_words_finish(optimizer, STEPS) == LAT_OK, "finishes");
}

static void
test_words(Setup *setup, LatWordMode mode)
{
	Value		word = {.p = word_values(setup, WORD)[0]};
	Value		unseen = {.p = word_values(setup, UNSEEN)[0]};

	run_words(setup, mode == LAT_WORDS_DENSE, &word, &unseen);
	CHECK(fabs(word.p - word_values(setup, WORD)[0]) < 1e-6, "words %d: %g instead of %g", mode,
		  word_values(setup, WORD)[0], word.p);
	CHECK(fabs(unseen.p - word_values(setup, UNSEEN)[0]) < 1e-6, "words %d: unseen, %g, not %g", mode,
		  word_values(setup, UNSEEN)[0], unseen.p);
}

int
main(int argc, char **argv)
{
	Setup		setup = {0};
	char		path[1024];
	LatError	error;

	if (argc != 2)
		return 2;
	test_host_init(&setup.test);
	snprintf(path, sizeof(path), "%s/tiny-classify", argv[1]);
	if (!CHECK(load_model(&setup.test.host, path, LAT_FP32, &setup.base, &error) == LAT_OK, "%s",
			   error.message))
		return check_done("optimizer");
	lat_train_defaults(&setup.base.config, LAT_CLASSIFY, &setup.options);
	setup.options.batch = 2;
	setup.options.ranks = RANKS;
	setup.options.learning_rate = 0.01;
	setup.options.decay = 0.1;
	setup.options.max_tokens = TOKENS;
	setup.options.epochs[0] = 1;	/* 4 steps */
	setup.options.epochs[1] = 0.75;	/* 3 */
	open_setup(&setup, LAT_WORDS_FROZEN);
	test_adamw(&setup);
	test_schedule(&setup);
	close_setup(&setup);
	for (int mode = LAT_WORDS_LAZY; mode <= LAT_WORDS_DENSE; mode += LAT_WORDS_DENSE)
	{
		open_setup(&setup, mode);
		test_words(&setup, mode);
		close_setup(&setup);
	}
	free((void *) setup.base.image);
	return check_done("optimizer");
}
