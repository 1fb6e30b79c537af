/*
 * run_store.c
 *	  The rows of runs: lat_run_entry and lat_run_log.
 *
 * These tables are nobody's to write but their owner's.  So each function here
 * takes the owner's identity for its own statement and gives it back, as the
 * triggers of foreign keys do: who may run lat_train needs no grant on them,
 * and nobody can make up a run of somebody else's.  Who may do what is decided
 * by the callers.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "call.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "run_store.h"
#include "statement.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* $1 and $2 of every statement on a run. */
#define THIS_RUN "run OPERATOR(pg_catalog.=) $1 AND created OPERATOR(pg_catalog.=) $2"

static const RunJob *const jobs[] = {&run_train_job, &run_search_job};

/* ---- identity ----------------------------------------------------------------------------- */

static Oid
tables_owner(void)
{
	Oid			schema = get_rel_namespace(catalog_model_relation());
	Oid			table = get_relname_relid("lat_run_entry", schema);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"lat_run_entry\" of extension \"lat\" is missing"),
				 errhint("Drop the extension and create it again.")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * All names in our statements are qualified; an unqualified operator that
 * slipped in must nevertheless not be looked for in the caller's search_path.
 */
void
become_tables_owner(Identity *before)
{
	Oid			owner = tables_owner();

	GetUserIdAndSecContext(&before->user, &before->context);
	SetUserIdAndSecContext(owner, before->context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	before->settings = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
become_again(const Identity *before)
{
	AtEOXact_GUC(false, before->settings);
	SetUserIdAndSecContext(before->user, before->context);
}

/* Run one statement as the tables' owner; returns the rows it met. */
static uint64
run_as_owner(const char *statement, Arguments *arguments)
{
	Identity	before;
	uint64		rows;

	become_tables_owner(&before);
	SPI_connect();
	rows = run_sql(statement, arguments);
	SPI_finish();
	become_again(&before);
	return rows;
}

static void
add_run(Arguments *arguments, const Run *run)
{
	add_bigint(arguments, run->id);
	add_argument(arguments, TIMESTAMPTZOID, TimestampTzGetDatum(run->created), false);
}

/* ---- reading ------------------------------------------------------------------------------ */

enum
{
	RUN_OWNER_ID = 1,
	RUN_CREATED,
	RUN_KIND,
	RUN_STATE,
	RUN_MODEL,
	RUN_BASE,
	RUN_BASE_DIGEST,
	RUN_TASK,
	RUN_QUERY,
	RUN_OPTIONS,
	RUN_KERNELS,
	RUN_LABELS,
	RUN_INTERVAL,
	RUN_WORKERS,
	RUN_OWNER,
	RUN_ERROR_CODE,
	RUN_ERROR,
	RUN_ERROR_DETAIL,
	RUN_ERROR_HINT
};

static char *
text_column(int column)
{
	bool		is_null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column,
									  &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

static Datum
column_value(int column, bool *is_null)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, is_null);
}

const RunJob *
run_find_job(const char *kind)
{
	size_t		i;

	for (i = 0; i < lengthof(jobs); i++)
	{
		if (strcmp(jobs[i]->kind, kind) == 0)
			return jobs[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("a run is of unknown kind \"%s\"", kind)));
}

/* Labels were made from UTF-8 by text_from_utf8, out of texts of this database. */
static void
read_labels(Run *run)
{
	bool		is_null;
	Datum		array = column_value(RUN_LABELS, &is_null);
	Datum	   *elements;
	int			i;

	if (is_null)
		return;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, 'i', &elements, NULL,
					  &run->label_count);
	run->labels = palloc(Max(run->label_count, 1) * sizeof(char *));
	for (i = 0; i < run->label_count; i++)
	{
		char	   *label = TextDatumGetCString(elements[i]);

		run->labels[i] = (char *) pg_do_encoding_conversion((unsigned char *) label,
															strlen(label),
															GetDatabaseEncoding(), PG_UTF8);
	}
}

