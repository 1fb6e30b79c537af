/*
 * run_search_job.c
 *	  What the processes of a search do (RunJob): core/search.c does the work.
 *
 *		block		which packed model; then, 64-byte aligned, what the core lays out
 *
 * The search runs on the packed model that calls use, in the precision that
 * lat.precision said when lat_search was called.  The leader has it packed, and
 * every process maps that file: helpers have no database.
 *
 * The result belongs to the model's content.  If the name has been given to
 * another content meanwhile, the points go to the old one as long as another
 * name leads there; else the run fails, and nothing is stored.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "core/format.h"
#include "fmgr.h"
#include "model_cache.h"
#include "model_file.h"
#include "model_store.h"
#include "portability/instr_time.h"
#include "run_search.h"
#include "search_points.h"
#include "settings.h"

typedef struct SearchBlock
{
	char		digest[LAT_DIGEST_LENGTH + 1];
	LatPrecision precision;
} SearchBlock;

#define CORE_OFFSET LAT_ROUND_UP(sizeof(SearchBlock), (size_t) LAT_ALIGNMENT)

static void *
core_block(void *block)
{
	return (char *) block + CORE_OFFSET;
}

/* ---- leader: the block -------------------------------------------------------------------- */

typedef struct SearchPlan
{
	SearchOptions options;
	RunStored	data;
} SearchPlan;

static void *
search_plan(const Run *run, size_t *bytes)
{
	SearchPlan *plan = palloc0(sizeof(SearchPlan));
	const LatModel *model;
	LatError	error;

	if (catalog_content_size(run->base_digest) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" was replaced or dropped", run->model),
				 errhint("Search the model that has the name now.")));
	model = model_cache_get(run->base_digest, LAT_INT8);
	search_options_read(&model->config, run->options, &plan->options);
	plan->data = run_data_size(run, PART_TRAIN);
	core_check(lat_search_size(model, &plan->options.core, plan->data.bytes,
							   (int32) plan->data.records, bytes, &error), &error);
	*bytes += CORE_OFFSET;
	return plan;
}

static void
search_create(const Run *run, void *plan_pointer, void *block)
{
	SearchPlan *plan = plan_pointer;
	SearchBlock *header = block;
	const LatModel *model = model_cache_get(run->base_digest, plan->options.precision);
	LatError	error;
	void	   *records;

	strlcpy(header->digest, run->base_digest, sizeof(header->digest));
	header->precision = plan->options.precision;
	core_check(lat_search_create(core_block(block), model, &plan->options.core,
								 model->config.task == LAT_SPAN ? LAT_RECORD_QUESTION
								 : LAT_RECORD_EXAMPLE,
								 plan->data.bytes, (int32) plan->data.records,
								 plan->options.against == AGAINST_LABELS, &records, &error), &error);
	run_data_load(run, PART_TRAIN, records, plan->data.bytes);
}

static void
search_state(void *block, void **state, size_t *bytes)
{
	lat_search_state(core_block(block), state, bytes);
}

/* ---- every process ------------------------------------------------------------------------ */

typedef struct OpenSearch
{
	ModelFile	file;
	LatModel	model;
	LatSearcher *searcher;
} OpenSearch;

static double
milliseconds_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_MILLISEC(now);
}

static void *
search_open(const LatHost *host, const LatKernels *kernels, const LatTeam *team, void *block)
{
	SearchBlock *header = block;
	OpenSearch *opened = palloc0(sizeof(OpenSearch));
	LatError	error;

	if (!model_file_open(header->digest, header->precision, &opened->file))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("packed model %.12s has gone", header->digest),
				 errdetail("It was replaced or dropped just now.")));
	core_check(lat_model_open(opened->file.map, opened->file.image_size, &opened->model, &error),
			   &error);
	core_check(lat_searcher_open(host, kernels, team, &opened->model, core_block(block),
								 &opened->searcher, &error), &error);
	lat_searcher_set_clock(opened->searcher, milliseconds_now);
	return opened;
}

/*
 * Quality in percent of the candidate that is the best on the half that selects:
 * on that half, which flatters it, and in the end on the other.
 */
