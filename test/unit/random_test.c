/*
 * random_test.c
 *	  Counter-based random numbers: known values, ranges, and statistics.
 *
 * All draws are fixed by their keys, so nothing here fails by chance: bounds are five standard
 * errors, or the 1e-6 quantile of chi-square.  Checked are single bytes and pairs of bytes 1, 2,
 * 64 and 256 apart, dropout masks (share, gaps, memory of the element before and of the row
 * before), repeats, and that a bit of any input flips each bit of the output half of the time;
 * along elements, along keys, along seeds, and over rows of elements.
 *
 * Beyond that, three streams were given to the diehard tests of dieharder 3.31.1 (-k 2): elements
 * in order, four elements each of keys that differ in one counter, one element of such keys.
 * None failed (2 of the 57 p-values were called weak).
 */
#include "check.h"
#include "core/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DRAWS (1u << 20)

/* Upper bound of chi-square: Wilson and Hilferty, at a probability of about 1e-6. */
static double
chi_bound(int freedom)
{
	double		spread = 2.0 / (9.0 * freedom);

	return freedom * pow(1 - spread + 4.75 * sqrt(spread), 3);
}

static double
chi_square(const uint32_t *counts, int cells, double expected)
{
	double		sum = 0;

	for (int i = 0; i < cells; i++)
		sum += (counts[i] - expected) * (counts[i] - expected) / expected;
	return sum;
}

/* ---- values ------------------------------------------------------------------------------- */

/* The numbers are part of what a seed means: a run resumed by another build must go on alike. */
static void
test_known(void)
{
	LatRandom	zero = lat_random(0, 0, 0, 0, 0);
	LatRandom	some = lat_random(UINT64_C(0x0123456789abcdef), 1, 2, 3, 4);

	CHECK(lat_random_bits(zero, 0) == 0x408f8c6f && lat_random_bits(zero, 1) == 0xff6e762e,
		  "key of zeros: 0x%08x 0x%08x", lat_random_bits(zero, 0), lat_random_bits(zero, 1));
	CHECK(lat_random_bits(some, 0) == 0x1f8e7fe1 && lat_random_bits(some, UINT32_MAX) == 0xf17b41f6,
		  "another key: 0x%08x 0x%08x", lat_random_bits(some, 0),
		  lat_random_bits(some, UINT32_MAX));
	CHECK(lat_random_wide(some, 7) == UINT64_C(0x0359ad318cabffc1), "64 bits: 0x%016llx",
		  (unsigned long long) lat_random_wide(some, 7));
}

/* Each of seed and counters matters, and so does their order. */
static void
test_keys(void)
{
	const LatRandom keys[] = {
		lat_random(1, 0, 0, 0, 0), lat_random(0, 1, 0, 0, 0), lat_random(0, 0, 1, 0, 0),
		lat_random(0, 0, 0, 1, 0), lat_random(0, 0, 0, 0, 1), lat_random(0, 0, 0, 0, 0),
		lat_random(UINT64_C(1) << 63, 0, 0, 0, 0), lat_random(0, 1, 1, 0, 0),
		lat_random(0, 0, 0, 1, 1), lat_random(0, 0, 1, 1, 0)
	};
	int			count = (int) (sizeof(keys) / sizeof(keys[0]));

	for (int i = 0; i < count; i++)
		for (int j = 0; j < i; j++)
			CHECK(keys[i].low != keys[j].low && keys[i].high != keys[j].high,
				  "keys %d and %d differ", i, j);
}