/* The row that SPI has fetched. */
static Run *
read_row(int64 id)
{
	Run		   *run = palloc0(sizeof(Run));
	bool		is_null;

	run->id = id;
	run->owner = DatumGetObjectId(column_value(RUN_OWNER_ID, &is_null));
	run->owner_name = text_column(RUN_OWNER);
	run->created = DatumGetTimestampTz(column_value(RUN_CREATED, &is_null));
	run->job = run_find_job(text_column(RUN_KIND));
	run->recorded = run->state = text_column(RUN_STATE);
	run->model = text_column(RUN_MODEL);
	run->base = text_column(RUN_BASE);
	strlcpy(run->base_digest, text_column(RUN_BASE_DIGEST), sizeof(run->base_digest));
	run->task = text_column(RUN_TASK);
	run->query = text_column(RUN_QUERY);
	run->options = DatumGetJsonbPCopy(column_value(RUN_OPTIONS, &is_null));
	run->kernels = text_column(RUN_KERNELS);
	read_labels(run);
	run->checkpoint_interval = DatumGetInt32(column_value(RUN_INTERVAL, &is_null));
	run->workers = DatumGetInt32(column_value(RUN_WORKERS, &is_null));
	run->error_code = text_column(RUN_ERROR_CODE);
	run->error = text_column(RUN_ERROR);
	run->error_detail = text_column(RUN_ERROR_DETAIL);
	run->error_hint = text_column(RUN_ERROR_HINT);
	return run;
}

Run *
run_find(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	Arguments	arguments = {0};
	Identity	before;
	Run		   *run = NULL;

	add_bigint(&arguments, id);
	become_tables_owner(&before);
	SPI_connect();
	if (read_sql("SELECT owner_id, created, kind, state, model, base, base_digest, task, query, "
				 "options, kernels, labels, checkpoint_interval, workers, "
				 "owner::pg_catalog.text, error_code, error, error_detail, error_hint "
				 "FROM %1$s.lat_run_entry WHERE run OPERATOR(pg_catalog.=) $1", &arguments) > 0)
	{
		MemoryContext spi_context = MemoryContextSwitchTo(context);

		run = read_row(id);
		MemoryContextSwitchTo(spi_context);
	}
	SPI_finish();
	become_again(&before);
	return run;
}

Run *
run_get_latest(int64 id)
{
	Run		   *run;

	PushActiveSnapshot(GetLatestSnapshot());
	run = run_find(id);
	PopActiveSnapshot();
	if (run == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run %lld does not exist", (long long) id),
				 errhint("The view lat_run lists your runs.")));
	return run;
}

/* ---- beginning ---------------------------------------------------------------------------- */

static Datum
label_array(const Run *run)
{
	Datum	   *labels = palloc(Max(run->label_count, 1) * sizeof(Datum));
	int			i;

	for (i = 0; i < run->label_count; i++)
		labels[i] = PointerGetDatum(text_from_utf8(run->labels[i], strlen(run->labels[i])));
	return PointerGetDatum(construct_array(labels, run->label_count, TEXTOID, -1, false, 'i'));
}

void
run_insert(Run *run)
{
	Arguments	arguments = {0};
	Identity	before;
	bool		is_null;

	run->owner = GetUserId();
	run->owner_name = GetUserNameFromId(run->owner, false);
	add_text(&arguments, run->owner_name);
	add_argument(&arguments, OIDOID, ObjectIdGetDatum(run->owner), false);
	add_text(&arguments, run->job->kind);
	add_text(&arguments, run->model);
	add_text(&arguments, run->base);
	add_text(&arguments, run->base_digest);
	add_text(&arguments, run->task);
	add_text(&arguments, run->query);
	add_argument(&arguments, JSONBOID, JsonbPGetDatum(run->options), false);
	add_text(&arguments, run->kernels);
	add_argument(&arguments, TEXTARRAYOID, label_array(run), run->labels == NULL);
	add_int(&arguments, run->workers);
	add_int(&arguments, run->checkpoint_interval);

	become_tables_owner(&before);
	SPI_connect();
	(void) run_sql("INSERT INTO %1$s.lat_run_entry (owner, owner_id, kind, model, base, "
				   "base_digest, task, query, options, kernels, labels, workers, "
				   "checkpoint_interval) VALUES ($1::pg_catalog.name, $2, $3, $4, $5, $6, $7, $8, "
				   "$9, $10, $11, $12, $13) RETURNING run, created", &arguments);
	run->id = DatumGetInt64(column_value(1, &is_null));
	run->created = DatumGetTimestampTz(column_value(2, &is_null));
	SPI_finish();
	become_again(&before);
}

