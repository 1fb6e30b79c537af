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

#include "kernels_vector.h"
#include "kernels_backward.h"

#define S8_ROWS 9
#define ROW_AHEAD 1024			/* bytes */
#define S8_PANELS 6
#define S8_SUMS 27				/* rows x panels of the largest tile */

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
 * tile to the right, which follow, come into the second-level cache.  A single row has no time for
 * that: its own weights come into the first-level cache, as far ahead as a miss takes.
 */
INLINE void
gemm_s8_tile(const int rows, const int panels, const LatGemmS8 *gemm, int from, int panel)
{
	size_t		depth = gemm->linear->k_padded;
	const int8_t *w = (const int8_t *) gemm->linear->weights + (gemm->panel + panel) * depth * 16;
	const uint8_t *a = gemm->codes->codes + from * depth;
	__m512i		sums[S8_ROWS][S8_PANELS];
	int32_t		out[S8_SUMS * 16] __attribute__((aligned(64)));

	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int p = 0; p < panels; p++)
			sums[row][p] = _mm512_setzero_si512();
	for (size_t k = 0; k < depth; k += 4)
	{
		__m512i		b[S8_PANELS];

		UNROLL
		for (int p = 0; p < panels; p++)
		{
			b[p] = _mm512_load_si512(w + (p * depth + k) * 16);
			if (rows == 1)
				_mm_prefetch(w + (p * depth + k) * 16 + ROW_AHEAD, _MM_HINT_T0);
			else
				_mm_prefetch(w + ((panels + p) * depth + k) * 16, _MM_HINT_T1);
		}
		UNROLL
		for (int row = 0; row < rows; row++)
		{
			int32_t		quad;
			__m512i		four;

			memcpy(&quad, a + row * depth + k, sizeof(quad));
			four = _mm512_set1_epi32(quad);
			UNROLL
			for (int p = 0; p < panels; p++)
				sums[row][p] = add_products(sums[row][p], four, b[p]);
		}
	}
	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int p = 0; p < panels; p++)
			_mm512_store_si512(out + (row * panels + p) * 16, sums[row][p]);
	finish_sums(gemm, out, from, rows, panel, panels);
}

/* One tile of up to S8_ROWS rows by a constant number of panels. */
INLINE void
gemm_s8_rows(const int panels, const LatGemmS8 *gemm, int from, int rows, int panel)
{
	switch (rows)
	{
		case 1:
			return gemm_s8_tile(1, panels, gemm, from, panel);
		case 2:
			return gemm_s8_tile(2, panels, gemm, from, panel);
		case 3:
			return gemm_s8_tile(3, panels, gemm, from, panel);
		case 4:
			return gemm_s8_tile(4, panels, gemm, from, panel);
		case 5:
			return gemm_s8_tile(5, panels, gemm, from, panel);
		case 6:
			return gemm_s8_tile(6, panels, gemm, from, panel);
		case 7:
			return gemm_s8_tile(7, panels, gemm, from, panel);
		case 8:
			return gemm_s8_tile(8, panels, gemm, from, panel);
		default:
			return gemm_s8_tile(9, panels, gemm, from, panel);
	}
}

/*
 * Two to four rows by six panels: as many sums at a time as more rows would have by three.  A single
 * row waits for its weights however many there are, and longer where more streams are prefetched.
 */
INLINE void
gemm_s8_few_rows(const LatGemmS8 *gemm, int panel)
{
	switch (gemm->rows)
	{
		case 2:
			return gemm_s8_tile(2, 6, gemm, 0, panel);
		case 3:
			return gemm_s8_tile(3, 6, gemm, 0, panel);
		default:
			return gemm_s8_tile(4, 6, gemm, 0, panel);
	}
}

/* All rows in as few tiles as it takes, of about equal height, each a pass over the weights. */
INLINE void
gemm_s8_panels(const int panels, const LatGemmS8 *gemm, int panel)
{
	int			tiles = (gemm->rows + S8_ROWS - 1) / S8_ROWS;
	int			row = 0;

	for (; tiles > 0; tiles--)
	{
		int			rows = (gemm->rows - row + tiles - 1) / tiles;

		gemm_s8_rows(panels, gemm, row, rows, panel);
		row += rows;
	}
}

/* Aligned, or the place the linker chooses for its loops makes 4 % of difference. */
TARGET static __attribute__((aligned(64))) void
gemm_s8(const LatGemmS8 *gemm)
{
	int			p = 0;

	if (gemm->rows >= 2 && gemm->rows <= 4)
		for (; p + 6 <= gemm->panels; p += 6)
			gemm_s8_few_rows(gemm, p);
	for (; p + 3 <= gemm->panels; p += 3)
		gemm_s8_panels(3, gemm, p);
	for (; p < gemm->panels; p++)
		gemm_s8_panels(1, gemm, p);
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
