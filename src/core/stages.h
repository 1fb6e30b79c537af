/*
 * stages.h
 *	  What the stages of the forward pass share: matrices, the scratch of a pass, their calls.
 */
#ifndef LAT_STAGES_H
#define LAT_STAGES_H

#include "format.h"
#include "kernels.h"

/* Rows of a GEMM that are coded and multiplied at a time; also of a block of attention queries. */
#define LAT_BLOCK_ROWS 64

/* Rows of floats, ld apart (ld a multiple of 16, so that kernels may run into the padding). */
typedef struct LatMatrix
{
	float	   *data;
	size_t		ld;
	int			rows;
} LatMatrix;

/* Takes pieces of a block one after another; with base NULL it only measures. */
typedef struct LatCarver
{
	uint8_t    *base;			/* aligned to LAT_ALIGNMENT */
	size_t		used;
} LatCarver;

static inline void *
lat_carve(LatCarver *carver, size_t size)
{
	void	   *piece = carver->base ? carver->base + carver->used : NULL;

	carver->used += LAT_ROUND_UP(size, LAT_ALIGNMENT);
	return piece;
}

static inline LatMatrix
lat_carve_matrix(LatCarver *carver, size_t rows, size_t columns)
{
	size_t		ld = LAT_ROUND_UP(columns, LAT_PANEL);

	return (LatMatrix) {
		lat_carve(carver, rows * ld * sizeof(float)), ld, (int) rows
	};
}

/*
 * One forward pass over a group of a batch's sequences.  All scratch is carved
 * out of the engine's block before the first kernel runs, so that nothing can
 * fail half-way but an interrupt.  S: rows of the group; R: rows that are left
 * at this point (S at the start).
 */
typedef struct LatPass
{
	const LatHost *host;
	const LatKernels *kernels;
	const LatModel *model;
	const LatBatch *batch;		/* the group, as a batch of its own */

	int			rows;			/* R */
	int32_t    *offsets;		/* (count + 1) first row of each sequence, now */
	int32_t    *first_rows;		/* (count + 1) the same at the start */
	int32_t    *origins;		/* (S) row in the batch as it came */
	int32_t    *places;			/* (S) in the end: the row of x for each origin */
	LatMatrix	x;				/* (S, Hp) hidden states: R that stay, then those that went */
	LatMatrix	y;				/* (R, Hp) output of a block, before its residual is added */
	LatMatrix	qkv;			/* (R, 3 Hp); also scratch of the embeddings and the head */
	LatMatrix	context;		/* (R, Hp) attention's weighted values, heads side by side */
	LatMatrix	inner;			/* (LAT_BLOCK_ROWS, Ip) of the feed-forward block, over qkv */

	float	   *scores;			/* (LAT_BLOCK_ROWS, Tp) of one head */
	float	   *head_context;	/* (LAT_BLOCK_ROWS, Dp) of one head */
	float	   *key_panels;		/* (Tp/16, D, 16) of one head */
	float	   *value_panels;	/* (Dp/16, T, 16) of one head */
	float	   *significance;	/* (Tp) of one sequence */
	float	   *significance_lanes; /* (Tp, 16) of one sequence, in bf16's attention */
	uint32_t   *order;			/* (T) scratch of the selection */
	LatCodes	codes;			/* (LAT_BLOCK_ROWS, largest Kp) */
} LatPass;

/* y = activation(x W + bias), for all rows of x. LAT_INTERRUPTED if the host says so. */
extern LatStatus lat_gemm(LatPass *pass, const LatLinear *linear, LatActivation activation,
						  LatMatrix x, LatMatrix y);

/* Columns first .. first + n - 1 (both multiples of 16) of a linear, as a linear of its own. */
extern LatLinear lat_linear_columns(const LatLinear *linear, int first, int n);

/* Rows of a sequence, from `row` on. */
extern LatMatrix lat_matrix_rows(LatMatrix matrix, int row, int rows);

/*
 * Multi-head attention of one sequence: q (queries, Hp) over k and v (T, Hp) to
 * context (queries, Hp); if it is asked for, pass->significance is overwritten
 * with the column sums of the probabilities, over heads, then queries.
 */
typedef struct LatAttention
{
	bool		significance;
	LatMatrix	q;
	LatMatrix	k;
	LatMatrix	v;
	LatMatrix	context;
} LatAttention;

extern LatStatus lat_attend(LatPass *pass, const LatAttention *attention);

/* from (rows, d), as B of a GEMM over d columns: panels (Dp/16, rows, 16). */
extern void lat_pack_columns(LatMatrix from, int d, float *panels);

/* from (rows, d), transposed, as B of a GEMM over `rows` columns: panels (rows padded / 16, d, 16). */
extern void lat_pack_rows(const LatKernels *kernels, LatMatrix from, int d, float *panels);

/*
 * Positions of the `keep` most significant of `tokens` tokens, ascending, into
 * kept; ties keep the lower position; keep_first: token 0 stays in any case.
 */
extern void lat_select_tokens(const float *significance, int tokens, int keep, bool keep_first,
							  uint32_t *order, int32_t *kept);

/* The head over what the encoder left in pass: see lat_forward for the output's shape. */
extern LatStatus lat_apply_head(LatPass *pass, float *output);

#endif							/* LAT_STAGES_H */
