/*
 * training_open.c
 *	  A process joins a run: everything is checked and reserved, so that steps cannot fail for
 *	  want of memory.
 */
#include <math.h>
#include <string.h>

#include "train.h"

#define LOOKED_AT_ONCE 16384	/* examples or steps: under a millisecond */

static void
carve_arrays(LatCarver *carver, LatTrainer *trainer)
{
	const LatTrainingBlock *block = trainer->block;
	size_t		batch = (size_t) block->options.batch;
	size_t		rows = (size_t) trainer->tape.most_rows;
	size_t		layers = (size_t) trainer->model.config.layers;

	trainer->train_offsets = lat_carve(carver, (size_t) block->train_count * sizeof(uint64_t));
	trainer->dev_offsets = lat_carve(carver, (size_t) block->dev_count * sizeof(uint64_t));
	trainer->permutation = lat_carve(carver, (size_t) block->train_count * sizeof(int32_t));
	trainer->slots = lat_carve(carver, (size_t) block->vocabulary * sizeof(int32_t));
	trainer->words = lat_carve(carver, (size_t) block->slots * sizeof(int32_t));
	trainer->batch = lat_carve(carver, batch * sizeof(int32_t));
	trainer->tokens = lat_carve(carver, batch * sizeof(int32_t));
	trainer->rank = lat_carve(carver, batch * sizeof(int32_t));
	trainer->offsets = lat_carve(carver, (rows + 1) * sizeof(int32_t));
	trainer->ids = lat_carve(carver, rows * sizeof(int32_t));
	trainer->segments = lat_carve(carver, rows);
	trainer->examples = lat_carve(carver, rows * sizeof(int32_t));
	trainer->targets = lat_carve(carver, 2 * rows * sizeof(int32_t));
	trainer->tags = lat_carve(carver, rows * sizeof(int32_t));
	trainer->scaled = lat_carve(carver, rows * layers * sizeof(int32_t));
	trainer->optimizer.blocks = lat_carve(carver, (size_t) block->square_blocks *
										  sizeof(LatParameterBlock));
	trainer->optimizer.decay_sums = lat_carve(carver, (size_t) (lat_total_steps(trainer) + 1) *
											  sizeof(double));
}