/* Number of rows left out, by reason, as JSON; reasons that did not occur are left out. */
static char *
skips_as_json(RunRows *const *rows, int parts)
{
	static const char *const names[] = {
		[SKIP_NULL] = "null",
		[SKIP_EMPTY] = "empty",
		[SKIP_NO_ANSWER] = "answer not in context",
		[SKIP_LENGTHS] = "words and labels differ in number",
		[SKIP_UNKNOWN_LABEL] = "unknown label",
	};
	StringInfoData json;
	int			i;
	int			p;

	initStringInfo(&json);
	for (i = 0; i < SKIP_COUNT; i++)
	{
		int64		skipped = 0;

		for (p = 0; p < parts; p++)
			skipped += rows[p]->skipped[i];
		if (skipped > 0)
			appendStringInfo(&json, "%s\"%s\": %lld", json.len ? ", " : "{", names[i],
							 (long long) skipped);
	}
	appendStringInfoString(&json, json.len ? "}" : "{}");
	return json.data;
}

void
run_record_rows(const Run *run, RunRows *const *rows, int parts, const RunStored *stored)
{
	Arguments	arguments = {0};
	int64		read = 0;
	int64		truncated = 0;
	int			p;

	for (p = 0; p < parts; p++)
	{
		read += rows[p]->read;
		truncated += rows[p]->truncated;
	}
	add_run(&arguments, run);
	add_bigint(&arguments, read);
	add_bigint(&arguments, truncated);
	add_text(&arguments, skips_as_json(rows, parts));
	add_bigint(&arguments, stored[PART_TRAIN].records);
	add_bigint(&arguments, stored[PART_DEV].records);
	(void) run_as_owner("UPDATE %1$s.lat_run_entry SET rows = $3, rows_truncated = $4, "
						"rows_skipped = $5::pg_catalog.jsonb, train_examples = $6, "
						"dev_examples = $7 WHERE " THIS_RUN, &arguments);
}

/* ---- under way ---------------------------------------------------------------------------- */

bool
run_record_start(const Run *run)
{
	Arguments	arguments = {0};

	add_run(&arguments, run);
	return run_as_owner("UPDATE %1$s.lat_run_entry SET state = 'running', "
						"started = coalesce(started, pg_catalog.clock_timestamp()) "
						"WHERE state OPERATOR(pg_catalog.=) 'queued' AND " THIS_RUN,
						&arguments) > 0;
}

void
run_record_processes(const Run *run, int processes)
{
	Arguments	arguments = {0};

	add_run(&arguments, run);
	add_int(&arguments, processes);
	(void) run_as_owner("UPDATE %1$s.lat_run_entry SET processes = $3 WHERE " THIS_RUN,
						&arguments);
}

void
run_record_checkpoint(const Run *run, int64 step, int64 bytes)
{
	Arguments	arguments = {0};

	add_run(&arguments, run);
	add_bigint(&arguments, step);
	add_bigint(&arguments, bytes);
	(void) run_as_owner("UPDATE %1$s.lat_run_entry SET checkpoint_step = $3, "
						"checkpoint_bytes = $4, checkpointed = pg_catalog.clock_timestamp() "
						"WHERE " THIS_RUN, &arguments);
}

void
run_record_resumed(const Run *run, int64 step)
{
	Arguments	arguments = {0};

	add_bigint(&arguments, run->id);
	add_bigint(&arguments, step);
	(void) run_as_owner("DELETE FROM %1$s.lat_run_log WHERE run OPERATOR(pg_catalog.=) $1 "
						"AND step OPERATOR(pg_catalog.>) $2", &arguments);
}

bool
run_record_progress(const Run *run, const RunProgress *progress, double rate, TimestampTz eta)
{
	Arguments	arguments = {0};

	add_run(&arguments, run);
	add_text(&arguments, progress->phase);
	add_real(&arguments, progress->epoch);
	add_bigint(&arguments, progress->step);
	add_bigint(&arguments, progress->steps);
	add_bigint(&arguments, progress->examples);
	add_real(&arguments, rate);
	add_real(&arguments, progress->loss);
	add_real(&arguments, progress->learning_rate);
	add_real(&arguments, progress->gradient_norm);
	add_real(&arguments, progress->quality);
	add_real(&arguments, progress->quality_smallest);
	add_argument(&arguments, INT4OID, Int32GetDatum(progress->candidates),
				 progress->candidates == 0);
	add_argument(&arguments, INT4OID, Int32GetDatum(progress->abandoned),
				 progress->candidates == 0);
	add_real(&arguments, progress->hypervolume);
	add_argument(&arguments, TIMESTAMPTZOID, TimestampTzGetDatum(eta), eta == 0);
	return run_as_owner("INSERT INTO %1$s.lat_run_log (run, seq, at, phase, epoch, step, steps, "
						"examples, examples_per_second, loss, learning_rate, gradient_norm, "
						"quality, quality_smallest, candidates, abandoned, hypervolume, eta) "
						"SELECT $1, coalesce((SELECT pg_catalog.max(l.seq) "
						"FROM %1$s.lat_run_log l WHERE l.run OPERATOR(pg_catalog.=) $1), 0) "
						"OPERATOR(pg_catalog.+) 1, pg_catalog.clock_timestamp(), $3, $4, $5, $6, "
						"$7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17 "
						"FROM %1$s.lat_run_entry WHERE " THIS_RUN, &arguments) > 0;
}

