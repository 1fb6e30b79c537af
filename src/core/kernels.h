/*
 * kernels.h
 *	  The inner loops, behind one table of functions an instruction set.
 *
 * kernels_scalar.c is the specification: plain loops.  The others compute the
 * same, faster.  gemm_s8 gives the same bits under every set: integers add in
 * any order, and what follows them is the same float operations, one by one.
 *
 * A row's result never depends on the other rows of the call.
 */
#ifndef LAT_KERNELS_H
#define LAT_KERNELS_H

#include "lat.h"
#include "random.h"

/* Rows of int8 activations: code = round(x / scale + zero), x = (code - zero) * scale. */
typedef struct LatCodes
{
	uint8_t    *codes;			/* (rows, stride), stride = k rounded up to 64, padding 0 */
	float	   *scales;			/* (rows) */
	int32_t    *zeros;			/* (rows) */
} LatCodes;

/*
 * y (rows, 16 panels) = activation(codes W + bias), for some panels of a linear.  A value comes of
 * its sum by one multiply and one add, never fused, then the activation.
 */
typedef struct LatGemmS8
{
	const LatCodes *codes;
	int			rows;
	const LatLinear *linear;
	int			panel;			/* the first */
	int			panels;
	LatActivation activation;	/* LAT_IDENTITY, LAT_GELU (as below) or LAT_RELU */
	float	   *y;
	size_t		ldy;
} LatGemmS8;

/*
 * GELU where its result is coded in 7 bits at once: x Phi(t), t = x within +-LAT_GELU_EDGE,
 * Phi(t) = 1/2 + t p(t^2).  The minimax polynomial p, highest power first, makes Phi(edge) = 1; the
 * absolute error is below 1.7e-4, a hundredth of a code's step.  Every step is fused.
 */
#define LAT_GELU_EDGE 3.95f
#define LAT_GELU_POLYNOMIAL \
	{2.44357636e-08f, -1.68115173e-06f, 4.95519234e-05f, -0.0008290392f, 0.00884291716f, \
	-0.0647227466f, 0.39798668f}
#define LAT_GELU_DEGREE 6

/*
 * c (rows, 16 panels) = a (rows, depth) b (depth, 16 panels), all f32; strides in floats.
 * A panel is 16 columns.  The three products of a linear layer differ in strides only:
 *
 *		Y = X W			a = X, b = W as packed: b_panel = 16 K, b_depth = 16
 *		dX = dY W'		a = dY, b = W transposed to panels
 *		dW = X' dY		a = X with its strides swapped, c_row = 16, c_panel = 16 K: as packed
 *
 * Products are added in the order of depth, each fused, whatever the other
 * sizes: cutting rows, panels, or (with add) the depth does not change a bit.
 */
typedef struct LatGemm
{
	const float *a;
	size_t		a_row;
	size_t		a_depth;
	const float *b;				/* 16 columns lie side by side */
	size_t		b_panel;
	size_t		b_depth;
	float	   *c;				/* 16 columns lie side by side */
	size_t		c_row;
	size_t		c_panel;
	const float *bias;			/* (16 panels), added last; or NULL */
	bool		add;			/* sums start from what c holds, not from 0 */
	int			rows;
	int			depth;
	int			panels;
} LatGemm;

/*
 * The same with a and b in bf16, in pairs of neighbours in depth (the first in the lower half),
 * and sums in f32; strides of a and b in pairs.  See kernels_avx512_bf16_gemm.c.
 */
typedef struct LatGemmBf16
{
	const uint32_t *a;
	size_t		a_row;
	size_t		a_pair;
	const uint32_t *b;			/* (panels, pairs, 16) */
	size_t		b_panel;
	float	   *c;
	size_t		c_row;
	size_t		c_panel;
	const float *bias;			/* (16 panels), added last; or NULL */
	bool		add;			/* sums start from what c holds, not from 0 */
	bool		stream;			/* c, in whole cache lines, is written past the caches; not with add */
	int			rows;
	int			pairs;
	int			panels;
} LatGemmBf16;

typedef struct LatEmbeddingRow
{
	const LatEmbedding *embedding;
	int			row;
} LatEmbeddingRow;

/* One head of a sequence's attention, its products in bf16 (see kernels_avx512_bf16.c). */
typedef struct LatHead
{
	const float *q;				/* (queries, D) */
	size_t		q_ld;
	const float *k;				/* (T, D) */
	const float *v;				/* (T, D) */
	size_t		kv_ld;
	float	   *context;		/* (queries, D) */
	size_t		context_ld;
	int			tokens;			/* T */
	int			d;				/* D */
	float		scale;			/* of the scores */
	uint16_t   *keys;			/* scratch (T, D rounded up to 32) */
	uint16_t   *values;			/* scratch (T/2 rounded up, D rounded up to 16, 2) */
	float	   *scores;			/* scratch (T, 16) */
	float	   *significance;	/* (T, 16), probabilities over queries are added to it; or NULL */
} LatHead;

/* Backward through LayerNorm: see LatKernels. */
typedef struct LatNormBackward
{
	const float *z;				/* (rows, h) what was normalised, residual included */
	float	   *d;				/* (rows, h) gradient of the output, becomes that of z */
	size_t		ld;				/* of both */
	int			rows;
	int			h;
	const float *gamma;			/* (Hp) */
	float		eps;
	float	   *d_gamma;		/* (Hp), added to, rows in order */
	float	   *d_beta;			/* (Hp), the same */
} LatNormBackward;

