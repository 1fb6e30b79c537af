/*
 * run_query.c
 *	  The data query of a run: checked, run in the caller's session, read to the end.
 *
 *		text --parse--> one SELECT, columns of the shape --cursor--> rows
 *			--run_records.c--> records, in a tuplestore
 *
 * The cursor is read-only and uses the active snapshot, so the query sees what
 * the statement that called us sees.  Rows come in small lots: a row may hold
 * megabytes of text.
 *
 * The query may call anything, lat's own functions included, and those may
 * unmap a model that was replaced meanwhile.  So after each lot the tokenizer's
 * model is asked for anew.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "model_cache.h"
#include "parser/parse_coerce.h"
#include "run_records.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#define ROWS_A_LOT 64

typedef enum ColumnKind
{
	COLUMN_TEXT,
	COLUMN_TEXTS,				/* text[] */
	COLUMN_INT
} ColumnKind;

/* The columns of a shape. */
typedef struct ShapeColumns
{
	int			count;
	const char *description;
	ColumnKind	kinds[RECORD_COLUMNS];
	const char *names[RECORD_COLUMNS];
} ShapeColumns;

static const ShapeColumns shapes[] = {
	[SHAPE_TEXT] = {1, "text", {COLUMN_TEXT}, {"text"}},
	[SHAPE_TEXT_LABEL] = {2, "text, label", {COLUMN_TEXT, COLUMN_TEXT}, {"text", "label"}},
	[SHAPE_PAIR] = {2, "first text, second text", {COLUMN_TEXT, COLUMN_TEXT},
	{"first text", "second text"}},
	[SHAPE_PAIR_LABEL] = {3, "first text, second text, label",
		{COLUMN_TEXT, COLUMN_TEXT, COLUMN_TEXT},
	{"first text", "second text", "label"}},
	[SHAPE_QUESTION] = {2, "question, context", {COLUMN_TEXT, COLUMN_TEXT},
	{"question", "context"}},
	[SHAPE_QUESTION_ANSWER] = {4, "question, context, answer, start of the answer (integer, "
		"counted from 1, or NULL for its first occurrence)",
		{COLUMN_TEXT, COLUMN_TEXT, COLUMN_TEXT, COLUMN_INT},
	{"question", "context", "answer", "start of the answer"}},
	[SHAPE_WORDS_LABELS] = {2, "words (text[]), their labels (text[])",
		{COLUMN_TEXTS, COLUMN_TEXTS},
	{"words", "labels"}},
};

/* ---- checks ------------------------------------------------------------------------------- */

static void __attribute__((noreturn))
report_not_select(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("the %s query must be one SELECT that changes nothing", name),
			 errdetail_internal("%s", detail),
			 errhint("SELECT, VALUES, TABLE, and WITH that leads to one of these will do.")));
}

/* One statement, which reads. */
static CachedPlanSource *
check_statement(SPIPlanPtr plan, const char *name)
{
	List	   *sources = SPI_plan_get_plan_sources(plan);
	CachedPlanSource *source;
	Query	   *query;

	if (list_length(sources) != 1)
		report_not_select(name, psprintf("It has %d statements.", list_length(sources)));
	source = linitial(sources);
	if (list_length(source->query_list) != 1)
		report_not_select(name, "A rule makes several statements of it.");
	query = linitial_node(Query, source->query_list);
	if (query->commandType != CMD_SELECT)
		report_not_select(name, "It is another command.");
	if (query->hasModifyingCTE)
		report_not_select(name, "One of its WITH clauses changes data.");
	if (query->rowMarks != NIL)
		report_not_select(name, "It locks rows.");
	return source;
}

static bool
is_text(Oid type)
{
	return IsBinaryCoercible(type, TEXTOID);
}

static bool
fits(Oid type, ColumnKind kind)
{
	Oid			element;

	switch (kind)
	{
		case COLUMN_TEXT:
			return is_text(type);
		case COLUMN_TEXTS:
			element = get_element_type(getBaseType(type));
			return OidIsValid(element) && is_text(element);
		case COLUMN_INT:
			return getBaseType(type) == INT4OID;
	}
	return false;
}

