/*
 * evaluate_test.c
 *	  Evaluation of the tiny checkpoints: against inference text by text, however the examples
 *	  are split into calls; labels filled in; F1 of answers against evaluate-v1.1 (answer_f1.txt,
 *	  written by make_answer_f1.py); quality and its interval; with the n-th allocation failing,
 *	  interrupted at the n-th question.
 *
 *	  Usage: evaluate_test GOLDEN_DIRECTORY
 */
#include "check.h"
#include "load.h"
#include "core/answers.h"
#include "core/examples.h"
#include "core/random.h"

#include <math.h>

#define EXAMPLES 150
#define MAX_T 64

static TestHost test;

/* Examples of a model with the answers that inference gives, in one block. */
typedef struct Data
{
	LatModel	model;
	LatExamples examples;
	uint64_t	offsets[EXAMPLES];
	int32_t    *bytes;
	size_t		size;
} Data;

static const char *const words[] = {
	"the", "cat", "sat", "on", "mat", "a", "old", "man", "is", "teacher", "town", "never", "again",
	"end", "of", "all", "long", "stories", "and", "who", "times", "Zoë", "—", "42", "."
};

static uint32_t
draw(uint32_t site, uint32_t i, uint32_t n)
{
	return lat_random_below(lat_random(4, site, 0, 0, 0), i, n);
}

/* A text of some words; returns its bytes. */
static size_t
make_text(uint32_t site, uint32_t i, uint32_t most, char *text)
{
	uint32_t	count = draw(site, i, most);
	size_t		bytes = 0;

	for (uint32_t j = 0; j < count; j++)
	{
		const char *word = words[draw(site + 1, i * 100 + j, sizeof(words) / sizeof(words[0]))];

		memcpy(text + bytes, word, strlen(word));
		bytes += strlen(word);
		text[bytes++] = ' ';
	}
	return bytes;
}

/* Examples of random tokens, of 2 to MAX_T of them; some are pairs, some have no target. */
static void
make_example(const LatConfig *config, uint32_t i, int32_t *ids, int32_t *labels,
			 LatExample *example)
{
	int32_t		limit = config->positions < MAX_T ? config->positions : MAX_T;

	memset(example, 0, sizeof(*example));
	example->tokens = 2 + (int32_t) draw(0, i, (uint32_t) limit - 1);
	example->first = draw(1, i, 2) ? example->tokens
		: 1 + (int32_t) draw(2, i, (uint32_t) example->tokens);
	example->ids = ids;
	for (int32_t t = 0; t < example->tokens; t++)
	{
		ids[t] = (int32_t) draw(3, i * 100 + (uint32_t) t, (uint32_t) config->vocabulary);
		labels[t] = draw(4, i * 100 + (uint32_t) t, 3) == 0 ? -1
			: (int32_t) draw(5, i * 100 + (uint32_t) t,
							 config->labels ? (uint32_t) config->labels : 1);
	}
	ids[0] = config->cls_id;
	if (config->task == LAT_TAG)
		example->labels = labels;
	if (config->task == LAT_CLASSIFY)
		example->target[0] = (int32_t) draw(6, i, (uint32_t) config->labels + 1) - 1;
}

static void
make_question(uint32_t i, char *texts, LatQuestion *question)
{
	char	   *context = texts + 4096;

	question->question = texts;
	question->question_bytes = make_text(10, i, 12, texts);
	question->context = context;
	question->context_bytes = make_text(20, i, 150, context);
	question->start = question->stop = -1;
	if (draw(30, i, 5) > 0)
	{
		question->start = (int32_t) draw(31, i, 20);
		question->stop = question->start + (int32_t) draw(32, i, 20);
		if ((size_t) question->stop + 10 > question->context_bytes)
			question->start = question->stop = 0;
	}
}

