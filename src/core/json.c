/*
 * json.c
 *	  The strict JSON reader of json.h (RFC 8259, UTF-8 only, nothing beyond it).
 *
 * Numbers are parsed here rather than by strtod: that wants a terminated text
 * and obeys the locale.  A mantissa below 2^53 with a power of ten up to 22 is
 * exact in double, which covers what configurations hold; others may be off in
 * the last bit.
 */
#include "json.h"

#include <math.h>
#include <string.h>

#include <utf8proc.h>

#define POLL_BYTES ((ptrdiff_t) 1 << 20)	/* a few ms of reading */

static bool
fail(LatJson *json, const char *problem)
{
	if (json->status == LAT_OK)
	{
		json->status = LAT_BAD_MODEL;
		json->problem = problem;
	}
	return false;
}

static bool
poll_host(LatJson *json)
{
	if (json->at - json->polled < POLL_BYTES)
		return true;
	json->polled = json->at;
	if (json->host->interrupted(json->host->arg))
		json->status = LAT_INTERRUPTED;
	return json->status == LAT_OK;
}

static void
skip_space(LatJson *json)
{
	while (json->at < json->stop &&
		   (*json->at == ' ' || *json->at == '\n' || *json->at == '\r' || *json->at == '\t'))
	{
		json->at++;
		if (!poll_host(json))
			return;
	}
}

/* Skip space, then take this character if it is next. */
static bool
take(LatJson *json, char character)
{
	skip_space(json);
	if (json->at >= json->stop || *json->at != character)
		return false;
	json->at++;
	return true;
}

void
lat_json_begin(LatJson *json, const LatHost *host, const char *name, const char *bytes,
			   size_t size)
{
	memset(json, 0, sizeof(LatJson));
	json->host = host;
	json->name = name;
	json->start = json->at = json->polled = bytes;
	json->stop = bytes + size;
	if (size > LAT_JSON_SIZE)
		fail(json, "it is too large");
}

/* ---- strings ------------------------------------------------------------------------------ */

static int
hex_digit(char character)
{
	if (character >= '0' && character <= '9')
		return character - '0';
	if (character >= 'a' && character <= 'f')
		return character - 'a' + 10;
	if (character >= 'A' && character <= 'F')
		return character - 'A' + 10;
	return -1;
}

