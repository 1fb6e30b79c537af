/*
 * call.c
 *	  Begin and end of a scoring call: model, Pareto point, scratch memory.
 *
 * Resolving a model name reads three tables, so a call site (fn_extra) keeps
 * the outcome: digest and length configuration.  It holds as long as the
 * statement sees the same rows, and no longer: PL/pgSQL keeps a call site for a
 * whole transaction, and a loop has to see that a model was replaced.
 *
 * The model itself is asked for at every call (model_cache_get, a comparison
 * when it is mapped already), since only then may an old version be unmapped.
 *
 * Memory has three lifetimes.  The call's context is a child of the caller's,
 * so an error takes it away with its parent.  The call site lives in fn_mcxt.
 * The engine's scratch belongs to the process: one encoder runs at a time.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "call.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Scratch that is kept from call to call: a short text's, without waste for who scores no more. */
#define SCRATCH_KEPT (8 * 1024 * 1024)

struct CallSite
{
	MemoryContext context;		/* fn_mcxt */

	/* What the resolution below was made for ... */
	SnapshotKey snapshot;
	Oid			user;
	double		budget;
	const char *for_task;		/* as requested: lat_scores asks for one of two */
	text	   *asked;			/* the model argument; NULL: the default */

	/* ... and the resolution. */
	char	   *name;
	char		digest[LAT_DIGEST_LENGTH + 1];
	LatTask		task;
	bool		full;			/* no lengths */
	int32		reference_length;
	int			length_count;
	int32		lengths[LAT_MAX_LAYERS];

	bool		warned;			/* of a budget that cannot be kept */
	TupleDesc	row_type;		/* NULL: not asked for yet */
};

static struct
{
	MemoryContext context;
	LatHost		host;
	LatEngine	engine;
	bool		busy;			/* between call_begin and call_end */
}			scratch;

/*
 * Equal keys mean equal sight.  For fixed xmin and xmax the set of transactions
 * that a snapshot holds to be running only shrinks as time goes by, so two
 * snapshots with as many of them hold the same ones; that is true of the
 * transactions known to a standby as well.  (A subtransaction that aborts while
 * another one begins leaves the count alone, but neither is visible.)  Our own
 * changes are told apart by the command counter, and where a rollback to a
 * savepoint undoes some without advancing it, by the subtransaction.
 */
void
snapshot_key_take(SnapshotKey *key)
{
	Snapshot	snapshot;

	memset(key, 0, sizeof(SnapshotKey));
	if (!ActiveSnapshotSet())
		return;
	snapshot = GetActiveSnapshot();
	key->xmin = snapshot->xmin;
	key->xmax = snapshot->xmax;
	key->xcnt = snapshot->xcnt;
	key->subxcnt = snapshot->subxcnt;
	key->curcid = snapshot->curcid;
	key->subtransaction = GetCurrentSubTransactionId();
	key->transaction = GetCurrentTransactionStartTimestamp();
	key->suboverflowed = snapshot->suboverflowed;
	key->recovery = snapshot->takenDuringRecovery;
	key->usable = (snapshot->snapshot_type == SNAPSHOT_MVCC);
}

bool
snapshot_key_equal(const SnapshotKey *a, const SnapshotKey *b)
{
	return a->usable && b->usable
		&& a->xmin == b->xmin && a->xmax == b->xmax
		&& a->xcnt == b->xcnt && a->subxcnt == b->subxcnt
		&& a->curcid == b->curcid && a->subtransaction == b->subtransaction
		&& a->transaction == b->transaction
		&& a->suboverflowed == b->suboverflowed && a->recovery == b->recovery;
}

double
clip_budget(double budget)
{
	/* Written so that NaN fails. */
	if (!(budget > 0.0 && budget <= 1.0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("budget must be greater than 0 and at most 1, not %g", budget),
				 errhint("A budget is the share of the full computation that a call may use; "
						 "1 is all of it.")));
	return Min(budget, setting_max_budget);
}

/* ---- resolving ---------------------------------------------------------------------------- */

/* The task's default; ERROR if there is none. */
static char *
find_default(const char *task)
{
	char	   *name = catalog_default_model(task);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no default model for task %s", task),
				 errhint("Call lat_install_default_models(), or lat_set_default('%s', model) "
						 "to name one of yours.",
						 task)));
	return name;
}

