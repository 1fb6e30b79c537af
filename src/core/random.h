/*
 * random.h
 *	  Counter-based random numbers: a number depends on where it is used, not on what came before.
 *
 * A key is made of the run's seed and up to four counters, such as step,
 * example, layer and site; a number is a function of key and element index.
 * So dropout gives the same mask in forward and backward without storing it,
 * and under any number of processes; a resumed run needs no generator state.
 *
 *		LatRandom	random = lat_random(seed, step, example, layer, SITE);
 *		for (uint32_t i = 0; i < n; i++)
 *			kept[i] = lat_random_bits(random, i) >= threshold;
 *
 * The key is mixed in 64 bits, once.  An element costs three 32-bit multiplications and
 * a few shifts, in plain 32-bit lanes: compilers vectorise the loop above.  Half of
 * the key goes in before the first multiplication, half after it, so that the
 * streams of two keys are not shifted or permuted copies of each other.  Under one
 * key the function is a bijection of the index: no 32-bit value comes twice.
 *
 * Not for secrets.  test/unit/random_test.c says which statistics were checked.
 */
#ifndef LAT_RANDOM_H
#define LAT_RANDOM_H

#include <stdint.h>

typedef struct LatRandom
{
	uint32_t	low;
	uint32_t	high;
} LatRandom;

/* Mix all bits into all (the finalizer of splitmix64: Steele, Lea, Flood, OOPSLA 2014). */
static inline uint64_t
lat_random_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* The key of a seed and four counters; pass 0 for those that are not needed. */
static inline LatRandom
lat_random(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	uint64_t	key = lat_random_mix(seed + 0x9e3779b97f4a7c15u);

	key = lat_random_mix(key ^ ((uint64_t) a << 32 | b));
	key = lat_random_mix(key ^ ((uint64_t) c << 32 | d));
	return (LatRandom) {
		(uint32_t) key, (uint32_t) (key >> 32)
	};
}

/* 32 random bits: element `index` of the key's stream. */
static inline uint32_t
lat_random_bits(LatRandom random, uint32_t index)
{
	uint32_t	x = index ^ random.low;

	x = (x ^ (x >> 16)) * 0x21f0aaadu;
	x = (x ^ (x >> 15)) + random.high;
	x = x * 0x735a2d97u;
	x = (x ^ (x >> 15)) * 0x846ca68bu;
	return x ^ (x >> 16);
}

/* The same in 64 bits. */
static inline uint64_t
lat_random_wide(LatRandom random, uint32_t index)
{
	LatRandom	swapped = {random.high, random.low};

	return (uint64_t) lat_random_bits(random, index) << 32 | lat_random_bits(swapped, index);
}

/* Uniform in [0, 1), a multiple of 2^-24. */
static inline float
lat_random_float(LatRandom random, uint32_t index)
{
	return (float) (lat_random_bits(random, index) >> 8) * 0x1p-24f;
}

/* Uniform in [0, 1), a multiple of 2^-53. */
static inline double
lat_random_double(LatRandom random, uint32_t index)
{
	return (double) (lat_random_wide(random, index) >> 11) * 0x1p-53;
}

/* Uniform in 0 .. n - 1 (n > 0): the top of a 96-bit product, so the bias is below n / 2^64. */
static inline uint32_t
lat_random_below(LatRandom random, uint32_t index, uint32_t n)
{
	uint64_t	wide = lat_random_wide(random, index);

	return (uint32_t) (((wide >> 32) * n + ((wide & 0xffffffffu) * n >> 32)) >> 32);
}

#endif							/* LAT_RANDOM_H */
