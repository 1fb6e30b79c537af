/*
 * trie.h
 *	  Walking the vocabulary's tries, byte by byte.
 *
 * One double array holds three tries, each with a root of its own.  The child
 * of a node by byte b is slot base + b, if that slot's label is b.  No two
 * nodes share a base, so the label is proof enough.  A step checks that it
 * stays inside the array: damaged bytes give wrong tokens, never a wild read.
 */
#ifndef LAT_TRIE_H
#define LAT_TRIE_H

#include "lat.h"

typedef struct LatTrieNode
{
	uint32_t	link;			/* base << 8 | label; base 0: no children */
	int32_t		id;				/* of the word that ends here, or -1 */
} LatTrieNode;

enum
{
	LAT_ROOT_WORD,				/* words, from their beginning */
	LAT_ROOT_PIECE,				/* continuations, without their "##" */
	LAT_ROOT_ADDED,				/* tokens matched in the raw text */
	LAT_ROOTS
};

/* Slot of the child by this byte (not 0), or 0. */
static inline uint32_t
lat_trie_step(const LatVocabulary *vocabulary, uint32_t slot, uint8_t byte)
{
	const LatTrieNode *nodes = vocabulary->trie;
	uint32_t	child = (nodes[slot].link >> 8) + byte;

	if (child >= vocabulary->trie_nodes || (uint8_t) nodes[child].link != byte)
		return 0;
	return child;
}

/* Id of the word that ends at this slot, or -1. */
static inline int32_t
lat_trie_id(const LatVocabulary *vocabulary, uint32_t slot)
{
	int32_t		id = ((const LatTrieNode *) vocabulary->trie)[slot].id;

	return id < vocabulary->count ? id : -1;
}

/* True if some word goes on from this slot. */
static inline bool
lat_trie_continues(const LatVocabulary *vocabulary, uint32_t slot)
{
	return ((const LatTrieNode *) vocabulary->trie)[slot].link >> 8 != 0;
}

/* A word of a trie to be built. */
typedef struct LatTrieEntry
{
	const uint8_t *text;		/* no NUL bytes */
	uint32_t	bytes;
	int32_t		id;
	uint32_t	root;
} LatTrieEntry;

#define LAT_TRIE_SLOTS (1 << 24)	/* a base has 24 bits */

/*
 * Build the double array over entries, which are sorted in place.  *nodes comes
 * from the host.  LAT_BAD_MODEL if a root has the same word under two ids.
 */
extern LatStatus lat_trie_build(const LatHost *host, LatTrieEntry *entries, int32_t count,
								LatTrieNode **nodes, uint32_t *slots, LatError *error);

/* 256 bits: bytes that some added token begins with. */
extern const uint8_t *lat_added_first_bytes(const LatVocabulary *vocabulary);

#endif							/* LAT_TRIE_H */
