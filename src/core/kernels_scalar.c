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
			float		code = rintf(from[i] * inverse) + zero;

			/* written so that NaN becomes 0, as the vector instructions have it */
			code = code > 0 ? code : 0;
			code = code < (float) levels ? code : (float) levels;
			to[i] = (uint8_t) code;
		}
	}
}

static void
gemm_s8(const LatCodes *codes, int rows, const LatLinear *linear, int panel, int panels,
		float *y, size_t ldy)
{
	size_t		quads = linear->k_padded / 4;

	for (int p = 0; p < panels; p++)
	{
		const int8_t *w = (const int8_t *) linear->weights + (size_t) (panel + p) * quads * 64;

		for (int row = 0; row < rows; row++)
		{
			const uint8_t *a = codes->codes + row * quads * 4;

			for (int c = 0; c < 16; c++)
			{
				int			n = (panel + p) * 16 + c;
				int32_t		sum = 0;

				for (size_t q = 0; q < quads; q++)
					for (int i = 0; i < 4; i++)
						sum += a[q * 4 + i] * w[q * 64 + c * 4 + i];
				sum -= codes->zeros[row] * linear->column_sums[n];
				y[row * ldy + p * 16 + c] =
					(float) sum * (codes->scales[row] * linear->scales[n]) + linear->bias[n];
			}
		}
	}
}

static void
gemm_f32(const float *x, size_t ldx, int rows, int k, const float *weights, int panels,
		 const float *bias, float *y, size_t ldy)
{
	for (int p = 0; p < panels; p++)
	{
		const float *w = weights + (size_t) p * k * 16;

		for (int row = 0; row < rows; row++)
		{
			const float *a = x + row * ldx;
			float	   *out = y + row * ldy + p * 16;
			float		sums[16] = {0};

			for (int i = 0; i < k; i++)
				for (int c = 0; c < 16; c++)
					sums[c] += a[i] * w[i * 16 + c];
			for (int c = 0; c < 16; c++)
				out[c] = sums[c] + (bias ? bias[p * 16 + c] : 0);
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

const LatKernels lat_kernels_scalar = {
	.name = "scalar",
	.quantize = quantize,
	.gemm_s8 = gemm_s8,
	.gemm_f32 = gemm_f32,
	.softmax = softmax,
	.layer_norm = layer_norm,
	.activate = activate,
};
