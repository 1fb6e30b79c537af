/*
 * search_test.c
 *	  The search as a whole, over made-up outcomes that depend on configuration and example.
 *
 * Processes of a team are played by threads; a made-up evaluator (made_up.h) stands
 * in for lat_evaluate.  The last tests run small models for real.
 */
#include "check.h"
#include "core/search.h"
#include "load.h"
#include "made_up.h"
#include "team.h"

#include <math.h>

#define TOKENS 6
#define MAX_TEAM 3

static const char *golden;

/* ---- running ------------------------------------------------------------------------------- */

/* What a search is run with. */
typedef struct Setup
{
	const LatModel *model;
	void	   *block;
	LatEvaluate evaluate;		/* NULL: lat_evaluate */
	double		(*clock) (void);
	int			steps;			/* to run; more than there are: to the end */
	int			team;
	int			failing;		/* rank whose host interrupts at once; -1: none */
} Setup;

typedef struct Member
{
	const Setup *setup;
	TestBarrier *barrier;
	int			rank;
	LatStatus	status;
	long		live;			/* allocations left over */
	LatSearchReport report;
} Member;

static void *
run_member(void *arg)
{
	Member	   *member = arg;
	const Setup *setup = member->setup;
	LatTeam		team = {setup->team, member->rank, test_wait, member->barrier};
	LatSearcher *searcher;
	LatError	error;
	TestHost	host;

	test_host_init(&host);
	member->status = lat_searcher_open(&host.host, lat_find_kernels("scalar"), &team, setup->model,
									   setup->block, &searcher, &error);
	if (member->status == LAT_OK)
	{
		if (setup->evaluate)
			lat_searcher_set_evaluate(searcher, setup->evaluate);
		lat_searcher_set_clock(searcher, setup->clock);
		if (setup->failing == member->rank)
			host.interrupt_at = 5;
		for (int i = 0; member->status == LAT_OK && i < setup->steps; i++)
		{
			member->status = lat_search_step(searcher, &member->report, &error);
			if (member->report.finished)
				break;
		}
		lat_searcher_close(searcher);
	}
	if (member->status != LAT_OK)
		test_break(member->barrier);
	member->live = host.live;
	return NULL;
}

/* Run steps of a search; the first failure that is not another one's. */
static LatStatus
run_team(const Setup *setup, LatSearchReport *report)
{
	TestBarrier barrier = TEST_BARRIER(setup->team);
	Member		members[MAX_TEAM];
	pthread_t	threads[MAX_TEAM];
	LatStatus	status = LAT_OK;

	for (int i = 0; i < setup->team; i++)
	{
		members[i] = (Member) {
			.setup = setup,.barrier = &barrier,.rank = i
		};
		pthread_create(&threads[i], NULL, run_member, &members[i]);
	}
	for (int i = 0; i < setup->team; i++)
	{
		pthread_join(threads[i], NULL);
		CHECK(members[i].live == 0, "rank %d of %d leaves nothing behind", i, setup->team);
		CHECK(memcmp(&members[i].report, &members[0].report, sizeof(LatSearchReport)) == 0,
			  "all ranks report the same");
		if (members[i].status != LAT_OK)
			status = members[i].status;
	}
	*report = members[0].report;
	return status;
}

/* ---- blocks ------------------------------------------------------------------------------- */

static LatSearchOptions
few_options(const LatModel *model)
{
	LatSearchOptions options;

	lat_search_defaults(&model->config, &options);
	options.iterations = 4;
	options.mutations = 12;
	options.crossovers = 9;
	options.ratios = 6;
	options.reference_length = 60;
	options.seed = 42;
	return options;
}

/* A block with `count` numbered examples; *size if not NULL. Release with free(). */
static void *
make_block(const LatModel *model, const LatSearchOptions *options, int32_t count, bool labelled,
		   size_t *size)
{
	size_t		record = sizeof(int32_t) * (4 + TOKENS * (model->config.task == LAT_TAG ? 2 : 1));
	size_t		bytes;
	void	   *block;
	void	   *records;
	LatError	error;

	if (!CHECK(lat_search_size(model, options, record * count, count, &bytes, &error) == LAT_OK,
			   "size: %s", error.message))
		return NULL;
	block = aligned_alloc(64, (bytes + 63) / 64 * 64);
	memset(block, 0, bytes);
	CHECK(lat_search_create(block, model, options, LAT_RECORD_EXAMPLE, record * count, count,
							labelled, &records, &error) == LAT_OK, "create: %s", error.message);
	for (int32_t i = 0; i < count; i++)
	{
		const int32_t ids[TOKENS] = {model->config.cls_id, i / 64, i % 64, 7, i * 31 % 64,
		model->config.sep_id};
		const int32_t labels[TOKENS] = {-1, 0, -1, 1, 2, -1};
		LatExample	example = {.tokens = TOKENS,.first = TOKENS,.target = {0, 0},.ids = ids,
		.labels = model->config.task == LAT_TAG ? labels : NULL};

		if (model->config.task == LAT_CLASSIFY)
			example.target[0] = labelled ? i % model->config.labels : -1;
		lat_example_write(&example, (uint8_t *) records + i * record);
	}
	if (size)
		*size = bytes;
	return block;
}

