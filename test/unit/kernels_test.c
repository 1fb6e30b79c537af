/*
 * kernels_test.c
 *	  Every kernel set against the scalar one, which is the specification, on shapes that do and
 *	  do not fill tiles, panels and vectors.
 */
#include "check.h"
#include "core/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 21
#define LD(n) (((n) + 15) / 16 * 16)

static uint64_t seed = 42;

/* Uniform in [-1, 1), the same on every machine (Knuth's MMIX generator). */
static float
random_float(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (float) (int32_t) (seed >> 32) / 2147483648.0f;
}

static float *
random_floats(size_t n)
{
	float	   *values = aligned_alloc(64, LD(n) * sizeof(float));

	for (size_t i = 0; i < LD(n); i++)
		values[i] = i < n ? random_float() : 0;
	return values;
}

/* A linear of random codes with its column sums, in the int8 layout. */
static LatLinear
random_linear(int k, int panels)
{
	LatLinear	linear = {.layout = LAT_INT8,.k = k,.k_padded = (k + 63) / 64 * 64,
	.n = panels * 16,.n_padded = panels * 16,.levels = 127};
	size_t		bytes = (size_t) linear.k_padded * linear.n_padded;
	int8_t	   *weights = aligned_alloc(64, bytes);
	int32_t    *sums = aligned_alloc(64, linear.n_padded * 4);
	float	   *scales = random_floats(linear.n_padded);

	memset(sums, 0, linear.n_padded * 4);
	for (int n = 0; n < linear.n_padded; n++)
		for (int i = 0; i < linear.k_padded; i++)
		{
			int8_t		code = i < k ? (int8_t) (random_float() * 127.9f) : 0;

			/* some at the ends of the range, where 16 bits would saturate first */
			if (i < k && n == 3)
				code = i % 2 ? 127 : -127;
			if (i < k && n == 4)
				code = 127;
			weights[((size_t) (n / 16) * (linear.k_padded / 4) + i / 4) * 64 + n % 16 * 4 + i % 4] = code;
			sums[n] += code;
		}
	linear.weights = weights;
	linear.column_sums = sums;
	linear.scales = scales;
	linear.bias = random_floats(linear.n_padded);
	return linear;
}

static void
release_linear(LatLinear *linear)
{
	free((void *) linear->weights);
	free((void *) linear->column_sums);
	free((void *) linear->scales);
	free((void *) linear->bias);
}

static LatCodes
new_codes(int k)
{
	LatCodes	codes = {calloc(ROWS, (k + 63) / 64 * 64), calloc(ROWS, 4), calloc(ROWS, 4)};

	return codes;
}

static void
release_codes(LatCodes *codes)
{
	free(codes->codes);
	free(codes->scales);
	free(codes->zeros);
}

/* Rows that are ordinary, all zero, constant, of one sign, huge, tiny, or hold a NaN. */
static void
make_odd_rows(float *x, int k)
{
	size_t		ld = LD(k);

	for (int i = 0; i < k; i++)
	{
		x[1 * ld + i] = 0;
		x[2 * ld + i] = 3;
		x[3 * ld + i] = fabsf(x[3 * ld + i]);
		x[4 * ld + i] = -fabsf(x[4 * ld + i]);
		x[5 * ld + i] *= 1e30f;
		x[6 * ld + i] *= 1e-38f;
		x[8 * ld + i] = 0;
	}
	x[8 * ld] = -1.5f;			/* the zero is rounded up, so the highest would be 128 of 127 */
	x[8 * ld + k - 1] = 125.5f;
	x[7 * ld + k / 2] = NAN;
}

