/*
 * run_train.c
 *	  lat_train: a training run is made.
 *
 *		base, task, options, data, dev --checks--> rows --labels in order-->
 *			lat_run_entry, lat_run_data --commit--> leader (run_train_job.c)
 *
 * Labels.  The distinct labels of the data, in the order of their bytes, are the
 * outputs of a new head; but where the base already is a model of this task
 * with the same labels, its order and its head are kept.
 *
 * Dev.  A query of the same shape, or else a seeded choice of 5 % of the rows.
 * Labels that only dev has are not learnt, so such rows are left out.
 */
#include "postgres.h"

#include "call.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "model_cache.h"
#include "model_store.h"
#include "run_train.h"
#include "settings.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#define MAX_LISTED 10			/* labels in a message */

PG_FUNCTION_INFO_V1(lat_train);

/* A task of lat_train, and what its data look like. */
typedef struct TrainTask
{
	const char *name;
	LatTask		task;
	RunShape	shape;
	LatRecordKind dev_kind;		/* of the records that quality is measured on */
} TrainTask;

static const TrainTask tasks[] = {
	{"classify", LAT_CLASSIFY, SHAPE_TEXT_LABEL, LAT_RECORD_EXAMPLE},
	{"pair", LAT_CLASSIFY, SHAPE_PAIR_LABEL, LAT_RECORD_EXAMPLE},
	{"span", LAT_SPAN, SHAPE_QUESTION_ANSWER, LAT_RECORD_QUESTION},
	{"tag", LAT_TAG, SHAPE_WORDS_LABELS, LAT_RECORD_EXAMPLE},
};

/* All that is known of the run while it is being made. */
typedef struct Making
{
	const TrainTask *task;
	TrainOptions options;
	Run			run;
	RunLabels  *labels;			/* NULL: spans */
	RunRows    *rows[2];		/* by part; [PART_DEV] NULL: rows of the first are held out */
	int32	   *renumber;		/* NULL: spans */
} Making;

static const TrainTask *
find_task(const char *name)
{
	size_t		i;

	for (i = 0; i < lengthof(tasks); i++)
	{
		if (strcmp(tasks[i].name, name) == 0)
			return &tasks[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a model cannot be trained for task \"%s\"", name),
			 errhint("The tasks are: classify, pair, span, tag.")));
}

/* ---- rows --------------------------------------------------------------------------------- */

static RunRows *
read_query(Making *making, const char *name, const char *query)
{
	RunReader	reader = {.name = name,.shape = making->task->shape,
		.digest = making->run.base_digest,.max_tokens = making->options.core.max_tokens,
	.labels = making->labels};
	RunRows    *rows = run_rows_read(query, &reader);

	run_rows_report(rows);
	if (rows->usable == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("the %s query gives no row that can be used", name),
				 errdetail("Rows returned: %lld.", (long long) rows->read),
				 errhint("A row needs texts and labels that are neither null nor empty; a dev row "
						 "needs a label that occurs in training.")));
	return rows;
}

/* Say which labels occur once only: nothing general is learnt of them. */
static void
report_rare_labels(const RunLabels *labels)
{
	StringInfoData names;
	int			rare = 0;
	int			i;

	initStringInfo(&names);
	for (i = 0; i < labels->count; i++)
	{
		if (labels->rows[i] != 1)
			continue;
		if (rare < MAX_LISTED)
			appendStringInfo(&names, "%s\"%s\"", rare ? ", " : "",
							 text_to_cstring(text_from_utf8(labels->names[i],
															strlen(labels->names[i]))));
		rare++;
	}
	if (rare > 0)
		ereport(NOTICE,
				(errmsg("labels that occur once only: %d", rare),
				 errdetail_internal("%s%s", names.data, rare > MAX_LISTED ? ", ..." : "")));
}

static void
read_rows(Making *making)
{
	if (making->task->task != LAT_SPAN)
		making->labels = run_labels_create();
	making->rows[PART_TRAIN] = read_query(making, "data", making->run.query);
	if (making->labels)
	{
		if (making->labels->count < 2)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the data query gives one label only, \"%s\"",
							text_to_cstring(text_from_utf8(making->labels->names[0],
														   strlen(making->labels->names[0])))),
					 errhint("There must be two labels at least to tell apart.")));
		report_rare_labels(making->labels);
		making->labels->fixed = true;
	}
	if (making->options.dev)
		making->rows[PART_DEV] = read_query(making, "dev", making->options.dev);
}

