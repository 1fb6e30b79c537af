/*
 * run_control.c
 *	  Runs begin at commit, are waited for, cancelled and resumed.
 *
 * A leader is registered after the commit of the transaction that made (or
 * resumed) the run, from a callback that may not fail: so a rollback leaves
 * nothing behind, and the leader finds the rows.  Where there is no slot for a
 * worker the run stays queued; lat_wait tries again, until other runs have left one.
 *
 * Sessions tell how a run fares from its row and from who holds its lock.  They
 * read what was committed last, whatever their own snapshot, and poll: a run
 * takes minutes.
 */
#include "postgres.h"

#include <signal.h>

#include "access/table.h"
#include "access/xact.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "run_checkpoint.h"
#include "run_store.h"
#include "run_worker.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define POLL_MS 100
#define START_PATIENCE_MS 3000	/* for a registered leader to come */
#define START_TRIES 3
#define CANCEL_PATIENCE_MS 10000

PG_FUNCTION_INFO_V1(lat_wait);
PG_FUNCTION_INFO_V1(lat_cancel);
PG_FUNCTION_INFO_V1(lat_resume);

/* ---- at commit ---------------------------------------------------------------------------- */

/* What is to be done once the (sub)transaction has committed. */
typedef struct Pending
{
	struct Pending *next;
	LeaderOrder order;
	SubTransactionId subtransaction;
	bool		start;			/* the leader; else: remove the checkpoint */
} Pending;

static Pending *pending = NULL; /* in TopTransactionContext */

static void
fill_order(const Run *run, LeaderOrder *order)
{
	memset(order, 0, sizeof(LeaderOrder));
	order->run = run->id;
	order->created = run->created;
	order->database = MyDatabaseId;
	order->owner = run->owner;
}

static void
add_pending(const Run *run, bool start)
{
	Pending    *entry = MemoryContextAllocZero(TopTransactionContext, sizeof(Pending));
	Pending   **link = &pending;

	fill_order(run, &entry->order);
	entry->subtransaction = GetCurrentSubTransactionId();
	entry->start = start;
	while (*link != NULL)		/* first come, first served */
		link = &(*link)->next;
	*link = entry;
}

void
run_start_at_commit(const Run *run)
{
	add_pending(run, true);
}

/* True if the run was made, or resumed, in this transaction. */
static bool
is_pending(int64 run)
{
	Pending    *entry;

	for (entry = pending; entry; entry = entry->next)
	{
		if (entry->start && entry->order.run == run)
			return true;
	}
	return false;
}

/* Errors are not allowed here. */
static void
carry_out(const Pending *entry)
{
	if (!entry->start)
		checkpoint_remove(entry->order.database, entry->order.run);
	else if (!run_register_leader(&entry->order))
		ereport(WARNING,
				(errmsg("run %lld could not be started: there is no background worker slot left",
						(long long) entry->order.run),
				 errhint("Call lat_wait(%lld) to try again, or raise max_worker_processes.",
						 (long long) entry->order.run)));
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (pending != NULL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot prepare a transaction that began or cancelled a run"),
						 errhint("Commit it, without PREPARE TRANSACTION.")));
			break;
		case XACT_EVENT_COMMIT:
			for (; pending != NULL; pending = pending->next)
				carry_out(pending);
			break;
		case XACT_EVENT_ABORT:
			pending = NULL;
			break;
		default:
			break;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	Pending   **link = &pending;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (*link != NULL)
	{
		Pending    *entry = *link;

		if (entry->subtransaction == id && event == SUBXACT_EVENT_ABORT_SUB)
		{
			*link = entry->next;
			continue;
		}
		if (entry->subtransaction == id)
			entry->subtransaction = parent;
		link = &entry->next;
	}
}

void
run_control_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/* ---- how a run fares ---------------------------------------------------------------------- */

static bool
state_is(const Run *run, const char *state)
{
	return strcmp(run->state, state) == 0;
}

/*
 * A run's row, and its leader (0: none).  The row is read again when there is
 * no leader: one that ends notes so before it lets the lock go.
 */
static Run *
look(int64 id, int *leader)
{
	Run		   *run = run_get_latest(id);

	*leader = run_leader_pid(id);
	if (*leader == 0)
		run = run_get_latest(id);
	if (*leader == 0 && state_is(run, "running"))
		run->state = "interrupted";
	return run;
}

/* The run of the argument, if it is the current user's. */
static Run *
get_own_run(int64 id, const char *function)
{
	Run		   *run;
	char	   *name;

	PreventCommandDuringRecovery(function);
	run = run_get_latest(id);
	name = GetUserNameFromId(run->owner, true);
	if (!superuser() && (name == NULL || strcmp(name, run->owner_name) != 0 ||
						 !has_privs_of_role(GetUserId(), run->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for run %lld", (long long) id),
				 errhint("It belongs to role \"%s\".", run->owner_name)));
	return run;
}

static void
sleep_for_poll(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* ---- lat_wait ----------------------------------------------------------------------------- */

static void __attribute__((noreturn))
report_interrupted(const Run *run)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("run %lld was interrupted", (long long) run->id),
			 run->error ? errdetail_internal("%s", run->error) : 0,
			 errhint("lat_resume(%lld) continues from the latest checkpoint.",
					 (long long) run->id)));
	pg_unreachable();
}