static void
test_int8(const LatKernels *kernels, int k, int panels)
{
	size_t		ld = LD(k);
	int			stride = (k + 63) / 64 * 64;
	float	   *x = random_floats(ROWS * ld);
	LatLinear	linear = random_linear(k, panels);
	LatCodes	expected = new_codes(k);
	LatCodes	codes = new_codes(k);
	float	   *y = calloc(ROWS, panels * 64);
	float	   *expected_y = calloc(ROWS, panels * 64);
	float		worst = 0;

	make_odd_rows(x, k);
	for (int levels = 255; levels >= 127; levels -= 128)	/* the GEMM takes those of 7 bits */
	{
		lat_kernels_scalar.quantize(x, ld, ROWS, k, levels, &expected);
		kernels->quantize(x, ld, ROWS, k, levels, &codes);
		CHECK(memcmp(expected.codes, codes.codes, ROWS * stride) == 0, "%s: codes to %d, k %d",
			  kernels->name, levels, k);
		CHECK(memcmp(expected.scales, codes.scales, ROWS * 4) == 0, "%s: scales to %d, k %d",
			  kernels->name, levels, k);
		CHECK(memcmp(expected.zeros, codes.zeros, ROWS * 4) == 0, "%s: zeros to %d, k %d",
			  kernels->name, levels, k);
	}
	for (int i = 0; i < k; i++)
	{
		float		back = (float) (codes.codes[i] - codes.zeros[0]) * codes.scales[0];

		worst = fmaxf(worst, fabsf(back - x[i]) / codes.scales[0]);
	}
	CHECK(worst < 1.01f, "%s: a code is at most one step off, k %d", kernels->name, k);

	for (int rows = 1; rows <= ROWS; rows++)
		for (int activation = LAT_IDENTITY; activation <= LAT_RELU; activation++)
		{
			LatGemmS8	gemm = {.codes = &expected,.rows = rows,.linear = &linear,
				.panels = panels,.activation = activation,.y = expected_y,.ldy = panels * 16};

			lat_kernels_scalar.gemm_s8(&gemm);
			gemm.codes = &codes;
			gemm.y = y;
			kernels->gemm_s8(&gemm);
			CHECK(memcmp(y, expected_y, rows * panels * 64) == 0,
				  "%s: int8 GEMM bit-equal, %d x %d x %d, activation %d", kernels->name, rows, k,
				  panels * 16, activation);
		}
	kernels->gemm_s8(&(LatGemmS8) {
		.codes = &codes,.rows = 1,.linear = &linear,.panel = panels - 1,.panels = 1,
			.activation = LAT_RELU,.y = y,.ldy = 16
	});
	CHECK(memcmp(y, expected_y + (panels - 1) * 16, 64) == 0,
		  "%s: the last panel alone, k %d", kernels->name, k);
	/* all rows in two calls, as gemm.c makes them: neither writes where the other does */
	memset(y, 0, ROWS * panels * 64);
	for (int panel = 0; panel < 2 && panel < panels; panel++)
		kernels->gemm_s8(&(LatGemmS8) {
			.codes = &codes,.rows = ROWS,.linear = &linear,.panel = panel,
				.panels = panel == 0 ? 1 : panels - 1,.activation = LAT_RELU,
				.y = y + panel * 16,.ldy = panels * 16
		});
	CHECK(memcmp(y, expected_y, ROWS * panels * 64) == 0,
		  "%s: the first panel, then the %d others, k %d", kernels->name, panels - 1, k);
	free(x);
	free(y);
	free(expected_y);
	release_linear(&linear);
	release_codes(&expected);
	release_codes(&codes);
}

/* The GELU of gemm_s8, on values that a bias of its own brings into each column. */
static void
test_quick_gelu(const LatKernels *kernels)
{
	enum
	{
		N = 4096
	};
	LatLinear	linear = random_linear(1, N / 16);
	LatCodes	codes = new_codes(1);
	float	   *y = calloc(N, 4);
	double		worst = 0;

	for (int n = 0; n < N; n++)
		((float *) linear.bias)[n] = (float) (n - N / 2) / 128;
	kernels->gemm_s8(&(LatGemmS8) {
		.codes = &codes,.rows = 1,.linear = &linear,.panels = N / 16,.activation = LAT_GELU,
			.y = y,.ldy = N
	});
	for (int n = 0; n < N; n++)
		worst = fmax(worst, fabs(0.5 * linear.bias[n] * (1 + erf(linear.bias[n] * M_SQRT1_2)) - y[n]));
	CHECK(worst < 1.7e-4, "%s: quick GELU within 1.7e-4 (%.1e)", kernels->name, worst);
	free(y);
	release_linear(&linear);
	release_codes(&codes);
}