static void
test_ranges(void)
{
	LatRandom	random = lat_random(5, 0, 0, 0, 0);
	float		least = 1;
	float		most = 0;
	double		sum = 0;
	uint32_t	counts[13] = {0};
	uint32_t	beyond = 0;

	for (uint32_t i = 0; i < DRAWS; i++)
	{
		float		x = lat_random_float(random, i);
		double		wide = lat_random_double(random, i);
		uint32_t	below = lat_random_below(random, i, 13);

		least = x < least ? x : least;
		most = x > most ? x : most;
		sum += wide;
		beyond += wide < 0 || wide >= 1 || below >= 13 || lat_random_below(random, i, 1) != 0 ||
			lat_random_below(random, i, UINT32_MAX) == UINT32_MAX;
		counts[below % 13]++;
	}
	CHECK(least >= 0 && least < 1e-5f && most < 1 && most > 1 - 1e-5f, "floats %g to %g",
		  (double) least, (double) most);
	CHECK(beyond == 0, "%u numbers beyond their range", beyond);
	CHECK(fabs(sum / DRAWS - 0.5) < 5 * sqrt(1.0 / 12 / DRAWS), "mean of doubles %.6f",
		  sum / DRAWS);
	CHECK(chi_square(counts, 13, DRAWS / 13.0) < chi_bound(12), "thirteen values evenly: %.1f",
		  chi_square(counts, 13, DRAWS / 13.0));
}

/* ---- statistics --------------------------------------------------------------------------- */

/* A stream to look at: element i of it. */
typedef uint32_t (*Stream) (uint32_t i);

static uint32_t
along_elements(uint32_t i)
{
	return lat_random_bits(lat_random(42, 3, 0, 0, 0), i);
}

static uint32_t
along_key(uint32_t i)
{
	return lat_random_bits(lat_random(42, i, 0, 0, 0), 3);
}

static uint32_t
along_seed(uint32_t i)
{
	return lat_random_bits(lat_random(i, 0, 0, 0, 0), 0);
}

/* A matrix of dropout: 64 elements of each example, examples one counter apart. */
static uint32_t
along_rows(uint32_t i)
{
	return lat_random_bits(lat_random(42, 3, i / 64, 0, 1), i % 64);
}

/* Every byte of a word takes all values evenly; so do pairs of bytes of words 1 to 256 apart. */
static void
test_even(Stream stream, const char *name)
{
	static uint32_t words[DRAWS];
	static uint32_t counts[65536];
	static const uint32_t distances[] = {1, 2, 64, 256};

	for (uint32_t i = 0; i < DRAWS; i++)
		words[i] = stream(i);
	for (int byte = 0; byte < 4; byte++)
	{
		memset(counts, 0, 256 * sizeof(uint32_t));
		for (uint32_t i = 0; i < DRAWS; i++)
			counts[words[i] >> 8 * byte & 255]++;
		CHECK(chi_square(counts, 256, DRAWS / 256.0) < chi_bound(255), "%s, byte %d: %.0f", name,
			  byte, chi_square(counts, 256, DRAWS / 256.0));
		for (size_t d = 0; d < sizeof(distances) / sizeof(distances[0]); d++)
		{
			memset(counts, 0, sizeof(counts));
			for (uint32_t i = 0; i + distances[d] < DRAWS; i++)
				counts[(words[i] >> 8 * byte & 255) << 8 |
					   (words[i + distances[d]] >> 8 * byte & 255)]++;
			CHECK(chi_square(counts, 65536, (DRAWS - distances[d]) / 65536.0) < chi_bound(65535),
				  "%s, byte %d, pairs %u apart: %.0f", name, byte, distances[d],
				  chi_square(counts, 65536, (DRAWS - distances[d]) / 65536.0));
		}
	}
}

