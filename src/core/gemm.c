/*
 * gemm.c
 *	  A linear layer over a block of rows at a time.
 *
 *		x (rows, K) --quantize--> codes (64, Kp) --gemm_s8--> y (rows, Np)		int8
 *		x (rows, K) --gemm_f32--------------------------------> y (rows, Np)	fp32
 *
 * Rows go in blocks, so that the codes stay in the first-level cache while the
 * weights stream past; columns go in blocks, so that the host is asked for
 * interrupts often enough even under the scalar kernels.
 */
#include "stages.h"

/*
 * Multiply-adds between two questions to the host: 4 ms of the scalar kernels at
 * one a nanosecond.
 */
#define POLL_WORK (4 * 1000 * 1000)

/* Columns advance by whole tiles of the widest kernel. */
#define TILE_PANELS 3

LatMatrix
lat_matrix_rows(LatMatrix matrix, int row, int rows)
{
	return (LatMatrix) {
		matrix.data + (size_t) row * matrix.ld, matrix.ld, rows
	};
}

LatLinear
lat_linear_columns(const LatLinear *linear, int first, int n)
{
	LatLinear	part = *linear;

	part.n = n;
	part.n_padded = n;
	part.bias += first;
	if (linear->layout == LAT_INT8)
	{
		part.weights = (const int8_t *) linear->weights + (size_t) first * linear->k_padded;
		part.column_sums += first;
		part.scales += first;
	}
	else
		part.weights = (const float *) linear->weights + (size_t) first * linear->k;
	return part;
}

/* Panels that a kernel is handed at a time. */
static int
panels_a_call(const LatLinear *linear, int rows)
{
	int64_t		panel_work = (int64_t) rows * linear->k_padded * LAT_PANEL;
	int64_t		panels = POLL_WORK / panel_work / TILE_PANELS * TILE_PANELS;

	return panels < TILE_PANELS ? TILE_PANELS : (int) panels;
}

LatStatus
lat_gemm(LatPass *pass, const LatLinear *linear, LatMatrix x, LatMatrix y)
{
	const LatKernels *kernels = pass->kernels;
	int			all_panels = linear->n_padded / LAT_PANEL;
	size_t		panel_size = (size_t) linear->k * LAT_PANEL;	/* fp32 */

	for (int from = 0; from < x.rows; from += LAT_BLOCK_ROWS)
	{
		int			rows = x.rows - from < LAT_BLOCK_ROWS ? x.rows - from : LAT_BLOCK_ROWS;
		const float *block = x.data + (size_t) from * x.ld;
		int			step = panels_a_call(linear, rows);

		if (linear->layout == LAT_INT8)
			kernels->quantize(block, x.ld, rows, linear->k, linear->levels, &pass->codes);
		for (int panel = 0; panel < all_panels; panel += step)
		{
			int			panels = all_panels - panel < step ? all_panels - panel : step;
			float	   *out = y.data + (size_t) from * y.ld + panel * LAT_PANEL;

			if (pass->host->interrupted(pass->host->arg))
				return LAT_INTERRUPTED;
			if (linear->layout == LAT_INT8)
				kernels->gemm_s8(&pass->codes, rows, linear, panel, panels, out, y.ld);
			else
				kernels->gemm_f32(&(LatGemm) {
					.a = block,.a_row = x.ld,.a_depth = 1,
						.b = (const float *) linear->weights + panel * panel_size,
						.b_panel = panel_size,.b_depth = LAT_PANEL,
						.c = out,.c_row = y.ld,.c_panel = LAT_PANEL,
						.bias = linear->bias + panel * LAT_PANEL,
						.rows = rows,.depth = linear->k,.panels = panels
				});
		}
	}
	return LAT_OK;
}