static void
test_fp32(const LatKernels *kernels, int k, int panels)
{
	size_t		ld = LD(k);
	float	   *x = random_floats(ROWS * ld);
	float	   *w = random_floats((size_t) panels * k * 16);
	float	   *bias = random_floats(panels * 16);
	float	   *y = calloc(ROWS, panels * 64);
	float	   *one = calloc(1, panels * 64);
	double		worst = 0;
	bool		invariant = true;

	LatGemm		gemm = {.a = x,.a_row = ld,.a_depth = 1,.b = w,.b_panel = (size_t) k * 16,
	.b_depth = 16,.c = y,.c_row = panels * 16,.c_panel = 16,.bias = bias,.rows = ROWS,
	.depth = k,.panels = panels};

	kernels->gemm_f32(&gemm);
	for (int row = 0; row < ROWS; row++)
	{
		for (int n = 0; n < panels * 16; n++)
		{
			double		sum = bias[n];

			for (int i = 0; i < k; i++)
				sum += (double) x[row * ld + i] * w[((size_t) (n / 16) * k + i) * 16 + n % 16];
			worst = fmax(worst, fabs(sum - y[row * panels * 16 + n]));
		}
		gemm.a = x + row * ld;
		gemm.c = one;
		gemm.rows = 1;
		kernels->gemm_f32(&gemm);
		invariant = invariant && memcmp(one, y + row * panels * 16, panels * 64) == 0;
	}
	CHECK(worst < 1e-5 * sqrt(k), "%s: fp32 GEMM, k %d, %d columns", kernels->name, k, panels * 16);
	CHECK(invariant, "%s: fp32 GEMM, a row alone has the same bits, k %d", kernels->name, k);
	free(x);
	free(w);
	free(bias);
	free(y);
	free(one);
}

static void
test_softmax(const LatKernels *kernels, int t)
{
	size_t		ld = LD(t);
	float	   *scores = random_floats(ROWS * ld);
	float	   *significance = random_floats(ld);
	double	   *expected = calloc(t, sizeof(double));
	double		worst = 0;

	for (int i = 0; i < t; i++)
		expected[i] = significance[i];
	for (int row = 0; row < ROWS; row++)
	{
		double		sum = 0;

		for (int i = 0; i < t; i++)
		{
			scores[row * ld + i] *= 60;
			sum += exp(scores[row * ld + i] * 0.5);
		}
		for (int i = 0; i < t; i++)
			expected[i] += exp(scores[row * ld + i] * 0.5) / sum;
	}
	kernels->softmax(scores, ld, ROWS, t, 0.5f, significance);
	for (int i = 0; i < t; i++)
		worst = fmax(worst, fabs(significance[i] - expected[i]));
	CHECK(worst < 1e-5, "%s: softmax and significance of %d tokens", kernels->name, t);
	free(scores);
	free(significance);
	free(expected);
}

/* The same bits as the scalar kernel's, in both precisions. */
static void
test_embedding(const LatKernels *kernels, LatPrecision precision)
{
	LatEmbedding embedding = {precision, 3, 48, random_floats(3 * 48), random_floats(3)};
	const LatEmbeddingRow rows[] = {{&embedding, 2}, {&embedding, 0}, {&embedding, 1}};
	float	   *sum = random_floats(48);
	float		expected[48];

	for (int count = 2; count <= 3; count++)
	{
		kernels->embed(rows, count, sum);
		lat_kernels_scalar.embed(rows, count, expected);
		CHECK(memcmp(sum, expected, sizeof(expected)) == 0, "%s: %d rows of embeddings, precision %d",
			  kernels->name, count, precision);
	}
	free((void *) embedding.codes);
	free((void *) embedding.scales);
	free(sum);
}

