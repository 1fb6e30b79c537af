/*
 * model_store.c
 *	  Writing the extension's tables: models come, are replaced, and go.
 *
 * A name points to a digest, and chunks and Pareto points hang on the digest.
 * To replace a model is to store the new digest's chunks, turn the name around,
 * and delete the old digest's rows if no other name needs them, all in the
 * caller's transaction; MVCC makes that atomic for everybody else.
 *
 * SQL does the writing, as the current user, with every name qualified.  Who
 * changes models holds a SHARE ROW EXCLUSIVE lock on lat_model: writers queue,
 * readers notice nothing, and as it is always the first lock taken on these
 * tables there is nothing to deadlock over.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "digest.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "call.h"
#include "model_store.h"
#include "search_points.h"
#include "statement.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define CHUNK_BYTES ((size_t) 1024 * 1024)
#define MAX_NAME_BYTES 63

/* Tasks whose first model becomes their default; "pair" has one by lat_set_default only. */
#define TASKS "classify, pair, span, tag, embed"

PG_FUNCTION_INFO_V1(lat_drop_model);
PG_FUNCTION_INFO_V1(lat_set_default);

/* ---- before anything is written ----------------------------------------------------------- */

void
store_check_allowed(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	catalog_check_write();
}

char *
store_text_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

void
store_check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a model's name must have 1 to %d bytes, this one has %zu",
						MAX_NAME_BYTES, strlen(name)),
				 errhint("Choose a short name, like \"reviews\".")));
}

void
store_lock(void)
{
	LockRelationOid(catalog_model_relation(), ShareRowExclusiveLock);
}

/* The caller's snapshot is older than the lock. */
ModelRow *
store_find_model(const char *name)
{
	ModelRow   *row;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	row = catalog_find_model(name);
	PopActiveSnapshot();
	return row;
}

static size_t
stored_size(const char *digest)
{
	size_t		size;

	PushActiveSnapshot(GetTransactionSnapshot());
	size = catalog_content_size(digest);
	PopActiveSnapshot();
	return size;
}

/* ---- description -------------------------------------------------------------------------- */

/* Weights and biases of the model, as a paper would count them. */
static int64
count_parameters(const LatConfig *config)
{
	int64		h = config->hidden;
	int64		e = config->embedding;
	int64		i = config->intermediate;
	int64		embeddings;
	int64		layer;
	int64		head = 0;

	embeddings = ((int64) config->vocabulary + config->positions + config->segments + 2) * e;
	if (e != h)
		embeddings += e * h + h;
	layer = 4 * (h * h + h) + h * i + i + i * h + h + 4 * h;
	if (config->head_activation != LAT_IDENTITY)
		head += h * h + h;
	head += config->labels * (h + 1);
	return embeddings + config->layers * layer + head;
}

void
store_describe(NewModel *model, const LatModel *image)
{
	int			labels = image->config.labels;

	digest_compute_hex(model->content, model->size, model->digest);
	model->config = image->config;
	model->precision = lat_is_image(model->content, model->size) &&
		image->precision == LAT_INT8 ? "int8" : "float";
	model->labels = (Datum) 0;
	if (image->config.task == LAT_CLASSIFY || image->config.task == LAT_TAG)
	{
		Datum	   *names = palloc(labels * sizeof(Datum));
		int			i;

		for (i = 0; i < labels; i++)
		{
			size_t		bytes;
			const char *name = lat_label_text(image, i, &bytes);

			names[i] = PointerGetDatum(text_from_utf8(name, bytes));
		}
		model->labels = PointerGetDatum(construct_array(names, labels, TEXTOID, -1, false, 'i'));
	}
}

/* ---- storing ------------------------------------------------------------------------------ */

static void
insert_chunks(const NewModel *model)
{
	Oid			types[3] = {TEXTOID, INT4OID, BYTEAOID};
	char	   *sql = psprintf("INSERT INTO %s.lat_model_chunk (digest, seq, data) "
							   "VALUES ($1, $2, $3)", catalog_schema());
	SPIPlanPtr	plan = SPI_prepare(sql, 3, types);
	bytea	   *chunk = palloc(VARHDRSZ + CHUNK_BYTES);
	Datum		values[3];
	size_t		done = 0;
	int32		seq = 0;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	values[0] = CStringGetTextDatum(model->digest);
	values[2] = PointerGetDatum(chunk);
	while (done < model->size)
	{
		size_t		bytes = Min(model->size - done, CHUNK_BYTES);
		int			result;

		CHECK_FOR_INTERRUPTS();
		memcpy(VARDATA(chunk), model->content + done, bytes);
		SET_VARSIZE(chunk, VARHDRSZ + bytes);
		values[1] = Int32GetDatum(seq++);
		result = SPI_execute_plan(plan, values, NULL, false, 0);
		if (result != SPI_OK_INSERT)
			elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
		done += bytes;
	}
	pfree(chunk);
	SPI_freeplan(plan);
}

static void
upsert_model(const char *name, const NewModel *model)
{
	const LatConfig *config = &model->config;
	Arguments	arguments = {0};

	add_text(&arguments, name);
	add_text(&arguments, model->digest);
	add_text(&arguments, lat_task_name(config->task));
	add_argument(&arguments, TEXTARRAYOID, model->labels, model->labels == (Datum) 0);
	add_text(&arguments, lat_architecture_name(config->architecture));
	add_int(&arguments, config->layers);
	add_int(&arguments, config->hidden);
	add_int(&arguments, config->positions);
	add_text(&arguments, model->precision);
	add_argument(&arguments, INT8OID, Int64GetDatum(count_parameters(config)), false);
	run_sql("INSERT INTO %1$s.lat_model (name, digest, task, labels, architecture, layers, "
			"hidden, max_tokens, precision, parameters) "
			"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
			"ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, task = excluded.task, "
			"labels = excluded.labels, architecture = excluded.architecture, "
			"layers = excluded.layers, hidden = excluded.hidden, "
			"max_tokens = excluded.max_tokens, precision = excluded.precision, "
			"parameters = excluded.parameters, imported = pg_catalog.now()", &arguments);
}