/* A dropout mask: element i goes if lat_random_bits(random, i) is below the threshold. */
typedef struct LatDropout
{
	LatRandom	random;
	uint32_t	threshold;		/* p 2^32 */
	float		scale;			/* of what stays, 1 / (1 - p) */
} LatDropout;

/* Constants of an AdamW step; all of it is in optimizer.c. */
typedef struct LatAdamW
{
	float		clip;			/* factor of the gradient */
	float		keep1;			/* beta1; 0 where the moments begin anew */
	float		keep2;
	float		gain1;			/* 1 - beta1 */
	float		gain2;
	float		shrink;			/* 1 - learning rate * decay */
	float		step;			/* learning rate / (1 - beta1^t) */
	float		root;			/* 1 / sqrt(1 - beta2^t) */
	float		epsilon;
} LatAdamW;

struct LatKernels
{
	const char *name;

	/* Code rows of x (rows, k), ldx floats apart, into 0 .. levels, with their scales and zeros. */
	void		(*quantize) (const float *x, size_t ldx, int rows, int k, int levels, LatCodes *codes);

	void		(*gemm_s8) (const LatGemmS8 *gemm);

	void		(*gemm_f32) (const LatGemm *gemm);

	/*
	 * Each row of scores (rows, t) becomes softmax(scale * row); each column's
	 * sum over the rows is added to significance (t), rows in order.
	 */
	void		(*softmax) (float *scores, size_t ld, int rows, int t, float scale,
							float *significance);

	/*
	 * Attention in bf16, where the CPU has it; else NULL.  pack_head fills keys and
	 * values, attend_head computes the context of `queries` queries from `from` on.
	 */
	void		(*pack_head) (const LatHead *head);
	void		(*attend_head) (const LatHead *head, int from, int queries);

	/*
	 * to (stride) = sum of 2 or 3 rows of embeddings of one precision and stride, in order: in int8
	 * each a multiply, then an add.
	 */
	void		(*embed) (const LatEmbeddingRow *rows, int count, float *to);

	/* x = LayerNorm(x + residual) over rows of h floats, ld apart; residual may be NULL. */
	void		(*layer_norm) (float *x, const float *residual, size_t ld, int rows, int h,
							   const LatNorm *norm, float eps);

	/* In place over rows of n floats, ld apart: LAT_IDENTITY does nothing. */
	void		(*activate) (LatActivation activation, float *x, size_t ld, int rows, int n);

	/* ---- training: n is a multiple of 16, rows have their padding, which stays zero ---- */

	/* to (columns, 16) = from (rows, columns) transposed; zero from column `rows` on (rows <= 16). */
	void		(*transpose) (const float *from, size_t ld, int rows, int columns, float *to);

	/* Where y = activation(x): d (rows, n) *= activation'(x), then x becomes y. */
	void		(*activate_backward) (LatActivation activation, float *x, float *d, size_t ld,
									  int rows, int n);

	/* Where p = softmax(scale * s): d (rows, t), gradient of p, becomes that of s. */
	void		(*softmax_backward) (const float *p, float *d, size_t ld, int rows, int t,
									 float scale);

	/* Where y = LayerNorm(z). */
	void		(*layer_norm_backward) (const LatNormBackward *args);

	/* Dropout of x (n, any number); element i has index indexes[i] in the mask, or (NULL) i. */
	void		(*dropout) (float *x, int n, const int32_t *indexes, const LatDropout *dropout);

	/* sums (n, a multiple of 16) += rows of from (rows, n), ld apart, in order. */
	void		(*add_rows) (float *sums, const float *from, size_t ld, int rows, int n);

	/* to (n) = sum over `ranks` of from[rank], in order; returns the sum of squares of to. */
	double		(*reduce) (float *to, const float *const *from, int ranks, size_t n);

	/*
	 * Products in bf16, where the CPU has it; else NULL.  To (rows, depth/2): neighbours in a row.
	 * To (rows/2, columns): a row and the next.  To (depth/2, 16), depth a multiple of 16: up to
	 * 16 rows of a linear's panels (depth/16, panel_size apart), transposed.  What is not there is
	 * zero; to is written up to the next multiple of 16 pairs.
	 */
	void		(*pack_bf16) (const float *from, size_t ld, int rows, int depth, uint32_t *to,
							  size_t to_ld);
	void		(*pair_rows) (const float *from, size_t ld, int rows, int columns, uint32_t *to,
							  size_t to_ld);
	void		(*pair_columns) (const float *from, size_t panel_size, int rows, int depth,
								 uint32_t *to);
	void		(*gemm_bf16) (const LatGemmBf16 *gemm);

	/* One step for n values: gradient g, value p, moments m and v. */
	void		(*adamw) (const LatAdamW *args, const float *g, float *p, float *m, float *v,
						  size_t n);
};

extern const LatKernels lat_kernels_scalar;
#if defined(__x86_64__)
extern const LatKernels lat_kernels_avx2;
extern const LatKernels lat_kernels_avx512;
extern const LatKernels lat_kernels_avx512_bf16;
extern void lat_pack_head_bf16(const LatHead *head);
extern void lat_attend_bf16(const LatHead *head, int from, int queries);
extern void lat_pack_bf16(const float *from, size_t ld, int rows, int depth, uint32_t *to,
						  size_t to_ld);
extern void lat_pair_rows(const float *from, size_t ld, int rows, int columns, uint32_t *to,
						  size_t to_ld);
extern void lat_pair_columns(const float *from, size_t panel_size, int rows, int depth,
							 uint32_t *to);
extern void lat_gemm_bf16(const LatGemmBf16 *gemm);
#endif
#if defined(__aarch64__)
extern const LatKernels lat_kernels_neon;
#endif

#endif							/* LAT_KERNELS_H */
