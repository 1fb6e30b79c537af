/*
 * kernels_avx512_bf16.c
 *	  Attention of one head with AVX512_BF16: one instruction adds 32 products of bf16.
 *
 * Sixteen queries lie in the lanes of a vector, so that the softmax goes down
 * the keys and never across lanes:
 *
 *		q (16, D) --scaled, transposed--> pairs of q (D/2, 16, 2)
 *		scores (T, 16) = keys, one pair after another in all lanes, by pairs of q
 *		softmax: highest score of each lane, 2^(score - highest), sum
 *		probabilities (T/2, 16, 2), of two keys side by side, not yet divided by the sum
 *		context' (D, 16) = values, pairs of keys in all lanes, by probabilities
 *		context (16, D) = context' / sum, transposed
 *
 * The scores of 16 queries over 512 tokens are 32 KB: they stay in the first two
 * caches.  Scores are in powers of two: log2(e) is part of the scale.  Products
 * are added in f32, in the order of D and of keys whatever the other queries, so
 * that a query's result depends on its own sequence only.
 */
#include "kernels.h"

#if defined(__x86_64__)

#include <math.h>

#include "kernels_bf16.h"

#define UP(n, to) (((n) + (to) - 1) / (to) * (to))

#define QUERIES 16				/* lanes */
#define KEY_TILE 12				/* keys at a time: as many sums, each waiting 6 cycles for the last */
#define LOG2_E 1.44269504f

/*
 * sums + products of a pair, the same in all lanes, by pairs; written out for the reason given in
 * kernels_avx512.c, and because compilers do not take the pair straight from memory.
 */
INLINE __m512
add_products(__m512 sums, const uint16_t *pair, __m512i pairs)
{
	__asm__("vdpbf16ps %2%{1to16%}, %1, %0"
			: "+v" (sums)
			: "v" (pairs), "m" (*(const uint16_t (*)[2]) pair));
	return sums;
}

/* ---- keys, values, queries ---------------------------------------------------------------- */

TARGET void
lat_pack_head_bf16(const LatHead *head)
{
	size_t		key_ld = UP(head->d, 32);
	size_t		value_ld = UP(head->d, 16) * 2;

	for (int row = 0; row < head->tokens; row++)
	{
		const float *k = head->k + row * head->kv_ld;

		for (int c = 0; c < head->d; c += 32)
			_mm512_storeu_si512(head->keys + row * key_ld + c,
								to_bf16(_mm512_maskz_loadu_ps(lanes_below(c, head->d), k + c),
										_mm512_maskz_loadu_ps(lanes_below(c + 16, head->d),
															  k + c + 16)));
	}
	for (int row = 0; row < head->tokens; row += 2)
	{
		const float *v = head->v + row * head->kv_ld;

		for (int c = 0; c < head->d; c += 16)
		{
			__mmask16	lanes = lanes_below(c, head->d);
			__m512		a = _mm512_maskz_loadu_ps(lanes, v + c);
			__m512		b = _mm512_maskz_loadu_ps(row + 1 < head->tokens ? lanes : 0,
												  v + head->kv_ld + c);

			_mm512_storeu_si512(head->values + row / 2 * value_ld + c * 2, to_pairs(a, b));
		}
	}
}

/* 16 queries, of which `count` are there, to pairs (D/2, 16, 2); columns from 32 `half` on. */
INLINE void
transpose_queries(const LatHead *head, int from, int count, int half, __m512i pairs[16])
{
	__m512		scale = _mm512_set1_ps(head->scale * LOG2_E);
	__mmask16	low = lanes_below(half * 32, head->d);
	__mmask16	high = lanes_below(half * 32 + 16, head->d);

	UNROLL
	for (int i = 0; i < QUERIES; i++)
	{
		const float *q = head->q + (size_t) (from + i) * head->q_ld + half * 32;
		bool		there = i < count;

		pairs[i] = to_bf16(_mm512_maskz_loadu_ps(there ? low : 0, q) * scale,
						   _mm512_maskz_loadu_ps(there ? high : 0, q + 16) * scale);
	}
	transpose(pairs);
}

