/*
 * answer_f1.c
 *	  How much of a true answer an answer has: F1 as in SQuAD's evaluate-v1.1.
 *
 *		lower case -> without ASCII punctuation -> without the words a, an, the -> words
 *
 * and of two such lists precision and recall of the words that they share, each
 * as often as both have it.  "Words" are what white space separates; an article
 * is found as the script's regular expression \b(a|an|the)\b finds it, between
 * anything that is neither letter nor digit, and separates what it stands between.
 *
 * One departure: Python's lower case writes a Greek sigma at the end of a word in its
 * final form, this one does not.  Both sides are treated alike.
 */
#include <string.h>

#include <utf8proc.h>

#include "answers.h"
#include "text.h"

/* A normalised answer. */
typedef struct Bag
{
	char	   *text;
	LatWord    *words;
	int32_t		count;
} Bag;

/* Letters and digits of any script: what \w matches, but for the underscore, which is removed. */
static bool
is_word_char(uint32_t character)
{
	switch (utf8proc_category((utf8proc_int32_t) character))
	{
		case UTF8PROC_CATEGORY_LU:
		case UTF8PROC_CATEGORY_LL:
		case UTF8PROC_CATEGORY_LT:
		case UTF8PROC_CATEGORY_LM:
		case UTF8PROC_CATEGORY_LO:
		case UTF8PROC_CATEGORY_ND:
		case UTF8PROC_CATEGORY_NL:
		case UTF8PROC_CATEGORY_NO:
			return true;
		default:
			return false;
	}
}

static bool
is_space(uint32_t character)
{
	utf8proc_category_t category = utf8proc_category((utf8proc_int32_t) character);

	return (character >= 0x09 && character <= 0x0d) || (character >= 0x1c && character <= 0x1f) ||
		character == 0x85 || category == UTF8PROC_CATEGORY_ZS ||
		category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

static bool
is_ascii_punctuation(uint32_t c)
{
	return (c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) ||
		(c >= 0x5b && c <= 0x60) || (c >= 0x7b && c <= 0x7e);
}

static bool
is_article(const uint8_t *from, const uint8_t *to)
{
	switch (to - from)
	{
		case 1:
			return from[0] == 'a';
		case 2:
			return from[0] == 'a' && from[1] == 'n';
		case 3:
			return memcmp(from, "the", 3) == 0;
		default:
			return false;
	}
}

/* Write the text in lower case and without punctuation; returns its end. */
static uint8_t *
write_lowered(LatWord answer, uint8_t *to)
{
	const uint8_t *at = (const uint8_t *) answer.text;
	const uint8_t *end = at + answer.bytes;

	while (at < end)
	{
		uint32_t	lowered[LAT_LOWERED];
		uint32_t	character;
		int			length = lat_decode_char(at, end, &character);

		at += length > 0 ? length : 1;
		if (length <= 0 || is_ascii_punctuation(character))
			continue;
		for (int i = 0, n = lat_lower_char(character, lowered); i < n; i++)
			to += lat_encode_char(lowered[i], to);
	}
	return to;
}

static void
add_word(Bag *bag, const uint8_t *from, const uint8_t *to)
{
	if (to > from)
		bag->words[bag->count++] = (LatWord) {(const char *) from, (size_t) (to - from)};
}

/* List the words of a lowered text, articles left out. */
static void
split_words(Bag *bag, const uint8_t *end)
{
	const uint8_t *at = (const uint8_t *) bag->text;
	const uint8_t *word = at;	/* where the word began that `at` is in */
	const uint8_t *run = NULL;	/* where its run of letters and digits began */

	while (at <= end)
	{
		uint32_t	character = ' ';	/* one more ends the last word */
		int			length = at < end ? lat_decode_char(at, end, &character) : 1;
		bool		in_run = is_word_char(character);

		if (run && !in_run)
		{
			if (is_article(run, at))
			{
				add_word(bag, word, run);
				word = at;
			}
			run = NULL;
		}
		if (is_space(character))
		{
			add_word(bag, word, at);
			word = at + length;
		}
		else if (in_run && !run)
			run = at;
		at += length;
	}
}

/*
 * No character of n bytes is longer than 4 n in lower case (one byte is ASCII, others make two
 * characters at most); and between two words there is something, so there are
 * no more than half of the characters, rounded up.
 */
static LatStatus
fill_bag(const LatHost *host, LatWord answer, Bag *bag, LatError *error)
{
	bag->text = host->alloc(host->arg, 4 * answer.bytes + 1);
	bag->words = host->alloc(host->arg, (answer.bytes + 1) * sizeof(LatWord));
	if (bag->text == NULL || bag->words == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for an answer of %zu bytes",
						answer.bytes);
	split_words(bag, write_lowered(answer, (uint8_t *) bag->text));
	return LAT_OK;
}

/* Words that both have, as often as both do. Words found are taken out of theirs. */
static LatStatus
count_shared(const LatHost *host, const Bag *ours, Bag *theirs, int32_t *shared, LatError *error)
{
	*shared = 0;
	for (int32_t i = 0; i < ours->count; i++)
	{
		const LatWord *word = &ours->words[i];

		if (host->interrupted(host->arg))
			return lat_fail(error, LAT_INTERRUPTED, "interrupted while comparing answers");
		for (int32_t j = 0; j < theirs->count; j++)
		{
			if (theirs->words[j].bytes == word->bytes &&
				memcmp(theirs->words[j].text, word->text, word->bytes) == 0)
			{
				theirs->words[j].bytes = 0;
				(*shared)++;
				break;
			}
		}
	}
	return LAT_OK;
}

LatStatus
lat_answer_f1(const LatHost *host, LatWord answer, LatWord truth, float *f1, LatError *error)
{
	Bag			ours = {NULL, NULL, 0};
	Bag			theirs = {NULL, NULL, 0};
	int32_t		shared;
	LatStatus	status;

	*f1 = 0;
	if ((status = fill_bag(host, answer, &ours, error)) != LAT_OK ||
		(status = fill_bag(host, truth, &theirs, error)) != LAT_OK ||
		(status = count_shared(host, &ours, &theirs, &shared, error)) != LAT_OK)
		goto done;
	if (shared > 0)
		*f1 = (float) (2.0 * shared / ((double) ours.count + theirs.count));
done:
	host->release(host->arg, ours.text);
	host->release(host->arg, ours.words);
	host->release(host->arg, theirs.text);
	host->release(host->arg, theirs.words);
	return status;
}
