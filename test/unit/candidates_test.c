/*
 * candidates_test.c
 *	  Breeding of configurations, the Pareto frontier against trying all pairs, and how often
 *	  a race gives up what it should not.
 */
#include "check.h"
#include "core/candidates.h"
#include "core/race.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static LatConfig
make_config(LatTask task, int layers)
{
	return (LatConfig) {
		.task = task,.layers = layers,.heads = 4,.hidden = 32,.embedding = 32,.intermediate = 128,
		.vocabulary = 100,.positions = 512,.labels = 2,.head_activation = LAT_TANH
	};
}

static LatSearchOptions
make_options(const LatConfig *config, int reference_length)
{
	LatSearchOptions options;

	lat_search_defaults(config, &options);
	options.reference_length = reference_length;
	return options;
}

/* ---- breeding ----------------------------------------------------------------------------- */

static bool
is_sound(const LatSpace *space, const int32_t *lengths)
{
	int			layers = space->config->layers;

	for (int i = 0; i < layers; i++)
		if (lengths[i] < 2 || lengths[i] > (i ? lengths[i - 1] : space->reference_length))
			return false;
	return !space->cls_only || lengths[layers - 1] == (layers > 1 ? lengths[layers - 2] :
													   space->reference_length);
}

static void
test_defaults(void)
{
	LatConfig	twelve = make_config(LAT_SPAN, 12);
	LatConfig	six = make_config(LAT_CLASSIFY, 6);
	LatSearchOptions options;
	LatError	error;

	lat_search_defaults(&twelve, &options);
	CHECK(options.iterations == 30 && options.mutations == 30 && options.crossovers == 30 &&
		  options.ratios == 20 && options.mutation == 0.5 && options.reference_length == 384 &&
		  fabs(options.length_drop - 0.2) < 1e-12, "the paper's values, 12 layers");
	lat_search_defaults(&six, &options);
	CHECK(options.reference_length == 128 && fabs(options.length_drop - 0.4) < 1e-12, "6 layers");
	CHECK(lat_check_search_options(&options, &error) == LAT_OK, "defaults are valid");
	options.mutation = NAN;
	CHECK(lat_check_search_options(&options, &error) == LAT_BAD_ARGUMENT &&
		  strstr(error.message, "\"mutation\"") != NULL, "the option is named: %s", error.message);
}

static void
test_ratios(void)
{
	LatConfig	span = make_config(LAT_SPAN, 6);
	LatConfig	classify = make_config(LAT_CLASSIFY, 6);
	LatSearchOptions options = make_options(&span, 100);
	int32_t		lengths[6];
	LatSpace	space;

	lat_space_init(&space, &span, &options);
	lat_space_ratio(&space, 0.6, lengths);
	CHECK(memcmp(lengths, (int32_t[]) {60, 36, 22, 14, 9, 6}, sizeof(lengths)) == 0,
		  "ceil(0.6 x the length before)");
	lat_space_ratio(&space, 0.01, lengths);
	CHECK(lengths[0] == 2 && lengths[5] == 2, "never below 2");
	lat_space_ratio(&space, 1, lengths);
	CHECK(lengths[5] == 100, "ratio 1 keeps all");
	lat_space_init(&space, &classify, &options);
	lat_space_ratio(&space, 0.6, lengths);
	CHECK(lengths[4] == 9 && lengths[5] == 9, "the last layer of a classifier repeats the one before");
}

