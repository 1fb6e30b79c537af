/*
 * train_test.c
 *	  Training runs of the tiny checkpoints: the plan, what they learn, the same bits under any
 *	  number of processes (threads play the team) and after a resume, failing allocations,
 *	  interrupts, bad options and records.
 *
 *	  Usage: train_test GOLDEN_DIRECTORY
 */
#include "check.h"
#include "core/train.h"
#include "load.h"

#include <math.h>
#include <pthread.h>

#define COUNT 60				/* examples */
#define MOST_TOKENS 20
#define MOST_TEAM 4
#define MOST_STEPS 400			/* whose losses are noted */

/* Records of a task that can be learnt: the target is told by a token. */
typedef struct Records
{
	uint8_t    *bytes;
	size_t		size;
	int32_t		count;
} Records;

static void
add_example(Records *records, const LatModel *model, int number)
{
	const LatConfig *config = &model->config;
	LatRandom	random = lat_random(11, (uint32_t) number, 0, 0, 0);
	int32_t		ids[MOST_TOKENS];
	int32_t		labels[MOST_TOKENS];
	LatExample	example = {.ids = ids};
	int			place;

	example.tokens = 5 + (int32_t) lat_random_below(random, 0, MOST_TOKENS - 4);
	example.first = example.tokens;
	for (int i = 0; i < example.tokens; i++)
	{
		ids[i] = 20 + (int32_t) lat_random_below(random, (uint32_t) i + 1, 60);
		labels[i] = i % 4 == 0 ? -1 : ids[i] % 2;
	}
	ids[0] = config->cls_id;
	ids[example.tokens - 1] = config->sep_id;
	place = 1 + (int) lat_random_below(random, 99, (uint32_t) example.tokens - 2);
	if (config->task == LAT_CLASSIFY)
	{
		example.target[0] = number % config->labels;
		ids[place] = 10 + example.target[0];
	}
	else if (config->task == LAT_SPAN)
	{
		example.target[0] = example.target[1] = place;
		ids[place] = 10;
	}
	else
		example.labels = labels;
	records->bytes = realloc(records->bytes, records->size + lat_example_size(&example));
	lat_example_write(&example, records->bytes + records->size);
	records->size += lat_example_size(&example);
	records->count++;
}

/* A run: its base, records and options, and the shared block. */
typedef struct Run
{
	TestHost	test;
	const char *name;
	LatModel	base;
	Records		records;
	LatTrainOptions options;
	size_t		size;
	void	   *block;
} Run;

static bool
open_run(Run *run, const char *directory, const char *name)
{
	LatError	error;
	char		path[1024];

	memset(run, 0, sizeof(*run));
	run->name = name;
	test_host_init(&run->test);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (!CHECK(load_model(&run->test.host, path, LAT_FP32, &run->base, &error) == LAT_OK,
			   "%s: %s", name, error.message))
		return false;
	for (int i = 0; i < COUNT; i++)
		add_example(&run->records, &run->base, i);
	lat_train_defaults(&run->base.config, (LatTask) run->base.config.task, &run->options);
	run->options.epochs[0] = 2;
	run->options.epochs[1] = 1;
	run->options.learning_rate = 2e-3;
	run->options.batch = 8;
	run->options.max_tokens = MOST_TOKENS;
	run->options.ranks = 3;
	run->options.seed = 5;
	return true;
}

static void
close_run(Run *run)
{
	CHECK(run->test.live == 0, "%s: nothing leaked", run->name);
	free((void *) run->base.image);
	free(run->records.bytes);
	free(run->block);
}

/* A new block as of step 0. */
static bool
create_block(Run *run)
{
	LatTrainingSizes sizes = {.base = &run->base,.train_bytes = run->records.size,
	.train_count = run->records.count};
	LatError	error;
	void	   *train;
	void	   *dev;
	LatStatus	status = lat_training_size(&sizes, &run->options, &run->size, &error);

	if (!CHECK(status == LAT_OK, "%s: size: %s", run->name, error.message))
		return false;
	free(run->block);
	run->block = aligned_alloc(64, run->size);
	memset(run->block, 0, run->size);
	status = lat_training_create(&run->test.host, run->block, &sizes, &run->options, &train, &dev,
								 &error);
	if (!CHECK(status == LAT_OK, "%s: create: %s", run->name, error.message))
		return false;
	memcpy(train, run->records.bytes, run->records.size);
	return true;
}

