/*
 * trie.c
 *	  Building the double array that holds the vocabulary's tries.
 *
 * Sort the words by root and bytes; then every node is a range of the sorted
 * list at a depth, its children the runs of equal bytes there.  For each node,
 * in turn, a base is sought such that all children's slots are free, trying
 * the free slots (a linked list) for the first child.  A slot that has failed
 * MAX_FAILURES times leaves the list, which bounds the time whatever the words
 * are; where no slot fits, the array grows.
 */
#include "trie.h"

#include <string.h>

#define MAX_FAILURES 32

/* A node whose children are yet to be placed: entries first .. last - 1 share its depth bytes. */
typedef struct Pending
{
	uint32_t	slot;
	int32_t		first;
	int32_t		last;
	uint32_t	depth;
} Pending;

/* A slot of the array being built; free ones form a list, a ring through slot 0. */
typedef struct Slot
{
	uint32_t	next;
	uint32_t	previous;
	uint8_t		failures;		/* MAX_FAILURES: no longer in the list */
	bool		taken;
	bool		is_base;		/* some node has its base here */
} Slot;

typedef struct Builder
{
	const LatHost *host;
	LatTrieEntry *entries;
	int32_t		count;
	Pending    *pending;
	LatTrieNode *nodes;
	Slot	   *slots;
	uint32_t	capacity;
	uint32_t	used;			/* one beyond the last slot taken */
} Builder;

static int
compare_entries(const LatTrieEntry *a, const LatTrieEntry *b)
{
	int			order;

	if (a->root != b->root)
		return a->root < b->root ? -1 : 1;
	order = memcmp(a->text, b->text, a->bytes < b->bytes ? a->bytes : b->bytes);
	if (order == 0 && a->bytes != b->bytes)
		order = a->bytes < b->bytes ? -1 : 1;
	return order;
}

/* Merge sort, since the library's qsort may call malloc. */
static void
sort_entries(LatTrieEntry *entries, LatTrieEntry *scratch, int32_t count)
{
	for (int64_t width = 1; width < count; width *= 2)
	{
		for (int64_t start = 0; start < count; start += 2 * width)
		{
			int64_t		middle = start + width < count ? start + width : count;
			int64_t		stop = middle + width < count ? middle + width : count;
			int64_t		a = start;
			int64_t		b = middle;

			for (int64_t i = start; i < stop; i++)
			{
				if (b >= stop || (a < middle && compare_entries(&entries[a], &entries[b]) <= 0))
					scratch[i] = entries[a++];
				else
					scratch[i] = entries[b++];
			}
		}
		memcpy(entries, scratch, (size_t) count * sizeof(LatTrieEntry));
	}
}

/* Room for slots up to `needed`; new ones join the ring of free ones. */
static LatStatus
grow_slots(Builder *builder, uint32_t needed, LatError *error)
{
	uint32_t	capacity = builder->capacity ? builder->capacity : 4096;
	LatTrieNode *nodes;
	Slot	   *slots;

	if (needed <= builder->capacity)
		return LAT_OK;
	while (capacity < needed)
		capacity *= 2;
	if (capacity > LAT_TRIE_SLOTS)
	{
		lat_fail(error, LAT_UNSUPPORTED, "vocabulary needs a trie of %u slots, the limit is %d",
				 capacity, LAT_TRIE_SLOTS);
		lat_hint(error, LAT_UNSUPPORTED, "Use a model with a smaller vocabulary.");
		return LAT_UNSUPPORTED;
	}
	nodes = builder->host->alloc(builder->host->arg, capacity * sizeof(LatTrieNode));
	slots = builder->host->alloc(builder->host->arg, capacity * sizeof(Slot));
	if (nodes == NULL || slots == NULL)
	{
		builder->host->release(builder->host->arg, nodes);
		builder->host->release(builder->host->arg, slots);
		lat_fail(error, LAT_NO_MEMORY, "out of memory for the trie of a vocabulary");
		return LAT_NO_MEMORY;
	}
	if (builder->capacity)
	{
		memcpy(nodes, builder->nodes, builder->capacity * sizeof(LatTrieNode));
		memcpy(slots, builder->slots, builder->capacity * sizeof(Slot));
	}
	else
		slots[0] = (Slot) {.taken = true};
	for (uint32_t i = builder->capacity ? builder->capacity : 1; i < capacity; i++)
	{
		slots[i] = (Slot) {.next = 0, .previous = slots[0].previous};
		slots[slots[0].previous].next = i;
		slots[0].previous = i;
	}
	for (uint32_t i = builder->capacity; i < capacity; i++)
		nodes[i] = (LatTrieNode) {.link = 0, .id = -1};
	builder->host->release(builder->host->arg, builder->nodes);
	builder->host->release(builder->host->arg, builder->slots);
	builder->nodes = nodes;
	builder->slots = slots;
	builder->capacity = capacity;
	return LAT_OK;
}

