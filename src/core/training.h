/*
 * training.h
 *	  What the stages of a training step share; the method is told in train.c.
 *
 * A rank's examples go through the tape in micro-batches of at most
 * LAT_TAPE_ROWS tokens (or one longer example), so that memory is bounded
 * whatever the batch is.  In each micro-batch the full model runs first, then
 * the sub-models, which learn from its outputs:
 *
 *		tape.c forward --> loss.c --> backward.c (gradients += )
 */
#ifndef LAT_TRAINING_INTERNAL_H
#define LAT_TRAINING_INTERNAL_H

#include "lat_training.h"
#include "random.h"
#include "stages.h"

#define LAT_TAPE_ROWS 512

/* What random numbers are drawn for: the low byte of a key's third counter. */
typedef enum LatSite
{
	LAT_SITE_PERMUTATION = 1,
	LAT_SITE_LENGTHS,
	LAT_SITE_LAYERS,
	LAT_SITE_EMBEDDING,			/* dropout, from here on */
	LAT_SITE_PROBABILITIES,
	LAT_SITE_ATTENTION_OUTPUT,
	LAT_SITE_FEED_FORWARD_OUTPUT,
	LAT_SITE_HEAD_INPUT,
	LAT_SITE_HEAD_DENSE
} LatSite;

/* ---- the tape (tape.c, training_attention.c, backward.c) ---------------------------------- */

/* Sequences as in LatBatch, and all that dropout and dropping depend on. */
typedef struct LatTapeInput
{
	int			count;			/* sequences */
	const int32_t *offsets;		/* (count + 1) first row of each, offsets[count] = S */
	const int32_t *ids;			/* (S) */
	const uint8_t *segments;	/* (S) */
	const int32_t *examples;	/* (count) which example of the data it is: key of its masks */
	const int32_t *lengths;		/* (count, L) absolute tokens kept; NULL: full */
	uint64_t	skipped;		/* LayerDrop: bit i: layer i is skipped and drops no token */
	uint64_t	seed;
	int64_t		step;
	int			submodel;		/* 0: full */
	float		hidden_dropout;
	float		attention_dropout;
} LatTapeInput;

/* The rows that are left at some level. */
typedef struct LatRows
{
	int			rows;			/* R */
	int32_t    *offsets;		/* (count + 1) first row of each sequence */
	int32_t    *origins;		/* (R) row in the batch as it came */
} LatRows;

/* What a layer leaves for backward: R rows come in, R' go on. */
typedef struct LatTapeLayer
{
	int			layer;			/* of the model */
	bool		cls_only;		/* one query a sequence, [CLS], and it alone goes on */
	int32_t    *kept;			/* (R') row of x that each row was */
	LatMatrix	x;				/* (R, Hp) */
	LatMatrix	qkv;			/* (R, 3 Hp); cls_only: Q in the rows of [CLS] alone */
	float	   *probabilities;	/* a sequence after another: (A, queries, Tp), before dropout */
	LatMatrix	context;		/* (R', Hp) */
	LatMatrix	attention_sum;	/* (R', Hp) what the attention's LayerNorm normalises */
	LatMatrix	y;				/* (R', Hp) its output */
	LatMatrix	inner;			/* (R', Ip) of the feed-forward block, before the activation */
	LatMatrix	output_sum;		/* (R', Hp) what the output LayerNorm normalises */
} LatTapeLayer;

/* Forward and backward of one micro-batch of one sub-model. */
typedef struct LatTape
{
	const LatHost *host;
	const LatKernels *kernels;
	const LatModel *model;

	const float *trained;		/* the image's floats behind the word embeddings */
	float	   *gradients;		/* of them, in parallel; added to */
	LatBf16Mode bf16;			/* NONE if the kernels have no products in bf16 */
	bool		fresh;			/* gradients of weight matrices are overwritten instead */
	float	   *word_gradients; /* (slots, stride), added to; NULL: words are frozen */
	const int32_t *slots;		/* (V) slot of each word of the batch */

	int			most_rows;		/* of a micro-batch */
	int			longest;		/* tokens of an example */
	const LatTapeInput *input;

	int			count;			/* layers that run */
	LatTapeLayer layers[LAT_MAX_LAYERS];	/* (count) */
	LatRows		levels[LAT_MAX_LAYERS + 1]; /* (count + 1) what each received, and the end */
	LatMatrix	embedding_sum;	/* (S, Ep) what the embedding LayerNorm normalises */
	LatMatrix	embedded;		/* (S, Ep) its output; used where a projection follows */
	LatMatrix	hidden;			/* (R, Hp) after the last layer */
	LatMatrix	head_input;		/* (S or count, Hp) restored states, or those of [CLS] */
	LatMatrix	dense_sum;		/* (count, Hp) of the classifier's dense layer, before activation */
	LatMatrix	dense;			/* (count, Hp) after it */
	LatMatrix	logits;			/* (S or count, labels padded) */
	LatMatrix	teacher;		/* the full model's logits */

	/* scratch */
	LatMatrix	rows_a;			/* (S, Hp), with room for (S, Ep) */
	LatMatrix	rows_b;			/* the same */
	LatMatrix	rows_c;			/* the same */
	LatMatrix	wide;			/* (S, Ip) */
	LatMatrix	d_qkv;			/* (S, 3 Hp): Q of the rows that stay, K and V of all */
	LatMatrix	d_restored;		/* (S, Hp) gradient of the head's input */
	LatMatrix	d_logits;		/* as logits */
	float	   *panels;			/* a GEMM's B, cut and packed */
	uint32_t   *pairs_a;		/* of bf16: a GEMM's A, cut and packed */
	uint32_t   *pairs_b;		/* and its B */
	float	   *scores;			/* (LAT_BLOCK_ROWS, Tp) */
	float	   *d_scores;		/* (LAT_BLOCK_ROWS, Tp) */
	float	   *head_rows;		/* (longest, Dp) */
	float	   *head_sums;		/* (2, longest, Dp) gradients of a head's keys and values */
	float	   *key_panels;		/* (Tp/16, D, 16), or (Dp/16, T, 16) */
	float	   *value_panels;	/* the same */
	float	   *query_panels;	/* (Dp/16, LAT_BLOCK_ROWS, 16) */
	float	   *context_panels; /* the same */
	float	   *significance;	/* (Tp) */
	uint32_t   *order;			/* (T) */
	int32_t    *kept;			/* (T) */
	int32_t    *positions;		/* (S) of the rows of the level at hand, within their sequences */
} LatTape;

