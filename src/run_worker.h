/*
 * run_worker.h
 *	  The leader of a run: how it is registered, and how one sees that it is there.
 */
#ifndef LAT_RUN_WORKER_H
#define LAT_RUN_WORKER_H

#include "run.h"

/* All that a leader is told; it fits into bgw_extra. */
typedef struct LeaderOrder
{
	int64		run;
	TimestampTz created;
	Oid			database;
	Oid			owner;
} LeaderOrder;

/* Register the leader. False: there is no slot for a worker. Raises no error. */
extern bool run_register_leader(const LeaderOrder *order);

/* Process that leads the run in this database; 0: none does. */
extern int	run_leader_pid(int64 run);

/* Does any run, of any database, have a leader? */
extern bool run_any_leader(void);

#endif							/* LAT_RUN_WORKER_H */