static void
make_data(const char *directory, const char *name, LatPrecision precision, Data *data)
{
	int32_t		ids[MAX_T];
	int32_t		labels[MAX_T];
	char		texts[8192];
	char		path[1024];
	LatError	error = {"", ""};
	LatRecordKind kind;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (!CHECK(load_model(&test.host, path, precision, &data->model, &error) == LAT_OK, "%s: %s",
			   name, error.message))
		exit(check_done("evaluate_test"));
	kind = data->model.config.task == LAT_SPAN ? LAT_RECORD_QUESTION : LAT_RECORD_EXAMPLE;
	data->bytes = malloc(EXAMPLES * sizeof(texts));
	data->size = 0;
	for (uint32_t i = 0; i < EXAMPLES; i++)
	{
		LatExample	example;
		LatQuestion question;

		if (kind == LAT_RECORD_QUESTION)
		{
			make_question(i, texts, &question);
			lat_question_write(&question, data->bytes + data->size / 4);
			data->size += lat_question_size(&question);
		}
		else
		{
			make_example(&data->model.config, i, ids, labels, &example);
			lat_example_write(&example, data->bytes + data->size / 4);
			data->size += lat_example_size(&example);
		}
	}
	data->examples = (LatExamples) {
		.kind = kind,.bytes = data->bytes,.size = data->size,.offsets = data->offsets
	};
	if (!CHECK(lat_examples_index(&test.host, &data->model, &data->examples, EXAMPLES,
								  &error) == LAT_OK, "%s: %s", name, error.message))
		exit(check_done("evaluate_test"));
}

static void
free_data(Data *data)
{
	free((void *) data->model.image);
	free(data->bytes);
}

/* ---- what inference says ------------------------------------------------------------------ */

/* The example alone through lat_forward. */
static void
run_alone(LatEngine *engine, const Data *data, int32_t i, const int32_t *lengths, int32_t n,
		  float *output)
{
	LatExample	example;
	uint8_t		segments[MAX_T];
	int32_t		scaled[LAT_MAX_LAYERS];
	LatStatus	status;

	lat_examples_get(&data->examples, i, &example);
	for (int32_t t = 0; t < example.tokens; t++)
		segments[t] = t >= example.first;
	if (lengths)
		lat_scale_lengths(lengths, data->model.config.layers, n, example.tokens, scaled);
	status = lat_forward(engine, &data->model, &(LatBatch) {
		.count = 1, .offsets = (const int32_t[]) {0, example.tokens}, .ids = example.ids,
		.segments = segments, .lengths = lengths ? scaled : NULL,
		.cls_only = data->model.config.task == LAT_CLASSIFY
	}, output, NULL, NULL);
	CHECK(status == LAT_OK, "inference alone");
}

/* Tags of one example as lat_tag would see them; one-hot logits if labels are given. */
static int
decode(const Data *data, const LatExample *example, const float *logits, const int32_t *labels,
	   LatTag *tags)
{
	int			columns = data->model.config.labels;
	int32_t		starts[MAX_T];
	int32_t		stops[MAX_T];
	int32_t		sources[MAX_T];
	uint8_t		word_starts[MAX_T];
	float		one_hot[MAX_T * 16] = {0};
	LatTokens	tokens = {.starts = starts,.stops = stops,.word_starts = word_starts};
	LatInput	input = {.tokens = example->tokens,.sources = sources};
	int			count;

	for (int32_t t = 0; t < example->tokens; t++)
	{
		sources[t] = starts[t] = t;
		stops[t] = t + 1;
		word_starts[t] = example->labels[t] >= 0;
		if (labels && labels[t] >= 0)
			one_hot[t * columns + labels[t]] = 10;
	}
	CHECK(lat_decode_tags(&test.host, &data->model, &input, &tokens, labels ? one_hot : logits,
						  tags, &count, NULL) == LAT_OK, "tags are decoded");
	return count;
}

static const char *
tag_name(const LatModel *model, int label, int *bytes)
{
	size_t		size;
	const char *name = lat_label_text(model, label, &size);

	*bytes = (int) size - 2;
	return name + 2;			/* the tiny model's labels all have a prefix, but for O */
}

