/*
 * forward.c
 *	  The encoder: arXiv 2010.07003, sections 2 and 3, layer by layer.
 *
 * Sequences lie end to end in one matrix of hidden states x (R rows), without
 * padding.  With L = 3 layers and lengths (4, 3, 3) a text of 6 tokens goes
 *
 *		embed			[CLS] a   b   c   d  [SEP]		R = 6
 *		layer 0			attention over 6, keep 4:  [CLS] a c d,  feed-forward over 4
 *		layer 1			attention over 4, keep 3:  [CLS] a d,    feed-forward over 3
 *		layer 2			attention over 3, feed-forward over 3
 *		restore			b, [SEP] as layer 0 received them, c as layer 1 did, the rest as they are
 *
 * The rows that stay are the first R of x, in order.  Dropped rows lie behind them in
 * any order, with the state that they had; the head puts them back by their origins.
 *
 * A layer:
 *		qkv = x Wqkv			all rows of the batch in one GEMM
 *		attend					a sequence at a time; significance of each token falls out
 *		drop					rows of x and of the attention's output move together; R shrinks
 *		x = LN(x + context Wo)	only for the rows that stay
 *		x = LN(x + W2 act(W1 x))
 *
 * Departures from the paper, exact but cheaper: the drop comes before the
 * output projection instead of after it (both work row by row); where the head
 * reads only [CLS] (cls_only) the last layer computes queries, projection and
 * feed-forward for that row alone.
 *
 * A token's restored state is the last that it reached: what a layer received,
 * for the tokens that this layer drops (section 3.3, Drop-and-Restore).
 */
#include "stages.h"

#include <string.h>

/*
 * Rows of sequences that go through the layers together: enough to fill the GEMM's tiles in the
 * last layers, where few are left, and few enough for the second-level cache.
 */
#define GROUP_ROWS 256

/* ---- scratch ------------------------------------------------------------------------------ */

static int
largest(int a, int b)
{
	return a > b ? a : b;
}

/*
 * Sequences of a batch from `first` on that go through the layers together: as
 * many as have GROUP_ROWS rows, at least one.
 */
static int
group_size(const LatBatch *batch, int first)
{
	int			stop = first + 1;

	while (stop < batch->count && batch->offsets[stop + 1] - batch->offsets[first] <= GROUP_ROWS)
		stop++;
	return stop - first;
}

/* Scratch for any group of the batch. */
static void
carve_pass(LatCarver *carver, LatPass *pass, const LatBatch *batch)
{
	const LatConfig *config = &pass->model->config;
	int			count = 0;
	int			rows = 0;
	size_t		width = LAT_ROUND_UP(config->hidden, LAT_PANEL);
	int			d = LAT_ROUND_UP(config->hidden / config->heads, LAT_PANEL);
	int			deepest = largest(largest(config->hidden, config->embedding), config->intermediate);
	int			longest = 0;
	LatCarver	over_qkv;

	for (int s = 0; s < batch->count; s++)
		longest = largest(longest, batch->offsets[s + 1] - batch->offsets[s]);
	for (int first = 0, size; first < batch->count; first += size)
	{
		size = group_size(batch, first);
		count = largest(count, size);
		rows = largest(rows, batch->offsets[first + size] - batch->offsets[first]);
	}
	longest = LAT_ROUND_UP(longest, LAT_PANEL);

	pass->offsets = lat_carve(carver, (count + 1) * sizeof(int32_t));
	pass->first_rows = lat_carve(carver, (count + 1) * sizeof(int32_t));
	pass->origins = lat_carve(carver, rows * sizeof(int32_t));
	pass->places = lat_carve(carver, rows * sizeof(int32_t));
	pass->x = lat_carve_matrix(carver, rows, width);
	pass->y = lat_carve_matrix(carver, rows, width);
	pass->context = lat_carve_matrix(carver, rows, width);

	/*
	 * Queries, keys and values are done with when the feed-forward block begins: both share
	 * the largest piece of memory, so that more of it stays in the second-level cache.
	 */
	over_qkv = *carver;
	pass->qkv = lat_carve_matrix(carver, rows, largest(3 * (int) width, config->embedding));
	pass->inner = lat_carve_matrix(&over_qkv, LAT_BLOCK_ROWS, config->intermediate);
	carver->used = carver->used > over_qkv.used ? carver->used : over_qkv.used;

	pass->scores = lat_carve(carver, (size_t) LAT_BLOCK_ROWS * longest * sizeof(float));
	pass->head_context = lat_carve(carver, (size_t) LAT_BLOCK_ROWS * d * sizeof(float));
	pass->key_panels = lat_carve(carver, (size_t) longest * d * sizeof(float));
	pass->value_panels = lat_carve(carver, (size_t) longest * d * sizeof(float));
	pass->significance = lat_carve(carver, longest * sizeof(float));
	pass->significance_lanes = lat_carve(carver, (size_t) longest * LAT_PANEL * sizeof(float));
	pass->order = lat_carve(carver, longest * sizeof(uint32_t));
	pass->codes.codes = lat_carve(carver, (size_t) LAT_BLOCK_ROWS * LAT_ROUND_UP(deepest, 64));
	pass->codes.scales = lat_carve(carver, LAT_BLOCK_ROWS * sizeof(float));
	pass->codes.zeros = lat_carve(carver, LAT_BLOCK_ROWS * sizeof(int32_t));
}

