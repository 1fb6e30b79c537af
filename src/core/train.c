/*
 * train.c
 *	  Training with LengthDrop (arXiv 2010.07003, section 3.2), a step at a time.
 *
 * Phase 0 is ordinary fine-tuning.  In phase 1 each step trains, on the same
 * batch, the full model on the task, and on the full model's outputs the
 * smallest sub-model and n random ones; losses are divided by n + 2 (sandwich
 * rule).  A sub-model is a length configuration, drawn at N and scaled to each
 * example, and a set of layers that are skipped (LayerDrop).
 *
 * A step of the team:
 *
 *		plan		which examples (a seeded permutation an epoch), their ranks, sub-models,
 *					slots of words: every process works it out for itself, alike
 *		catch up	words that the batch reads (optimizer.c)					-> wait
 *		ranks		process p runs ranks p, p + team size, ...: forward, loss, backward of
 *					their examples, micro-batch by micro-batch (training.h)		-> wait
 *		optimizer	sum -> wait; clip, update (optimizer.c)						-> wait
 *
 * Ranks are shares of the batch, not processes: a rank adds up its gradients in one order,
 * and ranks are added up in order, so the bits of a run depend on seed and
 * ranks alone.  All randomness is counter-based: step and example make the key,
 * so a run that resumes at a step needs nothing but the state's bytes.
 */
#include <math.h>
#include <string.h>

#include "train.h"

/* ---- a rank's share ----------------------------------------------------------------------- */

/* Examples of the rank from number *next of the batch on, while they fit the tape; how many. */
static int
collect(LatTrainer *trainer, int rank, int *next)
{
	int			count = 0;
	int			rows = 0;

	for (; *next < trainer->count; (*next)++)
	{
		LatExample	example;

		if (trainer->rank[*next] != rank)
			continue;
		lat_examples_get(&trainer->train, trainer->batch[*next], &example);
		if (rows + example.tokens > trainer->tape.most_rows)
			break;
		trainer->offsets[count] = rows;
		trainer->examples[count] = trainer->batch[*next];
		trainer->targets[2 * count] = example.target[0];
		trainer->targets[2 * count + 1] = example.target[1];
		memcpy(trainer->ids + rows, example.ids, (size_t) example.tokens * sizeof(int32_t));
		if (example.labels)
			memcpy(trainer->tags + rows, example.labels, (size_t) example.tokens * sizeof(int32_t));
		for (int t = 0; t < example.tokens; t++)
			trainer->segments[rows + t] = t >= example.first;
		rows += example.tokens;
		count++;
	}
	trainer->offsets[count] = rows;
	return count;
}

/* One sub-model over the micro-batch; adds its loss. The full model's logits teach the others. */
static LatStatus
run_model(LatTrainer *trainer, int64_t step, int count, int model, double *loss)
{
	const LatTrainOptions *options = &trainer->block->options;
	const LatConfig *config = &trainer->model.config;
	LatTape    *tape = &trainer->tape;
	LatTargets	targets = {
		.task = (LatTask) config->task,.labels = config->labels,.count = count,
		.offsets = trainer->offsets,.targets = trainer->targets,.tags = trainer->tags,
		.weight = trainer->weight / trainer->models,.reverse = options->reverse_kl
	};
	LatTapeInput input = {
		.count = count,.offsets = trainer->offsets,.ids = trainer->ids,
		.segments = trainer->segments,.examples = trainer->examples,
		.lengths = model > 0 ? trainer->scaled : NULL,.skipped = trainer->skipped[model],
		.seed = options->seed,.step = step,.submodel = model,
		.hidden_dropout = (float) options->hidden_dropout,
		.attention_dropout = (float) options->attention_dropout
	};
	LatStatus	status;

	for (int s = 0; model > 0 && s < count; s++)
		lat_scale_lengths(trainer->lengths[model], config->layers, options->max_tokens,
						  trainer->offsets[s + 1] - trainer->offsets[s],
						  trainer->scaled + s * config->layers);
	status = lat_tape_forward(tape, &input);
	if (status != LAT_OK)
		return status;
	if (model == 0)
	{
		int			rows = config->task == LAT_CLASSIFY ? count : trainer->offsets[count];

		memcpy(tape->teacher.data, tape->logits.data, rows * tape->logits.ld * sizeof(float));
		*loss += lat_task_loss(&targets, tape->logits, tape->d_logits);
	}
	else
		*loss += lat_distillation_loss(&targets, tape->logits, tape->teacher, tape->d_logits);
	status = lat_tape_backward(tape);
	tape->fresh = false;
	return status;
}

static LatStatus
run_rank(LatTrainer *trainer, int64_t step, int rank)
{
	double	   *losses = lat_block_at(trainer->block, trainer->block->losses);
	LatTape    *tape = &trainer->tape;
	double		loss = 0;
	int			next = 0;
	int			count;

	tape->gradients = lat_rank_gradients(&trainer->optimizer, rank);
	tape->word_gradients = NULL;
	if (trainer->block->options.words != LAT_WORDS_FROZEN)
		tape->word_gradients = lat_rank_word_gradients(&trainer->optimizer, rank);
	lat_clear_gradients(&trainer->optimizer, rank);
	tape->fresh = true;
	while ((count = collect(trainer, rank, &next)) > 0)
		for (int model = 0; model < trainer->models; model++)
		{
			LatStatus	status = run_model(trainer, step, count, model, &loss);

			if (status != LAT_OK)
				return status;
		}
	losses[rank] = loss;
	return LAT_OK;
}

