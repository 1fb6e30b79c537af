/*
 * tape.c
 *	  The forward pass of training: that of forward.c, keeping what backward needs.
 *
 * Stages, their order and, without dropout, every bit are those of inference.
 * What differs:
 *
 *		- each layer's input, Q K V, probabilities, context and the sums before
 *		  both LayerNorms stay; LayerNorm and activation are done again on the way back
 *		- dropout where Hugging Face has it: after the embeddings, on attention
 *		  probabilities, after the attention's output and the feed-forward block's,
 *		  in front of the classifier.  A mask is a function of run, step, sub-model,
 *		  example, layer and the token's position, so it is never stored, and the same
 *		  whatever else is in the batch.  Significance is taken before dropout.
 *		- layers may be skipped (LayerDrop); the last that runs does what only
 *		  [CLS] needs, where the head reads nothing else
 */
#include "training.h"

#include <string.h>

/* ---- scratch ------------------------------------------------------------------------------ */

static size_t
most(size_t a, size_t b)
{
	return a > b ? a : b;
}

static void
carve_layer(LatCarver *carver, const LatTape *tape, LatTapeLayer *layer)
{
	const LatConfig *config = &tape->model->config;
	size_t		rows = tape->most_rows;
	size_t		width = LAT_ROUND_UP(config->hidden, LAT_PANEL);
	size_t		longest = LAT_ROUND_UP(tape->longest, LAT_PANEL);

	layer->kept = lat_carve(carver, rows * sizeof(int32_t));
	layer->x = lat_carve_matrix(carver, rows, width);
	layer->qkv = lat_carve_matrix(carver, rows, 3 * width);
	layer->probabilities = lat_carve(carver, config->heads * rows * longest * sizeof(float));
	layer->context = lat_carve_matrix(carver, rows, width);
	layer->attention_sum = lat_carve_matrix(carver, rows, width);
	layer->y = lat_carve_matrix(carver, rows, width);
	layer->inner = lat_carve_matrix(carver, rows, config->intermediate);
	layer->output_sum = lat_carve_matrix(carver, rows, width);
}

static void
carve_scratch(LatCarver *carver, LatTape *tape)
{
	const LatConfig *config = &tape->model->config;
	size_t		rows = tape->most_rows;
	size_t		width = LAT_ROUND_UP(config->hidden, LAT_PANEL);
	size_t		either = most(width, LAT_ROUND_UP(config->embedding, LAT_PANEL));
	size_t		longest = LAT_ROUND_UP(tape->longest, LAT_PANEL);
	size_t		d = LAT_ROUND_UP(config->hidden / config->heads, LAT_PANEL);

	tape->rows_a = lat_carve_matrix(carver, rows, either);
	tape->rows_b = lat_carve_matrix(carver, rows, either);
	tape->rows_c = lat_carve_matrix(carver, rows, either);
	tape->rows_a.ld = tape->rows_b.ld = tape->rows_c.ld = width;
	tape->wide = lat_carve_matrix(carver, rows, config->intermediate);
	tape->d_qkv = lat_carve_matrix(carver, rows, 3 * width);
	tape->d_restored = lat_carve_matrix(carver, rows, width);
	tape->d_logits = lat_carve_matrix(carver, rows, config->labels);
	tape->panels = lat_carve(carver, (size_t) LAT_GEMM_PANELS * LAT_GEMM_DEPTH * LAT_PANEL *
							 sizeof(float));
	if (tape->bf16 != LAT_BF16_NONE)
		lat_carve_bf16(carver, tape);
	tape->scores = lat_carve(carver, LAT_BLOCK_ROWS * longest * sizeof(float));
	tape->d_scores = lat_carve(carver, LAT_BLOCK_ROWS * longest * sizeof(float));
	tape->head_rows = lat_carve(carver, LAT_BLOCK_ROWS * d * sizeof(float));
	tape->head_sums = lat_carve(carver, 2 * longest * d * sizeof(float));
	tape->key_panels = lat_carve(carver, longest * d * sizeof(float));
	tape->value_panels = lat_carve(carver, longest * d * sizeof(float));
	tape->query_panels = lat_carve(carver, LAT_BLOCK_ROWS * d * sizeof(float));
	tape->context_panels = lat_carve(carver, LAT_BLOCK_ROWS * d * sizeof(float));
	tape->significance = lat_carve(carver, longest * sizeof(float));
	tape->order = lat_carve(carver, longest * sizeof(uint32_t));
	tape->kept = lat_carve(carver, longest * sizeof(int32_t));
	tape->positions = lat_carve(carver, rows * sizeof(int32_t));
}

