/*
 * bench_encoder_stages.c
 *	  Where the encoder's time goes: each stage next to its bound.
 *
 *		taskset -c 0 build/bench/bench_encoder_stages [MODEL [KERNELS [LENGTHS REFERENCE]]]
 *
 * MODEL: models/sst2.latpack if none is named.  LENGTHS: tokens kept after each layer, with commas
 * between, at REFERENCE tokens, as a .pareto file lists them; nothing is dropped without them.
 *
 * The kernels are wrapped in functions that take the time, so that the core runs as it is; what else
 * there is (embeddings, choosing tokens and moving their rows, calls) is in the last line.  Bounds,
 * measured here in registers and caches:
 *
 *		GEMM		multiply-adds at the peak of the int8 instruction
 *		attention	multiply-adds at the peak of the bf16 instruction
 *		the others	bytes read and written, at the rate of a copy within the second-level cache
 *
 * Shown is the fastest of RUNS runs.  Lines begin with "#": there is no peer to compare with.
 */
#include "core/format.h"
#include "core/kernels.h"
#include "../plain_host.h"

#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define HUGE_PAGE ((size_t) 2 << 20)
#define RUNS 41
#define MAX_TOKENS 512

typedef enum Stage
{
	QUANTIZE,
	QKV,
	ATTENTION_OUTPUT,
	FEED_FORWARD_IN,
	FEED_FORWARD_OUT,
	HEAD,
	PACK,
	ATTENTION,
	LAYER_NORM,
	OTHER,
	STAGES
} Stage;

static const char *const stage_names[STAGES] = {
	"quantise activations", "GEMM Q, K, V", "GEMM attention output", "GEMM feed-forward in, GELU",
	"GEMM feed-forward out", "GEMM head", "keys, values to bf16", "attention, softmax",
	"LayerNorm, residual", "embeddings, drop, calls"
};

/* What a stage did in one run. */
typedef struct Account
{
	double		seconds;
	double		multiply_adds;
	double		bytes;
} Account;

static Account accounts[STAGES];
static const LatKernels *real;
static const LatModel *model;

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

static void
account(Stage stage, double start, double multiply_adds, double bytes)
{
	accounts[stage].seconds += now() - start;
	accounts[stage].multiply_adds += multiply_adds;
	accounts[stage].bytes += bytes;
}

/* ---- wrapped kernels ---------------------------------------------------------------------- */

static void
timed_quantize(const float *x, size_t ldx, int rows, int k, int levels, LatCodes *codes)
{
	double		start = now();

	real->quantize(x, ldx, rows, k, levels, codes);
	account(QUANTIZE, start, 0, (double) rows * k * 5);
}

/* The stage that a linear belongs to, by where its weights lie. */
static Stage
stage_of(const LatLinear *linear)
{
	const uint8_t *weights = linear->weights;

	for (int i = 0; i < model->config.layers; i++)
	{
		const LatLinear *linears[] = {&model->layers[i].qkv, &model->layers[i].attention_output,
		&model->layers[i].feed_forward_in, &model->layers[i].feed_forward_out};

		for (int stage = QKV; stage <= FEED_FORWARD_OUT; stage++)
		{
			const LatLinear *one = linears[stage - QKV];
			const uint8_t *first = one->weights;

			if (weights >= first && weights < first + (size_t) one->k_padded * one->n_padded)
				return (Stage) stage;
		}
	}
	return HEAD;
}

static void
timed_gemm_s8(const LatGemmS8 *gemm)
{
	double		columns = 16.0 * gemm->panels;
	double		start = now();

	real->gemm_s8(gemm);
	account(stage_of(gemm->linear), start, gemm->rows * columns * gemm->linear->k,
			gemm->rows * columns * 4);
}

static void
timed_gemm_f32(const LatGemm *gemm)
{
	double		start = now();

	real->gemm_f32(gemm);
	account(HEAD, start, 16.0 * gemm->panels * gemm->rows * gemm->depth, 0);
}

static void
timed_pack_head(const LatHead *head)
{
	double		start = now();

	real->pack_head(head);
	account(PACK, start, 0, 2.0 * head->tokens * head->d * 6);
}

static void
timed_attend_head(const LatHead *head, int from, int queries)
{
	double		start = now();

	real->attend_head(head, from, queries);
	account(ATTENTION, start, 2.0 * queries * head->tokens * head->d, 0);
}

