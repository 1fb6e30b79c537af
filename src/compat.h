/*
 * compat.h
 *	  What differs between PostgreSQL 13 and 18: the only file that asks for the version.
 */
#ifndef LAT_COMPAT_H
#define LAT_COMPAT_H

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/guc.h"

#if PG_VERSION_NUM >= 140000
#include "common/cryptohash.h"
#include "utils/wait_event.h"
#else
#include "common/sha2.h"
#include "pgstat.h"
#endif

/* ---- names that changed ------------------------------------------------------------------- */

#if PG_VERSION_NUM < 140000
#define ROLE_PG_READ_SERVER_FILES DEFAULT_ROLE_READ_SERVER_FILES
#define HASH_STRINGS 0			/* hash_create's default then */
#endif

#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* ---- shared memory ------------------------------------------------------------------------ */

typedef void (*CompatRequestHook) (void);

/*
 * Have `request` called when shared memory is sized: through a hook since 15,
 * right away before that.  Only while shared_preload_libraries are loaded.
 * Returns the hook that `request` must call first, or NULL.
 */
static inline CompatRequestHook
compat_request_shmem(CompatRequestHook request)
{
#if PG_VERSION_NUM >= 150000
	CompatRequestHook previous = shmem_request_hook;

	shmem_request_hook = request;
	return previous;
#else
	request();
	return NULL;
#endif
}

/* ---- sha256 ------------------------------------------------------------------------------- */

#define COMPAT_SHA256_BYTES 32

#if PG_VERSION_NUM >= 140000
typedef pg_cryptohash_ctx CompatSha256;

static inline CompatSha256 *
compat_sha256_begin(void)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (context == NULL || pg_cryptohash_init(context) < 0)
		elog(ERROR, "could not start a sha256 computation");
	return context;
}

static inline void
compat_sha256_add(CompatSha256 *context, const void *data, size_t size)
{
	if (pg_cryptohash_update(context, (const uint8 *) data, size) < 0)
		elog(ERROR, "could not continue a sha256 computation");
}

static inline void
compat_sha256_finish(CompatSha256 *context, uint8 *result)
{
	if (pg_cryptohash_final(context, result, COMPAT_SHA256_BYTES) < 0)
		elog(ERROR, "could not finish a sha256 computation");
	pg_cryptohash_free(context);
}
#else
typedef pg_sha256_ctx CompatSha256;

static inline CompatSha256 *
compat_sha256_begin(void)
{
	pg_sha256_ctx *context = palloc(sizeof(pg_sha256_ctx));

	pg_sha256_init(context);
	return context;
}

static inline void
compat_sha256_add(CompatSha256 *context, const void *data, size_t size)
{
	pg_sha256_update(context, (const uint8 *) data, size);
}

static inline void
compat_sha256_finish(CompatSha256 *context, uint8 *result)
{
	pg_sha256_final(context, result);
	pfree(context);
}
#endif

/* ---- encodings ---------------------------------------------------------------------------- */

/*
 * Convert UTF-8 (valid) to the server's encoding without ever raising an
 * error; false if a character has no equivalent there, or (13) it cannot be
 * known without raising one.
 */
static inline bool
compat_from_utf8(const char *text, int size, char *converted, int converted_size)
{
#if PG_VERSION_NUM >= 140000
	Oid			procedure = FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding());

	if (!OidIsValid(procedure))
		return false;
	return pg_do_encoding_conversion_buf(procedure, PG_UTF8, GetDatabaseEncoding(),
										 (unsigned char *) unconstify(char *, text), size,
										 (unsigned char *) converted, converted_size,
										 true) == size;
#else
	return false;
#endif
}

#endif							/* LAT_COMPAT_H */
