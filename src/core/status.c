/*
 * status.c
 *	  Error texts, and SQL's words for the core's enumerations.
 *
 * Messages quote what files hold: tensor names, keys, labels.  Those may be
 * cut by the buffer in the middle of a character or carry control characters,
 * and the surroundings pass the text on as UTF-8; so every text is cleaned here,
 * in one place, rather than by each caller.
 */
#include "lat.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

/* Replace whatever is not printable UTF-8 by question marks; cut an unfinished character off. */
static void
clean_text(char *text)
{
	size_t		bytes = strlen(text);
	size_t		i = 0;

	while (i < bytes)
	{
		utf8proc_int32_t character;
		utf8proc_ssize_t length;

		length = utf8proc_iterate((const utf8proc_uint8_t *) text + i,
								  (utf8proc_ssize_t) (bytes - i), &character);
		if (length > 0 && character >= 0x20 && character != 0x7f)
		{
			i += (size_t) length;
			continue;
		}
		if (length <= 0 && bytes - i < 4 && ((unsigned char) text[i] & 0xc0) == 0xc0)
		{
			text[i] = '\0';
			return;
		}
		text[i++] = '?';
	}
}

LatStatus
lat_fail(LatError *error, LatStatus status, const char *message,...)
{
	va_list		arguments;

	if (error == NULL)
		return status;
	va_start(arguments, message);
	vsnprintf(error->message, sizeof(error->message), message, arguments);
	va_end(arguments);
	clean_text(error->message);
	error->hint[0] = '\0';
	return status;
}

LatStatus
lat_hint(LatError *error, LatStatus status, const char *hint,...)
{
	va_list		arguments;

	if (error == NULL)
		return status;
	va_start(arguments, hint);
	vsnprintf(error->hint, sizeof(error->hint), hint, arguments);
	va_end(arguments);
	clean_text(error->hint);
	return status;
}

const char *
lat_task_name(LatTask task)
{
	switch (task)
	{
		case LAT_CLASSIFY:
			return "classify";
		case LAT_SPAN:
			return "span";
		case LAT_TAG:
			return "tag";
		case LAT_EMBED:
			return "embed";
	}
	return "unknown";
}

const char *
lat_architecture_name(LatArchitecture architecture)
{
	switch (architecture)
	{
		case LAT_BERT:
			return "bert";
		case LAT_ELECTRA:
			return "electra";
		case LAT_DISTILBERT:
			return "distilbert";
	}
	return "unknown";
}

const char *
lat_precision_name(LatPrecision precision)
{
	switch (precision)
	{
		case LAT_FP32:
			return "fp32";
		case LAT_INT8:
			return "int8";
	}
	return "unknown";
}
