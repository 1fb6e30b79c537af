/*
 * source.h
 *	  The parts of a stored checkpoint.
 */
#ifndef LAT_SOURCE_H
#define LAT_SOURCE_H

#include "lat.h"

typedef struct LatPart
{
	const char *bytes;			/* NULL: absent */
	size_t		size;
} LatPart;

/* Find the parts; LAT_BAD_MODEL if the header does not fit, or a needed part is absent. */
extern LatStatus lat_source_open(const void *source, size_t size, LatPart parts[LAT_PART_COUNT],
								 LatError *error);

#endif							/* LAT_SOURCE_H */
