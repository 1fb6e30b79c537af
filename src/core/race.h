/*
 * race.h
 *	  Giving up a candidate before all examples are tried: a sequential test (race.c).
 */
#ifndef LAT_RACE_H
#define LAT_RACE_H

#include "lat_training.h"

/* Chance that a candidate which belongs onto the frontier is given up. */
#define LAT_RACE_LEVEL 0.01

/* A candidate's race against a rival that all n examples have been tried on. */
typedef struct LatRace
{
	double		rival_quality;	/* q, over all n examples */
	int32_t		n;
	int32_t		seen;
	double		highest;		/* bound of one example's difference */
	double		rest;			/* sum of the bounds of the examples to come */
	double		sum;			/* of the differences seen: 0 or more over all n means "not worse" */
	double		squares;		/* of the differences seen */
	double		weight;			/* predicted + actual of the examples seen */
	double		log_wealth;
} LatRace;

/* rival: (n) outcomes. */
extern void lat_race_begin(LatRace *race, const LatOutcome *rival, int32_t n);

/* The next example, in random order without repetition. */
extern void lat_race_add(LatRace *race, const LatOutcome *candidate, const LatOutcome *rival);

/* Is it clear that over all n examples the candidate will not do better than the rival? */
extern bool lat_race_lost(const LatRace *race, double level);

/* Quality over all n examples as expected from those seen. */
extern double lat_race_estimate(const LatRace *race);

#endif							/* LAT_RACE_H */
