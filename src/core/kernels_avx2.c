/*
 * kernels_avx2.c
 *	  AVX2 with FMA: any x86-64 server since about 2014.
 *
 * Activations are coded in 7 bits, so that vpmaddubsw, which adds two products
 * into 16 bits with saturation, never saturates: 2 * 127 * 127 < 32768.  A
 * panel of 16 columns by 4 rows is two registers.
 */
#include "kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define LANES 8
#define TARGET __attribute__((target("avx2,fma")))
#define F32_ROWS 6
#define F32_PANELS 1

#define vec_max(a, b) ((Vec) _mm256_max_ps((__m256) (a), (__m256) (b)))
#define vec_min(a, b) ((Vec) _mm256_min_ps((__m256) (a), (__m256) (b)))
#define vec_fma(a, b, c) ((Vec) _mm256_fmadd_ps((__m256) (a), (__m256) (b), (__m256) (c)))
#define vec_round(a) ((Vec) _mm256_round_ps((__m256) (a), 8))	/* to even, no exception */
#define vec_to_int(a) ((VecInt) _mm256_cvtps_epi32((__m256) (a)))
#define vec_sqrt(a) ((Vec) _mm256_sqrt_ps((__m256) (a)))
#define vec_store_bytes(to, ints) store_bytes(to, (__m256i) (ints))
#define vec_load_bytes(from) \
	((VecInt) _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *) (from))))

/* The low byte of each of 8 integers that lie in 0 .. 255. */
__attribute__((target("avx2"))) static inline void
store_bytes(uint8_t *to, __m256i ints)
{
	__m128i		words = _mm_packs_epi32(_mm256_castsi256_si128(ints),
										_mm256_extracti128_si256(ints, 1));

	_mm_storel_epi64((__m128i *) to, _mm_packus_epi16(words, words));
}

#include "kernels_vector.h"
#include "kernels_backward.h"

#define S8_ROWS 4

/* Otherwise gcc's partial redundancy elimination copies the sums to memory at every step. */
#define KEEP_IN_REGISTER(value) __asm__("" : "+x" (value))

/* A tile of rows x 1 panel; rows is a constant at every call. */
INLINE void
gemm_s8_tile(const int rows, const LatGemmS8 *gemm, int from, int panel)
{
	size_t		depth = gemm->linear->k_padded;
	const int8_t *w = (const int8_t *) gemm->linear->weights + (gemm->panel + panel) * depth * 16;
	const uint8_t *a = gemm->codes->codes + from * depth;
	const		__m256i ones = _mm256_set1_epi16(1);
	__m256i		sums[S8_ROWS][2];
	int32_t		out[S8_ROWS * 16] __attribute__((aligned(32)));

	UNROLL
	for (int row = 0; row < rows; row++)
		sums[row][0] = sums[row][1] = _mm256_setzero_si256();
	for (size_t k = 0; k < depth; k += 4)
	{
		__m256i		b[2];

		b[0] = _mm256_load_si256((const __m256i *) (w + k * 16));
		b[1] = _mm256_load_si256((const __m256i *) (w + k * 16 + 32));
		UNROLL
		for (int row = 0; row < rows; row++)
		{
			int32_t		quad;
			__m256i		four;

			memcpy(&quad, a + row * depth + k, sizeof(quad));
			four = _mm256_set1_epi32(quad);
			UNROLL
			for (int half = 0; half < 2; half++)
			{
				__m256i		pairs = _mm256_maddubs_epi16(four, b[half]);

				sums[row][half] = _mm256_add_epi32(sums[row][half], _mm256_madd_epi16(pairs, ones));
				KEEP_IN_REGISTER(sums[row][half]);
			}
		}
	}
	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int half = 0; half < 2; half++)
			_mm256_store_si256((__m256i *) (out + row * 16 + half * 8), sums[row][half]);
	finish_sums(gemm, out, from, rows, panel, 1);
}

TARGET static void
gemm_s8(const LatGemmS8 *gemm)
{
	for (int p = 0; p < gemm->panels; p++)
	{
		int			row = 0;

		for (; row + S8_ROWS <= gemm->rows; row += S8_ROWS)
			gemm_s8_tile(S8_ROWS, gemm, row, p);
		for (; row < gemm->rows; row++)
			gemm_s8_tile(1, gemm, row, p);
	}
}

const LatKernels lat_kernels_avx2 = {
	.name = "avx2",
	.quantize = quantize,
	.gemm_s8 = gemm_s8,
	.gemm_f32 = gemm_f32,
	.softmax = softmax,
	.embed = embed,
	.layer_norm = layer_norm,
	.activate = activate,
	.transpose = transpose,
	.activate_backward = activate_backward,
	.softmax_backward = softmax_backward,
	.layer_norm_backward = layer_norm_backward,
	.dropout = dropout,
	.add_rows = add_rows,
	.reduce = reduce,
	.adamw = adamw,
};

#endif							/* __x86_64__ */
