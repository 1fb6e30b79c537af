/*
 * marks.c
 *	  Canonical order of the combining marks that survive the stripping of accents.
 *
 * Stripping accents means: decompose the text, sort each run of combining marks
 * by combining class (stable), drop the nonspacing ones.  Since nearly all marks
 * are nonspacing, wordpiece.c drops them as they come and never sorts.  A few
 * stay (musical stems, Hangul tone marks, viramas that take up space); where one
 * turns up, this file does the whole of it.
 *
 * The reference keeps offsets by place, not by character: the k-th character of
 * the sorted run that is not an addition (see below) inherits the offset of the
 * k-th character of the run in the text, whichever that is.  A decomposition's
 * second and later characters are additions, and share the offset of whatever
 * precedes them after sorting.  So a mark's rank is the number of non-additions
 * that are sorted up to it, and rank 0 is the base character.
 *
 * A run may be as long as the text.  Counting non-additions by class gives the
 * ranks without holding the run in memory: one pass back to its base, one
 * forward to count, one more to find the characters at the ranks.
 */
#include "wordpiece.h"

#include <string.h>

#include "text.h"
#include "trie.h"

#define CLASSES 256

/* A run, as far as counted. */
typedef struct Run
{
	int64_t		ranks[CLASSES];	/* non-additions of each class */
	int64_t		first[CLASSES];	/* ranks[class] at the first mark that stays; -1: none */
	int64_t		last[CLASSES];	/* the same at the last */
	uint8_t		classes[LAT_WORD_CHARS];	/* of the marks that stay, as they come */
	uint32_t	marks[LAT_WORD_CHARS];
	int64_t		own[LAT_WORD_CHARS];	/* ranks[class] at each */
	int64_t		count;			/* of marks that stay */
} Run;

/* Walks the characters of a run, without those that clean-up removes. */
typedef struct Walk
{
	const LatHost *host;
	const LatVocabulary *vocabulary;
	LatCursor	cursor;
	const uint8_t *ask;			/* where to ask for interrupts next */
	bool		base;			/* the next character may be the base */
	int			count;			/* of parts that are marks; 0: at the run's end */
	bool		addition;		/* the first of the parts is an addition, too */
	uint32_t	parts[LAT_DECOMPOSED];
	int32_t		source;			/* of the character read */
} Walk;

/* Move back to the run's base, or to the segment's start if it has none. */
static LatStatus
find_base(Walk *walk, LatError *error)
{
	LatCursor  *cursor = &walk->cursor;
	int64_t		steps = 0;

	for (;;)
	{
		uint32_t	character = 0;
		uint32_t	parts[LAT_DECOMPOSED];

		lat_decode_char(cursor->at, cursor->end, &character);
		if (lat_char_class(character) != LAT_CHAR_REMOVED)
		{
			lat_decompose_char(character, parts);
			if (lat_combining_class(parts[0]) == 0)
				return LAT_OK;
		}
		if (cursor->at == cursor->segment)
			return LAT_OK;
		do
			cursor->at--;
		while ((*cursor->at & 0xC0) == 0x80);
		cursor->position--;
		if (++steps % LAT_INTERRUPT_BYTES == 0 && walk->host->interrupted(walk->host->arg))
			return lat_fail(error, LAT_INTERRUPTED, "interrupted while reading a text");
	}
}