static LatStatus
reserve(LatTrainer *trainer, LatError *error)
{
	LatCarver	carver = {NULL, 0};
	size_t		size;

	carve_arrays(&carver, trainer);
	size = carver.used + LAT_ALIGNMENT;
	trainer->arrays = trainer->host->alloc(trainer->host->arg, size);
	if (trainer->arrays == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for training: %zu bytes", size);
	carver.base = (uint8_t *) LAT_ROUND_UP((uintptr_t) trainer->arrays, LAT_ALIGNMENT);
	carver.used = 0;
	carve_arrays(&carver, trainer);
	return lat_tape_open(&trainer->tape, trainer->tape.most_rows,
						 trainer->block->options.max_tokens, &trainer->tape_memory, error);
}

/* Records fit the model; those to train on also fit the run, and have a target. */
static LatStatus
index_records(LatTrainer *trainer, LatError *error)
{
	LatTrainingBlock *block = trainer->block;
	LatStatus	status;

	trainer->train = (LatExamples) {
		.kind = LAT_RECORD_EXAMPLE,.bytes = lat_block_at(block, block->train),
			.size = block->train_bytes,.offsets = trainer->train_offsets
	};
	trainer->dev = (LatExamples) {
		.kind = block->task == LAT_SPAN ? LAT_RECORD_QUESTION : LAT_RECORD_EXAMPLE,
			.bytes = lat_block_at(block, block->dev),.size = block->dev_bytes,
			.offsets = trainer->dev_offsets
	};
	status = lat_examples_index(trainer->host, &trainer->model, &trainer->train,
								block->train_count, error);
	if (status == LAT_OK)
		status = lat_examples_index(trainer->host, &trainer->model, &trainer->dev,
									block->dev_count, error);
	if (status != LAT_OK)
		return status;
	if (trainer->train.count != block->train_count || trainer->dev.count != block->dev_count)
		return lat_fail(error, LAT_BAD_MODEL, "%d and %d examples instead of %d and %d",
						trainer->train.count, trainer->dev.count, block->train_count,
						block->dev_count);
	for (int32_t i = 0; i < trainer->train.count; i++)
	{
		LatExample	example;

		if (i % LOOKED_AT_ONCE == 0 && trainer->host->interrupted(trainer->host->arg))
			return lat_fail(error, LAT_INTERRUPTED, "training was interrupted");
		lat_examples_get(&trainer->train, i, &example);
		if (example.tokens > block->options.max_tokens)
			return lat_fail(error, LAT_BAD_ARGUMENT, "example %d has %d tokens, max_tokens is %d", i,
							example.tokens, block->options.max_tokens);
		if (block->task == LAT_CLASSIFY && example.target[0] < 0)
			return lat_fail(error, LAT_BAD_ARGUMENT, "example %d has no class to train on", i);
	}
	return LAT_OK;
}

/* What weight decay has done to a parameter before each step: the logarithm of its shrinking. */
static LatStatus
sum_decay(LatTrainer *trainer, LatError *error)
{
	LatOptimizer *optimizer = &trainer->optimizer;
	double	   *sums = optimizer->decay_sums;

	sums[0] = 0;
	for (int64_t step = 0; step < lat_total_steps(trainer); step++)
	{
		if (step % LOOKED_AT_ONCE == 0 && trainer->host->interrupted(trainer->host->arg))
			return lat_fail(error, LAT_INTERRUPTED, "training was interrupted");
		sums[step + 1] = sums[step] +
			log(1 - lat_learning_rate(optimizer, step) * trainer->block->options.decay);
	}
	return LAT_OK;
}

static LatStatus
open_trainer(LatTrainer *trainer, LatError *error)
{
	LatTrainingBlock *block = trainer->block;
	LatOptimizer *optimizer = &trainer->optimizer;
	LatStatus	status = lat_model_open(lat_block_at(block, block->image), block->image_size,
										&trainer->model, error);

	if (status != LAT_OK)
		return status;
	optimizer->block = block;
	optimizer->kernels = trainer->tape.kernels;
	optimizer->host = trainer->host;
	optimizer->team = trainer->team;
	optimizer->model = &trainer->model;
	for (int phase = 0; phase < LAT_TRAIN_PHASES; phase++)
		optimizer->steps[phase] = (int64_t) lat_phase_steps(&block->options, block->train_count,
															phase);
	trainer->tape.host = trainer->host;
	if (trainer->tape.kernels->gemm_bf16)
		trainer->tape.bf16 = (LatBf16Mode) block->options.bf16;
	trainer->tape.model = &trainer->model;
	trainer->tape.trained = lat_block_floats(block, block->trained);
	trainer->tape.most_rows = block->options.max_tokens > LAT_TAPE_ROWS ?
		block->options.max_tokens : LAT_TAPE_ROWS;
	status = reserve(trainer, error);
	if (status == LAT_OK)
		status = index_records(trainer, error);
	if (status != LAT_OK)
		return status;
	trainer->permuted = -1;
	trainer->report = lat_block_at(block, block->state);
	for (int32_t word = 0; word < block->vocabulary; word++)
		trainer->slots[word] = -1;
	trainer->tape.slots = optimizer->slots = trainer->slots;
	optimizer->words = trainer->words;
	lat_list_parameters(optimizer);
	return sum_decay(trainer, error);
}

LatStatus
lat_trainer_open(const LatHost *host, const LatKernels *kernels, const LatTeam *team, void *block,
				 LatTrainer **trainer, LatError *error)
{
	LatTrainer *opened = host->alloc(host->arg, sizeof(LatTrainer));
	LatStatus	status;

	*trainer = NULL;
	if (opened == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for training");
	memset(opened, 0, sizeof(*opened));
	opened->host = host;
	opened->block = block;
	opened->team = *team;
	opened->tape.kernels = kernels;
	opened->engine.host = host;
	opened->engine.kernels = kernels;
	status = open_trainer(opened, error);
	if (status == LAT_OK)
		*trainer = opened;
	else
		lat_trainer_close(opened);
	return status;
}

void
lat_trainer_close(LatTrainer *trainer)
{
	const LatHost *host = trainer->host;

	lat_engine_release(&trainer->engine);
	host->release(host->arg, trainer->arrays);
	host->release(host->arg, trainer->tape_memory);
	host->release(host->arg, trainer);
}
