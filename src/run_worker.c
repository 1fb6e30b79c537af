/*
 * run_worker.c
 *	  The leader of a run: a background worker that sees it through.
 *
 *		lock --run_record_start--> running
 *			--RunJob.plan, team_create, RunJob.create--> block
 *			--checkpoint_read--> where the run was
 *			--team_start, RunJob.open--> steps, with log and checkpoints in between
 *			--RunJob.store--> done
 *
 * The leader connects to the database without a role, since before 17 a worker
 * cannot connect as one that may not log in.  Then, in every transaction that
 * touches what is the owner's, it takes the owner's identity first, and gives it
 * back before the commit.  Between these transactions, which are short, it
 * computes outside of any: no snapshot is held.
 *
 * Every error ends the run: it is noted in the run's row, and lat_wait raises
 * it again.  Where not even that is possible, since the database has no room, or
 * the extension is gone, the server's log is told, and the row says "running"
 * with nobody holding the lock, which all take for "interrupted".
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "compat.h"
#include "miscadmin.h"
#include "model_store.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "run_checkpoint.h"
#include "run_store.h"
#include "run_team.h"
#include "run_worker.h"
#include "settings.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define LOG_INTERVAL_MS 1000
#define LOCK_PATIENCE 100		/* tries, each after LOCK_POLL_MS */
#define LOCK_POLL_MS 100
#define SPEED_WEIGHT 0.3		/* of the latest second in the average */

StaticAssertDecl(sizeof(LeaderOrder) <= BGW_EXTRALEN, "LeaderOrder does not fit");

typedef struct Leader
{
	const Run  *run;
	MemoryContext context;		/* of the run */
	LatHost		host;
	Team	   *team;
	void	   *opened;
	RunProgress progress;

	/* for the log */
	TimestampTz logged;			/* when the last line was written */
	double		logged_work_left;	/* NAN: no step was done yet */
	int64		logged_examples;
	double		seconds_per_work;	/* moving average; NAN: not known */
	double		examples_per_second;
	TimestampTz checkpointed;
} Leader;

PGDLLEXPORT void lat_run_leader(Datum arg);

/* ---- there or not ------------------------------------------------------------------------- */

static void
set_lock_tag(LOCKTAG *tag, int64 run)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (run >> 32), (uint32) run, LOCK_FIELD4);
}

bool
run_register_leader(const LeaderOrder *order)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "$libdir/lat", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "lat_run_leader", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_type, "lat run", sizeof(worker.bgw_type));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "lat run %lld", (long long) order->run);
	memcpy(worker.bgw_extra, order, sizeof(LeaderOrder));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* Process that holds the lock of a run, or (NULL) of any run of any database; 0: none does. */
static int
find_leader(const LOCKTAG *tag)
{
	LockData   *locks = GetLockStatusData();
	int			i;

	for (i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];
		bool		meant = tag ? memcmp(&lock->locktag, tag, sizeof(LOCKTAG)) == 0
			: lock->locktag.locktag_type == LOCKTAG_ADVISORY &&
			lock->locktag.locktag_field4 == LOCK_FIELD4;

		if (lock->holdMask != 0 && meant)
			return lock->pid;
	}
	return 0;
}

int
run_leader_pid(int64 run)
{
	LOCKTAG		tag;

	set_lock_tag(&tag, run);
	return find_leader(&tag);
}

bool
run_any_leader(void)
{
	return find_leader(NULL) != 0;
}

/*
 * Take the run's lock, for as long as this process lives.  A leader of a run
 * that was dropped with its extension may hold it for another second.
 */