static bool
open_model(const char *name, LatModel *model)
{
	char		path[1024];
	LatError	error;
	TestHost	host;

	test_host_init(&host);
	snprintf(path, sizeof(path), "%s/%s", golden, name);
	return CHECK(load_model(&host.host, path, LAT_FP32, model, &error) == LAT_OK, "%s: %s", name,
				 error.message);
}

static const LatSearchState *
state_of(void *block, size_t *bytes)
{
	void	   *state;

	lat_search_state(block, &state, bytes);
	return state;
}

/* ---- tests over made-up outcomes ---------------------------------------------------------- */

static void
check_candidates(const LatModel *model, const LatSearchState *state)
{
	int			layers = model->config.layers;
	int			reported = 0;
	int			wrong = 0;
	int			beaten = 0;

	for (int32_t i = 0; i < state->count; i++)
	{
		const LatCandidate *candidate = &state->candidates[i];
		bool		reports = candidate->frontier || i == 0;

		wrong += lat_check_lengths(&model->config, candidate->lengths, layers, NULL) != LAT_OK;
		wrong += candidate->lengths[0] > 60 || candidate->fraction > 1 || candidate->fraction <= 0;
		for (int32_t j = 0; j < i; j++)
			wrong += memcmp(candidate->lengths, state->candidates[j].lengths,
							layers * sizeof(int32_t)) == 0;
		wrong += reports != !isnan(candidate->quality);
		wrong += reports && !(candidate->quality_low <= candidate->quality &&
							  candidate->quality <= candidate->quality_high);
		wrong += candidate->abandoned &&
			(candidate->frontier || candidate->evaluated >= EXAMPLES / 2);
		wrong += !candidate->abandoned && candidate->evaluated != EXAMPLES / 2;
		wrong += isnan(candidate->selection);
		reported += candidate->frontier;
		for (int32_t j = 0; j < state->count; j++)
			beaten += candidate->frontier && !state->candidates[j].abandoned &&
				state->candidates[j].fraction <= candidate->fraction &&
				state->candidates[j].selection > candidate->selection;
	}
	CHECK(wrong == 0, "every candidate is sound, and known once (%d wrong)", wrong);
	CHECK(beaten == 0 && reported > 3, "a frontier of %d, none of them beaten (%d)", reported, beaten);
	CHECK(state->candidates[0].fraction == 1 && state->candidates[0].mean_fraction == 1,
		  "the first is in full");
}

/*
 * Evaluate all that was abandoned in full: how many would be on the frontier?  Chances are
 * LAT_RACE_LEVEL each at the most.
 */
static int
count_mistakes(const LatModel *model, const LatSearchState *state, uint64_t seed)
{
	int			layers = model->config.layers;
	int			mistakes = 0;
	LatRandom	random = lat_random(seed, 0, 0, 0, 1);
	int32_t		shuffled[EXAMPLES];

	/* the split as search_block.c draws it */
	for (int32_t i = 0; i < EXAMPLES; i++)
		shuffled[i] = i;
	for (int32_t i = EXAMPLES - 1; i > 0; i--)
	{
		uint32_t	j = lat_random_below(random, (uint32_t) i, (uint32_t) i + 1);
		int32_t		moved = shuffled[i];

		shuffled[i] = shuffled[j];
		shuffled[j] = moved;
	}
	for (int32_t i = 0; i < state->count; i++)
	{
		const LatCandidate *candidate = &state->candidates[i];
		int			right = 0;
		bool		beaten = false;

		for (int32_t j = 0; j < EXAMPLES / 2; j++)
			right += is_right(candidate->lengths, layers, 60, shuffled[j]);
		if (!candidate->abandoned)
			CHECK(fabs(candidate->selection - right / (EXAMPLES / 2.0)) < 1e-6,
				  "quality of candidate %d on the selecting half", i);
		for (int32_t j = 0; j < state->count; j++)
			beaten |= state->candidates[j].frontier &&
				state->candidates[j].fraction <= candidate->fraction &&
				state->candidates[j].selection >= right / (EXAMPLES / 2.0) - 1e-9;
		mistakes += candidate->abandoned && !beaten;
	}
	return mistakes;
}

