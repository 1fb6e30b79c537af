/*
 * text.c
 *	  Characters: UTF-8, the classes that the tokenizer asks for, decomposition and lower case.
 *
 * The tokenizer must agree with the library that the checkpoints were trained
 * with in every character, and that one carries three Unicode versions: categories
 * of about version 8, normalisation of 9, lower case of 17.  So classes
 * come from our own ranges (text_classes.h); decompositions, combining classes
 * and lower case, which Unicode never changes once they are given, come from
 * utf8proc, with the characters that came too late for one side listed here.
 */
#include "text.h"

#include <utf8proc.h>

typedef struct CharRange
{
	uint32_t	first;
	uint32_t	last;
	uint32_t	what;			/* LatCharClass; in later_capitals the distance to lower case */
} CharRange;

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

#define S(first, last) {0x##first, 0x##last, LAT_CHAR_SPACE}
#define P(first, last) {0x##first, 0x##last, LAT_CHAR_PUNCTUATION}
#define R(first, last) {0x##first, 0x##last, LAT_CHAR_REMOVED}
#define M(first, last) {0x##first, 0x##last, LAT_CHAR_MARK}
#define K(first, last) {0x##first, 0x##last, LAT_CHAR_KEPT_MARK}
static const CharRange classes[] = {
#include "text_classes.h"
};
#undef S
#undef P
#undef R
#undef M
#undef K

/* What BERT calls Chinese characters; extensions F and later are none. */
static const CharRange ideographs[] = {
	{0x3400, 0x4DBF, LAT_CHAR_IDEOGRAPH}, {0x4E00, 0x9FFF, LAT_CHAR_IDEOGRAPH},
	{0xF900, 0xFAFF, LAT_CHAR_IDEOGRAPH}, {0x20000, 0x2A6DF, LAT_CHAR_IDEOGRAPH},
	{0x2A700, 0x2B81F, LAT_CHAR_IDEOGRAPH}, {0x2B920, 0x2CEAF, LAT_CHAR_IDEOGRAPH},
	{0x2F800, 0x2FA1F, LAT_CHAR_IDEOGRAPH},
};

/*
 * The characters beyond the BMP that decompose, as of Unicode 9 (in the BMP
 * none has been added since).
 */
static const CharRange decomposed[] = {
	{0x1109A, 0x1109A, 0}, {0x1109C, 0x1109C, 0}, {0x110AB, 0x110AB, 0}, {0x1112E, 0x1112F, 0},
	{0x1134B, 0x1134C, 0}, {0x114BB, 0x114BC, 0}, {0x114BE, 0x114BE, 0}, {0x115BA, 0x115BB, 0},
	{0x1D15E, 0x1D164, 0}, {0x1D1BB, 0x1D1C0, 0}, {0x2F800, 0x2FA1D, 0},
};

/*
 * Capitals of Unicode 16 and 17, which an older utf8proc does not know, and the
 * distance (modulo 2^32) to their small letters.
 */
static const CharRange later_capitals[] = {
	{0x1C89, 0x1C89, 1}, {0xA7CB, 0xA7CB, (uint32_t) -42343}, {0xA7CC, 0xA7CC, 1},
	{0xA7CE, 0xA7CE, 1}, {0xA7D2, 0xA7D2, 1}, {0xA7D4, 0xA7D4, 1}, {0xA7DA, 0xA7DA, 1},
	{0xA7DC, 0xA7DC, (uint32_t) -42561}, {0x10D50, 0x10D65, 32}, {0x16EA0, 0x16EB8, 27},
};

/* The range that holds a character, or NULL. */
static const CharRange *
find_range(const CharRange *ranges, int count, uint32_t character)
{
	int			low = 0;
	int			high = count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (character > ranges[middle].last)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && character >= ranges[low].first ? &ranges[low] : NULL;
}

