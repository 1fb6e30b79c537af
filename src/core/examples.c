/*
 * examples.c
 *	  Examples as flat bytes: written by one process, read by all.
 *
 * Records lie end to end in memory that processes share and that is kept with a
 * run, so they hold no pointers.  All fields are 4 bytes, little-endian:
 *
 *	example		offset	meaning
 *					 0	tokens T
 *					 4	first: tokens of segment 0
 *					 8	target[0], target[1]
 *					16	ids (T)
 *			  16 + 4 T	labels (T), for LAT_TAG only
 *
 *	question		 0	start, stop: characters of the answer in the context
 *					 8	bytes of the question
 *					12	bytes of the context
 *					16	question, context, then zeros up to a multiple of 4
 *
 * What was kept may have been kept by another version, or for another model; so
 * indexing believes nothing.  After it, every id is a row of the embeddings, every
 * label a column of the head, every text valid UTF-8, and every answer lies in its
 * context.  That is checked once; getting an example checks nothing.
 */
#include "examples.h"

#include <string.h>

#include "format.h"
#include "text.h"

#define HEADER_FIELDS 4
#define HEADER_BYTES (HEADER_FIELDS * sizeof(int32_t))
#define CHECKED_AT_ONCE 1024	/* records of 512 tokens: a millisecond */

typedef enum ExampleField
{
	EXAMPLE_TOKENS, EXAMPLE_FIRST, EXAMPLE_TARGET
} ExampleField;

typedef enum QuestionField
{
	QUESTION_START, QUESTION_STOP, QUESTION_BYTES, CONTEXT_BYTES
} QuestionField;

/* ---- writing ------------------------------------------------------------------------------ */

size_t
lat_example_size(const LatExample *example)
{
	size_t		columns = example->labels ? 2 : 1;

	return HEADER_BYTES + (size_t) example->tokens * columns * sizeof(int32_t);
}

void
lat_example_write(const LatExample *example, void *to)
{
	int32_t    *fields = to;
	size_t		bytes = (size_t) example->tokens * sizeof(int32_t);

	fields[EXAMPLE_TOKENS] = example->tokens;
	fields[EXAMPLE_FIRST] = example->first;
	fields[EXAMPLE_TARGET] = example->target[0];
	fields[EXAMPLE_TARGET + 1] = example->target[1];
	memcpy(fields + HEADER_FIELDS, example->ids, bytes);
	if (example->labels)
		memcpy(fields + HEADER_FIELDS + example->tokens, example->labels, bytes);
}

size_t
lat_question_size(const LatQuestion *question)
{
	return HEADER_BYTES +
		LAT_ROUND_UP(question->question_bytes + question->context_bytes, sizeof(int32_t));
}

void
lat_question_write(const LatQuestion *question, void *to)
{
	int32_t    *fields = to;
	char	   *texts = (char *) (fields + HEADER_FIELDS);
	size_t		bytes = question->question_bytes + question->context_bytes;

	fields[QUESTION_START] = question->start;
	fields[QUESTION_STOP] = question->stop;
	fields[QUESTION_BYTES] = (int32_t) question->question_bytes;
	fields[CONTEXT_BYTES] = (int32_t) question->context_bytes;
	memcpy(texts, question->question, question->question_bytes);
	memcpy(texts + question->question_bytes, question->context, question->context_bytes);
	memset(texts + bytes, 0, LAT_ROUND_UP(bytes, sizeof(int32_t)) - bytes);
}

/* ---- indexing ----------------------------------------------------------------------------- */

/* Records yet to be indexed. */
typedef struct Reader
{
	const LatConfig *config;
	const int32_t *fields;		/* of the next record */
	size_t		left;			/* bytes from there on */
	int32_t		number;			/* of the next record */
} Reader;

/* True if all n values lie in low .. high; without a branch a value, since there are millions. */
static bool
are_within(const int32_t *values, int32_t n, int32_t low, int32_t high)
{
	uint32_t	outside = 0;

	for (int32_t i = 0; i < n; i++)
		outside |= (uint32_t) (values[i] < low) | (uint32_t) (values[i] > high);
	return outside == 0;
}

static LatStatus
damaged(const Reader *reader, const char *what, LatError *error)
{
	return lat_fail(error, LAT_BAD_MODEL, "example %d does not fit the model: %s",
					reader->number, what);
}

static LatStatus
check_target(const Reader *reader, const int32_t *fields, LatError *error)
{
	int32_t		tokens = fields[EXAMPLE_TOKENS];
	const int32_t *target = fields + EXAMPLE_TARGET;

	if (reader->config->task == LAT_CLASSIFY && !are_within(target, 1, -1,
															reader->config->labels - 1))
		return damaged(reader, "it has no such class", error);
	if (reader->config->task == LAT_SPAN &&
		(target[0] < 0 || target[1] < target[0] || target[1] >= tokens))
		return damaged(reader, "its answer is not among its tokens", error);
	return LAT_OK;
}

