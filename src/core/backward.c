/*
 * backward.c
 *	  Gradients of a micro-batch, from the logits back to the embeddings.
 *
 * The stages of tape.c in reverse order.  d is the gradient of the rows that a
 * level passed on; a layer turns it into that of the rows it received:
 *
 *		d = LN'(output_sum)		->	 W2, activation', W1, residual
 *		d = LN'(attention_sum)	->	 Wo, attention', Wqkv, residual
 *
 * Rows that a layer dropped get what the head says of their restored state
 * (Drop-and-Restore, arXiv 2010.07003 section 3.3), and, as keys and values, what
 * attention says.  Queries of dropped rows have no gradient: nothing is computed for them.
 */
#include "training.h"

#include <string.h>

static void
copy_rows(LatMatrix to, LatMatrix from, int rows)
{
	memcpy(to.data, from.data, rows * to.ld * sizeof(float));
}

static void
norm_backward(LatTape *tape, const LatNorm *norm, LatMatrix z, LatMatrix d, int h)
{
	tape->kernels->layer_norm_backward(&(LatNormBackward) {
		.z = z.data,.d = d.data,.ld = d.ld,.rows = d.rows,.h = h,.gamma = norm->gamma,
			.eps = tape->model->config.layer_norm_eps,
			.d_gamma = lat_gradient_of(tape, norm->gamma),
			.d_beta = lat_gradient_of(tape, norm->beta)
	});
}

/* Weights of the linear, and dx: what a linear layer does on the way back. */
static LatStatus
linear_backward(LatTape *tape, const LatLinear *linear, LatMatrix x, LatMatrix dy, LatMatrix dx)
{
	LatStatus	status = lat_linear_weight_gradient(tape, linear, x, dy);

	return status == LAT_OK ? lat_linear_input_gradient(tape, linear, dy, dx, false) : status;
}

/* ---- head --------------------------------------------------------------------------------- */

/* d (count, Hp): gradient of the [CLS] rows */
static LatStatus
classify_backward(LatTape *tape, LatMatrix d)
{
	const LatModel *model = tape->model;
	const LatConfig *config = &model->config;
	const LatRows *rows = &tape->levels[tape->count];
	int			count = tape->input->count;
	LatMatrix	dense = lat_matrix_rows(tape->rows_b, 0, count);
	LatStatus	status;

	status = linear_backward(tape, &model->head_output, lat_matrix_rows(tape->dense, 0, count),
							 lat_matrix_rows(tape->d_logits, 0, count), dense);
	if (status != LAT_OK)
		return status;
	lat_tape_dropout(tape, LAT_SITE_HEAD_DENSE, 0, rows, dense);
	tape->kernels->activate_backward(config->head_activation, tape->dense_sum.data, dense.data,
									 dense.ld, count, config->hidden);
	status = linear_backward(tape, &model->head_dense,
							 lat_matrix_rows(tape->head_input, 0, count), dense, d);
	if (status == LAT_OK && lat_drops_head_input(config))
		lat_tape_dropout(tape, LAT_SITE_HEAD_INPUT, 0, rows, d);
	return status;
}

/* d (R, Hp): gradient of the last layer's rows; for heads over tokens also tape->d_restored */
static LatStatus
head_backward(LatTape *tape, LatMatrix d)
{
	const LatModel *model = tape->model;
	const LatRows *last = &tape->levels[tape->count];
	int			rows = tape->levels[0].rows;
	LatMatrix	restored = lat_matrix_rows(tape->d_restored, 0, rows);
	LatStatus	status;

	if (model->config.task == LAT_CLASSIFY)
		return classify_backward(tape, d);
	status = linear_backward(tape, &model->head_output, lat_matrix_rows(tape->head_input, 0, rows),
							 lat_matrix_rows(tape->d_logits, 0, rows), restored);
	if (status != LAT_OK)
		return status;
	if (lat_drops_head_input(&model->config))
		lat_tape_dropout(tape, LAT_SITE_HEAD_INPUT, 0, &tape->levels[0], restored);
	for (int row = 0; row < last->rows; row++)
		memcpy(d.data + row * d.ld, restored.data + last->origins[row] * restored.ld,
			   d.ld * sizeof(float));
	return LAT_OK;
}

