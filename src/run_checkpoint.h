/*
 * run_checkpoint.h
 *	  What a run has reached, in a file.
 */
#ifndef LAT_RUN_CHECKPOINT_H
#define LAT_RUN_CHECKPOINT_H

#include "run.h"

/* Replace the run's checkpoint; returns the bytes of disk that it takes. */
extern int64 checkpoint_write(const Run *run, int64 step, const void *state, size_t bytes);

/*
 * Read the run's checkpoint into state; false, and state as it was, if there is
 * none, or none that is whole and fits.
 */
extern bool checkpoint_read(const Run *run, void *state, size_t bytes, int64 *step);

/* Remove it. Raises no error. */
extern void checkpoint_remove(Oid database, int64 run);

/* Remove checkpoints whose database or run is gone, or has ended. Needs a transaction. */
extern void checkpoint_sweep(void);

#endif							/* LAT_RUN_CHECKPOINT_H */
