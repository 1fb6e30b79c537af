/*
 * kernels.h
 *	  The inner loops, behind one table of functions an instruction set.
 *
 * kernels_scalar.c is the specification: plain loops.  The others compute the
 * same, faster.  gemm_s8 gives the same bits under every set: integers add in
 * any order, and the float epilogue is one multiply and one add, never fused.
 *
 * A row's result never depends on the other rows of the call.
 */
#ifndef LAT_KERNELS_H
#define LAT_KERNELS_H

#include "lat.h"

/* Rows of int8 activations: code = round(x / scale) + zero, x = (code - zero) * scale. */
typedef struct LatCodes
{
	uint8_t    *codes;			/* (rows, stride), stride = k rounded up to 64, padding 0 */
	float	   *scales;			/* (rows) */
	int32_t    *zeros;			/* (rows) */
} LatCodes;

struct LatKernels
{
	const char *name;

	/* Code rows of x (rows, k), ldx floats apart, into 0 .. levels, with their scales and zeros. */
	void		(*quantize) (const float *x, size_t ldx, int rows, int k, int levels, LatCodes *codes);

	/* y (rows, 16 panels) = codes W + bias for `panels` panels of the linear from `panel` on. */
	void		(*gemm_s8) (const LatCodes *codes, int rows, const LatLinear *linear,
							int panel, int panels, float *y, size_t ldy);

	/*
	 * y (rows, 16 panels) = x (rows, k) W + bias; W f32 (panels, k, 16), bias
	 * (16 panels) or NULL.  Products are added in the order of k.
	 */
	void		(*gemm_f32) (const float *x, size_t ldx, int rows, int k, const float *weights,
							 int panels, const float *bias, float *y, size_t ldy);

	/*
	 * Each row of scores (rows, t) becomes softmax(scale * row); each column's
	 * sum over the rows is added to significance (t), rows in order.
	 */
	void		(*softmax) (float *scores, size_t ld, int rows, int t, float scale,
							float *significance);

	/* x = LayerNorm(x + residual) over rows of h floats, ld apart; residual may be NULL. */
	void		(*layer_norm) (float *x, const float *residual, size_t ld, int rows, int h,
							   const LatNorm *norm, float eps);

	/* In place over rows of n floats, ld apart: LAT_IDENTITY does nothing. */
	void		(*activate) (LatActivation activation, float *x, size_t ld, int rows, int n);
};

extern const LatKernels lat_kernels_scalar;
#if defined(__x86_64__)
extern const LatKernels lat_kernels_avx2;
extern const LatKernels lat_kernels_avx512;
#endif
#if defined(__aarch64__)
extern const LatKernels lat_kernels_neon;
#endif

#endif							/* LAT_KERNELS_H */
