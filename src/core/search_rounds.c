/*
 * search_rounds.c
 *	  Evaluations of the search, shared out over the team.
 *
 * Rank 0 decides what is to be evaluated and writes it into the block as a
 * round: some configurations (jobs), and a range of examples.  Then all take
 * work items, one configuration on LAT_SEARCH_CHUNK examples each, from a common
 * counter, until none is left:
 *
 *		rank 0			set up round | meet | take items ... | meet | judge, next round
 *		others						 | meet | take items ... | meet |
 *
 * An example's outcome does not depend on what it is evaluated with, nor on who
 * does it; so the search does not depend on the size of the team, nor on time.
 */
#include "search.h"

#include <string.h>

#define MEASUREMENTS 9			/* of which the median counts */

bool
lat_search_meet(const LatSearcher *searcher)
{
	const LatTeam *team = searcher->team;

	return team == NULL || team->wait == NULL || team->wait(team->arg);
}

LatOutcome *
lat_search_outcomes(const LatSearcher *searcher, int32_t slot)
{
	return searcher->outcomes + (size_t) slot * searcher->block->selecting;
}

/* ---- work items --------------------------------------------------------------------------- */

/* Targets, and references, of examples first .. first + count - 1. */
static LatStatus
label_chunk(LatSearcher *searcher, int32_t first, int32_t count, LatError *error)
{
	return lat_label_examples(&searcher->engine, searcher->model, &searcher->examples,
							  first, count, searcher->references, error);
}

/* Place within its half of the example that comes as number `at` in the round. */
static int32_t
place_of(const LatSearcher *searcher, int32_t at)
{
	return searcher->block->round.kind == LAT_ROUND_SELECT ? searcher->order[at] : at;
}

/*
 * One configuration on examples first .. first + count - 1 of the round.  The
 * iteration's order scatters the examples, so they are gathered into a view of their own.
 */
static LatStatus
evaluate_chunk(LatSearcher *searcher, LatSearchJob job, int32_t first, int32_t count,
			   LatError *error)
{
	const LatSearchBlock *block = searcher->block;
	int32_t		half = block->round.kind == LAT_ROUND_SELECT ? 0 : block->selecting;
	LatOutcome *outcomes = lat_search_outcomes(searcher, job.slot);
	LatExamples view = searcher->examples;
	uint64_t	offsets[LAT_SEARCH_CHUNK];
	LatOutcome	found[LAT_SEARCH_CHUNK];
	LatStatus	status;

	for (int32_t i = 0; i < count; i++)
	{
		int32_t		example = half + place_of(searcher, first + i);

		offsets[i] = searcher->offsets[example];
		if (searcher->references)
			memcpy(searcher->chunk_references + (size_t) i * block->hidden,
				   searcher->references + (size_t) example * block->hidden,
				   block->hidden * sizeof(float));
	}
	view.count = count;
	view.offsets = offsets;
	status = searcher->evaluate(&searcher->engine, searcher->model, &view, 0, count,
								searcher->state->candidates[job.candidate].lengths,
								block->options.reference_length, searcher->chunk_references,
								found, error);
	for (int32_t i = 0; status == LAT_OK && i < count; i++)
		outcomes[place_of(searcher, first + i)] = found[i];
	return status;
}

static LatStatus
take_items(LatSearcher *searcher, LatError *error)
{
	LatSearchRound *round = &searcher->block->round;
	int32_t		examples = round->to - round->from;
	uint64_t	chunks = (uint64_t) (examples + LAT_SEARCH_CHUNK - 1) / LAT_SEARCH_CHUNK;
	uint64_t	items = chunks * round->jobs;
	LatStatus	status = LAT_OK;

	while (status == LAT_OK)
	{
		uint64_t	item = __atomic_fetch_add(&round->next, 1, __ATOMIC_RELAXED);
		int32_t		first;
		int32_t		count;

		if (item >= items)
			break;
		if (searcher->host->interrupted(searcher->host->arg))
			return lat_fail(error, LAT_INTERRUPTED, "the search was interrupted");
		first = round->from + (int32_t) (item % chunks) * LAT_SEARCH_CHUNK;
		count = round->to - first < LAT_SEARCH_CHUNK ? round->to - first : LAT_SEARCH_CHUNK;
		if (round->kind == LAT_ROUND_LABEL)
			status = label_chunk(searcher, first, count, error);
		else
			status = evaluate_chunk(searcher, searcher->jobs[item / chunks], first, count, error);
	}
	return status;
}

LatStatus
lat_search_round(LatSearcher *searcher, int32_t *jobs, LatError *error)
{
	LatStatus	status;

	if (!lat_search_meet(searcher))
		return lat_fail(error, LAT_INTERRUPTED, "the search was interrupted");
	*jobs = searcher->block->round.jobs;
	status = take_items(searcher, error);
	if (status == LAT_OK && !lat_search_meet(searcher))
		status = lat_fail(error, LAT_INTERRUPTED, "the search was interrupted");
	return status;
}

/* ---- time --------------------------------------------------------------------------------- */

LatStatus
lat_search_measure(LatSearcher *searcher, const int32_t *lengths, double *milliseconds,
				   LatError *error)
{
	const LatConfig *config = &searcher->model->config;
	int32_t		n = searcher->block->options.reference_length;
	const int32_t offsets[2] = {0, n};
	LatBatch	batch = {.count = 1,.offsets = offsets,.ids = searcher->ids,
		.segments = searcher->segments,.lengths = lengths,
	.cls_only = config->task == LAT_CLASSIFY};
	double		times[MEASUREMENTS];
	LatStatus	status = LAT_OK;

	for (int32_t i = 0; i < n; i++)
		searcher->ids[i] = (int32_t) ((int64_t) i * 7919 % config->vocabulary);
	memset(searcher->segments, 0, n);

	/* the first pass, which reserves memory and warms caches, does not count */
	for (int i = -1; status == LAT_OK && i < MEASUREMENTS; i++)
	{
		double		start = searcher->clock();
		double		time;
		int			place = i;

		status = lat_forward(&searcher->engine, searcher->model, &batch, searcher->output, NULL,
							 error);
		time = searcher->clock() - start;
		for (; place > 0 && times[place - 1] > time; place--)
			times[place] = times[place - 1];
		if (place >= 0)
			times[place] = time;
	}
	*milliseconds = status == LAT_OK ? times[MEASUREMENTS / 2] : 0;
	return status;
}