/* Children of children, many generations on. */
static void
test_breeding(LatTask task, int layers, int reference_length)
{
	LatConfig	config = make_config(task, layers);
	LatSearchOptions options = make_options(&config, reference_length);
	int32_t		family[32][LAT_MAX_LAYERS];
	int			unsound = 0;
	int			last_moved = 0;
	LatSpace	space;

	lat_space_init(&space, &config, &options);
	for (int i = 0; i < 32; i++)
		lat_space_ratio(&space, 0.5 + i / 64.0, family[i]);
	for (uint32_t i = 0; i < 5000; i++)
	{
		LatRandom	random = lat_random(1, i, (uint32_t) layers, (uint32_t) task, 99);
		int32_t    *a = family[lat_random_below(random, 1000, 32)];
		int32_t    *b = family[lat_random_below(random, 1001, 32)];
		int32_t    *to = family[lat_random_below(random, 1002, 32)];
		int32_t		child[LAT_MAX_LAYERS];

		if (i % 2)
			lat_space_mutate(&space, a, 0.5, random, child);
		else
			lat_space_cross(&space, a, b, child);
		unsound += !is_sound(&space, child);
		last_moved += i % 2 && space.free_layers > 0 &&
			child[space.free_layers - 1] < a[space.free_layers - 1];
		memcpy(to, child, layers * sizeof(int32_t));
	}
	CHECK(unsound == 0, "%d unsound children of %d layers", unsound, layers);
	CHECK(last_moved > 0 || space.free_layers == 0 || reference_length == 2,
		  "the last layer in use gets shorter, too");
}

static void
test_mutation_range(void)
{
	LatConfig	config = make_config(LAT_SPAN, 3);
	LatSearchOptions options = make_options(&config, 20);
	const int32_t parent[3] = {15, 10, 5};
	bool		first[21] = {false};
	bool		last[21] = {false};
	int			changed = 0;
	int			met = 0;
	int32_t		child[3];
	LatSpace	space;

	lat_space_init(&space, &config, &options);
	for (uint32_t i = 0; i < 4000; i++)
	{
		lat_space_mutate(&space, parent, 0.5, lat_random(3, i, 0, 0, 0), child);
		first[child[0]] = true;
		last[child[2]] = true;
		changed += child[0] != parent[0];
	}
	for (int i = 0; i <= 20; i++)
		met += first[i] == (i >= 10) && (i > 10 || last[i] == (i >= 2));
	CHECK(met == 21, "lengths between the next layer's and the previous one's are all drawn");

	/* with chance 1/2 one of 11 lengths is drawn, of which one is the parent's */
	CHECK(fabs(changed / 4000.0 - 0.5 * 10 / 11) < 0.03, "half of the layers change: %d", changed);
}

static void
test_population(void)
{
	LatConfig	config = make_config(LAT_SPAN, 4);
	LatSearchOptions options = make_options(&config, 384);
	LatCandidate candidates[40];
	int32_t		count = 0;
	int32_t		table[128];
	int32_t		lengths[4];
	LatSpace	space;
	LatPopulation population = {&space, candidates, &count, 40, table, 128};

	lat_space_init(&space, &config, &options);
	memset(table, 0, sizeof(table));
	CHECK(lat_population_table_size(40) == 128, "a table twice as large");
	for (int i = 0; i < 40; i++)
	{
		lat_space_ratio(&space, 0.6 + 0.01 * i, lengths);
		CHECK(lat_population_add(&population, lengths), "new: %d", i);
		CHECK(!lat_population_add(&population, lengths), "met before: %d", i);
	}
	CHECK(count == 40 && candidates[39].fraction > candidates[0].fraction &&
		  isnan(candidates[0].selection) && candidates[39].paper_fraction < 1, "what is known of them");
	lat_population_index(&population);
	lat_space_ratio(&space, 0.75, lengths);
	CHECK(!lat_population_add(&population, lengths), "met before, in a table made anew");
	count = 0;
	lat_population_index(&population);
	lat_space_ratio(&space, 0.2, lengths);
	CHECK(!lat_population_add(&population, lengths), "cheaper than the smallest");
}

/* ---- frontier ----------------------------------------------------------------------------- */

static bool
is_beaten(const double *costs, const double *qualities, int count, int i)
{
	for (int j = 0; j < count; j++)
		if (j != i && costs[j] <= costs[i] && qualities[j] >= qualities[i] &&
			(costs[j] < costs[i] || qualities[j] > qualities[i] || j < i))
			return true;
	return isnan(qualities[i]);
}

