/*
 * training_linear_bf16.c
 *	  The three products of a linear layer in training, with inputs rounded to bf16.
 *
 * As training_linear.c, at nearly twice the speed where the CPU has the
 * instruction: weights, activations and gradients stay floats in memory and are
 * rounded on their way into the kernel; sums are floats.
 *
 * LAT_BF16_BACKWARD leaves the forward pass alone: losses, the tokens that are
 * dropped, and the small differences that distillation learns from are those of
 * f32, and each tensor's gradient points where f32's does (training_bf16_test.c).
 * LAT_BF16_ALL is faster, but a rounding may decide between two tokens of nearly
 * equal significance, and then the gradient is that of another sub-model.
 *
 * A is packed once for each block of depth (all rows at a time; of a weight
 * gradient MOST_ROWS), B for each group of panels.  A gradient that is written
 * once goes past the caches: it is larger than they are, and what it would
 * overwrite need not be read.
 */
#include "training.h"

#define MOST_ROWS 512			/* of A that are packed at a time */
#define CALL_ROWS 256			/* of a kernel call: under a millisecond */
#define MOST_PAIRS (LAT_GEMM_DEPTH / 2)

static int
least(int a, int b)
{
	return a < b ? a : b;
}

void
lat_carve_bf16(LatCarver *carver, LatTape *tape)
{
	size_t		rows = tape->most_rows > MOST_ROWS ? (size_t) tape->most_rows : MOST_ROWS;

	tape->pairs_a = lat_carve(carver, rows * MOST_PAIRS * sizeof(uint32_t));
	tape->pairs_b = lat_carve(carver, (size_t) LAT_GEMM_PANELS * MOST_PAIRS * LAT_PANEL *
							  sizeof(uint32_t));
}

/* Call the kernel for all rows, CALL_ROWS at a time. */
static LatStatus
multiply(const LatTape *tape, LatGemmBf16 gemm)
{
	int			rows = gemm.rows;

	for (int from = 0; from < rows; from += CALL_ROWS)
	{
		LatGemmBf16 part = gemm;

		part.a += from * gemm.a_row;
		part.c += from * gemm.c_row;
		part.rows = least(rows - from, CALL_ROWS);
		if (tape->host->interrupted(tape->host->arg))
			return LAT_INTERRUPTED;
		tape->kernels->gemm_bf16(&part);
	}
	return LAT_OK;
}

LatStatus
lat_linear_forward_bf16(LatTape *tape, const LatLinear *linear, LatMatrix x, LatMatrix y)
{
	const float *weights = linear->weights;
	int			panels = linear->n_padded / LAT_PANEL;
	size_t		panel_size = (size_t) linear->k * LAT_PANEL;
	LatStatus	status = LAT_OK;

	for (int k = 0; k < linear->k; k += LAT_GEMM_DEPTH)
	{
		int			depth = least(linear->k - k, LAT_GEMM_DEPTH);
		bool		last = k + depth == linear->k;

		tape->kernels->pack_bf16(x.data + k, x.ld, x.rows, depth, tape->pairs_a, MOST_PAIRS);
		for (int panel = 0; status == LAT_OK && panel < panels; panel += LAT_GEMM_PANELS)
		{
			int			width = least(panels - panel, LAT_GEMM_PANELS);

			for (int p = 0; p < width; p++)
				tape->kernels->pair_rows(weights + (panel + p) * panel_size +
										 (size_t) k * LAT_PANEL, LAT_PANEL, depth, LAT_PANEL,
										 tape->pairs_b + p * MOST_PAIRS * LAT_PANEL, LAT_PANEL);
			status = multiply(tape, (LatGemmBf16) {
				.a = tape->pairs_a,.a_row = MOST_PAIRS,.a_pair = 1,
					.b = tape->pairs_b,.b_panel = (size_t) MOST_PAIRS * LAT_PANEL,
					.c = y.data + panel * LAT_PANEL,.c_row = y.ld,.c_panel = LAT_PANEL,
					.bias = last ? linear->bias + panel * LAT_PANEL : NULL,.add = k > 0,
					.rows = x.rows,.pairs = (depth + 1) / 2,.panels = width
			});
		}
	}
	return status;
}

