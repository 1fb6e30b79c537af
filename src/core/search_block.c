/*
 * search_block.c
 *	  The search's shared block: options, layout, opening and closing.
 *
 *		header			options, counts, where everything lies; the round that is under way
 *		state			candidates and counters: all that a checkpoint needs
 *		jobs, outcomes	of the configurations that are held just now
 *		references		LAT_EMBED: embeddings in full
 *		records			the examples, as the caller copied them
 *
 * Outcomes are no part of a checkpoint: those that a resumed search needs it
 * computes again, to the same bits.
 *
 * The split: every process shuffles the records' offsets by the seed; what
 * comes first selects, the rest reports.
 */
#include "search.h"

#include "format.h"
#include "stages.h"

#include <string.h>

/* Counters of random keys: what the numbers are for. search.c has others. */
#define FOR_SPLIT 1

/* ---- options ------------------------------------------------------------------------------ */

void
lat_search_defaults(const LatConfig *config, LatSearchOptions *options)
{
	double		drop = 24.0 / (10 * config->layers);
	int32_t		tokens = config->task == LAT_SPAN ? LAT_SPAN_WINDOW : 128;

	*options = (LatSearchOptions) {
		.iterations = 30,.mutations = 30,.crossovers = 30,.ratios = 20,.mutation = 0.5,
		.length_drop = drop < 0.5 ? drop : 0.5,
		.reference_length = tokens < config->positions ? tokens : config->positions,
		.cost = LAT_COST_MULTIPLY_ADDS,.seed = 1
	};
}

static LatStatus
check_count(const char *name, int32_t value, int32_t least, int32_t most, LatError *error)
{
	if (value >= least && value <= most)
		return LAT_OK;
	return lat_fail(error, LAT_BAD_ARGUMENT, "option \"%s\" is %d, and must be %d to %d",
					name, value, least, most);
}

static LatStatus
check_share(const char *name, double value, double most, LatError *error)
{
	if (value >= 0 && value <= most)
		return LAT_OK;
	return lat_fail(error, LAT_BAD_ARGUMENT, "option \"%s\" is %g, and must be 0 to %g",
					name, value, most);
}

LatStatus
lat_check_search_options(const LatSearchOptions *options, LatError *error)
{
	LatStatus	status = check_count("iterations", options->iterations, 0, 1000, error);

	if (status == LAT_OK)
		status = check_count("mutations", options->mutations, 0, 1000, error);
	if (status == LAT_OK)
		status = check_count("crossovers", options->crossovers, 0, 1000, error);
	if (status == LAT_OK)
		status = check_count("ratios", options->ratios, 0, 1000, error);
	if (status == LAT_OK)
		status = check_share("mutation", options->mutation, 1, error);
	if (status == LAT_OK)
		status = check_share("length_drop", options->length_drop, 0.9, error);
	if (status == LAT_OK)
		status = check_count("reference_length", options->reference_length, 2,
							 LAT_MAX_POSITIONS, error);
	if (status == LAT_OK)
		status = check_count("cost", options->cost, LAT_COST_MULTIPLY_ADDS,
							 LAT_COST_MILLISECONDS, error);
	return status;
}

/* ---- layout ------------------------------------------------------------------------------- */

static uint64_t
place(uint64_t *used, uint64_t bytes)
{
	uint64_t	at = *used;

	*used += LAT_ROUND_UP(bytes, (uint64_t) LAT_ALIGNMENT);
	return at;
}

static int32_t
larger(int32_t a, int32_t b)
{
	return a > b ? a : b;
}

