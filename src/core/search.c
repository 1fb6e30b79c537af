/*
 * search.c
 *	  Evolutionary search for length configurations (arXiv 2010.07003, sections 3.2 and 4).
 *
 * A configuration costs something (multiply-adds, or milliseconds) and yields
 * some quality; wanted are those that no other one beats on both: the Pareto
 * frontier, from which lat_choose_point later serves any budget.
 *
 *		start		in full, the smallest sub-model of training, and between them
 *					configurations that keep a constant ratio from layer to layer
 *		iteration	parents: the frontier, and the model in full
 *					children: mutations of one parent, crossovers of two; each configuration once
 *					evaluate the children, find the frontier anew
 *		at the end	quality of the frontier, and its interval, on examples that had no say
 *
 * Picking the best of hundreds of candidates flatters them, so the examples are
 * split by the seed: one half selects, the other reports.
 *
 * Most children are no good, and that shows early.  An iteration's children are
 * evaluated block by block (64 examples, then as many again, then doubling), in
 * an order of the examples drawn for the iteration; after each block those are
 * given up that clearly do worse than their rival, the best member of the
 * frontier that costs no more (race.c).  A configuration that a full evaluation
 * would have put onto the frontier is given up with a chance of at most
 * LAT_RACE_LEVEL.
 *
 * Rank 0 decides, all evaluate (search_rounds.c).  With the multiply-adds as
 * cost everything follows from model, examples, options and seed.
 *
 * Departures from the paper: children that were met before are drawn again; the
 * two halves; the races.
 */
#include "search.h"

#include <math.h>
#include <string.h>

#define FIRST_BLOCK 64			/* examples after which candidates are judged for the first time */
#define TRIES 50				/* to draw a child that is new */

/* Counters of random keys: what the numbers are for. search_block.c has another. */
#define FOR_ORDER 2
#define FOR_MUTATION 3
#define FOR_CROSSOVER 4

static bool
is_lead(const LatSearcher *searcher)
{
	return searcher->team == NULL || searcher->team->rank == 0;
}

static double
cost_of(const LatSearcher *searcher, int32_t candidate)
{
	const LatCandidate *candidates = searcher->state->candidates;

	if (searcher->block->options.cost == LAT_COST_MILLISECONDS)
		return candidates[candidate].milliseconds / candidates[0].milliseconds;
	return candidates[candidate].fraction;
}

void
lat_search_find_frontier(LatSearcher *searcher)
{
	LatSearchState *state = searcher->state;

	for (int32_t i = 0; i < state->count; i++)
	{
		searcher->costs[i] = cost_of(searcher, i);
		searcher->qualities[i] = state->candidates[i].abandoned ? NAN :
			state->candidates[i].selection;
	}
	searcher->members = lat_pareto_frontier(searcher->costs, searcher->qualities, state->count,
											searcher->frontier);
}

/* ---- breeding ----------------------------------------------------------------------------- */

static void
add_first_candidates(LatSearcher *searcher)
{
	const LatSearchOptions *options = &searcher->block->options;
	double		least = 1 - options->length_drop;
	int32_t		lengths[LAT_MAX_LAYERS];

	/* the first is in full: everything else is compared with it */
	lat_space_ratio(&searcher->space, 1, lengths);
	lat_population_add(&searcher->population, lengths);
	for (int32_t i = 0; i <= options->ratios; i++)
	{
		lat_space_ratio(&searcher->space, least + (1 - least) * i / (options->ratios + 1), lengths);
		lat_population_add(&searcher->population, lengths);
	}
}

