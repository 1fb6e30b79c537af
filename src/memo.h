/*
 * memo.h
 *	  The last few results of this process, so that a call made again costs nothing.
 *
 * (f(x)).* calls f once a column, each from a call site of its own, and a call
 * with constant arguments is made once a row.  A key holds all that the result
 * depends on: the model's digest, precision, kernels, lengths and the input
 * itself, byte by byte, so that an entry can neither be wrong nor grow stale.
 */
#ifndef LAT_MEMO_H
#define LAT_MEMO_H

#include "call.h"

#define MEMO_ENTRIES 4
#define MEMO_MAX_BYTES (1024 * 1024)	/* of key and value; larger ones are not kept */

typedef struct MemoKey
{
	char	   *bytes;
	size_t		size;
	size_t		capacity;		/* 0: too large, nothing to find or to keep */
} MemoKey;

/* Begin a key for something of this kind that has `content` more bytes to append. */
extern void memo_begin_key(MemoKey *key, const Call *call, char kind, size_t content);
extern void memo_append(MemoKey *key, const void *bytes, size_t size);

/* The value kept under the key, or NULL. Good until the next memo_keep. */
extern const void *memo_find(const MemoKey *key, size_t size);
extern void memo_keep(const MemoKey *key, const void *value, size_t size);

#endif							/* LAT_MEMO_H */
