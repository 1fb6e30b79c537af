/*
 * run_team.c
 *	  The processes of a run: a leader, helpers, and the block that they share.
 *
 * A dynamic shared memory segment holds the control struct and, 64-byte
 * aligned, the block that the core lays out:
 *
 *		leader							helper
 *		team_create		segment, block
 *		(fills in the block)
 *		team_start		registers	->	attaches, gets its rank, waits
 *						closes		->	begins
 *		steps			<- barrier ->	steps
 *		team_leave					->	ends
 *
 * Results do not depend on the number of processes, so the leader takes what it
 * gets: where there are no slots for background workers, or no shared memory of
 * that size, it works alone.
 *
 * Whoever leaves before the end, by an error, a signal or a crash of its own,
 * says so in the control struct on its way out (on_dsm_detach); the others are
 * woken, learn it at the barrier, and give up too.  A process killed outright
 * takes the whole server through crash recovery, and everybody along.
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "run_store.h"
#include "run_team.h"
#include "settings.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/spin.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define BLOCK_ALIGNMENT 64
#define HELPER_PATIENCE_MS 10000	/* for a registered helper to come */
#define POLL_MS 50
#define TEXT_BYTES 1024

typedef struct TeamControl
{
	slock_t		mutex;			/* guards what follows, up to changed */
	int			attached;		/* helpers that have come */
	int			size;			/* processes of the team; 0: not yet known */
	int			arrived;		/* at the barrier */
	uint64		phase;			/* how often all have arrived */
	int64		hold_after;		/* helpers stop after that many steps; 0: they do not */
	TeamFailure failure;
	int			sqlerrcode;		/* these four are written once, with TEAM_ERROR */
	char		message[TEXT_BYTES];
	char		detail[TEXT_BYTES];
	char		hint[TEXT_BYTES];
	ConditionVariable changed;	/* attached, size, phase or failure */

	/* constant */
	int64		run;
	char		kind[16];
	char		kernels[16];
	size_t		block_offset;
} TeamControl;

struct Team
{
	dsm_segment *segment;		/* NULL: alone */
	TeamControl *control;
	void	   *block;
	int			wanted;			/* processes */
	int			helpers;		/* registered */
	BackgroundWorkerHandle *handles[LAT_MAX_RANKS];
	LatTeam		core;
	int64		steps;			/* done by this process */
	bool		left;			/* in good order */
};

PGDLLEXPORT void lat_run_helper(Datum arg);

/* ---- in common ---------------------------------------------------------------------------- */

/* The first failure counts. */
static void
set_failure(TeamControl *control, TeamFailure failure, const ErrorData *error)
{
	SpinLockAcquire(&control->mutex);
	if (control->failure == TEAM_SOUND)
	{
		control->failure = failure;
		if (error)
		{
			control->sqlerrcode = error->sqlerrcode;
			strlcpy(control->message, error->message ? error->message : "", TEXT_BYTES);
			strlcpy(control->detail, error->detail ? error->detail : "", TEXT_BYTES);
			strlcpy(control->hint, error->hint ? error->hint : "", TEXT_BYTES);
		}
	}
	SpinLockRelease(&control->mutex);
}

static TeamFailure
get_failure(TeamControl *control)
{
	TeamFailure failure;

	SpinLockAcquire(&control->mutex);
	failure = control->failure;
	SpinLockRelease(&control->mutex);
	return failure;
}

/* This process leaves the segment: at its end, or on its way out. */
static void
detach_member(dsm_segment *segment, Datum arg)
{
	Team	   *team = (Team *) DatumGetPointer(arg);
	TeamControl *control = dsm_segment_address(segment);

	if (!team->left)
		set_failure(control, TEAM_LOST, NULL);
	ConditionVariableBroadcast(&control->changed);
}

/*
 * The barrier (LatTeam.wait).  PostgreSQL's own cannot be left by who has
 * arrived and waits, as one does who is terminated; here the failure lets all go.
 */
