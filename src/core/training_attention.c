/*
 * training_attention.c
 *	  Attention of the tape: forward, the drop, and backward.
 *
 * Forward computes, as lat_attend does and to the same bits, the probabilities
 * of all heads and the significance; then it selects, and weights values only
 * for the tokens that stay.  Probabilities are kept, before dropout.
 *
 * Backward, for one head and a block of the queries that stay (the others got
 * no gradient), with P~ = dropout(P):
 *
 *		dV += P~' dC		dP~ = dC V'		dS = softmax'(dropout(dP~))
 *		dQ = dS K			dK += dS' Q
 */
#include "training.h"

#include <math.h>
#include <string.h>

/* One sequence in one layer. */
typedef struct Sequence
{
	int			s;
	int			from;			/* first row of what came in */
	int			tokens;			/* T */
	int			queries;		/* T, or 1: [CLS] */
	int			to;				/* first row of what goes on */
	int			kept;			/* rows that go on */
	size_t		score_ld;		/* Tp */
	float	   *probabilities;	/* (A, queries, Tp) */
} Sequence;

/* Sequence s, given the one before it (NULL for the first). */
static Sequence
next_sequence(const LatTape *tape, int level, int s, const Sequence *before)
{
	const LatTapeLayer *layer = &tape->layers[level];
	const LatRows *in = &tape->levels[level];
	Sequence	now = {.s = s,.from = in->offsets[s]};

	now.tokens = in->offsets[s + 1] - in->offsets[s];
	now.queries = layer->cls_only ? 1 : now.tokens;
	now.score_ld = LAT_ROUND_UP(now.tokens, LAT_PANEL);
	now.probabilities = layer->probabilities;
	if (before)
	{
		now.probabilities = before->probabilities +
			tape->model->config.heads * before->queries * before->score_ld;
		now.to = before->to + before->kept;
	}
	return now;
}

static LatMatrix
head_columns(LatMatrix matrix, int from, int rows, size_t column)
{
	matrix.data += from * matrix.ld + column;
	matrix.rows = rows;
	return matrix;
}

/* Dropout of a head's probabilities for the query in row `row`, by the tokens' first positions. */
static void
drop_probabilities(const LatTape *tape, int level, const Sequence *now, int head, int row,
				   float *values)
{
	const LatTapeInput *input = tape->input;
	uint32_t	layer = (uint32_t) tape->layers[level].layer;
	uint32_t	position = (uint32_t) tape->positions[row];
	LatDropout	mask;

	if (lat_dropout_mask(input, input->attention_dropout, (uint32_t) input->examples[now->s],
						 LAT_SITE_PROBABILITIES | layer << 8, position | (uint32_t) head << 13,
						 &mask))
		tape->kernels->dropout(values, now->tokens, tape->positions + now->from, &mask);
}

/* Probabilities of all heads, kept in the tape, and the significance. */
static LatStatus
score(LatTape *tape, int level, const Sequence *now)
{
	const LatConfig *config = &tape->model->config;
	LatMatrix	qkv = tape->layers[level].qkv;
	int			d = config->hidden / config->heads;
	size_t		width = LAT_ROUND_UP(config->hidden, LAT_PANEL);

	memset(tape->significance, 0, now->score_ld * sizeof(float));
	for (int head = 0; head < config->heads; head++)
	{
		LatMatrix	k = head_columns(qkv, now->from, now->tokens, width + (size_t) head * d);
		float	   *scores = now->probabilities + head * now->queries * now->score_ld;

		lat_pack_rows(tape->kernels, k, d, tape->key_panels);
		for (int from = 0; from < now->queries; from += LAT_BLOCK_ROWS)
		{
			int			left = now->queries - from;
			int			rows = left < LAT_BLOCK_ROWS ? left : LAT_BLOCK_ROWS;
			LatMatrix	q = head_columns(qkv, now->from + from, rows, (size_t) head * d);

			if (tape->host->interrupted(tape->host->arg))
				return LAT_INTERRUPTED;
			tape->kernels->gemm_f32(&(LatGemm) {
				.a = q.data,.a_row = q.ld,.a_depth = 1,
					.b = tape->key_panels,.b_panel = (size_t) d * LAT_PANEL,.b_depth = LAT_PANEL,
					.c = scores + from * now->score_ld,.c_row = now->score_ld,
					.c_panel = LAT_PANEL,
					.rows = rows,.depth = d,.panels = (int) now->score_ld / LAT_PANEL
			});
			tape->kernels->softmax(scores + from * now->score_ld, now->score_ld, rows, now->tokens,
								   1 / sqrtf((float) d), tape->significance);
		}
	}
	return LAT_OK;
}

