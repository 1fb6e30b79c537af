/*
 * forward_test.c
 *	  The forward pass of the tiny checkpoints: against the specification's values (forward.txt,
 *	  written by make_forward.py), alone and in batches, cut to one token and two, under every
 *	  kernel set, with the n-th allocation failing, interrupted at the n-th question.
 *
 *	  Usage: forward_test GOLDEN_DIRECTORY
 */
#include "check.h"
#include "load.h"

#include <math.h>

#define MAX_CASES 256
#define MAX_TOKENS 64
#define MAX_VALUES 4096
#define MAX_MEMBERS 128			/* sequences of a batch */
#define GROUP_ROWS 256			/* as in forward.c: a batch of more goes in several groups */
#define TOLERANCE 1e-3			/* of fp32 against the specification, in every logit */

typedef struct Case
{
	char		model[64];
	int			tokens;
	int32_t		ids[MAX_TOKENS];
	uint8_t		segments[MAX_TOKENS];
	int			lengths_count;	/* 0: in full */
	int32_t		lengths[LAT_MAX_LAYERS];
	int			kept_count[LAT_MAX_LAYERS];
	int32_t		kept[LAT_MAX_LAYERS][MAX_TOKENS];
	int			layers;
	int			values_count;
	float		values[MAX_VALUES];
} Case;

static Case cases[MAX_CASES];
static int	case_count;
static const char *const kernel_names[] = {"scalar", "avx2", "avx512", "avx512_bf16", "neon"};

static int
read_ints(FILE *file, int32_t *to, int most)
{
	int			n;

	if (fscanf(file, "%d", &n) != 1 || n > most)
		abort();
	for (int i = 0; i < n; i++)
		if (fscanf(file, "%d", &to[i]) != 1)
			abort();
	return n;
}

static void
read_cases(const char *directory)
{
	char		path[1024];
	char		word[64];
	FILE	   *file;
	Case	   *now = NULL;
	int32_t		segments[MAX_TOKENS];

	snprintf(path, sizeof(path), "%s/forward.txt", directory);
	file = fopen(path, "r");
	while (file && fscanf(file, "%63s", word) == 1)
	{
		if (strcmp(word, "case") == 0)
		{
			now = &cases[case_count++];
			if (case_count > MAX_CASES || fscanf(file, "%63s", now->model) != 1)
				abort();
		}
		else if (strcmp(word, "ids") == 0)
			now->tokens = read_ints(file, now->ids, MAX_TOKENS);
		else if (strcmp(word, "segments") == 0)
			for (int i = 0, n = read_ints(file, segments, MAX_TOKENS); i < n; i++)
				now->segments[i] = (uint8_t) segments[i];
		else if (strcmp(word, "lengths") == 0)
			now->lengths_count = read_ints(file, now->lengths, LAT_MAX_LAYERS);
		else if (strcmp(word, "kept") == 0)
		{
			now->kept_count[now->layers] = read_ints(file, now->kept[now->layers], MAX_TOKENS);
			now->layers++;
		}
		else if (strcmp(word, "values") == 0)
		{
			if (fscanf(file, "%d", &now->values_count) != 1 || now->values_count > MAX_VALUES)
				abort();
			for (int i = 0; i < now->values_count; i++)
				if (fscanf(file, "%f", &now->values[i]) != 1)
					abort();
		}
	}
	if (file)
		fclose(file);
}

static LatStatus
run_case(LatEngine *engine, const LatModel *model, const Case *test, bool cls_only, float *output,
		 LatTrace *trace)
{
	const int32_t offsets[2] = {0, test->tokens};
	LatBatch	batch = {.count = 1,.offsets = offsets,.ids = test->ids,.segments = test->segments,
	.lengths = test->lengths_count ? test->lengths : NULL,.cls_only = cls_only};

	return lat_forward(engine, model, &batch, output, trace, NULL);
}

static void
test_against_specification(LatEngine *engine, const LatModel *model, const Case *test)
{
	float		output[MAX_VALUES];
	int32_t		counts[LAT_MAX_LAYERS];
	int32_t		kept[LAT_MAX_LAYERS * MAX_TOKENS];
	LatTrace	trace = {counts, kept};
	double		worst = 0;
	bool		same = true;

	CHECK(run_case(engine, model, test, false, output, &trace) == LAT_OK, "%s runs", test->model);
	for (int i = 0; i < test->values_count; i++)
		worst = fmax(worst, fabs(output[i] - test->values[i]));
	CHECK(worst < TOLERANCE, "%s, %s, T %d: logits as specified (%.1e)", test->model,
		  lat_kernels_name(engine->kernels), test->tokens, worst);
	for (int layer = 0; layer < test->layers; layer++)
		same = same && counts[layer] == test->kept_count[layer] &&
			memcmp(kept + layer * test->tokens, test->kept[layer], counts[layer] * 4) == 0;
	CHECK(same, "%s, %s, T %d: kept positions as specified", test->model,
		  lat_kernels_name(engine->kernels), test->tokens);
}