/* ---- ending ------------------------------------------------------------------------------- */

void
run_record_done(const Run *run, const char *digest, const RunProgress *last)
{
	Arguments	arguments = {0};

	add_run(&arguments, run);
	add_text(&arguments, digest);
	add_real(&arguments, last->quality);
	add_real(&arguments, last->quality_smallest);
	if (run_as_owner("UPDATE %1$s.lat_run_entry SET state = 'done', "
					 "finished = pg_catalog.clock_timestamp(), digest = $3, quality = $4, "
					 "quality_smallest = $5, checkpoint_step = NULL, checkpoint_bytes = NULL, "
					 "checkpointed = NULL "
					 "WHERE state OPERATOR(pg_catalog.=) 'running' AND " THIS_RUN,
					 &arguments) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run %lld is gone", (long long) run->id)));
	(void) run_delete_data(run);
}

bool
run_record_end(const Run *run, const char *state, const ErrorData *error)
{
	Arguments	arguments = {0};

	add_run(&arguments, run);
	add_text(&arguments, state);
	add_text(&arguments, error ? unpack_sql_state(error->sqlerrcode) : NULL);
	add_text(&arguments, error ? error->message : NULL);
	add_text(&arguments, error ? error->detail : NULL);
	add_text(&arguments, error ? error->hint : NULL);
	return run_as_owner("UPDATE %1$s.lat_run_entry SET state = $3, "
						"finished = pg_catalog.clock_timestamp(), error_code = $4, error = $5, "
						"error_detail = $6, error_hint = $7 "
						"WHERE state OPERATOR(pg_catalog.=) 'running' AND " THIS_RUN,
						&arguments) > 0;
}

bool
run_change_state(const Run *run, const char *from, const char *to)
{
	Arguments	arguments = {0};

	add_run(&arguments, run);
	add_text(&arguments, from);
	add_text(&arguments, to);
	return run_as_owner("UPDATE %1$s.lat_run_entry SET state = $4, "
						"finished = CASE WHEN $4 OPERATOR(pg_catalog.=) 'queued' THEN NULL "
						"ELSE pg_catalog.clock_timestamp() END, "
						"resumed = resumed OPERATOR(pg_catalog.+) "
						"CASE WHEN $4 OPERATOR(pg_catalog.=) 'queued' THEN 1 ELSE 0 END, "
						"error_code = NULL, error = NULL, error_detail = NULL, error_hint = NULL "
						"WHERE state OPERATOR(pg_catalog.=) $3 AND " THIS_RUN, &arguments) > 0;
}

bool
run_has_data(const Run *run)
{
	Arguments	arguments = {0};

	add_bigint(&arguments, run->id);
	return run_as_owner("SELECT FROM %1$s.lat_run_data WHERE run OPERATOR(pg_catalog.=) $1 LIMIT 1",
						&arguments) > 0;
}

bool
run_delete_data(const Run *run)
{
	Arguments	arguments = {0};

	add_bigint(&arguments, run->id);
	return run_as_owner("DELETE FROM %1$s.lat_run_data WHERE run OPERATOR(pg_catalog.=) $1",
						&arguments) > 0;
}

void
run_raise_error(const Run *run)
{
	const char *code = run->error_code;

	ereport(ERROR,
			(errcode(code && strlen(code) == 5
					 ? MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4])
					 : ERRCODE_INTERNAL_ERROR),
			 errmsg_internal("%s", run->error ? run->error : "the run failed"),
			 run->error_detail ? errdetail_internal("%s", run->error_detail) : 0,
			 run->error_hint ? errhint("%s", run->error_hint) : 0,
			 errcontext("run %lld", (long long) run->id)));
	pg_unreachable();
}