/* Of x + residual, and of x alone, as the embeddings have it. */
static void
test_layer_norm(const LatKernels *kernels, int h, bool add)
{
	size_t		ld = LD(h);
	float	   *x = calloc(ROWS * ld, 4);
	float	   *residual = add ? calloc(ROWS * ld, 4) : NULL;
	LatNorm		norm = {random_floats(h), random_floats(h)};
	double		worst = 0;
	bool		padded = true;
	double	   *sum = calloc(ROWS * ld, sizeof(double));

	for (int row = 0; row < ROWS; row++)
		for (int i = 0; i < h; i++)
		{
			x[row * ld + i] = random_float() + 5;
			sum[row * ld + i] = x[row * ld + i];
			if (residual)
				sum[row * ld + i] += residual[row * ld + i] = random_float();
		}
	kernels->layer_norm(x, residual, ld, ROWS, h, &norm, 1e-12f);
	for (int row = 0; row < ROWS; row++)
	{
		double		mean = 0;
		double		variance = 0;

		for (int i = 0; i < h; i++)
			mean += sum[row * ld + i] / h;
		for (int i = 0; i < h; i++)
			variance += (sum[row * ld + i] - mean) * (sum[row * ld + i] - mean) / h;
		for (int i = 0; i < h; i++)
			worst = fmax(worst, fabs((sum[row * ld + i] - mean) / sqrt(variance) * norm.gamma[i] +
									 norm.beta[i] - x[row * ld + i]));
		for (size_t i = h; i < ld; i++)
			padded = padded && x[row * ld + i] == 0;
	}
	CHECK(worst < 2e-5, "%s: LayerNorm over %d, residual %d (%.1e)", kernels->name, h, add, worst);
	CHECK(padded, "%s: LayerNorm over %d leaves the padding zero", kernels->name, h);
	free(x);
	free(residual);
	free(sum);
	free((void *) norm.gamma);
	free((void *) norm.beta);
}

/* Where the formula for tanh overflows, cancels, or has no answer. */
static void
test_odd_tanh(const LatKernels *kernels)
{
	static const float odd[] = {0, -0.0f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN, -NAN};
	static const float expected[] = {0, -0.0f, 1, -1, 1, -1, NAN, NAN};
	float		y[16] = {0};

	memcpy(y, odd, sizeof(odd));
	kernels->activate(LAT_TANH, y, 16, 1, 16);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
	{
		bool		same = y[i] == expected[i] && !signbit(y[i]) == !signbit(expected[i]);

		CHECK(isnan(odd[i]) ? isnan(y[i]) : same, "%s: tanh(%g) is %g", kernels->name, odd[i],
			  y[i]);
	}
}

static void
test_activations(const LatKernels *kernels)
{
	enum
	{
		N = 4096
	};
	static float x[N];
	static float y[N];
	double		gelu = 0;
	double		tanh_worst = 0;
	bool		relu = true;

	for (int i = 0; i < N; i++)
		x[i] = (float) (i - N / 2) / 128;
	memcpy(y, x, sizeof(x));
	kernels->activate(LAT_GELU, y, N, 1, N);
	for (int i = 0; i < N; i++)
		gelu = fmax(gelu, fabs(0.5 * x[i] * (1 + erf(x[i] * M_SQRT1_2)) - y[i]));
	CHECK(gelu < 2e-6, "%s: GELU within 2e-6 (%.1e)", kernels->name, gelu);
	memcpy(y, x, sizeof(x));
	kernels->activate(LAT_RELU, y, N, 1, N);
	for (int i = 0; i < N; i++)
		relu = relu && y[i] == (x[i] > 0 ? x[i] : 0);
	CHECK(relu, "%s: ReLU", kernels->name);
	memcpy(y, x, sizeof(x));
	kernels->activate(LAT_TANH, y, N, 1, N);
	for (int i = 0; i < N; i++)
		tanh_worst = fmax(tanh_worst, fabs(tanh(x[i]) - y[i]));
	CHECK(tanh_worst < 3e-7, "%s: tanh within 3e-7 (%.1e)", kernels->name, tanh_worst);
	test_odd_tanh(kernels);
}

/* ---- training ----------------------------------------------------------------------------- */