static void
unlink_slot(Slot *slots, uint32_t slot)
{
	slots[slots[slot].previous].next = slots[slot].next;
	slots[slots[slot].next].previous = slots[slot].previous;
}

static void
take_slot(Builder *builder, uint32_t slot)
{
	if (builder->slots[slot].failures < MAX_FAILURES)
		unlink_slot(builder->slots, slot);
	builder->slots[slot].taken = true;
	if (slot + 1 > builder->used)
		builder->used = slot + 1;
}

/* True if all children (labels ascending) fall on free slots under a base that is no one else's. */
static bool
base_fits(const Builder *builder, uint32_t base, const uint8_t *labels, int count)
{
	if (base + 256 > builder->capacity || builder->slots[base].is_base)
		return false;
	for (int i = 0; i < count; i++)
		if (builder->slots[base + labels[i]].taken)
			return false;
	return true;
}

static LatStatus
find_base(Builder *builder, const uint8_t *labels, int count, uint32_t *base, LatError *error)
{
	Slot	   *slots = builder->slots;
	uint32_t	next;

	for (uint32_t slot = slots[0].next; slot != 0; slot = next)
	{
		next = slots[slot].next;
		if (slot > labels[0])
		{
			*base = slot - labels[0];
			if (*base + 256 > builder->capacity)
				break;
			if (base_fits(builder, *base, labels, count))
				return LAT_OK;
		}
		if (++slots[slot].failures == MAX_FAILURES)
			unlink_slot(slots, slot);
	}
	/* Behind the last slot taken, no node has its base unless its children were taken there. */
	*base = builder->used;
	return grow_slots(builder, *base + 256, error);
}

/* Give a node its children; they are added to the list of pending nodes. */
static LatStatus
place_children(Builder *builder, Pending node, int64_t *pending_count, LatError *error)
{
	uint8_t		labels[256];
	int32_t		firsts[257];
	int			count = 0;
	uint32_t	base;
	LatStatus	status;

	for (int32_t i = node.first; i < node.last; i++)
	{
		const LatTrieEntry *entry = &builder->entries[i];

		if (entry->bytes == node.depth)
		{
			int32_t		other = builder->nodes[node.slot].id;

			if (other >= 0 && other != entry->id)
			{
				lat_fail(error, LAT_BAD_MODEL, "vocabulary has the word \"%.*s\" twice, as ids %d "
						 "and %d", (int) (entry->bytes < 100 ? entry->bytes : 100),
						 (const char *) entry->text, other, entry->id);
				return lat_hint(error, LAT_BAD_MODEL, "Every line of vocab.txt must be unique.");
			}
			builder->nodes[node.slot].id = entry->id;
			continue;
		}
		if (count == 0 || labels[count - 1] != entry->text[node.depth])
		{
			firsts[count] = i;
			labels[count++] = entry->text[node.depth];
		}
	}
	if (count == 0)
		return LAT_OK;
	firsts[count] = node.last;
	status = find_base(builder, labels, count, &base, error);
	if (status != LAT_OK)
		return status;
	builder->slots[base].is_base = true;
	builder->nodes[node.slot].link |= base << 8;
	for (int i = 0; i < count; i++)
	{
		take_slot(builder, base + labels[i]);
		builder->nodes[base + labels[i]].link = labels[i];
		builder->pending[(*pending_count)++] =
			(Pending) {base + labels[i], firsts[i], firsts[i + 1], node.depth + 1};
	}
	return LAT_OK;
}

