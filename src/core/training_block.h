/*
 * training_block.h
 *	  The shared block of a run: what lies where.
 *
 *		header				this struct
 *		state				counters, fp32 image, moments, when word rows were updated
 *		gradients			(ranks, trained floats), then (ranks, slots, stride) of words
 *		records				of train, of dev
 *		exchange			losses (ranks), squares (blocks + slots), outcomes (2, dev)
 *
 * Everything starts at a multiple of 64; the header holds offsets from its own start.
 *
 * The trained floats are those of the image behind the word embeddings: one run,
 * with the 64-byte headers of linears in between, which no parameter covers.
 * Gradients and moments are parallel to it.  Words have moments only if they are
 * trained, and gradients only for the rows that a batch holds: a slot each.
 */
#ifndef LAT_TRAINING_BLOCK_H
#define LAT_TRAINING_BLOCK_H

#include "training.h"

#define LAT_PARAMETER_BLOCK 16384	/* floats that are reduced and updated at a time */

typedef struct LatTrainingBlock
{
	LatTrainOptions options;	/* dropouts resolved */
	int32_t		task;			/* LatTask */
	int32_t		train_count;
	int32_t		dev_count;
	int32_t		slots;			/* most distinct words of a batch; 0: frozen */
	int32_t		square_blocks;	/* room for squares of parameter blocks */
	int32_t		stride;			/* of a word row */
	int32_t		vocabulary;		/* V */
	uint64_t	size;			/* of the whole */

	uint64_t	state;			/* LatTrainReport: where the run stands */
	uint64_t	state_size;
	uint64_t	image;
	uint64_t	image_size;
	uint64_t	trained;		/* first trained float behind the words */
	uint64_t	trained_room;	/* in floats; trained_count is at most that */
	uint64_t	trained_count;	/* in floats */
	uint64_t	moments;		/* (2, trained_room) m, v */
	uint64_t	word_moments;	/* (2, V, stride); lazy and dense only */
	uint64_t	word_updated;	/* (V) int64: steps whose decay the row has had; the same */
	uint64_t	gradients;		/* (ranks, trained_room) */
	uint64_t	word_gradients; /* (ranks, slots, stride) */
	uint64_t	train;
	uint64_t	train_bytes;
	uint64_t	dev;
	uint64_t	dev_bytes;
	uint64_t	losses;			/* (ranks) double */
	uint64_t	squares;		/* (square_blocks + slots) double */
	uint64_t	outcomes;		/* (2, dev_count) LatOutcome */
} LatTrainingBlock;

/* A piece of the block. */
static inline void *
lat_block_at(LatTrainingBlock *block, uint64_t offset)
{
	return (uint8_t *) block + offset;
}

static inline float *
lat_block_floats(LatTrainingBlock *block, uint64_t offset)
{
	return lat_block_at(block, offset);
}

#endif							/* LAT_TRAINING_BLOCK_H */