/* A dropout mask at rate 0.1: share, runs between drops, and no memory of the mask before. */
static void
test_dropout(Stream stream, const char *name)
{
	const uint32_t threshold = (uint32_t) (0.1 * 4294967296.0);
	uint32_t	dropped = 0;
	uint32_t	both[2] = {0, 0};	/* dropped, and so was the element 1 or 64 before */
	uint32_t	gaps[40] = {0};
	double		expected = 0;
	double		chi = 0;
	uint32_t	gap = 0;
	double		deviation = sqrt(DRAWS * 0.01 * 0.99);

	for (uint32_t i = 0; i < DRAWS; i++)
	{
		if (stream(i) >= threshold)
		{
			gap++;
			continue;
		}
		dropped++;
		both[0] += i >= 1 && stream(i - 1) < threshold;
		both[1] += i >= 64 && stream(i - 64) < threshold;
		gaps[gap < 39 ? gap : 39]++;
		gap = 0;
	}
	for (int i = 0; i < 40; i++)
	{
		expected = dropped * (i < 39 ? 0.1 * pow(0.9, i) : pow(0.9, 39));
		chi += (gaps[i] - expected) * (gaps[i] - expected) / expected;
	}
	CHECK(fabs(dropped - DRAWS * 0.1) < 5 * sqrt(DRAWS * 0.09), "%s: %u dropped", name, dropped);
	CHECK(chi < chi_bound(39), "%s: gaps between drops, chi-square %.1f", name, chi);
	for (int i = 0; i < 2; i++)
		CHECK(fabs(both[i] - DRAWS * 0.01) < 5 * deviation, "%s: %u dropped twice", name, both[i]);
}

/* One bit of the input changes each bit of the output half of the time. */
static void
check_avalanche(int input, int bit, uint32_t trials)
{
	uint32_t	flips[32] = {0};
	double		worst = 0;

	for (uint32_t i = 0; i < trials; i++)
	{
		uint32_t	counters[5] = {7, 1, 2, 3, 4};	/* seed, then counters */
		uint32_t	index = 5;
		uint32_t	before;
		uint32_t	after;

		*(input < 5 ? &counters[input] : &index) = i;
		before = lat_random_bits(lat_random(counters[0], counters[1], counters[2], counters[3],
											counters[4]), index);
		*(input < 5 ? &counters[input] : &index) ^= UINT32_C(1) << bit;
		after = lat_random_bits(lat_random(counters[0], counters[1], counters[2], counters[3],
										   counters[4]), index);
		for (int out = 0; out < 32; out++)
			flips[out] += (before ^ after) >> out & 1;
	}
	for (int out = 0; out < 32; out++)
		worst = fmax(worst, fabs((double) flips[out] / trials - 0.5));
	/* neighbours i and i ^ 1 are counted twice, so the standard error is sqrt(2) larger */
	CHECK(worst < 5 * 0.5 * sqrt(2.0 / trials), "bit %d of input %d: worst share off by %.4f",
		  bit, input, worst);
}

/* Under one key no 32-bit value comes twice; here, among a million. */
static int
compare_words(const void *a, const void *b)
{
	uint32_t	left = *(const uint32_t *) a;
	uint32_t	right = *(const uint32_t *) b;

	return (left > right) - (left < right);
}

static void
test_repeats(Stream stream, const char *name, double expected)
{
	static uint32_t words[DRAWS];
	int			repeats = 0;

	for (uint32_t i = 0; i < DRAWS; i++)
		words[i] = stream(i);
	qsort(words, DRAWS, sizeof(words[0]), compare_words);
	for (uint32_t i = 1; i < DRAWS; i++)
		repeats += words[i] == words[i - 1];
	CHECK(fabs(repeats - expected) <= 5 * sqrt(expected), "%s: %d repeats, expected %.0f", name,
		  repeats, expected);
}

int
main(void)
{
	static const struct
	{
		Stream		stream;
		const char *name;
		double		repeats;
	}			streams[] = {
		{along_elements, "elements", 0},
		{along_key, "keys", 128},	/* DRAWS^2 / 2^33, as of true random numbers */
		{along_seed, "seeds", 128},
		{along_rows, "rows", 128}
	};

	test_known();
	test_keys();
	test_ranges();
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++)
	{
		test_even(streams[i].stream, streams[i].name);
		test_dropout(streams[i].stream, streams[i].name);
		test_repeats(streams[i].stream, streams[i].name, streams[i].repeats);
	}
	for (int input = 0; input < 6; input++)
		for (int bit = 0; bit < 32; bit++)
			check_avalanche(input, bit, 1 << 15);
	return check_done("random_test");
}