/* One child, of up to TRIES; false: all were met before. */
static bool
add_child(LatSearcher *searcher, const int32_t *parents, int count, int32_t child, int purpose)
{
	const LatCandidate *candidates = searcher->state->candidates;
	const LatSearchOptions *options = &searcher->block->options;
	int32_t		lengths[LAT_MAX_LAYERS];

	for (uint32_t i = 0; i < TRIES; i++)
	{
		LatRandom	random = lat_random(options->seed, (uint32_t) searcher->state->steps,
										(uint32_t) child, i, (uint32_t) purpose);
		uint32_t	a = lat_random_below(random, UINT32_MAX, (uint32_t) count);
		uint32_t	b = lat_random_below(random, UINT32_MAX - 1, (uint32_t) count - 1);

		b += b >= a;			/* another one */
		if (purpose == FOR_MUTATION)
			lat_space_mutate(&searcher->space, candidates[parents[a]].lengths, options->mutation,
							 random, lengths);
		else
			lat_space_cross(&searcher->space, candidates[parents[a]].lengths,
							candidates[parents[b]].lengths, lengths);
		if (lat_population_add(&searcher->population, lengths))
			return true;
	}
	return false;
}

static void
add_children(LatSearcher *searcher)
{
	const LatSearchOptions *options = &searcher->block->options;
	int32_t    *parents = searcher->frontier;
	int			count = searcher->members;

	/* candidate 0, in full, stays a parent even when something cheaper does as well */
	if (parents[count - 1] != 0)
		parents[count++] = 0;
	if (count < 2)
		return;					/* only a model of one layer has but one configuration */
	for (int32_t i = 0; i < options->mutations; i++)
		add_child(searcher, parents, count, i, FOR_MUTATION);
	for (int32_t i = 0; i < options->crossovers; i++)
		add_child(searcher, parents, count, i, FOR_CROSSOVER);
}

/* ---- slots for outcomes ------------------------------------------------------------------- */

static void
free_slot(LatSearcher *searcher, int32_t slot)
{
	if (searcher->owners[slot] >= 0)
		searcher->slot_of[searcher->owners[slot]] = -1;
	searcher->owners[slot] = -1;
	searcher->pinned[slot] = 0;
}

/* A slot for the candidate: a free one, else one that this iteration does not need. */
static int32_t
take_slot(LatSearcher *searcher, int32_t candidate)
{
	int32_t		taken = -1;

	for (int32_t slot = 0; slot < searcher->block->slots; slot++)
	{
		if (searcher->owners[slot] >= 0 && (taken >= 0 || searcher->pinned[slot]))
			continue;
		taken = slot;
		if (searcher->owners[slot] < 0)
			break;
	}
	free_slot(searcher, taken);
	searcher->owners[taken] = candidate;
	searcher->pinned[taken] = 1;
	searcher->slot_of[candidate] = taken;
	return taken;
}

/* Keep the outcomes of the frontier: next iteration's rivals are among them. */
static void
free_slots(LatSearcher *searcher)
{
	for (int32_t slot = 0; slot < searcher->block->slots; slot++)
	{
		int32_t		owner = searcher->owners[slot];

		if (owner >= 0 && !searcher->state->candidates[owner].frontier)
			free_slot(searcher, slot);
		searcher->pinned[slot] = 0;
	}
}

/* ---- an iteration, as rank 0 leads it ----------------------------------------------------- */

/* The best member of the frontier that costs no more; -1: there is none. */
static int32_t
find_rival(const LatSearcher *searcher, int32_t candidate)
{
	double		cost = cost_of(searcher, candidate);
	int32_t		rival = -1;

	for (int i = 0; i < searcher->members; i++)
		if (searcher->costs[searcher->frontier[i]] <= cost)
			rival = searcher->frontier[i];
	return rival;
}

static void
begin_round(LatSearcher *searcher, LatRoundKind kind, int32_t from, int32_t to)
{
	searcher->block->round = (LatSearchRound) {
		.kind = (int32_t) kind,.jobs = 0,.from = from,.to = to,.next = 0
	};
}

static void
add_job(LatSearcher *searcher, int32_t candidate, int32_t slot)
{
	searcher->jobs[searcher->block->round.jobs++] = (LatSearchJob) {
		candidate, slot
	};
}

/*
 * New candidates; and a round for those of their rivals whose outcomes are not at hand: after
 * a resume, or where slots were too few.
 */
