/*
 * optimizer.c
 *	  Sum of the ranks' gradients, clipping, AdamW with a linear schedule; word embeddings.
 *
 * Parameters are cut into blocks, and blocks are shared out over the team.  What
 * is done to a block does not depend on who does it, and squares are added up in
 * the order of blocks: so neither do the results depend on the team.
 *
 *		reduce		gradient of each block = sum over ranks, in order; its squares	-> wait
 *		norm		sum of all squares; clip factor, the same in every process
 *		update		AdamW, decoupled decay, in place								-> wait (caller)
 *
 * AdamW (Loshchilov and Hutter, arXiv 1711.05101), as PyTorch has it, t steps
 * into the phase:
 *
 *		w = w (1 - lr decay)	m = b1 m + (1 - b1) g		v = b2 v + (1 - b2) g^2
 *		w = w - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + epsilon)
 *
 * A phase starts with m = v = 0: they are not written but taken as zero.
 *
 * Words: a step updates the rows that its batch holds (a slot each).  For a row
 * that was last updated k steps ago, those steps had no gradient: decay and
 * moments are made up for in closed form (product of (1 - lr decay); b1^k, b2^k)
 * before the row is read again.  The moments' own pull in between is left out:
 * that is the difference between lazy and dense.  Dense rows are updated at every step.
 */
#include "optimizer.h"

#include <math.h>
#include <string.h>

/* ---- team --------------------------------------------------------------------------------- */

LatStatus
lat_team_wait(const LatTeam *team)
{
	return team->wait == NULL || team->wait(team->arg) ? LAT_OK : LAT_INTERRUPTED;
}

int64_t
lat_team_share(const LatTeam *team, int64_t n, int64_t *end)
{
	*end = n * (team->rank + 1) / team->size;
	return n * team->rank / team->size;
}

/* ---- parameters --------------------------------------------------------------------------- */

static void
add_parameter(LatOptimizer *optimizer, const float *values, size_t count, bool decays, bool clears)
{
	const float *trained = lat_block_floats(optimizer->block, optimizer->block->trained);

	for (size_t from = 0; from < count; from += LAT_PARAMETER_BLOCK)
	{
		size_t		left = count - from;

		optimizer->blocks[optimizer->block_count++] = (LatParameterBlock) {
			.first = (uint64_t) (values - trained) + from,
				.count = (uint32_t) (left < LAT_PARAMETER_BLOCK ? left : LAT_PARAMETER_BLOCK),
				.decays = decays,.clears = clears
		};
	}
}

static void
add_linear(LatOptimizer *optimizer, const LatLinear *linear)
{
	if (linear->weights == NULL)
		return;
	add_parameter(optimizer, linear->weights, (size_t) linear->k * linear->n_padded, true, false);
	add_parameter(optimizer, linear->bias, linear->n_padded, false, true);
}

static void
add_norm(LatOptimizer *optimizer, const LatNorm *norm, int width)
{
	add_parameter(optimizer, norm->gamma, LAT_ROUND_UP(width, LAT_PANEL), false, true);
	add_parameter(optimizer, norm->beta, LAT_ROUND_UP(width, LAT_PANEL), false, true);
}

void
lat_list_parameters(LatOptimizer *optimizer)
{
	const LatModel *model = optimizer->model;
	const LatConfig *config = &model->config;

	optimizer->block_count = 0;
	add_parameter(optimizer, model->positions.codes,
				  (size_t) model->positions.rows * model->positions.stride, true, true);
	if (config->segments > 0)
		add_parameter(optimizer, model->segments.codes,
					  (size_t) model->segments.rows * model->segments.stride, true, true);
	add_norm(optimizer, &model->embedding_norm, config->embedding);
	add_linear(optimizer, &model->embedding_projection);
	for (int i = 0; i < config->layers; i++)
	{
		const LatLayer *layer = &model->layers[i];

		add_linear(optimizer, &layer->qkv);
		add_linear(optimizer, &layer->attention_output);
		add_norm(optimizer, &layer->attention_norm, config->hidden);
		add_linear(optimizer, &layer->feed_forward_in);
		add_linear(optimizer, &layer->feed_forward_out);
		add_norm(optimizer, &layer->output_norm, config->hidden);
	}
	add_linear(optimizer, &model->head_dense);
	add_linear(optimizer, &model->head_output);
}

/* ---- schedule ----------------------------------------------------------------------------- */

int
lat_phase_of(const LatOptimizer *optimizer, int64_t step, int64_t *within)
{
	int			phase = 0;

	while (phase < LAT_TRAIN_PHASES - 1 && step >= optimizer->steps[phase])
		step -= optimizer->steps[phase++];
	*within = step;
	return phase;
}

/* Step t of n: rises over w = warmup n steps, then falls; neither the first nor the last is 0. */
double
lat_learning_rate(const LatOptimizer *optimizer, int64_t step)
{
	const LatTrainOptions *options = &optimizer->block->options;
	int64_t		t;
	int			phase = lat_phase_of(optimizer, step, &t);
	int64_t		n = optimizer->steps[phase];
	int64_t		rising = (int64_t) (options->warmup * (double) n);

	if (t < rising)
		return options->learning_rate * (double) (t + 1) / (double) (rising + 1);
	return options->learning_rate * (double) (n - t) / (double) (n - rising);
}

