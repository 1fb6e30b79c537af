/*
 * answers.c
 *	  From logits to what a user asked for: probabilities, an answer span, tags.
 *
 * A question is answered window by window (doc stride): each window holds
 *
 *		[CLS] question [SEP] up to 384 tokens in all of context [SEP]
 *
 * and the next one begins 128 context tokens before this one's end.  A
 * candidate is a pair start <= stop inside the window's context, at most 30
 * tokens apart; its score is start + stop logit less those of [CLS], which makes
 * windows comparable.  The best 20 of every window enter one softmax.
 */
#include "answers.h"

#include <math.h>
#include <string.h>

void
lat_softmax(const float *logits, int n, float *probabilities)
{
	float		highest = logits[0];
	float		sum = 0;

	for (int i = 1; i < n; i++)
		highest = logits[i] > highest ? logits[i] : highest;
	for (int i = 0; i < n; i++)
	{
		probabilities[i] = expf(logits[i] - highest);
		sum += probabilities[i];
	}
	for (int i = 0; i < n; i++)
		probabilities[i] /= sum;
}

/* ---- answer spans ------------------------------------------------------------------------- */

/* A window as the encoder takes it; all arrays of LAT_SPAN_WINDOW. */
typedef struct Window
{
	int32_t		tokens;			/* T */
	int32_t		context_at;		/* row of its first context token */
	int32_t		context_from;	/* that token's index in the context */
	int32_t		context_tokens;
	int32_t		ids[LAT_SPAN_WINDOW];
	uint8_t		segments[LAT_SPAN_WINDOW];
	int32_t		scaled[LAT_MAX_LAYERS];
	float		logits[2 * LAT_SPAN_WINDOW];
} Window;

typedef struct Candidate
{
	float		score;
	int32_t		start;			/* context tokens */
	int32_t		stop;
} Candidate;

/* The candidates of all windows, as far as the answer needs them. */
typedef struct Ranking
{
	Candidate	best;
	bool		any;
	double		sum;			/* of exp(score - best.score) over all candidates so far */
} Ranking;

/* Build the window that begins at context token `from`. */
static void
fill_window(const LatModel *model, const LatTokens *question, int32_t asked,
			const LatTokens *context, int32_t from, Window *window)
{
	int32_t		longest = model->config.positions < LAT_SPAN_WINDOW ?
		model->config.positions : LAT_SPAN_WINDOW;
	int32_t		room = longest - asked - 3;
	int32_t		left = context->count - from;
	int32_t		n = 0;

	window->context_from = from;
	window->context_tokens = left < room ? left : room;
	window->ids[n++] = model->config.cls_id;
	if (asked > 0)				/* an empty question has no array */
		memcpy(window->ids + n, question->ids, asked * sizeof(int32_t));
	n += asked;
	window->ids[n++] = model->config.sep_id;
	memset(window->segments, 0, n);
	window->context_at = n;
	memcpy(window->ids + n, context->ids + from, window->context_tokens * sizeof(int32_t));
	n += window->context_tokens;
	window->ids[n++] = model->config.sep_id;
	memset(window->segments + window->context_at, 1, n - window->context_at);
	window->tokens = n;
}

/* Add candidate to the window's best, kept in falling order; earlier ones win ties. */
static void
keep_candidate(Candidate *best, int *count, Candidate candidate)
{
	int			i = *count;

	if (i == LAT_SPAN_CANDIDATES && candidate.score <= best[i - 1].score)
		return;
	if (i < LAT_SPAN_CANDIDATES)
		*count = ++i;
	for (i--; i > 0 && candidate.score > best[i - 1].score; i--)
		best[i] = best[i - 1];
	best[i] = candidate;
}

/* Enter a window's best candidates into the ranking over all windows. */
static void
rank_window(const Window *window, Ranking *ranking)
{
	const float *start = window->logits + 2 * window->context_at;
	float		none = window->logits[0] + window->logits[1];
	Candidate	best[LAT_SPAN_CANDIDATES];
	int			count = 0;

	for (int32_t i = 0; i < window->context_tokens; i++)
		for (int32_t j = i; j < window->context_tokens && j < i + LAT_SPAN_ANSWER; j++)
			keep_candidate(best, &count, (Candidate) {
				start[2 * i] + start[2 * j + 1] - none,
					window->context_from + i, window->context_from + j
			});
	for (int i = 0; i < count; i++)
	{
		if (!ranking->any || best[i].score > ranking->best.score)
		{
			if (ranking->any)
				ranking->sum *= exp((double) ranking->best.score - best[i].score);
			ranking->best = best[i];
			ranking->any = true;
		}
		ranking->sum += exp((double) best[i].score - ranking->best.score);
	}
}

/* The model's room for a question: a window must take at least as much context as its overlap. */
static int32_t
question_tokens(const LatModel *model, const LatTokens *question)
{
	int32_t		most = LAT_SPAN_QUESTION;

	if (most > model->config.positions / 4)
		most = model->config.positions / 4;
	return question->count < most ? question->count : most;
}