static double
best_quality(const LatSearcher *searcher, bool finished)
{
	const LatCandidate *candidates;
	const LatCandidate *best = NULL;
	int32		count;
	int32		i;

	candidates = lat_search_candidates(searcher, &count);
	for (i = 0; i < count; i++)
	{
		if (candidates[i].frontier && (best == NULL || candidates[i].selection > best->selection))
			best = &candidates[i];
	}
	if (best == NULL)
		return NAN;
	return 100 * (finished ? best->quality : best->selection);
}

static bool
search_step(void *opened_pointer, RunProgress *progress)
{
	OpenSearch *opened = opened_pointer;
	LatSearchReport report;
	LatError	error;

	core_check(lat_search_step(opened->searcher, &report, &error), &error);
	progress->phase = report.iteration == 0 ? "constant ratios" : "evolution";
	progress->epoch = progress->loss = progress->learning_rate = NAN;
	progress->gradient_norm = progress->quality_smallest = NAN;
	progress->step = report.iteration + 1;
	progress->steps = report.iterations + 1;
	progress->examples = report.examples;
	progress->work_left = progress->steps - progress->step;
	progress->quality = best_quality(opened->searcher, report.finished);
	progress->candidates = report.candidates;
	progress->abandoned = report.abandoned;
	progress->hypervolume = report.hypervolume;
	progress->milestone = true;
	return !report.finished;
}

/* ---- leader: the result ------------------------------------------------------------------- */

/* "0.4271", rounded to so many decimals; upwards if `up`. NULL for NAN. */
static char *
real_text(double value, double decimals, bool up)
{
	char	   *text = palloc(DOUBLE_SHORTEST_DECIMAL_LEN);
	double		scale = pow(10, decimals);

	if (isnan(value))
		return NULL;
	value = up ? ceil(value * scale - 1e-6) : rint(value * scale);
	(void) double_to_shortest_decimal_buf(value / scale, text);
	return text;
}

static char *
lengths_text(const int32 *lengths, int layers)
{
	StringInfoData text;
	int			i;

	initStringInfo(&text);
	for (i = 0; i < layers; i++)
		appendStringInfo(&text, "%s%d", i ? "," : "", lengths[i]);
	return text.data;
}

/* A candidate as a row of lat_pareto: see store_pareto. */
static void
fill_row(const LatCandidate *candidate, const LatModel *model, const SearchOptions *options,
		 char **row)
{
	const char *metric = lat_metric_name((LatTask) model->config.task,
										 options->against == AGAINST_LABELS);

	row[0] = lengths_text(candidate->lengths, model->config.layers);
	row[1] = psprintf("%d", options->core.reference_length);

	/* upwards: who asks for 0.5 must not get 0.50004 */
	row[2] = real_text(candidate->fraction, 4, true);
	row[3] = real_text(candidate->mean_fraction, 4, false);
	row[4] = real_text(candidate->paper_fraction, 4, false);
	row[5] = real_text(100 * candidate->quality, 3, false);
	row[6] = real_text(100 * candidate->quality_low, 3, false);
	row[7] = real_text(100 * candidate->quality_high, 3, false);
	row[8] = pstrdup(metric);
	row[9] = real_text(candidate->milliseconds, 3, false);
}

static char *
search_store(const Run *run, void *opened_pointer)
{
	OpenSearch *opened = opened_pointer;
	SearchOptions options;
	const LatCandidate *candidates;
	char	   *(*rows)[PARETO_COLUMNS];
	int32		count;
	int32		kept = 0;
	int32		i;

	search_options_read(&opened->model.config, run->options, &options);
	store_lock();
	if (!catalog_names_digest(run->base_digest))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" was replaced or dropped while it was searched", run->model),
				 errhint("Search the model that has the name now.")));
	candidates = lat_search_candidates(opened->searcher, &count);
	rows = palloc(count * sizeof(*rows));
	for (i = 0; i < count; i++)
	{
		/* in full as well, whatever else is as good: it says what there is to lose */
		if (candidates[i].frontier || i == 0)
			fill_row(&candidates[i], &opened->model, &options, rows[kept++]);
	}
	store_pareto(run->base_digest, rows, kept);
	search_points_replace(run->base_digest, candidates, count, opened->model.config.layers,
						  options.core.reference_length);
	return pstrdup(run->base_digest);
}

const RunJob run_search_job = {
	.kind = "search",
	.plan = search_plan,
	.create = search_create,
	.state = search_state,
	.open = search_open,
	.step = search_step,
	.store = search_store,
};
