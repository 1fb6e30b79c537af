/*
 * wordpiece.c
 *	  A text becomes tokens, exactly as Hugging Face's BertTokenizerFast makes them.
 *
 * That one works in passes over whole strings: cut at added tokens; remove
 * control characters; put spaces around ideographs; decompose and drop
 * nonspacing marks; lower-case; cut at spaces and punctuation; look up.  Here one
 * pass over the text feeds characters, already in their final form, to a word
 * under construction, and each finished word to the tries:
 *
 *		text -> added token?  yes: the word ends, the token is put out
 *				  | no
 *				class  -> removed: nothing; space: the word ends
 *				  |
 *				decompose, drop marks, lower-case -> append to the word
 *												  (punctuation, ideograph: alone)
 *		word ends -> longest match from the root of words, then again and again
 *					 from that of continuations; any failure: [UNK] for all of it
 *
 * Each byte of the word under construction knows the character of the original
 * text that it came from (its source); a token spans the sources of its first
 * and last byte.  A word holds at most 100 characters; of a longer one, which is
 * [UNK], only the first and last source are kept, however long it is.
 *
 * Letters, digits, spaces and punctuation of ASCII take a path of their own
 * through a table of 128 entries.
 */
#include "wordpiece.h"

#include <string.h>

#include "text.h"
#include "trie.h"

#define WORD_BYTES (LAT_WORD_CHARS * LAT_CHAR_BYTES)
#define MAY_BE_ADDED 0x80		/* in Scanner.classes: some added token begins with this byte */

/* The word under construction. */
typedef struct Word
{
	int64_t		chars;			/* of the final form; beyond LAT_WORD_CHARS only counted */
	int			bytes;
	int32_t		start;			/* source of the first character */
	int32_t		last;			/* source of the last */
	uint8_t		text[WORD_BYTES];
	int32_t		sources[WORD_BYTES];
} Word;

typedef struct Scanner
{
	const LatHost *host;
	const LatModel *model;
	LatTokens  *tokens;
	LatError   *error;
	const uint8_t *text;
	LatCursor	cursor;
	const uint8_t *ask;			/* where to ask for interrupts next */
	int32_t		limit;
	bool		continues;
	bool		more;			/* something follows the word that reached the limit */
	bool		cut;			/* continues: what lies at the cursor may go on beyond the end */
	uint8_t		classes[128];	/* LatCharClass of ASCII, maybe with MAY_BE_ADDED */
	uint8_t		lowered[128];
	Word		word;
	LatMarks	marks;
} Scanner;

/* Copying the arrays of a text of 100 MB takes 100 ms: too long without asking for interrupts. */
#define COPY_BYTES ((size_t) 4 * 1024 * 1024)

static LatStatus
copy_array(Scanner *scanner, void *to, const void *from, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += COPY_BYTES)
	{
		size_t		left = bytes - at;

		if (at > 0 && scanner->host->interrupted(scanner->host->arg))
			return lat_fail(scanner->error, LAT_INTERRUPTED, "interrupted while reading a text");
		memcpy((uint8_t *) to + at, (const uint8_t *) from + at,
			   left < COPY_BYTES ? left : COPY_BYTES);
	}
	return LAT_OK;
}