static LatAdamW
constants(const LatOptimizer *optimizer, int64_t step, double clip)
{
	const LatTrainOptions *options = &optimizer->block->options;
	double		rate = lat_learning_rate(optimizer, step);
	int64_t		t;

	lat_phase_of(optimizer, step, &t);
	return (LatAdamW) {
		.clip = (float) clip,
			.keep1 = t == 0 ? 0 : (float) options->beta1,
			.keep2 = t == 0 ? 0 : (float) options->beta2,
			.gain1 = (float) (1 - options->beta1),
			.gain2 = (float) (1 - options->beta2),
			.shrink = (float) (1 - rate * options->decay),
			.step = (float) (rate / (1 - pow(options->beta1, (double) (t + 1)))),
			.root = (float) (1 / sqrt(1 - pow(options->beta2, (double) (t + 1)))),
			.epsilon = (float) options->epsilon
	};
}

/* ---- words -------------------------------------------------------------------------------- */

typedef struct WordRow
{
	float	   *values;			/* (stride) */
	float	   *m;
	float	   *v;
	int64_t    *updated;
} WordRow;

static WordRow
word_row(const LatOptimizer *optimizer, int32_t word)
{
	LatTrainingBlock *block = optimizer->block;
	size_t		at = (size_t) word * (size_t) block->stride;
	size_t		offset = (size_t) ((const uint8_t *) optimizer->model->words.codes -
								   optimizer->model->image);
	float	   *moments = lat_block_floats(block, block->word_moments);

	return (WordRow) {
		.values = lat_block_floats(block, block->image + offset) + at,
			.m = moments + at,
			.v = moments + (size_t) block->vocabulary * (size_t) block->stride + at,
			.updated = (int64_t *) lat_block_at(block, block->word_updated) + word
	};
}

/* Bring a row to where `step` steps without a gradient for it would have. */
static void
catch_up(const LatOptimizer *optimizer, int32_t word, int64_t step)
{
	const LatTrainOptions *options = &optimizer->block->options;
	WordRow		row = word_row(optimizer, word);
	int64_t		skipped = step - *row.updated;
	float		decay = (float) exp(optimizer->decay_sums[step] -
									optimizer->decay_sums[*row.updated]);
	bool		anew;
	int64_t		within;
	float		keep1;
	float		keep2;

	if (skipped == 0)
		return;
	lat_phase_of(optimizer, step, &within);
	anew = *row.updated <= step - within;	/* the moments are those of the phase before */
	keep1 = anew ? 0 : (float) pow(options->beta1, (double) skipped);
	keep2 = anew ? 0 : (float) pow(options->beta2, (double) skipped);
	for (int i = 0; i < optimizer->block->stride; i++)
	{
		row.values[i] *= decay;
		row.m[i] *= keep1;
		row.v[i] *= keep2;
	}
	*row.updated = step;
}

LatStatus
lat_words_catch_up(LatOptimizer *optimizer, int64_t step)
{
	int64_t		end;

	if (optimizer->block->options.words != LAT_WORDS_LAZY)
		return LAT_OK;
	for (int64_t i = lat_team_share(&optimizer->team, optimizer->word_count, &end); i < end; i++)
		catch_up(optimizer, optimizer->words[i], step);
	return lat_team_wait(&optimizer->team);
}

LatStatus
lat_words_finish(LatOptimizer *optimizer, int64_t step)
{
	int64_t		end;

	if (optimizer->block->options.words == LAT_WORDS_LAZY)
		for (int64_t word = lat_team_share(&optimizer->team, optimizer->block->vocabulary, &end);
			 word < end; word++)
		{
			if (optimizer->host->interrupted(optimizer->host->arg))
				return LAT_INTERRUPTED;
			catch_up(optimizer, (int32_t) word, step);
		}
	return lat_team_wait(&optimizer->team);
}

/* ---- a step ------------------------------------------------------------------------------- */

float *
lat_rank_gradients(const LatOptimizer *optimizer, int rank)
{
	LatTrainingBlock *block = optimizer->block;

	return lat_block_floats(block, block->gradients) + (size_t) rank * block->trained_room;
}

float *
lat_rank_word_gradients(const LatOptimizer *optimizer, int rank)
{
	LatTrainingBlock *block = optimizer->block;

	return lat_block_floats(block, block->word_gradients) +
		(size_t) rank * (size_t) block->slots * (size_t) block->stride;
}

void
lat_clear_gradients(const LatOptimizer *optimizer, int rank)
{
	float	   *gradients = lat_rank_gradients(optimizer, rank);

	for (int i = 0; i < optimizer->block_count; i++)
	{
		const LatParameterBlock *piece = &optimizer->blocks[i];

		if (piece->clears)
			memset(gradients + piece->first, 0, piece->count * sizeof(float));
	}
	memset(lat_rank_word_gradients(optimizer, rank), 0,
		   (size_t) optimizer->word_count * (size_t) optimizer->block->stride * sizeof(float));
}

