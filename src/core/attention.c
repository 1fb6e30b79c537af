/*
 * attention.c
 *	  Multi-head attention of one sequence, the significance of its tokens, and their selection.
 *
 * Heads one after another; a head's keys and values are laid out as GEMM panels
 * once, then queries go in blocks whose scores stay in the second-level cache:
 *
 *		scores (64, T) = Q K'  -->  softmax, column sums  -->  context (64, D) = P V
 *
 * Significance (arXiv 2010.07003 section 2.2, after PoWER-BERT): the sum over
 * heads and queries of the attention probability that a token is given.  It is
 * added up in a fixed order, so that it does not depend on the batch.
 *
 * In int8, where the CPU multiplies bf16, one kernel does all this for 16 queries at a time.
 */
#include "stages.h"

#include <math.h>
#include <string.h>

void
lat_pack_columns(LatMatrix from, int d, float *panels)
{
	int			column = 0;

	for (; column + LAT_PANEL <= d; column += LAT_PANEL)
		for (int row = 0; row < from.rows; row++, panels += LAT_PANEL)
			memcpy(panels, from.data + row * from.ld + column, LAT_PANEL * sizeof(float));
	for (int row = 0; column < d && row < from.rows; row++, panels += LAT_PANEL)
	{
		int			width = d - column;

		memcpy(panels, from.data + row * from.ld + column, width * sizeof(float));
		memset(panels + width, 0, (LAT_PANEL - width) * sizeof(float));
	}
}

void
lat_pack_rows(const LatKernels *kernels, LatMatrix from, int d, float *panels)
{
	for (int first = 0; first < from.rows; first += LAT_PANEL, panels += d * LAT_PANEL)
	{
		int			rows = from.rows - first < LAT_PANEL ? from.rows - first : LAT_PANEL;

		kernels->transpose(from.data + first * from.ld, from.ld, rows, d, panels);
	}
}

/* Products in f32. */
static LatStatus
attend_f32(LatPass *pass, const LatAttention *attention)
{
	const LatConfig *config = &pass->model->config;
	const LatKernels *kernels = pass->kernels;
	int			d = config->hidden / config->heads;
	int			tokens = attention->k.rows;
	int			queries = attention->q.rows;
	size_t		score_ld = LAT_ROUND_UP(tokens, LAT_PANEL);
	size_t		context_ld = LAT_ROUND_UP(d, LAT_PANEL);
	float		scale = 1 / sqrtf((float) d);

	memset(pass->significance, 0, score_ld * sizeof(float));
	for (int head = 0; head < config->heads; head++)
	{
		LatMatrix	k = attention->k;
		LatMatrix	v = attention->v;

		k.data += head * d;
		v.data += head * d;
		lat_pack_rows(kernels, k, d, pass->key_panels);
		lat_pack_columns(v, d, pass->value_panels);
		for (int from = 0; from < queries; from += LAT_BLOCK_ROWS)
		{
			int			rows = queries - from < LAT_BLOCK_ROWS ? queries - from : LAT_BLOCK_ROWS;
			const float *q = attention->q.data + from * attention->q.ld + head * d;
			float	   *context = attention->context.data + from * attention->context.ld + head * d;

			if (pass->host->interrupted(pass->host->arg))
				return LAT_INTERRUPTED;
			kernels->gemm_f32(&(LatGemm) {
				.a = q,.a_row = attention->q.ld,.a_depth = 1,
					.b = pass->key_panels,.b_panel = (size_t) d * LAT_PANEL,.b_depth = LAT_PANEL,
					.c = pass->scores,.c_row = score_ld,.c_panel = LAT_PANEL,
					.rows = rows,.depth = d,.panels = (int) score_ld / LAT_PANEL
			});
			kernels->softmax(pass->scores, score_ld, rows, tokens, scale, pass->significance);
			kernels->gemm_f32(&(LatGemm) {
				.a = pass->scores,.a_row = score_ld,.a_depth = 1,
					.b = pass->value_panels,.b_panel = (size_t) tokens * LAT_PANEL,
					.b_depth = LAT_PANEL,
					.c = pass->head_context,.c_row = context_ld,.c_panel = LAT_PANEL,
					.rows = rows,.depth = tokens,.panels = (int) context_ld / LAT_PANEL
			});
			for (int row = 0; row < rows; row++)
				memcpy(context + row * attention->context.ld,
					   pass->head_context + row * context_ld, d * sizeof(float));
		}
	}
	return LAT_OK;
}