static void
timed_layer_norm(float *x, const float *residual, size_t ld, int rows, int h, const LatNorm *norm,
				 float eps)
{
	double		start = now();

	real->layer_norm(x, residual, ld, rows, h, norm, eps);
	account(LAYER_NORM, start, 0, (double) rows * h * (residual ? 12 : 8));
}

/* ---- bounds ------------------------------------------------------------------------------- */

/* Multiply-adds a second of an instruction with this many, sixteen sums in registers. */
#define MEASURE_PEAK(name, instruction, features, products) \
__attribute__((target(features))) static double \
name(void) \
{ \
	__m512i		zero = _mm512_setzero_si512(); \
	double		best = 0; \
\
	for (int run = 0; run < 20; run++) \
	{ \
		double		start = now(); \
		double		rate; \
\
		for (int i = 0; i < 100000; i++) \
			__asm__ volatile(SIXTEEN(instruction) : : "v" (zero) : SUMS); \
		rate = 1.6e6 * (products) / (now() - start); \
		best = rate > best ? rate : best; \
	} \
	return best; \
}
#define ONE(instruction, sum) instruction " %0, %0, %%zmm" #sum "\n"
#define FOUR(i, a, b, c, d) ONE(i, a) ONE(i, b) ONE(i, c) ONE(i, d)
#define SIXTEEN(i) \
	FOUR(i, 16, 17, 18, 19) FOUR(i, 20, 21, 22, 23) FOUR(i, 24, 25, 26, 27) FOUR(i, 28, 29, 30, 31)
#define SUMS \
	"xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", \
	"xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31"

MEASURE_PEAK(peak_s8, "vpdpbusd", "avx512f,avx512vnni", 64)
MEASURE_PEAK(peak_bf16, "vdpbf16ps", "avx512f,avx512bf16", 32)

/* Bytes a second, read and written, of copies within the second-level cache. */
static double
copy_rate(void)
{
	enum
	{
		SIZE = 192 << 10
	};
	char	   *from = malloc(2 * SIZE);
	double		best = 0;

	memset(from, 1, 2 * SIZE);
	for (int run = 0; run < 200; run++)
	{
		double		start = now();
		double		rate;

		for (int i = 0; i < 10; i++)
		{
			memcpy(from + SIZE, from, SIZE);
			__asm__ volatile("" : : "r" (from) : "memory");
		}
		rate = 20.0 * SIZE / (now() - start);
		best = rate > best ? rate : best;
	}
	free(from);
	return best;
}

typedef struct Bounds
{
	double		s8;
	double		bf16;
	double		bytes;
} Bounds;

static double
bound_of(Stage stage, const Account *one, const Bounds *bounds)
{
	if (stage == ATTENTION)
		return one->multiply_adds / bounds->bf16;
	if (stage >= QKV && stage <= FEED_FORWARD_OUT)
		return one->multiply_adds / bounds->s8;
	return one->bytes / bounds->bytes;
}

/* ---- runs --------------------------------------------------------------------------------- */

/* Seconds of the fastest run, which is left in accounts. */
static double
run_model(LatEngine *engine, const LatBatch *batch, float *output)
{
	Account		best[STAGES];
	double		fastest = 0;

	for (int run = 0; run < RUNS; run++)
	{
		double		start = now();
		double		total;

		memset(accounts, 0, sizeof(accounts));
		if (lat_forward(engine, model, batch, output, NULL, NULL) != LAT_OK)
			exit(1);
		total = now() - start;
		accounts[OTHER].seconds = total;
		for (int stage = 0; stage < OTHER; stage++)
			accounts[OTHER].seconds -= accounts[stage].seconds;
		if (run == 0 || total < fastest)
		{
			fastest = total;
			memcpy(best, accounts, sizeof(accounts));
		}
	}
	memcpy(accounts, best, sizeof(accounts));
	return fastest;
}

/* What the layers keep, at a reference length of 0 everything. */
typedef struct Kept
{
	int32_t		lengths[LAT_MAX_LAYERS];
	int32_t		reference;
} Kept;

