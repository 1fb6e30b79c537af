/*
 * kernels_vector.h
 *	  The kernels of inference but the int8 GEMM, written once for vectors of LANES floats.
 *
 * An instruction set's file defines, then includes this:
 *
 *		LANES			floats in a vector (16, 8 or 4)
 *		TARGET			its function attribute
 *		vec_max, vec_min, vec_fma (a * b + c), vec_round (to even), vec_sqrt, vec_to_int,
 *		vec_store_bytes, vec_load_bytes (signed, to integers)
 *		vec_store_codes	four vectors of integers as bytes, clamped; may be missing
 *		F32_ROWS, F32_PANELS	tile of the fp32 GEMM: as many accumulators as registers allow
 *
 * and finds here the functions of LatKernels.  Buffers are padded to 16
 * columns, so that only the values in the padding need care, never the bounds.
 */
#include <math.h>
#include <string.h>

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t VecInt __attribute__((vector_size(LANES * 4)));
typedef float VecAny __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t VecIntAny __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline)) TARGET
#define VECTORS (16 / LANES)	/* a panel's width in vectors */

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

INLINE Vec
vec_load(const float *from)
{
	return *(const VecAny *) from;
}

INLINE VecInt
vec_load_int(const int32_t *from)
{
	return *(const VecIntAny *) from;
}

INLINE void
vec_store(float *to, Vec value)
{
	*(VecAny *) to = value;
}

INLINE Vec
vec_all(float value)
{
	return value - (Vec) {0};
}

INLINE Vec
vec_select(VecInt mask, Vec yes, Vec no)
{
	return (Vec) ((mask & (VecInt) yes) | (~mask & (VecInt) no));
}

/* All ones in the lanes whose column, from `column` on, is below n. */
INLINE VecInt
vec_columns_below(int column, int n)
{
	VecInt		lanes = {0};

	UNROLL
	for (int i = 0; i < LANES; i++)
		lanes[i] = i;
	return lanes < (n - column) - (VecInt) {0};
}

/* Four floats; a vector as LANES / 4 of them folds without shuffles that each set has otherwise. */
typedef float Quad __attribute__((vector_size(16)));
typedef int32_t QuadInt __attribute__((vector_size(16)));
typedef float QuadAny __attribute__((vector_size(16), aligned(4), may_alias));

/* Sum of the lanes, as a tree. */
INLINE float
vec_sum(Vec value)
{
	float		lanes[LANES];
	Quad		quads[LANES / 4];

	vec_store(lanes, value);
	UNROLL
	for (int i = 0; i < LANES / 4; i++)
		quads[i] = *(const QuadAny *) (lanes + i * 4);
	UNROLL
	for (int half = LANES / 8; half > 0; half /= 2)
		UNROLL
		for (int i = 0; i < half; i++)
			quads[i] = quads[i] + quads[i + half];
	return (quads[0][0] + quads[0][2]) + (quads[0][1] + quads[0][3]);
}

INLINE Quad
quad_max(Quad a, Quad b)
{
	QuadInt		mask = a > b;

	return (Quad) ((mask & (QuadInt) a) | (~mask & (QuadInt) b));
}

INLINE float
vec_highest(Vec value)
{
	float		lanes[LANES];
	Quad		quads[LANES / 4];

	vec_store(lanes, value);
	UNROLL
	for (int i = 0; i < LANES / 4; i++)
		quads[i] = *(const QuadAny *) (lanes + i * 4);
	UNROLL
	for (int half = LANES / 8; half > 0; half /= 2)
		UNROLL
		for (int i = 0; i < half; i++)
			quads[i] = quad_max(quads[i], quads[i + half]);
	quads[0] = quad_max(quads[0], __builtin_shufflevector(quads[0], quads[0], 2, 3, 0, 1));
	return quads[0][0] > quads[0][1] ? quads[0][0] : quads[0][1];
}