/*
 * A queued run without a leader: try to start it.  False: there is no slot for a
 * worker, but another run will leave one.
 */
static bool
start_again(const Run *run, int tries)
{
	LeaderOrder order;

	fill_order(run, &order);
	if (tries >= START_TRIES)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run %lld does not start", (long long) run->id),
				 errhint("The server's log says why its background worker ended.")));
	if (run_register_leader(&order))
		return true;
	if (!run_any_leader())
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("run %lld cannot start: there is no background worker slot left",
						(long long) run->id),
				 errhint("Wait until other workers have ended, or raise max_worker_processes.")));
	return false;
}

/* The run's end state, once it has one. */
static char *
wait_for_end(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext poll_context = AllocSetContextCreate(context, "lat wait",
													   ALLOCSET_SMALL_SIZES);
	char	   *state = NULL;
	int			idle = 0;		/* milliseconds queued without a leader */
	int			tries = 0;

	while (state == NULL)
	{
		Run		   *run;
		int			leader;

		MemoryContextSwitchTo(poll_context);
		run = look(id, &leader);
		if (state_is(run, "failed"))
			run_raise_error(run);
		if (state_is(run, "interrupted"))
			report_interrupted(run);
		if (state_is(run, "queued") && leader == 0)
		{
			if (idle >= START_PATIENCE_MS)
			{
				tries += start_again(run, tries);
				idle = 0;
			}
			idle += POLL_MS;
		}
		if (state_is(run, "done") || state_is(run, "cancelled"))
			state = MemoryContextStrdup(context, run->state);
		else
			sleep_for_poll();
		MemoryContextSwitchTo(context);
		MemoryContextReset(poll_context);
	}
	MemoryContextDelete(poll_context);
	return state;
}

/* Nothing that the run waits for may wait for us. */
static void
check_may_wait(int64 id)
{
	Relation	models;
	bool		locked;

	if (is_pending(id))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("run %lld begins when this transaction commits", (long long) id),
				 errhint("Commit first, then wait.")));
	models = table_open(catalog_model_relation(), AccessShareLock);
	locked = CheckRelationLockedByMe(models, RowExclusiveLock, true);
	table_close(models, AccessShareLock);
	if (locked)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("run %lld cannot end before this transaction, which has changed models",
						(long long) id),
				 errhint("Commit first, then wait.")));
}

Datum
lat_wait(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);

	check_may_wait(id);
	(void) get_own_run(id, "lat_wait()");
	PG_RETURN_TEXT_P(cstring_to_text(wait_for_end(id)));
}

/* ---- lat_cancel --------------------------------------------------------------------------- */

/* Nobody works on it: it ends here and now. False if its state has changed meanwhile. */
static bool
cancel_idle(const Run *run)
{
	if (!run_change_state(run, run->recorded, "cancelled"))
		return false;
	(void) run_delete_data(run);
	add_pending(run, false);
	return true;
}

/* Interrupt the leader, and give it some time to end. */
static const char *
cancel_running(int64 id)
{
	int			waited;
	int			leader;
	Run		   *run = look(id, &leader);

	for (waited = 0; waited < CANCEL_PATIENCE_MS && leader != 0; waited += POLL_MS)
	{
		/* again and again: it may have been at a place where it could not listen */
		if (waited % 1000 == 0 && kill(leader, SIGINT) != 0 && errno != ESRCH)
			ereport(ERROR,
					(errmsg("could not signal process %d: %m", leader)));
		sleep_for_poll();
		run = look(id, &leader);
	}
	return run->state;
}

static const char *
cancel(int64 id)
{
	int			leader;
	Run		   *run = look(id, &leader);

	if (state_is(run, "done") || state_is(run, "cancelled"))
		return run->state;

	/* a leader that finds its run cancelled before it began goes away */
	if ((leader == 0 || state_is(run, "queued")) && cancel_idle(run))
		return "cancelled";
	return cancel_running(id);
}

Datum
lat_cancel(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);

	PreventCommandIfReadOnly("lat_cancel()");
	(void) get_own_run(id, "lat_cancel()");
	PG_RETURN_TEXT_P(cstring_to_text(cancel(id)));
}

/* ---- lat_resume --------------------------------------------------------------------------- */

Datum
lat_resume(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	Run		   *run;
	int			leader;
	bool		ended;

	PreventCommandIfReadOnly("lat_resume()");
	(void) get_own_run(id, "lat_resume()");
	run = look(id, &leader);
	ended = state_is(run, "done") || state_is(run, "cancelled");
	if (!ended && (leader != 0 || is_pending(id)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("run %lld is at work, or about to be", (long long) id),
				 errhint("lat_wait(%lld) waits until it has ended.", (long long) id)));
	if (ended || !run_has_data(run))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run %lld cannot be resumed: it is %s", (long long) id, run->state),
				 errdetail("Its data are gone."),
				 errhint("Call lat_%s() again.", run->job->kind)));
	if (!run_change_state(run, run->recorded, "queued"))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the state of run %lld has just changed", (long long) id),
				 errhint("Look at it in the view lat_run.")));
	run_start_at_commit(run);
	PG_RETURN_TEXT_P(cstring_to_text("queued"));
}
