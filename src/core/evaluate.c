/*
 * evaluate.c
 *	  How well a model does on examples, in full or under a length configuration.
 *
 *		examples --batches of whole sequences--> lat_forward --> outcomes, or targets filled in
 *		questions --one by one--> lat_answer_question --> outcomes, or answers filled in
 *
 * The answers are those that inference gives: the same configuration scaled to
 * each example's length, the same shortcut for [CLS], the same choice among
 * equals, the same tags and windows.  An example whose target is unknown counts
 * for nothing.
 *
 * A configuration is measured on many examples and compared with others, so what
 * is kept of each example is a LatOutcome, of which quality and its interval are
 * sums: they can be taken over any part of the data, in any process.
 */
#include <string.h>

#include "answers.h"
#include "examples.h"
#include "text.h"

/* 512 tokens stay in the second-level cache: 5 % faster than 2,048, measured on SST-2 in int8. */
#define BATCH_SEQUENCES 64
#define BATCH_TOKENS 512		/* but for a single sequence that is longer */
#define MILLION 1e6

/* One call of lat_evaluate or lat_label_examples. */
typedef struct Evaluation
{
	LatEngine  *engine;
	const LatModel *model;
	LatExamples *examples;
	const int32_t *lengths;		/* at reference_length; NULL: in full */
	int32_t		reference_length;
	int32_t		first;			/* example of outcomes[0] */
	LatOutcome *outcomes;		/* NULL: fill in targets */
	const float *references;	/* LAT_EMBED, outcomes: (examples->count, H) */
	float	   *new_references; /* LAT_EMBED, no outcomes: the same, to be filled in */

	void	   *block;			/* all of the following */
	int32_t    *offsets;		/* (BATCH_SEQUENCES + 1) */
	int32_t    *ids;			/* (most tokens of a batch) */
	int32_t    *scaled;			/* (BATCH_SEQUENCES, L) */
	float	   *output;
	float	   *probabilities;	/* (labels) */
	uint8_t    *segments;		/* (most tokens of a batch) */
} Evaluation;

static LatStatus
check_arguments(const Evaluation *evaluation, int32_t count, LatError *error)
{
	const LatConfig *config = &evaluation->model->config;
	const LatExamples *examples = evaluation->examples;

	if (evaluation->first < 0 || count < 0 || count > examples->count - evaluation->first)
		return lat_fail(error, LAT_BAD_ARGUMENT, "examples %d to %d of %d", evaluation->first,
						evaluation->first + count - 1, examples->count);
	if ((config->task == LAT_SPAN) != (examples->kind == LAT_RECORD_QUESTION))
		return lat_fail(error, LAT_BAD_ARGUMENT,
						"a model of task \"%s\" cannot be evaluated on such records",
						lat_task_name((LatTask) config->task));
	if ((config->task == LAT_TAG) != examples->tags)
		return lat_fail(error, LAT_BAD_ARGUMENT, "labels of tokens and task \"%s\" do not fit",
						lat_task_name((LatTask) config->task));
	if (config->task == LAT_EMBED && !evaluation->references && !evaluation->new_references)
		return lat_fail(error, LAT_BAD_ARGUMENT, "an embedding needs one to be compared with");
	if (evaluation->lengths == NULL)
		return LAT_OK;
	if (evaluation->reference_length < 1)
		return lat_fail(error, LAT_BAD_ARGUMENT, "a reference length of %d",
						evaluation->reference_length);
	return lat_check_lengths(config, evaluation->lengths, config->layers, error);
}

/* ---- tags --------------------------------------------------------------------------------- */

/* The tag that a row of labels is inside of, word by word. */
typedef struct OpenTag
{
	bool		open;
	int			label;			/* of its first word */
	int32_t		start;			/* that word */
} OpenTag;

/*
 * Take a word's label (-1: the text has ended); returns true if a tag ended before
 * it, *ended, and counts those that begin.
 */
static bool
take_word(const LatModel *model, int32_t word, int label, OpenTag *tag, OpenTag *ended,
		  float *begun)
{
	bool		outside = label < 0 || lat_is_outside(model, label);

	*ended = *tag;
	if (tag->open && !outside && lat_continues_tag(model, tag->label, label))
		return false;
	if (!outside)
		*begun += 1;
	*tag = (OpenTag) {!outside, label, word};
	return ended->open;
}