/* The case's first tokens. The specification has no values for them, only so many. */
static Case
cut_case(const LatModel *model, const Case *from, int tokens)
{
	Case		cut = *from;
	bool		by_row = model->config.task == LAT_SPAN || model->config.task == LAT_TAG;

	cut.tokens = tokens;
	cut.values_count = lat_output_columns(model) * (by_row ? tokens : 1);
	return cut;
}

/* The classifier's shortcut, for [CLS] alone, gives the same bits. */
static void
test_cls_only(LatEngine *engine, const LatModel *model, const Case *test)
{
	float		full[MAX_VALUES];
	float		shortcut[MAX_VALUES];
	Case		kept = *test;

	/* in the last layer nothing is dropped: by convention it keeps what the one before did */
	if (kept.lengths_count)
		kept.lengths[kept.lengths_count - 1] = kept.lengths[kept.lengths_count - 2];
	run_case(engine, model, &kept, false, full, NULL);
	run_case(engine, model, &kept, true, shortcut, NULL);
	CHECK(memcmp(full, shortcut, kept.values_count * 4) == 0, "%s, %s, T %d: [CLS] alone, same bits",
		  test->model, lat_kernels_name(engine->kernels), test->tokens);
}

/* Sequences of one batch and, end to end, what lat_forward takes of them and gives. */
typedef struct Members
{
	Case		cases[MAX_MEMBERS];
	LatBatch	batch;
	int32_t		offsets[MAX_MEMBERS + 1];
	int32_t		ids[MAX_MEMBERS * MAX_TOKENS];
	uint8_t		segments[MAX_MEMBERS * MAX_TOKENS];
	int32_t		lengths[MAX_MEMBERS * LAT_MAX_LAYERS];
	int32_t		counts[LAT_MAX_LAYERS * MAX_MEMBERS];
	int32_t		kept[LAT_MAX_LAYERS * MAX_MEMBERS * MAX_TOKENS];
	float		output[MAX_MEMBERS * MAX_VALUES];
} Members;

/* With full lengths written out where there are none. */
static void
add_member(Members *all, const LatModel *model, const Case *test)
{
	int			layers = model->config.layers;
	int			s = all->batch.count++;
	int			from = all->offsets[s];

	if (s == MAX_MEMBERS)
		abort();
	all->cases[s] = *test;
	memcpy(all->ids + from, test->ids, test->tokens * 4);
	memcpy(all->segments + from, test->segments, test->tokens);
	for (int l = 0; l < layers; l++)
		all->lengths[s * layers + l] = test->lengths_count ? test->lengths[l] : MAX_TOKENS;
	all->offsets[s + 1] = from + test->tokens;
}

/* All cases of one model, whole and cut to two tokens and one, often enough for several groups. */
static void
gather_members(Members *all, const LatModel *model, const char *name)
{
	memset(all, 0, sizeof(*all));
	all->batch = (LatBatch) {
		.offsets = all->offsets,.ids = all->ids,.segments = all->segments,.lengths = all->lengths
	};
	while (all->offsets[all->batch.count] <= GROUP_ROWS)
		for (int i = 0; i < case_count; i++)
			if (strcmp(cases[i].model, name) == 0)
			{
				add_member(all, model, &cases[i]);
				for (int tokens = 2; tokens >= 1; tokens--)
				{
					Case		cut = cut_case(model, &cases[i], tokens);

					add_member(all, model, &cut);
				}
			}
}

/* What sequence s of a batch kept is what it keeps alone. */
static bool
same_kept(const Members *all, int layers, int s, const LatTrace *alone)
{
	int			rows = all->offsets[all->batch.count];
	int			tokens = all->cases[s].tokens;
	bool		same = true;

	for (int l = 0; l < layers; l++)
		same = same && all->counts[l * all->batch.count + s] == alone->counts[l] &&
			memcmp(all->kept + l * rows + all->offsets[s], alone->kept + l * tokens,
				   alone->counts[l] * 4) == 0;
	return same;
}

