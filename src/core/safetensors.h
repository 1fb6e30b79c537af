/*
 * safetensors.h
 *	  The tensors of a model.safetensors file, found by name.
 */
#ifndef LAT_SAFETENSORS_H
#define LAT_SAFETENSORS_H

#include "json.h"

typedef enum LatDtype
{
	LAT_DTYPE_F32,
	LAT_DTYPE_F16,
	LAT_DTYPE_BF16,
	LAT_DTYPE_OTHER				/* known to the format, but nothing that lat computes with */
} LatDtype;

#define LAT_TENSOR_RANK 8

typedef struct LatTensor
{
	LatJsonText name;			/* points into the file */
	LatDtype	dtype;
	int			element_size;	/* bytes */
	int			rank;
	int64_t		shape[LAT_TENSOR_RANK];
	uint64_t	start;			/* of the bytes, after the header */
	uint64_t	stop;
	const uint8_t *data;		/* unaligned */
} LatTensor;

/* Sorted by name; items in the host's memory. */
typedef struct LatTensors
{
	LatTensor  *items;
	int			count;
	int			capacity;
} LatTensors;

/*
 * Read the header and check it: every tensor's bytes fit its shape and dtype,
 * and together they cover the file without overlap and without holes.
 * LAT_BAD_MODEL if not.  Zero *tensors first; release it in any case.
 */
extern LatStatus lat_tensors_read(const LatHost *host, const uint8_t *bytes, size_t size,
								  LatTensors *tensors, LatError *error);
extern void lat_tensors_release(const LatHost *host, LatTensors *tensors);

/* The tensor of that name, or NULL. */
extern const LatTensor *lat_tensors_find(const LatTensors *tensors, const char *name);

/* Convert count elements of an F32, F16 or BF16 tensor from element `first` on. */
extern void lat_tensor_floats(const LatTensor *tensor, uint64_t first, size_t count, float *to);

/* False if one of count elements from `first` on is NaN or infinite. */
extern bool lat_tensor_finite(const LatTensor *tensor, uint64_t first, size_t count);

#endif							/* LAT_SAFETENSORS_H */
