/*
 * run_store.h
 *	  The rows of runs: lat_run_entry and lat_run_log.
 *
 * All of it needs a transaction; what is read comes in the current memory
 * context.  What a leader writes names its run by number and time of creation,
 * so that nothing is written to another run, should the extension have been
 * dropped and created again.
 */
#ifndef LAT_RUN_STORE_H
#define LAT_RUN_STORE_H

#include "run.h"

/* Who one was before. */
typedef struct Identity
{
	Oid			user;
	int			context;
	int			settings;		/* nest level */
} Identity;

/* Act as the owner of the runs' tables, and as before again; errors undo it as well. */
extern void become_tables_owner(Identity *before);
extern void become_again(const Identity *before);

/* The job of a kind of run; ERROR if there is none. */
extern const RunJob *run_find_job(const char *kind);

/* The run of that number, under the active snapshot; NULL if there is none. */
extern Run *run_find(int64 id);

/* The same, with the latest that was committed, but an ERROR if there is none. */
extern Run *run_get_latest(int64 id);

/* queued -> running; false if it is not queued any more, or gone. */
extern bool run_record_start(const Run *run);

/* How many processes work; a checkpoint that was written. */
extern void run_record_processes(const Run *run, int processes);
extern void run_record_checkpoint(const Run *run, int64 step, int64 bytes);

/* Forget what was logged after the step from which the run goes on. */
extern void run_record_resumed(const Run *run, int64 step);

/* Add a line to the run's log; false if the run is gone. */
extern bool run_record_progress(const Run *run, const RunProgress *progress, double rate,
								TimestampTz eta);

/* running -> done, with what it made; its data go. */
extern void run_record_done(const Run *run, const char *digest, const RunProgress *last);

/*
 * running -> failed, cancelled or interrupted, with the error (NULL: none).
 * False if it was not running.
 */
extern bool run_record_end(const Run *run, const char *state, const ErrorData *error);

/* From a recorded state to another, queued or cancelled; false if it was not in the first. */
extern bool run_change_state(const Run *run, const char *from, const char *to);

/* Delete the run's rows of lat_run_data. True if there were any. */
extern bool run_delete_data(const Run *run);
extern bool run_has_data(const Run *run);

/* The error that a run ended with, as an ERROR of our own. */
extern void run_raise_error(const Run *run) __attribute__((noreturn));

#endif							/* LAT_RUN_STORE_H */