/* Every sequence alone against itself in the batch: the same bits, the same tokens kept. */
static void
test_batch(LatEngine *engine, const LatModel *model, const char *name, bool cls_only)
{
	static Members all;
	const char *kernels = lat_kernels_name(engine->kernels);
	const char *precision = lat_precision_name(model->precision);
	int			at = 0;
	int			failed = 0;
	int			other_bits = 0;
	int			other_kept = 0;

	gather_members(&all, model, name);
	all.batch.cls_only = cls_only;
	CHECK(lat_forward(engine, model, &all.batch, all.output, &(LatTrace) {all.counts, all.kept},
					  NULL) == LAT_OK, "%s: batch", name);
	for (int s = 0; s < all.batch.count; s++)
	{
		const Case *test = &all.cases[s];
		float		alone[MAX_VALUES];
		int32_t		counts[LAT_MAX_LAYERS];
		int32_t		kept[LAT_MAX_LAYERS * MAX_TOKENS];
		LatTrace	trace = {counts, kept};

		if (run_case(engine, model, test, cls_only, alone, &trace) != LAT_OK)
			failed++;
		else
		{
			other_bits += memcmp(alone, all.output + at, test->values_count * 4) != 0;
			other_kept += !same_kept(&all, model->config.layers, s, &trace);
		}
		at += test->values_count;
	}
	CHECK(failed == 0, "%s, %s, %s: %d do not run alone", name, kernels, precision, failed);
	CHECK(other_bits == 0, "%s, %s, %s, [CLS] alone %d: %d of %d have other bits in a batch", name,
		  kernels, precision, cls_only, other_bits, all.batch.count);
	CHECK(other_kept == 0, "%s, %s, %s, [CLS] alone %d: %d of %d keep others in a batch", name,
		  kernels, precision, cls_only, other_kept, all.batch.count);
}

static void
test_failures(TestHost *test, LatEngine *engine, const LatModel *model, const Case *one)
{
	float		output[MAX_VALUES];
	float		again[MAX_VALUES];
	LatStatus	status = LAT_INTERRUPTED;
	long		questions = 0;

	lat_engine_release(engine);
	test->fail_at = 0;
	CHECK(run_case(engine, model, one, false, output, NULL) == LAT_NO_MEMORY, "out of memory is told");
	test->fail_at = -1;
	run_case(engine, model, one, false, output, NULL);
	while (status == LAT_INTERRUPTED && questions < 10000)
	{
		test->interrupt_at = ++questions;
		status = run_case(engine, model, one, false, again, NULL);
	}
	CHECK(status == LAT_OK && questions > model->config.layers,
		  "%s: %ld chances to interrupt", one->model, questions);
	test->interrupt_at = -1;
	run_case(engine, model, one, false, again, NULL);
	CHECK(memcmp(output, again, one->values_count * 4) == 0, "%s: the same after interrupts", one->model);
	lat_engine_release(engine);
	CHECK(test->live == 0, "%s: nothing leaked", one->model);
}

static void
test_bad_batches(LatEngine *engine, const LatModel *model, const Case *one)
{
	float		output[MAX_VALUES];
	Case		bad = *one;

	bad.ids[0] = model->config.vocabulary;
	CHECK(run_case(engine, model, &bad, false, output, NULL) == LAT_BAD_ARGUMENT, "id too large");
	bad.ids[0] = -1;
	CHECK(run_case(engine, model, &bad, false, output, NULL) == LAT_BAD_ARGUMENT, "negative id");
	bad = *one;
	bad.tokens = 0;
	CHECK(run_case(engine, model, &bad, false, output, NULL) == LAT_BAD_ARGUMENT, "no token");
	if (model->config.segments > 0)
	{
		bad = *one;
		bad.segments[0] = 77;
		CHECK(run_case(engine, model, &bad, false, output, NULL) == LAT_BAD_ARGUMENT, "segment 77");
	}
}

static void
test_model(const char *directory, const char *name, LatPrecision precision)
{
	TestHost	test;
	LatModel	model;
	LatError	error;
	char		path[1024];
	const Case *first = NULL;

	test_host_init(&test);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (load_model(&test.host, path, precision, &model, &error) != LAT_OK)
	{
		CHECK(false, "%s: %s", name, error.message);
		return;
	}
	for (size_t k = 0; k < sizeof(kernel_names) / sizeof(kernel_names[0]); k++)
	{
		LatEngine	engine = {.host = &test.host,.kernels = lat_find_kernels(kernel_names[k])};

		if (engine.kernels == NULL)
			continue;
		for (int i = 0; i < case_count; i++)
		{
			if (strcmp(cases[i].model, name) != 0)
				continue;
			first = first ? first : &cases[i];
			if (precision == LAT_FP32)
				test_against_specification(&engine, &model, &cases[i]);
			if (model.config.task == LAT_CLASSIFY)
				test_cls_only(&engine, &model, &cases[i]);
			for (int tokens = 1; model.config.task == LAT_CLASSIFY && tokens <= 2; tokens++)
			{
				Case		cut = cut_case(&model, &cases[i], tokens);

				test_cls_only(&engine, &model, &cut);
			}
		}
		test_batch(&engine, &model, name, false);
		if (model.config.task == LAT_CLASSIFY)
			test_batch(&engine, &model, name, true);
		test_bad_batches(&engine, &model, first);
		test_failures(&test, &engine, &model, first);
	}
	free((void *) model.image);
}

int
main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	read_cases(argv[1]);
	CHECK(case_count > 0, "forward.txt has cases");
	for (int i = 0; i < case_count; i++)
		if (i == 0 || strcmp(cases[i].model, cases[i - 1].model) != 0)
		{
			test_model(argv[1], cases[i].model, LAT_FP32);
			test_model(argv[1], cases[i].model, LAT_INT8);
		}
	return check_done("forward");
}
