/*
 * run_records.c
 *	  Rows of a data query become records of the core (core/examples.c).
 *
 *		text, pair		tokens, cut at max_tokens, with [CLS] and [SEP]	LatExample
 *		words			each tokenized by itself; the first subword of a word bears its
 *						label, the others none					LatExample
 *		question		question, context and the answer's place in characters	LatQuestion
 *
 * A question is kept whole, for evaluation reads it so; for training it is cut
 * into windows later (record_cut_windows), as lat_answer_question cuts it.  A
 * window that does not hold the whole answer points to [CLS].
 *
 * Labels are numbered as they appear; who stores the records renumbers them.
 */
#include "postgres.h"

#include "call.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "miscadmin.h"
#include "run_records.h"
#include "settings.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define MAX_LABEL_BYTES 255
#define USABLE SKIP_COUNT		/* no reason to skip */

struct RecordMaker
{
	RunRows    *rows;
	MemoryContext context;		/* of one row */
	Call		call;			/* its host and model, for call_text.c */
	bytea	   *record;			/* of the row, if it is usable */
};

/* ---- labels ------------------------------------------------------------------------------- */

typedef struct LabelEntry
{
	char		name[MAX_LABEL_BYTES + 1];
	int32		place;
} LabelEntry;

RunLabels *
run_labels_create(void)
{
	RunLabels  *labels = palloc0(sizeof(RunLabels));
	HASHCTL		control = {0};

	labels->context = CurrentMemoryContext;
	labels->capacity = 16;
	labels->names = palloc(labels->capacity * sizeof(char *));
	labels->rows = palloc(labels->capacity * sizeof(int64));
	control.keysize = MAX_LABEL_BYTES + 1;
	control.entrysize = sizeof(LabelEntry);
	control.hcxt = CurrentMemoryContext;
	labels->index = hash_create("lat labels", 64, &control,
								HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	return labels;
}

static int32
append_label(RunLabels *labels, const char *name)
{
	if (labels->count == LAT_MAX_LABELS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are more than %d different labels", LAT_MAX_LABELS),
				 errhint("Is the column that holds labels in its place?")));
	if (labels->count == labels->capacity)
	{
		labels->capacity *= 2;
		labels->names = repalloc(labels->names, labels->capacity * sizeof(char *));
		labels->rows = repalloc(labels->rows, labels->capacity * sizeof(int64));
	}
	labels->names[labels->count] = MemoryContextStrdup(labels->context, name);
	labels->rows[labels->count] = 0;
	return labels->count++;
}

/* Place of a label, entered if it is new; -1 if that may not be. */
static int32
find_label(RunLabels *labels, const char *name)
{
	LabelEntry *entry;
	bool		found;

	if (strlen(name) > MAX_LABEL_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a label has %zu bytes, more than %d", strlen(name), MAX_LABEL_BYTES),
				 errhint("Is the column that holds labels in its place?")));
	entry = hash_search(labels->index, name, labels->fixed ? HASH_FIND : HASH_ENTER, &found);
	if (!found)
	{
		if (labels->fixed)
			return -1;
		entry->place = append_label(labels, name);
	}
	labels->rows[entry->place]++;
	return entry->place;
}

RunLabels *
run_labels_of_model(const LatModel *model)
{
	RunLabels  *labels = run_labels_create();
	int			i;

	for (i = 0; i < model->config.labels; i++)
	{
		size_t		bytes;
		const char *name = lat_label_text(model, i, &bytes);

		(void) find_label(labels, pnstrdup(name, bytes));
		labels->rows[i] = 0;
	}
	labels->fixed = true;
	return labels;
}

typedef struct NamedPlace
{
	char	   *name;
	int32		place;
} NamedPlace;

static int
compare_names(const void *a, const void *b)
{
	return strcmp(((const NamedPlace *) a)->name, ((const NamedPlace *) b)->name);
}

char	  **
run_labels_sort(const RunLabels *labels, int32 *renumber)
{
	NamedPlace *sorted = palloc(Max(labels->count, 1) * sizeof(NamedPlace));
	char	  **names = palloc(Max(labels->count, 1) * sizeof(char *));
	int32		i;

	for (i = 0; i < labels->count; i++)
		sorted[i] = (NamedPlace) {labels->names[i], i};
	qsort(sorted, labels->count, sizeof(NamedPlace), compare_names);
	for (i = 0; i < labels->count; i++)
	{
		names[i] = sorted[i].name;
		renumber[sorted[i].place] = i;
	}
	return names;
}

