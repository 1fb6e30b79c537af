/*
 * vocabulary.c
 *	  The vocabulary section: word list, double-array tries, tokens matched in the raw text.
 *
 *		offset	 size  meaning
 *			 0		4  VOCABULARY_MAGIC
 *			 4		4  V, words
 *			 8		4  bytes of all words' text
 *			12		4  slots of the double array
 *			16		4  added tokens
 *			20	   12  zero
 *			32	   32  256 bits: bytes that an added token begins with
 *			64	4 V+4  u32 offsets of the words into their text, and its end
 *			 .		.  zero, up to a multiple of 8
 *			 .	8 * n  slots of the double array, LatTrieNode (see trie.h)
 *			 .	4 * a  u32 ids of the added tokens
 *			 .		.  the words' text, end to end
 *
 * Slots 0, 1 and 2 are the roots: words ("play"), continuations ("##ing" as
 * "ing"), added tokens ("[SEP]").  A word that begins with "##" is found as a
 * continuation only, which is how WordPiece looks for it; the pre-tokenizer
 * splits at '#', so none could match at the beginning of a word.
 */
#include "vocabulary.h"

#include <string.h>

#include "text.h"
#include "trie.h"

#define VOCABULARY_MAGIC 0x62636f76 /* "vocb" */
#define HEADER_SIZE 64

typedef struct Header
{
	uint32_t	magic;
	uint32_t	count;
	uint32_t	text_bytes;
	uint32_t	trie_nodes;
	uint32_t	added_count;
	uint32_t	zero[3];
	uint8_t		first_bytes[32];
} Header;

_Static_assert(sizeof(Header) == HEADER_SIZE, "the header is part of the format");
_Static_assert(sizeof(LatTrieNode) == 8, "trie nodes are part of the format");

/* LAT_BAD_MODEL unless the words are UTF-8 without NUL and fit the format. */
static LatStatus
check_words(const LatWord *words, int32_t count, uint32_t *total, LatError *error)
{
	uint64_t	bytes = 0;

	if (count < 1 || count > LAT_MAX_VOCABULARY)
	{
		lat_fail(error, LAT_BAD_MODEL, "vocabulary has %d words, expected 1 to %d", count,
				 LAT_MAX_VOCABULARY);
		return lat_hint(error, LAT_BAD_MODEL, "vocab.txt lists one word a line.");
	}
	for (int32_t i = 0; i < count; i++)
	{
		const uint8_t *at = (const uint8_t *) words[i].text;
		const uint8_t *end = at + words[i].bytes;

		while (at < end)
		{
			uint32_t	character;
			int			length = lat_decode_char(at, end, &character);

			if (length <= 0 || character == 0)
			{
				lat_fail(error, LAT_BAD_MODEL, "word %d of the vocabulary is not valid UTF-8", i);
				return lat_hint(error, LAT_BAD_MODEL, "vocab.txt must be UTF-8 without NUL bytes.");
			}
			at += length;
		}
		bytes += words[i].bytes;
		if (bytes > INT32_MAX)
			return lat_fail(error, LAT_BAD_MODEL, "vocabulary has more than %d bytes", INT32_MAX);
	}
	*total = (uint32_t) bytes;
	return LAT_OK;
}

/* The words as entries: each under its root, the added ones under theirs once more. */
static LatStatus
list_entries(LatTrieEntry *entries, const LatWord *words, int32_t count, const int32_t *added,
			 int32_t added_count, LatError *error)
{
	for (int32_t i = 0; i < count; i++)
	{
		const uint8_t *text = (const uint8_t *) words[i].text;
		bool		piece = words[i].bytes > 2 && text[0] == '#' && text[1] == '#';

		*entries++ =
			(LatTrieEntry) {piece ? text + 2 : text, (uint32_t) words[i].bytes - (piece ? 2 : 0), i,
							piece ? LAT_ROOT_PIECE : LAT_ROOT_WORD};
	}
	for (int32_t i = 0; i < added_count; i++)
	{
		if (added[i] < 0 || added[i] >= count || words[added[i]].bytes == 0)
			return lat_fail(error, LAT_BAD_MODEL, "added token %d names word %d of a vocabulary of "
							"%d words", i, added[i], count);
		*entries++ =
			(LatTrieEntry) {(const uint8_t *) words[added[i]].text,
							(uint32_t) words[added[i]].bytes, added[i], LAT_ROOT_ADDED};
	}
	return LAT_OK;
}

/* Where the parts of a section lie, by its header; returns its size. */
static uint64_t
locate_parts(const Header *header, uint64_t *nodes, uint64_t *added, uint64_t *text)
{
	*nodes = (HEADER_SIZE + 4 * ((uint64_t) header->count + 1) + 7) / 8 * 8;
	*added = *nodes + sizeof(LatTrieNode) * (uint64_t) header->trie_nodes;
	*text = *added + 4 * (uint64_t) header->added_count;
	return *text + header->text_bytes;
}