static bool
parse_kept(char *lengths, const char *reference, Kept *kept)
{
	int			count = 0;

	for (char *one = strtok(lengths, ","); one && count < LAT_MAX_LAYERS; one = strtok(NULL, ","))
		kept->lengths[count++] = atoi(one);
	kept->reference = atoi(reference);
	return kept->reference > 0 &&
		lat_check_lengths(&model->config, kept->lengths, count, NULL) == LAT_OK;
}

static void
report(LatEngine *engine, int tokens, const Kept *kept, const Bounds *bounds)
{
	static int32_t ids[MAX_TOKENS];
	static float output[MAX_TOKENS * 64];
	const int32_t offsets[2] = {0, tokens};
	int32_t		lengths[LAT_MAX_LAYERS];
	LatBatch	batch = {.count = 1,.offsets = offsets,.ids = ids,.cls_only = true};
	double		total;

	if (kept->reference)
	{
		lat_scale_lengths(kept->lengths, model->config.layers, kept->reference, tokens, lengths);
		batch.lengths = lengths;
	}
	for (int i = 0; i < tokens; i++)
		ids[i] = model->config.cls_id + 1000 + i * 37 % 20000;
	total = run_model(engine, &batch, output);
	printf("# %d tokens, one text: %.3f ms\n", tokens, 1e3 * total);
	printf("# stage | us | share | bound, us | of its bound\n");
	for (int stage = 0; stage < STAGES; stage++)
	{
		double		bound = bound_of(stage, &accounts[stage], bounds);

		printf("# %-27s | %8.1f | %4.1f %% | ", stage_names[stage], 1e6 * accounts[stage].seconds,
			   100 * accounts[stage].seconds / total);
		if (bound > 0)
			printf("%8.1f | %.2f\n", 1e6 * bound, bound / accounts[stage].seconds);
		else
			printf("         |\n");
	}
	fflush(stdout);
}

/* In huge pages, as the server has it (src/model_file.c). */
static void *
read_image(const char *path, size_t *size)
{
	FILE	   *file = fopen(path, "rb");
	void	   *image;

	if (file == NULL)
		return NULL;
	fseek(file, 0, SEEK_END);
	*size = (size_t) ftell(file);
	rewind(file);
	image = aligned_alloc(HUGE_PAGE, LAT_ROUND_UP(*size, HUGE_PAGE));
	(void) madvise(image, *size, MADV_HUGEPAGE);
	if (fread(image, 1, *size, file) != *size)
		exit(1);
	fclose(file);
	return image;
}

int
main(int argc, char **argv)
{
	static const LatHost host = PLAIN_HOST;
	static LatModel opened;
	static LatKernels timed;
	LatEngine	engine = {.host = &host,.kernels = &timed};
	Bounds		bounds;
	Kept		kept = {.reference = 0};
	size_t		size = 0;
	bool		named = argc > 1 && argv[1][0] != '-';
	void	   *image = read_image(named ? argv[1] : "models/sst2.latpack", &size);

	real = lat_find_kernels(argc > 2 ? argv[2] : "auto");
	if (image == NULL || real == NULL || lat_model_open(image, size, &opened, NULL) != LAT_OK)
		return 2;
	if (!__builtin_cpu_supports("avx512vnni") || !__builtin_cpu_supports("avx512bf16"))
	{
		printf("# bounds need a CPU with AVX512_VNNI and AVX512_BF16\n");
		return 0;
	}
	model = &opened;
	if (argc > 4 && !parse_kept(argv[3], argv[4], &kept))
		return 2;
	timed = *real;
	timed.quantize = timed_quantize;
	timed.gemm_s8 = timed_gemm_s8;
	timed.gemm_f32 = timed_gemm_f32;
	timed.pack_head = real->pack_head ? timed_pack_head : NULL;
	timed.attend_head = real->attend_head ? timed_attend_head : NULL;
	timed.layer_norm = timed_layer_norm;
	bounds = (Bounds) {
		peak_s8(), peak_bf16(), copy_rate()
	};
	printf("# kernels %s; peaks: int8 %.0f GFLOP/s, bf16 %.0f GFLOP/s, copies %.0f GB/s\n", real->name,
		   2e-9 * bounds.s8, 2e-9 * bounds.bf16, 1e-9 * bounds.bytes);
	report(&engine, 25, &kept, &bounds);
	report(&engine, 128, &kept, &bounds);
	report(&engine, 384, &kept, &bounds);
	lat_engine_release(&engine);
	free(image);
	return 0;
}