/* The three products of a linear layer, by strides, against sums in double. */
static void
test_strides(const LatKernels *kernels)
{
	enum
	{
		M = 19, K = 37, N = 80
	};
	float	   *x = random_floats(M * K);
	float	   *dy = random_floats(M * N);
	float	   *dw = random_floats(K * N);
	float	   *expected = aligned_alloc(64, LD(K * N) * sizeof(float));
	LatGemm		gemm = {.a = x,.a_row = 1,.a_depth = K,.b = dy,.b_panel = 16,.b_depth = N,
	.c = dw,.c_row = 16,.c_panel = K * 16,.add = true,.rows = K,.depth = M,.panels = N / 16};
	double		worst = 0;

	memcpy(expected, dw, K * N * sizeof(float));
	kernels->gemm_f32(&gemm);
	for (int k = 0; k < K; k++)
		for (int n = 0; n < N; n++)
		{
			double		sum = expected[(n / 16 * K + k) * 16 + n % 16];

			for (int m = 0; m < M; m++)
				sum += (double) x[m * K + k] * dy[m * N + n];
			worst = fmax(worst, fabs(sum - dw[(n / 16 * K + k) * 16 + n % 16]));
		}
	CHECK(worst < 1e-5, "%s: weight gradient by strides", kernels->name);

	/* depth in two pieces, the second added to the first: the same bits */
	memcpy(expected, dw, K * N * sizeof(float));
	for (int i = 0; i < K * N; i++)
		dw[i] = 0;
	gemm.depth = 8;
	kernels->gemm_f32(&gemm);
	gemm.a += 8 * K;
	gemm.b += 8 * N;
	gemm.depth = M - 8;
	kernels->gemm_f32(&gemm);
	gemm.a = x;
	gemm.b = dy;
	gemm.depth = M;
	gemm.add = false;
	gemm.c = expected;
	kernels->gemm_f32(&gemm);
	CHECK(memcmp(dw, expected, K * N * sizeof(float)) == 0, "%s: depth in pieces, same bits",
		  kernels->name);
	free(x);
	free(dy);
	free(dw);
	free(expected);
}

static void
test_transpose(const LatKernels *kernels)
{
	float	   *from = random_floats(16 * 48);
	float		to[48 * 16];
	float		expected[48 * 16];

	for (int rows = 1; rows <= 16; rows++)
		for (int columns = 1; columns <= 48; columns += 5)
		{
			kernels->transpose(from, 48, rows, columns, to);
			lat_kernels_scalar.transpose(from, 48, rows, columns, expected);
			CHECK(memcmp(to, expected, columns * 64) == 0, "%s: transpose %d x %d", kernels->name,
				  rows, columns);
		}
	free(from);
}

/* Largest difference, and whether the padding of d is zero. */
static double
difference(const float *d, const float *expected, size_t ld, int n, bool *padded)
{
	double		worst = 0;

	*padded = true;
	for (int row = 0; row < ROWS; row++)
		for (size_t i = 0; i < ld; i++)
		{
			if (i < (size_t) n)
				worst = fmax(worst, fabs(d[row * ld + i] - expected[row * ld + i]));
			else
				*padded = *padded && d[row * ld + i] == 0;
		}
	return worst;
}

static void
clear_padding(float *x, size_t ld, int n)
{
	for (int row = 0; row < ROWS; row++)
		for (size_t i = n; i < ld; i++)
			x[row * ld + i] = 0;
}

static float *
copy_of(const float *from, size_t n)
{
	float	   *copy = aligned_alloc(64, LD(n) * sizeof(float));

	memcpy(copy, from, n * sizeof(float));
	return copy;
}