void
lat_engine_release(LatEngine *engine)
{
	engine->host->release(engine->host->arg, engine->block);
	engine->block = NULL;
	engine->block_size = 0;
}

/* Set up pass over the engine's block, grown if it is too small. */
static LatStatus
reserve_pass(LatEngine *engine, const LatModel *model, const LatBatch *batch, LatPass *pass)
{
	LatCarver	carver = {NULL, 0};
	size_t		needed;

	memset(pass, 0, sizeof(*pass));
	pass->host = engine->host;
	pass->kernels = engine->kernels;
	pass->model = model;
	carve_pass(&carver, pass, batch);
	needed = carver.used + LAT_ALIGNMENT;
	if (engine->block_size < needed)
	{
		lat_engine_release(engine);
		engine->block = engine->host->alloc(engine->host->arg, needed);
		if (engine->block == NULL)
			return LAT_NO_MEMORY;
		engine->block_size = needed;
	}
	carver.base = (uint8_t *) LAT_ROUND_UP((uintptr_t) engine->block, LAT_ALIGNMENT);
	carver.used = 0;
	carve_pass(&carver, pass, batch);
	return LAT_OK;
}

/* All rows of the group are there, in the order in which they came. */
static void
start_group(LatPass *pass, const LatBatch *group)
{
	int			rows = group->offsets[group->count];

	pass->batch = group;
	pass->rows = rows;
	memcpy(pass->offsets, group->offsets, (group->count + 1) * sizeof(int32_t));
	for (int row = 0; row < rows; row++)
		pass->origins[row] = row;
}

/* ---- embeddings --------------------------------------------------------------------------- */

/* Rows of words lie anywhere in a large table: they are fetched this many rows ahead. */
#define WORDS_AHEAD 12

static void
prefetch_word(const LatEmbedding *words, int row)
{
	size_t		size = words->stride * (words->precision == LAT_INT8 ? sizeof(int8_t) : sizeof(float));
	const char *from = (const char *) words->codes + row * size;

	for (size_t i = 0; i < size; i += LAT_ALIGNMENT)
		__builtin_prefetch(from + i);
}

/* x (S, Hp) = LayerNorm(word + position + segment), projected where E is not H */
static LatStatus
embed(LatPass *pass)
{
	const LatModel *model = pass->model;
	const LatConfig *config = &model->config;
	const LatBatch *batch = pass->batch;
	const LatKernels *kernels = pass->kernels;
	bool		project = model->embedding_projection.weights != NULL;
	LatMatrix	x = lat_matrix_rows(project ? pass->qkv : pass->x, 0, pass->rows);

	for (int row = 0; row < WORDS_AHEAD && row < pass->rows; row++)
		prefetch_word(&model->words, batch->ids[row]);
	for (int s = 0; s < batch->count; s++)
		for (int row = batch->offsets[s]; row < batch->offsets[s + 1]; row++)
		{
			const LatEmbeddingRow rows[] = {
				{&model->words, batch->ids[row]},
				{&model->positions, row - batch->offsets[s]},
				{&model->segments, batch->segments ? batch->segments[row] : 0}
			};

			if (row + WORDS_AHEAD < pass->rows)
				prefetch_word(&model->words, batch->ids[row + WORDS_AHEAD]);
			kernels->embed(rows, config->segments > 0 ? 3 : 2, x.data + row * x.ld);
		}
	kernels->layer_norm(x.data, NULL, x.ld, x.rows, config->embedding, &model->embedding_norm,
						config->layer_norm_eps);
	return project ? lat_gemm(pass, &model->embedding_projection, LAT_IDENTITY, x, pass->x) : LAT_OK;
}