static void
test_search(const LatModel *model)
{
	LatSearchOptions options = few_options(model);
	LatSearchReport report;
	size_t		bytes;
	int			abandoned = 0;
	int			mistakes = 0;
	void	   *block;

	for (options.seed = 1; options.seed <= 12; options.seed++)
	{
		Setup		setup = {model, NULL, evaluate_made_up, NULL, 100, 1, -1};
		const LatSearchState *state;
		int			uneven = 0;
		int			members = 0;

		memset(tried_in_full, 0, sizeof(tried_in_full));
		evaluations = 0;
		setup.block = block = make_block(model, &options, EXAMPLES, true, NULL);
		CHECK(run_team(&setup, &report) == LAT_OK && report.finished && report.iteration == 4,
			  "a search runs to its end");
		state = state_of(block, &bytes);
		check_candidates(model, state);
		CHECK(report.candidates == state->count && report.candidates > 60 &&
			  report.candidates <= 8 + 4 * 21, "%d candidates", report.candidates);
		for (int i = 0; i < EXAMPLES; i++)
			uneven += tried_in_full[i] != 1;
		CHECK(uneven == 0, "in full every example is tried once, by one of the halves");
		CHECK(report.examples < (int64_t) report.candidates * (EXAMPLES / 2),
			  "races save evaluations: %lld for %d", (long long) report.examples, report.candidates);
		for (int32_t i = 0; i < state->count; i++)
			members += i == 0 || state->candidates[i].frontier;
		CHECK(evaluations == (uint64_t) report.examples + (uint64_t) members * (EXAMPLES / 2),
			  "nothing is evaluated twice");
		CHECK(report.hypervolume > 0.4 && report.hypervolume < 0.9, "area under the frontier");
		abandoned += report.abandoned;
		mistakes += count_mistakes(model, state, options.seed);
		free(block);
	}
	printf("    %d abandoned, %d of them belong on the frontier\n", abandoned, mistakes);
	CHECK(abandoned > 100 &&
		  mistakes <= abandoned * LAT_RACE_LEVEL + 3 * sqrt(abandoned * LAT_RACE_LEVEL),
		  "%d abandoned, %d wrongly", abandoned, mistakes);
}

/* The frontier gets better, or stays, from iteration to iteration. */
static void
test_convergence(const LatModel *model)
{
	LatSearchOptions options = few_options(model);
	void	   *block = make_block(model, &options, EXAMPLES, true, NULL);
	Setup		setup = {model, block, evaluate_made_up, NULL, 1, 1, -1};
	double		first = 0;
	double		before = 0;
	LatSearchReport report;

	for (int i = 0; i <= options.iterations; i++)
	{
		CHECK(run_team(&setup, &report) == LAT_OK && report.iteration == i &&
			  report.finished == (i == options.iterations), "step %d", i);
		CHECK(report.hypervolume >= before, "area %.4f after %.4f", report.hypervolume, before);
		before = report.hypervolume;
		first = i == 0 ? before : first;
	}
	CHECK(before > first + 0.001, "better than constant ratios: %.4f after %.4f", before, first);
	free(block);
}

