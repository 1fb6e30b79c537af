/*
 * checkpoint.h
 *	  Which tensors of a checkpoint make a section of the image.
 */
#ifndef LAT_CHECKPOINT_H
#define LAT_CHECKPOINT_H

#include "config.h"
#include "format.h"
#include "safetensors.h"

/* Q, K and V are three pieces, everything else is one. Embeddings have no bias. */
typedef struct LatSectionTensors
{
	int			pieces;
	const LatTensor *weights[3];	/* (n, k), (rows, E), or gamma (H) */
	const LatTensor *biases[3]; /* (n), or beta (H); NULL for embeddings */
} LatSectionTensors;

/* Find a section's tensors and check their dtypes and shapes. */
extern LatStatus lat_find_section_tensors(const LatTensors *tensors, const LatSettings *settings,
										  const LatSection *section, LatSectionTensors *found,
										  LatError *error);

#endif							/* LAT_CHECKPOINT_H */