/* Entities: a hit is one with the same first and last word and the same name. */
static void
score_tags(const Evaluation *evaluation, const LatExample *example, const float *logits,
		   LatOutcome *outcome)
{
	const LatModel *model = evaluation->model;
	int			labels = model->config.labels;
	OpenTag		ours = {.open = false};
	OpenTag		theirs = {.open = false};

	for (int32_t t = 0; t <= example->tokens; t++)
	{
		bool		is_end = t == example->tokens;
		OpenTag		our_last;
		OpenTag		their_last;
		bool		our_end;
		bool		their_end;

		if (!is_end && example->labels[t] < 0)
			continue;			/* not the first token of a word */
		our_end = take_word(model, t,
							is_end ? -1 : lat_word_label(logits + (size_t) t * labels, labels,
														 evaluation->probabilities),
							&ours, &our_last, &outcome->predicted);
		their_end = take_word(model, t, is_end ? -1 : example->labels[t], &theirs, &their_last,
							  &outcome->actual);
		if (our_end && their_end && our_last.start == their_last.start &&
			lat_same_tag(model, our_last.label, their_last.label))
			outcome->hits += 1;
	}
}

/* ---- examples ----------------------------------------------------------------------------- */

/* The class of the highest logit, the first of equals. */
static int
best_class(const float *logits, int labels)
{
	int			best = 0;

	for (int i = 1; i < labels; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

/* Cosine of two normalised vectors. */
static float
dot_product(const float *a, const float *b, int n)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double) a[i] * b[i];
	return (float) sum;
}

/* What example i adds to quality, given the model's output for it. */
static void
score_example(const Evaluation *evaluation, int32_t i, const float *output, LatOutcome *outcome)
{
	const LatConfig *config = &evaluation->model->config;
	LatExample	example;

	lat_examples_get(evaluation->examples, i, &example);
	outcome->hits = outcome->predicted = outcome->actual = 0;
	if (config->task == LAT_TAG)
		score_tags(evaluation, &example, output, outcome);
	else if (config->task == LAT_EMBED)
	{
		outcome->hits = dot_product(output, evaluation->references + (size_t) i * config->hidden,
									config->hidden);
		outcome->predicted = outcome->actual = 1;
	}
	else if (example.target[0] >= 0)
	{
		outcome->hits = best_class(output, config->labels) == example.target[0];
		outcome->predicted = outcome->actual = 1;
	}
}

/* Make the model's output example i's target. */
static void
label_example(const Evaluation *evaluation, int32_t i, const float *output)
{
	const LatConfig *config = &evaluation->model->config;
	LatExample	example;
	int32_t    *labels;

	if (config->task == LAT_EMBED)
		memcpy(evaluation->new_references + (size_t) i * config->hidden, output,
			   (size_t) config->hidden * sizeof(float));
	else if (config->task == LAT_CLASSIFY)
		*lat_examples_target(evaluation->examples, i) = best_class(output, config->labels);
	else
	{
		lat_examples_get(evaluation->examples, i, &example);
		labels = lat_examples_labels(evaluation->examples, i);
		for (int32_t t = 0; t < example.tokens; t++)
			if (labels[t] >= 0)
				labels[t] = lat_word_label(output + (size_t) t * config->labels, config->labels,
										   evaluation->probabilities);
	}
}

/* Floats of lat_forward's output for a sequence of that many tokens. */
static size_t
output_floats(const LatModel *model, int32_t tokens)
{
	int			rows = model->config.task == LAT_TAG ? tokens : 1;

	return (size_t) lat_output_columns(model) * (size_t) rows;
}