/* ---- scores ------------------------------------------------------------------------------- */

/* Scores (keys, 16) of a constant number of keys from `key` on; returns the highest so far. */
INLINE __m512
score_tile(const int keys, const LatHead *head, int key, int half, const __m512i *queries,
		   __m512 highest)
{
	size_t		key_ld = UP(head->d, 32);
	const uint16_t *k = head->keys + key * key_ld + half * 32;
	float	   *scores = head->scores + key * QUERIES;
	int			left = (head->d - half * 32 + 1) / 2;
	int			pairs = left < 16 ? left : 16;
	__m512		sums[KEY_TILE];

	UNROLL
	for (int i = 0; i < keys; i++)
		sums[i] = half ? _mm512_load_ps(scores + i * QUERIES) : _mm512_setzero_ps();
	for (int pair = 0; pair < pairs; pair++)
		UNROLL
		for (int i = 0; i < keys; i++)
			sums[i] = add_products(sums[i], k + i * key_ld + pair * 2, queries[pair]);
	UNROLL
	for (int i = 0; i < keys; i++)
	{
		_mm512_store_ps(scores + i * QUERIES, sums[i]);
		highest = _mm512_max_ps(highest, sums[i]);
	}
	return highest;
}

/* Up to KEY_TILE keys. */
INLINE __m512
score_keys(const LatHead *head, int key, int keys, int half, const __m512i *queries,
		   __m512 highest)
{
	switch (keys)
	{
		case 1:
			return score_tile(1, head, key, half, queries, highest);
		case 2:
			return score_tile(2, head, key, half, queries, highest);
		case 3:
			return score_tile(3, head, key, half, queries, highest);
		case 4:
			return score_tile(4, head, key, half, queries, highest);
		case 5:
			return score_tile(5, head, key, half, queries, highest);
		case 6:
			return score_tile(6, head, key, half, queries, highest);
		case 7:
			return score_tile(7, head, key, half, queries, highest);
		case 8:
			return score_tile(8, head, key, half, queries, highest);
		case 9:
			return score_tile(9, head, key, half, queries, highest);
		case 10:
			return score_tile(10, head, key, half, queries, highest);
		case 11:
			return score_tile(11, head, key, half, queries, highest);
		default:
			return score_tile(KEY_TILE, head, key, half, queries, highest);
	}
}

/* scores (T, 16) of 16 queries; returns the highest of each. */
INLINE __m512
score(const LatHead *head, int from, int count)
{
	__m512i		queries[16];
	__m512		highest = _mm512_setzero_ps();

	for (int half = 0; half * 32 < head->d; half++)
	{
		int			key = 0;

		transpose_queries(head, from, count, half, queries);
		highest = _mm512_set1_ps(-INFINITY);
		for (int tiles = UP(head->tokens, KEY_TILE) / KEY_TILE; tiles > 0; tiles--)
		{
			int			keys = (head->tokens - key + tiles - 1) / tiles;

			highest = score_keys(head, key, keys, half, queries, highest);
			key += keys;
		}
	}
	return highest;
}

/* ---- softmax ------------------------------------------------------------------------------ */

/*
 * 2^x for x <= 0, relative error below 8e-5 (bf16 has 2e-3): x = n + r, 0 <= r < 1, the minimax
 * polynomial of degree 3 in r, times 2^n.
 */
INLINE __m512
exp2_quick(__m512 x)
{
	__m512		r = _mm512_reduce_ps(x, 9);
	__m512		p = _mm512_set1_ps(0.0780245215f);

	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.226067156f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.695833564f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.999925196f));
	return _mm512_scalef_ps(p, x);
}

