/*
 * kernels_scalar.c
 *	  The specification of every kernel: plain loops, in the order they are written.
 */
#include "kernels.h"

#include <math.h>
#include <string.h>

/* Below this range a row is taken as all zero: its inverse scale would overflow. */
#define SMALLEST_RANGE 1e-30f

static void
quantize(const float *x, size_t ldx, int rows, int k, int levels, LatCodes *codes)
{
	size_t		stride = ((size_t) k + 63) / 64 * 64;

	for (int row = 0; row < rows; row++)
	{
		const float *from = x + row * ldx;
		uint8_t    *to = codes->codes + row * stride;
		float		low = 0;
		float		high = 0;
		float		inverse;
		float		zero;

		for (int i = 0; i < k; i++)
		{
			low = from[i] < low ? from[i] : low;
			high = from[i] > high ? from[i] : high;
		}
		memset(to + k, 0, stride - k);
		codes->scales[row] = 0;
		codes->zeros[row] = 0;
		if (!(high - low > SMALLEST_RANGE))
		{
			memset(to, 0, k);
			continue;
		}
		inverse = (float) levels / (high - low);
		zero = rintf(-low * inverse);
		codes->scales[row] = (high - low) / (float) levels;
		codes->zeros[row] = (int32_t) zero;
		for (int i = 0; i < k; i++)
		{
			float		code = fmaf(from[i], inverse, zero);

			/* written so that NaN becomes 0, as the vector instructions have it */
			code = code > 0 ? code : 0;
			code = code < (float) levels ? code : (float) levels;
			to[i] = (uint8_t) rintf(code);
		}
	}
}

static float
quick_gelu(float x)
{
	static const float polynomial[] = LAT_GELU_POLYNOMIAL;
	float		t = x < LAT_GELU_EDGE ? x : LAT_GELU_EDGE;
	float		p = polynomial[0];

	t = t > -LAT_GELU_EDGE ? t : -LAT_GELU_EDGE;
	for (int i = 1; i <= LAT_GELU_DEGREE; i++)
		p = fmaf(p, t * t, polynomial[i]);
	return x * fmaf(p, t, 0.5f);
}

/* One value of gemm_s8 out of its sum. */
static float
finish(const LatGemmS8 *gemm, int row, int n, int32_t sum)
{
	const LatLinear *linear = gemm->linear;
	float		value;

	sum -= gemm->codes->zeros[row] * linear->column_sums[n];
	value = (float) sum * (gemm->codes->scales[row] * linear->scales[n]) + linear->bias[n];
	if (gemm->activation == LAT_GELU)
		return quick_gelu(value);
	return gemm->activation == LAT_RELU && !(value > 0) ? 0 : value;
}

static void
gemm_s8(const LatGemmS8 *gemm)
{
	size_t		quads = gemm->linear->k_padded / 4;

	for (int p = 0; p < gemm->panels; p++)
	{
		const int8_t *w = (const int8_t *) gemm->linear->weights + (gemm->panel + p) * quads * 64;

		for (int row = 0; row < gemm->rows; row++)
		{
			const uint8_t *a = gemm->codes->codes + row * quads * 4;

			for (int c = 0; c < 16; c++)
			{
				int32_t		sum = 0;

				for (size_t q = 0; q < quads; q++)
					for (int i = 0; i < 4; i++)
						sum += a[q * 4 + i] * w[q * 64 + c * 4 + i];
				gemm->y[row * gemm->ldy + p * 16 + c] =
					finish(gemm, row, (gemm->panel + p) * 16 + c, sum);
			}
		}
	}
}

static void
gemm_f32(const LatGemm *gemm)
{
	for (int p = 0; p < gemm->panels; p++)
	{
		for (int row = 0; row < gemm->rows; row++)
		{
			const float *a = gemm->a + row * gemm->a_row;
			const float *b = gemm->b + p * gemm->b_panel;
			float	   *c = gemm->c + row * gemm->c_row + p * gemm->c_panel;
			float		sums[16] = {0};

			if (gemm->add)
				memcpy(sums, c, sizeof(sums));
			for (int i = 0; i < gemm->depth; i++)
				for (int n = 0; n < 16; n++)
					sums[n] += a[i * gemm->a_depth] * b[i * gemm->b_depth + n];
			for (int n = 0; n < 16; n++)
				c[n] = sums[n] + (gemm->bias ? gemm->bias[p * 16 + n] : 0);
		}
	}
}