/* Fill in a header but for kind and labelled. */
static LatStatus
lay_out(const LatModel *model, const LatSearchOptions *options, size_t record_bytes,
		int32_t count, LatSearchBlock *block, LatError *error)
{
	int32_t		bred = options->mutations + options->crossovers;
	uint64_t	used = 0;
	LatStatus	status = lat_check_search_options(options, error);

	if (status != LAT_OK)
		return status;
	if (options->reference_length > model->config.positions)
		return lat_hint(error,
						lat_fail(error, LAT_BAD_ARGUMENT,
								 "option \"reference_length\" is %d, the model takes %d tokens",
								 options->reference_length, model->config.positions),
						"Choose about as many tokens as the longer texts have.");
	if (count < 2)
		return lat_hint(error, lat_fail(error, LAT_BAD_ARGUMENT,
										"a search needs at least 2 examples, there are %d", count),
						"One half of them selects, the other reports; some hundreds are sensible.");
	memset(block, 0, sizeof(*block));
	block->options = *options;
	block->layers = model->config.layers;
	block->hidden = model->config.hidden;
	block->count = count;
	block->selecting = count - count / 2;
	block->capacity = 2 + options->ratios + options->iterations * bred;
	block->batch = larger(2 + options->ratios, bred);

	/* every candidate may have a rival of its own; the rest saves computing frontier again */
	block->slots = 3 * block->batch;
	block->record_bytes = record_bytes;
	place(&used, sizeof(LatSearchBlock));
	block->state_at = place(&used, sizeof(LatSearchState) +
							(uint64_t) block->capacity * sizeof(LatCandidate));
	block->jobs_at = place(&used, (uint64_t) block->slots * sizeof(LatSearchJob));
	block->outcomes_at = place(&used, (uint64_t) block->slots * block->selecting *
							   sizeof(LatOutcome));
	block->references_at = place(&used, model->config.task == LAT_EMBED ?
								 (uint64_t) count * block->hidden * sizeof(float) : 0);
	block->records_at = place(&used, record_bytes);
	block->size = used;
	if (record_bytes > SIZE_MAX / 2 || used > SIZE_MAX / 2)
		return lat_fail(error, LAT_NO_MEMORY, "the examples of the search do not fit into memory");
	return LAT_OK;
}

LatStatus
lat_search_size(const LatModel *model, const LatSearchOptions *options, size_t record_bytes,
				int32_t count, size_t *bytes, LatError *error)
{
	LatSearchBlock block = {.size = 0};
	LatStatus	status = lay_out(model, options, record_bytes, count, &block, error);

	*bytes = status == LAT_OK ? (size_t) block.size : 0;
	return status;
}

static void *
part(LatSearchBlock *block, uint64_t at)
{
	return (uint8_t *) block + at;
}

LatStatus
lat_search_create(void *block, const LatModel *model, const LatSearchOptions *options,
				  LatRecordKind kind, size_t record_bytes, int32_t count, bool labelled,
				  void **records, LatError *error)
{
	LatSearchBlock *header = block;
	LatStatus	status = lay_out(model, options, record_bytes, count, header, error);

	if (status != LAT_OK)
		return status;
	header->kind = (int32_t) kind;
	header->labelled = labelled;
	memset(part(header, header->state_at), 0, sizeof(LatSearchState));
	*records = part(header, header->records_at);
	return LAT_OK;
}

void
lat_search_state(void *block, void **state, size_t *bytes)
{
	LatSearchBlock *header = block;
	LatSearchState *inside = part(header, header->state_at);

	*state = inside;
	*bytes = sizeof(LatSearchState) + (size_t) header->capacity * sizeof(LatCandidate);
}

/* ---- opening ------------------------------------------------------------------------------ */

static void
carve_searcher(LatCarver *carver, LatSearcher *searcher)
{
	const LatSearchBlock *block = searcher->block;
	const LatConfig *config = &searcher->model->config;
	size_t		n = block->options.reference_length;
	size_t		capacity = block->capacity;

	searcher->offsets = lat_carve(carver, block->count * sizeof(uint64_t));
	searcher->order = lat_carve(carver, block->selecting * sizeof(int32_t));
	if (config->task == LAT_EMBED)
		searcher->chunk_references = lat_carve(carver, (size_t) LAT_SEARCH_CHUNK * block->hidden *
											   sizeof(float));
	searcher->population.table = lat_carve(carver, searcher->population.table_size *
										   sizeof(int32_t));
	searcher->costs = lat_carve(carver, capacity * sizeof(double));
	searcher->qualities = lat_carve(carver, capacity * sizeof(double));
	searcher->frontier = lat_carve(carver, (capacity + 1) * sizeof(int32_t));
	searcher->slot_of = lat_carve(carver, capacity * sizeof(int32_t));
	searcher->owners = lat_carve(carver, block->slots * sizeof(int32_t));
	searcher->pinned = lat_carve(carver, block->slots);
	searcher->contenders = lat_carve(carver, block->batch * sizeof(LatContender));
	searcher->ids = lat_carve(carver, n * sizeof(int32_t));
	searcher->segments = lat_carve(carver, n);
	searcher->output = lat_carve(carver, n * lat_output_columns(searcher->model) * sizeof(float));
}

