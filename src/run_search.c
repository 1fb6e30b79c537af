/*
 * run_search.c
 *	  lat_search: a search for length configurations is made.
 *
 *		model, options, data --checks--> rows --> lat_run_entry, lat_run_data
 *			--commit--> leader (run_search_job.c)
 *
 * What quality is measured against follows from the query's columns: those of
 * lat_train for the model's task, or the same without the label (the answer);
 * then it is the model in full that a configuration is to agree with.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "model_cache.h"
#include "model_store.h"
#include "run_search.h"
#include "run_store.h"
#include "settings.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

PG_FUNCTION_INFO_V1(lat_search);

/* ---- options ------------------------------------------------------------------------------ */

#define MAX_OPTIONS 16

static const char *const cost_words[] = {
	[LAT_COST_MULTIPLY_ADDS] = "multiply_adds",
	[LAT_COST_MILLISECONDS] = "milliseconds",
	NULL
};

static const char *const precision_words[] = {
	[LAT_FP32] = "fp32",
	[LAT_INT8] = "int8",
	NULL
};

static const char *const against_words[] = {
	[AGAINST_FULL] = "full",
	[AGAINST_LABELS] = "labels",
	NULL
};

static const char *const input_words[] = {
	[INPUT_SINGLE] = "single",
	[INPUT_PAIR] = "pair",
	NULL
};

#define REAL(name, field, least, most) \
	table[n++] = (RunOption) {name, OPTION_REAL, &options->field, least, most, NULL}
#define INTEGER(name, field, least, most) \
	table[n++] = (RunOption) {name, OPTION_INTEGER, &options->field, least, most, NULL}
#define WORD(name, field, words) \
	table[n++] = (RunOption) {name, OPTION_WORD, &options->field, 0, 0, words}

/* The bounds keep the types; what makes sense is for the core to say. */
static int
list_options(SearchOptions *options, RunOption *table)
{
	int			n = 0;

	INTEGER("iterations", core.iterations, 0, 1000);
	INTEGER("mutations", core.mutations, 0, 1000);
	INTEGER("crossovers", core.crossovers, 0, 1000);
	INTEGER("ratios", core.ratios, 0, 1000);
	REAL("mutation", core.mutation, 0, 1);
	REAL("length_drop", core.length_drop, 0, 1);
	INTEGER("reference_length", core.reference_length, 1, LAT_MAX_POSITIONS);
	WORD("cost", core.cost, cost_words);
	WORD("precision", precision, precision_words);
	WORD("against", against, against_words);
	WORD("input", input, input_words);
	table[n++] = (RunOption) {"seed", OPTION_SEED, &options->core.seed, 0, 0, NULL};
	INTEGER("workers", workers, 1, LAT_MAX_RANKS);
	INTEGER("checkpoint_interval", checkpoint_interval, 0, 86400);
	Assert(n <= MAX_OPTIONS);
	return n;
}

/* The drop and the length that the model was trained with, if it was trained here. */
static void
take_trained_options(const char *digest, LatSearchOptions *options)
{
	Arguments	arguments = {0};
	Identity	before;

	add_text(&arguments, digest);
	become_tables_owner(&before);
	SPI_connect();
	if (read_sql("SELECT (options OPERATOR(pg_catalog.->>) 'length_drop')::pg_catalog.float8, "
				 "(options OPERATOR(pg_catalog.->>) 'max_length')::pg_catalog.int4 "
				 "FROM %1$s.lat_run_entry WHERE digest OPERATOR(pg_catalog.=) $1 "
				 "AND kind OPERATOR(pg_catalog.=) 'train' "
				 "AND state OPERATOR(pg_catalog.=) 'done' ORDER BY run DESC LIMIT 1",
				 &arguments) > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		bool		null_drop;
		bool		null_length;
		Datum		drop = SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &null_drop);
		Datum		length = SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &null_length);

		if (!null_drop)
			options->length_drop = DatumGetFloat8(drop);
		if (!null_length)
			options->reference_length = DatumGetInt32(length);
	}
	SPI_finish();
	become_again(&before);
}

void
search_options_read(const LatConfig *config, Jsonb *json, SearchOptions *options)
{
	RunOption	table[MAX_OPTIONS];
	LatError	error;
	LatStatus	status;

	run_options_read(json, table, list_options(options, table));
	status = lat_check_search_options(&options->core, &error);
	if (status != LAT_OK)
		report_core_error(status, &error);
	if (options->core.reference_length > config->positions)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"reference_length\" is %d, more than the model's %d tokens",
						options->core.reference_length, config->positions)));
}

/* ---- data --------------------------------------------------------------------------------- */

