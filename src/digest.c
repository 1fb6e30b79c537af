/*
 * digest.c
 *	  sha256 of long byte strings, cancellable.
 *
 * A model's identity is the sha256 of its stored content, up to 2 GB of it:
 * whoever hashes that much must look out for a cancel in between.
 */
#include "postgres.h"

#include "digest.h"

#define PIECE_BYTES ((size_t) 1024 * 1024)	/* hashed in 1 to 5 ms */

void
digest_add(CompatSha256 *context, const void *data, size_t size)
{
	const char *piece = data;

	while (size > 0)
	{
		size_t		length = Min(size, PIECE_BYTES);

		CHECK_FOR_INTERRUPTS();
		compat_sha256_add(context, piece, length);
		piece += length;
		size -= length;
	}
}

void
digest_compute(const void *data, size_t size, uint8 *result)
{
	CompatSha256 *context = compat_sha256_begin();

	digest_add(context, data, size);
	compat_sha256_finish(context, result);
}

void
digest_compute_hex(const void *data, size_t size, char *result)
{
	uint8		bytes[DIGEST_BYTES];

	digest_compute(data, size, bytes);
	digest_to_hex(bytes, result);
}

void
digest_to_hex(const uint8 *bytes, char *result)
{
	static const char digits[] = "0123456789abcdef";
	int			i;

	for (i = 0; i < DIGEST_BYTES; i++)
	{
		result[2 * i] = digits[bytes[i] >> 4];
		result[2 * i + 1] = digits[bytes[i] & 15];
	}
	result[2 * DIGEST_BYTES] = '\0';
}
