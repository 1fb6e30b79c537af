/*
 * tag.c
 *	  Tagging: lat_tag.
 */
#include "postgres.h"

#include "call.h"
#include "result_rows.h"

PG_FUNCTION_INFO_V1(lat_tag);

/* A tag's label: what follows the "B-" or "I-" of its first word. */
static text *
tag_label(const LatModel *model, int label)
{
	size_t		bytes;
	const char *name = lat_label_text(model, label, &bytes);
	size_t		prefix = 0;

	if (bytes > 2 && (name[0] == 'B' || name[0] == 'I') && name[1] == '-')
		prefix = 2;
	return text_from_utf8(name + prefix, bytes - prefix);
}

/* Tags in the order of the text, so one cursor goes through it once. */
static void
put_tags(const Call *call, const CallText *input, const LatTag *tags, int count,
		 ResultRows *rows)
{
	TextCursor	start;

	cursor_begin(&start, input);
	for (int i = 0; i < count; i++)
	{
		TextCursor	stop;
		Datum		values[5];
		bool		nulls[5] = {false, false, false, false, false};

		cursor_move(&start, tags[i].start);
		stop = start;
		cursor_move(&stop, tags[i].stop);
		values[0] = PointerGetDatum(tag_label(call->model, tags[i].label));
		values[1] = PointerGetDatum(cut_text(&start, &stop));
		values[2] = Int32GetDatum(start.character + 1);
		values[3] = Int32GetDatum(stop.character);
		values[4] = Float4GetDatum(tags[i].score);
		result_put(rows, values, nulls);
	}
}

Datum
lat_tag(PG_FUNCTION_ARGS)
{
	static const CallRequest request = {.task = "tag",.budget = 1,.model = 2};
	CallText	input = {0};
	CallSequence sequence = {.cls_only = false};
	ResultRows	rows;
	Call		call;
	LatTag	   *tags;
	const float *logits;
	size_t		floats;
	int			count;
	LatError	error;

	result_begin(fcinfo, &rows);
	if (PG_ARGISNULL(0))
		return (Datum) 0;

	call_begin(&call, fcinfo, &request);
	input.datum = PG_GETARG_DATUM(0);
	call_build_input(&call, &input, NULL, &sequence.input);
	sequence.lengths = call_lengths(&call, sequence.input.tokens);
	logits = call_forward(&call, &sequence, &floats);
	tags = palloc(sizeof(LatTag) * sequence.input.tokens);
	core_check(lat_decode_tags(&call.host, call.model, &sequence.input, &input.tokens, logits,
							   tags, &count, &error), &error);
	put_tags(&call, &input, tags, count, &rows);
	call_end(&call);
	return (Datum) 0;
}