/* ---- texts -------------------------------------------------------------------------------- */

/* A text as UTF-8, null-terminated; ERROR if it is none. */
static char *
utf8_of(Datum value)
{
	char	   *stored = TextDatumGetCString(value);
	char	   *utf8;

	utf8 = (char *) pg_do_encoding_conversion((unsigned char *) stored, strlen(stored),
											  GetDatabaseEncoding(), PG_UTF8);
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		(void) pg_verify_mbstr(PG_UTF8, utf8, strlen(utf8), false);
	return utf8;
}

/* Code points of UTF-8 text. */
static int32
count_code_points(const char *utf8, size_t bytes)
{
	int32		count = 0;
	size_t		i;

	for (i = 0; i < bytes; i++)
		count += ((unsigned char) utf8[i] & 0xc0) != 0x80;
	return count;
}

/* False if the text holds nothing that makes a token. */
static bool
has_tokens(RecordMaker *maker, const char *utf8)
{
	LatTokens	tokens = {0};
	LatError	error;

	core_check(lat_tokenize_text(&maker->call.host, maker->call.model, utf8, strlen(utf8), false,
								 1, &tokens, &error), &error);
	return tokens.count > 0;
}

/* ---- records ------------------------------------------------------------------------------ */

/* Room for a record, which is 4-byte aligned there. */
static void *
new_record(RecordMaker *maker, size_t bytes)
{
	if (bytes > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a row of the query is too large"),
				 errhint("Cut its texts into pieces of some megabytes.")));
	maker->record = palloc(VARHDRSZ + bytes);
	SET_VARSIZE(maker->record, VARHDRSZ + bytes);
	return VARDATA(maker->record);
}

/* The example of an input; labels: (T) or NULL. */
static void
make_example(RecordMaker *maker, const LatInput *input, int32 class, const int32 *labels)
{
	LatExample	example = {.tokens = input->tokens,.target = {class, 0},.ids = input->ids,
	.labels = labels};

	while (example.first < input->tokens && input->segments[example.first] == 0)
		example.first++;
	lat_example_write(&example, new_record(maker, lat_example_size(&example)));
	maker->rows->truncated += input->truncated;
}

/* Labels (T) of a text that a tagger is to label itself: any where a word begins, else none. */
static int32 *
words_of(const LatTokens *tokens, const LatInput *input)
{
	int32	   *labels = palloc(input->tokens * sizeof(int32));
	int			i;

	for (i = 0; i < input->tokens; i++)
		labels[i] = input->sources[i] >= 0 && tokens->word_starts[input->sources[i]] ? 0 : -1;
	return labels;
}

/* Text or pair, and the label in the column after it, if there is one. */
static RunSkip
make_text(RecordMaker *maker, const Datum *values, int texts, bool labelled)
{
	CallText	columns[2];
	LatInput	input;
	int32		class = -1;
	int			i;

	memset(columns, 0, sizeof(columns));
	for (i = 0; i < texts; i++)
		columns[i].datum = values[i];
	call_build_input_within(&maker->call, &columns[0], texts > 1 ? &columns[1] : NULL,
							maker->rows->reader.max_tokens, &input);
	for (i = 0; i < texts; i++)
	{
		if (columns[i].tokens.count == 0)
			return SKIP_EMPTY;
	}
	if (labelled)
	{
		char	   *label = utf8_of(values[texts]);

		if (label[0] == '\0')
			return SKIP_EMPTY;
		class = find_label(maker->rows->reader.labels, label);
		if (class < 0)
			return SKIP_UNKNOWN_LABEL;
	}
	make_example(maker, &input, class, !labelled && maker->call.model->config.task == LAT_TAG
				 ? words_of(&columns[0].tokens, &input) : NULL);
	return USABLE;
}

/* Append the tokens of a word to those of the words before it. */
static void
append_word(RecordMaker *maker, const char *word, LatTokens *all, int32 **labels, int32 label)
{
	LatTokens	tokens = {0};
	LatError	error;
	int32		i;

	core_check(lat_tokenize_text(&maker->call.host, maker->call.model, word, strlen(word), false,
								 LAT_ALL_TOKENS, &tokens, &error), &error);
	while (all->count + tokens.count > all->capacity)
	{
		all->capacity = Max(64, 2 * all->capacity);
		all->ids = all->ids ? repalloc_huge(all->ids, all->capacity * sizeof(int32))
			: palloc(all->capacity * sizeof(int32));
		*labels = *labels ? repalloc_huge(*labels, all->capacity * sizeof(int32))
			: palloc(all->capacity * sizeof(int32));
	}
	for (i = 0; i < tokens.count; i++)
	{
		all->ids[all->count] = tokens.ids[i];
		(*labels)[all->count++] = i == 0 ? label : -1;
	}
	lat_tokens_release(&maker->call.host, &tokens);
}