/* One process, three, and three that were stopped and resumed half-way: the same bytes. */
static void
test_same_bytes(const LatModel *model)
{
	LatSearchOptions options = few_options(model);
	LatSearchReport report;
	const void *expected;
	void	   *blocks[3];
	size_t		bytes;
	size_t		size;

	for (int i = 0; i < 2; i++)
	{
		Setup		setup = {model, NULL, evaluate_made_up, NULL, 100, i ? 3 : 1, -1};

		setup.block = blocks[i] = make_block(model, &options, EXAMPLES, true, &size);
		CHECK(run_team(&setup, &report) == LAT_OK, "%d processes", setup.team);
	}
	expected = state_of(blocks[0], &bytes);
	CHECK(bytes < size, "a checkpoint is part of the block");
	CHECK(memcmp(expected, state_of(blocks[1], &bytes), bytes) == 0,
		  "1 and 3 processes: the same bytes");
	for (int stop = 1; stop <= options.iterations + 1; stop++)
	{
		Setup		setup = {model, NULL, evaluate_made_up, NULL, stop, 3, -1};
		void	   *saved = malloc(bytes);
		void	   *state;

		setup.block = blocks[2] = make_block(model, &options, EXAMPLES, true, NULL);
		CHECK(run_team(&setup, &report) == LAT_OK, "up to step %d", stop);
		memcpy(saved, state_of(blocks[2], &bytes), bytes);
		free(blocks[2]);
		setup.block = blocks[2] = make_block(model, &options, EXAMPLES, true, NULL);
		setup.team = 2;
		setup.steps = 100;
		lat_search_state(setup.block, &state, &bytes);
		memcpy(state, saved, bytes);
		CHECK(run_team(&setup, &report) == LAT_OK && report.finished, "resumed after step %d", stop);
		CHECK(memcmp(expected, state, bytes) == 0, "resumed after step %d: the same bytes", stop);
		free(blocks[2]);
		free(saved);
	}
	options.seed++;
	blocks[2] = make_block(model, &options, EXAMPLES, true, NULL);
	CHECK(run_team(&(Setup) {model, blocks[2], evaluate_made_up, NULL, 100, 1, -1}, &report) == LAT_OK,
		  "another seed");
	CHECK(memcmp(expected, state_of(blocks[2], &bytes), bytes) != 0, "another seed, another search");
	for (int i = 0; i < 3; i++)
		free(blocks[i]);
}

static void
test_interrupts(const LatModel *model)
{
	LatSearchOptions options = few_options(model);
	LatSearchReport report;

	for (int failing = 0; failing < 3; failing++)
	{
		void	   *block = make_block(model, &options, EXAMPLES, true, NULL);
		Setup		setup = {model, block, evaluate_made_up, NULL, 100, 3, failing};

		CHECK(run_team(&setup, &report) == LAT_INTERRUPTED, "one is interrupted, all give up");
		free(block);
	}
}

/* Time as cost, by a clock that goes on a millisecond whenever it is asked. */
static double
count_up(void)
{
	static double now;

	return now += 1;
}

static void
test_milliseconds(const LatModel *model)
{
	LatSearchOptions options = few_options(model);
	const LatSearchState *state;
	LatSearchReport report;
	void	   *block;
	size_t		bytes;
	int			wrong = 0;

	options.cost = LAT_COST_MILLISECONDS;
	block = make_block(model, &options, EXAMPLES, true, NULL);
	CHECK(run_team(&(Setup) {model, block, evaluate_made_up, NULL, 1, 1, -1}, &report) ==
		  LAT_BAD_ARGUMENT, "no clock");
	CHECK(run_team(&(Setup) {model, block, evaluate_made_up, count_up, 100, 1, -1}, &report) == LAT_OK,
		  "a search by time");
	state = state_of(block, &bytes);
	for (int32_t i = 0; i < state->count; i++)
		wrong += state->candidates[i].milliseconds != 1;
	CHECK(wrong == 0, "every candidate is measured");

	/* where all cost the same, the frontier is the best alone */
	for (int32_t i = 0; i < state->count; i++)
		wrong += state->candidates[i].frontier;
	CHECK(wrong == 1, "a frontier of one: %d", wrong);
	free(block);

	options.cost = LAT_COST_MULTIPLY_ADDS;
	block = make_block(model, &options, EXAMPLES, true, NULL);
	CHECK(run_team(&(Setup) {model, block, evaluate_made_up, count_up, 100, 1, -1}, &report) == LAT_OK,
		  "a search by multiply-adds");
	state = state_of(block, &bytes);
	for (int32_t i = 0; i < state->count; i++)
		wrong += (state->candidates[i].milliseconds == 1) != (i == 0 || state->candidates[i].frontier);
	CHECK(wrong == 1, "with a clock the frontier is measured at the end");
	free(block);
}

/* ---- tests over a model ------------------------------------------------------------------- */

