/*
 * kernels_backward.h
 *	  The kernels of training, written once for vectors of LANES floats.
 *
 * Included after kernels_vector.h, whose vectors and functions it uses.
 */

/*
 * A block of BLOCK x BLOCK floats is transposed in registers: rows are interleaved in pairs, pairs
 * in fours, and (BLOCK 8) the halves of fours swapped.
 */
#define BLOCK (LANES < 8 ? LANES : 8)

typedef float Row __attribute__((vector_size(BLOCK * 4)));
typedef float RowAny __attribute__((vector_size(BLOCK * 4), aligned(4), may_alias));

#if LANES >= 8
#define ROWS_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define ROWS_HIGH(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define PAIRS_LOW(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define PAIRS_HIGH(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define HALVES_LOW(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HALVES_HIGH(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#else
#define ROWS_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define ROWS_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define PAIRS_LOW(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define PAIRS_HIGH(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#endif

/* Columns of four rows: out[c] holds column c, of a block of 8 also column c + 4, of those rows. */
INLINE void
transpose_four(const Row *in, Row *out)
{
	Row			low01 = ROWS_LOW(in[0], in[1]);
	Row			high01 = ROWS_HIGH(in[0], in[1]);
	Row			low23 = ROWS_LOW(in[2], in[3]);
	Row			high23 = ROWS_HIGH(in[2], in[3]);

	out[0] = PAIRS_LOW(low01, low23);
	out[1] = PAIRS_HIGH(low01, low23);
	out[2] = PAIRS_LOW(high01, high23);
	out[3] = PAIRS_HIGH(high01, high23);
}

/* to (BLOCK, 16) = the first `rows` of BLOCK rows of from, transposed; zero for those that are not. */
INLINE void
transpose_block(const float *from, size_t ld, int rows, float *to)
{
	Row			in[BLOCK];
	Row			out[BLOCK];

	UNROLL
	for (int row = 0; row < BLOCK; row++)
	{
		in[row] = (Row) {0};
		if (row < rows)
			in[row] = *(const RowAny *) (from + row * ld);
	}
	UNROLL
	for (int four = 0; four < BLOCK; four += 4)
		transpose_four(in + four, out + four);
#if LANES >= 8
	UNROLL
	for (int c = 0; c < 4; c++)
	{
		*(RowAny *) (to + c * 16) = HALVES_LOW(out[c], out[c + 4]);
		*(RowAny *) (to + (c + 4) * 16) = HALVES_HIGH(out[c], out[c + 4]);
	}
#else
	UNROLL
	for (int c = 0; c < 4; c++)
		*(RowAny *) (to + c * 16) = out[c];
#endif
}

TARGET static void
transpose(const float *from, size_t ld, int rows, int columns, float *to)
{
	int			column = 0;

	if (rows == 16)
		for (; column + BLOCK <= columns; column += BLOCK)
			UNROLL
			for (int row = 0; row < 16; row += BLOCK)
				transpose_block(from + row * ld + column, ld, BLOCK, to + column * 16 + row);
	for (; column + BLOCK <= columns; column += BLOCK)
		for (int row = 0; row < 16; row += BLOCK)
			transpose_block(from + row * ld + column, ld, rows - row, to + column * 16 + row);
	if (column < columns)
		lat_kernels_scalar.transpose(from + column, ld, rows, columns - column, to + column * 16);
}

/* Phi(x) and its derivative times x: see vec_gelu. */
INLINE void
gelu_backward(float *x, float *d)
{
	Vec			v = vec_load(x);
	Vec			z = v * vec_all(0.70710678f);
	Vec			magnitude = (Vec) ((VecInt) z & 0x7fffffff);
	Vec			t = vec_all(1.0f) / vec_fma(magnitude, vec_all(0.3275911f), vec_all(1.0f));
	Vec			bell = vec_exp(-(magnitude * magnitude));	/* exp(-x^2 / 2) */
	Vec			p = vec_all(1.061405429f);
	Vec			tail;
	Vec			phi;

	p = vec_fma(p, t, vec_all(-1.453152027f));
	p = vec_fma(p, t, vec_all(1.421413741f));
	p = vec_fma(p, t, vec_all(-0.284496736f));
	p = vec_fma(p, t, vec_all(0.254829592f));
	tail = p * t * bell * vec_all(0.5f);
	phi = vec_select(z < vec_all(0.0f), tail, vec_all(1.0f) - tail);
	vec_store(d, vec_load(d) * vec_fma(v * vec_all(0.39894228f), bell, phi));
	vec_store(x, v * phi);
}

TARGET static void
activate_backward(LatActivation activation, float *x, float *d, size_t ld, int rows, int n)
{
	if (activation == LAT_IDENTITY)
		return;
	for (int row = 0; row < rows; row++)
		for (int i = 0; i < n; i += LANES)
		{
			float	   *v = x + row * ld + i;
			float	   *g = d + row * ld + i;

			if (activation == LAT_GELU)
				gelu_backward(v, g);
			else if (activation == LAT_TANH)
			{
				Vec			y = vec_tanh(vec_load(v));

				vec_store(g, vec_load(g) * (vec_all(1.0f) - y * y));
				vec_store(v, y);
			}
			else
			{
				vec_store(g, vec_select(vec_load(v) > vec_all(0.0f), vec_load(g), vec_all(0.0f)));
				vec_store(v, vec_max(vec_load(v), vec_all(0.0f)));
			}
		}
}