static void __attribute__((noreturn))
report_wrong_task(const ModelRow *row, const char *task)
{
	char	   *names = catalog_list_models(task);

	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("model \"%s\" is for task %s, not for %s",
					row->name, lat_task_name(row->task), task),
			 names[0] ? errhint("Models for task %s: %s.", task, names)
			 : errhint("No model serves task %s yet. Import one with lat_import_model().", task)));
}

/* Choose among the model's points, and say once if none keeps the budget. */
static void
choose_lengths(CallSite *site, double budget)
{
	int			count;
	ParetoRow  *rows;
	LatPoint   *points;
	bool		over_budget = false;
	int			choice;

	site->full = true;
	if (budget >= 1.0)
		return;
	rows = catalog_pareto(site->digest, &count);
	points = palloc(sizeof(LatPoint) * Max(count, 1));
	for (int i = 0; i < count; i++)
		points[i] = rows[i].point;

	choice = lat_choose_point(points, count, budget, &over_budget);
	if (choice != LAT_CHOOSE_FULL)
	{
		site->full = false;
		site->reference_length = rows[choice].reference_length;
		site->length_count = rows[choice].count;
		memcpy(site->lengths, rows[choice].lengths, sizeof(site->lengths));
	}
	if (over_budget && !site->warned)
	{
		site->warned = true;
		if (choice == LAT_CHOOSE_FULL)
			ereport(WARNING,
					(errmsg("model \"%s\" has no length configurations: it runs in full",
							site->name),
					 errhint("Configurations are rows of lat_pareto.")));
		else
			ereport(WARNING,
					(errmsg("model \"%s\" has no length configuration within budget %g",
							site->name, budget),
					 errdetail("Its cheapest one runs, at %.3f of the full computation.",
							   points[choice].fraction)));
	}
}

/* Everything that palloc'd here is garbage afterwards, but for the site's own. */
static void
resolve_site(CallSite *site, const CallRequest *request, const char *asked, double budget)
{
	const char *name = asked;
	ModelRow   *row;
	LatTask		task;

	catalog_check_read();
	if (name == NULL)
		name = find_default(request->task ? request->task : "classify");
	row = catalog_get_model(name);
	if (request->task && catalog_parse_task(request->task, &task) && row->task != task)
		report_wrong_task(row, request->task);

	if (site->name)
		pfree(site->name);
	site->name = NULL;
	site->name = MemoryContextStrdup(site->context, row->name);
	strlcpy(site->digest, row->digest, sizeof(site->digest));
	site->task = row->task;
	choose_lengths(site, budget);
}

static bool
same_name(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b)
		&& memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* Bring the site up to date with the snapshot and the arguments of this call. */
static void
refresh_site(CallSite *site, const CallRequest *request, text *asked, double budget)
{
	SnapshotKey key;
	Oid			user = GetUserId();

	snapshot_key_take(&key);
	if (!ActiveSnapshotSet())
		elog(ERROR, "a model was asked for without an active snapshot");
	if (snapshot_key_equal(&site->snapshot, &key) && site->user == user
		&& site->budget == budget && site->for_task == request->task
		&& same_name(site->asked, asked))
		return;

	site->snapshot.usable = false;	/* should the next lines fail */
	resolve_site(site, request, asked ? text_to_cstring(asked) : NULL, budget);
	if (site->asked)
		pfree(site->asked);
	site->asked = NULL;
	if (asked)
	{
		size_t		size = VARSIZE_ANY_EXHDR(asked);

		site->asked = MemoryContextAlloc(site->context, VARHDRSZ + size);
		SET_VARSIZE(site->asked, VARHDRSZ + size);
		memcpy(VARDATA(site->asked), VARDATA_ANY(asked), size);
	}
	site->user = user;
	site->budget = budget;
	site->for_task = request->task;
	site->snapshot = key;
}

static CallSite *
find_site(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	CallSite   *site = flinfo ? flinfo->fn_extra : NULL;

	if (site == NULL)
	{
		MemoryContext context = flinfo ? flinfo->fn_mcxt : CurrentMemoryContext;

		site = MemoryContextAllocZero(context, sizeof(CallSite));
		site->context = context;
		if (flinfo)
			flinfo->fn_extra = site;
	}
	return site;
}

