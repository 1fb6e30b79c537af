/*
 * lengths_test.c
 *	  Length configurations: scaling, checks, cost against a count by hand, choice; selection of
 *	  tokens against a full sort.
 */
#include "check.h"
#include "core/stages.h"

#include <math.h>
#include <string.h>

#define LAYERS 3

static const LatConfig config = {.layers = LAYERS,.heads = 2,.hidden = 8,.embedding = 8,
	.intermediate = 32,.vocabulary = 10,.positions = 64,.labels = 2,.task = LAT_CLASSIFY,
.head_activation = LAT_TANH};

static void
test_scaling(void)
{
	const int32_t lengths[LAYERS] = {100, 50, 3};
	int32_t		scaled[LAYERS];

	lat_scale_lengths(lengths, LAYERS, 128, 128, scaled);
	CHECK(scaled[0] == 100 && scaled[1] == 50 && scaled[2] == 3, "at T = N lengths are themselves");
	lat_scale_lengths(lengths, LAYERS, 128, 10, scaled);
	CHECK(scaled[0] == 8 && scaled[1] == 4 && scaled[2] == 2, "max(2, ceil(T l / N))");
	lat_scale_lengths(lengths, LAYERS, 128, 1, scaled);
	CHECK(scaled[0] == 1 && scaled[2] == 1, "never more than there are");
	lat_scale_lengths(lengths, LAYERS, 128, 300, scaled);
	CHECK(scaled[0] == 235 && scaled[1] == 118 && scaled[2] == 8, "longer texts scale up");
}

static void
test_checks(void)
{
	LatError	error;

	CHECK(lat_check_lengths(&config, (int32_t[]) {5, 5, 1}, 3, &error) == LAT_OK, "sound lengths");
	CHECK(lat_check_lengths(&config, (int32_t[]) {5, 5}, 2, &error) == LAT_BAD_ARGUMENT, "too few");
	CHECK(lat_check_lengths(&config, (int32_t[]) {5, 5, 6}, 3, &error) == LAT_BAD_ARGUMENT, "growing");
	CHECK(lat_check_lengths(&config, (int32_t[]) {5, 5, 0}, 3, &error) == LAT_BAD_ARGUMENT, "zero");
	CHECK(error.message[0] != 0 && error.hint[0] != 0, "message and hint");
}

static void
test_cost(void)
{
	/* by hand, T 10, H 8, I 32: projections 4 T H H, products 2 T T H, feed-forward 2 T H I */
	double		layer = 4 * 10 * 64 + 2 * 100 * 8 + 2 * 10 * 8 * 32;
	double		head = 64 + 8 * 2;
	double		cls_layer = 2 * 10 * 64 + 64 + 2 * 10 * 8 + 64 + 2 * 8 * 32;
	const int32_t lengths[LAYERS] = {5, 5, 2};
	double		dropped = 3 * 10 * 64 + 2 * 100 * 8 + 5 * 64 + 2 * 5 * 8 * 32;

	CHECK(lat_cost(&config, 10, NULL, false) == 3 * layer + head, "cost in full");
	CHECK(lat_cost(&config, 10, NULL, true) == 2 * layer + cls_layer + head, "cost for [CLS] only");
	CHECK(lat_cost(&config, 10, lengths, false) < lat_cost(&config, 10, NULL, false), "drops save");
	CHECK(lat_cost(&config, 10, (int32_t[]) {5, 5, 5}, false) ==
		  dropped + 2 * (4 * 5 * 64 + 2 * 25 * 8 + 2 * 5 * 8 * 32) + head, "drop before the projection");
	CHECK(lat_paper_cost(&config, 10, NULL) == 3 * layer + head, "the paper's count in full");
	CHECK(lat_paper_cost(&config, 10, lengths) > lat_cost(&config, 10, lengths, false),
		  "the paper projects before it drops");
}

static void
test_choice(void)
{
	const LatPoint points[] = {{0.2, 80}, {0.4, 85}, {0.45, 84}, {0.4, 85}, {0.9, 89}};
	bool		over;

	CHECK(lat_choose_point(points, 5, 1, &over) == LAT_CHOOSE_FULL && !over, "1 is in full");
	CHECK(lat_choose_point(points, 5, 0.5, &over) == 1 && !over, "best quality within the budget");
	CHECK(lat_choose_point(points, 5, 0.4, &over) == 1 && !over, "a fraction equal to the budget fits");
	CHECK(lat_choose_point(points, 5, 0.1, &over) == 0 && over, "none fits: the cheapest, and it says so");
	CHECK(lat_choose_point(points, 0, 0.5, &over) == LAT_CHOOSE_FULL && over, "no points: in full");
	CHECK(lat_choose_point(points, 0, 1, &over) == LAT_CHOOSE_FULL && !over, "no points, budget 1");
}

/* The same by trying every token: those with fewer than `keep` others before them. */
static bool
is_kept(const float *significance, int tokens, int keep, bool keep_first, int token)
{
	int			before = 0;

	for (int i = 0; i < tokens; i++)
	{
		bool		first = keep_first && i == 0;
		bool		ahead = significance[i] > significance[token] ||
			(significance[i] == significance[token] && i < token);

		before += i != token && (first || (ahead && !(keep_first && token == 0)));
	}
	return before < keep;
}

static void
test_selection(void)
{
	uint32_t	seed = 1;
	uint32_t	order[40];
	int32_t		kept[40];
	int			wrong = 0;

	for (int round = 0; round < 3000; round++)
	{
		float		significance[40];
		int			tokens = 1 + round % 40;
		bool		keep_first = round % 3 == 0;
		int			keep;
		int			count = 0;

		for (int i = 0; i < tokens; i++)
		{
			seed = seed * 1664525 + 1013904223;
			significance[i] = (float) (seed >> 29) / 8; /* few values: many ties */
		}
		keep = 1 + (int) (seed >> 8) % tokens;
		lat_select_tokens(significance, tokens, keep, keep_first, order, kept);
		for (int i = 0; i < tokens; i++)
			if (is_kept(significance, tokens, keep, keep_first, i))
				wrong += count >= keep || kept[count++] != i;
		wrong += count != keep;
	}
	CHECK(wrong == 0, "3000 selections as by sorting (%d wrong)", wrong);
}

static void
test_selection_of_nan(void)
{
	const float significance[6] = {1, NAN, 3, NAN, INFINITY, 0};
	uint32_t	order[6];
	int32_t		kept[6];

	lat_select_tokens(significance, 6, 3, true, order, kept);
	CHECK(kept[0] == 0 && kept[1] == 1 && kept[2] == 3, "NaN never loses a token");
}

int
main(void)
{
	test_scaling();
	test_checks();
	test_cost();
	test_choice();
	test_selection();
	test_selection_of_nan();
	return check_done("lengths");
}
