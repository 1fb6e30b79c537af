/*
 * training_linear.c
 *	  The three products of a linear layer in training, on the kernel of inference.
 *
 *		Y = X W + b		depth K		W as it lies in the image
 *		dX = dY W'		depth N		blocks of W, transposed on the way into the cache
 *		dW = X' dY		depth rows	X read with its strides swapped, dY packed to panels
 *
 * W' is not kept: transposing a block of 256 x 48 costs about a hundredth of
 * multiplying it by a micro-batch, and a second copy of the model costs memory.
 * All is cut so that a packed block of B stays in the second-level cache, and
 * a call of the kernel takes at most a few milliseconds under the scalar set.
 * Depth goes in order: every sum has one order, whatever the cuts.
 */
#include "training.h"

#include <string.h>

#define MOST_ROWS 256			/* of a kernel call */

static int
least(int a, int b)
{
	return a < b ? a : b;
}

/* Call the kernel for all rows, MOST_ROWS at a time. */
static LatStatus
multiply(const LatTape *tape, LatGemm gemm)
{
	int			rows = gemm.rows;

	for (int from = 0; from < rows; from += MOST_ROWS)
	{
		LatGemm		part = gemm;

		part.a += from * gemm.a_row;
		part.c += from * gemm.c_row;
		part.rows = least(rows - from, MOST_ROWS);
		if (tape->host->interrupted(tape->host->arg))
			return LAT_INTERRUPTED;
		tape->kernels->gemm_f32(&part);
	}
	return LAT_OK;
}

LatStatus
lat_linear_forward(LatTape *tape, const LatLinear *linear, LatMatrix x, LatMatrix y)
{
	const float *weights = linear->weights;
	int			panels = linear->n_padded / LAT_PANEL;
	size_t		panel_size = (size_t) linear->k * LAT_PANEL;
	int			last = (linear->k - 1) / LAT_GEMM_DEPTH * LAT_GEMM_DEPTH;
	LatStatus	status = LAT_OK;

	if (tape->bf16 == LAT_BF16_ALL)
		return lat_linear_forward_bf16(tape, linear, x, y);
	for (int k = 0; k < linear->k; k += LAT_GEMM_DEPTH)
		for (int panel = 0; status == LAT_OK && panel < panels; panel += LAT_GEMM_PANELS)
			status = multiply(tape, (LatGemm) {
				.a = x.data + k,.a_row = x.ld,.a_depth = 1,
					.b = weights + panel * panel_size + (size_t) k * LAT_PANEL,
					.b_panel = panel_size,.b_depth = LAT_PANEL,
					.c = y.data + panel * LAT_PANEL,.c_row = y.ld,.c_panel = LAT_PANEL,
					.bias = k == last ? linear->bias + panel * LAT_PANEL : NULL,
					.add = k > 0,
					.rows = x.rows,.depth = least(linear->k - k, LAT_GEMM_DEPTH),
					.panels = least(panels - panel, LAT_GEMM_PANELS)
			});
	return status;
}

/*
 * Rows k .. k + 15 and columns n .. n + depth - 1 of W (depth a multiple of 16), transposed to one
 * panel (depth, 16); rows beyond K are zero.
 */
static void
transpose_panel(const LatTape *tape, const LatLinear *linear, int k, int n, int depth, float *panel)
{
	const float *weights = linear->weights;
	size_t		panel_size = (size_t) linear->k * LAT_PANEL;

	for (int i = 0; i < depth; i += LAT_PANEL)
		tape->kernels->transpose(weights + (n + i) / LAT_PANEL * panel_size + k * LAT_PANEL,
								 LAT_PANEL, least(linear->k - k, LAT_PANEL), LAT_PANEL,
								 panel + i * LAT_PANEL);
}

LatStatus
lat_linear_input_gradient(LatTape *tape, const LatLinear *linear, LatMatrix dy, LatMatrix dx,
						  bool add)
{
	int			panels = LAT_ROUND_UP(linear->k, LAT_PANEL) / LAT_PANEL;
	LatStatus	status = LAT_OK;

	if (tape->bf16 != LAT_BF16_NONE)
		return lat_linear_input_gradient_bf16(tape, linear, dy, dx, add);
	for (int n = 0; n < linear->n_padded; n += LAT_GEMM_DEPTH)
		for (int panel = 0; status == LAT_OK && panel < panels; panel += LAT_GEMM_PANELS)
		{
			int			depth = least(linear->n_padded - n, LAT_GEMM_DEPTH);
			int			width = least(panels - panel, LAT_GEMM_PANELS);

			for (int p = 0; p < width; p++)
				transpose_panel(tape, linear, (panel + p) * LAT_PANEL, n, depth,
								tape->panels + p * depth * LAT_PANEL);
			status = multiply(tape, (LatGemm) {
				.a = dy.data + n,.a_row = dy.ld,.a_depth = 1,
					.b = tape->panels,.b_panel = (size_t) depth * LAT_PANEL,.b_depth = LAT_PANEL,
					.c = dx.data + panel * LAT_PANEL,.c_row = dx.ld,.c_panel = LAT_PANEL,
					.add = add || n > 0,
					.rows = dy.rows,.depth = depth,.panels = width
			});
		}
	return status;
}

static LatStatus
weight_gradient(LatTape *tape, const LatLinear *linear, LatMatrix x, LatMatrix dy)
{
	float	   *gradient = lat_gradient_of(tape, linear->weights);
	int			panels = linear->n_padded / LAT_PANEL;
	size_t		panel_size = (size_t) linear->k * LAT_PANEL;
	LatStatus	status = LAT_OK;

	for (int row = 0; row < dy.rows; row += LAT_GEMM_DEPTH)
		for (int panel = 0; status == LAT_OK && panel < panels; panel += LAT_GEMM_PANELS)
		{
			LatMatrix	part = lat_matrix_rows(dy, row, least(dy.rows - row, LAT_GEMM_DEPTH));
			int			width = least(panels - panel, LAT_GEMM_PANELS);

			part.data += panel * LAT_PANEL;
			lat_pack_columns(part, width * LAT_PANEL, tape->panels);
			status = multiply(tape, (LatGemm) {
				.a = x.data + (size_t) row * x.ld,.a_row = 1,.a_depth = x.ld,
					.b = tape->panels,.b_panel = (size_t) part.rows * LAT_PANEL,
					.b_depth = LAT_PANEL,
					.c = gradient + panel * panel_size,.c_row = LAT_PANEL,.c_panel = panel_size,
					.add = row > 0 || !tape->fresh,
					.rows = linear->k,.depth = part.rows,.panels = width
			});
		}
	return status;
}

LatStatus
lat_linear_weight_gradient(LatTape *tape, const LatLinear *linear, LatMatrix x, LatMatrix dy)
{
	tape->kernels->add_rows(lat_gradient_of(tape, linear->bias), dy.data, dy.ld, dy.rows,
							linear->n_padded);
	if (tape->bf16 != LAT_BF16_NONE)
		return lat_linear_weight_gradient_bf16(tape, linear, x, dy);
	return weight_gradient(tape, linear, x, dy);
}
