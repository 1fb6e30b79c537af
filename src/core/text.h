/*
 * text.h
 *	  Characters: UTF-8, the classes that the tokenizer asks for, decomposition and lower case.
 */
#ifndef LAT_TEXT_H
#define LAT_TEXT_H

#include "lat.h"

typedef enum LatCharClass
{
	LAT_CHAR_WORD,				/* everything else: letters, digits, symbols, unassigned */
	LAT_CHAR_SPACE,				/* separates words */
	LAT_CHAR_PUNCTUATION,		/* a word by itself */
	LAT_CHAR_REMOVED,			/* control, format and private characters, U+FFFD */
	LAT_CHAR_MARK,				/* nonspacing mark: what stripping accents strips */
	LAT_CHAR_KEPT_MARK,			/* reordered as marks are, but not stripped; else a WORD */
	LAT_CHAR_IDEOGRAPH			/* a word by itself where the model splits CJK */
} LatCharClass;

#define LAT_CHAR_BYTES 4		/* UTF-8 bytes of a character, at most */
#define LAT_DECOMPOSED 4		/* characters of a canonical decomposition, at most */
#define LAT_LOWERED 2			/* characters of a lower-cased one, at most */

/*
 * Bytes of the UTF-8 character at text (end > text), and the character; 0 if
 * invalid (also surrogates, overlong forms, beyond U+10FFFF); -1 if the text
 * ends inside it.
 */
extern int	lat_decode_char(const uint8_t *text, const uint8_t *end, uint32_t *character);

/* Write a character as UTF-8; returns its bytes. */
extern int	lat_encode_char(uint32_t character, uint8_t *text);

extern LatCharClass lat_char_class(uint32_t character);

/* Canonical combining class: 0 for starters, else MARK or KEPT_MARK. */
extern int	lat_combining_class(uint32_t character);

/* Full canonical decomposition (NFD of one character); returns how many. */
extern int	lat_decompose_char(uint32_t character, uint32_t parts[LAT_DECOMPOSED]);

/* Lower case without context (no final sigma); returns how many. */
extern int	lat_lower_char(uint32_t character, uint32_t lowered[LAT_LOWERED]);

#endif							/* LAT_TEXT_H */