/* Value of the four digits of a \u escape, or -1. */
static int32_t
read_hex(const char *at, const char *stop)
{
	int32_t		value = 0;

	if (stop - at < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		int			digit = hex_digit(at[i]);

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

/*
 * Code point of the escape at *at (just after the backslash), which is moved
 * past it; -1 if it is none.
 */
static int32_t
read_escape(const char **at, const char *stop)
{
	static const char letters[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	const char *letter;
	int32_t		high;
	int32_t		low;

	if (*at >= stop || **at == '\0')
		return -1;
	if (**at != 'u')
	{
		letter = strchr(letters, *(*at)++);
		return letter ? meanings[letter - letters] : -1;
	}
	high = read_hex(*at + 1, stop);
	if (high < 0)
		return -1;
	*at += 5;
	if (high < 0xd800 || high > 0xdfff)
		return high;
	if (high > 0xdbff || stop - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
		return -1;
	low = read_hex(*at + 2, stop);
	if (low < 0xdc00 || low > 0xdfff)
		return -1;
	*at += 6;
	return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* Read a string whose opening quote is next. */
static bool
read_string(LatJson *json, LatJsonText *text)
{
	if (!take(json, '"'))
		return fail(json, "a string is missing");
	text->bytes = json->at;
	text->escaped = false;
	while (json->at < json->stop)
	{
		unsigned char byte = (unsigned char) *json->at;
		utf8proc_int32_t character;
		utf8proc_ssize_t length;

		if (byte == '"')
		{
			text->size = (size_t) (json->at - text->bytes);
			json->at++;
			return true;
		}
		if (byte == '\\')
		{
			json->at++;
			text->escaped = true;
			if (read_escape(&json->at, json->stop) < 0)
				return fail(json, "a string has a bad escape");
			continue;
		}
		if (byte < 0x20)
			return fail(json, "a string has a control character");
		if (byte < 0x80)
			json->at++;
		else
		{
			length = utf8proc_iterate((const utf8proc_uint8_t *) json->at,
									  json->stop - json->at, &character);
			if (length <= 0)
				return fail(json, "a string is not valid UTF-8");
			json->at += length;
		}
		if (!poll_host(json))
			return false;
	}
	return fail(json, "a string does not end");
}

/* Next code point of a checked string. */
static int32_t
next_character(const char **at, const char *stop, bool escaped)
{
	utf8proc_int32_t character;

	if (escaped && **at == '\\')
	{
		(*at)++;
		return read_escape(at, stop);
	}
	*at += utf8proc_iterate((const utf8proc_uint8_t *) *at, stop - *at, &character);
	return character;
}

int
lat_json_compare(LatJsonText a, LatJsonText b)
{
	const char *a_stop = a.bytes + a.size;
	const char *b_stop = b.bytes + b.size;

	while (a.bytes < a_stop && b.bytes < b_stop)
	{
		int32_t		x = next_character(&a.bytes, a_stop, a.escaped);
		int32_t		y = next_character(&b.bytes, b_stop, b.escaped);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return (a.bytes < a_stop) - (b.bytes < b_stop);
}

bool
lat_json_is(LatJsonText text, const char *other)
{
	size_t		size = strlen(other);

	if (text.escaped)
		return lat_json_compare(text, (LatJsonText)
								{
									other, size, false
								}) == 0;
	return text.size == size && memcmp(text.bytes, other, size) == 0;
}

size_t
lat_json_decode(LatJsonText text, char *buffer)
{
	const char *stop = text.bytes + text.size;
	char	   *to = buffer;

	if (!text.escaped)
	{
		memcpy(buffer, text.bytes, text.size);
		return text.size;
	}
	/* An escape is never shorter than the character it stands for. */
	while (text.bytes < stop)
		to += utf8proc_encode_char(next_character(&text.bytes, stop, true),
								   (utf8proc_uint8_t *) to);
	return (size_t) (to - buffer);
}

/* ---- numbers ------------------------------------------------------------------------------ */

/* No number needs a thousand digits: what follows them will be found malformed. */
static size_t
count_digits(const char *at, const char *stop)
{
	const char *start = at;

	while (at < stop && at - start < 1000 && *at >= '0' && *at <= '9')
		at++;
	return (size_t) (at - start);
}

static bool
read_number(LatJson *json, LatJsonText *text)
{
	const char *at = json->at;
	size_t		digits;

	if (*at == '-')
		at++;
	digits = count_digits(at, json->stop);
	if (digits == 0 || (digits > 1 && *at == '0'))
		return fail(json, "a number is malformed");
	at += digits;
	if (at < json->stop && *at == '.')
	{
		digits = count_digits(++at, json->stop);
		if (digits == 0)
			return fail(json, "a number is malformed");
		at += digits;
	}
	if (at < json->stop && (*at == 'e' || *at == 'E'))
	{
		at++;
		if (at < json->stop && (*at == '+' || *at == '-'))
			at++;
		digits = count_digits(at, json->stop);
		if (digits == 0)
			return fail(json, "a number is malformed");
		at += digits;
	}
	text->bytes = json->at;
	text->size = (size_t) (at - json->at);
	text->escaped = false;
	json->at = at;
	return true;
}

bool
lat_json_integer(const LatJsonValue *value, int64_t *integer)
{
	const char *at = value->text.bytes;
	const char *stop;
	bool		negative;
	int64_t		sum = 0;

	if (value->type != LAT_JSON_NUMBER)
		return false;
	stop = at + value->text.size;
	negative = *at == '-';
	for (at += negative; at < stop; at++)
	{
		if (*at < '0' || *at > '9' ||
			__builtin_mul_overflow(sum, 10, &sum) ||
			__builtin_sub_overflow(sum, *at - '0', &sum))
			return false;
	}
	if (!negative && sum == INT64_MIN)
		return false;
	*integer = negative ? sum : -sum;
	return true;
}

static double
power_of_ten(int exponent)
{
	double		power = 1;

	while (exponent-- > 0)
		power *= 10;
	return power;
}

bool
lat_json_double(const LatJsonValue *value, double *number)
{
	const char *at = value->text.bytes;
	const char *stop;
	uint64_t	mantissa = 0;
	int			exponent = 0;
	int			written = 0;
	bool		fraction = false;
	bool		minus;

	if (value->type != LAT_JSON_NUMBER)
		return false;
	stop = at + value->text.size;
	minus = *at == '-';
	for (at += minus; at < stop && *at != 'e' && *at != 'E'; at++)
	{
		if (*at == '.')
			fraction = true;
		else if (mantissa < UINT64_MAX / 10 - 1)
		{
			mantissa = mantissa * 10 + (uint64_t) (*at - '0');
			exponent -= fraction;
		}
		else
			exponent += !fraction;
	}
	if (at < stop)
	{
		bool		down = *++at == '-';

		for (at += *at == '-' || *at == '+'; at < stop; at++)
			written = written < 10000 ? written * 10 + (*at - '0') : written;
		exponent += down ? -written : written;
	}
	exponent = exponent > 400 ? 400 : exponent < -400 ? -400 : exponent;
	*number = exponent < 0 ? (double) mantissa / power_of_ten(-exponent)
		: mantissa == 0 ? 0 : (double) mantissa * power_of_ten(exponent);
	if (minus)
		*number = -*number;
	return isfinite(*number);
}

/* ---- structure ---------------------------------------------------------------------------- */

static bool
take_word(LatJson *json, const char *word)
{
	size_t		size = strlen(word);

	if ((size_t) (json->stop - json->at) < size || memcmp(json->at, word, size) != 0)
		return fail(json, "a value is malformed");
	json->at += size;
	return true;
}

static bool
enter(LatJson *json, bool object)
{
	uint64_t	bit;

	if (json->depth == LAT_JSON_DEPTH)
		return fail(json, "it is nested too deeply");
	json->at++;
	bit = UINT64_C(1) << json->depth++;
	json->objects = object ? json->objects | bit : json->objects & ~bit;
	json->begun &= ~bit;
	return true;
}

bool
lat_json_next(LatJson *json, LatJsonValue *value)
{
	memset(value, 0, sizeof(LatJsonValue));
	if (json->status != LAT_OK || !poll_host(json))
		return false;
	skip_space(json);
	if (json->at >= json->stop)
		return fail(json, "it ends too early");
	switch (*json->at)
	{
		case '{':
			value->type = LAT_JSON_OBJECT;
			return enter(json, true);
		case '[':
			value->type = LAT_JSON_ARRAY;
			return enter(json, false);
		case '"':
			value->type = LAT_JSON_STRING;
			return read_string(json, &value->text);
		case 'n':
			value->type = LAT_JSON_NULL;
			return take_word(json, "null");
		case 't':
			value->type = LAT_JSON_TRUE;
			return take_word(json, "true");
		case 'f':
			value->type = LAT_JSON_FALSE;
			return take_word(json, "false");
		default:
			value->type = LAT_JSON_NUMBER;
			return read_number(json, &value->text);
	}
}

/* Go to the next entry of the innermost container; false at its end or after a problem. */
static bool
advance(LatJson *json, char closing)
{
	uint64_t	bit;

	if (json->status != LAT_OK)
		return false;
	bit = UINT64_C(1) << (json->depth - 1);
	if (take(json, closing))
	{
		json->depth--;
		return false;
	}
	if ((json->begun & bit) && !take(json, ','))
		return fail(json, "a comma or a closing bracket is missing");
	json->begun |= bit;
	return true;
}

bool
lat_json_member(LatJson *json, LatJsonText *key)
{
	if (!advance(json, '}') || !read_string(json, key))
		return false;
	return take(json, ':') || fail(json, "a colon is missing");
}

bool
lat_json_element(LatJson *json)
{
	return advance(json, ']');
}

static void
leave_to(LatJson *json, int depth)
{
	LatJsonText key;
	LatJsonValue value;

	while (json->status == LAT_OK && json->depth > depth)
	{
		bool		object = (json->objects >> (json->depth - 1)) & 1;

		if (object ? lat_json_member(json, &key) : lat_json_element(json))
			lat_json_next(json, &value);
	}
}

void
lat_json_skip(LatJson *json)
{
	int			depth = json->depth;
	LatJsonValue value;

	lat_json_next(json, &value);
	leave_to(json, depth);
}

void
lat_json_leave(LatJson *json)
{
	leave_to(json, json->depth - 1);
}

LatStatus
lat_json_end(LatJson *json, LatError *error)
{
	skip_space(json);
	if (json->status == LAT_OK && json->at < json->stop)
		fail(json, "something follows its end");
	if (json->status == LAT_INTERRUPTED)
		return lat_fail(error, LAT_INTERRUPTED, "interrupted while reading %s", json->name);
	if (json->status != LAT_OK)
	{
		lat_fail(error, LAT_BAD_MODEL, "%s is not valid JSON: %s, at byte %zu",
				 json->name, json->problem, (size_t) (json->at - json->start));
		return lat_hint(error, LAT_BAD_MODEL, "Copy the file again from its source.");
	}
	return LAT_OK;
}

static LatJsonField *
find_field(LatJsonField *fields, int count, LatJsonText key)
{
	for (int i = 0; i < count; i++)
	{
		if (lat_json_is(key, fields[i].name))
			return &fields[i];
	}
	return NULL;
}

/* Read a member's value; of a container, keep where it lies. */
static void
read_field(LatJson *json, LatJsonField *field)
{
	if (!lat_json_next(json, &field->value))
		return;
	if (field->value.type == LAT_JSON_ARRAY || field->value.type == LAT_JSON_OBJECT)
	{
		const char *start = json->at - 1;

		lat_json_leave(json);
		field->value.text.bytes = start;
		field->value.text.size = (size_t) (json->at - start);
	}
	field->null = field->value.type == LAT_JSON_NULL;
	field->present = !field->null;
}

LatStatus
lat_json_fields(const LatHost *host, const char *name, LatJsonText text, LatJsonField *fields,
				int count, LatError *error)
{
	LatJson		json;
	LatJsonValue value;
	LatJsonText key;

	lat_json_begin(&json, host, name, text.bytes, text.size);
	if (lat_json_next(&json, &value) && value.type != LAT_JSON_OBJECT)
		return lat_fail(error, LAT_BAD_MODEL, "%s is not a JSON object", name);
	while (lat_json_member(&json, &key))
	{
		LatJsonField *field = find_field(fields, count, key);

		if (field == NULL)
			lat_json_skip(&json);
		else if (field->present || field->null)
			return lat_fail(error, LAT_BAD_MODEL, "%s has the key \"%s\" twice", name,
							field->name);
		else
			read_field(&json, field);
	}
	return lat_json_end(&json, error);
}
