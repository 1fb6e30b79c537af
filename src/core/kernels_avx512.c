/*
 * kernels_avx512.c
 *	  AVX-512 with VNNI: one instruction adds 64 products of bytes.
 *
 * The largest int8 tile is 9 rows by 3 panels: 27 accumulators, 3 panels of
 * weights and a broadcast activation fill 31 of the 32 registers, and each weight
 * that is loaded serves 9 rows.  Every loop over accumulators must be unrolled, or
 * gcc keeps them in memory.
 */
#include "kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define LANES 16
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define F32_ROWS 8
#define F32_PANELS 3

#define vec_max(a, b) ((Vec) _mm512_max_ps((__m512) (a), (__m512) (b)))
#define vec_min(a, b) ((Vec) _mm512_min_ps((__m512) (a), (__m512) (b)))
#define vec_fma(a, b, c) ((Vec) _mm512_fmadd_ps((__m512) (a), (__m512) (b), (__m512) (c)))
#define vec_round(a) ((Vec) _mm512_roundscale_ps((__m512) (a), 8))	/* to even, no exception */
#define vec_to_int(a) ((VecInt) _mm512_cvtps_epi32((__m512) (a)))
#define vec_sqrt(a) ((Vec) _mm512_sqrt_ps((__m512) (a)))
#define vec_store_bytes(to, ints) \
	_mm_storeu_si128((__m128i *) (to), _mm512_cvtepi32_epi8((__m512i) (ints)))
#define vec_load_bytes(from) \
	((VecInt) _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) (from))))
#define vec_store_codes(to, ints, levels) \
	store_codes(to, (__m512i) (ints)[0], (__m512i) (ints)[1], (__m512i) (ints)[2], \
				(__m512i) (ints)[3], levels)

/* 64 integers, clamped to 0 .. levels: packs interleave quarters of vectors, which are put in order. */
TARGET static inline void
store_codes(uint8_t *to, __m512i a, __m512i b, __m512i c, __m512i d, int levels)
{
	__m512i		order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	__m512i		bytes = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));

	bytes = _mm512_min_epu8(bytes, _mm512_set1_epi8((char) levels));
	_mm512_storeu_si512(to, _mm512_permutexvar_epi32(order, bytes));
}

#include "kernels_vector.h"
#include "kernels_backward.h"

#define S8_ROWS 9
#define S8_PANELS 3
#define FEW_ROWS 4
#define STEPS 4					/* sums a row and panel, in turn */
#define STREAM_AHEAD 16384		/* bytes that three or four rows prefetch ahead */

/*
 * sums + products of 64 pairs of bytes, by fours.  The instruction is written out because gcc's
 * partial redundancy elimination copies the intrinsic's accumulators to memory at every step.
 */
INLINE __m512i
add_products(__m512i sums, __m512i codes, __m512i weights)
{
	__asm__("vpdpbusd %2, %1, %0" : "+v" (sums) : "v" (codes), "v" (weights));
	return sums;
}

/*
 * A tile of rows x panels; both are constants at every call.  Meanwhile the weights of the next
 * tile to the right, which follow, come into the second-level cache: each tile down a column
 * reaches further by its share, which alone is new, so that memory is asked for them evenly.
 *
 * Rows are reached by fours from a few pointers whose steps are hidden from the compiler: it
 * would keep a pointer for every row and panel, more than there are registers.
 */
INLINE void
gemm_s8_tile(const int rows, const int panels, const LatGemmS8 *gemm, int from, int panel)
{
	size_t		depth = gemm->linear->k_padded;
	const int8_t *w = (const int8_t *) gemm->linear->weights + (gemm->panel + panel) * depth * 16;
	const int8_t *next = w + panels * depth * 16 * (gemm->rows + from) / gemm->rows;
	const uint8_t *fours[] = {
		gemm->codes->codes + from * depth,
		gemm->codes->codes + (from + 4) * depth,
		gemm->codes->codes + (from + 8) * depth
	};
	__m512i		sums[S8_ROWS][S8_PANELS];
	int32_t		out[S8_ROWS * S8_PANELS * 16] __attribute__((aligned(64)));

	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int p = 0; p < panels; p++)
			sums[row][p] = _mm512_setzero_si512();
	for (const int8_t *stop = w + depth * 16; w < stop;)
	{
		__m512i		b[S8_PANELS];

		UNROLL
		for (int p = 0; p < panels; p++)
		{
			b[p] = _mm512_load_si512(w + p * depth * 16);
			_mm_prefetch(next + p * depth * 16, _MM_HINT_T1);
		}
		UNROLL
		for (int row = 0; row < rows; row++)
		{
			int32_t		quad;
			__m512i		four;

			memcpy(&quad, fours[row / 4] + row % 4 * depth, sizeof(quad));
			four = _mm512_set1_epi32(quad);
			UNROLL
			for (int p = 0; p < panels; p++)
				sums[row][p] = add_products(sums[row][p], four, b[p]);
		}
		w += 64;
		next += 64;
		UNROLL
		for (int i = 0; i < 3; i++)
			fours[i] += 4;
		__asm__("" : "+r" (w), "+r" (next), "+r" (fours[0]), "+r" (fours[1]), "+r" (fours[2]));
	}
	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int p = 0; p < panels; p++)
			_mm512_store_si512(out + (row * panels + p) * 16, sums[row][p]);
	finish_sums(gemm, out, from, rows, panel, panels);
}