/* LengthDrop (arXiv 2010.07003, section 3.1): which rows go on, to the next level. */
static void
select_rows(LatTape *tape, int level, Sequence *now)
{
	const LatTapeInput *input = tape->input;
	LatTapeLayer *layer = &tape->layers[level];
	const LatRows *in = &tape->levels[level];
	LatRows    *out = &tape->levels[level + 1];

	now->kept = now->queries;
	if (input->lengths && !layer->cls_only)
	{
		int			length = input->lengths[now->s * tape->model->config.layers + layer->layer];

		length = length < 1 ? 1 : length;
		now->kept = length < now->tokens ? length : now->tokens;
	}
	for (int i = 0; i < now->kept; i++)
		tape->kept[i] = i;
	if (now->kept < now->queries)
		lat_select_tokens(tape->significance, now->tokens, now->kept,
						  tape->model->config.task != LAT_SPAN, tape->order, tape->kept);
	for (int i = 0; i < now->kept; i++)
	{
		layer->kept[now->to + i] = now->from + tape->kept[i];
		out->origins[now->to + i] = in->origins[now->from + tape->kept[i]];
	}
	out->offsets[now->s] = now->to;
	out->rows = now->to + now->kept;
	out->offsets[now->s + 1] = out->rows;
}

/* scores (rows, Tp) = probabilities of the kept rows first .. first + rows - 1, with dropout */
static void
gather_probabilities(LatTape *tape, int level, const Sequence *now, int head, int first, int rows)
{
	const float *from = now->probabilities + head * now->queries * now->score_ld;

	for (int i = 0; i < rows; i++)
	{
		int			row = tape->layers[level].kept[now->to + first + i];
		float	   *to = tape->scores + i * now->score_ld;

		memcpy(to, from + (row - now->from) * now->score_ld, now->score_ld * sizeof(float));
		drop_probabilities(tape, level, now, head, row, to);
	}
}

/* context (kept, Hp) = P~ V */
static LatStatus
weight_values(LatTape *tape, int level, const Sequence *now)
{
	const LatConfig *config = &tape->model->config;
	LatTapeLayer *layer = &tape->layers[level];
	int			d = config->hidden / config->heads;
	size_t		padded = LAT_ROUND_UP(d, LAT_PANEL);
	size_t		width = LAT_ROUND_UP(config->hidden, LAT_PANEL);

	for (int head = 0; head < config->heads; head++)
	{
		LatMatrix	v = head_columns(layer->qkv, now->from, now->tokens,
									 2 * width + (size_t) head * d);

		lat_pack_columns(v, d, tape->value_panels);
		for (int from = 0; from < now->kept; from += LAT_BLOCK_ROWS)
		{
			int			left = now->kept - from;
			int			rows = left < LAT_BLOCK_ROWS ? left : LAT_BLOCK_ROWS;

			if (tape->host->interrupted(tape->host->arg))
				return LAT_INTERRUPTED;
			gather_probabilities(tape, level, now, head, from, rows);
			tape->kernels->gemm_f32(&(LatGemm) {
				.a = tape->scores,.a_row = now->score_ld,.a_depth = 1,
					.b = tape->value_panels,.b_panel = (size_t) now->tokens * LAT_PANEL,
					.b_depth = LAT_PANEL,
					.c = tape->head_rows,.c_row = padded,.c_panel = LAT_PANEL,
					.rows = rows,.depth = now->tokens,.panels = (int) padded / LAT_PANEL
			});
			for (int i = 0; i < rows; i++)
				memcpy(layer->context.data + (now->to + from + i) * layer->context.ld + head * d,
					   tape->head_rows + i * padded, d * sizeof(float));
		}
	}
	return LAT_OK;
}

