/*
 * score.c
 *	  Classification: lat_classify, lat_classify_pair, lat_scores, lat_score.
 *
 * All four read the logits of one sequence; calls that follow each other on the
 * same text find them in the memo.
 */
#include "postgres.h"

#include "call.h"
#include "result_rows.h"
#include "utils/builtins.h"

/* Labels that an error's hint names. */
#define MAX_LISTED_LABELS 20

PG_FUNCTION_INFO_V1(lat_classify);
PG_FUNCTION_INFO_V1(lat_classify_pair);
PG_FUNCTION_INFO_V1(lat_scores);
PG_FUNCTION_INFO_V1(lat_score);

typedef struct LabelScore
{
	int			label;
	float		score;
} LabelScore;

static text *
label_text(const LatModel *model, int label)
{
	size_t		bytes;
	const char *name = lat_label_text(model, label, &bytes);

	return text_from_utf8(name, bytes);
}

/* Logits of the argument, or of the pair if the second argument is there and not NULL. */
static const float *
score_arguments(Call *call, FunctionCallInfo fcinfo, int pair)
{
	CallText	first = {.datum = PG_GETARG_DATUM(0)};
	CallText	second = {0};
	bool		is_pair = pair >= 0 && !PG_ARGISNULL(pair);

	if (is_pair)
		second.datum = PG_GETARG_DATUM(pair);
	return call_logits(call, &first, is_pair ? &second : NULL);
}

/* The label of the highest logit, the first of equals. */
static Datum
classify(FunctionCallInfo fcinfo, const CallRequest *request, int pair)
{
	Call		call;
	const float *logits;
	int			best = 0;
	text	   *label;

	call_begin(&call, fcinfo, request);
	logits = score_arguments(&call, fcinfo, pair);
	for (int i = 1; i < call.model->config.labels; i++)
		if (logits[i] > logits[best])
			best = i;
	MemoryContextSwitchTo(call.caller);
	label = label_text(call.model, best);
	call_end(&call);
	PG_RETURN_TEXT_P(label);
}

Datum
lat_classify(PG_FUNCTION_ARGS)
{
	static const CallRequest request = {.task = "classify",.budget = 1,.model = 2};

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return classify(fcinfo, &request, -1);
}

Datum
lat_classify_pair(PG_FUNCTION_ARGS)
{
	static const CallRequest request = {.task = "pair",.budget = 2,.model = 3};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	return classify(fcinfo, &request, 1);
}

/* Best first; the order of the labels decides between equals. */
static int
compare_scores(const void *a, const void *b)
{
	const LabelScore *left = a;
	const LabelScore *right = b;

	if (left->score != right->score)
		return left->score > right->score ? -1 : 1;
	return left->label - right->label;
}

Datum
lat_scores(PG_FUNCTION_ARGS)
{
	CallRequest request = {.task = PG_ARGISNULL(1) ? "classify" : "pair",.budget = 2,.model = 3};
	ResultRows	rows;
	Call		call;
	const float *logits;
	float	   *probabilities;
	LabelScore *scores;
	int			labels;

	result_begin(fcinfo, &rows);
	if (PG_ARGISNULL(0))
		return (Datum) 0;

	call_begin(&call, fcinfo, &request);
	logits = score_arguments(&call, fcinfo, 1);
	labels = call.model->config.labels;
	probabilities = palloc(sizeof(float) * labels);
	lat_softmax(logits, labels, probabilities);
	scores = palloc(sizeof(LabelScore) * labels);
	for (int i = 0; i < labels; i++)
		scores[i] = (LabelScore) {.label = i,.score = probabilities[i]};
	qsort(scores, labels, sizeof(LabelScore), compare_scores);

	for (int i = 0; i < labels; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = PointerGetDatum(label_text(call.model, scores[i].label));
		values[1] = Float4GetDatum(scores[i].score);
		result_put(&rows, values, nulls);
	}
	call_end(&call);
	return (Datum) 0;
}

static void __attribute__((noreturn))
report_unknown_label(const Call *call, const text *label)
{
	StringInfoData names;
	int			labels = call->model->config.labels;

	initStringInfo(&names);
	for (int i = 0; i < Min(labels, MAX_LISTED_LABELS); i++)
		appendStringInfo(&names, "%s%s", i ? ", " : "",
						 text_to_cstring(label_text(call->model, i)));
	if (labels > MAX_LISTED_LABELS)
		appendStringInfoString(&names, ", ...");
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" has no label \"%s\"", call->name,
					clip_for_message(text_to_cstring(label))),
			 errhint("Its labels: %s.", names.data)));
}

static int
find_label(const Call *call, const text *label)
{
	for (int i = 0; i < call->model->config.labels; i++)
	{
		size_t		bytes;
		const char *name = lat_label_text(call->model, i, &bytes);

		if (text_equals_utf8(label, name, bytes))
			return i;
	}
	report_unknown_label(call, label);
}

Datum
lat_score(PG_FUNCTION_ARGS)
{
	CallRequest request = {.task = PG_ARGISNULL(4) ? "classify" : "pair",.budget = 2,.model = 3};
	Call		call;
	float	   *probabilities;
	int			label;
	int			labels;
	float		score;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	call_begin(&call, fcinfo, &request);
	label = find_label(&call, PG_GETARG_TEXT_PP(1));
	labels = call.model->config.labels;
	probabilities = palloc(sizeof(float) * labels);
	lat_softmax(score_arguments(&call, fcinfo, 4), labels, probabilities);
	score = probabilities[label];
	call_end(&call);
	PG_RETURN_FLOAT4(score);
}