static LatStatus
begin_iteration(LatSearcher *searcher, LatError *error)
{
	LatSearchState *state = searcher->state;
	int32_t		first = state->count;
	LatStatus	status = LAT_OK;

	if (state->steps == 0)
		add_first_candidates(searcher);
	else
		add_children(searcher);
	if (searcher->block->options.cost == LAT_COST_MILLISECONDS)
		for (int32_t i = first; status == LAT_OK && i < state->count; i++)
			status = lat_search_measure(searcher, state->candidates[i].lengths,
										&state->candidates[i].milliseconds, error);
	begin_round(searcher, LAT_ROUND_SELECT, 0, searcher->block->selecting);
	searcher->contending = state->count - first;
	for (int i = 0; i < searcher->contending; i++)
	{
		int32_t		rival = find_rival(searcher, first + i);

		searcher->contenders[i].candidate = first + i;
		searcher->contenders[i].rival = rival;
		if (rival >= 0 && searcher->slot_of[rival] >= 0)
			searcher->pinned[searcher->slot_of[rival]] = 1;
	}
	for (int i = 0; i < searcher->contending; i++)
	{
		int32_t		rival = searcher->contenders[i].rival;

		if (rival >= 0 && searcher->slot_of[rival] < 0)
			add_job(searcher, rival, take_slot(searcher, rival));
	}
	return status;
}

/* The first block of examples, for all candidates. */
static void
begin_races(LatSearcher *searcher)
{
	int32_t		n = searcher->block->selecting;

	begin_round(searcher, LAT_ROUND_SELECT, 0, n < FIRST_BLOCK ? n : FIRST_BLOCK);
	for (int i = 0; i < searcher->contending; i++)
	{
		LatContender *contender = &searcher->contenders[i];

		contender->slot = take_slot(searcher, contender->candidate);
		if (contender->rival >= 0)
			lat_race_begin(&contender->race,
						   lat_search_outcomes(searcher, searcher->slot_of[contender->rival]), n);
		add_job(searcher, contender->candidate, contender->slot);
	}
}

/* All examples were tried. */
static void
finish_candidate(LatSearcher *searcher, const LatContender *contender)
{
	LatSearchState *state = searcher->state;
	LatCandidate *candidate = &state->candidates[contender->candidate];
	const LatOutcome *outcomes = lat_search_outcomes(searcher, contender->slot);
	int32_t		n = searcher->block->selecting;
	double		millions = 0;

	for (int32_t i = 0; i < n; i++)
		millions += outcomes[i].multiply_adds;
	if (contender->candidate == 0)
		state->full_millions = millions;
	candidate->selection = lat_quality(outcomes, n);
	candidate->mean_fraction = millions / state->full_millions;
}

/* Judge a candidate after the round's block of examples; true: it goes on. */
static bool
judge(LatSearcher *searcher, LatContender *contender)
{
	const LatSearchRound *round = &searcher->block->round;
	LatCandidate *candidate = &searcher->state->candidates[contender->candidate];
	const LatOutcome *outcomes = lat_search_outcomes(searcher, contender->slot);
	const LatOutcome *rival;

	candidate->evaluated = round->to;
	if (round->to == searcher->block->selecting)
	{
		finish_candidate(searcher, contender);
		return false;
	}
	if (contender->rival < 0)
		return true;
	rival = lat_search_outcomes(searcher, searcher->slot_of[contender->rival]);
	for (int32_t i = round->from; i < round->to; i++)
		lat_race_add(&contender->race, &outcomes[searcher->order[i]], &rival[searcher->order[i]]);
	if (!lat_race_lost(&contender->race, LAT_RACE_LEVEL))
		return true;
	candidate->abandoned = true;
	candidate->selection = lat_race_estimate(&contender->race);
	searcher->state->abandoned++;
	free_slot(searcher, contender->slot);
	return false;
}