LatStatus
lat_tape_attend(LatTape *tape, int level)
{
	LatStatus	status = LAT_OK;
	Sequence	now;

	lat_tape_positions(tape, level);
	for (int s = 0; status == LAT_OK && s < tape->input->count; s++)
	{
		now = next_sequence(tape, level, s, s > 0 ? &now : NULL);
		status = score(tape, level, &now);
		if (status != LAT_OK)
			break;
		select_rows(tape, level, &now);
		status = weight_values(tape, level, &now);
	}
	return status;
}

/* ---- backward ----------------------------------------------------------------------------- */

/* One head and a block of kept queries, on its way back. */
typedef struct HeadBlock
{
	const Sequence *now;
	int			head;
	int			first;			/* of the kept rows */
	int			rows;
	int			d;				/* D */
	size_t		padded;			/* Dp */
} HeadBlock;

/* sums (T, Dp) += scores' panels: of dV from P~ and dC, of dK from dS and Q */
static void
add_transposed(LatTape *tape, const HeadBlock *block, const float *scores, const float *panels,
			   float *sums)
{
	tape->kernels->gemm_f32(&(LatGemm) {
		.a = scores,.a_row = 1,.a_depth = block->now->score_ld,
			.b = panels,.b_panel = (size_t) block->rows * LAT_PANEL,.b_depth = LAT_PANEL,
			.c = sums,.c_row = block->padded,.c_panel = LAT_PANEL,.add = block->first > 0,
			.rows = block->now->tokens,.depth = block->rows,
			.panels = (int) block->padded / LAT_PANEL
	});
}

/* The block's rows of q, which do not lie together, to panels (Dp/16, rows, 16). */
static void
pack_queries(LatTape *tape, int level, const HeadBlock *block)
{
	const LatTapeLayer *layer = &tape->layers[level];
	LatMatrix	rows = {tape->head_rows, block->padded, block->rows};

	for (int i = 0; i < block->rows; i++)
	{
		size_t		row = (size_t) layer->kept[block->now->to + block->first + i];

		memcpy(rows.data + i * rows.ld, layer->qkv.data + row * layer->qkv.ld +
			   block->head * block->d, block->d * sizeof(float));
	}
	lat_pack_columns(rows, block->d, tape->query_panels);
}