/* False: out of memory. */
static bool
reserve_batch(Evaluation *evaluation)
{
	const LatHost *host = evaluation->engine->host;
	const LatConfig *config = &evaluation->model->config;
	size_t		tokens = config->positions > BATCH_TOKENS ? (size_t) config->positions
		: BATCH_TOKENS;
	size_t		rows = config->task == LAT_TAG ? tokens : BATCH_SEQUENCES;
	size_t		output = (size_t) lat_output_columns(evaluation->model) * rows;
	size_t		scaled = (size_t) BATCH_SEQUENCES * (size_t) config->layers;
	size_t		integers = BATCH_SEQUENCES + 1 + tokens + scaled;
	size_t		floats = output + (size_t) config->labels;
	void	   *at;

	evaluation->block = host->alloc(host->arg, integers * sizeof(int32_t) +
									floats * sizeof(float) + tokens);
	if (evaluation->block == NULL)
		return false;
	evaluation->offsets = evaluation->block;
	evaluation->ids = evaluation->offsets + BATCH_SEQUENCES + 1;
	evaluation->scaled = evaluation->ids + tokens;
	at = evaluation->scaled + scaled;
	evaluation->output = at;
	evaluation->probabilities = evaluation->output + output;
	evaluation->segments = (uint8_t *) (evaluation->probabilities + config->labels);
	return true;
}

/* Fill the batch with examples from i on, before `end`; returns how many fit in. */
static int
fill_batch(Evaluation *evaluation, int32_t i, int32_t end)
{
	int			count = 0;
	int			layers = evaluation->model->config.layers;
	int32_t    *offsets = evaluation->offsets;

	offsets[0] = 0;
	while (count < BATCH_SEQUENCES && i + count < end)
	{
		int32_t		from = offsets[count];
		LatExample	example;

		lat_examples_get(evaluation->examples, i + count, &example);
		if (count > 0 && from + example.tokens > BATCH_TOKENS)
			break;
		memcpy(evaluation->ids + from, example.ids, (size_t) example.tokens * sizeof(int32_t));
		memset(evaluation->segments + from, 0, (size_t) example.first);
		memset(evaluation->segments + from + example.first, 1,
			   (size_t) (example.tokens - example.first));
		if (evaluation->lengths)
			lat_scale_lengths(evaluation->lengths, layers, evaluation->reference_length,
							  example.tokens, evaluation->scaled + count * layers);
		offsets[++count] = from + example.tokens;
	}
	return count;
}

/* Examples first .. end - 1, batch by batch. */
static LatStatus
run_examples(Evaluation *evaluation, int32_t end, LatError *error)
{
	const LatModel *model = evaluation->model;
	int			layers = model->config.layers;
	bool		cls_only = model->config.task == LAT_CLASSIFY;
	LatBatch	batch = {
		.offsets = evaluation->offsets,.ids = evaluation->ids,.segments = evaluation->segments,
		.lengths = evaluation->lengths ? evaluation->scaled : NULL,.cls_only = cls_only
	};

	for (int32_t i = evaluation->first; i < end; i += batch.count)
	{
		const float *output = evaluation->output;
		LatStatus	status;

		batch.count = fill_batch(evaluation, i, end);
		status = lat_forward(evaluation->engine, model, &batch, evaluation->output, NULL, error);
		if (status != LAT_OK)
			return status;
		for (int s = 0; s < batch.count; s++)
		{
			int32_t		tokens = batch.offsets[s + 1] - batch.offsets[s];

			if (evaluation->outcomes)
			{
				LatOutcome *outcome = &evaluation->outcomes[i + s - evaluation->first];

				score_example(evaluation, i + s, output, outcome);
				outcome->multiply_adds = (float)
					(lat_cost(&model->config, tokens, batch.lengths ? batch.lengths + s * layers
							  : NULL, cls_only) / MILLION);
			}
			else
				label_example(evaluation, i + s, output);
			output += output_floats(model, tokens);
		}
	}
	return LAT_OK;
}

/* ---- questions ---------------------------------------------------------------------------- */

/* Characters start .. stop - 1 of a text; those beyond its end are left out. */
static LatWord
cut_characters(const char *text, size_t bytes, int32_t start, int32_t stop)
{
	const uint8_t *at = (const uint8_t *) text;
	const uint8_t *end = at + bytes;
	const uint8_t *from = at;

	for (int32_t i = 0; i < stop && at < end; i++)
	{
		uint32_t	character;
		int			length = lat_decode_char(at, end, &character);

		at += length > 0 ? length : 1;
		if (i + 1 == start)
			from = at;
	}
	if (start >= stop)
		from = at;
	return (LatWord) {(const char *) from, (size_t) (at - from)};
}