/* p and d are zero in the padding. */
TARGET static void
softmax_backward(const float *p, float *d, size_t ld, int rows, int t, float scale)
{
	for (int row = 0; row < rows; row++)
	{
		const float *v = p + row * ld;
		float	   *g = d + row * ld;
		Vec			sums = {0};
		Vec			sum;

		for (int i = 0; i < t; i += LANES)
			sums = vec_fma(vec_load(v + i), vec_load(g + i), sums);
		sum = vec_all(vec_sum(sums));
		for (int i = 0; i < t; i += LANES)
			vec_store(g + i, vec_load(v + i) * (vec_load(g + i) - sum) * vec_all(scale));
	}
}

TARGET static void
layer_norm_backward(const LatNormBackward *args)
{
	int			h = args->h;

	for (int row = 0; row < args->rows; row++)
	{
		const float *z = args->z + row * args->ld;
		float	   *d = args->d + row * args->ld;
		Vec			sums = {0};
		Vec			sums_g = {0};
		Vec			sums_gn = {0};
		Vec			mean;
		Vec			inverse;

		for (int i = 0; i < h; i += LANES)
			sums = sums + vec_load(z + i);
		mean = vec_all(vec_sum(sums) / (float) h);
		inverse = vec_all(1 / sqrtf(sum_squares(z, mean, h) / (float) h + args->eps));

		/* d is zero in the padding, and so are all terms of these sums */
		for (int i = 0; i < h; i += LANES)
		{
			Vec			n = (vec_load(z + i) - mean) * inverse;
			Vec			dy = vec_load(d + i);
			Vec			g = dy * vec_load(args->gamma + i);

			vec_store(args->d_gamma + i, vec_fma(dy, n, vec_load(args->d_gamma + i)));
			vec_store(args->d_beta + i, vec_load(args->d_beta + i) + dy);
			vec_store(d + i, g);
			sums_g = sums_g + g;
			sums_gn = vec_fma(g, n, sums_gn);
		}
		sums_g = vec_all(vec_sum(sums_g) / (float) h);
		sums_gn = vec_all(vec_sum(sums_gn) / (float) h);
		for (int i = 0; i < h; i += LANES)
		{
			Vec			n = (vec_load(z + i) - mean) * inverse;
			Vec			g = (vec_load(d + i) - sums_g - n * sums_gn) * inverse;

			vec_store(d + i, (Vec) (vec_columns_below(i, h) & (VecInt) g));
		}
	}
}

typedef uint32_t VecBits __attribute__((vector_size(LANES * 4)));
typedef uint32_t VecBitsAny __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

/* lat_random_bits for a vector of indexes. */
INLINE VecBits
random_bits(LatRandom random, VecBits x)
{
	x = x ^ random.low;
	x = (x ^ (x >> 16)) * 0x21f0aaadu;
	x = (x ^ (x >> 15)) + random.high;
	x = x * 0x735a2d97u;
	x = (x ^ (x >> 15)) * 0x846ca68bu;
	return x ^ (x >> 16);
}

TARGET static void
dropout(float *x, int n, const int32_t *indexes, const LatDropout *dropout)
{
	VecBits		index = {0};
	int			i = 0;

	UNROLL
	for (int lane = 0; lane < LANES; lane++)
		index[lane] = (uint32_t) lane;
	for (; i + LANES <= n; i += LANES, index = index + LANES)
	{
		VecBits		bits = index;
		VecInt		stays;

		if (indexes)
			bits = *(const VecBitsAny *) (indexes + i);
		bits = random_bits(dropout->random, bits);
		stays = (VecInt) (bits >= dropout->threshold - (VecBits) {0});

		vec_store(x + i, (Vec) (stays & (VecInt) (vec_load(x + i) * vec_all(dropout->scale))));
	}
	for (; i < n; i++)
	{
		uint32_t	bits = lat_random_bits(dropout->random,
										   (uint32_t) (indexes ? indexes[i] : i));

		x[i] = bits < dropout->threshold ? 0 : x[i] * dropout->scale;
	}
}

/* Four rows at a time, so that sums are loaded and stored a quarter as often. */
TARGET static void
add_rows(float *sums, const float *from, size_t ld, int rows, int n)
{
	int			row = 0;

	for (; row + 4 <= rows; row += 4)
	{
		const float *first = from + row * ld;

		for (int i = 0; i < n; i += LANES)
			vec_store(sums + i, vec_load(sums + i) + vec_load(first + i) +
					  vec_load(first + ld + i) + vec_load(first + 2 * ld + i) +
					  vec_load(first + 3 * ld + i));
	}
	for (; row < rows; row++)
		for (int i = 0; i < n; i += LANES)
			vec_store(sums + i, vec_load(sums + i) + vec_load(from + row * ld + i));
}

TARGET static double
reduce(float *to, const float *const *from, int ranks, size_t n)
{
	Vec			squares = {0};

	for (size_t i = 0; i < n; i += LANES)
	{
		Vec			sum = vec_load(from[0] + i);

		for (int rank = 1; rank < ranks; rank++)
			sum = sum + vec_load(from[rank] + i);
		vec_store(to + i, sum);
		squares = vec_fma(sum, sum, squares);
	}
	return vec_sum(squares);
}

TARGET static void
adamw(const LatAdamW *args, const float *g, float *p, float *m, float *v, size_t n)
{
	for (size_t i = 0; i < n; i += LANES)
	{
		Vec			gradient = vec_load(g + i) * vec_all(args->clip);
		Vec			m1 = vec_load(m + i) * vec_all(args->keep1) + gradient * vec_all(args->gain1);
		Vec			v1 = vec_load(v + i) * vec_all(args->keep2) +
			gradient * gradient * vec_all(args->gain2);
		Vec			divisor = vec_fma(vec_sqrt(v1), vec_all(args->root), vec_all(args->epsilon));

		vec_store(m + i, m1);
		vec_store(v + i, v1);
		vec_store(p + i, vec_load(p + i) * vec_all(args->shrink) -
				  vec_all(args->step) * m1 / divisor);
	}
}