/* Entities counted out of two lists, each against each. */
static LatOutcome
expect_tags(const Data *data, const LatExample *example, const float *logits)
{
	LatTag		ours[MAX_T];
	LatTag		theirs[MAX_T];
	int			predicted = decode(data, example, logits, NULL, ours);
	int			actual = decode(data, example, NULL, example->labels, theirs);
	LatOutcome	outcome = {0, (float) predicted, (float) actual, 0};

	for (int i = 0; i < predicted; i++)
	{
		for (int j = 0; j < actual; j++)
		{
			int			our_bytes;
			int			their_bytes;
			const char *our_name = tag_name(&data->model, ours[i].label, &our_bytes);
			const char *their_name = tag_name(&data->model, theirs[j].label, &their_bytes);

			outcome.hits += ours[i].start == theirs[j].start && ours[i].stop == theirs[j].stop &&
				our_bytes == their_bytes && memcmp(our_name, their_name, our_bytes) == 0;
		}
	}
	return outcome;
}

static LatOutcome
expect_example(LatEngine *engine, const Data *data, int32_t i, const int32_t *lengths, int32_t n,
			   const float *references)
{
	const LatConfig *config = &data->model.config;
	float		output[MAX_T * 128];
	LatOutcome	outcome = {0, 0, 0, 0};
	LatExample	example;
	int			best = 0;
	double		sum = 0;

	lat_examples_get(&data->examples, i, &example);
	run_alone(engine, data, i, lengths, n, output);
	if (config->task == LAT_TAG)
		return expect_tags(data, &example, output);
	for (int j = 0; j < config->hidden && config->task == LAT_EMBED; j++)
		sum += (double) output[j] * references[i * config->hidden + j];
	for (int j = 1; j < config->labels; j++)
		best = output[j] > output[best] ? j : best;
	if (config->task == LAT_EMBED || example.target[0] >= 0)
		outcome = (LatOutcome) {config->task == LAT_EMBED ? (float) sum
			: best == example.target[0], 1, 1, 0};
	return outcome;
}

/* Characters start .. stop - 1, in Python's way. */
static LatWord
slice(const char *text, size_t bytes, int32_t start, int32_t stop)
{
	size_t		from = bytes;
	size_t		to = bytes;
	int32_t		character = -1;

	for (size_t i = 0; i < bytes; i++)
	{
		if ((text[i] & 0xc0) != 0x80)
			character++;
		if (character == start && from == bytes)
			from = i;
		if (character == stop && to == bytes)
			to = i;
	}
	return (LatWord) {text + from, to > from ? to - from : 0};
}

static LatOutcome
expect_question(LatEngine *engine, const Data *data, int32_t i, const int32_t *lengths, int32_t n)
{
	LatTokens	tokens[2] = {{.count = 0}, {.count = 0}};
	LatOutcome	outcome = {0, 0, 0, 0};
	LatQuestion question;
	LatSpan		span;

	lat_questions_get(&data->examples, i, &question);
	lat_tokenize_text(&test.host, &data->model, question.question, question.question_bytes, false,
					  1000, &tokens[0], NULL);
	lat_tokenize_text(&test.host, &data->model, question.context, question.context_bytes, false,
					  INT32_MAX, &tokens[1], NULL);
	CHECK(lat_answer_question(engine, &data->model, &tokens[0], &tokens[1], lengths, n, &span,
							  NULL) == LAT_OK, "an answer");
	if (question.start >= 0)
	{
		outcome.predicted = outcome.actual = 1;
		if (span.found)
			lat_answer_f1(&test.host, slice(question.context, question.context_bytes, span.start,
											span.stop),
						  slice(question.context, question.context_bytes, question.start,
								question.stop), &outcome.hits, NULL);
	}
	outcome.multiply_adds = (float) (span.multiply_adds / 1e6);
	lat_tokens_release(&test.host, &tokens[0]);
	lat_tokens_release(&test.host, &tokens[1]);
	return outcome;
}