LatStatus
lat_linear_input_gradient_bf16(LatTape *tape, const LatLinear *linear, LatMatrix dy,
							   LatMatrix dx, bool add)
{
	const float *weights = linear->weights;
	int			panels = LAT_ROUND_UP(linear->k, LAT_PANEL) / LAT_PANEL;
	size_t		panel_size = (size_t) linear->k * LAT_PANEL;
	LatStatus	status = LAT_OK;

	for (int n = 0; n < linear->n_padded; n += LAT_GEMM_DEPTH)
	{
		int			depth = least(linear->n_padded - n, LAT_GEMM_DEPTH);

		tape->kernels->pack_bf16(dy.data + n, dy.ld, dy.rows, depth, tape->pairs_a, MOST_PAIRS);
		for (int panel = 0; status == LAT_OK && panel < panels; panel += LAT_GEMM_PANELS)
		{
			int			width = least(panels - panel, LAT_GEMM_PANELS);

			for (int p = 0; p < width; p++)
			{
				int			k = (panel + p) * LAT_PANEL;

				tape->kernels->pair_columns(weights + n / LAT_PANEL * panel_size +
											(size_t) k * LAT_PANEL, panel_size,
											least(linear->k - k, LAT_PANEL), depth,
											tape->pairs_b + p * MOST_PAIRS * LAT_PANEL);
			}
			status = multiply(tape, (LatGemmBf16) {
				.a = tape->pairs_a,.a_row = MOST_PAIRS,.a_pair = 1,
					.b = tape->pairs_b,.b_panel = (size_t) MOST_PAIRS * LAT_PANEL,
					.c = dx.data + panel * LAT_PANEL,.c_row = dx.ld,.c_panel = LAT_PANEL,
					.add = add || n > 0,
					.rows = dy.rows,.pairs = depth / 2,.panels = width
			});
		}
	}
	return status;
}

/* What becomes of a gradient's old value. */
typedef enum Accumulation
{
	ADD,
	OVERWRITE,
	OVERWRITE_FOR_LATER			/* nothing is added to it soon */
} Accumulation;

/* Rows k .. k + rows - 1 of the gradient, from the part of x and dy at hand. */
static LatStatus
weight_rows(LatTape *tape, const LatLinear *linear, int k, LatMatrix x, LatMatrix dy,
			Accumulation accumulation)
{
	float	   *gradient = lat_gradient_of(tape, linear->weights);
	int			panels = linear->n_padded / LAT_PANEL;
	size_t		panel_size = (size_t) linear->k * LAT_PANEL;
	int			rows = least(linear->k - k, MOST_ROWS);
	size_t		a_pair = LAT_ROUND_UP((size_t) rows, LAT_PANEL);
	size_t		pairs = (size_t) (dy.rows + 1) / 2;
	LatStatus	status = LAT_OK;

	tape->kernels->pair_rows(x.data + k, x.ld, x.rows, rows, tape->pairs_a, a_pair);
	for (int panel = 0; status == LAT_OK && panel < panels; panel += LAT_GEMM_PANELS)
	{
		int			width = least(panels - panel, LAT_GEMM_PANELS);

		for (int p = 0; p < width; p++)
			tape->kernels->pair_rows(dy.data + (panel + p) * LAT_PANEL, dy.ld, dy.rows, LAT_PANEL,
									 tape->pairs_b + p * pairs * LAT_PANEL, LAT_PANEL);
		status = multiply(tape, (LatGemmBf16) {
			.a = tape->pairs_a,.a_row = 1,.a_pair = a_pair,
				.b = tape->pairs_b,.b_panel = pairs * LAT_PANEL,
				.c = gradient + panel * panel_size + (size_t) k * LAT_PANEL,
				.c_row = LAT_PANEL,.c_panel = panel_size,
				.add = accumulation == ADD,.stream = accumulation == OVERWRITE_FOR_LATER,
				.rows = rows,.pairs = (int) pairs,.panels = width
		});
	}
	return status;
}

LatStatus
lat_linear_weight_gradient_bf16(LatTape *tape, const LatLinear *linear, LatMatrix x, LatMatrix dy)
{
	LatStatus	status = LAT_OK;

	for (int row = 0; row < dy.rows; row += LAT_GEMM_DEPTH)
	{
		int			rows = least(dy.rows - row, LAT_GEMM_DEPTH);
		Accumulation accumulation = row > 0 || !tape->fresh ? ADD
			: rows < dy.rows ? OVERWRITE : OVERWRITE_FOR_LATER;

		for (int k = 0; status == LAT_OK && k < linear->k; k += MOST_ROWS)
			status = weight_rows(tape, linear, k, lat_matrix_rows(x, row, rows),
								 lat_matrix_rows(dy, row, rows), accumulation);
	}
	return status;
}