static void
softmax(float *scores, size_t ld, int rows, int t, float scale, float *significance)
{
	for (int row = 0; row < rows; row++)
	{
		float	   *s = scores + row * ld;
		float		highest = s[0] * scale;
		float		sum = 0;

		for (int i = 0; i < t; i++)
		{
			s[i] *= scale;
			highest = s[i] > highest ? s[i] : highest;
		}
		for (int i = 0; i < t; i++)
		{
			s[i] = expf(s[i] - highest);
			sum += s[i];
		}
		for (int i = 0; i < t; i++)
		{
			s[i] /= sum;
			significance[i] += s[i];
		}
	}
}

static float
embedding_value(const LatEmbeddingRow *one, int i)
{
	const LatEmbedding *embedding = one->embedding;
	size_t		at = (size_t) one->row * embedding->stride + i;

	if (embedding->precision == LAT_INT8)
		return (float) ((const int8_t *) embedding->codes)[at] * embedding->scales[one->row];
	return ((const float *) embedding->codes)[at];
}

static void
embed(const LatEmbeddingRow *rows, int count, float *to)
{
	for (int i = 0; i < rows->embedding->stride; i++)
	{
		to[i] = 0;
		for (int one = 0; one < count; one++)
			to[i] += embedding_value(rows + one, i);
	}
}

static void
layer_norm(float *x, const float *residual, size_t ld, int rows, int h, const LatNorm *norm, float eps)
{
	for (int row = 0; row < rows; row++)
	{
		float	   *v = x + row * ld;
		float		mean = 0;
		float		variance = 0;
		float		inverse;

		for (int i = 0; i < h; i++)
		{
			if (residual)
				v[i] += residual[row * ld + i];
			mean += v[i];
		}
		mean /= (float) h;
		for (int i = 0; i < h; i++)
			variance += (v[i] - mean) * (v[i] - mean);
		inverse = 1 / sqrtf(variance / (float) h + eps);
		for (int i = 0; i < h; i++)
			v[i] = (v[i] - mean) * inverse * norm->gamma[i] + norm->beta[i];
	}
}

static void
activate(LatActivation activation, float *x, size_t ld, int rows, int n)
{
	for (int row = 0; row < rows; row++)
	{
		float	   *v = x + row * ld;

		for (int i = 0; i < n; i++)
		{
			if (activation == LAT_GELU)
				v[i] = 0.5f * v[i] * (1 + erff(v[i] * 0.70710678f));
			else if (activation == LAT_RELU)
				v[i] = v[i] > 0 ? v[i] : 0;
			else if (activation == LAT_TANH)
				v[i] = tanhf(v[i]);
		}
	}
}

/* ---- training ----------------------------------------------------------------------------- */

static void
transpose(const float *from, size_t ld, int rows, int columns, float *to)
{
	for (int column = 0; column < columns; column++)
		for (int row = 0; row < 16; row++)
			to[column * 16 + row] = row < rows ? from[row * ld + column] : 0;
}

static void
activate_backward(LatActivation activation, float *x, float *d, size_t ld, int rows, int n)
{
	for (int row = 0; row < rows; row++)
	{
		float	   *v = x + row * ld;
		float	   *g = d + row * ld;

		for (int i = 0; i < n; i++)
		{
			if (activation == LAT_GELU)
			{
				float		phi = 0.5f * (1 + erff(v[i] * 0.70710678f));	/* Phi(x) */

				g[i] *= phi + v[i] * 0.39894228f * expf(-0.5f * v[i] * v[i]);
				v[i] *= phi;
			}
			else if (activation == LAT_RELU)
			{
				g[i] = v[i] > 0 ? g[i] : 0;
				v[i] = v[i] > 0 ? v[i] : 0;
			}
			else if (activation == LAT_TANH)
			{
				v[i] = tanhf(v[i]);
				g[i] *= 1 - v[i] * v[i];
			}
		}
	}
}