/* ---- evaluation --------------------------------------------------------------------------- */

static void
check_outcomes(LatEngine *engine, const Data *data, const int32_t *lengths, int32_t n,
			   const float *references)
{
	const LatConfig *config = &data->model.config;
	const char *task = lat_task_name((LatTask) config->task);
	LatOutcome	outcomes[EXAMPLES];
	LatOutcome	again[EXAMPLES];
	LatError	error = {"", ""};
	int			different = 0;
	double		hits = 0;
	bool		same_cost = true;

	if (!CHECK(lat_evaluate(engine, &data->model, &data->examples, 0, EXAMPLES, lengths, n,
							references, outcomes, &error) == LAT_OK, "%s: %s", task, error.message))
		return;
	for (int32_t i = 0; i < EXAMPLES; i++)
	{
		LatOutcome	expected = config->task == LAT_SPAN
			? expect_question(engine, data, i, lengths, n)
			: expect_example(engine, data, i, lengths, n, references);

		different += expected.hits != outcomes[i].hits ||
			expected.predicted != outcomes[i].predicted || expected.actual != outcomes[i].actual;
		hits += outcomes[i].hits;
		if (config->task == LAT_SPAN)
			same_cost &= expected.multiply_adds == outcomes[i].multiply_adds;
		else
		{
			int32_t		scaled[LAT_MAX_LAYERS];
			LatExample	example;

			lat_examples_get(&data->examples, i, &example);
			if (lengths)
				lat_scale_lengths(lengths, config->layers, n, example.tokens, scaled);
			same_cost &= outcomes[i].multiply_adds ==
				(float) (lat_cost(config, example.tokens, lengths ? scaled : NULL,
								  config->task == LAT_CLASSIFY) / 1e6);
		}
	}
	CHECK(different == 0 && hits > 0, "%s: %d outcomes are not inference's, %.1f hits", task,
		  different, hits);
	CHECK(same_cost, "%s: the cost executed", task);

	/* in pieces, as the members of a team do it */
	for (int32_t first = 0; first < EXAMPLES; first += 37)
		lat_evaluate(engine, &data->model, &data->examples, first,
					 first + 37 < EXAMPLES ? 37 : EXAMPLES - first, lengths, n, references,
					 again + first, &error);
	CHECK(memcmp(outcomes, again, sizeof(outcomes)) == 0, "%s: pieces give the same bits", task);
}

/* After labelling, the model in full is always right. */
static void
check_labels(LatEngine *engine, Data *data, float *references)
{
	const LatConfig *config = &data->model.config;
	LatOutcome	outcomes[EXAMPLES];
	LatError	error = {"", ""};
	int			right = 0;
	int			count = 0;

	CHECK(lat_label_examples(engine, &data->model, &data->examples, 0, 60, references,
							 &error) == LAT_OK &&
		  lat_label_examples(engine, &data->model, &data->examples, 60, EXAMPLES - 60, references,
							 &error) == LAT_OK, "labels: %s", error.message);
	CHECK(lat_examples_index(&test.host, &data->model, &data->examples, EXAMPLES,
							 &error) == LAT_OK,
		  "labelled examples are valid: %s", error.message);
	lat_evaluate(engine, &data->model, &data->examples, 0, EXAMPLES, NULL, 0, references, outcomes,
				 &error);
	for (int32_t i = 0; i < EXAMPLES; i++)
	{
		LatQuestion question;

		/* an answer whose words are all articles or punctuation has F1 0 even with itself */
		if (config->task == LAT_SPAN)
		{
			float		self;

			lat_questions_get(&data->examples, i, &question);
			if (question.start < 0)
				continue;
			lat_answer_f1(&test.host, slice(question.context, question.context_bytes,
											question.start, question.stop),
						  slice(question.context, question.context_bytes, question.start,
								question.stop), &self, NULL);
			right += outcomes[i].hits == self;
		}
		else
			right += fabsf(outcomes[i].hits - outcomes[i].actual) < 1e-5f &&
				outcomes[i].predicted == outcomes[i].actual;
		count++;
	}
	CHECK(right == count && count > EXAMPLES * 8 / 10, "%s: %d of %d agree with themselves",
		  lat_task_name((LatTask) config->task), right, count);
}

