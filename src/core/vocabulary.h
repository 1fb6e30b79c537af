/*
 * vocabulary.h
 *	  The vocabulary section of an image: word list, trie, tokens matched in the raw text.
 */
#ifndef LAT_VOCABULARY_H
#define LAT_VOCABULARY_H

#include "lat.h"

typedef struct LatWord
{
	const char *text;			/* UTF-8, not null-terminated */
	size_t		bytes;
} LatWord;

/*
 * Build the section out of V words (index = token id) and of the ids of those
 * matched in the raw text before normalisation (special tokens).  *section
 * comes from the host; the caller releases it.  LAT_BAD_MODEL on duplicates,
 * invalid UTF-8 or an empty list.
 */
extern LatStatus lat_vocabulary_build(const LatHost *host, const LatWord *words, int32_t count,
									  const int32_t *added, int32_t added_count,
									  void **section, size_t *size, LatError *error);

/*
 * Open a section in place (8-byte aligned).  Cheap: header and bounds only.
 * count: the V that the configuration says.
 */
extern LatStatus lat_vocabulary_open(const void *section, size_t size, int32_t count,
									 LatVocabulary *vocabulary, LatError *error);

/* Check every offset and trie node, so that a lookup cannot leave the section. */
extern LatStatus lat_vocabulary_verify(const LatVocabulary *vocabulary, LatError *error);

/* Id of a word, or -1. */
extern int32_t lat_vocabulary_find(const LatVocabulary *vocabulary, const char *text, size_t bytes);

#endif							/* LAT_VOCABULARY_H */
