/*
 * wordpiece.h
 *	  What the tokenizer's two files share: a place in a text, and runs of marks.
 */
#ifndef LAT_WORDPIECE_H
#define LAT_WORDPIECE_H

#include "lat.h"

#define LAT_WORD_CHARS 100		/* a longer word is [UNK] */
#define LAT_INTERRUPT_BYTES 65536	/* of text between two questions to the host */

/* A text, and how far it has been read. */
typedef struct LatCursor
{
	const uint8_t *segment;		/* where it began, or the last added token ended */
	const uint8_t *at;
	const uint8_t *end;
	int32_t		position;		/* index of the character at `at` */
} LatCursor;

/* The marks of a run that stay, in canonical order. */
typedef struct LatMarks
{
	int64_t		count;
	int32_t		first;			/* source (character of the original text) of the first */
	int32_t		last;			/* source of the last */
	uint32_t	marks[LAT_WORD_CHARS];	/* if count is at most LAT_WORD_CHARS: the marks */
	int32_t		sources[LAT_WORD_CHARS];
} LatMarks;

/*
 * Put the run of marks around cursor->at, of which a part may have been read,
 * in order; the cursor moves behind it.  Only for texts whose accents are
 * stripped, at the first character of the run with a mark that stays.
 */
extern LatStatus lat_read_marks(const LatHost *host, const LatVocabulary *vocabulary,
								LatCursor *cursor, LatMarks *marks, LatError *error);

/*
 * Bytes of the longest added token at `at`, and its id; 0 if there is none.
 * *open is set if the text ends before that is certain.
 */
extern size_t lat_match_added(const LatVocabulary *vocabulary, const uint8_t *at,
							  const uint8_t *end, int32_t *id, bool *open);

#endif							/* LAT_WORDPIECE_H */