static void
block_backward(LatTape *tape, int level, const HeadBlock *block, LatMatrix d_context)
{
	const Sequence *now = block->now;
	const LatTapeLayer *layer = &tape->layers[level];
	const float *probabilities = now->probabilities + block->head * now->queries * now->score_ld;
	LatMatrix	dc = head_columns(d_context, now->to + block->first, block->rows,
								  (size_t) block->head * block->d);
	float	   *key_sums = tape->head_sums;
	float	   *value_sums = tape->head_sums + (size_t) tape->longest * block->padded;

	gather_probabilities(tape, level, now, block->head, block->first, block->rows);
	lat_pack_columns(dc, block->d, tape->context_panels);
	add_transposed(tape, block, tape->scores, tape->context_panels, value_sums);

	/* dP~ (rows, Tp) = dC V', then dS in its place; P once more, without dropout */
	tape->kernels->gemm_f32(&(LatGemm) {
		.a = dc.data,.a_row = dc.ld,.a_depth = 1,
			.b = tape->value_panels,.b_panel = (size_t) block->d * LAT_PANEL,.b_depth = LAT_PANEL,
			.c = tape->d_scores,.c_row = now->score_ld,.c_panel = LAT_PANEL,
			.rows = block->rows,.depth = block->d,.panels = (int) now->score_ld / LAT_PANEL
	});
	for (int i = 0; i < block->rows; i++)
	{
		int			row = layer->kept[now->to + block->first + i];
		float	   *d = tape->d_scores + i * now->score_ld;

		drop_probabilities(tape, level, now, block->head, row, d);
		tape->kernels->softmax_backward(probabilities + (row - now->from) * now->score_ld, d,
										now->score_ld, 1, now->tokens,
										1 / sqrtf((float) block->d));
	}
	pack_queries(tape, level, block);
	add_transposed(tape, block, tape->d_scores, tape->query_panels, key_sums);
	tape->kernels->gemm_f32(&(LatGemm) {
		.a = tape->d_scores,.a_row = now->score_ld,.a_depth = 1,
			.b = tape->key_panels,.b_panel = (size_t) now->tokens * LAT_PANEL,.b_depth = LAT_PANEL,
			.c = tape->head_rows,.c_row = block->padded,.c_panel = LAT_PANEL,
			.rows = block->rows,.depth = now->tokens,.panels = (int) block->padded / LAT_PANEL
	});
	for (int i = 0; i < block->rows; i++)
		memcpy(tape->d_qkv.data + (now->to + block->first + i) * tape->d_qkv.ld +
			   block->head * block->d, tape->head_rows + i * block->padded,
			   block->d * sizeof(float));
}

static LatStatus
head_backward(LatTape *tape, int level, const Sequence *now, int head, LatMatrix d_context)
{
	const LatConfig *config = &tape->model->config;
	LatMatrix	qkv = tape->layers[level].qkv;
	size_t		width = LAT_ROUND_UP(config->hidden, LAT_PANEL);
	HeadBlock	block = {.now = now,.head = head,.d = config->hidden / config->heads};
	size_t		column = (size_t) head * block.d;

	block.padded = LAT_ROUND_UP(block.d, LAT_PANEL);
	lat_pack_columns(head_columns(qkv, now->from, now->tokens, width + column), block.d,
					 tape->key_panels);
	lat_pack_rows(tape->kernels, head_columns(qkv, now->from, now->tokens, 2 * width + column),
				  block.d, tape->value_panels);
	for (; block.first < now->kept; block.first += LAT_BLOCK_ROWS)
	{
		int			left = now->kept - block.first;

		block.rows = left < LAT_BLOCK_ROWS ? left : LAT_BLOCK_ROWS;
		if (tape->host->interrupted(tape->host->arg))
			return LAT_INTERRUPTED;
		block_backward(tape, level, &block, d_context);
	}
	for (int i = 0; i < now->tokens; i++)
	{
		float	   *to = tape->d_qkv.data + (now->from + i) * tape->d_qkv.ld + width + column;
		const float *sums = tape->head_sums + i * block.padded;

		memcpy(to, sums, block.d * sizeof(float));
		memcpy(to + width, sums + (size_t) tape->longest * block.padded, block.d * sizeof(float));
	}
	return LAT_OK;
}

LatStatus
lat_tape_attend_backward(LatTape *tape, int level, LatMatrix d_context)
{
	const LatRows *out = &tape->levels[level + 1];
	LatStatus	status = LAT_OK;
	Sequence	now;

	lat_tape_positions(tape, level);
	for (int s = 0; status == LAT_OK && s < tape->input->count; s++)
	{
		now = next_sequence(tape, level, s, s > 0 ? &now : NULL);
		now.to = out->offsets[s];
		now.kept = out->offsets[s + 1] - out->offsets[s];
		for (int head = 0; status == LAT_OK && head < tape->model->config.heads; head++)
			status = head_backward(tape, level, &now, head, d_context);
	}
	return status;
}
