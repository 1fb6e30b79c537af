/*
 * host.c
 *	  PostgreSQL as the core's host: memory, interrupts, errors.
 *
 * The core asks for memory and takes NULL for "none left"; memory contexts
 * give it that with MCXT_ALLOC_NO_OOM.  Interrupts are processed on the spot:
 * the longjmp of a cancel leaves nothing behind but memory of the context,
 * which goes with the context.
 */
#include "postgres.h"

#include "compat.h"
#include "core/format.h"
#include "settings.h"
#include "utils/memutils.h"

#define MESSAGE_BYTES 200		/* of a value that a message quotes */

static void *
allocate(void *arg, size_t size)
{
	MemoryContext context = arg ? (MemoryContext) arg : CurrentMemoryContext;

	/* beyond this limit PostgreSQL raises an error, NO_OOM or not */
	if (size > MaxAllocHugeSize)
		return NULL;
	return MemoryContextAllocExtended(context, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
}

static void
release(void *arg, void *pointer)
{
	if (pointer)
		pfree(pointer);
}

static bool
interrupted(void *arg)
{
	CHECK_FOR_INTERRUPTS();
	return false;
}

const LatHost *
host_current(void)
{
	static const LatHost host = {allocate, release, interrupted, NULL};

	return &host;
}

void
host_in_context(LatHost *host, MemoryContext context)
{
	host->alloc = allocate;
	host->release = release;
	host->interrupted = interrupted;
	host->arg = context;
}

void *
host_allocate_aligned(size_t size)
{
	char	   *block = NULL;

	if (size <= MaxAllocHugeSize - LAT_ALIGNMENT)
		block = MemoryContextAllocExtended(CurrentMemoryContext, size + LAT_ALIGNMENT,
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (block == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("A model needs %zu bytes for a moment.", size)));
	return (void *) TYPEALIGN(LAT_ALIGNMENT, block);
}

/* SQLSTATE of a status. */
static int
status_code(LatStatus status)
{
	switch (status)
	{
		case LAT_NO_MEMORY:
			return ERRCODE_OUT_OF_MEMORY;
		case LAT_INTERRUPTED:
			return ERRCODE_QUERY_CANCELED;
		case LAT_BAD_ARGUMENT:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case LAT_BAD_TEXT:
			return ERRCODE_CHARACTER_NOT_IN_REPERTOIRE;
		case LAT_BAD_MODEL:
			return ERRCODE_BAD_COPY_FILE_FORMAT;
		case LAT_UNSUPPORTED:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case LAT_OK:
			break;
	}
	return ERRCODE_INTERNAL_ERROR;
}

/*
 * A text of the core's in the server's encoding.  Names out of files may hold
 * characters that it lacks; an error about an error helps nobody, so then
 * everything beyond ASCII becomes a question mark.
 */
static char *
text_for_server(const char *text)
{
	int			size = strlen(text);
	int			converted_size = size * MAX_CONVERSION_GROWTH + 1;
	char	   *converted;
	char	   *c;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return pstrdup(text);
	converted = palloc0(converted_size);
	if (compat_from_utf8(text, size, converted, converted_size))
		return converted;
	pfree(converted);
	converted = pstrdup(text);
	for (c = converted; *c; c++)
	{
		if (IS_HIGHBIT_SET(*c))
			*c = '?';
	}
	return converted;
}

const char *
clip_for_message(const char *text)
{
	int			size = (int) strlen(text);

	if (size <= MESSAGE_BYTES)
		return text;
	return psprintf("%.*s...", pg_mbcliplen(text, size, MESSAGE_BYTES), text);
}

void
report_core_error(LatStatus status, const LatError *error)
{
	char	   *message = text_for_server(error->message);
	char	   *hint = text_for_server(error->hint);

	if (status == LAT_NO_MEMORY && message[0] == '\0')
		message = "out of memory";
	if (status == LAT_BAD_MODEL && hint[0] == '\0')
		hint = "The model's files are damaged, or do not belong together; copy them again from their source.";
	ereport(ERROR,
			(errcode(status_code(status)),
			 errmsg_internal("%s", message),
			 hint[0] ? errhint("%s", hint) : 0));
	pg_unreachable();
}

void
core_check(LatStatus status, const LatError *error)
{
	if (status != LAT_OK)
		report_core_error(status, error);
}