static void
test_frontier(void)
{
	double		costs[60];
	double		qualities[60];
	int32_t		frontier[60];
	int			wrong = 0;

	for (uint32_t round = 0; round < 3000; round++)
	{
		LatRandom	random = lat_random(5, round, 0, 0, 0);
		int			count = 1 + (int) (round % 60);
		int			members;
		int			brute = 0;
		double		area = 0;

		for (int i = 0; i < count; i++)
		{
			/* few values: many ties */
			costs[i] = lat_random_below(random, 2 * i, 12) / 10.0;
			qualities[i] = lat_random_below(random, 2 * i + 1, 9) ?
				lat_random_below(random, 2 * i + 1, 9) / 8.0 : NAN;
		}
		members = lat_pareto_frontier(costs, qualities, count, frontier);
		for (int i = 0; i < count; i++)
			brute += !is_beaten(costs, qualities, count, i);
		wrong += brute != members;
		for (int i = 0; i < members; i++)
			wrong += is_beaten(costs, qualities, count, frontier[i]) ||
				(i > 0 && costs[frontier[i]] <= costs[frontier[i - 1]]);

		/* the best quality at each cost, in steps in which costs come */
		for (int step = 0; step < 10; step++)
		{
			double		best = 0;

			for (int i = 0; i < count; i++)
				if (costs[i] <= step / 10.0 + 0.05 && qualities[i] > best)
					best = qualities[i];
			area += best / 10;
		}
		wrong += fabs(area - lat_pareto_area(costs, qualities, frontier, members)) > 1e-9;
	}
	CHECK(wrong == 0, "3000 frontiers and areas as by trying all (%d wrong)", wrong);
}

/* ---- races -------------------------------------------------------------------------------- */

#define EXAMPLES 400

typedef struct Made
{
	LatOutcome	rival[EXAMPLES];
	LatOutcome	candidate[EXAMPLES];
} Made;

/*
 * Outcomes of two configurations.  kind 0: right or wrong; 1: F1 of spans; 2: counts of tags.
 * The candidate differs in `discordant` of the examples, by chance for or against it.
 */
static void
make_outcomes(Made *made, int kind, double discordant, double against, LatRandom random)
{
	for (uint32_t i = 0; i < EXAMPLES; i++)
	{
		bool		right = lat_random_double(random, 8 * i) < 0.8;
		bool		differs = lat_random_double(random, 8 * i + 1) < discordant;
		bool		worse = lat_random_double(random, 8 * i + 2) < against;
		float		share = lat_random_float(random, 8 * i + 3);
		uint32_t	actual = kind == 2 ? lat_random_below(random, 8 * i + 4, 4) : 1;
		LatOutcome	outcome = {.predicted = 1,.actual = 1};

		outcome.hits = right ? 1 : kind == 1 ? share : 0;
		if (kind == 2)
		{
			outcome.actual = (float) actual;
			outcome.hits = (float) (right ? actual : actual / 2);
			outcome.predicted = outcome.hits + (share < 0.2F ? 1 : 0);
		}
		made->rival[i] = made->candidate[i] = outcome;
		if (!differs)
			continue;
		if (kind == 2)
		{
			made->candidate[i].hits = worse ? 0 : (float) actual;
			made->candidate[i].predicted = (float) actual;
		}
		else
			made->candidate[i].hits = worse ? 0 : 1;
	}
}

/* Make the candidate as good as the rival and hardly better: the hardest case of the hypothesis. */
static void
level_up(Made *made)
{
	double		wanted = lat_quality(made->rival, EXAMPLES);
	double		hits = 0;
	double		both = 0;

	for (int i = 0; i < EXAMPLES; i++)
	{
		hits += made->candidate[i].hits;
		both += (double) made->candidate[i].predicted + made->candidate[i].actual;
	}
	for (int i = 0; i < EXAMPLES && 2 * hits < wanted * both; i++)
	{
		LatOutcome *outcome = &made->candidate[i];

		hits += (double) outcome->actual - outcome->hits;
		both += (double) outcome->actual - outcome->predicted;
		outcome->hits = outcome->predicted = outcome->actual;
	}
}

