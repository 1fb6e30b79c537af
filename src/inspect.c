/*
 * inspect.c
 *	  What a model sees and does: lat_tokenize, lat_logits, lat_trace.
 *
 * lat_logits and lat_trace compute every layer in full width, as the paper
 * describes it, where scoring leaves out what its head never reads.  Lengths
 * given by hand are absolute token counts, clipped to the tokens there are.
 */
#include "postgres.h"

#include "call.h"
#include "catalog/pg_type.h"
#include "result_rows.h"

/* Rounding of a sum of products may put a fraction this much above the limit. */
#define FRACTION_SLACK 1e-9

PG_FUNCTION_INFO_V1(lat_tokenize);
PG_FUNCTION_INFO_V1(lat_logits);
PG_FUNCTION_INFO_V1(lat_trace);

/* ---- tokens ------------------------------------------------------------------------------- */

/* One row a token of the input; its positions count characters of the text that it is from. */
static void
put_tokens(const Call *call, const CallText *first, const CallText *second,
		   const LatInput *input, ResultRows *rows)
{
	TextCursor	starts[2];

	cursor_begin(&starts[0], first);
	cursor_begin(&starts[1], second);
	for (int32 i = 0; i < input->tokens; i++)
	{
		int			which = input->segments[i];
		int32		source = input->sources[i];
		size_t		bytes;
		const char *token = lat_token_text(call->model, input->ids[i], &bytes);
		Datum		values[6] = {0};
		bool		nulls[6] = {false, false, false, false, true, true};

		values[0] = Int32GetDatum(i);
		values[1] = Int32GetDatum(which);
		values[2] = Int32GetDatum(input->ids[i]);
		values[3] = PointerGetDatum(text_from_utf8(token, bytes));
		if (source >= 0)
		{
			const LatTokens *tokens = &starts[which].text->tokens;
			TextCursor	stop;

			cursor_move(&starts[which], tokens->starts[source]);
			stop = starts[which];
			cursor_move(&stop, tokens->stops[source]);
			values[4] = Int32GetDatum(starts[which].character + 1);
			values[5] = Int32GetDatum(stop.character);
			nulls[4] = nulls[5] = false;
		}
		result_put(rows, values, nulls);
	}
}

Datum
lat_tokenize(PG_FUNCTION_ARGS)
{
	static const CallRequest request = {.task = NULL,.budget = -1,.model = 2,.only_tokens = true};
	CallText	first = {0};
	CallText	second = {0};
	LatInput	input;
	ResultRows	rows;
	Call		call;

	result_begin(fcinfo, &rows);
	if (PG_ARGISNULL(0))
		return (Datum) 0;

	call_begin(&call, fcinfo, &request);
	first.datum = PG_GETARG_DATUM(0);
	if (!PG_ARGISNULL(1))
		second.datum = PG_GETARG_DATUM(1);
	call_build_input(&call, &first, PG_ARGISNULL(1) ? NULL : &second, &input);
	put_tokens(&call, &first, &second, &input, &rows);
	call_end(&call);
	return (Datum) 0;
}

/* ---- logits and traces -------------------------------------------------------------------- */

/* The numbers of an int[] argument, in the call's memory. */
static int32 *
read_lengths(ArrayType *array, int *count)
{
	Datum	   *elements;
	bool	   *nulls;
	int32	   *lengths;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lengths must be a one-dimensional array")));
	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &elements, &nulls, count);
	lengths = palloc(sizeof(int32) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("lengths must not contain nulls")));
		lengths[i] = DatumGetInt32(elements[i]);
	}
	return lengths;
}

/* Lengths given by hand, checked, clipped to T, and within lat.max_budget. */
static const int32_t *
explicit_lengths(const Call *call, ArrayType *array, int32 tokens)
{
	const LatConfig *config = &call->model->config;
	int			count;
	int32	   *lengths = read_lengths(array, &count);
	LatError	error;
	double		fraction;

	core_check(lat_check_lengths(config, lengths, count, &error), &error);
	for (int i = 0; i < count; i++)
		lengths[i] = Min(lengths[i], tokens);
	fraction = lat_cost(config, tokens, lengths, false) / lat_cost(config, tokens, NULL, false);
	if (fraction > setting_max_budget + FRACTION_SLACK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("these lengths spend %.3f of the full computation, "
						"but lat.max_budget is %g",
						fraction, setting_max_budget),
				 errhint("Give smaller lengths, or ask a superuser to raise lat.max_budget.")));
	return lengths;
}

/* Input and lengths out of the arguments (input, pair, lengths, model). */
static void
inspect_arguments(Call *call, FunctionCallInfo fcinfo, CallSequence *sequence)
{
	CallText	first = {.datum = PG_GETARG_DATUM(0)};
	CallText	second = {0};

	if (!PG_ARGISNULL(1))
		second.datum = PG_GETARG_DATUM(1);
	memset(sequence, 0, sizeof(CallSequence));
	call_build_input(call, &first, PG_ARGISNULL(1) ? NULL : &second, &sequence->input);
	if (PG_ARGISNULL(2))
		sequence->lengths = call_lengths(call, sequence->input.tokens);
	else
		sequence->lengths = explicit_lengths(call, PG_GETARG_ARRAYTYPE_P(2),
											 sequence->input.tokens);
}

static const CallRequest inspect_request = {.task = NULL,.budget = -1,.model = 3};

Datum
lat_logits(PG_FUNCTION_ARGS)
{
	Call		call;
	CallSequence sequence;
	const float *output;
	size_t		count;
	ArrayType  *result;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	call_begin(&call, fcinfo, &inspect_request);
	inspect_arguments(&call, fcinfo, &sequence);
	output = call_forward(&call, &sequence, &count);
	if (call.model->config.task == LAT_SPAN)
	{
		/* (T, 2) to all starts, then all stops */
		size_t		tokens = count / 2;
		float	   *columns = palloc(sizeof(float) * count);

		for (size_t i = 0; i < tokens; i++)
		{
			columns[i] = output[2 * i];
			columns[tokens + i] = output[2 * i + 1];
		}
		output = columns;
	}
	MemoryContextSwitchTo(call.caller);
	result = real_array(output, count);
	call_end(&call);
	PG_RETURN_ARRAYTYPE_P(result);
}

static Datum
integer_array(const int32 *values, int count)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		elements[i] = Int32GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, count, INT4OID, sizeof(int32), true,
										   TYPALIGN_INT));
}

Datum
lat_trace(PG_FUNCTION_ARGS)
{
	ResultRows	rows;
	Call		call;
	CallSequence sequence;
	LatTrace	trace;
	size_t		count;
	int			layers;

	result_begin(fcinfo, &rows);
	if (PG_ARGISNULL(0))
		return (Datum) 0;

	call_begin(&call, fcinfo, &inspect_request);
	inspect_arguments(&call, fcinfo, &sequence);
	layers = call.model->config.layers;
	trace.counts = palloc0(sizeof(int32) * layers);
	trace.kept = palloc0(sizeof(int32) * layers * sequence.input.tokens);
	sequence.trace = &trace;
	(void) call_forward(&call, &sequence, &count);

	for (int i = 0; i < layers; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = Int32GetDatum(i);
		values[1] = Int32GetDatum(trace.counts[i]);
		values[2] = integer_array(trace.kept + (size_t) i * sequence.input.tokens,
								  trace.counts[i]);
		result_put(&rows, values, nulls);
	}
	call_end(&call);
	return (Datum) 0;
}