/*
 * One to four rows: memory is the limit, so the weights are read in the order in which they lie,
 * panel after panel; the hardware's prefetcher follows one stream best.  Three or four rows compute
 * long enough for a software prefetch to help as well; one or two do not.  A row has STEPS sums a
 * panel, or each product would wait for the one before.
 */
INLINE void
gemm_s8_stream(const int rows, const int panels, const LatGemmS8 *gemm, int from, int panel)
{
	size_t		depth = gemm->linear->k_padded;
	const int8_t *w = (const int8_t *) gemm->linear->weights + (gemm->panel + panel) * depth * 16;
	const uint8_t *a = gemm->codes->codes + from * depth;
	int32_t		out[FEW_ROWS * S8_PANELS * 16] __attribute__((aligned(64)));

	for (int p = 0; p < panels; p++)
	{
		__m512i		sums[FEW_ROWS][STEPS];

		UNROLL
		for (int row = 0; row < rows; row++)
			UNROLL
			for (int i = 0; i < STEPS; i++)
				sums[row][i] = _mm512_setzero_si512();
		for (size_t k = 0; k < depth; k += 4 * STEPS, w += 64 * STEPS)
			UNROLL
			for (int i = 0; i < STEPS; i++)
			{
				__m512i		b = _mm512_load_si512(w + i * 64);

				if (rows > 2)
					_mm_prefetch(w + i * 64 + STREAM_AHEAD, _MM_HINT_T1);
				UNROLL
				for (int row = 0; row < rows; row++)
				{
					int32_t		quad;

					memcpy(&quad, a + row * depth + k + i * 4, sizeof(quad));
					sums[row][i] = add_products(sums[row][i], _mm512_set1_epi32(quad), b);
				}
			}
		UNROLL
		for (int row = 0; row < rows; row++)
			_mm512_store_si512(out + (row * panels + p) * 16,
							   _mm512_add_epi32(_mm512_add_epi32(sums[row][0], sums[row][1]),
												_mm512_add_epi32(sums[row][2], sums[row][3])));
	}
	finish_sums(gemm, out, from, rows, panel, panels);
}

typedef void TileS8(const LatGemmS8 *gemm, int from, int panel);

/*
 * Functions of their own, so that one tile's registers are nobody else's business; aligned, or the
 * place that the linker chooses for their loops makes up to 4 % of difference.
 */
#define TILE_S8(kind, rows, panels) \
	TARGET static __attribute__((noinline, aligned(64))) void \
	s8_##rows##_##panels(const LatGemmS8 *gemm, int from, int panel) \
	{ \
		gemm_s8_##kind(rows, panels, gemm, from, panel); \
	}
#define TILES_S8(panels) \
	TILE_S8(stream, 1, panels) TILE_S8(stream, 2, panels) TILE_S8(stream, 3, panels) \
	TILE_S8(stream, 4, panels) TILE_S8(tile, 5, panels) TILE_S8(tile, 6, panels) \
	TILE_S8(tile, 7, panels) TILE_S8(tile, 8, panels) TILE_S8(tile, 9, panels)
#define TILE_ROW_S8(panels) \
	{s8_1_##panels, s8_2_##panels, s8_3_##panels, s8_4_##panels, s8_5_##panels, s8_6_##panels, \
	 s8_7_##panels, s8_8_##panels, s8_9_##panels}

TILES_S8(1)
TILES_S8(3)

/*
 * Three panels at a time, the rest one by one; all rows in as few tiles as it takes, of about equal
 * height, each a pass over the weights.
 */
static void
gemm_s8(const LatGemmS8 *gemm)
{
	static TileS8 *const narrow[S8_ROWS] = TILE_ROW_S8(1);
	static TileS8 *const wide[S8_ROWS] = TILE_ROW_S8(3);

	for (int panel = 0, panels; panel < gemm->panels; panel += panels)
	{
		int			row = 0;

		panels = gemm->panels - panel < S8_PANELS ? 1 : S8_PANELS;
		for (int tiles = (gemm->rows + S8_ROWS - 1) / S8_ROWS; tiles > 0; tiles--)
		{
			int			rows = (gemm->rows - row + tiles - 1) / tiles;

			(panels == 1 ? narrow : wide)[rows - 1] (gemm, row, panel);
			row += rows;
		}
	}
}

#define AVX512_KERNELS \
	.quantize = quantize, \
	.gemm_s8 = gemm_s8, \
	.gemm_f32 = gemm_f32, \
	.softmax = softmax, \
	.embed = embed, \
	.layer_norm = layer_norm, \
	.activate = activate, \
	.transpose = transpose, \
	.activate_backward = activate_backward, \
	.softmax_backward = softmax_backward, \
	.layer_norm_backward = layer_norm_backward, \
	.dropout = dropout, \
	.add_rows = add_rows, \
	.reduce = reduce, \
	.adamw = adamw,

const LatKernels lat_kernels_avx512 = {
	.name = "avx512",
	AVX512_KERNELS
};

/* The same with attention, and training's linear layers, in bf16. */
const LatKernels lat_kernels_avx512_bf16 = {
	.name = "avx512_bf16",
	AVX512_KERNELS
	.pack_head = lat_pack_head_bf16,
	.attend_head = lat_attend_bf16,
	.pack_bf16 = lat_pack_bf16,
	.pair_rows = lat_pair_rows,
	.pair_columns = lat_pair_columns,
	.gemm_bf16 = lat_gemm_bf16,
};

#endif							/* __x86_64__ */