/* This process's share of sums over ranks, into rank 0, and their squares. */
static LatStatus
reduce(LatOptimizer *optimizer)
{
	LatTrainingBlock *block = optimizer->block;
	double	   *squares = lat_block_at(block, block->squares);
	const float *from[LAT_MAX_RANKS];
	int64_t		end;

	for (int64_t i = lat_team_share(&optimizer->team, optimizer->block_count, &end); i < end; i++)
	{
		const LatParameterBlock *piece = &optimizer->blocks[i];

		if (optimizer->host->interrupted(optimizer->host->arg))
			return LAT_INTERRUPTED;
		for (int rank = 0; rank < optimizer->ranks; rank++)
			from[rank] = lat_rank_gradients(optimizer, rank) + piece->first;
		squares[i] = optimizer->kernels->reduce(lat_rank_gradients(optimizer, 0) + piece->first,
												from, optimizer->ranks, piece->count);
	}
	squares += optimizer->block_count;
	for (int64_t slot = lat_team_share(&optimizer->team, optimizer->word_count, &end);
		 slot < end; slot++)
	{
		size_t		at = (size_t) slot * (size_t) block->stride;

		for (int rank = 0; rank < optimizer->ranks; rank++)
			from[rank] = lat_rank_word_gradients(optimizer, rank) + at;
		squares[slot] = optimizer->kernels->reduce(lat_rank_word_gradients(optimizer, 0) + at,
												   from, optimizer->ranks, (size_t) block->stride);
	}
	return lat_team_wait(&optimizer->team);
}

static LatStatus
update_blocks(LatOptimizer *optimizer, const LatAdamW *args)
{
	LatTrainingBlock *block = optimizer->block;
	const float *gradients = lat_rank_gradients(optimizer, 0);
	float	   *values = lat_block_floats(block, block->trained);
	float	   *m = lat_block_floats(block, block->moments);
	float	   *v = m + block->trained_room;
	LatAdamW	plain = *args;
	int64_t		end;

	plain.shrink = 1;
	for (int64_t i = lat_team_share(&optimizer->team, optimizer->block_count, &end); i < end; i++)
	{
		const LatParameterBlock *piece = &optimizer->blocks[i];
		uint64_t	at = piece->first;

		if (optimizer->host->interrupted(optimizer->host->arg))
			return LAT_INTERRUPTED;
		optimizer->kernels->adamw(piece->decays ? args : &plain, gradients + at, values + at,
								  m + at, v + at, piece->count);
	}
	return LAT_OK;
}

/* One row, with the gradient of its slot, or (slot -1) with none. */
static void
update_word(LatOptimizer *optimizer, const LatAdamW *args, int32_t word, int32_t slot, int64_t step)
{
	static const float nothing[LAT_MAX_HIDDEN];
	size_t		stride = (size_t) optimizer->block->stride;
	WordRow		row = word_row(optimizer, word);
	const float *gradient = nothing;

	if (slot >= 0)
		gradient = lat_rank_word_gradients(optimizer, 0) + (size_t) slot * stride;
	optimizer->kernels->adamw(args, gradient, row.values, row.m, row.v, stride);
	*row.updated = step + 1;
}

static LatStatus
update_words(LatOptimizer *optimizer, const LatAdamW *args, int64_t step)
{
	bool		dense = optimizer->block->options.words == LAT_WORDS_DENSE;
	int64_t		end;

	if (optimizer->block->options.words == LAT_WORDS_FROZEN)
		return LAT_OK;
	for (int64_t i = lat_team_share(&optimizer->team, dense ? optimizer->block->vocabulary :
									optimizer->word_count, &end); i < end; i++)
	{
		int32_t		word = dense ? (int32_t) i : optimizer->words[i];

		if (optimizer->host->interrupted(optimizer->host->arg))
			return LAT_INTERRUPTED;
		update_word(optimizer, args, word, optimizer->slots[word], step);
	}
	return LAT_OK;
}

LatStatus
lat_optimizer_step(LatOptimizer *optimizer, int64_t step, double *norm, LatError *error)
{
	LatTrainingBlock *block = optimizer->block;
	const double *squares = lat_block_at(block, block->squares);
	double		most = block->options.clip;
	double		sum = 0;
	double		clip = 1;
	LatAdamW	args;
	LatStatus	status = reduce(optimizer);

	if (status != LAT_OK)
		return status;
	for (int i = 0; i < optimizer->block_count + optimizer->word_count; i++)
		sum += squares[i];
	*norm = sqrt(sum);
	if (!isfinite(*norm))
		return lat_hint(error,
						lat_fail(error, LAT_BAD_ARGUMENT, "the gradient is not finite in step %lld",
								 (long long) step),
						"The training diverges: choose a lower learning rate.");
	if (most > 0 && *norm > most)
		clip = most / (*norm + 1e-6);	/* as torch.nn.utils.clip_grad_norm_ */
	args = constants(optimizer, step, clip);
	status = update_blocks(optimizer, &args);
	if (status == LAT_OK)
		status = update_words(optimizer, &args, step);
	return status;
}
