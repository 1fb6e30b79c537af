/*
 * training_block.c
 *	  Options of a run, and the shared block that it lives in.
 */
#include <math.h>
#include <string.h>

#include "training_block.h"

/* ---- options ------------------------------------------------------------------------------ */

void
lat_train_defaults(const LatConfig *config, LatTask task, LatTrainOptions *options)
{
	int			longest = task == LAT_SPAN ? 384 : 128;

	*options = (LatTrainOptions) {
		.epochs = {3, 5},
			.learning_rate = 5e-5,.warmup = 0.1,.decay = 0.01,
			.beta1 = 0.9,.beta2 = 0.999,.epsilon = 1e-8,.clip = 1,
			.length_drop = fmin(0.5, 24.0 / (10 * config->layers)),.layer_drop = 0.2,
			.hidden_dropout = -1,.attention_dropout = -1,
			.batch = 32,
			.max_tokens = longest < config->positions ? longest : config->positions,
			.submodels = 2,.words = LAT_WORDS_LAZY,.bf16 = LAT_BF16_BACKWARD,.ranks = 1
	};
}

typedef struct OptionRange
{
	const char *name;
	double		value;
	double		low;
	double		high;
} OptionRange;

LatStatus
lat_check_train_options(const LatTrainOptions *options, LatError *error)
{
	const OptionRange ranges[] = {
		{"fine-tuning epochs", options->epochs[0], 0, 10000},
		{"LengthDrop epochs", options->epochs[1], 0, 10000},
		{"learning rate", options->learning_rate, 0, 0.5},
		{"warmup", options->warmup, 0, 1},
		{"decay", options->decay, 0, 1},
		{"beta1", options->beta1, 0, 0.999999},
		{"beta2", options->beta2, 0, 0.999999},
		{"epsilon", options->epsilon, 1e-12, 1},
		{"clip", options->clip, 0, 1e6},
		{"length_drop", options->length_drop, 0, 0.9},
		{"layer_drop", options->layer_drop, 0, 0.9},
		{"hidden dropout", options->hidden_dropout, -1, 0.9},
		{"attention dropout", options->attention_dropout, -1, 0.9},
		{"batch", options->batch, 1, 4096},
		{"max_tokens", options->max_tokens, 5, LAT_MAX_POSITIONS},
		{"submodels", options->submodels, 0, LAT_MAX_SUBMODELS},
		{"words", options->words, LAT_WORDS_LAZY, LAT_WORDS_DENSE},
		{"bf16", options->bf16, LAT_BF16_NONE, LAT_BF16_ALL},
		{"reverse_kl", options->reverse_kl, 0, 1},
		{"ranks", options->ranks, 1, LAT_MAX_RANKS}
	};

	/* written so that NaN fails */
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
			return lat_fail(error, LAT_BAD_ARGUMENT, "%s is %g, outside %g to %g", ranges[i].name,
							ranges[i].value, ranges[i].low, ranges[i].high);
	if (!(options->epochs[0] + options->epochs[1] > 0))
		return lat_fail(error, LAT_BAD_ARGUMENT, "no epochs in either phase: nothing to train");
	return LAT_OK;
}

double
lat_phase_steps(const LatTrainOptions *options, int32_t examples, int phase)
{
	return ceil(options->epochs[phase] * ceil((double) examples / options->batch) - 1e-9);
}

LatStatus
lat_check_train_steps(const LatTrainOptions *options, int32_t examples, LatError *error)
{
	double		steps = lat_phase_steps(options, examples, 0) +
		lat_phase_steps(options, examples, 1);

	if (steps <= LAT_MAX_STEPS)
		return LAT_OK;
	return lat_hint(error, lat_fail(error, LAT_BAD_ARGUMENT, "the run would take %.0f steps, more "
									"than %d", steps, LAT_MAX_STEPS),
					"Ask for fewer epochs or a larger batch.");
}

/* ---- layout ------------------------------------------------------------------------------- */

/* Where the next piece of the block goes. Doubles as they are hold every size below 2^53. */
typedef struct Layout
{
	double		end;
} Layout;

static uint64_t
place(Layout *layout, double size)
{
	uint64_t	at = (uint64_t) layout->end;

	layout->end = ceil((layout->end + size) / LAT_ALIGNMENT) * LAT_ALIGNMENT;
	return at;
}

/* Distinct words that a batch may hold. */
static int32_t
most_slots(const LatTrainingSizes *sizes, const LatTrainOptions *options)
{
	double		tokens = fmin((double) options->batch * options->max_tokens,
							  (double) sizes->train_bytes / sizeof(int32_t));

	if (options->words == LAT_WORDS_FROZEN)
		return 0;
	return (int32_t) fmin(tokens, sizes->base->config.vocabulary);
}

static void
place_state(Layout *layout, LatTrainingBlock *block)
{
	bool		words = block->options.words != LAT_WORDS_FROZEN;
	double		rows = words ? block->vocabulary : 0;

	block->state = place(layout, sizeof(LatTrainReport));
	block->image = place(layout, (double) block->image_size);
	block->moments = place(layout, 2.0 * (double) block->trained_room * sizeof(float));
	block->word_moments = place(layout, 2 * rows * block->stride * sizeof(float));
	block->word_updated = place(layout, rows * sizeof(int64_t));
	block->state_size = (uint64_t) layout->end - block->state;
}