/* Elements of a text[]; false if one is null. */
static bool
take_apart(Datum array, Datum **elements, int *count)
{
	ArrayType  *value = DatumGetArrayTypeP(array);
	bool	   *nulls;
	int16		length;
	bool		by_value;
	char		alignment;
	int			i;

	get_typlenbyvalalign(ARR_ELEMTYPE(value), &length, &by_value, &alignment);
	deconstruct_array(value, ARR_ELEMTYPE(value), length, by_value, alignment,
					  elements, &nulls, count);
	for (i = 0; i < *count; i++)
	{
		if (nulls[i])
			return false;
	}
	return true;
}

static RunSkip
make_words(RecordMaker *maker, const Datum *values)
{
	RunLabels  *set = maker->rows->reader.labels;
	LatTokens	tokens = {.complete = true};
	int32	   *token_labels = NULL;
	int32	   *labels;
	Datum	   *words;
	Datum	   *names;
	char	  **label_names;
	LatInput	input;
	LatError	error;
	int			count;
	int			label_count;
	int			i;

	if (!take_apart(values[0], &words, &count) || !take_apart(values[1], &names, &label_count))
		return SKIP_NULL;
	if (count != label_count)
		return SKIP_LENGTHS;
	label_names = palloc((count + 1) * sizeof(char *));
	for (i = 0; i < count; i++)
	{
		label_names[i] = utf8_of(names[i]);
		if (label_names[i][0] == '\0')
			return SKIP_EMPTY;
	}
	for (i = 0; i < count; i++)
	{
		int32		label = find_label(set, label_names[i]);

		if (label < 0)
			return SKIP_UNKNOWN_LABEL;
		append_word(maker, utf8_of(words[i]), &tokens, &token_labels, label);
	}
	if (tokens.count == 0)
		return SKIP_EMPTY;
	core_check(lat_build_input(&maker->call.host, maker->call.model, &tokens, NULL,
							   maker->rows->reader.max_tokens, &input, &error), &error);
	labels = palloc(input.tokens * sizeof(int32));
	for (i = 0; i < input.tokens; i++)
		labels[i] = input.sources[i] < 0 ? -1 : token_labels[input.sources[i]];
	make_example(maker, &input, -1, labels);
	return USABLE;
}

/*
 * Place of the answer in the context's UTF-8, or NULL.  start counts characters
 * as substring() does: in SQL_ASCII those are bytes.
 */
static const char *
find_answer(Datum context_value, const char *context, const char *answer, int32 start)
{
	size_t		bytes;

	if (start < 1)
		return NULL;
	bytes = strlen(utf8_of(DirectFunctionCall3(text_substr, context_value, Int32GetDatum(1),
											   Int32GetDatum(start - 1))));
	if (bytes > strlen(context) || strncmp(context + bytes, answer, strlen(answer)) != 0)
		return NULL;
	return context + bytes;
}

static RunSkip
make_question(RecordMaker *maker, const Datum *values, const bool *nulls, bool answered)
{
	char	   *question = utf8_of(values[0]);
	char	   *context = utf8_of(values[1]);
	LatQuestion record = {-1, -1, question, strlen(question), context, strlen(context)};

	if (!has_tokens(maker, question) || !has_tokens(maker, context))
		return SKIP_EMPTY;
	if (answered)
	{
		char	   *answer = utf8_of(values[2]);
		const char *place;

		if (!has_tokens(maker, answer))
			return SKIP_EMPTY;
		place = nulls[3] ? strstr(context, answer)
			: find_answer(values[1], context, answer, DatumGetInt32(values[3]));
		if (place == NULL)
			return SKIP_NO_ANSWER;
		record.start = count_code_points(context, place - context);
		record.stop = record.start + count_code_points(answer, strlen(answer));
	}
	lat_question_write(&record, new_record(maker, lat_question_size(&record)));
	return USABLE;
}