static bool
take_lock(int64 run)
{
	LOCKTAG		tag;
	int			i;

	set_lock_tag(&tag, run);
	for (i = 0; i < LOCK_PATIENCE; i++)
	{
		if (LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL)
			return true;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOCK_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/* ---- transactions ------------------------------------------------------------------------- */

/* The memory context to come back to: that of a transaction goes with it. */
static MemoryContext outside_context;

/*
 * Begin a transaction as the run's owner, or (NULL) as ourselves, a superuser.
 *
 * The owner's triggers on the tables run in it.  They must leave nothing to be
 * run at commit, when the identity is ours again: a restricted operation lets
 * nobody defer a trigger or hold a cursor (CVE-2020-25695).
 */
static void
begin_transaction(const Run *run)
{
	outside_context = CurrentMemoryContext;
	StartTransactionCommand();
	if (run)
	{
		if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(run->owner)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("role \"%s\", which owns run %lld, was dropped",
							run->owner_name, (long long) run->id)));
		SetUserIdAndSecContext(run->owner, SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
	}
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* No transaction ends with another identity than it began with. */
static void
commit_transaction(void)
{
	PopActiveSnapshot();
	SetUserIdAndSecContext(GetSessionUserId(), 0);
	CommitTransactionCommand();
	MemoryContextSwitchTo(outside_context);
	(void) pgstat_report_stat(true);
}

/* Of the database: who waits for whom when the result is committed. */
static const char *result_commit;

/*
 * What the database's settings may not decide.  Lines of the log are not worth
 * waiting for, neither for the disk nor for a standby.
 */
static void
settle_session(void)
{
	result_commit = MemoryContextStrdup(TopMemoryContext,
										GetConfigOption("synchronous_commit", false, false));
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET,
					PGC_S_SESSION);
	SetConfigOption("lock_timeout", "0", PGC_USERSET, PGC_S_SESSION);
	if (GetConfigOption("transaction_timeout", true, false))	/* since 17 */
		SetConfigOption("transaction_timeout", "0", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("row_security", "on", PGC_USERSET, PGC_S_SESSION);
}

/* ---- log and checkpoints ------------------------------------------------------------------ */

/* Bring the averages up to date with what was done in the last so many seconds. */
static void
measure_speed(Leader *leader, double seconds)
{
	const RunProgress *progress = &leader->progress;
	double		work = leader->logged_work_left - progress->work_left;
	int64		examples = progress->examples - leader->logged_examples;
	double		rate;
	double		duration;

	if (work <= 0 || examples <= 0 || seconds <= 0)
		return;
	rate = examples / seconds;
	duration = seconds / work;
	if (isnan(leader->seconds_per_work))
	{
		leader->seconds_per_work = duration;
		leader->examples_per_second = rate;
	}
	leader->seconds_per_work += SPEED_WEIGHT * (duration - leader->seconds_per_work);
	leader->examples_per_second += SPEED_WEIGHT * (rate - leader->examples_per_second);
}

static void
write_log(Leader *leader)
{
	const RunProgress *progress = &leader->progress;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz eta = 0;
	bool		there;

	measure_speed(leader, (now - leader->logged) / 1e6);
	if (!isnan(leader->seconds_per_work))
		eta = now + (TimestampTz) (progress->work_left * leader->seconds_per_work * 1e6);
	begin_transaction(NULL);
	there = run_record_progress(leader->run, progress, leader->examples_per_second, eta);
	commit_transaction();
	if (!there)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run %lld is gone", (long long) leader->run->id)));
	leader->logged = GetCurrentTimestamp();
	leader->logged_work_left = progress->work_left;
	leader->logged_examples = progress->examples;
	pgstat_report_activity(STATE_RUNNING,
						   psprintf("lat run %lld: %s, step %lld of %lld",
									(long long) leader->run->id, progress->phase,
									(long long) progress->step, (long long) progress->steps));
}

static void
write_checkpoint(Leader *leader)
{
	void	   *state;
	size_t		bytes;
	int64		written;

	/* the log up to here must not be lost in a crash that the checkpoint survives */
	XLogFlush(XactLastCommitEnd);
	leader->run->job->state(team_block(leader->team), &state, &bytes);
	written = checkpoint_write(leader->run, leader->progress.step, state, bytes);
	begin_transaction(NULL);
	run_record_checkpoint(leader->run, leader->progress.step, written);
	commit_transaction();
	leader->checkpointed = GetCurrentTimestamp();
}

static bool
is_checkpoint_due(const Leader *leader)
{
	int			interval = leader->run->checkpoint_interval;

	return interval > 0 && TimestampDifferenceExceeds(leader->checkpointed,
													  GetCurrentTimestamp(), interval * 1000);
}

/* One step, and what is to be done after it. False: that was the last one. */
static bool
step(Leader *leader)
{
	bool		checkpoint = is_checkpoint_due(leader);
	bool		more;

	if (checkpoint)
		team_hold(leader->team);
	more = team_step(leader->team, leader->run->job, leader->opened, &leader->progress);
	if (isnan(leader->logged_work_left))
	{
		/* speed counts from here on: a run that goes on does not begin at 0 */
		leader->logged = GetCurrentTimestamp();
		leader->logged_work_left = leader->progress.work_left;
		leader->logged_examples = leader->progress.examples;
	}

	/* the log comes first: who resumes from the checkpoint does not do this step again */
	if (!more || leader->progress.milestone ||
		TimestampDifferenceExceeds(leader->logged, GetCurrentTimestamp(), LOG_INTERVAL_MS))
		write_log(leader);
	if (checkpoint && more)
	{
		write_checkpoint(leader);
		team_release(leader->team);
	}
	return more;
}

/* ---- the run ------------------------------------------------------------------------------ */

/* Read what the run works on into a block that a team can share. */
static void
load(Leader *leader)
{
	const Run  *run = leader->run;
	MemoryContext plan_context;
	void	   *plan;
	size_t		bytes;

	begin_transaction(run);
	catalog_check_write();
	checkpoint_sweep();
	plan_context = AllocSetContextCreate(leader->context, "lat run plan", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(plan_context);
	plan = run->job->plan(run, &bytes);
	MemoryContextSwitchTo(leader->context);
	leader->team = team_create(run, bytes);
	MemoryContextSwitchTo(plan_context);
	run->job->create(run, plan, team_block(leader->team));
	MemoryContextSwitchTo(leader->context);
	MemoryContextDelete(plan_context);
	commit_transaction();
}

/* Go back to where the run was. */
static void
restore(Leader *leader)
{
	void	   *state;
	size_t		bytes;
	int64		step = 0;

	leader->run->job->state(team_block(leader->team), &state, &bytes);
	if (checkpoint_read(leader->run, state, bytes, &step))
		ereport(LOG,
				(errmsg("run %lld continues from step %lld",
						(long long) leader->run->id, (long long) step)));
	begin_transaction(NULL);
	run_record_resumed(leader->run, step);
	commit_transaction();
}

static void
gather_team(Leader *leader)
{
	int			processes = team_start(leader->team);

	begin_transaction(NULL);
	run_record_processes(leader->run, processes);
	commit_transaction();
}

/* The kernels that the run began with, so that a resume makes the same bits. */
static const LatKernels *
find_kernels(const Run *run)
{
	const LatKernels *kernels = lat_find_kernels(run->kernels);

	if (kernels == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("run %lld was begun with kernels \"%s\", which this CPU lacks",
						(long long) run->id, run->kernels),
				 errhint("Cancel the run with lat_cancel(%lld) and begin anew.",
						 (long long) run->id)));
	return kernels;
}

static void
work(Leader *leader)
{
	const Run  *run = leader->run;
	MemoryContext step_context;
	bool		more = true;

	leader->opened = run->job->open(&leader->host, find_kernels(run), team_core(leader->team),
									team_block(leader->team));
	step_context = AllocSetContextCreate(leader->context, "lat run step",
										 ALLOCSET_DEFAULT_SIZES);
	leader->seconds_per_work = NAN;
	leader->examples_per_second = NAN;
	leader->logged = leader->checkpointed = GetCurrentTimestamp();
	leader->logged_work_left = NAN;
	while (more)
	{
		MemoryContextSwitchTo(step_context);
		more = step(leader);
		MemoryContextSwitchTo(leader->context);
		MemoryContextReset(step_context);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
store(Leader *leader)
{
	const Run  *run = leader->run;
	char	   *digest;

	SetConfigOption("synchronous_commit", result_commit, PGC_USERSET, PGC_S_SESSION);
	begin_transaction(run);
	store_check_allowed(psprintf("lat_%s()", run->job->kind));
	digest = run->job->store(run, leader->opened);
	run_record_done(run, digest, &leader->progress);
	commit_transaction();
	checkpoint_remove(MyDatabaseId, run->id);
}

static void
lead(Leader *leader)
{
	load(leader);
	restore(leader);
	gather_team(leader);
	work(leader);
	store(leader);
	team_leave(leader->team, true);
}

/* ---- errors ------------------------------------------------------------------------------- */

/* The state that an error leaves the run in; *error may become that of another process. */
static const char *
judge_error(const Leader *leader, ErrorData *error)
{
	TeamFailure failure = TEAM_SOUND;

	if (leader->team)
		failure = team_failure(leader->team, error);
	if (failure == TEAM_LOST)
	{
		error->sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
		error->message = "a helper process of the run was terminated";
		error->detail = NULL;
		error->hint = psprintf("lat_resume(%lld) continues from the latest checkpoint.",
							   (long long) leader->run->id);
		return "interrupted";
	}
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ? "cancelled" : "failed";
}

static void
record_failure(const Leader *leader, const char *state, const ErrorData *error)
{
	const Run  *run = leader->run;
	bool		cancelled = strcmp(state, "cancelled") == 0;

	begin_transaction(NULL);
	if (run_record_end(run, state, cancelled ? NULL : error) && cancelled)
	{
		(void) run_delete_data(run);
		checkpoint_remove(MyDatabaseId, run->id);
	}
	commit_transaction();
}

/* The error has been caught; nothing of what was going on is left to be relied on. */
static void
end_in_error(Leader *leader, ErrorData *error)
{
	const char *state = judge_error(leader, error);

	AbortOutOfAnyTransaction();
	ConditionVariableCancelSleep();
	LWLockReleaseAll();
	pgstat_report_wait_end();
	if (leader->team)
		team_leave(leader->team, false);
	ereport(LOG,
			(errmsg("run %lld: %s", (long long) leader->run->id, state),
			 errdetail_internal("%s", error->message)));
	PG_TRY();
	{
		record_failure(leader, state, error);
	}
	PG_CATCH();
	{
		/* the log gets this one, too */
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
}

/* ---- the process -------------------------------------------------------------------------- */

/* Take the run's lock and note that it runs; NULL if it is not to be run (any more). */
static Run *
claim(const LeaderOrder *order, MemoryContext context)
{
	Run		   *run;

	if (!take_lock(order->run))
		return NULL;
	begin_transaction(NULL);
	MemoryContextSwitchTo(context);
	run = run_find(order->run);
	if (run != NULL && (run->created != order->created || run->owner != order->owner ||
						!run_record_start(run)))
		run = NULL;
	commit_transaction();
	return run;
}

void
lat_run_leader(Datum arg)
{
	LeaderOrder order;
	Leader	   *leader;
	MemoryContext context;
	ErrorData  *volatile error = NULL;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(order.database, InvalidOid, 0);
	settle_session();
	context = AllocSetContextCreate(TopMemoryContext, "lat run", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	leader = palloc0(sizeof(Leader));
	leader->context = context;
	host_in_context(&leader->host, context);
	leader->run = claim(&order, context);
	if (leader->run == NULL)
		return;
	pgstat_report_activity(STATE_RUNNING, psprintf("lat run %lld", (long long) order.run));

	PG_TRY();
	{
		lead(leader);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (error != NULL)
		end_in_error(leader, error);
}