/* ---- dropping and restoring --------------------------------------------------------------- */

/* Rows of sequence s, now. */
static int
sequence_rows(const LatPass *pass, int s)
{
	return pass->offsets[s + 1] - pass->offsets[s];
}

static void
copy_row(LatMatrix to, int to_row, LatMatrix from, int from_row)
{
	memmove(to.data + to_row * to.ld, from.data + from_row * from.ld, to.ld * sizeof(float));
}

static void
swap_rows(LatMatrix matrix, int a, int b)
{
	float	   *row_a = matrix.data + a * matrix.ld;
	float	   *row_b = matrix.data + b * matrix.ld;

	for (size_t i = 0; i < matrix.ld; i++)
	{
		float		value = row_a[i];

		row_a[i] = row_b[i];
		row_b[i] = value;
	}
}

/*
 * Move a row that stays forward, over a dropped one.  Where the head reads all tokens the
 * two change places, so that the dropped one keeps its state.
 */
static void
move_row(LatPass *pass, int from, int to)
{
	int32_t		origin = pass->origins[to];

	if (from == to)
		return;
	if (pass->model->config.task == LAT_CLASSIFY)
		copy_row(pass->x, to, pass->x, from);
	else
		swap_rows(pass->x, from, to);
	pass->origins[to] = pass->origins[from];
	pass->origins[from] = origin;
	copy_row(pass->context, to, pass->context, from);
}

/*
 * LengthDrop (section 3.1) of one sequence: its rows that stay move to row `to` and after.
 * They go in ascending order, so none is overwritten that has still to move.
 */
static void
drop_tokens(LatPass *pass, int s, int keep, int to)
{
	int			from = pass->offsets[s];
	int			tokens = sequence_rows(pass, s);
	int32_t    *kept = (int32_t *) pass->order;

	if (keep < tokens)
		lat_select_tokens(pass->significance, tokens, keep, pass->model->config.task != LAT_SPAN,
						  pass->order, kept);
	for (int i = 0; i < keep; i++)
		move_row(pass, from + (keep < tokens ? kept[i] : i), to + i);
}

/* Tokens of sequence s that layer i keeps: never more than there are, never none. */
static int
tokens_to_keep(const LatPass *pass, int layer, int s)
{
	int			tokens = sequence_rows(pass, s);
	int			keep;

	if (pass->batch->lengths == NULL)
		return tokens;
	keep = pass->batch->lengths[s * pass->model->config.layers + layer];
	return keep < 1 ? 1 : keep < tokens ? keep : tokens;
}

/* ---- layers ------------------------------------------------------------------------------- */

static LatMatrix
matrix_columns(LatMatrix matrix, int first)
{
	matrix.data += first;
	return matrix;
}

/* Attention of all rows, and the drop: context (R, Hp), x and R shrink together. */
static LatStatus
attention_block(LatPass *pass, int layer)
{
	int			width = (int) pass->x.ld;
	LatMatrix	x = lat_matrix_rows(pass->x, 0, pass->rows);
	LatStatus	status = lat_gemm(pass, &pass->model->layers[layer].qkv, LAT_IDENTITY, x,
								  pass->qkv);
	int			to = 0;

	for (int s = 0; status == LAT_OK && s < pass->batch->count; s++)
	{
		int			from = pass->offsets[s];
		int			tokens = sequence_rows(pass, s);
		LatMatrix	qkv = lat_matrix_rows(pass->qkv, from, tokens);
		int			kept = tokens_to_keep(pass, layer, s);

		status = lat_attend(pass, &(LatAttention) {
			kept < tokens, qkv, matrix_columns(qkv, width), matrix_columns(qkv, 2 * width),
				lat_matrix_rows(pass->context, from, tokens)
		});
		if (status != LAT_OK)
			break;
		drop_tokens(pass, s, kept, to);
		pass->offsets[s] = to;
		to += kept;
	}
	pass->offsets[pass->batch->count] = to;
	pass->rows = to;
	return status;
}

