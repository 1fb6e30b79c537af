/*
 * model_image.h
 *	  The image of a stored model, made of what the tables hold.
 */
#ifndef LAT_MODEL_IMAGE_H
#define LAT_MODEL_IMAGE_H

#include "core/lat.h"

/* The image in this precision, 64-byte aligned, in the current memory context. */
extern const void *model_image_build(const char *digest, LatPrecision precision, size_t *size);

/* The image in the best precision that is stored: fp32 unless there is int8 only. */
extern const void *model_image_build_base(const char *digest, size_t *size);

#endif							/* LAT_MODEL_IMAGE_H */
