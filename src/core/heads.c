/*
 * heads.c
 *	  From hidden states to the model's output.
 *
 *		classify	[CLS] of each sequence -> dense, activation -> logits (count, labels)
 *		span, tag	every restored token -> logits (S, labels)
 *		embed		mean over the restored tokens, L2-normalised (count, H)
 */
#include "stages.h"

#include <math.h>
#include <string.h>

/*
 * output (rows, labels) = x W + b, a block at a time: labels may be wider than any scratch
 * row.  Row i of x belongs to row origins[i] of the output; NULL: to row i.
 */
static LatStatus
apply_output(LatPass *pass, LatMatrix x, const int32_t *origins, float *output)
{
	const LatLinear *head = &pass->model->head_output;
	int			labels = pass->model->config.labels;
	int			width = (int) pass->qkv.ld;

	for (int first = 0; first < head->n_padded; first += width)
	{
		int			columns = head->n_padded - first < width ? head->n_padded - first : width;
		int			named = labels - first < columns ? labels - first : columns;
		LatLinear	part = lat_linear_columns(head, first, columns);
		LatMatrix	y = lat_matrix_rows(pass->qkv, 0, x.rows);
		LatStatus	status = lat_gemm(pass, &part, LAT_IDENTITY, x, y);

		if (status != LAT_OK)
			return status;
		for (int row = 0; row < x.rows; row++)
			memcpy(output + (size_t) (origins ? origins[row] : row) * labels + first,
				   y.data + row * y.ld, named * sizeof(float));
	}
	return LAT_OK;
}

static LatStatus
classify(LatPass *pass, float *output)
{
	const LatConfig *config = &pass->model->config;
	LatMatrix	cls = lat_matrix_rows(pass->context, 0, pass->batch->count);
	LatMatrix	dense = lat_matrix_rows(pass->y, 0, pass->batch->count);
	LatStatus	status;

	for (int s = 0; s < cls.rows; s++)
		memcpy(cls.data + s * cls.ld, pass->x.data + pass->offsets[s] * pass->x.ld,
			   cls.ld * sizeof(float));
	if (pass->model->head_dense.weights == NULL)
		return apply_output(pass, cls, NULL, output);
	status = lat_gemm(pass, &pass->model->head_dense, config->head_activation, cls, dense);
	return status == LAT_OK ? apply_output(pass, dense, NULL, output) : status;
}

/* Mean over the rows of x at these places, in order. */
static void
mean_pool(LatMatrix x, const int32_t *places, int count, int hidden, float *output)
{
	float		square = 0;

	memset(output, 0, hidden * sizeof(float));
	for (int at = 0; at < count; at++)
		for (int i = 0; i < hidden; i++)
			output[i] += x.data[places[at] * x.ld + i];
	for (int i = 0; i < hidden; i++)
	{
		output[i] /= (float) count;
		square += output[i] * output[i];
	}
	if (square > 0)
		for (int i = 0; i < hidden; i++)
			output[i] /= sqrtf(square);
}

/* An embedding of each sequence. */
static void
pool(LatPass *pass, float *output)
{
	const LatBatch *batch = pass->batch;
	int			hidden = pass->model->config.hidden;

	for (int row = 0; row < batch->offsets[batch->count]; row++)
		pass->places[pass->origins[row]] = row;
	for (int s = 0; s < batch->count; s++)
		mean_pool(pass->x, pass->places + batch->offsets[s],
				  batch->offsets[s + 1] - batch->offsets[s], hidden, output + (size_t) s * hidden);
}

/*
 * x holds the last state of every token (Drop-and-Restore), but not in the text's order: origins
 * say which is which.
 */
LatStatus
lat_apply_head(LatPass *pass, float *output)
{
	const LatBatch *batch = pass->batch;
	LatMatrix	x = lat_matrix_rows(pass->x, 0, batch->offsets[batch->count]);

	if (pass->model->config.task == LAT_CLASSIFY)
		return classify(pass, output);
	if (pass->model->config.task != LAT_EMBED)
		return apply_output(pass, x, pass->origins, output);
	pool(pass, output);
	return LAT_OK;
}
