/*
 * bench_gemm.c
 *	  The int8 GEMM against oneDNN's matmul: u8 x s8, packed weights, dequantised f32 output.
 *
 *		taskset -c 0 build/bench/bench_gemm [KERNELS [TEXT]]		rows whose name contains TEXT
 *
 * Both multiply codes that are there already by weights that each has packed as it likes, with a
 * scale a column, a zero point and a bias; ours has a scale and a zero point of its own a row.
 * "hot": one matrix, again and again.  "rotated": as many copies as make 12 MB take turns, as the
 * layers of an encoder do, so that weights come from the third-level cache.
 *
 * Runs of both alternate; a figure is the median of its runs, the ratio the median of the pairs'
 * ratios.  Compiled without oneDNN (BENCH_ONEDNN undefined) it says that the peer is missing.
 */
#include "core/format.h"
#include "core/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef BENCH_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif

#define PAIRS 15
#define ROTATED_BYTES ((size_t) 12 << 20)
#define BLOCK_ROWS 64			/* rows a kernel call, as in gemm.c */
#define GOAL 0.95

typedef struct Shape
{
	int			m;
	int			k;
	int			n;
	int			copies;			/* of the weights, which take turns */
} Shape;

typedef void (*Run) (void *arg, int copy);

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

static void *
aligned(size_t size)
{
	void	   *memory = aligned_alloc(64, LAT_ROUND_UP(size, 64));

	if (memory == NULL)
		exit(1);
	memset(memory, 0, size);
	return memory;
}

/* ---- ours --------------------------------------------------------------------------------- */

typedef struct Ours
{
	const LatKernels *kernels;
	Shape		shape;
	LatLinear  *linears;		/* (copies), their weights end to end, as in an image */
	LatCodes	codes;
	float	   *y;
} Ours;

static void
ours_open(Ours *ours, const LatKernels *kernels, Shape shape)
{
	size_t		size = (size_t) shape.k * shape.n;
	int8_t	   *weights = aligned(size * shape.copies);

	*ours = (Ours) {.kernels = kernels,.shape = shape};
	ours->linears = aligned(shape.copies * sizeof(LatLinear));
	for (size_t i = 0; i < size * shape.copies; i++)
		weights[i] = (int8_t) (i * 2654435761u >> 24);
	for (int i = 0; i < shape.copies; i++)
		ours->linears[i] = (LatLinear) {
			.layout = LAT_INT8,.k = shape.k,.k_padded = shape.k,.n = shape.n,.n_padded = shape.n,
				.levels = 127,.weights = weights + i * size,
				.column_sums = aligned(shape.n * 4),.scales = aligned(shape.n * 4),
				.bias = aligned(shape.n * 4)
		};
	ours->codes.codes = aligned((size_t) shape.m * shape.k);
	for (size_t i = 0; i < (size_t) shape.m * shape.k; i++)
		ours->codes.codes[i] = (i * 2654435761u >> 16) & 127;
	ours->codes.scales = aligned(shape.m * 4);
	ours->codes.zeros = aligned(shape.m * 4);
	ours->y = aligned((size_t) shape.m * shape.n * 4);
}

static void
ours_run(void *arg, int copy)
{
	Ours	   *ours = arg;
	Shape	   *shape = &ours->shape;

	for (int from = 0; from < shape->m; from += BLOCK_ROWS)
	{
		int			rows = shape->m - from < BLOCK_ROWS ? shape->m - from : BLOCK_ROWS;
		LatCodes	block = {ours->codes.codes + (size_t) from * shape->k,
		ours->codes.scales + from, ours->codes.zeros + from};

		ours->kernels->gemm_s8(&(LatGemmS8) {
			.codes = &block,.rows = rows,.linear = &ours->linears[copy],.panels = shape->n / 16,
				.y = ours->y + (size_t) from * shape->n,.ldy = shape->n
		});
	}
}

static void
ours_close(Ours *ours)
{
	free((void *) ours->linears[0].weights);
	for (int i = 0; i < ours->shape.copies; i++)
	{
		free((void *) ours->linears[i].column_sums);
		free((void *) ours->linears[i].scales);
		free((void *) ours->linears[i].bias);
	}
	free(ours->linears);
	free(ours->codes.codes);
	free(ours->codes.scales);
	free(ours->codes.zeros);
	free(ours->y);
}

/* ---- oneDNN ------------------------------------------------------------------------------- */

#ifdef BENCH_ONEDNN

typedef struct Peer
{
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	dnnl_primitive_t matmul;
	dnnl_memory_t x;
	dnnl_memory_t *weights;		/* (copies) */
	dnnl_memory_t bias;
	dnnl_memory_t y;
	int			copies;
} Peer;

static void
must(dnnl_status_t status)
{
	if (status != dnnl_success)
	{
		fprintf(stderr, "oneDNN: status %d\n", (int) status);
		exit(1);
	}
}

