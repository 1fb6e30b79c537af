/*
 * attention_test.c
 *	  Attention of one head in bf16 against the same in double: context and significance, on head
 *	  sizes and token counts that do and do not fill vectors, pairs and tiles.
 */
#include "check.h"
#include "core/kernels.h"
#include "core/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TOKENS 512
#define MAX_D 80
#define LD 240					/* floats a row of q, k and v */

/*
 * A bf16 has 8 bits: a score of 8 (in powers of two) is off by 0.02 or less, a probability by 1.5 %,
 * which sums average out.  Values lie in -2 .. 2; measured: 0.0085 and 0.0074.
 */
#define CONTEXT_BOUND 0.015		/* absolute */
#define SIGNIFICANCE_BOUND 0.012	/* relative */

typedef struct Attention
{
	float		qkv[MAX_TOKENS * LD];
	float		context[MAX_TOKENS * MAX_D];
	uint16_t	keys[MAX_TOKENS * 96];
	uint16_t	values[(MAX_TOKENS + 2) * MAX_D];
	float		scores[MAX_TOKENS * 16] __attribute__((aligned(64)));
	float		significance[MAX_TOKENS * 16] __attribute__((aligned(64)));
} Attention;

static Attention attention;
static double expected_context[MAX_TOKENS * MAX_D];
static double expected_significance[MAX_TOKENS];

static LatHead
random_head(int tokens, int d)
{
	for (int i = 0; i < MAX_TOKENS * LD; i++)
		attention.qkv[i] = (float) (lat_random_double(lat_random(5, 0, 0, 0, 0), (uint32_t) i) * 4 - 2);
	memset(attention.significance, 0, sizeof(attention.significance));
	memset(attention.context, 0, sizeof(attention.context));
	return (LatHead) {
		.q = attention.qkv,.k = attention.qkv + 80,.v = attention.qkv + 160,.q_ld = LD,.kv_ld = LD,
			.context = attention.context,.context_ld = MAX_D,.tokens = tokens,.d = d,
			.scale = 1 / sqrtf((float) d),.keys = attention.keys,.values = attention.values,
			.scores = attention.scores,.significance = attention.significance
	};
}

static void
compute_expected(const LatHead *head)
{
	memset(expected_context, 0, sizeof(expected_context));
	memset(expected_significance, 0, sizeof(expected_significance));
	for (int q = 0; q < head->tokens; q++)
	{
		double		p[MAX_TOKENS];
		double		sum = 0;

		for (int key = 0; key < head->tokens; key++)
		{
			double		score = 0;

			for (int i = 0; i < head->d; i++)
				score += (double) head->q[q * LD + i] * head->k[key * LD + i];
			p[key] = exp(score * head->scale);
			sum += p[key];
		}
		for (int key = 0; key < head->tokens; key++)
		{
			expected_significance[key] += p[key] / sum;
			for (int i = 0; i < head->d; i++)
				expected_context[q * MAX_D + i] += p[key] / sum * head->v[key * LD + i];
		}
	}
}

static void
test_head(const LatKernels *kernels, int tokens, int d)
{
	LatHead		head = random_head(tokens, d);
	float		alone[MAX_D];
	double		worst = 0;
	double		worst_significance = 0;
	bool		same = true;
	bool		inside = true;

	kernels->pack_head(&head);
	kernels->attend_head(&head, 0, tokens);
	compute_expected(&head);
	for (int q = 0; q < tokens; q++)
		for (int i = 0; i < MAX_D; i++)
		{
			float		value = attention.context[q * MAX_D + i];

			worst = fmax(worst, fabs(value - expected_context[q * MAX_D + i]));
			inside = inside && (i < d || value == 0);
		}
	CHECK(worst < CONTEXT_BOUND, "%s: context of %d tokens, D %d (%.1e)", kernels->name, tokens,
		  d, worst);
	CHECK(inside, "%s: D %d, no column beyond is written", kernels->name, d);
	for (int key = 0; key < tokens; key++)
	{
		double		sum = 0;

		for (int lane = 0; lane < 16; lane++)
			sum += attention.significance[key * 16 + lane];
		worst_significance = fmax(worst_significance,
								  fabs(sum / expected_significance[key] - 1));
	}
	CHECK(worst_significance < SIGNIFICANCE_BOUND, "%s: significance of %d tokens, D %d (%.1e)",
		  kernels->name, tokens, d, worst_significance);

	/* one query alone, and without significance */
	head.significance = NULL;
	for (int q = 0; q < tokens; q += 5)
	{
		memcpy(alone, attention.context + q * MAX_D, sizeof(alone));
		kernels->attend_head(&head, q, 1);
		same = same && memcmp(alone, attention.context + q * MAX_D, sizeof(alone)) == 0;
	}
	CHECK(same, "%s: %d tokens, D %d: a query alone has the same bits", kernels->name, tokens, d);
}

int
main(void)
{
	static const int token_counts[] = {1, 2, 3, 11, 12, 13, 16, 17, 25, 64, 127, 384, 512};
	static const int sizes[] = {1, 5, 16, 26, 32, 33, 64, 80};
	const LatKernels *kernels = lat_find_kernels("auto");

	CHECK(lat_kernels_scalar.attend_head == NULL, "the specification attends in f32");
	for (size_t t = 0; kernels->attend_head && t < sizeof(token_counts) / sizeof(int); t++)
		for (size_t d = 0; d < sizeof(sizes) / sizeof(int); d++)
			test_head(kernels, token_counts[t], sizes[d]);
	return check_done("attention");
}