/* Lay out header, offsets, slots, added ids and text. */
static void
write_section(uint8_t *section, const Header *header, const LatTrieNode *nodes,
			  const LatWord *words, const int32_t *added)
{
	uint64_t	nodes_at;
	uint64_t	added_at;
	uint64_t	text_at;
	uint32_t	offset = 0;
	Header	   *written = (Header *) section;
	uint32_t   *offsets = (uint32_t *) (section + HEADER_SIZE);

	locate_parts(header, &nodes_at, &added_at, &text_at);
	memset(section, 0, nodes_at);
	*written = *header;
	for (uint32_t i = 0; i < header->count; i++)
	{
		offsets[i] = offset;
		if (words[i].bytes)
			memcpy(section + text_at + offset, words[i].text, words[i].bytes);
		offset += (uint32_t) words[i].bytes;
	}
	offsets[header->count] = offset;
	memcpy(section + nodes_at, nodes, header->trie_nodes * sizeof(LatTrieNode));
	for (uint32_t i = 0; i < header->added_count; i++)
	{
		uint8_t		first = (uint8_t) words[added[i]].text[0];

		memcpy(section + added_at + 4 * i, &added[i], 4);
		written->first_bytes[first / 8] |= (uint8_t) (1 << first % 8);
	}
}

LatStatus
lat_vocabulary_build(const LatHost *host, const LatWord *words, int32_t count,
					 const int32_t *added, int32_t added_count,
					 void **section, size_t *size, LatError *error)
{
	Header		header = {.magic = VOCABULARY_MAGIC};
	LatTrieEntry *entries = NULL;
	LatTrieNode *nodes = NULL;
	uint64_t	unused;
	LatStatus	status;

	*section = NULL;
	*size = 0;
	status = check_words(words, count, &header.text_bytes, error);
	if (status != LAT_OK)
		return status;
	if (added_count < 0 || added_count > count)
		return lat_fail(error, LAT_BAD_MODEL, "%d added tokens in a vocabulary of %d words",
						added_count, count);
	header.count = (uint32_t) count;
	header.added_count = (uint32_t) added_count;
	entries = host->alloc(host->arg,
						  ((size_t) count + (size_t) added_count) * sizeof(LatTrieEntry));
	if (entries == NULL)
	{
		status = lat_fail(error, LAT_NO_MEMORY, "out of memory for a vocabulary of %d words",
						  count);
		goto done;
	}
	status = list_entries(entries, words, count, added, added_count, error);
	if (status == LAT_OK)
		status = lat_trie_build(host, entries, count + added_count, &nodes, &header.trie_nodes,
								error);
	if (status != LAT_OK)
		goto done;
	*size = locate_parts(&header, &unused, &unused, &unused);
	*section = host->alloc(host->arg, *size);
	if (*section == NULL)
		status = lat_fail(error, LAT_NO_MEMORY, "out of memory for a vocabulary of %zu bytes",
						  *size);
	else
		write_section(*section, &header, nodes, words, added);
done:
	host->release(host->arg, entries);
	host->release(host->arg, nodes);
	return status;
}

LatStatus
lat_vocabulary_open(const void *section, size_t size, int32_t count, LatVocabulary *vocabulary,
					LatError *error)
{
	const uint8_t *bytes = section;
	const Header *header = section;
	uint64_t	nodes_at;
	uint64_t	added_at;
	uint64_t	text_at;

	if (size < HEADER_SIZE || header->magic != VOCABULARY_MAGIC)
		return lat_fail(error, LAT_BAD_MODEL, "vocabulary section has no valid header");
	if (count < 1 || header->count != (uint32_t) count)
		return lat_fail(error, LAT_BAD_MODEL, "vocabulary section has %u words, the configuration "
						"says %d", header->count, count);
	if (header->trie_nodes < LAT_ROOTS + 256 || header->trie_nodes > LAT_TRIE_SLOTS)
		return lat_fail(error, LAT_BAD_MODEL, "vocabulary section has %u trie slots, expected %d "
						"to %d", header->trie_nodes, LAT_ROOTS + 256, LAT_TRIE_SLOTS);
	if (locate_parts(header, &nodes_at, &added_at, &text_at) != size)
		return lat_fail(error, LAT_BAD_MODEL, "vocabulary section has %zu bytes, which is not what "
						"its header says", size);
	vocabulary->section = bytes;
	vocabulary->size = size;
	vocabulary->offsets = (const uint32_t *) (bytes + HEADER_SIZE);
	vocabulary->bytes = (const char *) bytes + text_at;
	vocabulary->count = count;
	vocabulary->trie = bytes + nodes_at;
	vocabulary->trie_nodes = header->trie_nodes;
	vocabulary->added = bytes + added_at;
	vocabulary->added_count = header->added_count;
	return LAT_OK;
}

