/*
 * json.h
 *	  A strict JSON reader over a byte range that nobody vouches for.
 *
 * One pass, no tree, no memory: the caller walks the text and takes what it
 * knows, everything else is skipped, and all of it is checked.  Containers are
 * tracked in a bit a level, so depth costs nothing and is limited.  The first
 * problem sticks: from then on every call returns false, so loops end by
 * themselves and the status is looked at once, after lat_json_end.
 *
 *		lat_json_begin(&json, host, "config.json", bytes, size);
 *		lat_json_next(&json, &value);			-- value.type says what it is
 *		while (lat_json_member(&json, &key))	-- after an object
 *			if (lat_json_is(key, "name")) lat_json_next(&json, &value);
 *			else lat_json_skip(&json);
 *		status = lat_json_end(&json, error);
 *
 * Duplicate keys are the caller's to notice: it knows which keys matter.
 */
#ifndef LAT_JSON_H
#define LAT_JSON_H

#include "lat.h"

#define LAT_JSON_DEPTH 64
#define LAT_JSON_SIZE ((size_t) 64 << 20)	/* bytes of the longest text that is read */

typedef enum LatJsonType
{
	LAT_JSON_NULL,
	LAT_JSON_FALSE,
	LAT_JSON_TRUE,
	LAT_JSON_NUMBER,
	LAT_JSON_STRING,
	LAT_JSON_ARRAY,				/* entered: elements follow */
	LAT_JSON_OBJECT				/* entered: members follow */
} LatJsonType;

/*
 * Bytes of a string between its quotes (checked, still escaped), of a number,
 * or (in a LatJsonField) of a whole array or object.
 */
typedef struct LatJsonText
{
	const char *bytes;
	size_t		size;
	bool		escaped;		/* holds backslashes */
} LatJsonText;

typedef struct LatJsonValue
{
	LatJsonType type;
	LatJsonText text;			/* of strings and numbers */
} LatJsonValue;

typedef struct LatJson
{
	const LatHost *host;
	const char *name;			/* of the file, for messages */
	const char *start;
	const char *at;
	const char *stop;
	const char *polled;			/* where the host was last asked for interrupts */
	int			depth;
	uint64_t	objects;		/* bit of a level: it is an object, not an array */
	uint64_t	begun;			/* bit of a level: it has a member already */
	LatStatus	status;
	const char *problem;
} LatJson;

extern void lat_json_begin(LatJson *json, const LatHost *host, const char *name,
						   const char *bytes, size_t size);

/* Read a scalar, or enter an array or object. */
extern bool lat_json_next(LatJson *json, LatJsonValue *value);

/* Go to the next member of the innermost object and read its key; false: left the object. */
extern bool lat_json_member(LatJson *json, LatJsonText *key);

/* Go to the next element of the innermost array; false: left the array. */
extern bool lat_json_element(LatJson *json);

/* Read and check a value of any kind, and forget it. */
extern void lat_json_skip(LatJson *json);

/* Leave the container that lat_json_next has entered, reading what is left of it. */
extern void lat_json_leave(LatJson *json);

/* Make sure that nothing follows; the status of the whole walk, with its message. */
extern LatStatus lat_json_end(LatJson *json, LatError *error);

/* A member that the caller knows; value.text of an array or object holds all its bytes. */
typedef struct LatJsonField
{
	const char *name;
	bool		present;		/* and not null */
	bool		null;			/* present as null */
	LatJsonValue value;
} LatJsonField;

/*
 * Read a text that is one object: the fields that are named, each at most
 * once, the others only checked.  Nested texts are read by another call.
 */
extern LatStatus lat_json_fields(const LatHost *host, const char *name, LatJsonText text,
								 LatJsonField *fields, int count, LatError *error);

/* Is the (decoded) string this one? */
extern bool lat_json_is(LatJsonText text, const char *other);

/* Order of two decoded strings, by code point: below, at or above 0. */
extern int	lat_json_compare(LatJsonText a, LatJsonText b);

/* Decode into buffer, which holds at least text.size bytes; returns the length. */
extern size_t lat_json_decode(LatJsonText text, char *buffer);

/* An integer without fraction and exponent; false if it is none or does not fit. */
extern bool lat_json_integer(const LatJsonValue *value, int64_t *integer);

/* Any finite number; false if it is none. */
extern bool lat_json_double(const LatJsonValue *value, double *number);

#endif							/* LAT_JSON_H */