static bool
wait_for_team(void *arg)
{
	TeamControl *control = ((Team *) arg)->control;
	TeamFailure failure;
	uint64		phase;
	bool		last;

	SpinLockAcquire(&control->mutex);
	phase = control->phase;
	last = ++control->arrived == control->size;
	if (last)
	{
		control->arrived = 0;
		control->phase++;
	}
	SpinLockRelease(&control->mutex);
	if (last)
	{
		ConditionVariableBroadcast(&control->changed);
		return get_failure(control) == TEAM_SOUND;
	}

	ConditionVariablePrepareToSleep(&control->changed);
	for (;;)
	{
		bool		all_here;

		SpinLockAcquire(&control->mutex);
		all_here = control->phase != phase;
		failure = control->failure;
		SpinLockRelease(&control->mutex);
		if (all_here || failure != TEAM_SOUND)
			break;
		ConditionVariableSleep(&control->changed, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return failure == TEAM_SOUND;
}

static void
join(Team *team, int size, int rank)
{
	team->core.size = size;
	team->core.rank = rank;
	team->core.wait = size > 1 ? wait_for_team : NULL;
	team->core.arg = team;
}

void *
team_block(const Team *team)
{
	return team->block;
}

const LatTeam *
team_core(const Team *team)
{
	return &team->core;
}

/* ---- leader: memory ----------------------------------------------------------------------- */

/* Create the segment, or return NULL; *error says why. */
static dsm_segment *
create_segment(size_t size, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	dsm_segment *volatile segment = NULL;

	/* what dsm_create has begun before an error goes with the subtransaction */
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
		if (segment)
			dsm_pin_mapping(segment);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (ERRCODE_TO_CATEGORY((*error)->sqlerrcode) != ERRCODE_INSUFFICIENT_RESOURCES)
			ReThrowError(*error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return segment;
}

/* The segment of a team; false if there is no room for it. */
static bool
create_shared(Team *team, const Run *run, size_t bytes)
{
	size_t		offset = TYPEALIGN(BLOCK_ALIGNMENT, sizeof(TeamControl));
	ErrorData  *error = NULL;
	TeamControl *control;

	team->segment = create_segment(offset + bytes, &error);
	if (team->segment == NULL)
	{
		ereport(LOG,
				(errmsg("run %lld works in one process: there is no shared memory of %zu MB",
						(long long) run->id, (offset + bytes) >> 20),
				 error ? errdetail_internal("%s", error->message) : 0,
				 errhint("Enlarge /dev/shm (containers: --shm-size), or set "
						 "min_dynamic_shared_memory or dynamic_shared_memory_type.")));
		return false;
	}
	control = team->control = dsm_segment_address(team->segment);
	memset(control, 0, offset + bytes);
	SpinLockInit(&control->mutex);
	ConditionVariableInit(&control->changed);
	control->run = run->id;
	strlcpy(control->kind, run->job->kind, sizeof(control->kind));
	strlcpy(control->kernels, run->kernels, sizeof(control->kernels));
	control->block_offset = offset;
	team->block = (char *) control + offset;
	on_dsm_detach(team->segment, detach_member, PointerGetDatum(team));
	return true;
}

/*
 * Processes that a run takes of the server's slots for workers.  A quarter of
 * them, two at least, stays free: for parallel queries, and for another run.
 */
static int
most_processes(void)
{
	return Max(1, max_worker_processes - Max(2, max_worker_processes / 4));
}

Team *
team_create(const Run *run, size_t bytes)
{
	Team	   *team = palloc0(sizeof(Team));

	team->wanted = Max(1, Min(run->workers, Min(most_processes(), LAT_MAX_RANKS)));
	if (team->wanted == 1 || !create_shared(team, run, bytes))
	{
		team->wanted = 1;
		team->block = host_allocate_aligned(bytes);
		memset(team->block, 0, bytes);
	}
	return team;
}

/* ---- leader: helpers ---------------------------------------------------------------------- */

static void
register_helpers(Team *team)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "$libdir/lat", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "lat_run_helper", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_type, "lat helper", sizeof(worker.bgw_type));
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(team->segment));
	worker.bgw_notify_pid = MyProcPid;
	while (team->helpers < team->wanted - 1)
	{
		snprintf(worker.bgw_name, sizeof(worker.bgw_name), "lat helper %d of run %lld",
				 team->helpers + 1, (long long) team->control->run);
		if (!RegisterDynamicBackgroundWorker(&worker, &team->handles[team->helpers]))
			break;
		team->helpers++;
	}
}

/* Helpers that are here or may still come. */
static int
count_expected(const Team *team)
{
	int			expected = 0;
	int			i;

	for (i = 0; i < team->helpers; i++)
	{
		pid_t		pid;
		BgwHandleStatus status = GetBackgroundWorkerPid(team->handles[i], &pid);

		expected += status == BGWH_STARTED || status == BGWH_NOT_YET_STARTED;
	}
	return expected;
}

/* Wait until all that may come have come, then let nobody else in; returns the team's size. */
static int
close_team(Team *team)
{
	TeamControl *control = team->control;
	TimestampTz begun = GetCurrentTimestamp();
	int			attached;
	int			size;

	ConditionVariablePrepareToSleep(&control->changed);
	for (;;)
	{
		SpinLockAcquire(&control->mutex);
		attached = control->attached;
		SpinLockRelease(&control->mutex);
		if (attached >= count_expected(team) ||
			TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), HELPER_PATIENCE_MS))
			break;
		(void) ConditionVariableTimedSleep(&control->changed, POLL_MS, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	SpinLockAcquire(&control->mutex);
	size = control->size = control->attached + 1;
	SpinLockRelease(&control->mutex);
	ConditionVariableBroadcast(&control->changed);
	return size;
}

