/*
 * call_text.c
 *	  Text arguments on their way into the core, and positions on their way back.
 *
 * A classifier looks at some hundred tokens.  Its argument may be 100 MB long,
 * compressed and out of line, so it is read in slices from the beginning,
 * 16 kB and twice as much each time, until there are tokens enough.
 *
 * The core speaks UTF-8 and counts code points; the server speaks whatever the
 * database was created with.  Slices are converted in pieces of 64 kB between
 * which interrupts are served.  Positions come back by walking the original
 * bytes, so that substring(text from start for stop - start + 1) is the answer
 * in every encoding:
 *
 *		UTF-8, single-byte and most others	one character is one code point
 *		EUC_JIS_2004	some characters are two code points
 *		SQL_ASCII		bytes are taken as UTF-8, but substring() counts bytes
 */
#include "postgres.h"

#include "access/detoast.h"
#include "call.h"
#include "compat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define FIRST_SLICE (16 * 1024)
#define CONVERSION_PIECE (64 * 1024)

/* Steps of a walk between two looks at the interrupt flag. */
#define WALK_STEPS 65536

/* ---- reading ------------------------------------------------------------------------------ */

/* Bytes of the character at p, which may be cut off by the end. */
static size_t
character_size(int encoding, const char *p, const char *end)
{
	size_t		size;

	if (encoding == PG_SQL_ASCII)
		encoding = PG_UTF8;
	size = pg_encoding_mblen(encoding, p);
	return Min(size, (size_t) (end - p));
}

/* Read the first `size` bytes of the argument, or all of it if it is no longer. */
static void
read_slice(CallText *argument, size_t size)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(argument->datum);
	size_t		total;

	if (argument->whole)
		return;					/* decompressing 100 MB takes half a second: not twice */
	if (!VARATT_IS_EXTERNAL(value) && !VARATT_IS_COMPRESSED(value))
	{
		/* It lies there already, nothing to copy. */
		total = VARSIZE_ANY_EXHDR(value);
		argument->bytes = VARDATA_ANY(value);
		argument->size = Min(size, total);
	}
	else
	{
		if (argument->copy)
			pfree(argument->copy);
		total = toast_raw_datum_size(argument->datum) - VARHDRSZ;
		if (size < total)
			value = PG_DETOAST_DATUM_SLICE(argument->datum, 0, (int32) size);
		else
			value = PG_DETOAST_DATUM_PACKED(argument->datum);
		argument->copy = value;
		argument->bytes = VARDATA_ANY(value);
		argument->size = VARSIZE_ANY_EXHDR(value);
	}
	argument->whole = (argument->size >= total);
}

void
call_read_whole(CallText *argument)
{
	read_slice(argument, MaxAllocSize);
}

/* Length of the longest prefix of at most `limit` bytes that ends with a character. */
static size_t
clip_piece(int encoding, const char *bytes, size_t size, size_t limit)
{
	if (size <= limit)
		return size;
	if (pg_encoding_max_length(encoding) == 1)
		return limit;
	return pg_encoding_mbcliplen(encoding, bytes, (int) Min(size, limit + 16), (int) limit);
}

/*
 * Argument as UTF-8.  In a database of another encoding that is a copy; an
 * incomplete character at the end of a slice is left out.
 */
static const char *
as_utf8(const CallText *argument, size_t *size)
{
	int			encoding = GetDatabaseEncoding();
	size_t		room;
	size_t		done = 0;
	char	   *result;

	*size = argument->size;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return argument->bytes;

	*size = 0;
	room = argument->size + argument->size / 2 + 16;
	result = MemoryContextAllocHuge(CurrentMemoryContext, room);
	while (done < argument->size)
	{
		size_t		piece = clip_piece(encoding, argument->bytes + done, argument->size - done,
									   CONVERSION_PIECE);
		char	   *utf8;
		size_t		length;

		if (!argument->whole && done + piece == argument->size)
			piece = pg_encoding_mbcliplen(encoding, argument->bytes + done, (int) piece,
										  (int) piece);
		if (piece == 0)
			break;				/* half a character is left */
		CHECK_FOR_INTERRUPTS();
		utf8 = (char *) pg_do_encoding_conversion((unsigned char *) argument->bytes + done,
												  (int) piece, encoding, PG_UTF8);
		length = strlen(utf8);
		if (*size + length > room)
		{
			room = 2 * (*size + length);
			result = repalloc_huge(result, room);
		}
		memcpy(result + *size, utf8, length);
		*size += length;
		done += piece;
		pfree(utf8);
	}
	return result;
}

void
call_tokenize(Call *call, CallText *argument, int32 limit)
{
	size_t		size = (limit == LAT_ALL_TOKENS) ? MaxAllocSize
		: Max(FIRST_SLICE, argument->size);

	for (;;)
	{
		const char *utf8;
		size_t		utf8_size;
		LatError	error;

		read_slice(argument, size);
		utf8 = as_utf8(argument, &utf8_size);
		core_check(lat_tokenize_text(&call->host, call->model, utf8, utf8_size,
									 !argument->whole, limit, &argument->tokens, &error), &error);
		if (argument->whole || argument->tokens.count >= limit)
			return;
		if (utf8 != argument->bytes)
			pfree((char *) utf8);
		CHECK_FOR_INTERRUPTS();
		size *= 2;
	}
}