/* Change some of a tagger's labels, so that its entities are partly right. */
static void
disturb_labels(Data *data)
{
	for (int32_t i = 0; i < EXAMPLES; i++)
	{
		LatExample	example;
		int32_t    *labels = lat_examples_labels(&data->examples, i);

		lat_examples_get(&data->examples, i, &example);
		for (int32_t t = 0; t < example.tokens; t++)
			if (labels[t] >= 0 && draw(40, (uint32_t) (i * 100 + t), 8) == 0)
				labels[t] = (int32_t) draw(41, (uint32_t) (i * 100 + t),
										   (uint32_t) data->model.config.labels);
	}
}

static void
check_failures(LatEngine *engine, const Data *data, const float *references)
{
	LatOutcome	outcomes[EXAMPLES];
	LatOutcome	again[EXAMPLES];
	LatStatus	status = LAT_NO_MEMORY;
	long		n = 0;

	lat_evaluate(engine, &data->model, &data->examples, 0, 20, NULL, 0, references, outcomes, NULL);
	while (status == LAT_NO_MEMORY && n < 2000)
	{
		lat_engine_release(engine);
		test.fail_at = n++;
		status = lat_evaluate(engine, &data->model, &data->examples, 0, 20, NULL, 0, references,
							  again, NULL);
		test.fail_at = -1;
	}
	CHECK(status == LAT_OK && n > 1, "%ld allocations can fail", n);
	status = LAT_INTERRUPTED;
	for (n = 0; status == LAT_INTERRUPTED && n < 20000; n++)
	{
		test.interrupt_at = n + 1;
		status = lat_evaluate(engine, &data->model, &data->examples, 0, 20, NULL, 0, references,
							  again, NULL);
	}
	test.interrupt_at = -1;
	CHECK(status == LAT_OK && n > 5, "%ld chances to interrupt", n);
	CHECK(memcmp(outcomes, again, 20 * sizeof(LatOutcome)) == 0, "the same after all failures");
	lat_engine_release(engine);
	CHECK(test.live == 0, "nothing leaks");
}

static void
test_model(const char *directory, const char *name, LatPrecision precision)
{
	LatEngine	engine = {.host = &test.host,.kernels = lat_find_kernels("auto")};
	int32_t		lengths[LAT_MAX_LAYERS];
	static float references[EXAMPLES * 128];
	Data		data;

	make_data(directory, name, precision, &data);
	for (int l = 0; l < data.model.config.layers; l++)
		lengths[l] = 40 >> l;
	if (data.model.config.task == LAT_EMBED)
		check_labels(&engine, &data, references);
	check_outcomes(&engine, &data, NULL, 0, references);
	check_outcomes(&engine, &data, lengths, 64, references);
	check_failures(&engine, &data, references);
	check_labels(&engine, &data, references);
	if (data.model.config.task == LAT_TAG)
		disturb_labels(&data);
	check_outcomes(&engine, &data, lengths, 64, references);
	lat_engine_release(&engine);
	free_data(&data);
}