/* Columns of the query; 0: it is not one SELECT, and run_rows_read will say so. */
static int
count_columns(const char *query)
{
	SPIPlanPtr	plan;
	List	   *sources;
	int			columns = 0;

	SPI_connect();
	plan = SPI_prepare(query, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	sources = SPI_plan_get_plan_sources(plan);
	if (list_length(sources) == 1)
	{
		CachedPlanSource *source = linitial(sources);

		columns = source->resultDesc ? source->resultDesc->natts : 0;
	}
	SPI_freeplan(plan);
	SPI_finish();
	return columns;
}

/* Shapes with and without labels; the first of them decides where the columns fit neither. */
typedef struct DataShape
{
	RunShape	labelled;
	RunShape	bare;
	int			bare_columns;
} DataShape;

static const DataShape text_shape = {SHAPE_TEXT_LABEL, SHAPE_TEXT, 1};
static const DataShape pair_shape = {SHAPE_PAIR_LABEL, SHAPE_PAIR, 2};
static const DataShape question_shape = {SHAPE_QUESTION_ANSWER, SHAPE_QUESTION, 2};
static const DataShape words_shape = {SHAPE_WORDS_LABELS, SHAPE_TEXT, 1};
static const DataShape embed_shape = {SHAPE_TEXT, SHAPE_TEXT, 1};

/* Settle what the options leave to the columns. */
static RunShape
settle_shape(LatTask task, int columns, SearchOptions *options)
{
	const DataShape *shape = &text_shape;

	if (task != LAT_CLASSIFY)
		options->input = INPUT_SINGLE;
	else if (options->input == DECIDED_BY_COLUMNS)
		options->input = columns == 3 ? INPUT_PAIR : INPUT_SINGLE;
	if (task == LAT_SPAN)
		shape = &question_shape;
	else if (task == LAT_TAG)
		shape = &words_shape;
	else if (task == LAT_EMBED)
		shape = &embed_shape;
	else if (options->input == INPUT_PAIR)
		shape = &pair_shape;
	if (task == LAT_EMBED && options->against == AGAINST_LABELS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an encoder's embeddings cannot be measured against labels"),
				 errhint("Leave option \"against\" out: they are compared with those in full.")));
	if (options->against == DECIDED_BY_COLUMNS)
		options->against = task == LAT_EMBED || columns == shape->bare_columns ? AGAINST_FULL
			: AGAINST_LABELS;
	return options->against == AGAINST_LABELS ? shape->labelled : shape->bare;
}

static RunRows *
read_rows(const Run *run, const LatModel *model, RunShape shape)
{
	RunReader	reader = {.name = "data",.shape = shape,.digest = run->base_digest,
	.max_tokens = model->config.positions};
	RunRows    *rows;

	if (shape == SHAPE_TEXT_LABEL || shape == SHAPE_PAIR_LABEL || shape == SHAPE_WORDS_LABELS)
		reader.labels = run_labels_of_model(model);
	rows = run_rows_read(run->query, &reader);
	run_rows_report(rows);
	if (rows->usable < 2)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("the data query gives %lld rows that can be used, too few",
						(long long) rows->usable),
				 errdetail("It returned %lld rows.", (long long) rows->read),
				 rows->skipped[SKIP_UNKNOWN_LABEL] > 0
				 ? errhint("The second column holds labels; of pairs of texts without labels it is "
						   "the second text, if option \"input\" is \"pair\".")
				 : errhint("One half of the rows selects configurations, the other half tells "
						   "how good they are; some hundreds are sensible.")));
	return rows;
}

/* ---- the run ------------------------------------------------------------------------------ */

/* Fill in what the arguments say, and read the rows; ERROR if that cannot be. */
static RunRows *
make_run(FunctionCallInfo fcinfo, Run *run)
{
	SearchOptions options = {.against = DECIDED_BY_COLUMNS,.input = DECIDED_BY_COLUMNS};
	const LatModel *model;
	ModelRow   *row;
	RunShape	shape;

	run->job = &run_search_job;
	run->model = store_text_argument(fcinfo, 0, "model");
	run->base = run->model;
	run->query = store_text_argument(fcinfo, 1, "data");
	row = catalog_get_model(run->model);
	strlcpy(run->base_digest, row->digest, sizeof(run->base_digest));
	model = model_cache_get(row->digest, LAT_INT8);
	lat_search_defaults(&model->config, &options.core);
	options.precision = setting_precision;
	options.workers = Min(setting_train_workers, LAT_MAX_RANKS);
	options.checkpoint_interval = 120;
	take_trained_options(row->digest, &options.core);
	search_options_read(&model->config, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2), &options);
	shape = settle_shape(row->task, count_columns(run->query), &options);
	run->task = options.input == INPUT_PAIR ? "pair" : unconstify(char *, lat_task_name(row->task));
	run->options = search_options_write(&options);
	run->workers = options.workers;
	run->checkpoint_interval = options.checkpoint_interval;
	run->kernels = pstrdup(lat_kernels_name(setting_kernels()));

	/* an error now, if the model does not exist in this precision; and the query may unmap it */
	model = model_cache_get(row->digest, options.precision);
	return read_rows(run, model, shape);
}

Jsonb *
search_options_write(SearchOptions *options)
{
	RunOption	table[MAX_OPTIONS];

	return run_options_write(table, list_options(options, table));
}

Datum
lat_search(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext old_context;
	RunStored	stored[2] = {{0, 0}, {0, 0}};
	RunRows    *rows;
	Run		   *run;
	int64		id;

	store_check_allowed("lat_search()");
	context = AllocSetContextCreate(CurrentMemoryContext, "lat search", ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	run = palloc0(sizeof(Run));
	rows = make_run(fcinfo, run);
	run_insert(run);
	stored[PART_TRAIN] = run_rows_store(run, PART_TRAIN, rows,
										rows->reader.shape == SHAPE_QUESTION ||
										rows->reader.shape == SHAPE_QUESTION_ANSWER
										? LAT_RECORD_QUESTION : LAT_RECORD_EXAMPLE, NULL, NULL);
	run_record_rows(run, &rows, 1, stored);
	run_start_at_commit(run);
	run_rows_free(rows);
	id = run->id;
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	PG_RETURN_INT64(id);
}