/*
 * Nodes of the tries: bytes of each word beyond what it shares with the one
 * before, plus the roots.  It bounds the list of pending nodes.
 */
static int64_t
count_nodes(const LatTrieEntry *entries, int32_t count)
{
	int64_t		nodes = LAT_ROOTS;

	for (int32_t i = 0; i < count; i++)
	{
		uint32_t	shared = 0;

		if (i > 0 && entries[i].root == entries[i - 1].root)
			while (shared < entries[i].bytes && shared < entries[i - 1].bytes &&
				   entries[i].text[shared] == entries[i - 1].text[shared])
				shared++;
		nodes += entries[i].bytes - shared;
	}
	return nodes;
}

/* Slots of the finished array: every base must have room for 256 children behind it. */
static uint32_t
count_slots(const Builder *builder)
{
	uint32_t	slots = LAT_ROOTS;

	for (uint32_t i = 0; i < builder->used; i++)
	{
		uint32_t	base = builder->nodes[i].link >> 8;

		if (base + 256 > slots)
			slots = base + 256;
	}
	return slots;
}

/* Place every node, those near the roots first: they are broad, and find the array still empty. */
static LatStatus
place_nodes(Builder *builder, LatError *error)
{
	const LatHost *host = builder->host;
	int64_t		pending_count = 0;
	int32_t		first = 0;
	LatStatus	status;

	status = grow_slots(builder, 4096, error);
	if (status != LAT_OK)
		return status;
	for (uint32_t root = 0; root < LAT_ROOTS; root++)
	{
		int32_t		last = first;

		while (last < builder->count && builder->entries[last].root == root)
			last++;
		builder->pending[pending_count++] = (Pending) {root, first, last, 0};
		if (root > 0)
			take_slot(builder, root);
		first = last;
	}
	for (int64_t i = 0; i < pending_count; i++)
	{
		status = place_children(builder, builder->pending[i], &pending_count, error);
		if (status != LAT_OK)
			return status;
		if (i % 65536 == 65535 && host->interrupted(host->arg))
			return lat_fail(error, LAT_INTERRUPTED, "interrupted while building a vocabulary");
	}
	return LAT_OK;
}

LatStatus
lat_trie_build(const LatHost *host, LatTrieEntry *entries, int32_t count,
			   LatTrieNode **nodes, uint32_t *slots, LatError *error)
{
	Builder		builder = {.host = host, .entries = entries, .count = count};
	LatTrieEntry *scratch;
	LatStatus	status;

	*nodes = NULL;
	scratch = host->alloc(host->arg, (size_t) count * sizeof(LatTrieEntry));
	if (scratch == NULL)
	{
		status = lat_fail(error, LAT_NO_MEMORY, "out of memory for sorting a vocabulary");
		goto done;
	}
	sort_entries(entries, scratch, count);
	builder.pending = host->alloc(host->arg,
								  (size_t) count_nodes(entries, count) * sizeof(Pending));
	if (builder.pending == NULL)
	{
		status = lat_fail(error, LAT_NO_MEMORY, "out of memory for the trie of a vocabulary");
		goto done;
	}
	status = place_nodes(&builder, error);
	if (status != LAT_OK)
		goto done;
	*slots = count_slots(&builder);
	status = grow_slots(&builder, *slots, error);
	if (status != LAT_OK)
		goto done;
	*nodes = builder.nodes;
	builder.nodes = NULL;
done:
	host->release(host->arg, scratch);
	host->release(host->arg, builder.pending);
	host->release(host->arg, builder.nodes);
	host->release(host->arg, builder.slots);
	return status;
}