static void
test_backward(const LatKernels *kernels, int n)
{
	static const LatActivation activations[] = {LAT_GELU, LAT_RELU, LAT_TANH};
	size_t		ld = LD(n);
	float	   *x = random_floats(ROWS * ld);
	float	   *d = random_floats(ROWS * ld);
	float	   *gamma = random_floats(ld);
	float	   *sums = random_floats(4 * ld);
	LatNormBackward norm = {.ld = ld,.rows = ROWS,.h = n,.gamma = gamma,.eps = 1e-12f};
	bool		padded;
	bool		same = true;

	clear_padding(x, ld, n);
	clear_padding(d, ld, n);
	memset(sums, 0, 4 * ld * sizeof(float));
	for (size_t i = n; i < ld; i++)
		gamma[i] = 0;
	for (size_t i = 0; i < 3; i++)
	{
		float	   *x1 = copy_of(x, ROWS * ld);
		float	   *x2 = copy_of(x, ROWS * ld);
		float	   *d1 = copy_of(d, ROWS * ld);
		float	   *d2 = copy_of(d, ROWS * ld);

		for (size_t at = 0; at < ROWS * ld; at++)
			x1[at] = x2[at] = x[at] * 5;
		kernels->activate_backward(activations[i], x1, d1, ld, ROWS, n);
		lat_kernels_scalar.activate_backward(activations[i], x2, d2, ld, ROWS, n);
		CHECK(difference(d1, d2, ld, n, &padded) < 2e-6 && padded,
			  "%s: activation %d backward, %d columns", kernels->name, activations[i], n);
		CHECK(difference(x1, x2, ld, n, &padded) < 2e-6, "%s: activation %d again", kernels->name,
			  activations[i]);
		free(x1);
		free(x2);
		free(d1);
		free(d2);
	}
	{
		float	   *d1 = copy_of(d, ROWS * ld);
		float	   *d2 = copy_of(d, ROWS * ld);

		kernels->softmax_backward(x, d1, ld, ROWS, n, 0.5f);
		lat_kernels_scalar.softmax_backward(x, d2, ld, ROWS, n, 0.5f);
		CHECK(difference(d1, d2, ld, n, &padded) < 1e-5 && padded, "%s: softmax backward, %d",
			  kernels->name, n);
		norm.z = x;
		norm.d = memcpy(d1, d, ROWS * ld * sizeof(float));
		norm.d_gamma = sums;
		norm.d_beta = sums + ld;
		kernels->layer_norm_backward(&norm);
		norm.d = memcpy(d2, d, ROWS * ld * sizeof(float));
		norm.d_gamma = sums + 2 * ld;
		norm.d_beta = sums + 3 * ld;
		lat_kernels_scalar.layer_norm_backward(&norm);
		CHECK(difference(d1, d2, ld, n, &padded) < 2e-5 && padded, "%s: LayerNorm backward, %d",
			  kernels->name, n);
		for (int i = 0; i < 2 * n; i++)
			same = same && fabsf(sums[i % n + i / n * ld] - sums[i % n + (2 + i / n) * ld]) < 1e-4f;
		CHECK(same, "%s: LayerNorm's gamma and beta, %d", kernels->name, n);
		free(d1);
		free(d2);
	}
	free(x);
	free(d);
	free(gamma);
	free(sums);
}

/* Masks have the same bits under every set, whatever the indexes; the share is right. */
static void
test_dropout(const LatKernels *kernels)
{
	enum
	{
		N = 5003
	};
	float	   *x = aligned_alloc(64, LD(N) * sizeof(float));
	float	   *expected = aligned_alloc(64, LD(N) * sizeof(float));
	int32_t    *indexes = malloc(N * sizeof(int32_t));
	LatDropout	mask = {lat_random(1, 2, 3, 4, 5), (uint32_t) (0.1 * 0x1p32), 1 / 0.9f};
	int			gone = 0;

	for (int i = 0; i < N; i++)
	{
		x[i] = expected[i] = 1 + (float) i / N;
		indexes[i] = (i * 7) % N;
	}
	kernels->dropout(x, N, NULL, &mask);
	lat_kernels_scalar.dropout(expected, N, NULL, &mask);
	CHECK(memcmp(x, expected, N * sizeof(float)) == 0, "%s: dropout, same bits", kernels->name);
	for (int i = 0; i < N; i++)
		gone += x[i] == 0;
	CHECK(abs(gone - N / 10) < 90, "%s: %d of %d are dropped", kernels->name, gone, N);
	kernels->dropout(x, N, indexes, &mask);
	lat_kernels_scalar.dropout(expected, N, indexes, &mask);
	CHECK(memcmp(x, expected, N * sizeof(float)) == 0, "%s: dropout by index, same bits",
		  kernels->name);
	free(x);
	free(expected);
	free(indexes);
}