/* The last layer's attention for [CLS] alone: keys and values of all rows, one query a sequence. */
static LatStatus
cls_attention_block(LatPass *pass, int layer)
{
	int			width = (int) pass->x.ld;
	const LatLinear *qkv = &pass->model->layers[layer].qkv;
	LatLinear	query = lat_linear_columns(qkv, 0, width);
	LatLinear	key_value = lat_linear_columns(qkv, width, 2 * width);
	LatMatrix	x = lat_matrix_rows(pass->x, 0, pass->rows);
	int			count = pass->batch->count;
	LatStatus	status;

	status = lat_gemm(pass, &key_value, LAT_IDENTITY, x, matrix_columns(pass->qkv, width));
	if (status != LAT_OK)
		return status;
	for (int s = 0; s < count; s++)
		copy_row(pass->x, s, pass->x, pass->offsets[s]);
	status = lat_gemm(pass, &query, LAT_IDENTITY, lat_matrix_rows(pass->x, 0, count), pass->y);
	for (int s = 0; status == LAT_OK && s < count; s++)
	{
		LatMatrix	keys = lat_matrix_rows(matrix_columns(pass->qkv, width),
										   pass->offsets[s], sequence_rows(pass, s));

		status = lat_attend(pass, &(LatAttention) {
			false, lat_matrix_rows(pass->y, s, 1), keys, matrix_columns(keys, width),
				lat_matrix_rows(pass->context, s, 1)
		});
	}
	for (int s = 0; s <= count; s++)
		pass->offsets[s] = s;
	pass->rows = count;
	return status;
}

/* x = LN(x + context Wo), then x = LN(x + W2 act(W1 x)), for the rows that are left */
static LatStatus
output_blocks(LatPass *pass, int layer)
{
	const LatConfig *config = &pass->model->config;
	const LatLayer *weights = &pass->model->layers[layer];
	const LatKernels *kernels = pass->kernels;
	LatStatus	status;

	status = lat_gemm(pass, &weights->attention_output, LAT_IDENTITY,
					  lat_matrix_rows(pass->context, 0, pass->rows), pass->y);
	for (int from = 0; status == LAT_OK && from < pass->rows; from += LAT_BLOCK_ROWS)
	{
		int			left = pass->rows - from;
		int			rows = left < LAT_BLOCK_ROWS ? left : LAT_BLOCK_ROWS;
		LatMatrix	x = lat_matrix_rows(pass->x, from, rows);
		LatMatrix	y = lat_matrix_rows(pass->y, from, rows);
		LatMatrix	inner = lat_matrix_rows(pass->inner, 0, rows);

		/* y takes the attention's result, x is free until the feed-forward block fills it */
		kernels->layer_norm(y.data, x.data, y.ld, rows, config->hidden,
							&weights->attention_norm, config->layer_norm_eps);
		status = lat_gemm(pass, &weights->feed_forward_in, config->activation, y, inner);
		if (status != LAT_OK)
			break;
		status = lat_gemm(pass, &weights->feed_forward_out, LAT_IDENTITY, inner, x);
		if (status != LAT_OK)
			break;
		kernels->layer_norm(x.data, y.data, x.ld, rows, config->hidden,
							&weights->output_norm, config->layer_norm_eps);
	}
	return status;
}

/* Where a group's part of a LatTrace begins, and the strides from layer to layer. */
typedef struct TraceGroup
{
	int32_t    *counts;
	int32_t    *kept;
	int			batch_count;
	int			batch_rows;
} TraceGroup;

/* What is kept after this layer, as positions within each sequence. */
static void
record_trace(const LatPass *pass, int layer, const TraceGroup *trace)
{
	const LatBatch *group = pass->batch;
	int32_t    *counts = trace->counts + (size_t) layer * trace->batch_count;
	int32_t    *kept = trace->kept + (size_t) layer * trace->batch_rows;

	for (int s = 0; s < group->count; s++)
	{
		counts[s] = sequence_rows(pass, s);
		for (int i = 0; i < sequence_rows(pass, s); i++)
			kept[group->offsets[s] + i] = pass->origins[pass->offsets[s] + i] - group->offsets[s];
	}
}

