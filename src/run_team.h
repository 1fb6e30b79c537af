/*
 * run_team.h
 *	  The processes of a run: a leader, helpers, and the block that they share.
 */
#ifndef LAT_RUN_TEAM_H
#define LAT_RUN_TEAM_H

#include "run.h"

typedef struct Team Team;

/*
 * Leader, in a transaction: a zeroed block of so many bytes, 64-byte aligned,
 * for a run of so many processes.  Where shared memory has no room for it, the
 * block is the leader's own, and the leader will be alone.
 */
extern Team *team_create(const Run *run, size_t bytes);
extern void *team_block(const Team *team);

/* Leader: get helpers, as many as can be had.  Returns the number of processes. */
extern int	team_start(Team *team);

/* For the core; good as long as the team. */
extern const LatTeam *team_core(const Team *team);

/* Every process: the next step of the job (RunJob.step). */
extern bool team_step(Team *team, const RunJob *job, void *opened, RunProgress *progress);

/*
 * Leader: have the helpers stop after the step that is about to begin, unless
 * it is the last, so that nobody writes to the block meanwhile; let them go on.
 */
extern void team_hold(Team *team);
extern void team_release(Team *team);

/* How a team came to grief through another process than this one. */
typedef enum TeamFailure
{
	TEAM_SOUND,
	TEAM_ERROR,					/* a process had an error: it is in *error */
	TEAM_LOST					/* a process ended without saying why */
} TeamFailure;

extern TeamFailure team_failure(const Team *team, ErrorData *error);

/* Leave the team; helpers that still work give up. Raises no error. */
extern void team_leave(Team *team, bool finished);

#endif							/* LAT_RUN_TEAM_H */