static void
check_columns(TupleDesc row, const char *name, const ShapeColumns *shape)
{
	static const char *const type_names[] = {"text", "text[]", "integer"};
	int			i;

	if (row->natts != shape->count)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the number of columns of the %s query is %d, not %d",
						name, row->natts, shape->count),
				 errhint("Its columns are, by position: %s.", shape->description)));
	for (i = 0; i < row->natts; i++)
	{
		Oid			type = TupleDescAttr(row, i)->atttypid;
		const char *wanted = type_names[shape->kinds[i]];

		if (!fits(type, shape->kinds[i]))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column %d of the %s query, %s, is of type %s, not %s", i + 1, name,
							shape->names[i], format_type_be(type), wanted),
					 errhint("Cast it, as in CAST(%s AS %s).",
							 quote_identifier(NameStr(TupleDescAttr(row, i)->attname)),
							 wanted)));
	}
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Where an error happened. */
typedef struct Place
{
	const char *query;			/* "data" or "dev" */
	int64		row;			/* from 1; 0: between rows */
} Place;

static void
add_place(void *arg)
{
	Place	   *place = arg;

	if (place->row > 0)
		errcontext("row %lld of the %s query", (long long) place->row, place->query);
	else
		errcontext("%s query", place->query);
}

static void
read_lot(RunRows *rows, RecordMaker *maker, Place *place)
{
	uint64		i;
	int			c;

	for (i = 0; i < SPI_processed; i++)
	{
		Datum		values[RECORD_COLUMNS];
		bool		nulls[RECORD_COLUMNS];

		CHECK_FOR_INTERRUPTS();
		place->row = ++rows->read;
		for (c = 0; c < SPI_tuptable->tupdesc->natts; c++)
			values[c] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, c + 1,
									  &nulls[c]);
		record_add(maker, values, nulls);
	}
	place->row = 0;
}

static void
read_all(Portal cursor, RunRows *rows, Place *place)
{
	RecordMaker *maker = record_begin(rows);

	for (;;)
	{
		SPI_cursor_fetch(cursor, true, ROWS_A_LOT);
		if (SPI_processed == 0)
			break;
		record_use_model(maker, model_cache_get(rows->reader.digest, LAT_INT8));
		read_lot(rows, maker, place);
		SPI_freetuptable(SPI_tuptable);
	}
	record_end(maker);
}

RunRows *
run_rows_read(const char *query, const RunReader *reader)
{
	const ShapeColumns *shape = &shapes[reader->shape];
	RunRows    *rows = palloc0(sizeof(RunRows));
	Place		place = {reader->name, 0};
	ErrorContextCallback context = {.callback = add_place,.arg = &place};
	SPIPlanPtr	plan;
	Portal		cursor;

	rows->reader = *reader;
	rows->type = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(rows->type, 1, "record", BYTEAOID, -1, 0);
	rows->store = tuplestore_begin_heap(false, false, work_mem);

	context.previous = error_context_stack;
	error_context_stack = &context;
	SPI_connect();
	plan = SPI_prepare(query, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	check_columns(check_statement(plan, reader->name)->resultDesc, reader->name, shape);
	cursor = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	read_all(cursor, rows, &place);
	SPI_cursor_close(cursor);
	SPI_freeplan(plan);
	SPI_finish();
	error_context_stack = context.previous;
	return rows;
}

/* The tuplestore may have spilled: files that nobody closes are complained of at commit. */
void
run_rows_free(RunRows *rows)
{
	tuplestore_end(rows->store);
	pfree(rows);
}

/* ---- report ------------------------------------------------------------------------------- */

static const char *const skip_reasons[] = {
	[SKIP_NULL] = "with a null",
	[SKIP_EMPTY] = "with an empty text or label",
	[SKIP_NO_ANSWER] = "whose answer is not in the context, or not at its start",
	[SKIP_LENGTHS] = "with more words than labels, or fewer",
	[SKIP_UNKNOWN_LABEL] = "with an unknown label",
};

void
run_rows_report(const RunRows *rows)
{
	StringInfoData reasons;
	int64		skipped = 0;
	int			i;

	initStringInfo(&reasons);
	for (i = 0; i < SKIP_COUNT; i++)
	{
		if (rows->skipped[i] == 0)
			continue;
		appendStringInfo(&reasons, "%s%lld %s", skipped ? ", " : "",
						 (long long) rows->skipped[i], skip_reasons[i]);
		skipped += rows->skipped[i];
	}
	if (skipped > 0)
		ereport(NOTICE,
				(errmsg("rows of the %s query that are left out: %lld of %lld",
						rows->reader.name, (long long) skipped, (long long) rows->read),
				 errdetail_internal("%s.", reasons.data)));
}