/* Judge by the block just evaluated, and set up the next: no jobs when nobody is left. */
static void
next_block(LatSearcher *searcher)
{
	const LatSearchRound *round = &searcher->block->round;
	int32_t		n = searcher->block->selecting;
	int32_t		to = round->to;
	int			left = 0;

	searcher->state->examples += (int64_t) searcher->contending * (to - round->from);
	for (int i = 0; i < searcher->contending; i++)
		if (judge(searcher, &searcher->contenders[i]))
			searcher->contenders[left++] = searcher->contenders[i];
	searcher->contending = left;
	begin_round(searcher, LAT_ROUND_SELECT, to, to < n - to ? 2 * to : n);
	for (int i = 0; i < left; i++)
		add_job(searcher, searcher->contenders[i].candidate, searcher->contenders[i].slot);
}

static void
end_iteration(LatSearcher *searcher)
{
	LatSearchState *state = searcher->state;

	lat_search_find_frontier(searcher);
	for (int32_t i = 0; i < state->count; i++)
		state->candidates[i].frontier = false;
	for (int i = 0; i < searcher->members; i++)
		state->candidates[searcher->frontier[i]].frontier = true;
	state->hypervolume = lat_pareto_area(searcher->costs, searcher->qualities,
										 searcher->frontier, searcher->members);
	state->steps++;
	free_slots(searcher);
}

/* ---- an iteration, by all ----------------------------------------------------------------- */

/* The order in which this iteration tries the examples of the selecting half. */
static void
draw_order(LatSearcher *searcher)
{
	int32_t		n = searcher->block->selecting;
	LatRandom	random = lat_random(searcher->block->options.seed,
									(uint32_t) searcher->state->steps, 0, 0, FOR_ORDER);

	for (int32_t i = 0; i < n; i++)
	{
		int32_t		j = (int32_t) lat_random_below(random, (uint32_t) i, (uint32_t) i + 1);

		searcher->order[i] = searcher->order[j];
		searcher->order[j] = i;
	}
}

static LatStatus
run_iteration(LatSearcher *searcher, LatError *error)
{
	int32_t		jobs;
	LatStatus	status = LAT_OK;

	draw_order(searcher);
	if (is_lead(searcher))
		status = begin_iteration(searcher, error);
	if (status == LAT_OK)
		status = lat_search_round(searcher, &jobs, error);
	if (status == LAT_OK && is_lead(searcher))
		begin_races(searcher);
	while (status == LAT_OK)
	{
		status = lat_search_round(searcher, &jobs, error);
		if (status != LAT_OK || jobs == 0)
			break;
		if (is_lead(searcher))
			next_block(searcher);
	}
	if (status == LAT_OK && is_lead(searcher))
		end_iteration(searcher);
	return status;
}

/* ---- labels ------------------------------------------------------------------------------- */

/* Where the data has no labels, what the model says in full takes their place. */
static LatStatus
label_examples(LatSearcher *searcher, LatError *error)
{
	int32_t		jobs;
	LatStatus	status;

	if (searcher->block->labelled || searcher->labels_known)
		return LAT_OK;
	if (is_lead(searcher))
	{
		begin_round(searcher, LAT_ROUND_LABEL, 0, searcher->block->count);
		searcher->block->round.jobs = 1;
	}
	status = lat_search_round(searcher, &jobs, error);
	searcher->labels_known = status == LAT_OK;
	return status;
}

/* ---- the reporting half ------------------------------------------------------------------- */

/* Take in a wave's outcomes on the reporting half. */
static void
report_wave(LatSearcher *searcher)
{
	LatSearchState *state = searcher->state;
	const LatSearchBlock *block = searcher->block;
	int32_t		n = block->count - block->selecting;

	for (int32_t i = 0; i < block->round.jobs; i++)
	{
		LatCandidate *candidate = &state->candidates[searcher->jobs[i].candidate];
		const LatOutcome *outcomes = lat_search_outcomes(searcher, searcher->jobs[i].slot);
		double		millions = 0;

		for (int32_t j = 0; j < n; j++)
			millions += outcomes[j].multiply_adds;
		if (searcher->jobs[i].candidate == 0)
			searcher->report_millions = millions;
		candidate->mean_fraction = (candidate->mean_fraction * state->full_millions + millions) /
			(state->full_millions + searcher->report_millions);
		candidate->quality = lat_quality(outcomes, n);
		lat_quality_interval(outcomes, n, block->options.seed, &candidate->quality_low,
							 &candidate->quality_high);
	}
}