static dnnl_memory_desc_t
describe(int rows, int columns, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
	dnnl_memory_desc_t description;
	dnnl_dims_t dims = {rows, columns};

	must(dnnl_memory_desc_init_by_tag(&description, 2, dims, type, tag));
	return description;
}

static dnnl_memory_t
new_memory(Peer *peer, const dnnl_memory_desc_t *description)
{
	dnnl_memory_t memory;
	void	   *bytes;

	must(dnnl_memory_create(&memory, description, peer->engine, DNNL_MEMORY_ALLOCATE));
	must(dnnl_memory_get_data_handle(memory, &bytes));
	memset(bytes, 1, dnnl_memory_desc_get_size(description));
	return memory;
}

static void
peer_open(Peer *peer, Shape shape)
{
	dnnl_memory_desc_t x = describe(shape.m, shape.k, dnnl_u8, dnnl_ab);
	dnnl_memory_desc_t w = describe(shape.k, shape.n, dnnl_s8, dnnl_format_tag_any);
	dnnl_memory_desc_t bias = describe(1, shape.n, dnnl_f32, dnnl_ab);
	dnnl_memory_desc_t y = describe(shape.m, shape.n, dnnl_f32, dnnl_ab);
	float	   *scales = aligned(shape.n * sizeof(float));
	int32_t		zero = 3;
	dnnl_matmul_desc_t matmul;
	dnnl_primitive_desc_t primitive;
	dnnl_primitive_attr_t attributes;

	*peer = (Peer) {.copies = shape.copies};
	must(dnnl_engine_create(&peer->engine, dnnl_cpu, 0));
	must(dnnl_stream_create(&peer->stream, peer->engine, dnnl_stream_default_flags));
	must(dnnl_matmul_desc_init(&matmul, &x, &w, &bias, &y));
	must(dnnl_primitive_attr_create(&attributes));
	for (int i = 0; i < shape.n; i++)
		scales[i] = 0.01f;
	must(dnnl_primitive_attr_set_output_scales(attributes, shape.n, 1 << 1, scales));
	must(dnnl_primitive_attr_set_zero_points(attributes, DNNL_ARG_SRC, 1, 0, &zero));
	must(dnnl_primitive_desc_create(&primitive, &matmul, attributes, peer->engine, NULL));
	must(dnnl_primitive_create(&peer->matmul, primitive));
	peer->x = new_memory(peer, &x);
	peer->bias = new_memory(peer, &bias);
	peer->y = new_memory(peer, &y);
	peer->weights = aligned(shape.copies * sizeof(dnnl_memory_t));
	for (int i = 0; i < shape.copies; i++)
		peer->weights[i] = new_memory(peer, dnnl_primitive_desc_query_md(primitive,
																		 dnnl_query_weights_md, 0));
	must(dnnl_primitive_desc_destroy(primitive));
	must(dnnl_primitive_attr_destroy(attributes));
	free(scales);
}

static void
peer_run(void *arg, int copy)
{
	Peer	   *peer = arg;
	dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, peer->x}, {DNNL_ARG_WEIGHTS, peer->weights[copy]},
	{DNNL_ARG_BIAS, peer->bias}, {DNNL_ARG_DST, peer->y}};

	must(dnnl_primitive_execute(peer->matmul, peer->stream, 4, arguments));
	must(dnnl_stream_wait(peer->stream));
}

static void
peer_close(Peer *peer)
{
	must(dnnl_primitive_destroy(peer->matmul));
	must(dnnl_memory_destroy(peer->x));
	must(dnnl_memory_destroy(peer->bias));
	must(dnnl_memory_destroy(peer->y));
	for (int i = 0; i < peer->copies; i++)
		must(dnnl_memory_destroy(peer->weights[i]));
	free(peer->weights);
	must(dnnl_stream_destroy(peer->stream));
	must(dnnl_engine_destroy(peer->engine));
}

#endif							/* BENCH_ONEDNN */

/* ---- the bound ---------------------------------------------------------------------------- */

#if defined(__x86_64__)

#define PEAK_STEPS 100000

/* One register of sums grows by 32 products, or by 64. */
#define AVX2_SUM(sum) \
	"vpmaddubsw %0, %0, %%ymm8\n" \
	"vpmaddwd %0, %%ymm8, %%ymm8\n" \
	"vpaddd %%ymm8, %%ymm" #sum ", %%ymm" #sum "\n"
#define VNNI_SUM(sum) "vpdpbusd %0, %0, %%zmm" #sum "\n"
#define EIGHT(one) one(0) one(1) one(2) one(3) one(4) one(5) one(6) one(7)

__attribute__((target("avx2"))) static void
avx2_steps(void)
{
	__m256i		zero = _mm256_setzero_si256();

	for (int i = 0; i < PEAK_STEPS; i++)
		__asm__ volatile(EIGHT(AVX2_SUM) : : "x" (zero)
						 : "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm0");
}