/* With p = softmax(scale s): ds = scale p (dp - sum p dp). */
static void
softmax_backward(const float *p, float *d, size_t ld, int rows, int t, float scale)
{
	for (int row = 0; row < rows; row++)
	{
		const float *v = p + row * ld;
		float	   *g = d + row * ld;
		float		sum = 0;

		for (int i = 0; i < t; i++)
			sum += v[i] * g[i];
		for (int i = 0; i < t; i++)
			g[i] = v[i] * (g[i] - sum) * scale;
	}
}

/*
 * With n = (z - mean) / deviation, y = gamma n + beta and g = gamma dy:
 * dz = (g - mean(g) - n mean(g n)) / deviation.
 */
static void
layer_norm_backward(const LatNormBackward *args)
{
	int			h = args->h;

	for (int row = 0; row < args->rows; row++)
	{
		const float *z = args->z + row * args->ld;
		float	   *d = args->d + row * args->ld;
		float		mean = 0;
		float		variance = 0;
		float		mean_g = 0;
		float		mean_gn = 0;
		float		inverse;

		for (int i = 0; i < h; i++)
			mean += z[i];
		mean /= (float) h;
		for (int i = 0; i < h; i++)
			variance += (z[i] - mean) * (z[i] - mean);
		inverse = 1 / sqrtf(variance / (float) h + args->eps);
		for (int i = 0; i < h; i++)
		{
			float		n = (z[i] - mean) * inverse;

			args->d_gamma[i] += d[i] * n;
			args->d_beta[i] += d[i];
			d[i] *= args->gamma[i];
			mean_g += d[i];
			mean_gn += d[i] * n;
		}
		mean_g /= (float) h;
		mean_gn /= (float) h;
		for (int i = 0; i < h; i++)
			d[i] = (d[i] - mean_g - (z[i] - mean) * inverse * mean_gn) * inverse;
	}
}

static void
dropout(float *x, int n, const int32_t *indexes, const LatDropout *dropout)
{
	for (int i = 0; i < n; i++)
	{
		uint32_t	bits = lat_random_bits(dropout->random,
										   (uint32_t) (indexes ? indexes[i] : i));

		x[i] = bits < dropout->threshold ? 0 : x[i] * dropout->scale;
	}
}

static void
add_rows(float *sums, const float *from, size_t ld, int rows, int n)
{
	for (int row = 0; row < rows; row++)
		for (int i = 0; i < n; i++)
			sums[i] += from[row * ld + i];
}

static double
reduce(float *to, const float *const *from, int ranks, size_t n)
{
	double		squares = 0;

	for (size_t i = 0; i < n; i++)
	{
		float		sum = from[0][i];

		for (int rank = 1; rank < ranks; rank++)
			sum += from[rank][i];
		to[i] = sum;
		squares += (double) sum * sum;
	}
	return squares;
}

static void
adamw(const LatAdamW *args, const float *g, float *p, float *m, float *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		float		gradient = g[i] * args->clip;

		m[i] = m[i] * args->keep1 + gradient * args->gain1;
		v[i] = v[i] * args->keep2 + gradient * gradient * args->gain2;
		p[i] = p[i] * args->shrink - args->step * m[i] / (sqrtf(v[i]) * args->root + args->epsilon);
	}
}

const LatKernels lat_kernels_scalar = {
	.name = "scalar",
	.quantize = quantize,
	.gemm_s8 = gemm_s8,
	.gemm_f32 = gemm_f32,
	.softmax = softmax,
	.embed = embed,
	.layer_norm = layer_norm,
	.activate = activate,
	.transpose = transpose,
	.activate_backward = activate_backward,
	.softmax_backward = softmax_backward,
	.layer_norm_backward = layer_norm_backward,
	.dropout = dropout,
	.add_rows = add_rows,
	.reduce = reduce,
	.adamw = adamw,
};
