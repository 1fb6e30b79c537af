/*
 * examples_test.c
 *	  Records of examples: what is written is read, and whatever does not fit the model is refused.
 */
#include "check.h"
#include "checkpoint.h"
#include "core/examples.h"
#include "core/random.h"

#define RECORDS 3
#define T 7

static TestHost test;

/* Records in a block of exactly their size, so that a sanitizer sees a read beyond. */
typedef struct Records
{
	LatRecordKind kind;
	size_t		starts[RECORDS];
	size_t		size;
	int32_t    *bytes;
} Records;

static LatStatus
index_records(const LatModel *model, const Records *records, size_t size, int32_t room,
			  LatExamples *examples, LatError *error)
{
	static uint64_t offsets[RECORDS];

	*examples = (LatExamples) {
		.kind = records->kind,.bytes = records->bytes,.size = size,.offsets = offsets
	};
	return lat_examples_index(&test.host, model, examples, room, error);
}

static const int32_t some_ids[T] = {2, 5, 6, 3, 7, 8, 3};
static const int32_t some_labels[T] = {-1, 0, 1, -1, 2, 0, -1};

/* Three examples of 7, 1 and 5 tokens. */
static Records
make_examples(bool tags)
{
	const LatExample examples[RECORDS] = {
		{T, 4, {1, 1}, some_ids, tags ? some_labels : NULL},
		{1, 1, {0, 0}, some_ids + 1, tags ? some_labels + 1 : NULL},
		{5, 5, {0, 4}, some_ids + 2, tags ? some_labels + 2 : NULL}
	};
	Records		records = {.kind = LAT_RECORD_EXAMPLE};

	for (int i = 0; i < RECORDS; i++)
	{
		records.starts[i] = records.size / 4;
		records.size += lat_example_size(&examples[i]);
	}
	records.bytes = malloc(records.size);
	memset(records.bytes, 0xee, records.size);
	for (int i = 0; i < RECORDS; i++)
		lat_example_write(&examples[i], records.bytes + records.starts[i]);
	return records;
}

static Records
make_questions(void)
{
	const LatQuestion questions[RECORDS] = {
		{0, 3, "Who?", 4, "Zoë did.", 9},	/* the answer has a character of two bytes */
		{-1, 0, "", 0, "x", 1},
		{0, 0, "Häh?", 5, "", 0}
	};
	Records		records = {.kind = LAT_RECORD_QUESTION};

	for (int i = 0; i < RECORDS; i++)
	{
		records.starts[i] = records.size / 4;
		records.size += lat_question_size(&questions[i]);
	}
	records.bytes = malloc(records.size);
	memset(records.bytes, 0xee, records.size);
	for (int i = 0; i < RECORDS; i++)
		lat_question_write(&questions[i], records.bytes + records.starts[i]);
	return records;
}

/* ---- round trips -------------------------------------------------------------------------- */

static void
test_examples(const LatModel *model, const char *name)
{
	bool		tags = model->config.task == LAT_TAG;
	Records		records = make_examples(tags);
	LatExamples examples;
	LatExample	example;
	LatError	error = {"", ""};

	if (!CHECK(index_records(model, &records, records.size, RECORDS, &examples, &error) == LAT_OK,
			   "%s: %s", name, error.message))
		exit(check_done("examples_test"));
	CHECK(examples.count == RECORDS && examples.tags == tags, "%s: all are found", name);
	lat_examples_get(&examples, 0, &example);
	CHECK(example.tokens == T && example.first == 4 && example.target[0] == 1 &&
		  example.target[1] == 1 && memcmp(example.ids, some_ids, sizeof(some_ids)) == 0,
		  "%s: the first is read as written", name);
	CHECK(tags ? memcmp(example.labels, some_labels, sizeof(some_labels)) == 0
		  : example.labels == NULL, "%s: and its labels", name);
	lat_examples_get(&examples, 2, &example);
	CHECK(example.tokens == 5 && example.first == 5 && example.target[1] == 4 &&
		  memcmp(example.ids, some_ids + 2, 5 * 4) == 0, "%s: the last is read as written", name);
	lat_examples_target(&examples, 2)[0] = 1;
	lat_examples_get(&examples, 2, &example);
	CHECK(example.target[0] == 1, "%s: targets can be filled in", name);
	if (tags)
	{
		lat_examples_labels(&examples, 2)[1] = 1;
		lat_examples_get(&examples, 2, &example);
		CHECK(example.labels[1] == 1 && example.labels[0] == some_labels[2],
			  "labels can be filled in");
	}
	free(records.bytes);
}

