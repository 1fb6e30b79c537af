/*
 * kernels_avx512_bf16_gemm.c
 *	  Products of training with AVX512_BF16: inputs rounded to bf16, sums in f32.
 *
 * One instruction adds two neighbours in depth, so both operands lie in pairs
 * of depth, 32 bits each.  Three ways to get there from floats:
 *
 *		pack_bf16		a row's neighbours				X and dY, as A of X W and of dY W'
 *		pair_columns	W's panels, transposed			W', as B of dY W'
 *		pair_rows		a row and the next, interleaved	W, as B of X W; X and dY, of X' dY
 *
 * The tile is that of the fp32 GEMM, 8 rows by 3 panels; depth goes in order.
 */
#include "kernels.h"

#if defined(__x86_64__)

#include "kernels_bf16.h"

#define TILE_ROWS 8
#define TILE_PANELS 3

TARGET void
lat_pack_bf16(const float *from, size_t ld, int rows, int depth, uint32_t *to, size_t to_ld)
{
	for (int row = 0; row < rows; row++, from += ld, to += to_ld)
		for (int i = 0; i < depth; i += 32)
		{
			__mmask16	high = lanes_below(i + 16, depth);
			__m512		a = _mm512_maskz_loadu_ps(lanes_below(i, depth), from + i);
			__m512		b = _mm512_maskz_loadu_ps(high, from + i + 16);

			_mm512_storeu_si512(to + i / 2, to_bf16(a, b));
		}
}

TARGET void
lat_pair_rows(const float *from, size_t ld, int rows, int columns, uint32_t *to, size_t to_ld)
{
	for (int row = 0; row < rows; row += 2, from += 2 * ld, to += to_ld)
		for (int i = 0; i < columns; i += 16)
		{
			__m512		a = _mm512_loadu_ps(from + i);
			__m512		b = _mm512_setzero_ps();

			if (row + 1 < rows)
				b = _mm512_loadu_ps(from + ld + i);
			_mm512_storeu_si512(to + i, to_pairs(a, b));
		}
}

TARGET void
lat_pair_columns(const float *from, size_t panel_size, int rows, int depth, uint32_t *to)
{
	for (int i = 0; i < depth; i += 32, from += 2 * panel_size, to += 16 * 16)
	{
		__m512i		block[16];

		UNROLL
		for (int row = 0; row < 16; row++)
		{
			__m512		a = _mm512_setzero_ps();
			__m512		b = _mm512_setzero_ps();

			if (row < rows)
				a = _mm512_loadu_ps(from + row * 16);
			if (row < rows && i + 16 < depth)
				b = _mm512_loadu_ps(from + panel_size + row * 16);
			block[row] = to_bf16(a, b);
		}
		transpose(block);
		UNROLL
		for (int pair = 0; pair < 16; pair++)
			_mm512_storeu_si512(to + pair * 16, block[pair]);
	}
}

/* sums + products of pairs; written out for the reason given in kernels_avx512.c. */
INLINE __m512
add_pairs(__m512 sums, __m512i a, __m512i b)
{
	__asm__("vdpbf16ps %2, %1, %0" : "+v" (sums) : "v" (b), "v" (a));
	return sums;
}

/* A tile of rows x panels; both are constants at every call, so that the sums stay in registers. */
INLINE void
gemm_tile(const int rows, const int panels, const LatGemmBf16 *gemm, const uint32_t *a,
		  const uint32_t *b, const float *bias, float *c)
{
	size_t		a_row = gemm->a_row;
	size_t		a_pair = gemm->a_pair;
	size_t		b_panel = gemm->b_panel;
	__m512		sums[TILE_ROWS][TILE_PANELS];

	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int p = 0; p < panels; p++)
		{
			float	   *at = c + row * gemm->c_row + p * gemm->c_panel;

			sums[row][p] = gemm->add ? _mm512_loadu_ps(at) : _mm512_setzero_ps();
			if (!gemm->stream)
				_mm_prefetch((const char *) (at + rows * gemm->c_row), _MM_HINT_T0);
		}
	for (int pair = 0; pair < gemm->pairs; pair++, a += a_pair, b += 16)
	{
		__m512i		w[TILE_PANELS];

		UNROLL
		for (int p = 0; p < panels; p++)
			w[p] = _mm512_loadu_si512(b + p * b_panel);
		UNROLL
		for (int row = 0; row < rows; row++)
		{
			__m512i		all = _mm512_set1_epi32((int32_t) a[row * a_row]);

			UNROLL
			for (int p = 0; p < panels; p++)
				sums[row][p] = add_pairs(sums[row][p], all, w[p]);
		}
	}
	UNROLL
	for (int row = 0; row < rows; row++)
		UNROLL
		for (int p = 0; p < panels; p++)
		{
			__m512		last = bias ? _mm512_loadu_ps(bias + p * 16) : _mm512_setzero_ps();
			float	   *at = c + row * gemm->c_row + p * gemm->c_panel;

			if (gemm->stream)
				_mm512_stream_ps(at, sums[row][p] + last);
			else
				_mm512_storeu_ps(at, sums[row][p] + last);
		}
}

typedef void Tile(const LatGemmBf16 *gemm, const uint32_t *a, const uint32_t *b, const float *bias,
				  float *c);

/* Functions of their own, as in kernels_vector.h. */
#define TILE(rows, panels) \
	TARGET static __attribute__((noinline)) void \
	tile_##rows##_##panels(const LatGemmBf16 *gemm, const uint32_t *a, const uint32_t *b, \
						   const float *bias, float *c) \
	{ \
		gemm_tile(rows, panels, gemm, a, b, bias, c); \
	}
#define TILES(panels) \
	TILE(1, panels) TILE(2, panels) TILE(3, panels) TILE(4, panels) \
	TILE(5, panels) TILE(6, panels) TILE(7, panels) TILE(8, panels)
#define TILE_ROW(panels) \
	{tile_1_##panels, tile_2_##panels, tile_3_##panels, tile_4_##panels, \
	 tile_5_##panels, tile_6_##panels, tile_7_##panels, tile_8_##panels}

TILES(1)
TILES(2)
TILES(3)
static Tile *const tiles[TILE_PANELS][TILE_ROWS] = {TILE_ROW(1), TILE_ROW(2), TILE_ROW(3)};

TARGET void
lat_gemm_bf16(const LatGemmBf16 *gemm)
{
	for (int p = 0; p < gemm->panels; p += TILE_PANELS)
	{
		int			panels = gemm->panels - p < TILE_PANELS ? gemm->panels - p : TILE_PANELS;
		const uint32_t *b = gemm->b + p * gemm->b_panel;
		const float *bias = gemm->bias ? gemm->bias + p * 16 : NULL;

		for (int row = 0; row < gemm->rows; row += TILE_ROWS)
		{
			int			rows = gemm->rows - row < TILE_ROWS ? gemm->rows - row : TILE_ROWS;

			tiles[panels - 1][rows - 1] (gemm, gemm->a + row * gemm->a_row, b, bias,
										 gemm->c + row * gemm->c_row + p * gemm->c_panel);
		}
	}
	if (gemm->stream)
		_mm_sfence();			/* other processes read it after a barrier */
}

#endif							/* __x86_64__ */
