/*
 * memo.c
 *	  The last few results of this process (see memo.h).
 *
 * Four entries, the least recently used one is replaced.  Keys are compared
 * whole: a collision of hashes would be a wrong answer, and comparing a
 * megabyte takes a thousandth of the time that scoring it takes.
 */
#include "postgres.h"

#include "memo.h"
#include "utils/memutils.h"

typedef struct MemoEntry
{
	char	   *bytes;			/* key, then value; NULL: free */
	size_t		key_size;
	size_t		value_size;
	uint64		used;			/* time of last use, by memo_clock */
} MemoEntry;

static MemoryContext memo_context = NULL;
static MemoEntry memo_entries[MEMO_ENTRIES];
static uint64 memo_clock = 0;

void
memo_append(MemoKey *key, const void *bytes, size_t size)
{
	if (key->capacity == 0)
		return;
	Assert(key->size + size <= key->capacity);
	memcpy(key->bytes + key->size, bytes, size);
	key->size += size;
}

void
memo_begin_key(MemoKey *key, const Call *call, char kind, size_t content)
{
	uintptr_t	kernels = (uintptr_t) call->engine->kernels;
	size_t		header = 1 + LAT_DIGEST_LENGTH + sizeof(LatPrecision) + sizeof(kernels)
		+ sizeof(content);

	memset(key, 0, sizeof(MemoKey));
	if (content > MEMO_MAX_BYTES)
		return;
	key->capacity = header + content;
	key->bytes = palloc(key->capacity);
	memo_append(key, &kind, 1);
	memo_append(key, call->digest, LAT_DIGEST_LENGTH);
	memo_append(key, &call->precision, sizeof(call->precision));
	memo_append(key, &kernels, sizeof(kernels));
	memo_append(key, &content, sizeof(content));
}

const void *
memo_find(const MemoKey *key, size_t size)
{
	if (key->capacity == 0)
		return NULL;
	for (int i = 0; i < MEMO_ENTRIES; i++)
	{
		MemoEntry  *entry = &memo_entries[i];

		if (entry->bytes != NULL && entry->key_size == key->size && entry->value_size == size
			&& memcmp(entry->bytes, key->bytes, key->size) == 0)
		{
			entry->used = ++memo_clock;
			return entry->bytes + MAXALIGN(entry->key_size);
		}
	}
	return NULL;
}

void
memo_keep(const MemoKey *key, const void *value, size_t size)
{
	MemoEntry  *oldest = &memo_entries[0];
	char	   *bytes;

	if (key->capacity == 0 || key->size + size > MEMO_MAX_BYTES)
		return;
	if (memo_context == NULL)
		memo_context = AllocSetContextCreate(TopMemoryContext, "lat memo",
											 ALLOCSET_DEFAULT_SIZES);
	for (int i = 1; i < MEMO_ENTRIES; i++)
		if (memo_entries[i].used < oldest->used)
			oldest = &memo_entries[i];

	if (oldest->bytes != NULL)
		pfree(oldest->bytes);
	memset(oldest, 0, sizeof(MemoEntry));
	bytes = MemoryContextAlloc(memo_context, MAXALIGN(key->size) + size);
	memcpy(bytes, key->bytes, key->size);
	memcpy(bytes + MAXALIGN(key->size), value, size);
	oldest->bytes = bytes;
	oldest->key_size = key->size;
	oldest->value_size = size;
	oldest->used = ++memo_clock;
}
