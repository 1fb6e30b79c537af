/*
 * optimizer.h
 *	  AdamW over the parameters of a shared block, by a team.
 */
#ifndef LAT_OPTIMIZER_H
#define LAT_OPTIMIZER_H

#include "training_block.h"

/* Floats that are updated together: a piece of one parameter. */
typedef struct LatParameterBlock
{
	uint64_t	first;			/* from the first trained float */
	uint32_t	count;			/* at most LAT_PARAMETER_BLOCK, a multiple of 16 */
	bool		decays;			/* neither bias nor LayerNorm */
	bool		clears;			/* zeroed before a step, as all but weight matrices are */
} LatParameterBlock;

/* A process's view of parameters and schedule. */
typedef struct LatOptimizer
{
	LatTrainingBlock *block;
	const LatKernels *kernels;
	const LatHost *host;
	LatTeam		team;
	const LatModel *model;
	int			block_count;
	LatParameterBlock *blocks;	/* (block_count) */
	int64_t		steps[LAT_TRAIN_PHASES];	/* steps of each phase */
	double	   *decay_sums;		/* (steps of all + 1) log of the product of all decays before */

	/* of the batch at hand */
	int			ranks;			/* that have examples: the first ones */
	int			word_count;		/* distinct words, 0 if they are frozen */
	const int32_t *words;		/* (word_count), one a slot */
	const int32_t *slots;		/* (V) slot of a word, -1: none */
} LatOptimizer;

/* Split the model's parameters; blocks has room for block->square_blocks. */
extern void lat_list_parameters(LatOptimizer *optimizer);

/* Learning rate of a step of the whole run: linear, with warm-up, anew in each phase. */
extern double lat_learning_rate(const LatOptimizer *optimizer, int64_t step);

/* Before a step: decay that the batch's words have skipped, and their moments. */
extern LatStatus lat_words_catch_up(LatOptimizer *optimizer, int64_t step);

/*
 * After it, sum the ranks' gradients, clip by their norm (before clipping: *norm), update.  The
 * team waits in between, the caller at the end.  LAT_BAD_MODEL if the norm is not finite.
 */
extern LatStatus lat_optimizer_step(LatOptimizer *optimizer, int64_t step, double *norm,
									LatError *error);

/* Gradients of a rank: of the trained floats, and of word slots. */
extern float *lat_rank_gradients(const LatOptimizer *optimizer, int rank);
extern float *lat_rank_word_gradients(const LatOptimizer *optimizer, int rank);

/* Zero what a rank's backward pass adds to; weight matrices are overwritten by it. */
extern void lat_clear_gradients(const LatOptimizer *optimizer, int rank);

/* Phase of a step of the whole run, and its number within the phase. */
extern int	lat_phase_of(const LatOptimizer *optimizer, int64_t step, int64_t *within);

/* After the last: decay that any word has skipped. */
extern LatStatus lat_words_finish(LatOptimizer *optimizer, int64_t step);

/* Wait for the team: LAT_INTERRUPTED if it gives up. */
extern LatStatus lat_team_wait(const LatTeam *team);

/* This process's share of n: first .. *end - 1. */
extern int64_t lat_team_share(const LatTeam *team, int64_t n, int64_t *end);

#endif							/* LAT_OPTIMIZER_H */