/*
 * Whether longest_first can be applied to this pair as if both were complete.
 * It cuts the longer one, so it must be known which one that is.
 */
static bool
knows_longer(const LatTokens *a, const LatTokens *b)
{
	if (a->complete && b->complete)
		return true;
	if (a->complete)
		return b->count > a->count;
	return b->complete && a->count > b->count;
}

void
call_build_input_within(Call *call, CallText *first, CallText *second, int32 most,
						LatInput *input)
{
	int32		limit = most;
	LatError	error;

	memset(input, 0, sizeof(LatInput));
	call_tokenize(call, first, limit);
	if (second)
	{
		call_tokenize(call, second, limit);
		while (!knows_longer(&first->tokens, &second->tokens))
		{
			limit = (limit < LAT_ALL_TOKENS / 2) ? limit * 2 : LAT_ALL_TOKENS;
			if (!first->tokens.complete)
				call_tokenize(call, first, limit);
			if (!second->tokens.complete)
				call_tokenize(call, second, limit);
		}
	}
	core_check(lat_build_input(&call->host, call->model, &first->tokens,
							   second ? &second->tokens : NULL, most, input, &error), &error);
}

void
call_build_input(Call *call, CallText *first, CallText *second, LatInput *input)
{
	call_build_input_within(call, first, second, call->model->config.positions, input);
}

/* ---- positions ---------------------------------------------------------------------------- */

void
cursor_begin(TextCursor *cursor, const CallText *argument)
{
	memset(cursor, 0, sizeof(TextCursor));
	cursor->text = argument;
}

/* Code points of one character, in the encoding where they can be two. */
static int
count_code_points(const char *character, size_t size)
{
	char	   *utf8 = (char *) pg_do_encoding_conversion((unsigned char *) character, (int) size,
														  PG_EUC_JIS_2004, PG_UTF8);
	int			count = 0;

	for (const char *p = utf8; *p; p += pg_encoding_mblen(PG_UTF8, p))
		count++;
	pfree(utf8);
	return count;
}

/* Move on to a code point; to an earlier one, from the beginning. */
void
cursor_move(TextCursor *cursor, int32 code_point)
{
	int			encoding = GetDatabaseEncoding();
	const char *bytes = cursor->text->bytes;
	const char *end = bytes + cursor->text->size;

	if (code_point < cursor->code_point)
		cursor_begin(cursor, cursor->text);
	for (int32 step = 1; cursor->code_point < code_point && bytes + cursor->byte < end; step++)
	{
		const char *at = bytes + cursor->byte;
		size_t		size = character_size(encoding, at, end);

		cursor->byte += size;
		cursor->character += (encoding == PG_SQL_ASCII) ? (int32) size : 1;
		if (encoding == PG_EUC_JIS_2004 && IS_HIGHBIT_SET(*at))
			cursor->code_point += count_code_points(at, size);
		else
			cursor->code_point++;
		if (step % WALK_STEPS == 0)
			CHECK_FOR_INTERRUPTS();
	}
}

text *
cut_text(const TextCursor *start, const TextCursor *stop)
{
	return cstring_to_text_with_len(start->text->bytes + start->byte,
									(int) (stop->byte - start->byte));
}

/* ---- words of the core -------------------------------------------------------------------- */

/* Append one UTF-8 character in the server encoding, \uXXXX if that lacks it. */
static void
append_character(StringInfo out, const char *character, int size)
{
	pg_wchar	code = utf8_to_unicode((const unsigned char *) character);

	if (code < 0x80)
		appendStringInfoChar(out, (char) code);
	else
	{
		char		converted[32];

		if (compat_from_utf8(character, size, converted, sizeof(converted)))
			appendStringInfoString(out, converted);
		else
			appendStringInfo(out, code > 0xffff ? "\\U%08x" : "\\u%04x", code);
	}
}

text *
text_from_utf8(const char *utf8, size_t bytes)
{
	int			encoding = GetDatabaseEncoding();
	StringInfoData out;
	text	   *result;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return cstring_to_text_with_len(utf8, (int) bytes);

	initStringInfo(&out);
	for (size_t i = 0; i < bytes;)
	{
		size_t		size = character_size(PG_UTF8, utf8 + i, utf8 + bytes);

		append_character(&out, utf8 + i, (int) size);
		i += size;
	}
	result = cstring_to_text_with_len(out.data, out.len);
	pfree(out.data);
	return result;
}

bool
text_equals_utf8(const text *value, const char *utf8, size_t bytes)
{
	text	   *other = text_from_utf8(utf8, bytes);
	bool		equal;

	equal = VARSIZE_ANY_EXHDR(value) == VARSIZE_ANY_EXHDR(other)
		&& memcmp(VARDATA_ANY(value), VARDATA_ANY(other), VARSIZE_ANY_EXHDR(other)) == 0;
	pfree(other);
	return equal;
}
