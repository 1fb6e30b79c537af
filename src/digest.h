/*
 * digest.h
 *	  sha256 of long byte strings, cancellable.
 */
#ifndef LAT_DIGEST_H
#define LAT_DIGEST_H

#include "compat.h"

#define DIGEST_BYTES COMPAT_SHA256_BYTES

/* Add data piece by piece, with interrupts processed in between. */
extern void digest_add(CompatSha256 *context, const void *data, size_t size);

/* sha256 of data, as bytes (DIGEST_BYTES) and in hexadecimal (twice that, and a zero). */
extern void digest_compute(const void *data, size_t size, uint8 *result);
extern void digest_compute_hex(const void *data, size_t size, char *result);

/* Write bytes of a digest in hexadecimal, with a closing zero. */
extern void digest_to_hex(const uint8 *bytes, char *result);

#endif							/* LAT_DIGEST_H */
