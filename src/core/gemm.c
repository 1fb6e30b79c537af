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

/* Panels of a linear over a block of rows: x as given, or (int8) its codes in the pass. */
static void
multiply(LatPass *pass, const LatLinear *linear, LatActivation activation, LatMatrix x,
		 int panel, int panels, LatMatrix y)
{
	size_t		panel_size = (size_t) linear->k * LAT_PANEL;	/* fp32 */
	float	   *out = y.data + panel * LAT_PANEL;

	if (linear->layout == LAT_INT8)
		pass->kernels->gemm_s8(&(LatGemmS8) {
			.codes = &pass->codes,.rows = x.rows,.linear = linear,.panel = panel,.panels = panels,
				.activation = activation,.y = out,.ldy = y.ld
		});
	else
		pass->kernels->gemm_f32(&(LatGemm) {
			.a = x.data,.a_row = x.ld,.a_depth = 1,
				.b = (const float *) linear->weights + panel * panel_size,
				.b_panel = panel_size,.b_depth = LAT_PANEL,
				.c = out,.c_row = y.ld,.c_panel = LAT_PANEL,
				.bias = linear->bias + panel * LAT_PANEL,
				.rows = x.rows,.depth = linear->k,.panels = panels
		});
}

LatStatus
lat_gemm(LatPass *pass, const LatLinear *linear, LatActivation activation, LatMatrix x, LatMatrix y)
{
	const LatKernels *kernels = pass->kernels;
	int			all_panels = linear->n_padded / LAT_PANEL;
	bool		fused = linear->layout == LAT_INT8 && activation != LAT_TANH;

	for (int from = 0; from < x.rows; from += LAT_BLOCK_ROWS)
	{
		int			rows = x.rows - from < LAT_BLOCK_ROWS ? x.rows - from : LAT_BLOCK_ROWS;
		LatMatrix	in = lat_matrix_rows(x, from, rows);
		LatMatrix	out = lat_matrix_rows(y, from, rows);
		int			step = panels_a_call(linear, rows);

		if (linear->layout == LAT_INT8)
			kernels->quantize(in.data, in.ld, rows, linear->k, linear->levels, &pass->codes);
		for (int panel = 0; panel < all_panels; panel += step)
		{
			int			panels = all_panels - panel < step ? all_panels - panel : step;

			if (pass->host->interrupted(pass->host->arg))
				return LAT_INTERRUPTED;
			multiply(pass, linear, fused ? activation : LAT_IDENTITY, in, panel, panels, out);
		}
		if (!fused)
			kernels->activate(activation, out.data, out.ld, rows, linear->n_padded);
	}
	return LAT_OK;
}