/* Read the next character's marks into the walk. */
static LatStatus
read_parts(Walk *walk, LatError *error)
{
	LatCursor  *cursor = &walk->cursor;

	walk->count = 0;
	while (cursor->at < cursor->end)
	{
		uint32_t	character;
		uint32_t	parts[LAT_DECOMPOSED];
		int32_t		id;
		bool		open;
		int			bytes;
		int			count;
		int			skip = 0;

		if (cursor->at >= walk->ask)
		{
			if (walk->host->interrupted(walk->host->arg))
				return lat_fail(error, LAT_INTERRUPTED, "interrupted while reading a text");
			walk->ask = cursor->at + LAT_INTERRUPT_BYTES;
		}
		bytes = lat_decode_char(cursor->at, cursor->end, &character);
		if (bytes <= 0)
			break;				/* the caller will complain */
		if (!walk->base &&
			lat_match_added(walk->vocabulary, cursor->at, cursor->end, &id, &open) > 0)
			break;
		if (lat_char_class(character) != LAT_CHAR_REMOVED)
		{
			count = lat_decompose_char(character, parts);
			while (skip < count && lat_combining_class(parts[skip]) == 0)
				skip++;
			if (skip > 0 && !walk->base)
				break;
			walk->addition = skip > 0;
			walk->base = false;
			if (skip < count)
			{
				walk->count = count - skip;
				memcpy(walk->parts, parts + skip, (size_t) walk->count * sizeof(uint32_t));
			}
		}
		walk->source = cursor->position++;
		cursor->at += bytes;
		if (walk->count > 0)
			break;
	}
	return LAT_OK;
}

/* Enter the marks just read. */
static void
count_parts(const Walk *walk, Run *run)
{
	for (int i = 0; i < walk->count; i++)
	{
		int			class = lat_combining_class(walk->parts[i]);

		if (i == 0 && !walk->addition)
			run->ranks[class]++;
		if (lat_char_class(walk->parts[i]) != LAT_CHAR_KEPT_MARK)
			continue;
		if (run->first[class] < 0)
			run->first[class] = run->ranks[class];
		run->last[class] = run->ranks[class];
		if (run->count < LAT_WORD_CHARS)
		{
			run->classes[run->count] = (uint8_t) class;
			run->marks[run->count] = walk->parts[i];
			run->own[run->count] = run->ranks[class];
		}
		run->count++;
	}
}

/*
 * Sort the counted marks into *marks; ranks (count) gets their ranks, and those
 * of the first and the last of all.
 */
static void
sort_marks(const Run *run, LatMarks *marks, int64_t *ranks, int64_t *first, int64_t *last)
{
	int64_t		below = 0;
	int			held = 0;

	*first = -1;
	*last = -1;
	for (int class = 0; class < CLASSES; class++)
	{
		if (run->first[class] >= 0)
		{
			if (*first < 0)
				*first = below + run->first[class];
			*last = below + run->last[class];
			for (int i = 0; i < run->count && i < LAT_WORD_CHARS; i++)
				if (run->classes[i] == class)
				{
					marks->marks[held] = run->marks[i];
					ranks[held++] = below + run->own[i];
				}
		}
		below += run->ranks[class];
	}
	marks->count = run->count;
}

LatStatus
lat_read_marks(const LatHost *host, const LatVocabulary *vocabulary, LatCursor *cursor,
			   LatMarks *marks, LatError *error)
{
	Walk		walk = {.host = host, .vocabulary = vocabulary, .cursor = *cursor, .base = true};
	LatCursor	start;
	Run			run = {.count = 0};
	int64_t		ranks[LAT_WORD_CHARS];
	int64_t		first;
	int64_t		last;
	int			held = 0;
	LatStatus	status;

	memset(run.first, -1, sizeof(run.first));
	status = find_base(&walk, error);
	if (status != LAT_OK)
		return status;
	start = walk.cursor;
	walk.ask = start.at;
	do
	{
		status = read_parts(&walk, error);
		if (status != LAT_OK)
			return status;
		count_parts(&walk, &run);
	} while (walk.count > 0);
	*cursor = walk.cursor;

	sort_marks(&run, marks, ranks, &first, &last);
	walk.cursor = start;
	walk.ask = start.at;
	walk.base = true;
	for (int64_t rank = 0; rank <= last;)
	{
		int32_t		source;

		status = read_parts(&walk, error);
		if (status != LAT_OK)
			return status;
		if (walk.count == 0)
			break;
		if (!walk.addition)
			rank++;
		source = walk.source;
		if (rank == first)
			marks->first = source;
		if (rank == last)
			marks->last = source;
		while (held < run.count && held < LAT_WORD_CHARS && ranks[held] == rank)
			marks->sources[held++] = source;
		if (rank == last)
			break;
	}
	return LAT_OK;
}