/*
 * exp for x <= 88, relative error below 2e-7: x = n ln 2 + r, |r| <= ln 2 / 2,
 * Taylor's polynomial of degree 7 in r (remainder r^8 / 8! < 6e-9).  Below -87
 * the result is exp(-87), small enough for a softmax to round away.
 */
INLINE Vec
vec_exp(Vec x)
{
	Vec			n;
	Vec			r;
	Vec			p;

	x = vec_max(x, vec_all(-87.0f));
	n = vec_round(x * vec_all(1.44269504f));
	r = vec_fma(n, vec_all(-0.693359375f), x);
	r = vec_fma(n, vec_all(2.12194440e-4f), r);
	p = vec_all(1.0f / 5040);
	p = vec_fma(p, r, vec_all(1.0f / 720));
	p = vec_fma(p, r, vec_all(1.0f / 120));
	p = vec_fma(p, r, vec_all(1.0f / 24));
	p = vec_fma(p, r, vec_all(1.0f / 6));
	p = vec_fma(p, r, vec_all(0.5f));
	p = vec_fma(p, r, vec_all(1.0f));
	p = vec_fma(p, r, vec_all(1.0f));
	return (Vec) ((VecInt) p + (vec_to_int(n) << 23));
}

/*
 * x Phi(x).  erf by Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7:
 * erf(z) = 1 - (a1 t + ... + a5 t^5) exp(-z^2), t = 1 / (1 + 0.3275911 z), z >= 0.
 */
INLINE Vec
vec_gelu(Vec x)
{
	Vec			z = x * vec_all(0.70710678f);
	Vec			magnitude = (Vec) ((VecInt) z & 0x7fffffff);
	Vec			t = vec_all(1.0f) / vec_fma(magnitude, vec_all(0.3275911f), vec_all(1.0f));
	Vec			p = vec_all(1.061405429f);
	Vec			tail;

	p = vec_fma(p, t, vec_all(-1.453152027f));
	p = vec_fma(p, t, vec_all(1.421413741f));
	p = vec_fma(p, t, vec_all(-0.284496736f));
	p = vec_fma(p, t, vec_all(0.254829592f));
	tail = p * t * vec_exp(-(magnitude * magnitude));	/* 1 - erf(|z|) */

	/* Phi(x) = 1 - tail / 2 for x >= 0, tail / 2 below: no cancellation on either side */
	tail = tail * vec_all(0.5f);
	return x * vec_select(z < vec_all(0.0f), tail, vec_all(1.0f) - tail);
}

/* 1 - 2 / (exp(2 |x|) + 1), with the sign of x: absolute error below 3e-7.  NaN stays NaN. */
INLINE Vec
vec_tanh(Vec x)
{
	VecInt		sign = (VecInt) x & (int32_t) 0x80000000;
	Vec			twice = vec_min((Vec) ((VecInt) (x + x) & 0x7fffffff), vec_all(40.0f));
	Vec			t = vec_all(1.0f) - vec_all(2.0f) / (vec_exp(twice) + vec_all(1.0f));

	return vec_select(x == x, (Vec) ((VecInt) t | sign), x);
}

/* ---- int8 activations --------------------------------------------------------------------- */

/* Lowest and highest of k values and 0; what is read past k counts as 0. */
INLINE void
find_range(const float *x, int k, float *low, float *high)
{
	Vec			lows = {0};
	Vec			highs = {0};
	int			i = 0;

	for (; i + LANES <= k; i += LANES)
	{
		Vec			v = vec_load(x + i);

		lows = vec_min(v, lows);
		highs = vec_max(v, highs);
	}
	if (i < k)
	{
		Vec			v = (Vec) (vec_columns_below(i, k) & (VecInt) vec_load(x + i));

		lows = vec_min(v, lows);
		highs = vec_max(v, highs);
	}
	*low = -vec_highest(-lows);
	*high = vec_highest(highs);
}

/*
 * Codes of one row, 16 a step.  The last step may run past k: what it reads there is in the
 * row's own padding, what it writes there is zeroed afterwards.
 */