/* ---- steps -------------------------------------------------------------------------------- */

/* What rank 0 notes in the state after a step. */
static void
note_step(LatTrainer *trainer, int64_t step, double loss, double norm)
{
	LatTrainReport *report = trainer->report;
	int64_t		within;
	int			phase = lat_phase_of(&trainer->optimizer, step, &within);

	report->phase = phase;
	report->epoch = (double) (within + 1) / (double) lat_epoch_steps(trainer);
	report->step = step + 1;
	report->steps = lat_total_steps(trainer);
	report->loss = loss;
	report->learning_rate = lat_learning_rate(&trainer->optimizer, step);
	report->gradient_norm = norm;
	report->examples += trainer->count;
	report->epoch_ended = (within + 1) % lat_epoch_steps(trainer) == 0 ||
		within + 1 == trainer->optimizer.steps[phase];
	report->finished = step + 1 == report->steps;
}

static LatStatus
step_team(LatTrainer *trainer, int64_t step, LatError *error)
{
	const double *losses = lat_block_at(trainer->block, trainer->block->losses);
	double		loss = 0;
	double		norm;
	LatStatus	status;

	lat_plan_step(trainer, step);
	status = lat_words_catch_up(&trainer->optimizer, step);
	for (int rank = trainer->team.rank; status == LAT_OK && rank < trainer->optimizer.ranks;
		 rank += trainer->team.size)
		status = run_rank(trainer, step, rank);
	if (status == LAT_OK)
		status = lat_team_wait(&trainer->team);
	if (status != LAT_OK)
		return status;
	for (int rank = 0; rank < trainer->optimizer.ranks; rank++)
		loss += losses[rank];
	if (!isfinite(loss))
		return lat_hint(error, lat_fail(error, LAT_BAD_ARGUMENT, "the loss is not finite in step %lld",
										(long long) step),
						"The training diverges: choose a lower learning rate.");
	status = lat_optimizer_step(&trainer->optimizer, step, &norm, error);
	if (status == LAT_OK && trainer->team.rank == 0)
		note_step(trainer, step, loss, norm);
	return status == LAT_OK ? lat_team_wait(&trainer->team) : status;
}

LatStatus
lat_train_step(LatTrainer *trainer, LatTrainReport *report, LatError *error)
{
	int64_t		step = trainer->report->step;
	LatStatus	status = LAT_OK;

	if (step < lat_total_steps(trainer))
		status = step_team(trainer, step, error);
	if (status == LAT_INTERRUPTED)
		lat_fail(error, status, "training was interrupted");
	lat_train_report(trainer, report);
	return status;
}

void
lat_train_report(const LatTrainer *trainer, LatTrainReport *report)
{
	*report = *trainer->report;
	report->steps = lat_total_steps(trainer);
	report->work_left = lat_work_left(trainer, report->step);
	report->finished = report->step == report->steps;
}

LatStatus
lat_train_finish(LatTrainer *trainer, LatError *error)
{
	LatStatus	status = lat_words_finish(&trainer->optimizer, trainer->report->step);

	return status == LAT_OK ? LAT_OK : lat_fail(error, status, "training was interrupted");
}

const LatModel *
lat_trainer_model(const LatTrainer *trainer)
{
	return &trainer->model;
}

/* ---- evaluation --------------------------------------------------------------------------- */

LatStatus
lat_train_evaluate(LatTrainer *trainer, double *full, double *smallest, LatError *error)
{
	const LatTrainOptions *options = &trainer->block->options;
	LatOutcome *outcomes = lat_block_at(trainer->block, trainer->block->outcomes);
	int32_t		count = trainer->dev.count;
	int32_t		lengths[LAT_MAX_LAYERS];
	int64_t		end;
	int64_t		first = lat_team_share(&trainer->team, count, &end);
	LatStatus	status = LAT_OK;

	lat_smallest_lengths(trainer->model.config.layers, options->length_drop, options->max_tokens,
						 0, lengths);
	for (int i = 0; status == LAT_OK && first < end && i < 2; i++)
		status = lat_evaluate(&trainer->engine, &trainer->model, &trainer->dev, (int32_t) first,
							  (int32_t) (end - first), i == 0 ? NULL : lengths,
							  options->max_tokens, NULL, outcomes + i * count + first, error);
	if (status == LAT_OK && lat_team_wait(&trainer->team) != LAT_OK)
		status = lat_fail(error, LAT_INTERRUPTED, "training was interrupted");
	if (status != LAT_OK)
		return status;
	*full = count > 0 ? lat_quality(outcomes, count) : NAN;
	*smallest = count > 0 ? lat_quality(outcomes + count, count) : NAN;

	/* nobody may begin the next evaluation before all have read this one */
	if (lat_team_wait(&trainer->team) != LAT_OK)
		return lat_fail(error, LAT_INTERRUPTED, "training was interrupted");
	return LAT_OK;
}