/* ---- a team of threads -------------------------------------------------------------------- */

typedef struct Member
{
	Run		   *run;
	TestHost	test;
	const LatKernels *kernels;
	pthread_barrier_t *barrier;
	int			size;
	int			rank;
	int64_t		until;			/* steps to do */
	LatStatus	status;
	LatTrainReport report;
	double		losses[MOST_STEPS];	/* of each step */
	double		work[LAT_TRAIN_PHASES]; /* of a step */
	bool		leaked;
} Member;

static bool
wait_barrier(void *arg)
{
	pthread_barrier_wait(arg);
	return true;
}

static void *
run_member(void *arg)
{
	Member	   *member = arg;
	LatTeam		team = {.size = member->size,.rank = member->rank,.wait = wait_barrier,
	.arg = member->barrier};
	LatTrainer *trainer;
	LatError	error;
	double		left;

	test_host_init(&member->test);
	member->status = lat_trainer_open(&member->test.host, member->kernels, &team,
									  member->run->block, &trainer, &error);
	if (member->status != LAT_OK)
		return NULL;
	lat_train_report(trainer, &member->report);
	left = member->report.work_left;
	while (member->status == LAT_OK && !member->report.finished &&
		   member->report.step < member->until)
	{
		member->status = lat_train_step(trainer, &member->report, &error);
		if (member->report.step <= MOST_STEPS)
			member->losses[member->report.step - 1] = member->report.loss;
		member->work[member->report.phase] = left - member->report.work_left;
		left = member->report.work_left;
	}
	if (member->status == LAT_OK && member->report.finished)
		member->status = lat_train_finish(trainer, &error);
	lat_trainer_close(trainer);
	member->leaked = member->test.live != 0;
	return NULL;
}

/* Steps of the block by a team; what rank 0 saw. */
static Member
run_team(Run *run, const LatKernels *kernels, int size, int64_t until)
{
	static Member members[MOST_TEAM];
	pthread_t	threads[MOST_TEAM];
	pthread_barrier_t barrier;

	memset(members, 0, sizeof(members));
	pthread_barrier_init(&barrier, NULL, (unsigned) size);
	for (int i = 0; i < size; i++)
	{
		members[i].run = run;
		members[i].kernels = kernels;
		members[i].barrier = &barrier;
		members[i].size = size;
		members[i].rank = i;
		members[i].until = until;
		pthread_create(&threads[i], NULL, run_member, &members[i]);
	}
	for (int i = 0; i < size; i++)
	{
		pthread_join(threads[i], NULL);
		CHECK(members[i].status == LAT_OK && !members[i].leaked, "%s: member %d of %d", run->name,
			  i, size);
	}
	pthread_barrier_destroy(&barrier);
	return members[0];
}

static void *
copy_state(Run *run, size_t *size)
{
	void	   *state;
	void	   *copy;

	lat_training_state(run->block, &state, size);
	copy = malloc(*size);
	memcpy(copy, state, *size);
	return copy;
}

/* Opened by a team of one, which a test can fail or interrupt. */
static LatTrainer *
open_alone(Run *run, const LatTeam *team)
{
	static const LatTeam alone = {.size = 1};
	LatTrainer *trainer;
	LatError	error = {0};
	LatStatus	status = lat_trainer_open(&run->test.host, lat_find_kernels("auto"),
										  team ? team : &alone, run->block, &trainer, &error);

	CHECK(status == LAT_OK, "%s: open: %s", run->name, error.message);
	return trainer;
}

/* ---- plan --------------------------------------------------------------------------------- */

/* Every example once an epoch, in another order in the next; ranks with about equal tokens. */
static void
test_plan(Run *run)
{
	LatTrainer *trainer;
	int			seen[COUNT] = {0};
	int32_t		first[COUNT];
	int			worst = 0;
	int			moved = 0;
	int			at = 0;

	create_block(run);
	trainer = open_alone(run, NULL);
	for (int64_t step = 0; step < 16; step++)
	{
		int			loads[LAT_MAX_RANKS] = {0};
		int			low = INT32_MAX;
		int			high = 0;

		lat_plan_step(trainer, step);
		CHECK(trainer->count == (step % 8 == 7 ? 4 : 8), "%s: step %d has %d examples", run->name,
			  (int) step, trainer->count);
		for (int i = 0; i < trainer->count; i++)
		{
			seen[trainer->batch[i]]++;
			loads[trainer->rank[i]] += trainer->tokens[i];
			if (step < 8)
				first[at++] = trainer->batch[i];
			else
				moved += first[at++ - COUNT] != trainer->batch[i];
		}
		for (int rank = 0; rank < run->options.ranks; rank++)
		{
			low = loads[rank] < low ? loads[rank] : low;
			high = loads[rank] > high ? loads[rank] : high;
		}
		worst = high - low > worst ? high - low : worst;
	}
	for (int i = 0; i < COUNT; i++)
		CHECK(seen[i] == 2, "%s: example %d comes %d times in two epochs", run->name, i, seen[i]);
	CHECK(moved > COUNT / 2, "%s: the second epoch has another order", run->name);
	CHECK(worst <= MOST_TOKENS, "%s: ranks differ by %d tokens", run->name, worst);
	lat_trainer_close(trainer);
}

