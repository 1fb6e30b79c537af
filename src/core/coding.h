/*
 * coding.h
 *	  Writing a packed image: its frame, and floats coded into its sections.
 *
 * Two come here: pack.c with a checkpoint's tensors, convert.c with another
 * image's weights.  The same floats become the same bytes.
 */
#ifndef LAT_CODING_H
#define LAT_CODING_H

#include "format.h"
#include "vocabulary.h"

/* A linear section being written. */
typedef struct LatLinearTarget
{
	LatLinearHeader header;
	uint8_t    *weights;
	int32_t    *column_sums;	/* int8: (Np) */
	float	   *scales;			/* int8: (Np) */
	float	   *bias;			/* (Np) */
} LatLinearTarget;

/* An embedding section being written. */
typedef struct LatEmbeddingTarget
{
	LatPrecision precision;
	size_t		width;			/* E */
	size_t		stride;
	void	   *codes;			/* s8 or f32 (rows, stride) */
	float	   *scales;			/* int8: (rows) */
} LatEmbeddingTarget;

/* Header, table of sections, and the zeros between sections and after the last. */
extern void lat_write_frame(const LatConfig *config, LatPrecision precision,
							const LatSection *sections, int count, uint64_t size, uint8_t *image);

/* Write the header of a linear, zero what lies behind its weights, and say where its parts are. */
extern void lat_begin_linear(const LatConfig *config, LatPrecision precision,
							 const LatSection *section, uint8_t *bytes, LatLinearTarget *target);

/*
 * Code floats (K) into a column.  The first column of a panel zeroes it, so the
 * columns of a panel come in order; those left out are padding.  codes: (Kp) scratch.
 */
extern void lat_write_column(const LatLinearTarget *target, int32_t column, const float *row,
							 int8_t *codes);

/* Zero what lies between the codes of an embedding and its scales, and say where its parts are. */
extern void lat_begin_embedding(const LatConfig *config, LatPrecision precision, size_t rows,
								uint8_t *bytes, LatEmbeddingTarget *target);

/* Code floats (E) into a row of an embedding. */
extern void lat_write_embedding_row(const LatEmbeddingTarget *target, size_t i, const float *row);

/* The section of labels: its size, and its bytes. */
extern uint64_t lat_labels_size(const LatWord *labels, int32_t count);
extern void lat_write_labels(const LatWord *labels, int32_t count, uint8_t *bytes);

#endif							/* LAT_CODING_H */
