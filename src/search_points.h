/*
 * search_points.h
 *	  The configurations that a search has tried: table lat_search_point.
 */
#ifndef LAT_SEARCH_POINTS_H
#define LAT_SEARCH_POINTS_H

#include "catalog.h"
#include "core/lat_training.h"

/* Replace the points of a digest. */
extern void search_points_replace(const char *digest, const LatCandidate *candidates, int count,
								  int layers, int32 reference_length);

/* Delete the points of a digest, whose last name has gone. */
extern void search_points_delete(const char *digest);

#endif							/* LAT_SEARCH_POINTS_H */