/* Room for `more` further tokens: one block for the four arrays. */
static LatStatus
reserve_tokens(Scanner *scanner, int32_t more)
{
	LatTokens  *tokens = scanner->tokens;
	const LatHost *host = scanner->host;
	LatTokens	grown;
	int64_t		capacity = tokens->capacity ? tokens->capacity : 128;

	if (tokens->capacity - tokens->count >= more)
		return LAT_OK;
	while (capacity - tokens->count < more)
		capacity *= 2;
	if (capacity > INT32_MAX)
		return lat_fail(scanner->error, LAT_NO_MEMORY, "text has more than %d tokens",
						tokens->count);
	grown = *tokens;
	grown.capacity = (int32_t) capacity;
	grown.ids = host->alloc(host->arg, (size_t) capacity * (3 * sizeof(int32_t) + 1));
	if (grown.ids == NULL)
		return lat_fail(scanner->error, LAT_NO_MEMORY, "out of memory for %lld tokens",
						(long long) capacity);
	grown.starts = grown.ids + capacity;
	grown.stops = grown.starts + capacity;
	grown.word_starts = (uint8_t *) (grown.stops + capacity);
	if (tokens->count > 0)
	{
		size_t		words = (size_t) tokens->count * sizeof(int32_t);
		LatStatus	status;

		if ((status = copy_array(scanner, grown.ids, tokens->ids, words)) != LAT_OK ||
			(status = copy_array(scanner, grown.starts, tokens->starts, words)) != LAT_OK ||
			(status = copy_array(scanner, grown.stops, tokens->stops, words)) != LAT_OK ||
			(status = copy_array(scanner, grown.word_starts, tokens->word_starts,
								 (size_t) tokens->count)) != LAT_OK)
		{
			host->release(host->arg, grown.ids);
			return status;
		}
	}
	host->release(host->arg, tokens->ids);
	*tokens = grown;
	return LAT_OK;
}

static inline void
put_token(LatTokens *tokens, int32_t id, int32_t start, int32_t stop, bool begins)
{
	tokens->ids[tokens->count] = id;
	tokens->starts[tokens->count] = start;
	tokens->stops[tokens->count] = stop;
	tokens->word_starts[tokens->count] = begins;
	tokens->count++;
}

/* The word's pieces, longest match first; false if some part of it is in no word. */
static bool
put_pieces(const LatVocabulary *vocabulary, const Word *word, LatTokens *tokens)
{
	uint32_t	root = LAT_ROOT_WORD;
	int			start = 0;

	while (start < word->bytes)
	{
		uint32_t	slot = root;
		int32_t		best = -1;
		int			stop = 0;

		for (int i = start; i < word->bytes; i++)
		{
			int32_t		id;

			slot = lat_trie_step(vocabulary, slot, word->text[i]);
			if (slot == 0)
				break;
			id = lat_trie_id(vocabulary, slot);
			if (id >= 0)
			{
				best = id;
				stop = i + 1;
			}
		}
		if (best < 0)
			return false;
		put_token(tokens, best, word->sources[start], word->sources[stop - 1] + 1, start == 0);
		start = stop;
		root = LAT_ROOT_PIECE;
	}
	return true;
}

/* The word under construction is complete: put out its tokens, begin a new one. */
static LatStatus
end_word(Scanner *scanner)
{
	Word	   *word = &scanner->word;
	LatTokens  *tokens = scanner->tokens;
	int32_t		first = tokens->count;

	if (word->chars == 0)
		return LAT_OK;
	if (tokens->count >= scanner->limit)
	{
		scanner->more = true;
		return LAT_OK;
	}
	if (tokens->capacity - tokens->count < WORD_BYTES)
	{
		LatStatus	status = reserve_tokens(scanner, WORD_BYTES);

		if (status != LAT_OK)
			return status;
	}
	if (word->chars > LAT_WORD_CHARS ||
		!put_pieces(&scanner->model->vocabulary, word, tokens))
	{
		tokens->count = first;
		put_token(tokens, scanner->model->config.unk_id, word->start, word->last + 1, true);
	}
	word->chars = 0;
	word->bytes = 0;
	return LAT_OK;
}

static void
append_char(Word *word, uint32_t character, int32_t source)
{
	if (word->chars == 0)
		word->start = source;
	word->last = source;
	if (word->chars++ < LAT_WORD_CHARS)
	{
		int			bytes = lat_encode_char(character, word->text + word->bytes);

		for (int i = 0; i < bytes; i++)
			word->sources[word->bytes + i] = source;
		word->bytes += bytes;
	}
}