/* significance (T) = sums of the lanes (T, 16), as a tree. */
static void
sum_lanes(const float *lanes, int tokens, float *significance)
{
	for (int token = 0; token < tokens; token++)
	{
		float		part[LAT_PANEL];

		memcpy(part, lanes + (size_t) token * LAT_PANEL, sizeof(part));
		for (int half = LAT_PANEL / 2; half > 0; half /= 2)
			for (int i = 0; i < half; i++)
				part[i] += part[i + half];
		significance[token] = part[0];
	}
}

/* Products in bf16: a kernel takes a head through. */
static LatStatus
attend_bf16(LatPass *pass, const LatAttention *attention)
{
	const LatConfig *config = &pass->model->config;
	int			d = config->hidden / config->heads;
	int			queries = attention->q.rows;
	LatHead		head = {
		.q_ld = attention->q.ld,.kv_ld = attention->k.ld,.context_ld = attention->context.ld,
		.tokens = attention->k.rows,.d = d,.scale = 1 / sqrtf((float) d),
		.keys = (void *) pass->key_panels,.values = (void *) pass->value_panels,
		.scores = pass->scores,
		.significance = attention->significance ? pass->significance_lanes : NULL
	};

	if (head.significance)
		memset(head.significance, 0, (size_t) head.tokens * LAT_PANEL * sizeof(float));
	for (int h = 0; h < config->heads; h++)
	{
		head.q = attention->q.data + h * d;
		head.k = attention->k.data + h * d;
		head.v = attention->v.data + h * d;
		head.context = attention->context.data + h * d;
		pass->kernels->pack_head(&head);
		for (int from = 0; from < queries; from += LAT_BLOCK_ROWS)
		{
			int			left = queries - from;

			if (pass->host->interrupted(pass->host->arg))
				return LAT_INTERRUPTED;
			pass->kernels->attend_head(&head, from, left < LAT_BLOCK_ROWS ? left : LAT_BLOCK_ROWS);
		}
	}
	if (head.significance)
		sum_lanes(head.significance, head.tokens, pass->significance);
	return LAT_OK;
}

LatStatus
lat_attend(LatPass *pass, const LatAttention *attention)
{
	if (pass->kernels->attend_head && pass->model->precision == LAT_INT8)
		return attend_bf16(pass, attention);
	return attend_f32(pass, attention);
}

/*
 * The bits of a float that is not negative order as the float does, with NaN
 * above all: so that whatever the numbers are, exactly `keep` tokens are kept.
 */
static uint32_t
significance_rank(float significance)
{
	uint32_t	bits;

	memcpy(&bits, &significance, sizeof(bits));
	return bits & 0x7fffffff;
}

/* The k-th highest (from 1) of n values, which it reorders: Hoare's selection. */
static uint32_t
kth_highest(uint32_t *values, int n, int k)
{
	int			low = 0;
	int			high = n - 1;

	while (low < high)
	{
		uint32_t	pivot = values[low + (high - low) / 2];
		int			i = low;
		int			j = high;

		while (i <= j)
		{
			while (values[i] > pivot)
				i++;
			while (values[j] < pivot)
				j--;
			if (i <= j)
			{
				uint32_t	swap = values[i];

				values[i++] = values[j];
				values[j--] = swap;
			}
		}
		if (k - 1 <= j)
			high = j;
		else if (k - 1 >= i)
			low = i;
		else
			break;
	}
	return values[k - 1];
}

void
lat_select_tokens(const float *significance, int tokens, int keep, bool keep_first,
				  uint32_t *order, int32_t *kept)
{
	uint32_t	threshold;
	int			above = 0;
	int			ties;
	int			count = 0;

	for (int i = 0; i < tokens; i++)
		order[i] = i == 0 && keep_first ? UINT32_MAX : significance_rank(significance[i]);
	threshold = kth_highest(order, tokens, keep);
	for (int i = 0; i < tokens; i++)
		above += order[i] > threshold;
	ties = keep - above;
	for (int i = 0; i < tokens; i++)
	{
		uint32_t	rank = i == 0 && keep_first ? UINT32_MAX : significance_rank(significance[i]);

		if (rank > threshold || (rank == threshold && ties-- > 0))
			kept[count++] = i;
	}
}