static void
test_arguments(const LatModel *model)
{
	LatSearchOptions options = few_options(model);
	LatSearchOptions damaged;
	LatError	error;
	TestHost	host;
	LatSearcher *searcher;
	LatModel	other = *model;
	size_t		bytes;
	void	   *block = make_block(model, &options, 20, true, NULL);

	test_host_init(&host);
	CHECK(lat_search_size(model, &options, 100, 1, &bytes, &error) == LAT_BAD_ARGUMENT &&
		  error.hint[0] != '\0', "one example is too few");
	damaged = options;
	damaged.reference_length = model->config.positions + 1;
	CHECK(lat_search_size(model, &damaged, 100, 9, &bytes, &error) == LAT_BAD_ARGUMENT, "too long");
	damaged = options;
	damaged.iterations = -1;
	CHECK(lat_search_size(model, &damaged, 100, 9, &bytes, &error) == LAT_BAD_ARGUMENT, "negative");
	other.config.layers++;
	CHECK(lat_searcher_open(&host.host, lat_find_kernels("scalar"), NULL, &other, block, &searcher,
							&error) == LAT_BAD_ARGUMENT, "another model");
	((LatSearchState *) (uintptr_t) state_of(block, &bytes))->count = 1000000;
	CHECK(lat_searcher_open(&host.host, lat_find_kernels("scalar"), NULL, model, block, &searcher,
							&error) == LAT_BAD_MODEL && host.live == 0, "a checkpoint of another search");
	free(block);
}

/* Every allocation fails once: a status, and nothing left over. */
static void
test_allocation_failures(const LatModel *model)
{
	LatSearchOptions options = few_options(model);
	int			failures = 0;

	options.iterations = 1;
	options.mutations = 2;
	options.crossovers = 2;
	options.ratios = 1;
	for (long at = 0;; at++)
	{
		void	   *block = make_block(model, &options, 10, true, NULL);
		LatSearcher *searcher;
		LatSearchReport report;
		LatError	error;
		LatStatus	status;
		TestHost	host;

		test_host_init(&host);
		host.fail_at = at;
		status = lat_searcher_open(&host.host, lat_find_kernels("scalar"), NULL, model, block,
								   &searcher, &error);
		if (status == LAT_OK)
		{
			status = lat_search_step(searcher, &report, &error);
			if (status == LAT_OK)
				status = lat_search_step(searcher, &report, &error);
			lat_searcher_close(searcher);
		}
		free(block);
		CHECK(host.live == 0, "nothing left over after failure %ld", at);
		if (status == LAT_OK)
			break;
		failures++;
		if (!CHECK(status == LAT_NO_MEMORY && failures < 10000, "out of memory at %ld", at))
			break;
	}
	CHECK(failures >= 3, "allocations fail one by one (%d)", failures);
}

/* Without labels the model in full is right by definition. */
static void
test_agreement(const char *name)
{
	LatSearchReport report;
	LatSearchOptions options;
	const LatSearchState *state;
	const void *first = NULL;
	void	   *blocks[2] = {NULL, NULL};
	size_t		bytes;
	LatModel	model;
	int			wrong = 0;

	if (!open_model(name, &model))
		return;
	options = few_options(&model);
	options.iterations = 2;
	for (int i = 0; i < 2; i++)
	{
		Setup		setup = {&model, NULL, NULL, NULL, 100, i ? 3 : 1, -1};

		setup.block = blocks[i] = make_block(&model, &options, 80, false, NULL);
		CHECK(run_team(&setup, &report) == LAT_OK && report.finished, "%s: a real search", name);
	}
	state = state_of(blocks[0], &bytes);
	first = state;
	CHECK(memcmp(first, state_of(blocks[1], &bytes), bytes) == 0, "%s: 1 and 3 processes", name);
	CHECK(fabs(state->candidates[0].selection - 1) < 1e-5 &&
		  fabs(state->candidates[0].quality - 1) < 1e-5, "%s: in full it agrees with itself", name);
	for (int32_t i = 0; i < state->count; i++)
		wrong += !(state->candidates[i].selection <= 1 + 1e-5) ||
			(!state->candidates[i].abandoned && !(state->candidates[i].mean_fraction <= 1 + 1e-6));
	CHECK(wrong == 0, "%s: nobody agrees better, or costs more (%d)", name, wrong);
	free(blocks[0]);
	free(blocks[1]);
	free((void *) (uintptr_t) model.image);
}

int
main(int argc, char **argv)
{
	LatModel	model;

	golden = argc > 1 ? argv[1] : "test/golden";
	if (!open_model("tiny-classify", &model))
		return check_done("search");
	test_search(&model);
	test_convergence(&model);
	test_same_bytes(&model);
	test_interrupts(&model);
	test_milliseconds(&model);
	test_arguments(&model);
	test_allocation_failures(&model);
	free((void *) (uintptr_t) model.image);
	test_agreement("tiny-classify");
	test_agreement("tiny-tag");
	test_agreement("tiny-embed");
	return check_done("search");
}