/* Rows of lat_pareto may be written by hand: is the one chosen for this model at all? */
static void
check_lengths(const CallSite *site, const LatModel *model)
{
	LatError	error;

	if (site->full || lat_check_lengths(&model->config, site->lengths, site->length_count,
										&error) == LAT_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a row of lat_pareto does not fit model \"%s\": %s",
					site->name, error.message),
			 errhint("Correct the row, or delete it.")));
}

/* ---- memory ------------------------------------------------------------------------------- */

/*
 * After an error nobody knows what state the engine was left in: its memory
 * goes as a whole.
 */
static void
reset_scratch(void)
{
	MemoryContextReset(scratch.context);
	scratch.engine.block = NULL;
	scratch.engine.block_size = 0;
	scratch.busy = false;
}

/* Runs when a call's context goes, by call_end or by an error. */
static void
trim_scratch(void *unused)
{
	if (scratch.busy)
		reset_scratch();
	else if (scratch.engine.block_size > SCRATCH_KEPT)
		lat_engine_release(&scratch.engine);
}

static LatEngine *
claim_scratch(MemoryContext call_context)
{
	MemoryContextCallback *callback;

	if (scratch.context == NULL)
	{
		scratch.context = AllocSetContextCreate(TopMemoryContext, "lat scratch",
												ALLOCSET_DEFAULT_SIZES);
		host_in_context(&scratch.host, scratch.context);
		scratch.engine.host = &scratch.host;
	}
	if (scratch.busy)
		reset_scratch();		/* the context of a call that failed is still about */
	callback = MemoryContextAllocZero(call_context, sizeof(MemoryContextCallback));
	callback->func = trim_scratch;
	MemoryContextRegisterResetCallback(call_context, callback);
	scratch.busy = true;
	scratch.engine.kernels = setting_kernels();
	return &scratch.engine;
}

void
call_begin(Call *call, FunctionCallInfo fcinfo, const CallRequest *request)
{
	text	   *asked = NULL;
	double		budget = setting_budget;
	CallSite   *site = find_site(fcinfo);

	memset(call, 0, sizeof(Call));
	call->caller = CurrentMemoryContext;
	call->context = AllocSetContextCreate(CurrentMemoryContext, "lat call",
										  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(call->context);
	host_in_context(&call->host, call->context);

	/* A function without a budget of its own runs in full, as far as that is allowed. */
	if (request->budget < 0)
		budget = 1.0;
	else if (!PG_ARGISNULL(request->budget))
		budget = PG_GETARG_FLOAT8(request->budget);
	if (!PG_ARGISNULL(request->model))
		asked = PG_GETARG_TEXT_PP(request->model);
	refresh_site(site, request, asked, clip_budget(budget));

	call->site = site;
	call->name = site->name;
	call->digest = site->digest;
	call->precision = request->only_tokens ? LAT_INT8 : (LatPrecision) setting_precision;
	call->model = model_cache_get(site->digest, call->precision);
	if (call->model->config.task != (int32) site->task)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the row of model \"%s\" says task %s, but its content is for task %s",
						site->name, lat_task_name(site->task),
						lat_task_name((LatTask) call->model->config.task)),
				 errhint("Import the model again.")));
	check_lengths(site, call->model);
	call->lengths = site->full ? NULL : site->lengths;
	call->reference_length = site->reference_length;
	call->engine = claim_scratch(call->context);
}

void
call_end(Call *call)
{
	scratch.busy = false;
	MemoryContextSwitchTo(call->caller);
	MemoryContextDelete(call->context);
}

TupleDesc
call_row_type(Call *call, FunctionCallInfo fcinfo)
{
	CallSite   *site = call->site;

	if (site->row_type == NULL)
	{
		TupleDesc	row_type;
		MemoryContext old;

		if (get_call_result_type(fcinfo, NULL, &row_type) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		old = MemoryContextSwitchTo(site->context);
		site->row_type = BlessTupleDesc(CreateTupleDescCopy(row_type));
		MemoryContextSwitchTo(old);
	}
	return site->row_type;
}