/* What bf16 keeps of a value: 8 bits, rounded to nearest, ties to even. */
static float
rounded(float value)
{
	uint32_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
	memcpy(&value, &bits, sizeof(bits));
	return value;
}

/* a (rows, depth) b (depth, 16 panels) in bf16, each operand packed in the ways there are. */
static void
test_bf16(const LatKernels *kernels, int rows, int depth, int panels)
{
	int			padded = LD(depth);
	int			pairs = LD((padded + 1) / 2);
	float	   *a = random_floats(rows * padded);
	float	   *across = random_floats(padded * LD(rows));
	float	   *b = random_floats((size_t) padded * panels * 16);
	float	   *weights = random_floats((size_t) padded * panels * 16);
	uint32_t   *packed_a = aligned_alloc(64, (size_t) LD(rows) * pairs * 4);
	uint32_t   *packed_b = aligned_alloc(64, (size_t) panels * pairs * 64);
	float	   *c = random_floats(rows * panels * 16);
	float	   *before = copy_of(c, rows * panels * 16);
	LatGemmBf16 gemm = {.a = packed_a,.a_row = pairs,.a_pair = 1,.b = packed_b,
	.b_panel = (size_t) pairs * 16,.c = c,.c_row = panels * 16,.c_panel = 16,.add = true,
	.rows = rows,.pairs = (depth + 1) / 2,.panels = panels};

	/* W' out of W's panels: its column k, row n is W's row k; the last rows of W are missing */
	for (int way = 0; way < 2; way++)
	{
		double		worst = 0;

		memcpy(c, before, rows * panels * 64);
		for (int i = 0; i < rows; i++)
			for (int k = 0; k < padded; k++)
			{
				a[i * padded + k] = k < depth ? across[k * LD(rows) + i] : 0;
				across[k * LD(rows) + i] = a[i * padded + k];
			}
		for (int p = 0; p < panels; p++)
			for (int k = 0; k < padded; k++)
				for (int n = 0; n < 16; n++)
				{
					int			column = p * 16 + n;
					bool		missing = way == 0 && column >= panels * 16 - 3;

					/* weights: (padded / 16, 16 panels, 16) */
					weights[((size_t) k / 16 * panels * 16 + column) * 16 + k % 16] =
						b[(size_t) k * panels * 16 + column] =
						missing || k >= depth ? 0 : b[(size_t) k * panels * 16 + column];
				}
		if (way == 0)
			kernels->pack_bf16(a, padded, rows, depth, packed_a, pairs);
		else
		{
			kernels->pair_rows(across, LD(rows), depth, rows, packed_a, LD(rows));
			gemm.a_row = 1;
			gemm.a_pair = LD(rows);
			gemm.add = false;
			gemm.stream = true;
		}
		for (int p = 0; p < panels; p++)
			if (way == 0)
				kernels->pair_columns(weights + p * 256, (size_t) panels * 256,
									  p == panels - 1 ? 13 : 16, padded, packed_b + p * pairs * 16);
			else
				kernels->pair_rows(b + p * 16, panels * 16, depth, 16, packed_b + p * pairs * 16,
								   16);
		kernels->gemm_bf16(&gemm);
		for (int i = 0; i < rows; i++)
			for (int n = 0; n < panels * 16; n++)
			{
				double		sum = gemm.add ? before[i * panels * 16 + n] : 0;

				for (int k = 0; k < depth; k++)
					sum += (double) rounded(a[i * padded + k]) *
						rounded(b[(size_t) k * panels * 16 + n]);
				worst = fmax(worst, fabs(sum - c[i * panels * 16 + n]));
			}
		CHECK(worst < 1e-5, "%s: bf16 GEMM, way %d, %d x %d x %d: %.1e", kernels->name, way, rows,
			  depth, panels * 16, worst);
	}
	free(a);
	free(across);
	free(b);
	free(weights);
	free(packed_a);
	free(packed_b);
	free(c);
	free(before);
}