/* Lengths of sub-models lie where they may, and vary; at least one layer stays. */
static void
test_submodels(Run *run)
{
	int			layers = run->base.config.layers;
	int			smallest[LAT_MAX_LAYERS];
	int			skips = 0;
	int			differ = 0;
	LatTrainer *trainer;
	bool		inside = true;

	run->options.epochs[0] = 0;
	run->options.epochs[1] = 40;
	run->options.layer_drop = 0.6;
	create_block(run);
	run->options.layer_drop = 0.2;
	trainer = open_alone(run, NULL);
	for (int64_t step = 0; step < 300; step++)
	{
		lat_plan_step(trainer, step);
		inside = inside && trainer->models == run->options.submodels + 2 && !trainer->skipped[0];
		for (int model = 1; model < trainer->models; model++)
		{
			int			before = run->options.max_tokens;
			int			stay = 0;

			lat_smallest_lengths(layers, run->options.length_drop, before, trainer->skipped[model],
								 smallest);
			for (int i = 0; i < layers; i++)
			{
				int			length = trainer->lengths[model][i];
				bool		skipped = trainer->skipped[model] >> i & 1;
				int			low = (int) ceil(before * (1 - run->options.length_drop) - 1e-9);

				inside = inside && length <= before && length >= (skipped ? before : low);
				differ += model > 1 && length > smallest[i] && length < before;
				stay += !skipped;
				before = length;
			}
			if (model == 1)
				inside = inside && memcmp(smallest, trainer->lengths[1], layers * 4) == 0;
			inside = inside && stay > 0;
			skips += layers - stay;
		}
	}
	CHECK(inside, "%s: every sub-model is one that may be", run->name);
	CHECK(differ > 100, "%s: lengths in between occur %d times", run->name, differ);

	/* 0.6, less the layers that stay because the others are all gone */
	CHECK(fabs(skips / (900.0 * layers) - 0.6) < 0.1, "%s: %d layers are skipped",
		  run->name, skips);
	lat_trainer_close(trainer);
	run->options.epochs[0] = 2;
	run->options.epochs[1] = 1;
}

/* ---- runs --------------------------------------------------------------------------------- */

/* The loss falls, by fine-tuning and by LengthDrop; a classifier gets its own data right. */
static void
test_learns(Run *run)
{
	LatTrainOptions saved = run->options;
	Member		alone;
	double		first = 0;
	double		last = 0;

	run->options.epochs[0] = 30;
	run->options.epochs[1] = 10;
	create_block(run);
	alone = run_team(run, lat_find_kernels("auto"), 1, INT64_MAX);
	CHECK(alone.report.finished && alone.report.steps == 320 &&
		  alone.report.examples == 40 * COUNT && alone.report.epoch_ended &&
		  alone.report.phase == 1 && alone.report.epoch == 10, "%s: 320 steps, 40 epochs",
		  run->name);
	CHECK(fabs(alone.work[0] - 1) < 1e-9 && alone.work[1] > 2 && alone.work[1] < 4 &&
		  fabs(alone.report.work_left) < 1e-9, "%s: a LengthDrop step costs %.2f others",
		  run->name, alone.work[1]);
	for (int i = 0; i < 8; i++)
	{
		first += alone.losses[i] / 8;
		last += alone.losses[232 + i] / 8;
	}
	printf("%s: loss %.3f at first, %.3f after fine-tuning\n", run->name, first, last);
	CHECK(last < 0.5 * first, "%s: the loss falls", run->name);
	run->options = saved;
}