/* ---- layers ------------------------------------------------------------------------------- */

/* d (R', Hp) of the layer's output becomes that of y, the attention block's output. */
static LatStatus
feed_forward_backward(LatTape *tape, int level, LatMatrix d)
{
	const LatConfig *config = &tape->model->config;
	LatTapeLayer *layer = &tape->layers[level];
	const LatLayer *weights = &tape->model->layers[layer->layer];
	LatMatrix	out = lat_matrix_rows(tape->rows_b, 0, d.rows);
	LatMatrix	inner = lat_matrix_rows(layer->inner, 0, d.rows);
	LatMatrix	d_inner = lat_matrix_rows(tape->wide, 0, d.rows);
	LatStatus	status;

	norm_backward(tape, &weights->output_norm, layer->output_sum, d, config->hidden);
	copy_rows(out, d, d.rows);
	lat_tape_dropout(tape, LAT_SITE_FEED_FORWARD_OUTPUT, layer->layer, &tape->levels[level + 1],
					 out);
	status = lat_linear_input_gradient(tape, &weights->feed_forward_out, out, d_inner, false);
	if (status != LAT_OK)
		return status;
	tape->kernels->activate_backward(config->activation, inner.data, d_inner.data, inner.ld,
									 inner.rows, config->intermediate);
	status = lat_linear_weight_gradient(tape, &weights->feed_forward_out, inner, out);
	if (status == LAT_OK)
		status = lat_linear_weight_gradient(tape, &weights->feed_forward_in,
											lat_matrix_rows(layer->y, 0, d.rows), d_inner);
	if (status == LAT_OK)
		status = lat_linear_input_gradient(tape, &weights->feed_forward_in, d_inner, d, true);
	return status;
}

/*
 * Gradients of Wqkv; d (R', Hp) of the rows that stayed gains what their queries say, and
 * dx (R, Hp) is the gradient of all rows that came in.
 */
static LatStatus
projection_backward(LatTape *tape, int level, LatMatrix d, LatMatrix dx)
{
	LatTapeLayer *layer = &tape->layers[level];
	const LatRows *in = &tape->levels[level];
	int			width = (int) layer->x.ld;
	LatLinear	query = lat_linear_columns(&tape->model->layers[layer->layer].qkv, 0, width);
	LatLinear	key_value = lat_linear_columns(&tape->model->layers[layer->layer].qkv, width,
											   2 * width);
	LatMatrix	x = lat_matrix_rows(tape->rows_b, 0, d.rows);
	LatMatrix	d_key_value = lat_matrix_rows(tape->d_qkv, 0, in->rows);
	LatStatus	status;

	d_key_value.data += width;
	for (int row = 0; row < d.rows; row++)
		memcpy(x.data + row * x.ld, layer->x.data + layer->kept[row] * layer->x.ld,
			   width * sizeof(float));
	status = lat_linear_weight_gradient(tape, &query, x, lat_matrix_rows(tape->d_qkv, 0, d.rows));
	if (status == LAT_OK)
		status = lat_linear_input_gradient(tape, &query, lat_matrix_rows(tape->d_qkv, 0, d.rows),
										   d, true);
	if (status == LAT_OK)
		status = lat_linear_weight_gradient(tape, &key_value,
											lat_matrix_rows(layer->x, 0, in->rows), d_key_value);
	if (status != LAT_OK)
		return status;

	/* rows that went get what the head says, or nothing; those that stayed get d */
	for (int row = 0, kept = 0; row < in->rows; row++)
	{
		float	   *to = dx.data + row * dx.ld;

		if (kept < d.rows && layer->kept[kept] == row)
			memcpy(to, d.data + kept++ * d.ld, dx.ld * sizeof(float));
		else if (tape->model->config.task == LAT_CLASSIFY)
			memset(to, 0, dx.ld * sizeof(float));
		else
			memcpy(to, tape->d_restored.data + in->origins[row] * tape->d_restored.ld,
				   dx.ld * sizeof(float));
	}
	return lat_linear_input_gradient(tape, &key_value, d_key_value, dx, true);
}