static void
test_refused(const char *directory)
{
	LatEngine	engine = {.host = &test.host,.kernels = lat_find_kernels("auto")};
	const int32_t growing[] = {10, 20, 20, 20};
	LatOutcome	outcomes[EXAMPLES];
	LatError	error;
	Data		classify;
	Data		span;
	Data		tag;
	Data		embed;

	make_data(directory, "tiny-classify", LAT_INT8, &classify);
	make_data(directory, "tiny-span", LAT_INT8, &span);
	make_data(directory, "tiny-tag", LAT_INT8, &tag);
	make_data(directory, "tiny-embed", LAT_INT8, &embed);
#define REFUSE(data, model_of, first, count, lengths, n, what) \
	CHECK(lat_evaluate(&engine, &(model_of).model, &(data).examples, first, count, lengths, n, \
					   NULL, outcomes, &error) == LAT_BAD_ARGUMENT, what ": %s", error.message)
	REFUSE(classify, classify, 0, EXAMPLES + 1, NULL, 0, "too many");
	REFUSE(classify, classify, EXAMPLES, 1, NULL, 0, "beyond the last");
	REFUSE(classify, classify, -1, 2, NULL, 0, "before the first");
	REFUSE(classify, classify, 3, -1, NULL, 0, "a negative number");
	REFUSE(classify, span, 0, 1, NULL, 0, "examples for a span model");
	REFUSE(span, classify, 0, 1, NULL, 0, "questions for a classifier");
	REFUSE(tag, classify, 0, 1, NULL, 0, "tags for a classifier");
	REFUSE(classify, tag, 0, 1, NULL, 0, "classes for a tagger");
	REFUSE(classify, classify, 0, 1, growing, 128, "lengths that grow");
	REFUSE(classify, classify, 0, 1, growing + 1, 0, "no reference length");
	REFUSE(embed, embed, 0, 1, NULL, 0, "no references");
	CHECK(lat_evaluate(&engine, &classify.model, &classify.examples, EXAMPLES, 0, NULL, 0, NULL,
					   outcomes, &error) == LAT_OK, "no examples are no error");
	lat_engine_release(&engine);
	free_data(&classify);
	free_data(&span);
	free_data(&tag);
	free_data(&embed);
	CHECK(test.live == 0, "nothing leaks");
}

/* ---- F1 of answers ------------------------------------------------------------------------ */

/* Undo \xNN, in place; returns the bytes. */
static size_t
unescape(char *text)
{
	char	   *to = text;

	for (const char *at = text; *at;)
	{
		if (at[0] == '\\' && at[1] == 'x')
		{
			const char	digits[3] = {at[2], at[3], '\0'};

			*to++ = (char) strtol(digits, NULL, 16);
			at += 4;
		}
		else
			*to++ = *at++;
	}
	return (size_t) (to - text);
}

static void
test_answers(const char *directory)
{
	char		path[1024];
	char		line[4096];
	FILE	   *file;
	int			count = 0;
	int			partial = 0;
	float		f1;

	snprintf(path, sizeof(path), "%s/answer_f1.txt", directory);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
	{
		char	   *answer = strchr(line, '\t');
		char	   *truth = answer ? strchr(answer + 1, '\t') : NULL;
		double		expected = strtod(line, NULL);
		size_t		answer_bytes;
		size_t		truth_bytes;
		char	   *exact[2];

		if (!CHECK(truth != NULL, "line %d is complete", count + 1))
			break;
		*answer++ = '\0';
		*truth++ = '\0';
		truth[strcspn(truth, "\n")] = '\0';
		answer_bytes = unescape(answer);
		truth_bytes = unescape(truth);
		/* of exactly their size, so that a sanitizer sees a read beyond */
		exact[0] = malloc(answer_bytes + 1);
		exact[1] = malloc(truth_bytes + 1);
		memcpy(exact[0] + 1, answer, answer_bytes);
		memcpy(exact[1] + 1, truth, truth_bytes);
		CHECK(lat_answer_f1(&test.host, (LatWord) {exact[0] + 1, answer_bytes},
							(LatWord) {exact[1] + 1, truth_bytes}, &f1, NULL) == LAT_OK &&
			  fabs(f1 - expected) < 1e-6, "line %d: %.6f, expected %.6f", count + 1, (double) f1,
			  expected);
		free(exact[0]);
		free(exact[1]);
		partial += expected > 0 && expected < 1;
		count++;
	}
	if (file)
		fclose(file);
	CHECK(count == 400 && partial > 100, "%d answers, %d partly right", count, partial);
	for (test.fail_at = 0; test.fail_at < 4;)
	{
		long		n = test.fail_at;

		CHECK(lat_answer_f1(&test.host, (LatWord) {"a b", 3}, (LatWord) {"b", 1}, &f1, NULL) ==
			  LAT_NO_MEMORY && test.live == 0, "allocation %ld fails", n);
		test.fail_at = n + 1;
	}
	test.fail_at = -1;
}

