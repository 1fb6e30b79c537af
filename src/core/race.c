/*
 * race.c
 *	  Giving up a candidate before all examples are tried: a sequential test by betting.
 *
 * A candidate's rival is the best configuration on the frontier that costs no
 * more; unless the candidate does better than it over all n examples, it cannot
 * come onto the frontier.  The rival's outcomes over the n examples are known.
 * With its quality q, and h, p, a for hits, predicted and actual (LatOutcome),
 *
 *		d = 2 (h - h') - q (p - p')			' : the rival's
 *
 * sums to 0 or more over the n examples exactly if the candidate's quality is q
 * or more (for accuracy d is twice the difference of the hits).  The hypothesis
 * to reject is sum(d) >= 0.
 *
 * The examples come in random order without repetition.  Under the hypothesis
 * the next d is, on average over what may come, at least
 *
 *		m = -(sum of the d so far) / (examples left)
 *
 * so who stakes the share lambda of his wealth on "d < m", wealth *= 1 + lambda (m - d),
 * does not win on average, and his wealth reaches 1 / level with a chance of at
 * most level (Ville's inequality), however often one looks: no correction for
 * the number of blocks, no normal approximation, exact for a finite n.  The
 * stake follows what has been seen (mean and spread of d) and stays below what
 * could ruin: m - d >= m - R, where R bounds d, as h <= a and h <= p give
 *
 *		d <= u = (2 - q) a - 2 h' + q p' <= R
 *
 * Apart from betting, the race is lost for certain when not even u for every
 * example left would make up for what is missing.
 *
 * The order must not depend on the candidates: search.c draws it anew in every
 * iteration, after they are chosen.
 *
 * Method: Waudby-Smith and Ramdas, "Estimating means of bounded random variables
 * by betting" (arXiv 2010.09686), sampling without replacement; racing: Maron
 * and Moore, "Hoeffding races", NIPS 1993.
 */
#include "race.h"

#include <math.h>
#include <string.h>

/* Largest share of the wealth that one example can cost. */
#define BOLDEST 0.5

/* The most that an example can speak for a candidate against this outcome of the rival. */
static double
highest_difference(double q, const LatOutcome *rival)
{
	return (2 - q) * rival->actual - 2.0 * rival->hits + q * rival->predicted;
}

void
lat_race_begin(LatRace *race, const LatOutcome *rival, int32_t n)
{
	memset(race, 0, sizeof(*race));
	race->rival_quality = lat_quality(rival, n);
	race->n = n;
	for (int32_t i = 0; i < n; i++)
	{
		double		most = highest_difference(race->rival_quality, &rival[i]);

		race->rest += most;
		race->highest = fmax(race->highest, most);
	}
}

void
lat_race_add(LatRace *race, const LatOutcome *candidate, const LatOutcome *rival)
{
	double		q = race->rival_quality;
	double		d = 2.0 * (candidate->hits - (double) rival->hits) -
		q * (candidate->predicted - (double) rival->predicted);
	double		m = -race->sum / (race->n - race->seen);

	if (m < race->highest)
	{
		/* one made-up example of middling spread, so that the first real ones are not overrated */
		double		mean = race->sum / (race->seen + 1);
		double		square = (race->squares + race->highest * race->highest / 4) / (race->seen + 1);
		double		edge = m - mean;
		double		spread = fmax(square - mean * mean, 1e-12);
		double		stake = edge > 0 ? edge / (spread + edge * edge) : 0;

		stake = fmin(stake, BOLDEST / (race->highest - m));
		race->log_wealth += log(1 + stake * (m - d));
	}
	race->seen++;
	race->sum += d;
	race->squares += d * d;
	race->rest -= highest_difference(q, rival);
	race->weight += (double) candidate->predicted + candidate->actual;
}

bool
lat_race_lost(const LatRace *race, double level)
{
	/* sums of n terms are exact to far less than this share of one example's bound */
	double		margin = 1e-6 * race->highest;

	return race->sum + race->rest < -margin || race->log_wealth >= -log(level);
}

double
lat_race_estimate(const LatRace *race)
{
	return race->rival_quality + (race->weight > 0 ? race->sum / race->weight : 0);
}