static void
carve_tape(LatCarver *carver, LatTape *tape)
{
	const LatConfig *config = &tape->model->config;
	size_t		rows = tape->most_rows;
	size_t		width = LAT_ROUND_UP(config->hidden, LAT_PANEL);

	for (int i = 0; i < config->layers; i++)
		carve_layer(carver, tape, &tape->layers[i]);
	for (int i = 0; i <= config->layers; i++)
	{
		tape->levels[i].offsets = lat_carve(carver, (rows + 1) * sizeof(int32_t));
		tape->levels[i].origins = lat_carve(carver, rows * sizeof(int32_t));
	}
	tape->embedding_sum = lat_carve_matrix(carver, rows, config->embedding);
	tape->embedded = lat_carve_matrix(carver, rows, config->embedding);
	tape->hidden = lat_carve_matrix(carver, rows, width);
	tape->head_input = lat_carve_matrix(carver, rows, width);
	tape->dense_sum = lat_carve_matrix(carver, rows, width);
	tape->dense = lat_carve_matrix(carver, rows, width);
	tape->logits = lat_carve_matrix(carver, rows, config->labels);
	tape->teacher = lat_carve_matrix(carver, rows, config->labels);
	carve_scratch(carver, tape);
}

LatStatus
lat_tape_open(LatTape *tape, int most_rows, int longest, void **memory, LatError *error)
{
	LatCarver	carver = {NULL, 0};
	size_t		size;

	tape->most_rows = most_rows;
	tape->longest = longest;
	carve_tape(&carver, tape);
	size = carver.used + LAT_ALIGNMENT;
	*memory = tape->host->alloc(tape->host->arg, size);
	if (*memory == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for training: %zu bytes", size);

	/* the padding of every matrix must be finite */
	memset(*memory, 0, size);
	carver.base = (uint8_t *) LAT_ROUND_UP((uintptr_t) *memory, LAT_ALIGNMENT);
	carver.used = 0;
	carve_tape(&carver, tape);
	return LAT_OK;
}

float *
lat_gradient_of(const LatTape *tape, const float *parameter)
{
	return tape->gradients + (parameter - tape->trained);
}

/* ---- dropout ------------------------------------------------------------------------------ */

bool
lat_dropout_mask(const LatTapeInput *input, float probability, uint32_t example, uint32_t site,
				 uint32_t where, LatDropout *dropout)
{
	if (!(probability > 0))
		return false;
	dropout->random = lat_random(input->seed, (uint32_t) input->step, example,
								 site | (uint32_t) input->submodel << 16, where);
	dropout->threshold = (uint32_t) ((double) probability * 0x1p32);
	dropout->scale = 1 / (1 - probability);
	return true;
}

void
lat_tape_positions(LatTape *tape, int level)
{
	const LatRows *rows = &tape->levels[level];

	for (int s = 0; s < tape->input->count; s++)
		for (int row = rows->offsets[s]; row < rows->offsets[s + 1]; row++)
			tape->positions[row] = rows->origins[row] - tape->input->offsets[s];
}

void
lat_tape_dropout(const LatTape *tape, LatSite site, int layer, const LatRows *rows, LatMatrix x)
{
	const LatTapeInput *input = tape->input;
	LatDropout	mask;

	for (int s = 0; s < input->count; s++)
		for (int row = rows->offsets[s]; row < rows->offsets[s + 1]; row++)
		{
			uint32_t	position = (uint32_t) (rows->origins[row] - input->offsets[s]);

			if (!lat_dropout_mask(input, input->hidden_dropout, (uint32_t) input->examples[s],
								  (uint32_t) site | (uint32_t) layer << 8, position, &mask))
				return;
			tape->kernels->dropout(x.data + row * x.ld, (int) x.ld, NULL, &mask);
		}
}

/* ---- embeddings --------------------------------------------------------------------------- */

/* to (stride) += row of a table of floats */
static void
add_embedding(const LatEmbedding *embedding, int row, float *to)
{
	const float *values = (const float *) embedding->codes + (size_t) row * embedding->stride;

	for (int i = 0; i < embedding->stride; i++)
		to[i] += values[i];
}

static void
copy_rows(LatMatrix to, LatMatrix from, int rows)
{
	memcpy(to.data, from.data, rows * to.ld * sizeof(float));
}

/* levels[0] and the first layer's x */
static LatStatus
embed(LatTape *tape, LatMatrix x)
{
	const LatModel *model = tape->model;
	const LatTapeInput *input = tape->input;
	LatRows    *rows = &tape->levels[0];
	bool		project = model->embedding_projection.weights != NULL;
	LatMatrix	out = project ? tape->embedded : x;

	rows->rows = input->offsets[input->count];
	memcpy(rows->offsets, input->offsets, (input->count + 1) * sizeof(int32_t));
	for (int s = 0; s < input->count; s++)
		for (int row = input->offsets[s]; row < input->offsets[s + 1]; row++)
		{
			float	   *to = tape->embedding_sum.data + row * tape->embedding_sum.ld;

			rows->origins[row] = row;
			memset(to, 0, tape->embedding_sum.ld * sizeof(float));
			add_embedding(&model->words, input->ids[row], to);
			add_embedding(&model->positions, row - input->offsets[s], to);
			if (model->config.segments > 0)
				add_embedding(&model->segments, input->segments[row], to);
		}
	copy_rows(out, tape->embedding_sum, rows->rows);
	tape->kernels->layer_norm(out.data, NULL, out.ld, rows->rows, model->config.embedding,
							  &model->embedding_norm, model->config.layer_norm_eps);
	lat_tape_dropout(tape, LAT_SITE_EMBEDDING, 0, rows, out);
	if (!project)
		return LAT_OK;
	return lat_linear_forward(tape, &model->embedding_projection,
							  lat_matrix_rows(out, 0, rows->rows), x);
}

/* ---- layers ------------------------------------------------------------------------------- */

/* Q of [CLS] alone, into its rows; K and V of all. */
static LatStatus
project_cls(LatTape *tape, LatTapeLayer *layer, const LatRows *rows)
{
	const LatLinear *qkv = &tape->model->layers[layer->layer].qkv;
	int			width = (int) layer->x.ld;
	LatLinear	query = lat_linear_columns(qkv, 0, width);
	LatLinear	key_value = lat_linear_columns(qkv, width, 2 * width);
	LatMatrix	cls = lat_matrix_rows(tape->rows_a, 0, tape->input->count);
	LatMatrix	out = layer->qkv;
	LatStatus	status;

	out.data += width;
	status = lat_linear_forward(tape, &key_value, lat_matrix_rows(layer->x, 0, rows->rows), out);
	if (status != LAT_OK)
		return status;
	for (int s = 0; s < cls.rows; s++)
		memcpy(cls.data + s * cls.ld, layer->x.data + rows->offsets[s] * layer->x.ld,
			   width * sizeof(float));
	status = lat_linear_forward(tape, &query, cls, tape->rows_b);
	for (int s = 0; s < cls.rows; s++)
		memcpy(layer->qkv.data + rows->offsets[s] * layer->qkv.ld,
			   tape->rows_b.data + s * tape->rows_b.ld, width * sizeof(float));
	return status;
}

/* to = rows of from */
static void
add_kept(LatMatrix to, LatMatrix from, const int32_t *kept, int rows)
{
	for (int row = 0; row < rows; row++)
	{
		float	   *sum = to.data + row * to.ld;
		const float *residual = from.data + kept[row] * from.ld;

		for (size_t i = 0; i < to.ld; i++)
			sum[i] += residual[i];
	}
}

/* y = LN(x + context Wo), then next = LN(y + W2 act(W1 y)) */
static LatStatus
output_blocks(LatTape *tape, int level, LatMatrix next)
{
	const LatConfig *config = &tape->model->config;
	LatTapeLayer *layer = &tape->layers[level];
	const LatLayer *weights = &tape->model->layers[layer->layer];
	const LatRows *out = &tape->levels[level + 1];
	int			rows = out->rows;
	LatMatrix	y = lat_matrix_rows(layer->y, 0, rows);
	LatMatrix	inner = lat_matrix_rows(tape->wide, 0, rows);
	LatStatus	status;

	status = lat_linear_forward(tape, &weights->attention_output,
								lat_matrix_rows(layer->context, 0, rows), layer->attention_sum);
	if (status != LAT_OK)
		return status;
	if (lat_drops_attention_output(config))
		lat_tape_dropout(tape, LAT_SITE_ATTENTION_OUTPUT, layer->layer, out, layer->attention_sum);
	add_kept(layer->attention_sum, layer->x, layer->kept, rows);
	copy_rows(y, layer->attention_sum, rows);
	tape->kernels->layer_norm(y.data, NULL, y.ld, rows, config->hidden, &weights->attention_norm,
							  config->layer_norm_eps);

	status = lat_linear_forward(tape, &weights->feed_forward_in, y, layer->inner);
	if (status != LAT_OK)
		return status;
	copy_rows(inner, layer->inner, rows);
	tape->kernels->activate(config->activation, inner.data, inner.ld, rows, config->intermediate);
	status = lat_linear_forward(tape, &weights->feed_forward_out, inner, layer->output_sum);
	if (status != LAT_OK)
		return status;
	lat_tape_dropout(tape, LAT_SITE_FEED_FORWARD_OUTPUT, layer->layer, out, layer->output_sum);
	for (size_t i = 0; i < rows * y.ld; i++)
		layer->output_sum.data[i] += y.data[i];
	copy_rows(next, layer->output_sum, rows);
	tape->kernels->layer_norm(next.data, NULL, next.ld, rows, config->hidden,
							  &weights->output_norm, config->layer_norm_eps);
	return LAT_OK;
}

/* The layers that run (at least one), the last for [CLS] alone if the head reads no more. */
static void
choose_layers(LatTape *tape)
{
	const LatConfig *config = &tape->model->config;

	tape->count = 0;
	for (int i = 0; i < config->layers; i++)
		if (!(tape->input->skipped >> i & 1))
		{
			tape->layers[tape->count].layer = i;
			tape->layers[tape->count].cls_only = false;
			tape->count++;
		}
	if (config->task == LAT_CLASSIFY)
		tape->layers[tape->count - 1].cls_only = true;
}

/* ---- head --------------------------------------------------------------------------------- */

/*
 * restored (S, Hp): the last state that each token reached.  From the first layer on, later
 * states overwrite earlier ones.
 */
static void
restore(LatTape *tape)
{
	LatMatrix	to = tape->head_input;

	for (int level = 0; level <= tape->count; level++)
	{
		const LatRows *rows = &tape->levels[level];
		LatMatrix	x = level < tape->count ? tape->layers[level].x : tape->hidden;

		for (int row = 0; row < rows->rows; row++)
			memcpy(to.data + rows->origins[row] * to.ld, x.data + row * x.ld,
				   to.ld * sizeof(float));
	}
}

/* Hugging Face's classes differ in where they have dropout. */
bool
lat_drops_head_input(const LatConfig *config)
{
	if (config->task == LAT_CLASSIFY)
		return config->architecture == LAT_ELECTRA;
	return config->task == LAT_TAG || config->architecture == LAT_DISTILBERT;
}

bool
lat_drops_attention_output(const LatConfig *config)
{
	return config->architecture != LAT_DISTILBERT;
}

static LatStatus
classify(LatTape *tape)
{
	const LatModel *model = tape->model;
	const LatConfig *config = &model->config;
	const LatRows *rows = &tape->levels[tape->count];
	int			count = tape->input->count;
	LatMatrix	cls = lat_matrix_rows(tape->head_input, 0, count);
	LatMatrix	dense = lat_matrix_rows(tape->dense, 0, count);
	LatStatus	status;

	for (int s = 0; s < count; s++)
		memcpy(cls.data + s * cls.ld, tape->hidden.data + rows->offsets[s] * tape->hidden.ld,
			   cls.ld * sizeof(float));
	if (lat_drops_head_input(config))
		lat_tape_dropout(tape, LAT_SITE_HEAD_INPUT, 0, rows, cls);
	status = lat_linear_forward(tape, &model->head_dense, cls, tape->dense_sum);
	if (status != LAT_OK)
		return status;
	copy_rows(dense, tape->dense_sum, count);
	tape->kernels->activate(config->head_activation, dense.data, dense.ld, count, config->hidden);
	lat_tape_dropout(tape, LAT_SITE_HEAD_DENSE, 0, rows, dense);
	return lat_linear_forward(tape, &model->head_output, dense, tape->logits);
}

static LatStatus
apply_head(LatTape *tape)
{
	const LatModel *model = tape->model;
	const LatRows *first = &tape->levels[0];

	if (model->config.task == LAT_CLASSIFY)
		return classify(tape);
	restore(tape);
	if (lat_drops_head_input(&model->config))
		lat_tape_dropout(tape, LAT_SITE_HEAD_INPUT, 0, first, tape->head_input);
	return lat_linear_forward(tape, &model->head_output,
							  lat_matrix_rows(tape->head_input, 0, first->rows), tape->logits);
}

LatStatus
lat_tape_forward(LatTape *tape, const LatTapeInput *input)
{
	LatStatus	status;

	tape->input = input;
	choose_layers(tape);
	status = embed(tape, tape->layers[0].x);
	for (int level = 0; status == LAT_OK && level < tape->count; level++)
	{
		LatTapeLayer *layer = &tape->layers[level];
		const LatRows *rows = &tape->levels[level];

		if (layer->cls_only)
			status = project_cls(tape, layer, rows);
		else
			status = lat_linear_forward(tape, &tape->model->layers[layer->layer].qkv,
										lat_matrix_rows(layer->x, 0, rows->rows), layer->qkv);
		if (status == LAT_OK)
			status = lat_tape_attend(tape, level);
		if (status == LAT_OK)
			status = output_blocks(tape, level, level + 1 < tape->count ?
								   tape->layers[level + 1].x : tape->hidden);
	}
	if (status == LAT_OK)
		status = apply_head(tape);
	return status;
}