/* The number of processes, and a pause in between, do not change a bit. */
static void
test_bits(Run *run, LatWordMode words)
{
	const LatKernels *kernels = lat_find_kernels("auto");
	size_t		size;
	void	   *expected;
	void	   *middle;
	void	   *state;

	run->options.words = words;
	create_block(run);
	run_team(run, kernels, 1, INT64_MAX);
	expected = copy_state(run, &size);
	for (int team = 2; team <= MOST_TEAM; team++)
	{
		create_block(run);
		run_team(run, kernels, team, INT64_MAX);
		lat_training_state(run->block, &state, &size);
		CHECK(memcmp(state, expected, size) == 0, "%s, words %d: the same bits with %d processes",
			  run->name, words, team);
	}
	create_block(run);
	run_team(run, kernels, 2, 11);
	middle = copy_state(run, &size);
	create_block(run);
	lat_training_state(run->block, &state, &size);
	memcpy(state, middle, size);
	run_team(run, kernels, 1, INT64_MAX);
	CHECK(memcmp(state, expected, size) == 0, "%s, words %d: the same bits after a resume",
		  run->name, words);
	free(expected);
	free(middle);
}

/* ---- evaluation --------------------------------------------------------------------------- */

/* A run on data that is also its dev set: quality in full and of the smallest, by a team. */
static void
test_quality(Run *run)
{
	LatTrainingSizes sizes = {.base = &run->base,.train_bytes = run->records.size,
	.train_count = COUNT,.dev_bytes = run->records.size,.dev_count = COUNT};
	LatTrainOptions options = run->options;
	LatTrainReport report = {0};
	LatTrainer *trainer;
	LatError	error;
	size_t		size;
	void	   *block;
	void	   *train;
	void	   *dev;
	double		before;
	double		full;
	double		smallest;

	options.epochs[0] = 30;
	options.epochs[1] = 20;
	CHECK(lat_training_size(&sizes, &options, &size, &error) == LAT_OK, "size with dev");
	block = aligned_alloc(64, size);
	memset(block, 0, size);
	lat_training_create(&run->test.host, block, &sizes, &options, &train, &dev, &error);
	memcpy(train, run->records.bytes, run->records.size);
	memcpy(dev, run->records.bytes, run->records.size);
	free(run->block);
	run->block = block;
	trainer = open_alone(run, NULL);
	CHECK(lat_train_evaluate(trainer, &before, &smallest, &error) == LAT_OK, "evaluates");
	while (!report.finished && lat_train_step(trainer, &report, &error) == LAT_OK)
		;
	CHECK(lat_train_finish(trainer, &error) == LAT_OK, "finishes");
	CHECK(lat_train_evaluate(trainer, &full, &smallest, &error) == LAT_OK, "evaluates");
	printf("%s: accuracy %.2f, after training %.2f, of the smallest sub-model %.2f\n", run->name,
		   before, full, smallest);
	CHECK(before < 0.6 && full > 0.95 && smallest > 0.8, "%s: learns its data", run->name);
	CHECK(lat_model_verify(&run->test.host, lat_trainer_model(trainer), &error) == LAT_OK,
		  "what comes out is a sound image");
	lat_trainer_close(trainer);
}

/* ---- failures ----------------------------------------------------------------------------- */

/* Opening tells when there is no memory, and steps need none. */
static void
test_memory(Run *run)
{
	static const LatTeam alone = {.size = 1};
	LatTrainReport report = {0};
	LatTrainer *trainer = NULL;
	LatError	error;
	LatStatus	status = LAT_NO_MEMORY;
	int			n = 0;

	create_block(run);
	for (; status == LAT_NO_MEMORY && n < 100; n++)
	{
		run->test.fail_at = n;
		status = lat_trainer_open(&run->test.host, lat_find_kernels("auto"), &alone, run->block,
								  &trainer, &error);
		CHECK(status == LAT_OK || (trainer == NULL && run->test.live == 0),
			  "%s: nothing is left of an open without memory", run->name);
	}
	CHECK(status == LAT_OK && n > 2, "%s: opens at the %dth try", run->name, n);
	run->test.fail_at = 0;
	for (int i = 0; i < 20; i++)
		CHECK(lat_train_step(trainer, &report, &error) == LAT_OK, "%s: a step allocates nothing",
			  run->name);
	run->test.fail_at = -1;
	lat_trainer_close(trainer);
}

