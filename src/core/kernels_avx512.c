/*
 * kernels_avx512.c
 *	  AVX-512 with VNNI: one instruction adds 64 products of bytes.
 *
 * The int8 tile is 8 rows by 3 panels: 24 accumulators, 3 panels of weights and
 * a broadcast activation fill 28 of the 32 registers, and each weight that is
 * loaded serves 8 rows.  Every loop over accumulators must be unrolled, or gcc
 * keeps them in memory.
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

#include "kernels_vector.h"
#include "kernels_backward.h"

#define S8_ROWS 8
#define S8_PANELS 3

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

/* Sums of one row over 16 columns from n on: one multiply, one add, never fused. */
INLINE __m512
dequantize(__m512i sums, const LatCodes *codes, int row, const LatLinear *linear, int n)
{
	__m512i		zero = _mm512_set1_epi32(codes->zeros[row]);
	__m512		scale = _mm512_set1_ps(codes->scales[row]);
	__m512i		shift = _mm512_mullo_epi32(zero, _mm512_load_si512(linear->column_sums + n));
	__m512		value = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, shift));

	value = _mm512_mul_ps(value, _mm512_mul_ps(scale, _mm512_load_ps(linear->scales + n)));
	return _mm512_add_ps(value, _mm512_load_ps(linear->bias + n));
}

INLINE void
gemm_s8_tile(const int rows, const int panels, const LatCodes *codes, int from,
			 const LatLinear *linear, int panel, float *y, size_t ldy)
{
	size_t		depth = linear->k_padded;
	const int8_t *w = (const int8_t *) linear->weights + (size_t) panel * depth * 16;
	const uint8_t *a = codes->codes + from * depth;
	__m512i		sums[S8_ROWS][S8_PANELS];

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
			b[p] = _mm512_load_si512(w + (p * depth + k) * 16);
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
			_mm512_storeu_ps(y + row * ldy + p * 16,
							 dequantize(sums[row][p], codes, from + row, linear, (panel + p) * 16));
}

INLINE void
gemm_s8_rows(const int panels, const LatCodes *codes, int rows, const LatLinear *linear,
			 int panel, float *y, size_t ldy)
{
	int			row = 0;

	for (; row + S8_ROWS <= rows; row += S8_ROWS)
		gemm_s8_tile(S8_ROWS, panels, codes, row, linear, panel, y + row * ldy, ldy);
	for (; row + 3 <= rows; row += 3)
		gemm_s8_tile(3, panels, codes, row, linear, panel, y + row * ldy, ldy);
	for (; row < rows; row++)
		gemm_s8_tile(1, panels, codes, row, linear, panel, y + row * ldy, ldy);
}

TARGET static void
gemm_s8(const LatCodes *codes, int rows, const LatLinear *linear, int panel, int panels,
		float *y, size_t ldy)
{
	int			p = 0;

	for (; p + S8_PANELS <= panels; p += S8_PANELS)
		gemm_s8_rows(S8_PANELS, codes, rows, linear, panel + p, y + p * 16, ldy);
	for (; p < panels; p++)
		gemm_s8_rows(1, codes, rows, linear, panel + p, y + p * 16, ldy);
}

const LatKernels lat_kernels_avx512 = {
	.name = "avx512",
	.quantize = quantize,
	.gemm_s8 = gemm_s8,
	.gemm_f32 = gemm_f32,
	.softmax = softmax,
	.layer_norm = layer_norm,
	.activate = activate,
	.transpose = transpose,
	.activate_backward = activate_backward,
	.softmax_backward = softmax_backward,
	.layer_norm_backward = layer_norm_backward,
	.dropout = dropout,
	.reduce = reduce,
	.adamw = adamw,
};

#endif							/* __x86_64__ */
