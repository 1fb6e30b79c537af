/*
 * search.h
 *	  What the parts of the search share: the block of the team, a process's access to it.
 *
 *		search_block.c	the block's layout; opening and closing it
 *		search_rounds.c	evaluations shared out over the team
 *		search.c		what to evaluate: the evolutionary search itself
 *		candidates.c	configurations, breeding, the frontier
 *		race.c			when to give a candidate up
 */
#ifndef LAT_SEARCH_H
#define LAT_SEARCH_H

#include "candidates.h"
#include "race.h"

#define LAT_SEARCH_CHUNK 32		/* examples of a work item */

/* What a checkpoint holds. */
typedef struct LatSearchState
{
	int32_t		steps;			/* done: 0 nothing, 1 the configurations to start from, ... */
	int32_t		count;			/* candidates */
	int32_t		finished;
	int32_t		abandoned;
	int64_t		examples;		/* evaluated, over all candidates */
	double		hypervolume;
	double		full_millions;	/* multiply-adds of candidate 0, in full, on the selecting half */
	LatCandidate candidates[];	/* (capacity) */
} LatSearchState;

/* A configuration to evaluate, and where its outcomes go. */
typedef struct LatSearchJob
{
	int32_t		candidate;
	int32_t		slot;
} LatSearchJob;

typedef enum LatRoundKind
{
	LAT_ROUND_LABEL = 0,		/* what the model says in full becomes the target */
	LAT_ROUND_SELECT = 1,		/* jobs on part of the selecting half, in the iteration's order */
	LAT_ROUND_REPORT = 2		/* jobs on the reporting half */
} LatRoundKind;

/* Work that the team shares out: `jobs` times the examples from .. to - 1, in chunks. */
typedef struct LatSearchRound
{
	int32_t		kind;			/* LatRoundKind */
	int32_t		jobs;
	int32_t		from;
	int32_t		to;
	uint64_t	next;			/* work item to be taken next; atomic */
} LatSearchRound;

/* The shared block: this header, then what `..._at` says (bytes from the block's start). */
typedef struct LatSearchBlock
{
	LatSearchOptions options;
	int32_t		layers;
	int32_t		hidden;
	int32_t		kind;			/* LatRecordKind */
	int32_t		labelled;
	int32_t		count;			/* examples */
	int32_t		selecting;		/* of which the first so many, once shuffled, select */
	int32_t		capacity;		/* candidates at most */
	int32_t		batch;			/* new candidates of an iteration at most */
	int32_t		slots;			/* configurations whose outcomes are held */
	uint64_t	record_bytes;
	uint64_t	state_at;
	uint64_t	jobs_at;		/* LatSearchJob (slots) */
	uint64_t	outcomes_at;	/* LatOutcome (slots, selecting) */
	uint64_t	references_at;	/* float (count, H), LAT_EMBED only */
	uint64_t	records_at;
	uint64_t	size;
	LatSearchRound round;
} LatSearchBlock;

/* A candidate of the iteration that is still in it. Rank 0 keeps them. */
typedef struct LatContender
{
	int32_t		candidate;
	int32_t		slot;
	int32_t		rival;			/* candidate; -1: none that costs no more */
	LatRace		race;
} LatContender;

/* lat_evaluate, or what a test puts in its place. */
typedef LatStatus (*LatEvaluate) (LatEngine *engine, const LatModel *model,
								  const LatExamples *examples, int32_t first, int32_t count,
								  const int32_t *lengths, int32_t reference_length,
								  const float *references, LatOutcome *outcomes,
								  LatError *error);

struct LatSearcher
{
	const LatHost *host;
	const LatTeam *team;
	const LatModel *model;
	LatSearchBlock *block;
	LatSearchState *state;
	LatEngine	engine;
	LatEvaluate evaluate;
	double		(*clock) (void);	/* milliseconds; NULL: nothing is measured */
	bool		labels_known;
	LatSpace	space;
	LatPopulation population;
	LatExamples examples;		/* shuffled: the selecting half comes first */
	LatSearchJob *jobs;			/* (slots) shared */
	LatOutcome *outcomes;		/* (slots, selecting) shared */
	float	   *references;		/* (count, H) shared; NULL unless LAT_EMBED */

	/* private, in one piece of the host's memory */
	void	   *memory;
	uint64_t   *offsets;		/* (count) of the records, shuffled */
	int32_t    *order;			/* (selecting) in which this iteration tries the examples */
	float	   *chunk_references;	/* (LAT_SEARCH_CHUNK, H), LAT_EMBED only */

	/* rank 0 only, though all reserve them */
	double	   *costs;			/* (capacity) */
	double	   *qualities;		/* (capacity) on the selecting half; NAN: abandoned */
	int32_t    *frontier;		/* (capacity) by rising cost; the parents of what comes next */
	int			members;		/* of the frontier */
	int			reported;		/* members whose quality on the reporting half is asked for */
	double		report_millions;	/* multiply-adds in full on the reporting half */
	int32_t    *slot_of;		/* (capacity) slot of a candidate's outcomes; -1: not held */
	int32_t    *owners;			/* (slots) candidate; -1: free */
	uint8_t    *pinned;			/* (slots) needed in this iteration */
	LatContender *contenders;	/* (batch) */
	int			contending;
	int32_t    *ids;			/* (N) a text to measure time on */
	uint8_t    *segments;		/* (N) */
	float	   *output;			/* (N, columns) */
};

/* Let all of the team arrive; false: somebody gave up. */
extern bool lat_search_meet(const LatSearcher *searcher);

/*
 * Do the round that rank 0 has set up, all together; *jobs: how many it had.
 * Rank 0 may set up the next one as soon as it returns.
 */
extern LatStatus lat_search_round(LatSearcher *searcher, int32_t *jobs, LatError *error);

/* Outcomes in a slot. */
extern LatOutcome *lat_search_outcomes(const LatSearcher *searcher, int32_t slot);

/* Find the frontier of what the state holds. */
extern void lat_search_find_frontier(LatSearcher *searcher);

/* Median time of one text of N tokens, by rank 0. */
extern LatStatus lat_search_measure(LatSearcher *searcher, const int32_t *lengths,
									double *milliseconds, LatError *error);

/* For tests: evaluate by this from now on. */
extern void lat_searcher_set_evaluate(LatSearcher *searcher, LatEvaluate evaluate);

#endif							/* LAT_SEARCH_H */
