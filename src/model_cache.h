/*
 * model_cache.h
 *	  Packed models, one copy a cluster, mapped read-only by every backend.
 */
#ifndef LAT_MODEL_CACHE_H
#define LAT_MODEL_CACHE_H

#include "core/lat.h"

/* Prepare the cache; at load of the library. */
extern void model_cache_init(void);

/*
 * The model of this digest, mapped here; packs and publishes it first where no
 * backend has done so.  The pointer is good until the calling SQL function
 * returns: ask again at the next call (that costs a comparison).
 */
extern const LatModel *model_cache_get(const char *digest, LatPrecision precision);

/* Forget a digest once the current transaction commits: its name was replaced or dropped. */
extern void model_cache_retire(const char *digest);

/* What one SQL call did, for pg_stat_lat. Cheap; does nothing without preload. */
typedef struct CallCounts
{
	int64		rows;			/* texts scored */
	int64		tokens_in;
	int64		tokens_kept;	/* summed over layers */
	int64		truncated;		/* texts that were cut */
	double		multiply_adds;	/* executed */
	double		milliseconds;
} CallCounts;

extern void model_cache_count(const char *digest, LatPrecision precision, const CallCounts *counts);

#endif							/* LAT_MODEL_CACHE_H */