/* ---- entry -------------------------------------------------------------------------------- */

/* Every index that the pass follows is checked here, once. */
static LatStatus
check_batch(const LatModel *model, const LatBatch *batch, LatError *error)
{
	const LatConfig *config = &model->config;

	if (batch->count < 1 || batch->offsets[0] != 0)
		return lat_fail(error, LAT_BAD_ARGUMENT, "a batch needs at least one sequence, from row 0");
	for (int s = 0; s < batch->count; s++)
	{
		int64_t		tokens = (int64_t) batch->offsets[s + 1] - batch->offsets[s];

		if (tokens < 1 || tokens > config->positions)
			return lat_fail(error, LAT_BAD_ARGUMENT, "sequence of %lld tokens, the model takes 1 to %d",
							(long long) tokens, config->positions);
	}
	for (int row = 0; row < batch->offsets[batch->count]; row++)
	{
		if (batch->ids[row] < 0 || batch->ids[row] >= config->vocabulary)
			return lat_fail(error, LAT_BAD_ARGUMENT, "token id %d is not in the vocabulary of %d",
							batch->ids[row], config->vocabulary);
		if (batch->segments && config->segments > 0 && batch->segments[row] >= config->segments)
			return lat_fail(error, LAT_BAD_ARGUMENT, "segment %d, the model has %d",
							batch->segments[row], config->segments);
	}
	return LAT_OK;
}

/* The layers, then the head, for the group in pass. */
static LatStatus
run_group(LatPass *pass, float *output, const TraceGroup *trace)
{
	const LatConfig *config = &pass->model->config;
	bool		cls_only = pass->batch->cls_only && config->task == LAT_CLASSIFY;
	LatStatus	status = embed(pass);

	for (int layer = 0; status == LAT_OK && layer < config->layers; layer++)
	{
		bool		cls_layer = cls_only && layer == config->layers - 1;

		if (trace && cls_layer)
			record_trace(pass, layer, trace);
		status = cls_layer ? cls_attention_block(pass, layer) : attention_block(pass, layer);
		if (status == LAT_OK)
			status = output_blocks(pass, layer);
		if (trace && !cls_layer && status == LAT_OK)
			record_trace(pass, layer, trace);
	}
	return status == LAT_OK ? lat_apply_head(pass, output) : status;
}

/* Sequences first .. first + count - 1 of a batch as a batch of their own, from row 0. */
static LatBatch
make_group(const LatBatch *batch, int first, int count, int layers, int32_t *offsets)
{
	int			from = batch->offsets[first];

	for (int s = 0; s <= count; s++)
		offsets[s] = batch->offsets[first + s] - from;
	return (LatBatch) {
		.count = count,.offsets = offsets,.ids = batch->ids + from,
			.segments = batch->segments ? batch->segments + from : NULL,
			.lengths = batch->lengths ? batch->lengths + (size_t) first * layers : NULL,
			.cls_only = batch->cls_only
	};
}

LatStatus
lat_forward(LatEngine *engine, const LatModel *model, const LatBatch *batch, float *output,
			LatTrace *trace, LatError *error)
{
	const LatConfig *config = &model->config;
	bool		by_row = config->task == LAT_SPAN || config->task == LAT_TAG;
	int			rows;
	LatPass		pass;
	LatStatus	status = check_batch(model, batch, error);

	if (status != LAT_OK)
		return status;
	rows = batch->offsets[batch->count];
	status = reserve_pass(engine, model, batch, &pass);
	if (status != LAT_OK)
		return lat_fail(error, status, "out of memory for inference over %d tokens", rows);

	for (int first = 0, count; status == LAT_OK && first < batch->count; first += count)
	{
		int			from = batch->offsets[first];
		TraceGroup	part;
		LatBatch	group;

		count = group_size(batch, first);
		group = make_group(batch, first, count, config->layers, pass.first_rows);
		start_group(&pass, &group);
		if (trace)
			part = (TraceGroup) {
				trace->counts + first, trace->kept + from, batch->count, rows
			};
		status = run_group(&pass, output + (size_t) (by_row ? from : first) * lat_output_columns(model),
						   trace ? &part : NULL);
	}
	if (status == LAT_INTERRUPTED)
		lat_fail(error, status, "inference was interrupted");
	return status;
}