TARGET static void
quantize(const float *x, size_t ldx, int rows, int k, int levels, LatCodes *codes)
{
	size_t		stride = ((size_t) k + 63) / 64 * 64;

	for (int row = 0; row < rows; row++)
	{
		const float *from = x + row * ldx;
		uint8_t    *to = codes->codes + row * stride;
		float		low;
		float		high;
		float		inverse;
		float		zero;
		int			i = 0;

		find_range(from, k, &low, &high);
		codes->scales[row] = 0;
		codes->zeros[row] = 0;
		if (!(high - low > 1e-30f)) /* as in kernels_scalar.c */
		{
			memset(to, 0, stride);
			continue;
		}
		inverse = (float) levels / (high - low);
		zero = rintf(-low * inverse);
		codes->scales[row] = (high - low) / (float) levels;
		codes->zeros[row] = (int32_t) zero;
#ifdef vec_store_codes
		for (; i + 4 * LANES <= k; i += 4 * LANES)
		{
			VecInt		ints[4];

			UNROLL
			for (int v = 0; v < 4; v++)
				ints[v] = vec_to_int(vec_fma(vec_load(from + i + v * LANES), vec_all(inverse),
											 vec_all(zero)));
			vec_store_codes(to + i, ints, levels);
		}
#endif
		for (; i < k; i += LANES)
		{
			Vec			code = vec_fma(vec_load(from + i), vec_all(inverse), vec_all(zero));

			code = vec_max(code, vec_all(0.0f));
			code = vec_min(code, vec_all((float) levels));
			vec_store_bytes(to + i, vec_to_int(code));
		}
		if (stride > (size_t) k)
			memset(to + k, 0, stride - k);
	}
}

/* ---- int8 GEMM: sums on their way out ----------------------------------------------------- */

INLINE Vec
vec_quick_gelu(Vec x)
{
	static const float polynomial[] = LAT_GELU_POLYNOMIAL;
	Vec			t = vec_max(vec_min(x, vec_all(LAT_GELU_EDGE)), vec_all(-LAT_GELU_EDGE));
	Vec			square = t * t;
	Vec			p = vec_all(polynomial[0]);

	UNROLL
	for (int i = 1; i <= LAT_GELU_DEGREE; i++)
		p = vec_fma(p, square, vec_all(polynomial[i]));
	return x * vec_fma(p, t, vec_all(0.5f));
}

INLINE Vec
vec_activate(LatActivation activation, Vec value)
{
	if (activation == LAT_GELU)
		return vec_quick_gelu(value);
	return activation == LAT_RELU ? vec_max(value, vec_all(0.0f)) : value;
}

/* y, from a row and a panel (of the call) on, out of a tile's sums (rows, 16 panels). */
INLINE void
finish_tile(const LatActivation activation, const int panels, const LatGemmS8 *gemm,
			const int32_t *sums, int row, int rows, int panel)
{
	/* copies, for all that the compiler knows of y is that it may lie anywhere */
	const LatLinear linear = *gemm->linear;
	const int32_t *zeros = gemm->codes->zeros + row;
	const float *scales = gemm->codes->scales + row;
	size_t		ldy = gemm->ldy;
	float	   *y = gemm->y + row * ldy + panel * 16;
	int			first = (gemm->panel + panel) * 16;

	for (int column = 0; column < panels * 16; column += LANES)
	{
		VecInt		column_sums = vec_load_int(linear.column_sums + first + column);
		Vec			scale = vec_load(linear.scales + first + column);
		Vec			bias = vec_load(linear.bias + first + column);

		for (int i = 0; i < rows; i++)
		{
			VecInt		sum = vec_load_int(sums + i * panels * 16 + column);
			Vec			value = __builtin_convertvector(sum - column_sums * zeros[i], Vec);

			/* one multiply, one add, never fused: the bits that every set gives */
			value = value * (scales[i] * scale) + bias;
			vec_store(y + i * ldy + column, vec_activate(activation, value));
		}
	}
}