/* A word of one character, which is not known to be over only if the text is cut behind it. */
static LatStatus
put_single(Scanner *scanner, uint32_t character, const uint8_t *behind)
{
	LatStatus	status = end_word(scanner);

	if (status != LAT_OK || scanner->more)
		return status;
	append_char(&scanner->word, character, scanner->cursor.position);
	if (scanner->continues && behind == scanner->cursor.end)
		return LAT_OK;			/* left open, and so left out */
	return end_word(scanner);
}

/* Append a character that clean-up and accents have passed, in lower case if the model wants so. */
static LatStatus
put_char(Scanner *scanner, uint32_t character, const uint8_t *behind)
{
	uint32_t	lowered[LAT_LOWERED] = {character};
	int			count = 1;

	if (scanner->model->config.lowercase)
		count = lat_lower_char(character, lowered);
	for (int i = 0; i < count; i++)
	{
		if (lat_char_class(lowered[i]) == LAT_CHAR_PUNCTUATION)
		{
			LatStatus	status = put_single(scanner, lowered[i], behind);

			if (status != LAT_OK)
				return status;
		}
		else
			append_char(&scanner->word, lowered[i], scanner->cursor.position);
	}
	return LAT_OK;
}

/* A run of marks of which some stay: they join the word, in canonical order. */
static LatStatus
put_marks(Scanner *scanner)
{
	Word	   *word = &scanner->word;
	LatMarks   *marks = &scanner->marks;
	LatStatus	status = lat_read_marks(scanner->host, &scanner->model->vocabulary,
										&scanner->cursor, marks, scanner->error);

	if (status != LAT_OK)
		return status;
	if (marks->count <= LAT_WORD_CHARS)
	{
		for (int i = 0; i < marks->count; i++)
			append_char(word, marks->marks[i], marks->sources[i]);
		return LAT_OK;
	}
	if (word->chars == 0)
		word->start = marks->first;
	word->last = marks->last;
	word->chars += marks->count;
	return LAT_OK;
}

size_t
lat_match_added(const LatVocabulary *vocabulary, const uint8_t *at, const uint8_t *end,
				int32_t *id, bool *open)
{
	const uint8_t *first_bytes = lat_added_first_bytes(vocabulary);
	uint32_t	slot = LAT_ROOT_ADDED;
	size_t		matched = 0;

	if ((first_bytes[*at / 8] & 1 << *at % 8) == 0)
		return 0;
	for (const uint8_t *byte = at; *byte != 0;)
	{
		slot = lat_trie_step(vocabulary, slot, *byte++);
		if (slot == 0)
			break;
		if (lat_trie_id(vocabulary, slot) >= 0)
		{
			*id = lat_trie_id(vocabulary, slot);
			matched = (size_t) (byte - at);
		}
		if (byte == end)
		{
			*open = lat_trie_continues(vocabulary, slot);
			break;
		}
	}
	return matched;
}

/* Put out the added token at the cursor; *found is false if there is none. */
static LatStatus
read_added(Scanner *scanner, bool *found)
{
	LatCursor  *cursor = &scanner->cursor;
	bool		open = false;
	int32_t		id = 0;
	size_t		bytes = lat_match_added(&scanner->model->vocabulary, cursor->at, cursor->end,
										&id, &open);
	int32_t		chars = 0;
	LatStatus	status;

	scanner->cut = scanner->continues && (open || (bytes > 0 && cursor->at + bytes == cursor->end));
	*found = bytes > 0;
	if (!*found || scanner->cut)
		return LAT_OK;
	status = end_word(scanner);
	if (status != LAT_OK || scanner->more)
		return status;
	if (scanner->tokens->count >= scanner->limit)
	{
		scanner->more = true;
		return LAT_OK;
	}
	for (size_t i = 0; i < bytes; i++)
		chars += (cursor->at[i] & 0xC0) != 0x80;
	status = reserve_tokens(scanner, 1);
	if (status != LAT_OK)
		return status;
	put_token(scanner->tokens, id, cursor->position, cursor->position + chars, true);
	cursor->at += bytes;
	cursor->position += chars;
	cursor->segment = cursor->at;
	return LAT_OK;
}

