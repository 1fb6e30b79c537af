/*
 * train.h
 *	  A process's access to a run: what its plan, its steps and its opening share.
 */
#ifndef LAT_TRAIN_H
#define LAT_TRAIN_H

#include "optimizer.h"

struct LatTrainer
{
	const LatHost *host;
	LatTrainingBlock *block;
	LatTeam		team;
	LatModel	model;
	LatOptimizer optimizer;
	LatTape		tape;
	LatEngine	engine;			/* for evaluation */
	LatExamples train;
	LatExamples dev;
	LatTrainReport *report;		/* in the block: where the run stands */
	void	   *arrays;			/* what follows, one allocation */
	void	   *tape_memory;
	uint64_t   *train_offsets;	/* (train_count) */
	uint64_t   *dev_offsets;	/* (dev_count) */
	int64_t		permuted;		/* epoch (over both phases) that permutation is for; -1: none */
	int32_t    *permutation;	/* (train_count) */
	int32_t    *slots;			/* (V) */
	int32_t    *words;			/* (slots) */

	/* of the step at hand */
	int			count;			/* examples of the batch */
	int32_t    *batch;			/* (batch) their numbers, longest first */
	int32_t    *tokens;			/* (batch) */
	int32_t    *rank;			/* (batch) */
	double		weight;			/* of an example, or of a labelled token, in the loss */
	int			models;			/* 1, or n + 2 */
	int32_t		lengths[LAT_MAX_SUBMODELS + 2][LAT_MAX_LAYERS]; /* (models, L) at N */
	uint64_t	skipped[LAT_MAX_SUBMODELS + 2];

	/* of the micro-batch at hand */
	int32_t    *offsets;		/* (most_rows + 1) */
	int32_t    *ids;			/* (most_rows) */
	uint8_t    *segments;		/* (most_rows) */
	int32_t    *examples;		/* (most_rows) */
	int32_t    *targets;		/* (2, most_rows) */
	int32_t    *tags;			/* (most_rows) */
	int32_t    *scaled;			/* (most_rows, L) */
};

/* training_plan.c: what a step works on, alike in every process. */
extern void lat_plan_step(LatTrainer *trainer, int64_t step);

extern int64_t lat_epoch_steps(const LatTrainer *trainer);
extern int64_t lat_total_steps(const LatTrainer *trainer);
extern double lat_work_left(const LatTrainer *trainer, int64_t step);

#endif							/* LAT_TRAIN_H */