__attribute__((target("avx512f"))) static void
vnni_steps(void)
{
	__m512i		zero = _mm512_setzero_si512();

	for (int i = 0; i < PEAK_STEPS; i++)
		__asm__ volatile(EIGHT(VNNI_SUM) : : "v" (zero)
						 : "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm0");
}

/* The kernels' own instructions with all in registers: what no GEMM of theirs exceeds. */
static void
print_peak(const char *kernels)
{
	bool		avx2 = strcmp(kernels, "avx2") == 0;
	double		work = 2.0 * PEAK_STEPS * 8 * (avx2 ? 32 : 64);
	double		best = 0;

	if (!avx2 && strncmp(kernels, "avx512", 6) != 0)
		return;
	for (int run = 0; run < 20; run++)
	{
		double		start = seconds();
		double		rate;

		if (avx2)
			avx2_steps();
		else
			vnni_steps();
		rate = work / (seconds() - start);
		best = rate > best ? rate : best;
	}
	printf("# peak of %s in registers: %.0f GFLOP/s\n",
		   avx2 ? "vpmaddubsw, vpmaddwd, vpaddd" : "vpdpbusd", 1e-9 * best);
}

#else

static void
print_peak(const char *kernels)
{
	(void) kernels;
}

#endif							/* __x86_64__ */

/* ---- measuring ---------------------------------------------------------------------------- */

static int
ascending(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static double
median(double *values, int n)
{
	qsort(values, n, sizeof(double), ascending);
	return values[n / 2];
}

/* Seconds of one call, over whole rounds of the copies that take 1 ms, after one that warms up. */
static double
time_run(Run run, void *arg, const Shape *shape)
{
	double		work = (double) shape->m * shape->k * shape->n * shape->copies;
	int			rounds = (int) (1.5e8 / work) + 1;
	double		start = 0;

	for (int round = -1; round < rounds; round++)
	{
		if (round == 0)
			start = seconds();
		for (int copy = 0; copy < shape->copies; copy++)
			run(arg, copy);
	}
	return (seconds() - start) / rounds / shape->copies;
}

static void
measure(const LatKernels *kernels, const char *name, Shape shape)
{
	double		flops = 2.0 * shape.m * shape.k * shape.n;
	double		times[PAIRS];
	Ours		ours;
#ifdef BENCH_ONEDNN
	double		peer_times[PAIRS];
	double		ratios[PAIRS];
	Peer		peer;

	peer_open(&peer, shape);
#endif
	ours_open(&ours, kernels, shape);
	for (int i = 0; i < PAIRS; i++)
	{
		times[i] = time_run(ours_run, &ours, &shape);
#ifdef BENCH_ONEDNN
		peer_times[i] = time_run(peer_run, &peer, &shape);
		ratios[i] = peer_times[i] / times[i];
#endif
	}
#ifdef BENCH_ONEDNN
	printf("%-34s | %6.1f GFLOP/s | %6.1f | %5.2f | >= %.2f\n", name,
		   1e-9 * flops / median(times, PAIRS), 1e-9 * flops / median(peer_times, PAIRS),
		   median(ratios, PAIRS), GOAL);
	peer_close(&peer);
#else
	printf("%-34s | %6.1f GFLOP/s | missing: libdnnl-dev | - | >= %.2f\n", name,
		   1e-9 * flops / median(times, PAIRS), GOAL);
#endif
	fflush(stdout);
	ours_close(&ours);
}

int
main(int argc, char **argv)
{
	static const int shapes[][2] = {{384, 384}, {384, 1536}, {1536, 384}, {768, 768}, {768, 3072},
	{3072, 768}};
	static const int rows[] = {1, 4, 8, 16, 25, 32, 64, 128, 384};
	const LatKernels *kernels = lat_find_kernels(argc > 1 ? argv[1] : "auto");

	if (kernels == NULL)
		return 2;
	printf("# kernels %s, one thread\n", lat_kernels_name(kernels));
	print_peak(lat_kernels_name(kernels));
	printf("name | ours | oneDNN | ratio | goal\n");
	for (int rotated = 0; rotated < 2; rotated++)
		for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
			for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
			{
				size_t		bytes = (size_t) shapes[s][0] * shapes[s][1];
				int			copies = rotated ? (int) (ROTATED_BYTES / bytes) + 1 : 1;

				char		name[64];

				snprintf(name, sizeof(name), "int8 GEMM %d x %d x %d %s", rows[r], shapes[s][0],
						 shapes[s][1], rotated ? "rotated" : "hot");
				if (argc > 2 && strstr(name, argv[2]) == NULL)
					continue;
				measure(kernels, name, (Shape) {
					rows[r], shapes[s][0], shapes[s][1], copies
				});
			}
	return 0;
}
