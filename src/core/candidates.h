/*
 * candidates.h
 *	  The space that the search walks, its population, and the Pareto frontier (candidates.c).
 */
#ifndef LAT_CANDIDATES_H
#define LAT_CANDIDATES_H

#include "lat_training.h"
#include "random.h"

/* What a configuration of this model may be. */
typedef struct LatSpace
{
	const LatConfig *config;
	int32_t		reference_length;	/* N */
	bool		cls_only;		/* the head reads [CLS] alone: the last layer's length is not used */
	int			free_layers;	/* layers whose length matters: L, or L - 1 where cls_only */
	double		full;			/* multiply-adds in full, at N */
	double		paper_full;		/* the paper's count of the same */
	double		floor;			/* fraction of the smallest configuration; nothing cheaper is tried */
} LatSpace;

extern void lat_space_init(LatSpace *space, const LatConfig *config,
						   const LatSearchOptions *options);

/* Every layer keeps ceil(ratio * length before), at least 2: lengths (L). */
extern void lat_space_ratio(const LatSpace *space, double ratio, int32_t *lengths);

/* A child of one or two parents (section 3.2); lengths, child: (L). */
extern void lat_space_mutate(const LatSpace *space, const int32_t *parent, double chance,
							 LatRandom random, int32_t *child);
extern void lat_space_cross(const LatSpace *space, const int32_t *a, const int32_t *b,
							int32_t *child);

/* The configurations met so far, each once. */
typedef struct LatPopulation
{
	const LatSpace *space;
	LatCandidate *candidates;	/* (capacity) */
	int32_t    *count;
	int32_t		capacity;
	int32_t    *table;			/* (table_size) open addressing: index + 1; 0: empty */
	uint32_t	table_size;		/* a power of two, at least twice the capacity */
} LatPopulation;

/* Entries of the table for a population of this capacity. */
extern uint32_t lat_population_table_size(int32_t capacity);

/* Enter the candidates that are there (after a checkpoint was put back). */
extern void lat_population_index(LatPopulation *population);

/* Add a configuration; false if it was met before or is cheaper than the smallest. */
extern bool lat_population_add(LatPopulation *population, const int32_t *lengths);

/*
 * Points in the plane of cost and quality.  frontier: room for count; filled with those
 * that no other one beats, by rising cost; of equal ones the first. Returns how many.
 * NAN qualities never are on it.
 */
extern int	lat_pareto_frontier(const double *costs, const double *qualities, int count,
								int32_t *frontier);

/* Area under the frontier's steps, for costs 0 .. 1. */
extern double lat_pareto_area(const double *costs, const double *qualities,
							  const int32_t *frontier, int count);

#endif							/* LAT_CANDIDATES_H */
