/*
 * run_train.h
 *	  Options of lat_train.
 */
#ifndef LAT_RUN_TRAIN_H
#define LAT_RUN_TRAIN_H

#include "run.h"

typedef struct TrainOptions
{
	LatTrainOptions core;
	char	   *dev;			/* query; NULL: rows are held out */
	double		hold_out;		/* share of the rows */
	int32		workers;		/* processes wanted, and core.ranks */
	int32		checkpoint_interval;	/* seconds; 0: never */
} TrainOptions;

/* The defaults for a base and a task, then what json gives, all of it checked. */
extern void train_options_read(const LatConfig *base, LatTask task, Jsonb *json,
							   TrainOptions *options);

/* Complete, for train_options_read to make the same of it. */
extern Jsonb *train_options_write(TrainOptions *options);

#endif							/* LAT_RUN_TRAIN_H */