/* The same, with the activation a constant in the loop. */
INLINE void
finish_panels(const int panels, const LatGemmS8 *gemm, const int32_t *sums, int row, int rows,
			  int panel)
{
	if (gemm->activation == LAT_GELU)
		finish_tile(LAT_GELU, panels, gemm, sums, row, rows, panel);
	else if (gemm->activation == LAT_RELU)
		finish_tile(LAT_RELU, panels, gemm, sums, row, rows, panel);
	else
		finish_tile(LAT_IDENTITY, panels, gemm, sums, row, rows, panel);
}

/* And the number of panels, of which every tile has 1 or 3. */
TARGET static void
finish_sums(const LatGemmS8 *gemm, const int32_t *sums, int row, int rows, int panel, int panels)
{
	if (panels == 1)
		finish_panels(1, gemm, sums, row, rows, panel);
	else
		finish_panels(3, gemm, sums, row, rows, panel);
}

/* ---- fp32 GEMM ---------------------------------------------------------------------------- */

/* A tile of rows x panels; both are constants at every call, so that the sums stay in registers. */
INLINE void
gemm_f32_tile(const int rows, const int panels, const LatGemm *gemm, const float *a,
			  const float *b, const float *bias, float *c)
{
	size_t		a_row = gemm->a_row;
	size_t		a_depth = gemm->a_depth;
	size_t		b_panel = gemm->b_panel;
	size_t		b_depth = gemm->b_depth;
	Vec			sums[F32_ROWS][F32_PANELS * VECTORS];

	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int v = 0; v < panels * VECTORS; v++)
			sums[row][v] = vec_all(0.0f);
	if (gemm->add)
		UNROLL
		for (int row = 0; row < rows; row++)
			UNROLL
			for (int v = 0; v < panels * VECTORS; v++)
				sums[row][v] = vec_load(c + row * gemm->c_row + v / VECTORS * gemm->c_panel +
										v % VECTORS * LANES);

	/* the next tile's place: in a weight gradient it is memory that nobody has touched lately */
	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int p = 0; p < panels; p++)
			__builtin_prefetch(c + (row + rows) * gemm->c_row + p * gemm->c_panel, 1);
	for (int i = 0; i < gemm->depth; i++, a += a_depth, b += b_depth)
	{
		Vec			w[F32_PANELS * VECTORS];

		UNROLL
		for (int v = 0; v < panels * VECTORS; v++)
			w[v] = vec_load(b + v / VECTORS * b_panel + v % VECTORS * LANES);
		UNROLL
		for (int row = 0; row < rows; row++)
		{
			Vec			all = vec_all(a[row * a_row]);

			UNROLL
			for (int v = 0; v < panels * VECTORS; v++)
				sums[row][v] = vec_fma(all, w[v], sums[row][v]);
		}
	}
	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int v = 0; v < panels * VECTORS; v++)
		{
			Vec			last = bias ? vec_load(bias + v * LANES) : vec_all(0.0f);

			vec_store(c + row * gemm->c_row + v / VECTORS * gemm->c_panel + v % VECTORS * LANES,
					  sums[row][v] + last);
		}
}

typedef void Tile(const LatGemm *gemm, const float *a, const float *b, const float *bias, float *c);

/* Functions of their own, so that one tile's registers are nobody else's business. */
#define TILE(rows, panels) \
	TARGET static __attribute__((noinline)) void \
	tile_##rows##_##panels(const LatGemm *gemm, const float *a, const float *b, const float *bias, \
						   float *c) \
	{ \
		gemm_f32_tile(rows, panels, gemm, a, b, bias, c); \
	}

/* Every number of rows up to F32_ROWS: what is left after the whole tiles goes into one, too. */
#if F32_ROWS == 8
#define TILES(panels) \
	TILE(1, panels) TILE(2, panels) TILE(3, panels) TILE(4, panels) \
	TILE(5, panels) TILE(6, panels) TILE(7, panels) TILE(8, panels)
