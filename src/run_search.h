/*
 * run_search.h
 *	  Options of lat_search.
 */
#ifndef LAT_RUN_SEARCH_H
#define LAT_RUN_SEARCH_H

#include "run.h"

/* What a configuration's answers are measured against. */
typedef enum SearchAgainst
{
	AGAINST_FULL = 0,			/* the model's own, in full */
	AGAINST_LABELS = 1			/* those of the data */
} SearchAgainst;

/* What a classifier is given. */
typedef enum SearchInput
{
	INPUT_SINGLE = 0,
	INPUT_PAIR = 1
} SearchInput;

#define DECIDED_BY_COLUMNS (-1) /* not given: the query's columns tell */

typedef struct SearchOptions
{
	LatSearchOptions core;
	int32		precision;		/* LatPrecision */
	int32		against;		/* SearchAgainst */
	int32		input;			/* SearchInput */
	int32		workers;		/* processes wanted */
	int32		checkpoint_interval;	/* seconds; 0: never */
} SearchOptions;

/* Put what json gives over what options holds, and check all of it. */
extern void search_options_read(const LatConfig *config, Jsonb *json, SearchOptions *options);

/* Complete, for search_options_read to make the same of it. */
extern Jsonb *search_options_write(SearchOptions *options);

#endif							/* LAT_RUN_SEARCH_H */