int
team_start(Team *team)
{
	int			size = 1;

	if (team->segment)
	{
		register_helpers(team);
		size = close_team(team);
	}
	join(team, size, 0);
	return size;
}

/* ---- holding ------------------------------------------------------------------------------ */

/* All have come here; ERROR if somebody has not. */
static void
meet(Team *team)
{
	if (!wait_for_team(team))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("another process of the run has given up")));
}

/*
 * One step.  The leader sets the mark before the step that it names, which has
 * barriers; so every helper has seen it when that step is over.  And a helper
 * that is still at the end of the step before is not stopped by it.
 */
bool
team_step(Team *team, const RunJob *job, void *opened, RunProgress *progress)
{
	bool		more = job->step(opened, progress);
	int64		hold_after;

	team->steps++;
	if (team->core.size > 1 && team->core.rank > 0 && more)
	{
		SpinLockAcquire(&team->control->mutex);
		hold_after = team->control->hold_after;
		SpinLockRelease(&team->control->mutex);
		if (team->steps == hold_after)
			meet(team);
	}
	return more;
}

void
team_hold(Team *team)
{
	if (team->core.size == 1)
		return;
	SpinLockAcquire(&team->control->mutex);
	team->control->hold_after = team->steps + 1;
	SpinLockRelease(&team->control->mutex);
}

void
team_release(Team *team)
{
	if (team->core.size > 1)
		meet(team);
}

/* ---- the end ------------------------------------------------------------------------------ */

TeamFailure
team_failure(const Team *team, ErrorData *error)
{
	TeamControl *control = team->control;
	TeamFailure failure;

	if (control == NULL)
		return TEAM_SOUND;
	failure = get_failure(control);
	if (failure == TEAM_ERROR)
	{
		error->sqlerrcode = control->sqlerrcode;
		error->message = pstrdup(control->message);
		error->detail = control->detail[0] ? pstrdup(control->detail) : NULL;
		error->hint = control->hint[0] ? pstrdup(control->hint) : NULL;
	}
	return failure;
}

void
team_leave(Team *team, bool finished)
{
	dsm_segment *segment = team->segment;

	team->left = finished;
	team->segment = NULL;
	team->control = NULL;
	team->block = NULL;
	if (segment)
		dsm_detach(segment);
}

/* ---- helper ------------------------------------------------------------------------------- */

/* Enter the team and wait for it to be closed; false if it was closed already, or has failed. */
static bool
enter_team(Team *team)
{
	TeamControl *control = team->control;
	int			rank = 0;
	int			size = 0;

	SpinLockAcquire(&control->mutex);
	if (control->size == 0 && control->failure == TEAM_SOUND)
		rank = ++control->attached;
	SpinLockRelease(&control->mutex);
	if (rank == 0)
		return false;
	ConditionVariableBroadcast(&control->changed);

	ConditionVariablePrepareToSleep(&control->changed);
	for (;;)
	{
		bool		sound;

		SpinLockAcquire(&control->mutex);
		size = control->size;
		sound = control->failure == TEAM_SOUND;
		SpinLockRelease(&control->mutex);
		if (size != 0 || !sound)
			break;
		ConditionVariableSleep(&control->changed, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	join(team, size, rank);
	return size != 0;
}

static void
work_along(Team *team)
{
	const RunJob *job = run_find_job(team->control->kind);
	const LatKernels *kernels = lat_find_kernels(team->control->kernels);
	RunProgress progress = {0};
	LatHost		host;
	void	   *opened;

	host_in_context(&host, CurrentMemoryContext);
	opened = job->open(&host, kernels, &team->core, team->block);
	while (team_step(team, job, opened, &progress))
		CHECK_FOR_INTERRUPTS();
}

/* Tell the leader of an error; the log hears of it from the leader. */
static void
report_to_leader(Team *team, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		set_failure(team->control, TEAM_LOST, NULL);
	else
		set_failure(team->control, TEAM_ERROR, error);
}

void
lat_run_helper(Datum arg)
{
	MemoryContext context;
	Team	   *team;

	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	BackgroundWorkerUnblockSignals();
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "lat helper");
	context = AllocSetContextCreate(TopMemoryContext, "lat helper", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);

	team = palloc0(sizeof(Team));
	team->segment = dsm_attach(DatumGetUInt32(arg));
	if (team->segment == NULL)
		return;					/* the leader has gone */
	dsm_pin_mapping(team->segment);
	team->control = dsm_segment_address(team->segment);
	team->block = (char *) team->control + team->control->block_offset;
	on_dsm_detach(team->segment, detach_member, PointerGetDatum(team));

	PG_TRY();
	{
		if (enter_team(team))
			work_along(team);
		team->left = true;
	}
	PG_CATCH();
	{
		report_to_leader(team, context);
	}
	PG_END_TRY();
}