static void
test_questions(const LatModel *model)
{
	Records		records = make_questions();
	LatExamples examples;
	LatQuestion question;
	LatError	error = {"", ""};

	if (!CHECK(index_records(model, &records, records.size, RECORDS, &examples, &error) == LAT_OK,
			   "questions: %s", error.message))
		exit(check_done("examples_test"));
	lat_questions_get(&examples, 0, &question);
	CHECK(question.start == 0 && question.stop == 3 && question.question_bytes == 4 &&
		  question.context_bytes == 9 && memcmp(question.question, "Who?", 4) == 0 &&
		  memcmp(question.context, "Zoë did.", 9) == 0, "a question is read as written");
	lat_questions_get(&examples, 1, &question);
	CHECK(question.start == -1 && question.question_bytes == 0 && question.context_bytes == 1 &&
		  question.context[0] == 'x', "an unknown answer, an empty question");
	lat_questions_get(&examples, 2, &question);
	CHECK(question.question_bytes == 5 && question.context_bytes == 0, "an empty context");
	lat_examples_target(&examples, 1)[1] = 1;
	lat_questions_get(&examples, 1, &question);
	CHECK(question.stop == 1, "answers can be filled in");
	free(records.bytes);
}

/* ---- what is refused ---------------------------------------------------------------------- */

/* With this field at this value the records are refused (or taken). */
static void
try_field(const LatModel *model, const Records *records, size_t field, int32_t value,
		  const char *message)
{
	int32_t		before = records->bytes[field];
	LatExamples examples;
	LatError	error = {"", ""};
	LatStatus	status;

	records->bytes[field] = value;
	status = index_records(model, records, records->size, RECORDS, &examples, &error);
	if (message)
		CHECK(status == LAT_BAD_MODEL && strstr(error.message, message),
			  "field %zu at %d: %d, \"%s\"", field, value, status, error.message);
	else
		CHECK(status == LAT_OK, "field %zu at %d: \"%s\"", field, value, error.message);
	records->bytes[field] = before;
}

static void
test_fields(const LatModel *classify, const LatModel *span, const LatModel *tag)
{
	Records		plain = make_examples(false);
	Records		tags = make_examples(true);
	Records		questions = make_questions();
	size_t		last = plain.starts[2];

	try_field(classify, &plain, last, 0, "number of tokens");
	try_field(classify, &plain, last, -5, "number of tokens");
	try_field(classify, &plain, last, classify->config.positions + 1, "number of tokens");
	try_field(classify, &plain, last, 6, "cut off");
	try_field(classify, &plain, last, 4, "first text");
	try_field(classify, &plain, last + 1, 0, "first text");
	try_field(classify, &plain, last + 1, 6, "first text");
	try_field(classify, &plain, last + 2, classify->config.labels, "no such class");
	try_field(classify, &plain, last + 2, -2, "no such class");
	try_field(classify, &plain, last + 2, -1, NULL);
	try_field(classify, &plain, last + 4, -1, "vocabulary");
	try_field(classify, &plain, last + 8, classify->config.vocabulary, "vocabulary");
	try_field(classify, &plain, last + 8, classify->config.vocabulary - 1, NULL);

	try_field(span, &plain, last + 2, -1, "answer");
	try_field(span, &plain, last + 2, 5, "answer");
	try_field(span, &plain, last + 3, 5, "answer");
	try_field(span, &plain, 3, 0, "answer");
	try_field(span, &plain, 3, T - 1, NULL);

	try_field(tag, &tags, tags.starts[2] + 9, -2, "no such label");
	try_field(tag, &tags, tags.starts[2] + 13, tag->config.labels, "no such label");
	try_field(tag, &tags, tags.starts[2] + 13, tag->config.labels - 1, NULL);
	try_field(tag, &tags, 2, 1000, NULL);	/* a tagger's target is not looked at */

	try_field(span, &questions, 0, -2, "answer");
	try_field(span, &questions, 0, 4, "answer");
	try_field(span, &questions, 1, 8, NULL);
	try_field(span, &questions, 1, 9, "answer");	/* characters, not bytes */
	try_field(span, &questions, 2, -1, "negative");
	try_field(span, &questions, 3, -1, "negative");
	try_field(span, &questions, 2, INT32_MAX, "cut off");
	try_field(span, &questions, 3, INT32_MAX, "cut off");
	try_field(span, &questions, 4, 0x6f6857ff, "UTF-8");
	try_field(span, &questions, questions.starts[2] + 5, 0, NULL);
	try_field(span, &questions, questions.starts[2] + 4, (int32_t) 0xc3c34848, "UTF-8");
	free(plain.bytes);
	free(tags.bytes);
	free(questions.bytes);
}