/* Whatever is not plain ASCII. */
static LatStatus
read_char(Scanner *scanner)
{
	LatCursor  *cursor = &scanner->cursor;
	const LatConfig *config = &scanner->model->config;
	uint32_t	character;
	uint32_t	parts[LAT_DECOMPOSED];
	int			count = 1;
	int			bytes = lat_decode_char(cursor->at, cursor->end, &character);
	LatCharClass class;
	LatStatus	status = LAT_OK;

	if (bytes <= 0)
	{
		lat_fail(scanner->error, LAT_BAD_TEXT, "text is not valid UTF-8 at byte %zu",
				 (size_t) (cursor->at - scanner->text));
		return lat_hint(scanner->error, LAT_BAD_TEXT, "Convert the text to UTF-8.");
	}
	class = lat_char_class(character);
	parts[0] = character;
	if (config->strip_accents && class != LAT_CHAR_REMOVED && class != LAT_CHAR_SPACE)
		count = lat_decompose_char(character, parts);
	if (class == LAT_CHAR_SPACE)
		status = end_word(scanner);
	else if (class == LAT_CHAR_IDEOGRAPH && config->split_cjk)
		status = put_single(scanner, parts[0], cursor->at + bytes);
	else if (class != LAT_CHAR_REMOVED)
	{
		for (int i = 0; i < count && status == LAT_OK && !scanner->more; i++)
		{
			class = lat_char_class(parts[i]);
			if (config->strip_accents && class == LAT_CHAR_KEPT_MARK)
				return put_marks(scanner);
			if (!config->strip_accents || class != LAT_CHAR_MARK)
				status = put_char(scanner, parts[i], cursor->at + bytes);
		}
	}
	cursor->at += bytes;
	cursor->position++;
	return status;
}

/* As many plain ASCII letters and digits as there are; they join the word. */
static void
read_ascii_word(Scanner *scanner)
{
	LatCursor  *cursor = &scanner->cursor;
	Word	   *word = &scanner->word;
	const uint8_t *at = cursor->at;
	const uint8_t *stop = scanner->ask < cursor->end ? scanner->ask : cursor->end;
	const uint8_t *from = at;
	int			room = word->chars < LAT_WORD_CHARS ? LAT_WORD_CHARS - (int) word->chars : 0;
	int			bytes = word->bytes;

	if (word->chars == 0)
		word->start = cursor->position;
	while (at < stop && *at < 0x80 && scanner->classes[*at] == LAT_CHAR_WORD)
	{
		if (at - from < room)
		{
			word->text[bytes] = scanner->lowered[*at];
			word->sources[bytes] = cursor->position + (int32_t) (at - from);
			bytes++;
		}
		at++;
	}
	word->bytes = bytes;
	word->chars += at - from;
	cursor->position += (int32_t) (at - from);
	word->last = cursor->position - 1;
	cursor->at = at;
}

/* Read on until the text ends, or the limit is exceeded, or what is next may be cut. */
static LatStatus
scan_text(Scanner *scanner)
{
	LatCursor  *cursor = &scanner->cursor;
	LatStatus	status = LAT_OK;

	while (cursor->at < cursor->end && status == LAT_OK && !scanner->more && !scanner->cut)
	{
		uint8_t		byte = *cursor->at;
		int			class = byte < 0x80 ? scanner->classes[byte] : MAY_BE_ADDED;

		if (cursor->at >= scanner->ask)
		{
			if (scanner->host->interrupted(scanner->host->arg))
				return lat_fail(scanner->error, LAT_INTERRUPTED,
								"interrupted while reading a text");
			scanner->ask = cursor->at + LAT_INTERRUPT_BYTES;
		}
		if (class == LAT_CHAR_WORD)
			read_ascii_word(scanner);
		else if (class & MAY_BE_ADDED)
		{
			bool		found;

			status = read_added(scanner, &found);
			if (status == LAT_OK && !found && !scanner->cut)
				status = read_char(scanner);
		}
		else
		{
			if (class == LAT_CHAR_SPACE)
				status = end_word(scanner);
			else if (class == LAT_CHAR_PUNCTUATION)
				status = put_single(scanner, byte, cursor->at + 1);
			cursor->at++;
			cursor->position++;
		}
		/* A word that has begun behind the limit is proof that the text goes on. */
		if (scanner->word.chars > 0 && scanner->tokens->count >= scanner->limit)
			scanner->more = true;
	}
	return status;
}