/* The n-th question is answered yes: the run stops, and goes on from a checkpoint. */
static void
test_interrupts(Run *run)
{
	LatTrainReport report;
	LatTrainer *trainer;
	LatError	error;
	size_t		size;
	void	   *before;
	void	   *after;
	void	   *state;
	long		questions = 0;
	LatStatus	status = LAT_INTERRUPTED;

	create_block(run);
	lat_training_state(run->block, &state, &size);
	trainer = open_alone(run, NULL);
	for (int i = 0; i < 17; i++)
		lat_train_step(trainer, &report, &error);
	before = copy_state(run, &size);
	CHECK(lat_train_step(trainer, &report, &error) == LAT_OK && report.step == 18, "%s: step 18",
		  run->name);
	after = copy_state(run, &size);
	while (status == LAT_INTERRUPTED && questions < 1000000)
	{
		memcpy(state, before, size);
		questions += 1 + questions / 8;
		run->test.interrupt_at = questions;
		status = lat_train_step(trainer, &report, &error);
		run->test.interrupt_at = -1;
	}
	CHECK(status == LAT_OK && questions > 100, "%s: %ld chances to interrupt a step", run->name,
		  questions);
	CHECK(memcmp(state, after, size) == 0, "%s: the same bits after interrupts", run->name);
	lat_trainer_close(trainer);
	free(before);
	free(after);
}

static bool
give_up(void *arg)
{
	int		   *left = arg;

	return (*left)-- > 0;
}

/* The team gives up at the n-th meeting. */
static void
test_team(Run *run)
{
	int			left = 0;
	LatTeam		team = {.size = 1,.wait = give_up,.arg = &left};
	LatTrainReport report;
	LatTrainer *trainer;
	LatError	error;
	LatStatus	status = LAT_INTERRUPTED;
	int			n = 0;

	create_block(run);
	trainer = open_alone(run, &team);
	for (; status == LAT_INTERRUPTED && n < 20; n++)
	{
		left = n;
		status = lat_train_step(trainer, &report, &error);
	}
	CHECK(status == LAT_OK && n == 5, "%s: a step has %d meetings", run->name, n - 1);
	left = 0;
	CHECK(lat_train_finish(trainer, &error) == LAT_INTERRUPTED, "%s: finish is given up",
		  run->name);
	lat_trainer_close(trainer);
}

/* NaN in a weight, as a diverged run has it, is told. */
static void
test_divergence(Run *run)
{
	LatTrainReport report;
	LatTrainer *trainer;
	LatError	error;

	create_block(run);
	trainer = open_alone(run, NULL);
	((float *) lat_trainer_model(trainer)->layers[0].output_norm.gamma)[0] = NAN;
	CHECK(lat_train_step(trainer, &report, &error) == LAT_BAD_ARGUMENT &&
		  strstr(error.message, "not finite") && error.hint[0], "%s: %s", run->name, error.message);
	lat_trainer_close(trainer);
}

static void
test_options(Run *run)
{
	LatTrainingSizes sizes = {.base = &run->base,.train_bytes = run->records.size,
	.train_count = COUNT};
	LatTrainOptions options = run->options;
	LatError	error;
	size_t		frozen;
	size_t		lazy;

	options.warmup = NAN;
	CHECK(lat_check_train_options(&options, &error) == LAT_BAD_ARGUMENT &&
		  strstr(error.message, "warmup"), "%s", error.message);
	options = run->options;
	options.epochs[0] = options.epochs[1] = 0;
	CHECK(lat_check_train_options(&options, &error) == LAT_BAD_ARGUMENT, "%s", error.message);
	options.epochs[0] = LAT_MAX_STEPS / 1024;
	options.epochs[1] = 0;
	options.batch = 1;
	CHECK(lat_check_train_steps(&options, 1024, &error) == LAT_OK &&
		  lat_check_train_steps(&options, 1025, &error) == LAT_BAD_ARGUMENT, "%s", error.message);
	options = run->options;
	options.max_tokens = run->base.config.positions + 1;
	CHECK(lat_training_size(&sizes, &options, &lazy, &error) == LAT_BAD_ARGUMENT, "%s",
		  error.message);
	sizes.train_count = 0;
	CHECK(lat_training_size(&sizes, &run->options, &lazy, &error) == LAT_BAD_ARGUMENT, "%s",
		  error.message);
	sizes.train_count = COUNT;
	options = run->options;
	CHECK(lat_training_size(&sizes, &options, &lazy, &error) == LAT_OK, "lazy");
	options.words = LAT_WORDS_FROZEN;
	CHECK(lat_training_size(&sizes, &options, &frozen, &error) == LAT_OK, "frozen");
	CHECK(lazy - frozen >= (size_t) run->base.config.vocabulary * run->base.words.stride * 8,
		  "frozen words have no moments");
}

