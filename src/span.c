/*
 * span.c
 *	  Extractive answers: lat_answer_span, lat_answer.
 *
 * The context is read whole, whatever its length: windows slide over it inside
 * the core.  The memo is keyed by the two texts' bytes, since the same tokens
 * may stand at other places in another text.
 */
#include "postgres.h"

#include "call.h"
#include "funcapi.h"
#include "memo.h"
#include "portability/instr_time.h"

PG_FUNCTION_INFO_V1(lat_answer_span);
PG_FUNCTION_INFO_V1(lat_answer);

static const CallRequest span_request = {.task = "span",.budget = 2,.model = 3};

/* Tokenize both texts and let the core slide its windows. */
static void
search_answer(Call *call, CallText *question, CallText *context, LatSpan *span)
{
	LatError	error;
	instr_time	start;
	instr_time	duration;
	CallCounts	counts = {.rows = 1};

	/* One token more than is read, so that the core sees whether it cuts. */
	call_tokenize(call, question, LAT_SPAN_QUESTION + 1);
	call_tokenize(call, context, LAT_ALL_TOKENS);
	INSTR_TIME_SET_CURRENT(start);
	core_check(lat_answer_question(call->engine, call->model, &question->tokens,
								   &context->tokens, call->lengths, call->reference_length,
								   span, &error), &error);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);

	counts.tokens_in = span->tokens_in;
	counts.tokens_kept = span->tokens_kept;
	counts.truncated = span->truncated ? 1 : 0;
	counts.multiply_adds = span->multiply_adds;
	counts.milliseconds = INSTR_TIME_GET_MILLISEC(duration);
	model_cache_count(call->digest, call->precision, &counts);
}

/* The same, out of the memo if these were the texts of a recent call. */
static void
find_answer(Call *call, CallText *question, CallText *context, LatSpan *span)
{
	size_t		lengths = call->lengths ? sizeof(int32) * call->model->config.layers : 0;
	int32		reference_length = call->lengths ? call->reference_length : 0;
	MemoKey		key;
	const void *known;

	call_read_whole(question);
	call_read_whole(context);
	memo_begin_key(&key, call, 's', sizeof(int32) + lengths + sizeof(size_t)
				   + question->size + context->size);
	memo_append(&key, &reference_length, sizeof(int32));
	if (lengths)
		memo_append(&key, call->lengths, lengths);
	memo_append(&key, &question->size, sizeof(size_t));
	memo_append(&key, question->bytes, question->size);
	memo_append(&key, context->bytes, context->size);

	known = memo_find(&key, sizeof(LatSpan));
	if (known)
		memcpy(span, known, sizeof(LatSpan));
	else
	{
		search_answer(call, question, context, span);
		memo_keep(&key, span, sizeof(LatSpan));
	}
}

/* Both ends of the answer; false: the context has no token. */
static bool
answer_arguments(Call *call, FunctionCallInfo fcinfo, LatSpan *span, TextCursor *start,
				 TextCursor *stop)
{
	CallText	question = {.datum = PG_GETARG_DATUM(0)};
	CallText   *context = palloc0(sizeof(CallText));

	context->datum = PG_GETARG_DATUM(1);
	find_answer(call, &question, context, span);
	if (!span->found)
		return false;
	cursor_begin(start, context);
	cursor_move(start, span->start);
	*stop = *start;
	cursor_move(stop, span->stop);
	return true;
}

Datum
lat_answer_span(PG_FUNCTION_ARGS)
{
	Call		call;
	LatSpan		span;
	TextCursor	start;
	TextCursor	stop;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};
	HeapTuple	row = NULL;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	call_begin(&call, fcinfo, &span_request);
	if (answer_arguments(&call, fcinfo, &span, &start, &stop))
	{
		values[0] = PointerGetDatum(cut_text(&start, &stop));
		values[1] = Int32GetDatum(start.character + 1);
		values[2] = Int32GetDatum(stop.character);
		values[3] = Float4GetDatum(span.score);
		MemoryContextSwitchTo(call.caller);
		row = heap_form_tuple(call_row_type(&call, fcinfo), values, nulls);
	}
	call_end(&call);
	if (row == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(HeapTupleGetDatum(row));
}

Datum
lat_answer(PG_FUNCTION_ARGS)
{
	Call		call;
	LatSpan		span;
	TextCursor	start;
	TextCursor	stop;
	text	   *answer = NULL;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	call_begin(&call, fcinfo, &span_request);
	if (answer_arguments(&call, fcinfo, &span, &start, &stop))
	{
		MemoryContextSwitchTo(call.caller);
		answer = cut_text(&start, &stop);
	}
	call_end(&call);
	if (answer == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(answer);
}
