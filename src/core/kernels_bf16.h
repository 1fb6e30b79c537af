/*
 * kernels_bf16.h
 *	  AVX512_BF16: what attention and the GEMM of training share.
 */
#include <immintrin.h>

#define TARGET \
	__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) TARGET

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Lanes of columns c .. c + 15 that are below d. */
INLINE __mmask16
lanes_below(int c, int d)
{
	int			lanes = d - c;

	return lanes >= 16 ? 0xffff : lanes <= 0 ? 0 : (__mmask16) ((1u << lanes) - 1);
}

/* bf16 of a and b, to nearest: those of a in the lower half. */
INLINE __m512i
to_bf16(__m512 a, __m512 b)
{
	return (__m512i) _mm512_cvtne2ps_pbh(b, a);
}

/* bf16 of a and b, side by side: lane i holds a[i] below, b[i] above. */
INLINE __m512i
to_pairs(__m512 a, __m512 b)
{
	static const uint16_t order[32] __attribute__((aligned(64))) = {
		0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
		8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
	};

	return _mm512_permutexvar_epi16(_mm512_load_si512(order), to_bf16(a, b));
}

/* 16 rows of 16 become columns: by pairs of rows, by fours, then by quarters of a register. */
INLINE void
transpose(__m512i rows[16])
{
	__m512i		t[16];

	UNROLL
	for (int i = 0; i < 16; i += 2)
	{
		t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
	}
	UNROLL
	for (int i = 0; i < 16; i += 4)
	{
		rows[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		rows[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		rows[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		rows[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	UNROLL
	for (int i = 0; i < 4; i++)
	{
		t[i] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
		t[i + 4] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xdd);
		t[i + 8] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
		t[i + 12] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xdd);
	}
	UNROLL
	for (int i = 0; i < 8; i++)
	{
		rows[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
		rows[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
	}
}