/* F1 of the answer found against the true one. */
static LatStatus
score_question(const LatHost *host, const LatQuestion *question, const LatSpan *span,
			   LatOutcome *outcome, LatError *error)
{
	outcome->hits = outcome->predicted = outcome->actual = 0;
	outcome->multiply_adds = (float) (span->multiply_adds / MILLION);
	if (question->start < 0)
		return LAT_OK;
	outcome->predicted = outcome->actual = 1;
	if (!span->found)
		return LAT_OK;
	return lat_answer_f1(host, cut_characters(question->context, question->context_bytes,
											  span->start, span->stop),
						 cut_characters(question->context, question->context_bytes,
										question->start, question->stop),
						 &outcome->hits, error);
}

/* Questions first .. end - 1. */
static LatStatus
run_questions(Evaluation *evaluation, int32_t end, LatError *error)
{
	const LatHost *host = evaluation->engine->host;
	const LatModel *model = evaluation->model;
	LatTokens	tokens[2] = {{.count = 0}, {.count = 0}};	/* question, context */
	LatStatus	status = LAT_OK;

	for (int32_t i = evaluation->first; i < end; i++)
	{
		LatQuestion question;
		LatSpan		span;

		lat_questions_get(evaluation->examples, i, &question);
		if ((status = lat_tokenize_text(host, model, question.question, question.question_bytes,
										false, LAT_SPAN_QUESTION + 1, &tokens[0],
										error)) != LAT_OK ||
			(status = lat_tokenize_text(host, model, question.context, question.context_bytes,
										false, INT32_MAX, &tokens[1], error)) != LAT_OK ||
			(status = lat_answer_question(evaluation->engine, model, &tokens[0], &tokens[1],
										  evaluation->lengths, evaluation->reference_length,
										  &span, error)) != LAT_OK)
			goto done;
		if (evaluation->outcomes)
			status = score_question(host, &question, &span,
									&evaluation->outcomes[i - evaluation->first], error);
		else
		{
			int32_t    *target = lat_examples_target(evaluation->examples, i);

			target[0] = span.found ? span.start : -1;
			target[1] = span.found ? span.stop : -1;
		}
		if (status != LAT_OK)
			goto done;
	}
done:
	lat_tokens_release(host, &tokens[0]);
	lat_tokens_release(host, &tokens[1]);
	return status;
}

/* ---- entry -------------------------------------------------------------------------------- */

static LatStatus
run(Evaluation *evaluation, int32_t count, LatError *error)
{
	const LatHost *host = evaluation->engine->host;
	int32_t		end = evaluation->first + count;
	LatStatus	status = check_arguments(evaluation, count, error);

	if (status != LAT_OK)
		return status;
	if (evaluation->model->config.task == LAT_SPAN)
		return run_questions(evaluation, end, error);
	if (!reserve_batch(evaluation))
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for evaluating batches of %d tokens",
						BATCH_TOKENS);
	status = run_examples(evaluation, end, error);
	host->release(host->arg, evaluation->block);
	return status;
}

LatStatus
lat_evaluate(LatEngine *engine, const LatModel *model, const LatExamples *examples,
			 int32_t first, int32_t count, const int32_t *lengths, int32_t reference_length,
			 const float *references, LatOutcome *outcomes, LatError *error)
{
	LatExamples read = *examples;
	Evaluation	evaluation = {
		.engine = engine,.model = model,.examples = &read,.lengths = lengths,
		.reference_length = reference_length,.first = first,.outcomes = outcomes,
		.references = references
	};

	return run(&evaluation, count, error);
}

LatStatus
lat_label_examples(LatEngine *engine, const LatModel *model, LatExamples *examples,
				   int32_t first, int32_t count, float *references, LatError *error)
{
	Evaluation	evaluation = {
		.engine = engine,.model = model,.examples = examples,.first = first,
		.new_references = references
	};

	return run(&evaluation, count, error);
}
