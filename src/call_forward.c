/*
 * call_forward.c
 *	  One sequence through the encoder, and the books kept on it.
 */
#include "postgres.h"

#include "call.h"
#include "catalog/pg_type.h"
#include "memo.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

const int32_t *
call_lengths(Call *call, int32 tokens)
{
	int			layers = call->model->config.layers;
	int32	   *scaled;

	if (call->lengths == NULL)
		return NULL;
	scaled = palloc(sizeof(int32) * layers);
	lat_scale_lengths(call->lengths, layers, call->reference_length, tokens, scaled);
	return scaled;
}

static void
count_sequence(const Call *call, const CallSequence *sequence, double milliseconds)
{
	const LatConfig *config = &call->model->config;
	int32		tokens = sequence->input.tokens;
	CallCounts	counts = {.rows = 1,.tokens_in = tokens};

	for (int i = 0; i < config->layers; i++)
		counts.tokens_kept += sequence->lengths ? Min(sequence->lengths[i], tokens) : tokens;
	counts.truncated = sequence->input.truncated ? 1 : 0;
	counts.multiply_adds = lat_cost(config, tokens, sequence->lengths, sequence->cls_only);
	counts.milliseconds = milliseconds;
	model_cache_count(call->digest, call->precision, &counts);
}

/* Run the encoder; output has room for what the head makes of the sequence. */
static void
run_sequence(Call *call, const CallSequence *sequence, float *output)
{
	const LatInput *input = &sequence->input;
	int32		offsets[2] = {0, input->tokens};
	LatBatch	batch = {
		.count = 1,.offsets = offsets,.ids = input->ids,.segments = input->segments,
		.lengths = sequence->lengths,.cls_only = sequence->cls_only
	};
	LatError	error;
	instr_time	start;
	instr_time	duration;

	INSTR_TIME_SET_CURRENT(start);
	core_check(lat_forward(call->engine, call->model, &batch, output, sequence->trace, &error),
			   &error);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	count_sequence(call, sequence, INSTR_TIME_GET_MILLISEC(duration));
}

const float *
call_forward(Call *call, const CallSequence *sequence, size_t *count)
{
	const LatConfig *config = &call->model->config;
	size_t		tokens = sequence->input.tokens;
	bool		per_token = config->task == LAT_SPAN || config->task == LAT_TAG;
	size_t		layers = sequence->lengths ? config->layers : 0;
	MemoKey		key;
	const void *known;
	float	   *output;
	size_t		size;

	*count = (size_t) lat_output_columns(call->model) * (per_token ? tokens : 1);
	size = *count * sizeof(float);
	memo_begin_key(&key, call, sequence->cls_only ? 'c' : 'f',
				   sizeof(size_t) + layers * sizeof(int32)
				   + tokens * (sizeof(int32) + sizeof(uint8)));
	memo_append(&key, &layers, sizeof(size_t));
	if (layers)
		memo_append(&key, sequence->lengths, layers * sizeof(int32));
	memo_append(&key, sequence->input.ids, tokens * sizeof(int32));
	memo_append(&key, sequence->input.segments, tokens * sizeof(uint8));

	output = MemoryContextAllocHuge(CurrentMemoryContext, size);
	known = sequence->trace ? NULL : memo_find(&key, size);
	if (known)
		memcpy(output, known, size);
	else
	{
		run_sequence(call, sequence, output);
		memo_keep(&key, output, size);
	}
	return output;
}

const float *
call_logits(Call *call, CallText *first, CallText *second)
{
	CallSequence sequence = {.cls_only = call->model->config.task == LAT_CLASSIFY};
	size_t		count;

	call_build_input(call, first, second, &sequence.input);
	sequence.lengths = call_lengths(call, sequence.input.tokens);
	return call_forward(call, &sequence, &count);
}

ArrayType *
real_array(const float *values, size_t count)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + count * sizeof(float4);
	ArrayType  *array = palloc0(size);

	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = FLOAT4OID;
	ARR_DIMS(array)[0] = (int) count;
	ARR_LBOUND(array)[0] = 1;
	memcpy((char *) array + ARR_OVERHEAD_NONULLS(1), values, count * sizeof(float4));
	return array;
}