/* Reserve everything for micro-batches of most_rows rows; *memory is the host's, for the caller. */
extern LatStatus lat_tape_open(LatTape *tape, int most_rows, int longest, void **memory,
							   LatError *error);

/* Encoder and head: tape->logits. */
extern LatStatus lat_tape_forward(LatTape *tape, const LatTapeInput *input);

/* From tape->d_logits to the gradients of every parameter. */
extern LatStatus lat_tape_backward(LatTape *tape);

/* Probabilities and significance, kept rows and their context of all sequences: levels[i + 1]. */
extern LatStatus lat_tape_attend(LatTape *tape, int level);

/* d_context (R', Hp) to tape->d_qkv. */
extern LatStatus lat_tape_attend_backward(LatTape *tape, int level, LatMatrix d_context);

/* Dropout masks of a site for rows of a level, in place. */
extern void lat_tape_dropout(const LatTape *tape, LatSite site, int layer, const LatRows *rows,
							 LatMatrix x);

extern bool lat_drops_head_input(const LatConfig *config);
extern bool lat_drops_attention_output(const LatConfig *config);

/* False: dropout of this probability does nothing. */
extern bool lat_dropout_mask(const LatTapeInput *input, float probability, uint32_t example,
							 uint32_t site, uint32_t where, LatDropout *dropout);

/* tape->positions of a level's rows. */
extern void lat_tape_positions(LatTape *tape, int level);

/* Floats parallel to a parameter: its gradient. */
extern float *lat_gradient_of(const LatTape *tape, const float *parameter);

/* ---- linear layers (training_linear.c) ---------------------------------------------------- */

/* y = x W + bias */
extern LatStatus lat_linear_forward(LatTape *tape, const LatLinear *linear, LatMatrix x,
									LatMatrix y);

/* dx = dy W', or with add, dx += dy W' */
extern LatStatus lat_linear_input_gradient(LatTape *tape, const LatLinear *linear, LatMatrix dy,
										   LatMatrix dx, bool add);

/* Gradient of W += x' dy, of the bias += column sums of dy. */
extern LatStatus lat_linear_weight_gradient(LatTape *tape, const LatLinear *linear, LatMatrix x,
											LatMatrix dy);

/* The same with inputs rounded to bf16 (training_linear_bf16.c), without the bias's gradient. */
extern LatStatus lat_linear_forward_bf16(LatTape *tape, const LatLinear *linear, LatMatrix x,
										 LatMatrix y);
extern LatStatus lat_linear_input_gradient_bf16(LatTape *tape, const LatLinear *linear,
												LatMatrix dy, LatMatrix dx, bool add);
extern LatStatus lat_linear_weight_gradient_bf16(LatTape *tape, const LatLinear *linear,
												 LatMatrix x, LatMatrix dy);
extern void lat_carve_bf16(LatCarver *carver, LatTape *tape);

#define LAT_GEMM_DEPTH 256		/* of B that is packed at a time */
#define LAT_GEMM_PANELS 3		/* a whole tile of the widest kernel */

/* ---- losses (loss.c) ---------------------------------------------------------------------- */

/* Targets of a micro-batch, and what its loss is worth. */
typedef struct LatTargets
{
	LatTask		task;
	int			labels;
	int			count;			/* sequences */
	const int32_t *offsets;		/* (count + 1) */
	const int32_t *targets;		/* (count, 2) class, or first and last token */
	const int32_t *tags;		/* tag (S) label, -1: does not count */
	double		weight;			/* 1 / (examples or labelled tokens of the batch, times models) */
	bool		reverse;		/* KL(sub || full) */
} LatTargets;

/* Task loss of logits and its gradient d; returns the weighted loss. */
extern double lat_task_loss(const LatTargets *targets, LatMatrix logits, LatMatrix d);

/* Distillation from the teacher's logits, as constants, and its gradient d. */
extern double lat_distillation_loss(const LatTargets *targets, LatMatrix logits,
									LatMatrix teacher, LatMatrix d);

/* ---- sub-models (training_plan.c) --------------------------------------------------------- */

/* lengths (L): ceil(before * (1 - p)) layer by layer, from N; skipped layers drop nothing. */
extern void lat_smallest_lengths(int layers, double p, int32_t reference_length, uint64_t skipped,
								 int32_t *lengths);

#endif							/* LAT_TRAINING_INTERNAL_H */