LatStatus
lat_answer_question(LatEngine *engine, const LatModel *model, const LatTokens *question,
					const LatTokens *context, const int32_t *lengths, int32_t reference_length,
					LatSpan *span, LatError *error)
{
	const LatHost *host = engine->host;
	int			layers = model->config.layers;
	int32_t		asked = question_tokens(model, question);
	Ranking		ranking = {0};
	LatStatus	status = LAT_OK;
	Window	   *window = host->alloc(host->arg, sizeof(Window));

	memset(span, 0, sizeof(*span));
	if (window == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for a window of %d tokens",
						LAT_SPAN_WINDOW);
	span->truncated = asked < question->count;
	for (int32_t from = 0; from < context->count;)
	{
		int32_t		offsets[2] = {0, 0};
		int32_t		overlap;
		LatBatch	batch = {.count = 1,.offsets = offsets,.ids = window->ids,.segments = window->segments};

		fill_window(model, question, asked, context, from, window);
		offsets[1] = window->tokens;
		if (lengths)
		{
			lat_scale_lengths(lengths, layers, reference_length, window->tokens, window->scaled);
			batch.lengths = window->scaled;
		}
		status = lat_forward(engine, model, &batch, window->logits, NULL, error);
		if (status != LAT_OK)
			break;
		rank_window(window, &ranking);
		span->tokens_in += window->tokens;
		span->multiply_adds += lat_cost(&model->config, window->tokens, batch.lengths, false);
		for (int i = 0; i < layers; i++)
			span->tokens_kept += lengths ? window->scaled[i] : window->tokens;
		if (from + window->context_tokens >= context->count)
			break;

		/* short models (tests have them) have windows shorter than the overlap */
		overlap = window->context_tokens / 2 < LAT_SPAN_STRIDE ?
			window->context_tokens / 2 : LAT_SPAN_STRIDE;
		from += window->context_tokens - overlap;
	}
	if (status == LAT_OK && ranking.any)
	{
		span->found = true;
		span->start = context->starts[ranking.best.start];
		span->stop = context->stops[ranking.best.stop];
		span->score = (float) (1 / ranking.sum);
	}
	host->release(host->arg, window);
	return status;
}

/* ---- tags --------------------------------------------------------------------------------- */

/* A label's name behind "B-" or "I-", or all of it; *inside: it continues a tag ("I-"). */
static const char *
entity_name(const LatModel *model, int label, size_t *bytes, bool *inside)
{
	const char *name = lat_label_text(model, label, bytes);
	bool		prefixed = *bytes > 2 && name[1] == '-' && (name[0] == 'B' || name[0] == 'I');

	*inside = prefixed && name[0] == 'I';
	if (!prefixed)
		return name;
	*bytes -= 2;
	return name + 2;
}

bool
lat_continues_tag(const LatModel *model, int first, int label)
{
	size_t		bytes;
	bool		inside;

	entity_name(model, label, &bytes, &inside);
	return inside && lat_same_tag(model, first, label);
}

bool
lat_same_tag(const LatModel *model, int a, int b)
{
	size_t		bytes[2];
	bool		inside;
	const char *names[2] = {
		entity_name(model, a, &bytes[0], &inside), entity_name(model, b, &bytes[1], &inside)
	};

	return bytes[0] == bytes[1] && memcmp(names[0], names[1], bytes[0]) == 0;
}

bool
lat_is_outside(const LatModel *model, int label)
{
	size_t		bytes;
	const char *name = lat_label_text(model, label, &bytes);

	return bytes == 1 && name[0] == 'O';
}

int
lat_word_label(const float *logits, int labels, float *probabilities)
{
	int			best = 0;

	lat_softmax(logits, labels, probabilities);
	for (int i = 1; i < labels; i++)
		if (probabilities[i] > probabilities[best])
			best = i;
	return best;
}

LatStatus
lat_decode_tags(const LatHost *host, const LatModel *model, const LatInput *input,
				const LatTokens *tokens, const float *logits, LatTag *tags, int *count,
				LatError *error)
{
	int			labels = model->config.labels;
	float	   *probabilities = host->alloc(host->arg, labels * sizeof(float));
	int			words = 0;		/* of the last tag */
	bool		open = false;	/* the word before belongs to the last tag */

	*count = 0;
	if (probabilities == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for %d labels", labels);
	for (int32_t row = 0; row < input->tokens; row++)
	{
		int32_t		token = input->sources[row];
		LatTag	   *last = *count > 0 ? &tags[*count - 1] : NULL;
		int			label;

		if (token < 0)
			continue;
		if (!tokens->word_starts[token])
		{
			/* the first piece has decided; the rest of the word only stretches the tag */
			if (open)
				last->stop = tokens->stops[token];
			continue;
		}
		label = lat_word_label(logits + (size_t) row * labels, labels, probabilities);
		if (lat_is_outside(model, label))
		{
			open = false;
			continue;
		}
		if (open && lat_continues_tag(model, last->label, label))
		{
			last->score = (last->score * (float) words + probabilities[label]) / (float) (words + 1);
			last->stop = tokens->stops[token];
			words++;
			continue;
		}
		tags[(*count)++] = (LatTag) {
			label, tokens->starts[token], tokens->stops[token], probabilities[label]
		};
		words = 1;
		open = true;
	}
	host->release(host->arg, probabilities);
	return LAT_OK;
}
