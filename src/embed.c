/*
 * embed.c
 *	  Embeddings: lat_embed.
 */
#include "postgres.h"

#include "call.h"

PG_FUNCTION_INFO_V1(lat_embed);

Datum
lat_embed(PG_FUNCTION_ARGS)
{
	static const CallRequest request = {.task = "embed",.budget = 1,.model = 2};
	CallText	input = {0};
	Call		call;
	const float *embedding;
	ArrayType  *result;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	call_begin(&call, fcinfo, &request);
	input.datum = PG_GETARG_DATUM(0);
	embedding = call_logits(&call, &input, NULL);
	MemoryContextSwitchTo(call.caller);
	result = real_array(embedding, lat_output_columns(call.model));
	call_end(&call);
	PG_RETURN_ARRAYTYPE_P(result);
}