/* Scores (T, 16) become probabilities (T/2, 16, 2), in place, times the sum that is returned. */
INLINE __m512
exponentiate(const LatHead *head, __m512 highest)
{
	const float *scores = head->scores;
	__m512i    *pairs = (__m512i *) head->scores;
	__m512		even = _mm512_setzero_ps();
	__m512		odd = _mm512_setzero_ps();
	int			key = 0;

	for (; key + 2 <= head->tokens; key += 2)
	{
		__m512		a = exp2_quick(_mm512_load_ps(scores + key * QUERIES) - highest);
		__m512		b = exp2_quick(_mm512_load_ps(scores + (key + 1) * QUERIES) - highest);

		even = even + a;
		odd = odd + b;
		_mm512_store_si512(pairs + key / 2, to_pairs(a, b));
	}
	if (key < head->tokens)
	{
		__m512		a = exp2_quick(_mm512_load_ps(scores + key * QUERIES) - highest);

		even = even + a;
		_mm512_store_si512(pairs + key / 2, to_pairs(a, _mm512_setzero_ps()));
	}
	return even + odd;
}

/* ---- context ------------------------------------------------------------------------------ */

/* significance (T, 16) += probabilities of a pair of keys. */
INLINE void
add_significance(const LatHead *head, int key, __m512i probabilities, __m512 inverse)
{
	float	   *sums = head->significance + key * QUERIES;
	__m512i		upper = _mm512_set1_epi32((int32_t) 0xffff0000);
	__m512		a = _mm512_castsi512_ps(_mm512_slli_epi32(probabilities, 16));
	__m512		b = _mm512_castsi512_ps(_mm512_and_si512(probabilities, upper));

	_mm512_store_ps(sums, _mm512_fmadd_ps(a, inverse, _mm512_load_ps(sums)));
	if (key + 1 < head->tokens)
		_mm512_store_ps(sums + QUERIES,
						_mm512_fmadd_ps(b, inverse, _mm512_load_ps(sums + QUERIES)));
}

/*
 * context (count, 16 columns from c on) = probabilities by values, divided by their sums.  A constant
 * says whether significance is added up on the way, in the shadow of the products.
 */
INLINE void
weight_values(const bool significance, const LatHead *head, int from, int count, int c,
			  __m512 inverse)
{
	size_t		value_ld = UP(head->d, 16) * 2;
	const uint16_t *v = head->values + c * 2;
	const __m512i *pairs = (const __m512i *) head->scores;
	__mmask16	lanes = lanes_below(c, head->d);
	__m512		sums[16];
	__m512i		rows[16];

	UNROLL
	for (int i = 0; i < 16; i++)
		sums[i] = _mm512_setzero_ps();
	for (int pair = 0; pair < (head->tokens + 1) / 2; pair++)
	{
		__m512i		p = _mm512_load_si512(pairs + pair);

		UNROLL
		for (int i = 0; i < 16; i++)
			sums[i] = add_products(sums[i], v + pair * value_ld + i * 2, p);
		if (significance)
			add_significance(head, pair * 2, p, inverse);
	}
	UNROLL
	for (int i = 0; i < 16; i++)
		rows[i] = _mm512_castps_si512(sums[i] * inverse);
	transpose(rows);
	UNROLL
	for (int i = 0; i < QUERIES; i++)
		_mm512_mask_storeu_ps(head->context + (size_t) (from + i) * head->context_ld + c,
							  i < count ? lanes : 0, _mm512_castsi512_ps(rows[i]));
}

TARGET void
lat_attend_bf16(const LatHead *head, int from, int queries)
{
	for (int stop = from + queries; from < stop; from += QUERIES)
	{
		int			count = stop - from < QUERIES ? stop - from : QUERIES;
		__m512		sums = exponentiate(head, score(head, from, count));
		__m512		inverse = _mm512_maskz_div_ps(lanes_below(0, count), _mm512_set1_ps(1.0f), sums);

		if (head->significance)
			weight_values(true, head, from, count, 0, inverse);
		else
			weight_values(false, head, from, count, 0, inverse);
		for (int c = 16; c < head->d; c += 16)
			weight_values(false, head, from, count, c, inverse);
	}
}

#endif							/* __x86_64__ */