/* Records that do not fit the run. */
static void
test_records(Run *run)
{
	static const LatTeam alone = {.size = 1};
	LatTrainOptions saved = run->options;
	LatTrainer *trainer;
	LatError	error;

	run->options.max_tokens = 10;
	create_block(run);
	CHECK(lat_trainer_open(&run->test.host, lat_find_kernels("auto"), &alone, run->block, &trainer,
						   &error) == LAT_BAD_ARGUMENT, "%s: %s", run->name, error.message);
	run->options = saved;
	create_block(run);
	((int32_t *) lat_block_at(run->block, ((LatTrainingBlock *) run->block)->train))[2] = -1;
	CHECK(run->base.config.task != LAT_CLASSIFY ||
		  lat_trainer_open(&run->test.host, lat_find_kernels("auto"), &alone, run->block, &trainer,
						   &error) == LAT_BAD_ARGUMENT, "%s: %s", run->name, error.message);
}

/* A bare encoder, in int8, gets a head and is trained. */
static void
test_new_head(const char *directory)
{
	static const char *const labels[] = {"no", "yes"};
	LatNewHead	head = {.task = LAT_CLASSIFY,.labels = 2,.names = labels,.seed = 3};
	LatTrainingSizes sizes = {.head = &head,.train_count = COUNT};
	LatModel	base;
	LatTrainReport report = {0};
	LatTrainer *trainer;
	LatError	error = {0};
	void	   *train;
	void	   *dev;
	char		path[1024];
	Run			run = {.name = "tiny-embed"};

	test_host_init(&run.test);
	snprintf(path, sizeof(path), "%s/tiny-embed", directory);
	if (!CHECK(load_model(&run.test.host, path, LAT_INT8, &base, &error) == LAT_OK, "tiny-embed"))
		return;
	run.base = base;
	run.base.config.task = LAT_CLASSIFY;
	run.base.config.labels = 2;
	for (int i = 0; i < COUNT; i++)
		add_example(&run.records, &run.base, i);
	sizes.base = &base;
	sizes.train_bytes = run.records.size;
	lat_train_defaults(&base.config, LAT_CLASSIFY, &run.options);
	run.options.max_tokens = MOST_TOKENS;
	run.options.epochs[0] = run.options.epochs[1] = 1;
	CHECK(lat_training_size(&sizes, &run.options, &run.size, &error) == LAT_OK, "%s",
		  error.message);
	run.block = aligned_alloc(64, run.size);
	memset(run.block, 0, run.size);
	CHECK(lat_training_create(&run.test.host, run.block, &sizes, &run.options, &train, &dev,
							  &error) == LAT_OK, "%s", error.message);
	memcpy(train, run.records.bytes, run.records.size);
	trainer = open_alone(&run, NULL);
	CHECK(lat_train_step(trainer, &report, &error) == LAT_OK && report.loss > 0.5 &&
		  report.loss < 0.9, "a new head begins at log 2: %.3f", report.loss);
	lat_trainer_close(trainer);

	/* without a head there is nothing to learn */
	sizes.head = NULL;
	CHECK(lat_training_size(&sizes, &run.options, &run.size, &error) == LAT_BAD_ARGUMENT, "%s",
		  error.message);
	close_run(&run);
}

int
main(int argc, char **argv)
{
	const char *names[] = {"tiny-classify", "tiny-span", "tiny-tag", "tiny-electra",
	"tiny-distilbert"};

	if (argc != 2)
		return 2;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		Run			run;

		if (!open_run(&run, argv[1], names[i]))
			continue;
		test_plan(&run);
		test_submodels(&run);
		test_learns(&run);
		for (int words = LAT_WORDS_LAZY; words <= LAT_WORDS_DENSE; words++)
			test_bits(&run, words);
		run.options.words = LAT_WORDS_LAZY;
		if (i == 0)
			test_quality(&run);
		test_memory(&run);
		test_interrupts(&run);
		test_team(&run);
		test_divergence(&run);
		test_options(&run);
		test_records(&run);
		close_run(&run);
	}
	test_new_head(argv[1]);
	return check_done("train");
}