/* Examples after which the race is lost, in an order drawn anew; EXAMPLES: it never is. */
static int
run_race(const Made *made, LatRandom random)
{
	int32_t		order[EXAMPLES];
	LatRace		race;

	for (int32_t i = 0; i < EXAMPLES; i++)
	{
		int32_t		j = (int32_t) lat_random_below(random, (uint32_t) i, (uint32_t) i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	lat_race_begin(&race, made->rival, EXAMPLES);
	for (int32_t i = 0; i < EXAMPLES; i++)
	{
		lat_race_add(&race, &made->candidate[order[i]], &made->rival[order[i]]);
		if (lat_race_lost(&race, LAT_RACE_LEVEL))
			return i + 1;
	}
	return EXAMPLES;
}

/* Looking after every single example, far more often than the search does. */
static void
test_race_level(int kind, double discordant)
{
	const int	rounds = 10000;
	int			lost = 0;
	double		allowed = LAT_RACE_LEVEL * rounds;

	for (int i = 0; i < rounds; i++)
	{
		Made		made;

		make_outcomes(&made, kind, discordant, 0.5 + 0.2 * (i % 3 - 1),
					  lat_random(7, (uint32_t) i, (uint32_t) kind, 0, 0));
		level_up(&made);
		if (lat_quality(made.candidate, EXAMPLES) < lat_quality(made.rival, EXAMPLES))
			continue;
		lost += run_race(&made, lat_random(8, (uint32_t) i, (uint32_t) kind, 0, 0)) < EXAMPLES;
	}
	printf("    kind %d, %2.0f %% of examples differ: %d of %d given up that are not worse\n",
		   kind, 100 * discordant, lost, rounds);
	CHECK(lost <= allowed + 3 * sqrt(allowed), "kind %d: given up %d of %d, allowed %.0f",
		  kind, lost, rounds, allowed);
}

static void
test_race_power(int kind, double discordant, int enough)
{
	const int	rounds = 500;
	int			early = 0;
	int64_t		examples = 0;

	for (int i = 0; i < rounds; i++)
	{
		Made		made;
		int			after;

		make_outcomes(&made, kind, discordant, 0.9, lat_random(9, (uint32_t) i, 0, 0, 0));
		after = run_race(&made, lat_random(10, (uint32_t) i, 0, 0, 0));
		early += after <= enough;
		examples += after;
	}
	printf("    kind %d, worse in %2.0f %% of examples: given up after %.0f of %d on average\n",
		   kind, 90 * discordant, (double) examples / rounds, EXAMPLES);
	CHECK(early >= rounds * 9 / 10, "kind %d: %d of %d given up within %d", kind, early, rounds,
		  enough);
}

static void
test_race_certainty(void)
{
	Made		made;
	LatRace		race;
	int			after = 0;

	/* the rival is right everywhere: one miss can never be made up for */
	for (int i = 0; i < EXAMPLES; i++)
		made.rival[i] = made.candidate[i] = (LatOutcome) {
			1, 1, 1, 0
		};
	made.candidate[10].hits = 0;
	lat_race_begin(&race, made.rival, EXAMPLES);
	while (after < EXAMPLES && !lat_race_lost(&race, LAT_RACE_LEVEL))
	{
		lat_race_add(&race, &made.candidate[after], &made.rival[after]);
		after++;
	}
	CHECK(after == 11, "lost with the first miss: %d", after);
	CHECK(fabs(lat_race_estimate(&race) - (1 - 1.0 / 11)) < 1e-9, "estimate after it");
	lat_race_begin(&race, made.rival, EXAMPLES);
	for (int i = 0; i < EXAMPLES; i++)
		lat_race_add(&race, &made.rival[i], &made.rival[i]);
	CHECK(!lat_race_lost(&race, LAT_RACE_LEVEL), "a tie is never lost");
}

int
main(void)
{
	test_defaults();
	test_ratios();
	test_breeding(LAT_SPAN, 12, 384);
	test_breeding(LAT_CLASSIFY, 6, 128);
	test_breeding(LAT_CLASSIFY, 2, 7);
	test_breeding(LAT_CLASSIFY, 1, 7);
	test_breeding(LAT_EMBED, 1, 2);
	test_mutation_range();
	test_population();
	test_frontier();
	for (int kind = 0; kind < 3; kind++)
	{
		test_race_level(kind, 0.1);
		test_race_level(kind, 0.4);
		test_race_power(kind, 0.4, 120);
	}
	test_race_power(0, 0.1, 360);
	test_race_certainty();
	return check_done("candidates");
}