/* Delete what hangs on a digest, unless a name still points to it. */
static void
delete_unused(const char *digest)
{
	if (run_sql_with_text("SELECT 1 FROM %1$s.lat_model WHERE digest OPERATOR(pg_catalog.=) $1",
						  digest) > 0)
		return;
	run_sql_with_text("DELETE FROM %1$s.lat_model_chunk WHERE digest OPERATOR(pg_catalog.=) $1",
					  digest);
	run_sql_with_text("DELETE FROM %1$s.lat_pareto WHERE digest OPERATOR(pg_catalog.=) $1", digest);
	search_points_delete(digest);
	model_cache_retire(digest);
}

/* The model may have changed its task; and the first model of a task becomes its default. */
static void
settle_defaults(const char *name, const char *task)
{
	Arguments	arguments = {0};

	add_text(&arguments, name);
	add_text(&arguments, task);
	run_sql("DELETE FROM %1$s.lat_default WHERE model OPERATOR(pg_catalog.=) $1 "
			"AND task OPERATOR(pg_catalog.<>) $2 "
			"AND NOT (task OPERATOR(pg_catalog.=) 'pair' "
			"AND $2 OPERATOR(pg_catalog.=) 'classify')", &arguments);
	run_sql("INSERT INTO %1$s.lat_default (task, model) VALUES ($2, $1) "
			"ON CONFLICT (task) DO NOTHING", &arguments);
}

void
store_model(const char *name, const NewModel *model)
{
	ModelRow   *old = store_find_model(name);

	SPI_connect();
	if (stored_size(model->digest) != model->size)
	{
		run_sql_with_text("DELETE FROM %1$s.lat_model_chunk "
						  "WHERE digest OPERATOR(pg_catalog.=) $1", model->digest);
		insert_chunks(model);
	}
	upsert_model(name, model);
	if (old != NULL && strcmp(old->digest, model->digest) != 0)
		delete_unused(old->digest);
	settle_defaults(name, lat_task_name(model->config.task));
	SPI_finish();
}

void
store_pareto(const char *digest, char *(*rows)[PARETO_COLUMNS], int count)
{
	int			i;
	int			j;

	SPI_connect();
	run_sql_with_text("DELETE FROM %1$s.lat_pareto WHERE digest OPERATOR(pg_catalog.=) $1", digest);
	for (i = 0; i < count; i++)
	{
		Arguments	arguments = {0};

		for (j = 0; j < PARETO_COLUMNS; j++)
			add_text(&arguments, rows[i][j]);
		run_sql(psprintf("INSERT INTO %%1$s.lat_pareto (digest, lengths, reference_length, "
						 "fraction, mean_fraction, paper_fraction, quality, quality_low, "
						 "quality_high, metric, milliseconds) VALUES ('%s', "
						 "pg_catalog.string_to_array($1, ',')::pg_catalog.int4[], "
						 "$2::pg_catalog.int4, $3::pg_catalog.float8, $4::pg_catalog.float8, "
						 "$5::pg_catalog.float8, $6::pg_catalog.float8, $7::pg_catalog.float8, "
						 "$8::pg_catalog.float8, $9, $10::pg_catalog.float8)", digest),
				&arguments);
	}
	SPI_finish();
}

/* ---- SQL functions ------------------------------------------------------------------------ */

static void __attribute__((noreturn))
report_no_model(const char *name)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) catalog_get_model(name);
	elog(ERROR, "model \"%s\" appeared just now", name);
}

Datum
lat_drop_model(PG_FUNCTION_ARGS)
{
	char	   *name = store_text_argument(fcinfo, 0, "name");
	ModelRow   *row;

	store_check_allowed("lat_drop_model()");
	store_lock();
	row = store_find_model(name);
	if (row == NULL)
		report_no_model(name);
	SPI_connect();
	run_sql_with_text("DELETE FROM %1$s.lat_default WHERE model OPERATOR(pg_catalog.=) $1", name);
	run_sql_with_text("DELETE FROM %1$s.lat_model WHERE name OPERATOR(pg_catalog.=) $1", name);
	delete_unused(row->digest);
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
lat_set_default(PG_FUNCTION_ARGS)
{
	char	   *task = store_text_argument(fcinfo, 0, "task");
	char	   *name = store_text_argument(fcinfo, 1, "model");
	Arguments	arguments = {0};
	ModelRow   *row;
	LatTask		served;

	store_check_allowed("lat_set_default()");
	if (!catalog_parse_task(task, &served))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown task \"%s\"", task),
				 errhint("The tasks are: %s.", TASKS)));
	store_lock();
	row = store_find_model(name);
	if (row == NULL)
		report_no_model(name);
	if (row->task != served)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" cannot be the default of task \"%s\"", name, task),
				 errdetail("Its own task is \"%s\".", lat_task_name(row->task)),
				 errhint("A model of task \"classify\" also serves \"pair\"; "
						 "all others serve their own task only.")));
	add_text(&arguments, task);
	add_text(&arguments, name);
	SPI_connect();
	run_sql("INSERT INTO %1$s.lat_default (task, model) VALUES ($1, $2) "
			"ON CONFLICT (task) DO UPDATE SET model = excluded.model", &arguments);
	SPI_finish();
	PG_RETURN_VOID();
}