/* The next members to report on, as many as there are slots; in full comes first. */
static void
next_wave(LatSearcher *searcher)
{
	const LatSearchBlock *block = searcher->block;

	begin_round(searcher, LAT_ROUND_REPORT, 0, block->count - block->selecting);
	for (; searcher->reported <= searcher->members && block->round.jobs < block->slots;
		 searcher->reported++)
	{
		int32_t		member = searcher->reported == 0 ? 0 : searcher->frontier[searcher->reported - 1];

		if (searcher->reported == 0 || member != 0)
			add_job(searcher, member, block->round.jobs);
	}
}

/* Time of the frontier and of the model in full, unless that was the cost anyway. */
static LatStatus
measure_members(LatSearcher *searcher, LatError *error)
{
	LatCandidate *candidates = searcher->state->candidates;
	LatStatus	status = LAT_OK;

	if (searcher->clock == NULL || searcher->block->options.cost == LAT_COST_MILLISECONDS)
		return LAT_OK;
	status = lat_search_measure(searcher, candidates[0].lengths, &candidates[0].milliseconds,
								error);
	for (int i = 0; status == LAT_OK && i < searcher->members; i++)
	{
		LatCandidate *member = &candidates[searcher->frontier[i]];

		if (member != candidates)
			status = lat_search_measure(searcher, member->lengths, &member->milliseconds, error);
	}
	return status;
}

/* Quality of the frontier, and of the model in full, on the half that had no say. */
static LatStatus
report_frontier(LatSearcher *searcher, LatError *error)
{
	int32_t		jobs = 0;
	LatStatus	status = LAT_OK;

	searcher->reported = 0;
	do
	{
		if (is_lead(searcher))
			next_wave(searcher);
		status = lat_search_round(searcher, &jobs, error);
		if (status == LAT_OK && is_lead(searcher))
			report_wave(searcher);
	} while (status == LAT_OK && jobs > 0);
	if (status == LAT_OK && is_lead(searcher))
	{
		status = measure_members(searcher, error);
		searcher->state->finished = status == LAT_OK;
	}
	return status;
}

/* ---- entry -------------------------------------------------------------------------------- */

void
lat_search_report(const LatSearcher *searcher, LatSearchReport *report)
{
	const LatSearchState *state = searcher->state;

	*report = (LatSearchReport) {
		.iteration = state->steps > 0 ? state->steps - 1 : 0,
		.iterations = searcher->block->options.iterations,.candidates = state->count,
		.abandoned = state->abandoned,.examples = state->examples,
		.hypervolume = state->hypervolume,.finished = state->finished != 0
	};
}

LatStatus
lat_search_step(LatSearcher *searcher, LatSearchReport *report, LatError *error)
{
	const LatSearchState *state = searcher->state;
	LatStatus	status = LAT_OK;

	if (searcher->block->options.cost == LAT_COST_MILLISECONDS && searcher->clock == NULL)
		return lat_fail(error, LAT_BAD_ARGUMENT, "milliseconds cannot be measured without a clock");

	/* rank 0 changes the state from here on: all must have read the last step's report */
	if (!lat_search_meet(searcher))
		return lat_fail(error, LAT_INTERRUPTED, "the search was interrupted");
	if (!state->finished)
	{
		bool		last = state->steps >= searcher->block->options.iterations;

		status = label_examples(searcher, error);
		if (status == LAT_OK)
			status = run_iteration(searcher, error);
		if (status == LAT_OK && last)
			status = report_frontier(searcher, error);
		if (status == LAT_OK && !lat_search_meet(searcher))
			status = lat_fail(error, LAT_INTERRUPTED, "the search was interrupted");
	}
	if (status == LAT_OK)
		lat_search_report(searcher, report);
	return status;
}

const LatCandidate *
lat_search_candidates(const LatSearcher *searcher, int32_t *count)
{
	*count = searcher->state->count;
	return searcher->state->candidates;
}