const uint8_t *
lat_added_first_bytes(const LatVocabulary *vocabulary)
{
	return ((const Header *) vocabulary->section)->first_bytes;
}

/* Id at the end of the path that text spells from a root, or -1. */
static int32_t
find_from(const LatVocabulary *vocabulary, uint32_t root, const char *text, size_t bytes)
{
	uint32_t	slot = root;

	for (size_t i = 0; i < bytes; i++)
	{
		slot = text[i] ? lat_trie_step(vocabulary, slot, (uint8_t) text[i]) : 0;
		if (slot == 0)
			return -1;
	}
	return lat_trie_id(vocabulary, slot);
}

int32_t
lat_vocabulary_find(const LatVocabulary *vocabulary, const char *text, size_t bytes)
{
	if (bytes > 2 && text[0] == '#' && text[1] == '#')
		return find_from(vocabulary, LAT_ROOT_PIECE, text + 2, bytes - 2);
	return find_from(vocabulary, LAT_ROOT_WORD, text, bytes);
}

/* Every word is valid UTF-8, lies in the section and is found under its own id. */
static LatStatus
verify_words(const LatVocabulary *vocabulary, LatError *error)
{
	const uint32_t *offsets = vocabulary->offsets;
	uint64_t	text_bytes = vocabulary->section + vocabulary->size -
		(const uint8_t *) vocabulary->bytes;
	LatWord		word;
	LatStatus	status;
	uint32_t	total;

	if (offsets[0] != 0 || offsets[vocabulary->count] != text_bytes)
		return lat_fail(error, LAT_BAD_MODEL, "vocabulary section's text does not begin or end "
						"where its offsets say");
	for (int32_t i = 0; i < vocabulary->count; i++)
	{
		if (offsets[i] > offsets[i + 1] || offsets[i + 1] > text_bytes)
			return lat_fail(error, LAT_BAD_MODEL, "vocabulary section's offset %d is out of order",
							i + 1);
		word.text = vocabulary->bytes + offsets[i];
		word.bytes = offsets[i + 1] - offsets[i];
		status = check_words(&word, 1, &total, error);
		if (status != LAT_OK)
			return status;
		if (lat_vocabulary_find(vocabulary, word.text, word.bytes) != i)
			return lat_fail(error, LAT_BAD_MODEL, "vocabulary section's trie does not lead to "
							"word %d", i);
	}
	return LAT_OK;
}

/* Every added token is found, its first byte marked. */
static LatStatus
verify_added(const LatVocabulary *vocabulary, LatError *error)
{
	const uint8_t *first_bytes = lat_added_first_bytes(vocabulary);

	for (uint32_t i = 0; i < vocabulary->added_count; i++)
	{
		uint32_t	id = ((const uint32_t *) vocabulary->added)[i];
		const char *text;
		size_t		bytes;
		uint8_t		first;

		if (id >= (uint32_t) vocabulary->count)
			return lat_fail(error, LAT_BAD_MODEL, "added token %u names word %u of %d", i, id,
							vocabulary->count);
		text = vocabulary->bytes + vocabulary->offsets[id];
		bytes = vocabulary->offsets[id + 1] - vocabulary->offsets[id];
		first = bytes ? (uint8_t) text[0] : 0;
		if (bytes == 0 || (first_bytes[first / 8] & 1 << first % 8) == 0 ||
			find_from(vocabulary, LAT_ROOT_ADDED, text, bytes) != (int32_t) id)
			return lat_fail(error, LAT_BAD_MODEL, "vocabulary section's trie does not lead to "
							"added token %u", i);
	}
	return LAT_OK;
}

LatStatus
lat_vocabulary_verify(const LatVocabulary *vocabulary, LatError *error)
{
	const LatTrieNode *nodes = vocabulary->trie;
	LatStatus	status;

	for (uint32_t i = 0; i < vocabulary->trie_nodes; i++)
	{
		if ((nodes[i].link >> 8) + 256 > vocabulary->trie_nodes)
			return lat_fail(error, LAT_BAD_MODEL, "trie slot %u has its children outside the "
							"vocabulary section", i);
		if (nodes[i].id < -1 || nodes[i].id >= vocabulary->count)
			return lat_fail(error, LAT_BAD_MODEL, "trie slot %u ends word %d of %d", i, nodes[i].id,
							vocabulary->count);
	}
	status = verify_words(vocabulary, error);
	return status == LAT_OK ? verify_added(vocabulary, error) : status;
}