static LatStatus
reserve(LatSearcher *searcher, LatError *error)
{
	const LatHost *host = searcher->host;
	LatCarver	carver = {NULL, 0};

	searcher->population.table_size = lat_population_table_size(searcher->block->capacity);
	carve_searcher(&carver, searcher);
	searcher->memory = host->alloc(host->arg, carver.used + LAT_ALIGNMENT);
	if (searcher->memory == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for a search over %d examples",
						searcher->block->count);
	carver.base = (uint8_t *) LAT_ROUND_UP((uintptr_t) searcher->memory, LAT_ALIGNMENT);
	carver.used = 0;
	carve_searcher(&carver, searcher);
	return LAT_OK;
}

/* Fisher and Yates' shuffle of the records' offsets. */
static void
split_examples(LatSearcher *searcher)
{
	LatRandom	random = lat_random(searcher->block->options.seed, 0, 0, 0, FOR_SPLIT);

	for (int32_t i = searcher->block->count - 1; i > 0; i--)
	{
		uint32_t	j = lat_random_below(random, (uint32_t) i, (uint32_t) i + 1);
		uint64_t	moved = searcher->offsets[i];

		searcher->offsets[i] = searcher->offsets[j];
		searcher->offsets[j] = moved;
	}
}

/* Point into the block, index the records, take in what a checkpoint has put into the state. */
static LatStatus
take_in(LatSearcher *searcher, LatError *error)
{
	LatSearchBlock *block = searcher->block;
	const LatModel *model = searcher->model;
	LatStatus	status;

	searcher->examples = (LatExamples) {
		.kind = (LatRecordKind) block->kind,.bytes = part(block, block->records_at),
			.size = block->record_bytes,.offsets = searcher->offsets
	};
	status = lat_examples_index(searcher->host, model, &searcher->examples, block->count, error);
	if (status != LAT_OK)
		return status;
	if (searcher->examples.count != block->count)
		return lat_fail(error, LAT_BAD_MODEL, "%d examples where the search expects %d",
						searcher->examples.count, block->count);
	if (searcher->state->count < 0 || searcher->state->count > block->capacity)
		return lat_fail(error, LAT_BAD_MODEL, "the checkpoint is of another search");
	split_examples(searcher);
	lat_space_init(&searcher->space, &model->config, &block->options);
	searcher->population.space = &searcher->space;
	searcher->population.candidates = searcher->state->candidates;
	searcher->population.count = &searcher->state->count;
	searcher->population.capacity = block->capacity;
	lat_population_index(&searcher->population);
	for (int32_t i = 0; i < block->capacity; i++)
		searcher->slot_of[i] = -1;
	for (int32_t slot = 0; slot < block->slots; slot++)
		searcher->owners[slot] = -1;
	lat_search_find_frontier(searcher);
	return LAT_OK;
}

LatStatus
lat_searcher_open(const LatHost *host, const LatKernels *kernels, const LatTeam *team,
				  const LatModel *model, void *block, LatSearcher **opened, LatError *error)
{
	LatSearchBlock *header = block;
	LatSearcher *searcher;
	LatStatus	status;

	*opened = NULL;
	if (header->layers != model->config.layers || header->hidden != model->config.hidden)
		return lat_fail(error, LAT_BAD_ARGUMENT, "the search was begun for another model");
	searcher = host->alloc(host->arg, sizeof(LatSearcher));
	if (searcher == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for a search");
	memset(searcher, 0, sizeof(*searcher));
	searcher->host = host;
	searcher->team = team;
	searcher->model = model;
	searcher->block = header;
	searcher->state = part(header, header->state_at);
	searcher->engine.host = host;
	searcher->engine.kernels = kernels;
	searcher->evaluate = lat_evaluate;
	searcher->jobs = part(header, header->jobs_at);
	searcher->outcomes = part(header, header->outcomes_at);
	if (model->config.task == LAT_EMBED)
		searcher->references = part(header, header->references_at);
	status = reserve(searcher, error);
	if (status == LAT_OK)
		status = take_in(searcher, error);
	if (status == LAT_OK)
		*opened = searcher;
	else
		lat_searcher_close(searcher);
	return status;
}

void
lat_searcher_close(LatSearcher *searcher)
{
	const LatHost *host;

	if (searcher == NULL)
		return;
	host = searcher->host;
	lat_engine_release(&searcher->engine);
	host->release(host->arg, searcher->memory);
	host->release(host->arg, searcher);
}

void
lat_searcher_set_evaluate(LatSearcher *searcher, LatEvaluate evaluate)
{
	searcher->evaluate = evaluate;
}

void
lat_searcher_set_clock(LatSearcher *searcher, double (*clock) (void))
{
	searcher->clock = clock;
}