static void
place_rest(Layout *layout, LatTrainingBlock *block)
{
	double		ranks = block->options.ranks;

	block->gradients = place(layout, ranks * (double) block->trained_room * sizeof(float));
	block->word_gradients = place(layout, ranks * block->slots * block->stride * sizeof(float));
	block->train = place(layout, (double) block->train_bytes);
	block->dev = place(layout, (double) block->dev_bytes);
	block->losses = place(layout, ranks * sizeof(double));
	block->squares = place(layout, ((double) block->square_blocks + block->slots) * sizeof(double));
	block->outcomes = place(layout, 2.0 * block->dev_count * sizeof(LatOutcome));
}

/* All of *block but what the image itself will tell. */
static LatStatus
lay_out(const LatTrainingSizes *sizes, const LatTrainOptions *options, LatTrainingBlock *block,
		LatError *error)
{
	const LatConfig *config = &sizes->base->config;
	Layout		layout = {0};
	LatStatus	status = lat_check_train_options(options, error);
	size_t		words;

	if (status != LAT_OK)
		return status;
	memset(block, 0, sizeof(LatTrainingBlock));
	block->options = *options;
	if (options->hidden_dropout < 0)
		block->options.hidden_dropout = config->hidden_dropout;
	if (options->attention_dropout < 0)
		block->options.attention_dropout = config->attention_dropout;
	block->task = sizes->head ? (int32_t) sizes->head->task : config->task;
	block->train_count = sizes->train_count;
	block->dev_count = sizes->dev_count;
	block->train_bytes = sizes->train_bytes;
	block->dev_bytes = sizes->dev_bytes;
	block->vocabulary = config->vocabulary;
	block->stride = LAT_ROUND_UP(config->embedding, LAT_PANEL);
	block->slots = most_slots(sizes, options);
	if (block->task == LAT_EMBED)
		return lat_fail(error, LAT_BAD_ARGUMENT, "a model without a head cannot be trained");
	if (sizes->train_count < 1)
		return lat_fail(error, LAT_BAD_ARGUMENT, "there are no examples to train on");
	status = lat_check_train_steps(options, sizes->train_count, error);
	if (status != LAT_OK)
		return status;
	if (options->max_tokens > config->positions)
		return lat_fail(error, LAT_BAD_ARGUMENT, "max_tokens is %d, but the model reads at most %d",
						options->max_tokens, config->positions);
	block->image_size = lat_convert_size(sizes->base, sizes->head, LAT_FP32);
	if (block->image_size == 0)
		return lat_fail(error, LAT_BAD_ARGUMENT,
						"the model cannot be given this head, or is too large for this machine");
	words = (size_t) block->vocabulary * (size_t) block->stride * sizeof(float);
	block->trained_room = LAT_ROUND_UP((block->image_size - words) / sizeof(float),
									   LAT_ALIGNMENT / sizeof(float));
	block->square_blocks = (int32_t) (block->trained_room / LAT_PARAMETER_BLOCK) +
		2 * LAT_MAX_SECTIONS;

	place(&layout, sizeof(LatTrainingBlock));
	place_state(&layout, block);
	place_rest(&layout, block);
	if (layout.end > (double) (SIZE_MAX / 2))
		return lat_fail(error, LAT_BAD_ARGUMENT, "the run is too large for this machine");
	block->size = (uint64_t) layout.end;
	return LAT_OK;
}

LatStatus
lat_training_size(const LatTrainingSizes *sizes, const LatTrainOptions *options, size_t *bytes,
				  LatError *error)
{
	LatTrainingBlock block;
	LatStatus	status = lay_out(sizes, options, &block, error);

	if (status == LAT_OK)
		*bytes = block.size;
	return status;
}

LatStatus
lat_training_create(const LatHost *host, void *block, const LatTrainingSizes *sizes,
					const LatTrainOptions *options, void **train, void **dev, LatError *error)
{
	LatTrainingBlock *header = block;
	LatTrainReport *report;
	LatModel	model;
	void	   *image;
	LatStatus	status = lay_out(sizes, options, header, error);

	if (status != LAT_OK)
		return status;
	image = lat_block_at(header, header->image);
	status = lat_convert(host, sizes->base, sizes->head, LAT_FP32, image, error);
	if (status == LAT_OK)
		status = lat_model_open(image, header->image_size, &model, error);
	if (status != LAT_OK)
		return status;
	header->trained = header->image +
		(uint64_t) ((const uint8_t *) model.positions.codes - model.image);
	header->trained_count = (header->image + header->image_size - header->trained) / sizeof(float);
	report = lat_block_at(header, header->state);
	memset(report, 0, sizeof(*report));
	*train = lat_block_at(header, header->train);
	*dev = lat_block_at(header, header->dev);
	return LAT_OK;
}

void
lat_training_state(void *block, void **state, size_t *bytes)
{
	LatTrainingBlock *header = block;

	*state = lat_block_at(header, header->state);
	*bytes = header->state_size;
}
