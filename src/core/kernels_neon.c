/*
 * kernels_neon.c
 *	  NEON as every aarch64 has it.  Activations are coded in 7 bits and fit a signed
 *	  byte, so that the signed multiply serves them.
 */
#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define LANES 4
#define TARGET
#define F32_ROWS 4
#define F32_PANELS 1

#define vec_max(a, b) ((Vec) vbslq_f32(vcgtq_f32((float32x4_t) (a), (float32x4_t) (b)), \
									   (float32x4_t) (a), (float32x4_t) (b)))
#define vec_min(a, b) ((Vec) vbslq_f32(vcltq_f32((float32x4_t) (a), (float32x4_t) (b)), \
									   (float32x4_t) (a), (float32x4_t) (b)))
#define vec_fma(a, b, c) \
	((Vec) vfmaq_f32((float32x4_t) (c), (float32x4_t) (a), (float32x4_t) (b)))
#define vec_round(a) ((Vec) vrndnq_f32((float32x4_t) (a)))
#define vec_to_int(a) ((VecInt) vcvtnq_s32_f32((float32x4_t) (a)))
#define vec_sqrt(a) ((Vec) vsqrtq_f32((float32x4_t) (a)))
#define vec_store_bytes(to, ints) store_bytes(to, (int32x4_t) (ints))
#define vec_load_bytes(from) ((VecInt) load_bytes(from))

/* The low byte of each of 4 integers that lie in 0 .. 255. */
static inline void
store_bytes(uint8_t *to, int32x4_t ints)
{
	uint16x4_t	words = vqmovun_s32(ints);
	uint8x8_t	bytes = vqmovn_u16(vcombine_u16(words, words));

	vst1_lane_u32((uint32_t *) to, vreinterpret_u32_u8(bytes), 0);
}

static inline int32x4_t
load_bytes(const int8_t *from)
{
	uint32x2_t	four = vld1_lane_u32((const uint32_t *) from, vdup_n_u32(0), 0);

	return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(four))));
}

#include "kernels_vector.h"
#include "kernels_backward.h"

#define S8_ROWS 4

/* A tile of rows x 1 panel; a vector of 16 bytes holds 4 columns by 4 of k. */
INLINE void
gemm_s8_tile(const int rows, const LatGemmS8 *gemm, int from, int panel)
{
	size_t		depth = gemm->linear->k_padded;
	const int8_t *w = (const int8_t *) gemm->linear->weights + (gemm->panel + panel) * depth * 16;
	const int8_t *a = (const int8_t *) gemm->codes->codes + from * depth;
	int32x4_t	sums[S8_ROWS][4];
	int32_t		out[S8_ROWS * 16];

	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int c = 0; c < 4; c++)
			sums[row][c] = vdupq_n_s32(0);
	for (size_t k = 0; k < depth; k += 4)
	{
		UNROLL
		for (int row = 0; row < rows; row++)
		{
			int32_t		quad;
			int8x16_t	four;

			memcpy(&quad, a + row * depth + k, sizeof(quad));
			four = vreinterpretq_s8_s32(vdupq_n_s32(quad));
			UNROLL
			for (int c = 0; c < 4; c++)
			{
				int8x16_t	b = vld1q_s8(w + k * 16 + c * 16);
				int16x8_t	low = vmull_s8(vget_low_s8(four), vget_low_s8(b));
				int16x8_t	high = vmull_high_s8(four, b);

				/* pairs of products, then pairs of pairs: one sum a column */
				sums[row][c] = vaddq_s32(sums[row][c],
										 vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
			}
		}
	}
	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int c = 0; c < 4; c++)
			vst1q_s32(out + row * 16 + c * 4, sums[row][c]);
	finish_sums(gemm, out, from, rows, panel, 1);
}

static void
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

const LatKernels lat_kernels_neon = {
	.name = "neon",
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

#endif							/* __aarch64__ */