/* d (R', Hp) of y becomes dx (R, Hp), the gradient of what the layer received. */
static LatStatus
attention_backward(LatTape *tape, int level, LatMatrix d, LatMatrix dx)
{
	const LatConfig *config = &tape->model->config;
	LatTapeLayer *layer = &tape->layers[level];
	const LatLayer *weights = &tape->model->layers[layer->layer];
	LatMatrix	out = lat_matrix_rows(tape->rows_b, 0, d.rows);
	LatMatrix	d_context = lat_matrix_rows(dx, 0, d.rows);
	LatStatus	status;

	norm_backward(tape, &weights->attention_norm, layer->attention_sum, d, config->hidden);
	copy_rows(out, d, d.rows);
	if (lat_drops_attention_output(config))
		lat_tape_dropout(tape, LAT_SITE_ATTENTION_OUTPUT, layer->layer, &tape->levels[level + 1],
						 out);
	status = linear_backward(tape, &weights->attention_output,
							 lat_matrix_rows(layer->context, 0, d.rows), out, d_context);
	if (status == LAT_OK)
		status = lat_tape_attend_backward(tape, level, d_context);
	if (status == LAT_OK)
		status = projection_backward(tape, level, d, dx);
	return status;
}

/* ---- embeddings --------------------------------------------------------------------------- */

static void
add_row(float *to, const float *from, int n)
{
	for (int i = 0; i < n; i++)
		to[i] += from[i];
}

/* d (S, Hp): gradient of the first layer's input */
static LatStatus
embedding_backward(LatTape *tape, LatMatrix d)
{
	const LatModel *model = tape->model;
	const LatTapeInput *input = tape->input;
	int			stride = model->words.stride;

	if (model->embedding_projection.weights)
	{
		LatMatrix	out = {tape->rows_b.data, tape->embedded.ld, d.rows};
		LatStatus	status = linear_backward(tape, &model->embedding_projection,
											 lat_matrix_rows(tape->embedded, 0, d.rows), d, out);

		if (status != LAT_OK)
			return status;
		d = out;
	}
	lat_tape_dropout(tape, LAT_SITE_EMBEDDING, 0, &tape->levels[0], d);
	norm_backward(tape, &model->embedding_norm, tape->embedding_sum, d, model->config.embedding);
	for (int s = 0; s < input->count; s++)
		for (int row = input->offsets[s]; row < input->offsets[s + 1]; row++)
		{
			const float *from = d.data + row * d.ld;

			add_row(lat_gradient_of(tape, model->positions.codes) +
					(size_t) (row - input->offsets[s]) * stride, from, stride);
			if (model->config.segments > 0)
				add_row(lat_gradient_of(tape, model->segments.codes) +
						(size_t) input->segments[row] * stride, from, stride);
			if (tape->word_gradients)
				add_row(tape->word_gradients + (size_t) tape->slots[input->ids[row]] * stride, from,
						stride);
		}
	return LAT_OK;
}

LatStatus
lat_tape_backward(LatTape *tape)
{
	LatMatrix	d = lat_matrix_rows(tape->rows_a, 0, tape->levels[tape->count].rows);
	LatMatrix	next = tape->rows_c;
	LatStatus	status = head_backward(tape, d);

	for (int level = tape->count - 1; status == LAT_OK && level >= 0; level--)
	{
		LatMatrix	dx = lat_matrix_rows(next, 0, tape->levels[level].rows);

		status = feed_forward_backward(tape, level, d);
		if (status == LAT_OK)
			status = attention_backward(tape, level, d, dx);
		next = d;
		d = dx;
	}
	return status == LAT_OK ? embedding_backward(tape, d) : status;
}
