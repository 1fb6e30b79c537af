/*
 * stats.h
 *	  The directory in shared memory: who has which model mapped, and what was computed with it.
 */
#ifndef LAT_STATS_H
#define LAT_STATS_H

#include "model_cache.h"

#define STATS_NO_SLOT (-1)

/* Ask for the shared memory, if the library is being preloaded. */
extern void stats_init(void);

/*
 * Enter this backend as attached to a model of this database.  Returns the slot
 * that counts it, or STATS_NO_SLOT: no preload, or all slots are taken.
 */
extern int	stats_attach(const char *digest, LatPrecision precision, uint64 bytes);

/* The backend has let go of the model. Raises no error. */
extern void stats_detach(int slot);

extern void stats_add(int slot, const CallCounts *counts);

#endif							/* LAT_STATS_H */
