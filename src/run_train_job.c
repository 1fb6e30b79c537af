/*
 * run_train_job.c
 *	  What the processes of a training run do (RunJob): core/train.c does the work.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "model_image.h"
#include "model_store.h"
#include "run_train.h"
#include "settings.h"

static const char *const phase_names[LAT_TRAIN_PHASES] = {"fine-tuning", "LengthDrop"};

/* ---- leader: the block -------------------------------------------------------------------- */

typedef struct TrainPlan
{
	TrainOptions options;
	LatModel	base;
	LatNewHead	head;
	LatTrainingSizes sizes;
} TrainPlan;

static void *
train_plan(const Run *run, size_t *bytes)
{
	TrainPlan  *plan = palloc0(sizeof(TrainPlan));
	RunStored	train = run_data_size(run, PART_TRAIN);
	RunStored	dev = run_data_size(run, PART_DEV);
	const void *image;
	size_t		image_size;
	LatTask		task;
	LatError	error;

	if (catalog_content_size(run->base_digest) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the base model of run %lld, \"%s\", was dropped or replaced",
						(long long) run->id, run->base),
				 errhint("Cancel the run with lat_cancel(%lld) and begin anew.",
						 (long long) run->id)));
	image = model_image_build_base(run->base_digest, &image_size);
	core_check(lat_model_open(image, image_size, &plan->base, &error), &error);
	if (!catalog_parse_task(run->task, &task))
		elog(ERROR, "run %lld has an unknown task \"%s\"", (long long) run->id, run->task);
	train_options_read(&plan->base.config, task, run->options, &plan->options);
	plan->head.task = task;
	plan->head.labels = task == LAT_SPAN ? 2 : run->label_count;
	plan->head.names = (const char *const *) run->labels;
	plan->head.seed = plan->options.core.seed;
	plan->sizes.base = &plan->base;
	plan->sizes.head = run->labels || (LatTask) plan->base.config.task != task
		? &plan->head : NULL;
	plan->sizes.train_bytes = train.bytes;
	plan->sizes.train_count = (int32_t) train.records;
	plan->sizes.dev_bytes = dev.bytes;
	plan->sizes.dev_count = (int32_t) dev.records;
	core_check(lat_training_size(&plan->sizes, &plan->options.core, bytes, &error), &error);
	return plan;
}

static void
train_create(const Run *run, void *plan_pointer, void *block)
{
	TrainPlan  *plan = plan_pointer;
	LatError	error;
	void	   *train;
	void	   *dev;

	core_check(lat_training_create(host_current(), block, &plan->sizes, &plan->options.core,
								   &train, &dev, &error), &error);
	run_data_load(run, PART_TRAIN, train, plan->sizes.train_bytes);
	if (plan->sizes.dev_count > 0)
		run_data_load(run, PART_DEV, dev, plan->sizes.dev_bytes);
}

/* ---- every process ------------------------------------------------------------------------ */

static void *
train_open(const LatHost *host, const LatKernels *kernels, const LatTeam *team, void *block)
{
	LatTrainer *trainer;
	LatError	error;

	core_check(lat_trainer_open(host, kernels, team, block, &trainer, &error), &error);
	return trainer;
}

/* False: no steps are left, and the image is the trained model. */
static bool
train_step(void *trainer, RunProgress *progress)
{
	LatTrainReport report;
	LatError	error;

	core_check(lat_train_step(trainer, &report, &error), &error);
	if (report.finished)
		core_check(lat_train_finish(trainer, &error), &error);
	progress->milestone = report.epoch_ended || report.finished;
	progress->quality = progress->quality_smallest = NAN;
	if (progress->milestone)
		core_check(lat_train_evaluate(trainer, &progress->quality, &progress->quality_smallest,
									  &error), &error);
	progress->quality *= 100;
	progress->quality_smallest *= 100;
	progress->phase = phase_names[report.phase];
	progress->epoch = report.epoch;
	progress->step = report.step;
	progress->steps = report.steps;
	progress->examples = report.examples;
	progress->work_left = report.work_left;
	progress->loss = report.loss;
	progress->learning_rate = report.learning_rate;
	progress->gradient_norm = report.gradient_norm;
	progress->hypervolume = NAN;
	return !report.finished;
}

/* ---- leader: the result ------------------------------------------------------------------- */

static char *
train_store(const Run *run, void *trainer)
{
	const LatModel *trained = lat_trainer_model(trainer);
	NewModel	model = {.content = (const char *) trained->image,.size = trained->image_size};
	LatError	error;

	core_check(lat_model_verify(host_current(), trained, &error), &error);
	store_describe(&model, trained);
	store_lock();
	store_model(run->model, &model);
	return pstrdup(model.digest);
}

const RunJob run_train_job = {
	.kind = "train",
	.plan = train_plan,
	.create = train_create,
	.state = lat_training_state,
	.open = train_open,
	.step = train_step,
	.store = train_store,
};