/* Tables of ASCII for this model. */
static void
fill_tables(Scanner *scanner)
{
	const uint8_t *first_bytes = lat_added_first_bytes(&scanner->model->vocabulary);

	for (int byte = 0; byte < 128; byte++)
	{
		uint8_t		class = (uint8_t) lat_char_class((uint32_t) byte);
		bool		capital = byte >= 'A' && byte <= 'Z';

		if (first_bytes[byte / 8] & 1 << byte % 8)
			class |= MAY_BE_ADDED;
		scanner->classes[byte] = class;
		scanner->lowered[byte] = (uint8_t) (capital && scanner->model->config.lowercase ?
											byte + ('a' - 'A') : byte);
	}
}

/* Bytes at the end of a text that are the beginning of a character. */
static size_t
count_cut_bytes(const uint8_t *text, size_t bytes)
{
	uint32_t	character;

	for (size_t back = 1; back <= 3 && back <= bytes; back++)
		if ((text[bytes - back] & 0xC0) != 0x80)
			return lat_decode_char(text + bytes - back, text + bytes, &character) < 0 ? back : 0;
	return 0;
}

LatStatus
lat_tokenize_text(const LatHost *host, const LatModel *model, const char *text, size_t bytes,
				  bool continues, int32_t limit, LatTokens *tokens, LatError *error)
{
	Scanner		scanner;
	LatStatus	status;

	tokens->count = 0;
	tokens->complete = false;
	if (bytes > INT32_MAX)
	{
		lat_fail(error, LAT_BAD_ARGUMENT, "text has %zu bytes, the limit is %d", bytes, INT32_MAX);
		return lat_hint(error, LAT_BAD_ARGUMENT, "Pass a part of the text.");
	}
	scanner.host = host;
	scanner.model = model;
	scanner.tokens = tokens;
	scanner.error = error;
	scanner.text = (const uint8_t *) text;
	scanner.cursor.segment = scanner.text;
	scanner.cursor.at = scanner.text;
	scanner.cursor.end = scanner.text + bytes -
		(continues ? count_cut_bytes(scanner.text, bytes) : 0);
	scanner.cursor.position = 0;
	scanner.ask = scanner.text + LAT_INTERRUPT_BYTES;
	scanner.limit = limit;
	scanner.continues = continues;
	scanner.more = false;
	scanner.cut = false;
	scanner.word.chars = 0;
	scanner.word.bytes = 0;
	fill_tables(&scanner);

	status = scan_text(&scanner);
	if (status == LAT_OK && !continues && !scanner.more)
		status = end_word(&scanner);
	tokens->complete = status == LAT_OK && !continues && !scanner.more;
	return status;
}

void
lat_tokens_release(const LatHost *host, LatTokens *tokens)
{
	host->release(host->arg, tokens->ids);
	memset(tokens, 0, sizeof(*tokens));
}

const char *
lat_token_text(const LatModel *model, int32_t id, size_t *bytes)
{
	const LatVocabulary *vocabulary = &model->vocabulary;
	size_t		text_bytes = (size_t) (vocabulary->section + vocabulary->size -
									   (const uint8_t *) vocabulary->bytes);

	*bytes = 0;
	if (id < 0 || id >= vocabulary->count || vocabulary->offsets[id + 1] > text_bytes ||
		vocabulary->offsets[id] > vocabulary->offsets[id + 1])
		return "";
	*bytes = vocabulary->offsets[id + 1] - vocabulary->offsets[id];
	return vocabulary->bytes + vocabulary->offsets[id];
}