#define TILE_ROW(panels) \
	{tile_1_##panels, tile_2_##panels, tile_3_##panels, tile_4_##panels, \
	 tile_5_##panels, tile_6_##panels, tile_7_##panels, tile_8_##panels}
#elif F32_ROWS == 6
#define TILES(panels) \
	TILE(1, panels) TILE(2, panels) TILE(3, panels) TILE(4, panels) TILE(5, panels) TILE(6, panels)
#define TILE_ROW(panels) \
	{tile_1_##panels, tile_2_##panels, tile_3_##panels, tile_4_##panels, tile_5_##panels, \
	 tile_6_##panels}
#else
#define TILES(panels) TILE(1, panels) TILE(2, panels) TILE(3, panels) TILE(4, panels)
#define TILE_ROW(panels) {tile_1_##panels, tile_2_##panels, tile_3_##panels, tile_4_##panels}
#endif

TILES(1)
#if F32_PANELS == 3
TILES(2)
TILES(3)
static Tile *const tiles[F32_PANELS][F32_ROWS] = {TILE_ROW(1), TILE_ROW(2), TILE_ROW(3)};
#else
static Tile *const tiles[F32_PANELS][F32_ROWS] = {TILE_ROW(1)};
#endif

TARGET static void
gemm_f32(const LatGemm *gemm)
{
	for (int p = 0; p < gemm->panels; p += F32_PANELS)
	{
		int			panels = gemm->panels - p < F32_PANELS ? gemm->panels - p : F32_PANELS;
		const float *b = gemm->b + p * gemm->b_panel;
		const float *bias = gemm->bias ? gemm->bias + p * 16 : NULL;

		for (int row = 0; row < gemm->rows; row += F32_ROWS)
		{
			int			rows = gemm->rows - row < F32_ROWS ? gemm->rows - row : F32_ROWS;

			tiles[panels - 1][rows - 1] (gemm, gemm->a + row * gemm->a_row, b, bias,
										 gemm->c + row * gemm->c_row + p * gemm->c_panel);
		}
	}
}

/* ---- embeddings, softmax, LayerNorm, activations --------------------------------------------- */

/* to = sum of rows; how many, and in which precision, is constant at every call. */
INLINE void
add_embeddings(const int count, const bool coded, const LatEmbeddingRow *rows, float *to)
{
	int			stride = rows->embedding->stride;
	const int8_t *codes[3];
	const float *values[3];
	Vec			scales[3];

	UNROLL
	for (int one = 0; one < count; one++)
	{
		const LatEmbedding *embedding = rows[one].embedding;
		size_t		from = (size_t) rows[one].row * stride;

		codes[one] = (const int8_t *) embedding->codes + from;
		values[one] = (const float *) embedding->codes + from;
		scales[one] = vec_all(coded ? embedding->scales[rows[one].row] : 1);
	}
	for (int i = 0; i < stride; i += LANES)
	{
		Vec			sum = {0};

		UNROLL
		for (int one = 0; one < count; one++)
		{
			if (coded)
				sum = sum + __builtin_convertvector(vec_load_bytes(codes[one] + i), Vec) * scales[one];
			else
				sum = sum + vec_load(values[one] + i);
		}
		vec_store(to + i, sum);
	}
}

TARGET static void
embed(const LatEmbeddingRow *rows, int count, float *to)
{
	bool		coded = rows->embedding->precision == LAT_INT8;

	if (count == 3 && coded)
		add_embeddings(3, true, rows, to);
	else if (count == 3)
		add_embeddings(3, false, rows, to);
	else if (coded)
		add_embeddings(2, true, rows, to);
	else
		add_embeddings(2, false, rows, to);
}

TARGET static void
softmax(float *scores, size_t ld, int rows, int t, float scale, float *significance)
{
	for (int row = 0; row < rows; row++)
	{
		float	   *s = scores + row * ld;
		Vec			highs = vec_all(-INFINITY);
		Vec			sums = {0};
		Vec			highest;
		Vec			inverse;

		for (int i = 0; i < t; i += LANES)
		{
			Vec			v = vec_load(s + i) * vec_all(scale);

			v = vec_select(vec_columns_below(i, t), v, vec_all(-INFINITY));
			vec_store(s + i, v);
			highs = vec_max(v, highs);
		}
		highest = vec_all(vec_highest(highs));
		for (int i = 0; i < t; i += LANES)
		{
			Vec			v = vec_exp(vec_load(s + i) - highest);

			v = (Vec) (vec_columns_below(i, t) & (VecInt) v);
			vec_store(s + i, v);
			sums = sums + v;
		}
		inverse = vec_all(1.0f / vec_sum(sums));
		for (int i = 0; i < t; i += LANES)
		{
			Vec			v = vec_load(s + i) * inverse;

			vec_store(s + i, v);
			vec_store(significance + i, vec_load(significance + i) + v);
		}
	}
}

/*
 * Sums over a row are added up in four vectors in turn, or each addition would wait for the one
 * before; in the first where less than four are left.
 */
#define NORM_STEPS 4

INLINE float
sum_steps(const Vec *sums)
{
	return vec_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/* A vector of v, to which that of the residual, if there is one, is added first. */
INLINE Vec
add_residual(float *v, const float *residual, int i)
{
	Vec			value = vec_load(v + i);

	if (residual == NULL)
		return value;
	value = value + vec_load(residual + i);
	vec_store(v + i, value);
	return value;
}

/* Sum of h values after their residuals are added.  The padding of both is zero and adds nothing. */
INLINE float
sum_values(float *v, const float *residual, int h)
{
	Vec			sums[NORM_STEPS] = {{0}};
	int			i = 0;

	for (; i + NORM_STEPS * LANES <= h; i += NORM_STEPS * LANES)
		UNROLL
		for (int step = 0; step < NORM_STEPS; step++)
			sums[step] = sums[step] + add_residual(v, residual, i + step * LANES);
	for (; i < h; i += LANES)
		sums[0] = sums[0] + add_residual(v, residual, i);
	return sum_steps(sums);
}

/* Sum of squares of h values' distances from the mean. */
INLINE float
sum_squares(const float *v, Vec mean, int h)
{
	Vec			sums[NORM_STEPS] = {{0}};
	int			i = 0;

	for (; i + NORM_STEPS * LANES <= h; i += NORM_STEPS * LANES)
		UNROLL
		for (int step = 0; step < NORM_STEPS; step++)
		{
			Vec			away = vec_load(v + i + step * LANES) - mean;

			sums[step] = vec_fma(away, away, sums[step]);
		}
	for (; i < h; i += LANES)
	{
		Vec			away = vec_load(v + i) - mean;

		away = (Vec) (vec_columns_below(i, h) & (VecInt) away);
		sums[0] = vec_fma(away, away, sums[0]);
	}
	return sum_steps(sums);
}

TARGET static void
layer_norm(float *x, const float *residual, size_t ld, int rows, int h, const LatNorm *norm, float eps)
{
	for (int row = 0; row < rows; row++)
	{
		float	   *v = x + row * ld;
		float		sum = sum_values(v, residual ? residual + row * ld : NULL, h);
		Vec			mean = vec_all(sum / (float) h);
		Vec			inverse = vec_all(1 / sqrtf(sum_squares(v, mean, h) / (float) h + eps));

		/* gamma and beta are zero in the padding, so it stays zero */
		for (int i = 0; i < h; i += LANES)
		{
			Vec			value = (vec_load(v + i) - mean) * inverse;

			vec_store(v + i, vec_fma(value, vec_load(norm->gamma + i), vec_load(norm->beta + i)));
		}
	}
}

TARGET static void
activate(LatActivation activation, float *x, size_t ld, int rows, int n)
{
	if (activation == LAT_IDENTITY)
		return;
	for (int row = 0; row < rows; row++)
		for (int i = 0; i < n; i += LANES)
		{
			Vec			v = vec_load(x + row * ld + i);

			if (activation == LAT_GELU)
				v = vec_gelu(v);
			else
				v = activation == LAT_TANH ? vec_tanh(v) : vec_max(v, vec_all(0.0f));
			vec_store(x + row * ld + i, v);
		}
}