static RunSkip
make_record(RecordMaker *maker, const Datum *values, const bool *nulls)
{
	switch (maker->rows->reader.shape)
	{
		case SHAPE_TEXT:
			return nulls[0] ? SKIP_NULL : make_text(maker, values, 1, false);
		case SHAPE_TEXT_LABEL:
			return nulls[0] || nulls[1] ? SKIP_NULL : make_text(maker, values, 1, true);
		case SHAPE_PAIR:
			return nulls[0] || nulls[1] ? SKIP_NULL : make_text(maker, values, 2, false);
		case SHAPE_PAIR_LABEL:
			return nulls[0] || nulls[1] || nulls[2] ? SKIP_NULL
				: make_text(maker, values, 2, true);
		case SHAPE_QUESTION:
			return nulls[0] || nulls[1] ? SKIP_NULL : make_question(maker, values, nulls, false);
		case SHAPE_QUESTION_ANSWER:
			return nulls[0] || nulls[1] || nulls[2] ? SKIP_NULL
				: make_question(maker, values, nulls, true);
		case SHAPE_WORDS_LABELS:
			return nulls[0] || nulls[1] ? SKIP_NULL : make_words(maker, values);
	}
	return SKIP_NULL;
}

RecordMaker *
record_begin(RunRows *rows)
{
	RecordMaker *maker = palloc0(sizeof(RecordMaker));

	maker->rows = rows;
	maker->context = AllocSetContextCreate(CurrentMemoryContext, "lat data row",
										   ALLOCSET_DEFAULT_SIZES);
	host_in_context(&maker->call.host, maker->context);
	return maker;
}

void
record_use_model(RecordMaker *maker, const LatModel *model)
{
	maker->call.model = model;
}

void
record_add(RecordMaker *maker, const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(maker->context);
	RunSkip		skip = make_record(maker, values, nulls);

	if (skip == USABLE)
	{
		Datum		record = PointerGetDatum(maker->record);
		bool		is_null = false;

		tuplestore_putvalues(maker->rows->store, maker->rows->type, &record, &is_null);
		maker->rows->usable++;
	}
	else
		maker->rows->skipped[skip]++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(maker->context);
}

void
record_end(RecordMaker *maker)
{
	MemoryContextDelete(maker->context);
	pfree(maker);
}

/* ---- windows ------------------------------------------------------------------------------ */

/* Tokens of the context that the answer covers; both -1 if there are none. */
static void
find_answer_tokens(const LatQuestion *question, const LatTokens *context, int32 *first,
				   int32 *last)
{
	int32		i;

	*first = *last = -1;
	for (i = 0; i < context->count; i++)
	{
		if (context->stops[i] <= question->start || context->starts[i] >= question->stop)
			continue;
		if (*first < 0)
			*first = i;
		*last = i;
	}
}

int64
record_cut_windows(const LatModel *model, const LatQuestion *question, int32 max_tokens,
				   WindowSink sink, void *arg)
{
	const LatHost *host = host_current();
	LatTokens	asked = {0};
	LatTokens	context = {0};
	LatError	error;
	int32	   *ids = palloc(max_tokens * sizeof(int32));
	int32		question_tokens;
	int32		room;
	int32		first;
	int32		last;
	int32		from = 0;
	int64		windows = 0;

	core_check(lat_tokenize_text(host, model, question->question, question->question_bytes,
								 false, LAT_SPAN_QUESTION, &asked, &error), &error);
	core_check(lat_tokenize_text(host, model, question->context, question->context_bytes,
								 false, LAT_ALL_TOKENS, &context, &error), &error);
	question_tokens = Min(asked.count, Min(LAT_SPAN_QUESTION, max_tokens / 4));
	room = max_tokens - question_tokens - 3;
	find_answer_tokens(question, &context, &first, &last);

	ids[0] = model->config.cls_id;
	memcpy(ids + 1, asked.ids, question_tokens * sizeof(int32));
	ids[question_tokens + 1] = model->config.sep_id;
	for (;;)
	{
		LatExample	window = {.first = question_tokens + 2,.ids = ids};
		int32		taken = Min(room, context.count - from);

		memcpy(ids + window.first, context.ids + from, taken * sizeof(int32));
		ids[window.first + taken] = model->config.sep_id;
		window.tokens = window.first + taken + 1;
		if (first >= from && last < from + taken)
		{
			window.target[0] = window.first + first - from;
			window.target[1] = window.first + last - from;
		}
		sink(arg, &window);
		windows++;
		if (from + taken >= context.count)
			break;
		/* short models have windows shorter than the overlap */
		from += taken - Min(taken / 2, LAT_SPAN_STRIDE);
	}
	lat_tokens_release(host, &asked);
	lat_tokens_release(host, &context);
	pfree(ids);
	return windows;
}