/* ---- labels ------------------------------------------------------------------------------- */

/* True if the base's head has these labels; *renumber turns to its order. */
static bool
keeps_head(const LatModel *base, LatTask task, char **sorted, int count, int32 *renumber)
{
	int32	   *places = palloc(count * sizeof(int32));
	int			i;
	int			j;

	if ((LatTask) base->config.task != task || base->config.labels != count)
		return false;
	for (i = 0; i < count; i++)
	{
		for (j = 0; j < count; j++)
		{
			size_t		bytes;
			const char *name = lat_label_text(base, j, &bytes);

			if (strlen(sorted[i]) == bytes && memcmp(sorted[i], name, bytes) == 0)
				break;
		}
		if (j == count)
			return false;
		places[i] = j;
	}
	for (i = 0; i < count; i++)
		renumber[i] = places[renumber[i]];
	return true;
}

static void
settle_labels(Making *making)
{
	const LatModel *base = model_cache_get(making->run.base_digest, LAT_INT8);
	RunLabels  *labels = making->labels;
	char	  **sorted;

	if (labels == NULL)
		return;
	making->renumber = palloc(labels->count * sizeof(int32));
	sorted = run_labels_sort(labels, making->renumber);
	if (keeps_head(base, making->task->task, sorted, labels->count, making->renumber))
		return;
	making->run.labels = sorted;
	making->run.label_count = labels->count;
}

/* ---- the run ------------------------------------------------------------------------------ */

static void
store_run(Making *making)
{
	Run		   *run = &making->run;
	RunStored	stored[2] = {{0, 0}, {0, 0}};
	RunHoldOut	train = {making->options.hold_out, making->options.core.seed, true};
	RunHoldOut	dev = {making->options.hold_out, making->options.core.seed, false};
	bool		held_out = making->rows[PART_DEV] == NULL && making->options.hold_out > 0;
	LatError	error;

	run_insert(run);
	stored[PART_TRAIN] = run_rows_store(run, PART_TRAIN, making->rows[PART_TRAIN],
										LAT_RECORD_EXAMPLE, making->renumber,
										held_out ? &train : NULL);
	core_check(lat_check_train_steps(&making->options.core, (int32_t) stored[PART_TRAIN].records,
									 &error), &error);
	if (making->rows[PART_DEV] || held_out)
		stored[PART_DEV] = run_rows_store(run, PART_DEV,
										  making->rows[held_out ? PART_TRAIN : PART_DEV],
										  making->task->dev_kind, making->renumber,
										  held_out ? &dev : NULL);
	run_record_rows(run, making->rows, making->rows[PART_DEV] ? 2 : 1, stored);
}

/* Fill in what the arguments say; ERROR if they cannot be. */
static void
check_arguments(Making *making, FunctionCallInfo fcinfo)
{
	Run		   *run = &making->run;
	ModelRow   *base;
	Jsonb	   *options;

	run->job = &run_train_job;
	run->model = store_text_argument(fcinfo, 0, "model");
	run->base = store_text_argument(fcinfo, 1, "base");
	run->task = store_text_argument(fcinfo, 2, "task");
	run->query = store_text_argument(fcinfo, 3, "data");
	options = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	store_check_name(run->model);
	making->task = find_task(run->task);
	base = catalog_get_model(run->base);
	strlcpy(run->base_digest, base->digest, sizeof(run->base_digest));
	train_options_read(&model_cache_get(base->digest, LAT_INT8)->config, making->task->task,
					   options, &making->options);
	run->options = train_options_write(&making->options);
	run->workers = making->options.workers;
	run->checkpoint_interval = making->options.checkpoint_interval;
	run->kernels = pstrdup(lat_kernels_name(setting_kernels()));
}

Datum
lat_train(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext old_context;
	Making	   *making;
	int64		id;

	store_check_allowed("lat_train()");
	context = AllocSetContextCreate(CurrentMemoryContext, "lat train", ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	making = palloc0(sizeof(Making));
	check_arguments(making, fcinfo);
	read_rows(making);
	settle_labels(making);
	store_run(making);
	run_start_at_commit(&making->run);
	run_rows_free(making->rows[PART_TRAIN]);
	if (making->rows[PART_DEV])
		run_rows_free(making->rows[PART_DEV]);
	id = making->run.id;
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	PG_RETURN_INT64(id);
}