static void
test_optimizer(const LatKernels *kernels)
{
	enum
	{
		N = 160
	};
	float	   *values[2][5];
	const float *from[3];
	LatAdamW	args = {.clip = 0.5f,.keep1 = 0.9f,.keep2 = 0.999f,.gain1 = 0.1f,.gain2 = 0.001f,
	.shrink = 0.99f,.step = 1e-3f,.root = 3,.epsilon = 1e-8f};
	double		squares[2];
	double		worst = 0;

	for (int i = 0; i < 5; i++)
	{
		values[0][i] = random_floats(N);
		for (int at = 0; i == 3 && at < N; at++)
			values[0][i][at] = fabsf(values[0][i][at]);
		values[1][i] = copy_of(values[0][i], N);
	}
	for (int set = 0; set < 2; set++)
	{
		const LatKernels *which = set ? &lat_kernels_scalar : kernels;

		which->adamw(&args, values[set][0], values[set][1], values[set][2], values[set][3], N);
		for (int i = 0; i < 3; i++)
			from[i] = values[set][i];
		squares[set] = which->reduce(values[set][4], from, 3, N);
	}
	for (int i = 0; i < 5; i++)
		for (int at = 0; at < N; at++)
			worst = fmax(worst, fabs(values[0][i][at] - values[1][i][at]));
	CHECK(worst < 1e-6, "%s: AdamW and sums over ranks (%.1e)", kernels->name, worst);
	CHECK(fabs(squares[0] - squares[1]) < 1e-5 * squares[1], "%s: squares", kernels->name);
	for (int i = 0; i < 10; i++)
		free(values[i / 5][i % 5]);
}

/* The same bits as one row after another. */
static void
test_add_rows(const LatKernels *kernels, int rows)
{
	enum
	{
		N = 48, ROW = 64
	};
	float	   *from = random_floats(rows * ROW);
	float	   *sums = random_floats(N);
	float	   *expected = copy_of(sums, N);

	kernels->add_rows(sums, from, ROW, rows, N);
	for (int row = 0; row < rows; row++)
		for (int i = 0; i < N; i++)
			expected[i] += from[row * ROW + i];
	CHECK(memcmp(sums, expected, N * sizeof(float)) == 0, "%s: sum of %d rows", kernels->name, rows);
	free(from);
	free(sums);
	free(expected);
}

int
main(void)
{
	const char *names[] = {"scalar", "avx2", "avx512", "avx512_bf16", "neon"};

	CHECK(lat_find_kernels("auto") != NULL, "some kernels are there");
	CHECK(lat_find_kernels("abacus") == NULL, "unknown kernels are not");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		const LatKernels *kernels = lat_find_kernels(names[i]);

		if (kernels == NULL)
			continue;
		test_int8(kernels, 384, 24);
		test_int8(kernels, 26, 1);
		test_int8(kernels, 312, 5);
		test_int8(kernels, 1, 2);
		test_int8(kernels, 1536, 4);
		test_quick_gelu(kernels);
		test_fp32(kernels, 384, 7);
		test_fp32(kernels, 26, 2);
		test_fp32(kernels, 1, 1);
		for (int t = 1; t < 40; t += 6)
			test_softmax(kernels, t);
		test_softmax(kernels, 512);
		test_embedding(kernels, LAT_INT8);
		test_embedding(kernels, LAT_FP32);
		for (int add = 0; add <= 1; add++)
		{
			test_layer_norm(kernels, 384, add);
			test_layer_norm(kernels, 312, add);
			test_layer_norm(kernels, 64, add);
			test_layer_norm(kernels, 20, add);
		}
		test_activations(kernels);
		test_strides(kernels);
		test_transpose(kernels);
		test_backward(kernels, 384);
		test_backward(kernels, 40);
		test_backward(kernels, 13);
		test_dropout(kernels);
		test_optimizer(kernels);
		for (int rows = 1; rows <= 9; rows++)
			test_add_rows(kernels, rows);
		if (kernels->gemm_bf16)
			for (int rows = 1; rows <= ROWS; rows++)
			{
				test_bf16(kernels, rows, 64, 1 + rows % 5);
				test_bf16(kernels, rows, 37, 3);
				test_bf16(kernels, rows, 1, 2);
			}
	}
	return check_done("kernels");
}