static void
test_sizes(const LatModel *model, const LatModel *span)
{
	Records		records = make_examples(false);
	Records		questions = make_questions();
	LatExamples examples;
	LatError	error;

	for (size_t size = 1; size < records.size; size++)
	{
		bool		whole = size == records.starts[1] * 4 || size == records.starts[2] * 4;
		Records		cut = records;

		cut.bytes = malloc(size);
		memcpy(cut.bytes, records.bytes, size);
		CHECK((index_records(model, &cut, size, RECORDS, &examples, &error) == LAT_OK) == whole,
			  "records cut at byte %zu", size);
		free(cut.bytes);
	}
	CHECK(index_records(model, &records, 0, RECORDS, &examples, &error) == LAT_OK &&
		  examples.count == 0, "no records are no error");
	CHECK(index_records(model, &records, records.size, RECORDS - 1, &examples, &error) ==
		  LAT_BAD_MODEL, "more records than there is room for");
	CHECK(index_records(model, &questions, questions.size, RECORDS, &examples, &error) ==
		  LAT_BAD_MODEL, "questions for a classifier");
	CHECK(index_records(span, &questions, questions.size, RECORDS, &examples, &error) == LAT_OK,
		  "questions for a span model");
	free(records.bytes);
	free(questions.bytes);
}

/* Whatever passes can be read without leaving the block. */
static void
test_mutations(const LatModel *model, Records (*make) (void))
{
	LatRandom	random = lat_random(1, 2, 3, 4, 5);
	int			passed = 0;
	int64_t		sum = 0;

	for (uint32_t round = 0; round < 20000; round++)
	{
		Records		records = make();
		uint8_t    *bytes = (uint8_t *) records.bytes;
		LatExamples examples;
		LatError	error;

		for (uint32_t i = 0; i < 2; i++)
			bytes[lat_random_below(random, 4 * round + i, (uint32_t) records.size)] =
				(uint8_t) lat_random_bits(random, 4 * round + 2 + i);
		if (index_records(model, &records, records.size, RECORDS, &examples, &error) == LAT_OK)
		{
			passed++;
			for (int32_t i = 0; i < examples.count && records.kind == LAT_RECORD_EXAMPLE; i++)
			{
				LatExample	example;

				lat_examples_get(&examples, i, &example);
				for (int32_t t = 0; t < example.tokens; t++)
					sum += example.ids[t] < model->config.vocabulary;
			}
			for (int32_t i = 0; i < examples.count && records.kind == LAT_RECORD_QUESTION; i++)
			{
				LatQuestion question;

				lat_questions_get(&examples, i, &question);
				for (size_t t = 0; t < question.context_bytes; t++)
					sum += question.context[t] != 'x';
			}
		}
		free(records.bytes);
	}
	CHECK(passed > 100 && passed < 19900 && sum > 0, "%d of 20,000 damaged blocks pass", passed);
}

static Records
make_plain_examples(void)
{
	return make_examples(false);
}

static void
test_interrupt(const LatModel *model)
{
	Records		records = make_plain_examples();
	LatExamples examples;
	LatError	error;

	test.interrupt_at = 1;
	CHECK(index_records(model, &records, records.size, RECORDS, &examples,
						&error) == LAT_INTERRUPTED, "%s", error.message);
	test.interrupt_at = -1;
	free(records.bytes);
}

int
main(void)
{
	static const char *const names[] = {"classify", "span", "tag", "embed", "distilbert"};
	LatModel	models[5];

	test_host_init(&test);
	for (int i = 0; i < 5; i++)
	{
		checkpoint_open(&test, names[i], LAT_INT8, &models[i]);
		test_examples(&models[i], names[i]);
	}
	test_questions(&models[1]);
	test_fields(&models[0], &models[1], &models[2]);
	test_sizes(&models[0], &models[1]);
	test_mutations(&models[0], make_plain_examples);
	test_mutations(&models[1], make_questions);
	test_interrupt(&models[0]);
	for (int i = 0; i < 5; i++)
		free((void *) models[i].image);
	CHECK(test.live == 0, "nothing leaks");
	return check_done("examples_test");
}
