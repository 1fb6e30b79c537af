/*
 * config.h
 *	  What the JSON and text files of a checkpoint say of a model.
 */
#ifndef LAT_CONFIG_H
#define LAT_CONFIG_H

#include "json.h"
#include "source.h"
#include "vocabulary.h"

/* Texts by index, pointing into the source, or into the arena where they had escapes. */
typedef struct LatTexts
{
	LatWord    *items;
	int32_t		count;
	int32_t		capacity;
	char	   *arena;			/* as large as the file that the texts come from */
	size_t		arena_used;
} LatTexts;

typedef struct LatSettings
{
	LatConfig	config;
	int32_t		embedding_rows; /* vocab_size: may exceed config.vocabulary, the number of words */
	LatTexts	labels;			/* (config.labels) */
	LatTexts	words;			/* (config.vocabulary) */
	int32_t    *added;			/* ids of tokens matched in the raw text, ascending */
	int32_t		added_count;
} LatSettings;

/* Read all but the weights. Zero *settings first; release them in any case. */
extern LatStatus lat_settings_read(const LatHost *host, const LatPart parts[LAT_PART_COUNT],
								   LatSettings *settings, LatError *error);
extern void lat_settings_release(const LatHost *host, LatSettings *settings);

/* ---- between config.c and tokenizer_files.c ------------------------------------------------ */

/* config.json: architecture, sizes, labels. */
extern LatStatus lat_read_config(const LatHost *host, LatPart part, LatSettings *settings,
								 LatError *error);

/* The tokenizer's files: casing, words, special tokens. */
extern LatStatus lat_read_tokenizer(const LatHost *host, const LatPart parts[LAT_PART_COUNT],
									LatSettings *settings, LatError *error);

/* Make room for this index and count up to it; new items have text NULL. */
extern LatStatus lat_texts_reserve(const LatHost *host, LatTexts *texts, int32_t index,
								   LatError *error);

/* Make room for the decoded texts of a file of that size. */
extern LatStatus lat_texts_arena(const LatHost *host, LatTexts *texts, size_t size,
								 LatError *error);

/* The decoded string, in place or in the arena. */
extern LatWord lat_texts_decode(LatTexts *texts, LatJsonText text);

#endif							/* LAT_CONFIG_H */