int
lat_decode_char(const uint8_t *text, const uint8_t *end, uint32_t *character)
{
	uint32_t	value = text[0];
	uint8_t		low = 0x80;		/* what the second byte may be */
	uint8_t		high = 0xBF;
	int			bytes;

	if (value < 0x80)
	{
		*character = value;
		return 1;
	}
	if (value < 0xC2 || value > 0xF4)
		return 0;
	bytes = value < 0xE0 ? 2 : value < 0xF0 ? 3 : 4;
	if (value == 0xE0)
		low = 0xA0;
	else if (value == 0xED)
		high = 0x9F;
	else if (value == 0xF0)
		low = 0x90;
	else if (value == 0xF4)
		high = 0x8F;
	value &= 0xFF >> (bytes + 1);
	for (int i = 1; i < bytes; i++)
	{
		if (text + i == end)
			return -1;
		if (text[i] < low || text[i] > high)
			return 0;
		low = 0x80;
		high = 0xBF;
		value = value << 6 | (text[i] & 0x3F);
	}
	*character = value;
	return bytes;
}

int
lat_encode_char(uint32_t character, uint8_t *text)
{
	int			bytes = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;

	if (bytes == 1)
	{
		text[0] = (uint8_t) character;
		return 1;
	}
	for (int i = bytes - 1; i > 0; i--)
	{
		text[i] = 0x80 | (character & 0x3F);
		character >>= 6;
	}
	text[0] = (uint8_t) (0xF00 >> bytes | character);
	return bytes;
}

static LatCharClass
ascii_class(uint32_t character)
{
	if (character == ' ' || character == '\t' || character == '\n' || character == '\r')
		return LAT_CHAR_SPACE;
	if (character < ' ' || character == 0x7F)
		return LAT_CHAR_REMOVED;
	if ((character >= '0' && character <= '9') || (character >= 'A' && character <= 'Z') ||
		(character >= 'a' && character <= 'z'))
		return LAT_CHAR_WORD;
	return LAT_CHAR_PUNCTUATION;	/* symbols as well: "$", "+", "~" */
}

LatCharClass
lat_char_class(uint32_t character)
{
	const CharRange *range;

	if (character < 0x80)
		return ascii_class(character);
	if (character >= 0xC0 && character < 0x300)
		return LAT_CHAR_WORD;	/* the accented letters of Europe, without a search */
	range = find_range(classes, LENGTH(classes), character);
	if (range == NULL)
		range = find_range(ideographs, LENGTH(ideographs), character);
	return range ? (LatCharClass) range->what : LAT_CHAR_WORD;
}

int
lat_combining_class(uint32_t character)
{
	LatCharClass class = lat_char_class(character);

	if (class != LAT_CHAR_MARK && class != LAT_CHAR_KEPT_MARK)
		return 0;
	return utf8proc_get_property((utf8proc_int32_t) character)->combining_class;
}

int
lat_decompose_char(uint32_t character, uint32_t parts[LAT_DECOMPOSED])
{
	utf8proc_int32_t buffer[LAT_DECOMPOSED];
	utf8proc_ssize_t count;
	int			boundary = 0;

	parts[0] = character;
	if (character < 0xC0 ||
		(character > 0xFFFF && find_range(decomposed, LENGTH(decomposed), character) == NULL))
		return 1;
	count = utf8proc_decompose_char((utf8proc_int32_t) character, buffer, LAT_DECOMPOSED,
									UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
	if (count < 1 || count > LAT_DECOMPOSED)
		return 1;
	for (int i = 0; i < count; i++)
		parts[i] = (uint32_t) buffer[i];
	return (int) count;
}

int
lat_lower_char(uint32_t character, uint32_t lowered[LAT_LOWERED])
{
	const CharRange *range;

	if (character == 0x130)		/* I with a dot above: the one that lowers to two characters */
	{
		lowered[0] = 'i';
		lowered[1] = 0x307;
		return 2;
	}
	range = find_range(later_capitals, LENGTH(later_capitals), character);
	if (range)
		lowered[0] = character + range->what;
	else
		lowered[0] = (uint32_t) utf8proc_tolower((utf8proc_int32_t) character);
	return 1;
}