/* Check the next record, an example; *size is its size in bytes. */
static LatStatus
check_example(const Reader *reader, size_t *size, LatError *error)
{
	const LatConfig *config = reader->config;
	const int32_t *fields = reader->fields;
	int32_t		tokens = fields[EXAMPLE_TOKENS];
	size_t		columns = config->task == LAT_TAG ? 2 : 1;

	if (tokens < 1 || tokens > config->positions)
		return damaged(reader, "its number of tokens is out of range", error);
	*size = HEADER_BYTES + (size_t) tokens * columns * sizeof(int32_t);
	if (*size > reader->left)
		return damaged(reader, "it is cut off", error);
	if (fields[EXAMPLE_FIRST] < 1 || fields[EXAMPLE_FIRST] > tokens)
		return damaged(reader, "its first text is longer than the whole", error);
	if (!are_within(fields + HEADER_FIELDS, tokens, 0, config->vocabulary - 1))
		return damaged(reader, "a token is not in the vocabulary", error);
	if (columns == 2 &&
		!are_within(fields + HEADER_FIELDS + tokens, tokens, -1, config->labels - 1))
		return damaged(reader, "it has no such label", error);
	return check_target(reader, fields, error);
}

/* Characters of a text; -1 if it is not valid UTF-8. */
static int64_t
count_characters(const uint8_t *at, size_t bytes)
{
	const uint8_t *end = at + bytes;
	int64_t		characters = 0;

	while (at < end)
	{
		uint32_t	character;
		int			length = *at < 0x80 ? 1 : lat_decode_char(at, end, &character);

		if (length <= 0)
			return -1;
		at += length;
		characters++;
	}
	return characters;
}

/* Check the next record, a question; *size is its size in bytes. */
static LatStatus
check_question(const Reader *reader, size_t *size, LatError *error)
{
	const int32_t *fields = reader->fields;
	const uint8_t *texts = (const uint8_t *) (fields + HEADER_FIELDS);
	int64_t		bytes = (int64_t) fields[QUESTION_BYTES] + fields[CONTEXT_BYTES];
	int64_t		characters;

	if (fields[QUESTION_BYTES] < 0 || fields[CONTEXT_BYTES] < 0)
		return damaged(reader, "a text has a negative length", error);
	*size = HEADER_BYTES + LAT_ROUND_UP((size_t) bytes, sizeof(int32_t));
	if (*size > reader->left)
		return damaged(reader, "it is cut off", error);
	characters = count_characters(texts + fields[QUESTION_BYTES], (size_t) fields[CONTEXT_BYTES]);
	if (characters < 0 || count_characters(texts, (size_t) fields[QUESTION_BYTES]) < 0)
		return damaged(reader, "a text is not valid UTF-8", error);
	if (fields[QUESTION_START] != -1 &&
		(fields[QUESTION_START] < 0 || fields[QUESTION_STOP] < fields[QUESTION_START] ||
		 fields[QUESTION_STOP] > characters))
		return damaged(reader, "its answer is not in its context", error);
	return LAT_OK;
}

LatStatus
lat_examples_index(const LatHost *host, const LatModel *model, LatExamples *examples,
				   int32_t room, LatError *error)
{
	bool		questions = examples->kind == LAT_RECORD_QUESTION;
	Reader		reader = {.config = &model->config,.fields = examples->bytes,
	.left = examples->size};
	size_t		record = 0;
	LatStatus	status;

	if (questions && model->config.task != LAT_SPAN)
		return lat_fail(error, LAT_BAD_MODEL, "questions for a model of task \"%s\"",
						lat_task_name((LatTask) model->config.task));
	while (reader.left > 0)
	{
		if (reader.number == room)
			return lat_fail(error, LAT_BAD_MODEL, "there are more than %d examples", room);
		if (reader.left < HEADER_BYTES)
			return damaged(&reader, "it is cut off", error);
		if (reader.number % CHECKED_AT_ONCE == 0 && host->interrupted(host->arg))
			return lat_fail(error, LAT_INTERRUPTED, "interrupted while examples were checked");
		status = questions ? check_question(&reader, &record, error)
			: check_example(&reader, &record, error);
		if (status != LAT_OK)
			return status;
		examples->offsets[reader.number++] = examples->size - reader.left;
		reader.left -= record;
		reader.fields += record / sizeof(int32_t);
	}
	examples->tags = !questions && model->config.task == LAT_TAG;
	examples->count = reader.number;
	return LAT_OK;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int32_t *
record_fields(const LatExamples *examples, int32_t i)
{
	void	   *record = (uint8_t *) examples->bytes + examples->offsets[i];

	return record;
}

void
lat_examples_get(const LatExamples *examples, int32_t i, LatExample *example)
{
	const int32_t *fields = record_fields(examples, i);

	example->tokens = fields[EXAMPLE_TOKENS];
	example->first = fields[EXAMPLE_FIRST];
	example->target[0] = fields[EXAMPLE_TARGET];
	example->target[1] = fields[EXAMPLE_TARGET + 1];
	example->ids = fields + HEADER_FIELDS;
	example->labels = examples->tags ? example->ids + example->tokens : NULL;
}

void
lat_questions_get(const LatExamples *examples, int32_t i, LatQuestion *question)
{
	const int32_t *fields = record_fields(examples, i);

	question->start = fields[QUESTION_START];
	question->stop = fields[QUESTION_STOP];
	question->question_bytes = (size_t) fields[QUESTION_BYTES];
	question->context_bytes = (size_t) fields[CONTEXT_BYTES];
	question->question = (const char *) (fields + HEADER_FIELDS);
	question->context = question->question + question->question_bytes;
}

int32_t *
lat_examples_target(LatExamples *examples, int32_t i)
{
	return record_fields(examples, i) +
		(examples->kind == LAT_RECORD_QUESTION ? QUESTION_START : EXAMPLE_TARGET);
}

int32_t *
lat_examples_labels(LatExamples *examples, int32_t i)
{
	int32_t    *fields = record_fields(examples, i);

	return fields + HEADER_FIELDS + fields[EXAMPLE_TOKENS];
}