/* ---- quality and interval ----------------------------------------------------------------- */

static void
test_quality(void)
{
	static LatOutcome outcomes[50000];
	const LatOutcome tags[] = {{1, 2, 3, 0}, {0, 0, 0, 0}, {2, 2, 2, 0}, {0, 1, 0, 0}};
	static const int32_t counts[] = {400, 2048, 2049, 50000};
	double		low;
	double		high;
	double		low_again;
	double		high_again;

	CHECK(fabs(lat_quality(tags, 4) - 2.0 * 3 / (5 + 5)) < 1e-12, "F1 over all entities");
	CHECK(lat_quality(tags + 1, 1) == 0 && lat_quality(tags, 0) == 0, "nothing has quality 0");
	lat_quality_interval(tags, 0, 1, &low, &high);
	CHECK(low == 0 && high == 0, "and no interval");
	for (int32_t i = 0; i < 50000; i++)
		outcomes[i] = (LatOutcome) {draw(50, (uint32_t) i, 10) < 9, 1, 1, 0};

	/* accuracy 0.9: the normal approximation's width, within a sixth */
	for (int i = 0; i < 4; i++)
	{
		double		quality = lat_quality(outcomes, counts[i]);
		double		sigma = sqrt(quality * (1 - quality) / counts[i]);

		lat_quality_interval(outcomes, counts[i], 7, &low, &high);
		CHECK(fabs((high - low) / (2 * 1.96 * sigma) - 1) < 0.17 && low < quality && high > quality,
			  "%d outcomes: %.4f in %.4f to %.4f, sigma %.4f", counts[i], quality, low, high,
			  sigma);
	}
	lat_quality_interval(outcomes, 400, 7, &low_again, &high_again);
	lat_quality_interval(outcomes, 400, 7, &low, &high);
	CHECK(low == low_again && high == high_again, "a seed gives one interval");
	lat_quality_interval(outcomes, 400, 8, &low, &high);
	CHECK(low != low_again || high != high_again, "another seed may give another");

	/* of a hundred samples about 95 intervals hold the truth */
	{
		int			holds = 0;

		for (int32_t s = 0; s < 100; s++)
		{
			lat_quality_interval(outcomes + s * 500, 500, (uint64_t) s, &low, &high);
			holds += low <= 0.9 && high >= 0.9;
		}
		CHECK(holds >= 88, "%d of 100 intervals hold the truth", holds);
	}
	CHECK(strcmp(lat_metric_name(LAT_CLASSIFY, true), "accuracy") == 0 &&
		  strcmp(lat_metric_name(LAT_SPAN, true), "f1") == 0 &&
		  strcmp(lat_metric_name(LAT_TAG, true), "f1") == 0 &&
		  strcmp(lat_metric_name(LAT_TAG, false), "agreement") == 0 &&
		  strcmp(lat_metric_name(LAT_EMBED, true), "agreement") == 0, "names of metrics");
}

int
main(int argc, char **argv)
{
	static const char *const names[] = {
		"tiny-classify", "tiny-span", "tiny-tag", "tiny-embed", "tiny-electra", "tiny-distilbert"
	};

	if (argc != 2)
		return 2;
	test_host_init(&test);
	test_answers(argv[1]);
	test_quality();
	test_refused(argv[1]);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		test_model(argv[1], names[i], LAT_FP32);
		test_model(argv[1], names[i], LAT_INT8);
	}
	return check_done("evaluate_test");
}
