/*
 * model_cache.c
 *	  Packed models, one copy a cluster, mapped read-only by every backend.
 *
 * A model is packed by the first backend that needs it, into a file that all
 * others map (model_file.c).  This file keeps the process's mappings, decides
 * when to pack, and sees to it that replaced models go:
 *
 *		model_cache_get:  mapped here?  file there?  else, one backend at a time:
 *			chunks --catalog_read_content--> content --lat_packer--> image --> file --> mapping
 *
 * Identity is the digest of the content, which a statement reads from
 * lat_model under its snapshot; so each statement sees one version, and no
 * cache here can be wrong, only superfluous.  Superfluous versions go this way:
 *
 * - The transaction that replaces or drops a model calls model_cache_retire;
 *	 when it commits, the file is removed, before other backends hear of it.
 * - The others hear by way of lat_model's invalidation (catalog_generation).
 *	 At their next call, or at the end of their transaction, they unmap what has
 *	 no file any more.  A removed file's memory goes with its last mapping.
 * - On a standby nobody calls model_cache_retire: the first to hear of a change
 *	 removes the files of its own mappings that no row of lat_model names.
 * - A statement under an older snapshot may need a version that is gone.  It
 *	 packs it again, publishes it, and only then asks, as of now, whether
 *	 lat_model still names it.  If not, it removes the file at once and keeps
 *	 its mapping to the end of the transaction.  Asking last leaves no gap: a
 *	 replacement that commits after the question removes the file itself.
 *
 * The cluster's databases share the files.  Where two hold the same model, a
 * replacement in one makes the other pack it once more; nothing worse.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog.h"
#include "compat.h"
#include "model_cache.h"
#include "model_file.h"
#include "model_image.h"
#include "settings.h"
#include "stats.h"
#include "utils/memutils.h"

/* A model mapped into this process. */
typedef struct Mapping
{
	struct Mapping *next;
	char		digest[LAT_DIGEST_LENGTH + 1];
	LatPrecision precision;
	ModelFile	file;
	LatModel	model;
	int			slot;			/* in the shared directory, or STATS_NO_SLOT */
	bool		gone;			/* its file was removed: unmap at the end of the transaction */
} Mapping;

/* What is to be removed when the (sub)transaction ends. */
typedef struct Removal
{
	struct Removal *next;
	char		digest[LAT_DIGEST_LENGTH + 1];
	SubTransactionId subtransaction;
	bool		on_commit;		/* retired; else: published by who may have imported it */
} Removal;

static Mapping *mappings = NULL;	/* most recently used first */
static Removal *removals = NULL;	/* in TopTransactionContext */
static uint64 seen_generation = 0;	/* of the catalog, when mappings were last looked through */

/* ---- mappings ----------------------------------------------------------------------------- */

/* Raises no error. */
static void
drop_mapping(Mapping **link)
{
	Mapping    *mapping = *link;

	*link = mapping->next;
	model_file_close(&mapping->file);
	stats_detach(mapping->slot);
	pfree(mapping);
}

/* Find a mapping and move it to the front. */
static Mapping *
find_mapping(const char *digest, LatPrecision precision)
{
	Mapping   **link;

	for (link = &mappings; *link != NULL; link = &(*link)->next)
	{
		Mapping    *mapping = *link;

		if (mapping->precision == precision && strcmp(mapping->digest, digest) == 0)
		{
			*link = mapping->next;
			mapping->next = mappings;
			mappings = mapping;
			return mapping;
		}
	}
	return NULL;
}

/*
 * A model has changed since we last looked: drop the mappings of what is gone,
 * but for the one in use, which an older snapshot may still be entitled to.
 */
static void
drop_outdated(const Mapping *in_use)
{
	uint64		generation = catalog_generation();
	Mapping   **link = &mappings;

	while (*link != NULL)
	{
		Mapping    *mapping = *link;
		bool		named = catalog_names_digest(mapping->digest);

		if (!named)
			model_file_remove(mapping->digest);
		mapping->gone = !named ||
			!model_file_is_current(mapping->digest, mapping->precision, &mapping->file);
		if (mapping->gone && mapping != in_use)
			drop_mapping(link);
		else
			link = &mapping->next;
	}
	seen_generation = generation;
}

/* Open a mapped file as a model and enter it. False (and unmapped) if it is none. */
static bool
enter_mapping(const char *digest, LatPrecision precision, ModelFile *file, LatError *error)
{
	Mapping    *mapping;

	mapping = MemoryContextAllocExtended(TopMemoryContext, sizeof(Mapping),
										 MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (mapping == NULL)
	{
		model_file_close(file);
		lat_fail(error, LAT_NO_MEMORY, "out of memory");
		return false;
	}
	if (lat_model_open(file->map, file->image_size, &mapping->model, error) != LAT_OK)
	{
		model_file_close(file);
		pfree(mapping);
		return false;
	}
	strlcpy(mapping->digest, digest, sizeof(mapping->digest));
	mapping->precision = precision;
	mapping->file = *file;
	mapping->slot = STATS_NO_SLOT;
	mapping->next = mappings;
	mappings = mapping;
	mapping->slot = stats_attach(digest, precision, file->image_size);
	return true;
}

/* Map the published file, if there is a good one. */
static Mapping *
attach(const char *digest, LatPrecision precision)
{
	ModelFile	file;
	LatError	error;

	if (!model_file_open(digest, precision, &file))
		return NULL;
	if (!enter_mapping(digest, precision, &file, &error))
	{
		ereport(LOG,
				(errmsg("packed model %.12s cannot be opened and will be made anew: %s",
						digest, error.message)));
		return NULL;
	}
	return mappings;
}

/* ---- packing ------------------------------------------------------------------------------ */

/* Remember to remove the files of a digest when this (sub)transaction ends. */
static void
schedule_removal(const char *digest, bool on_commit)
{
	Removal    *removal = MemoryContextAlloc(TopTransactionContext, sizeof(Removal));

	strlcpy(removal->digest, digest, sizeof(removal->digest));
	removal->subtransaction = GetCurrentSubTransactionId();
	removal->on_commit = on_commit;
	removal->next = removals;
	removals = removal;
}

static Mapping *
build_and_publish(const char *digest, LatPrecision precision)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "lat packing",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	ModelFile	file;
	LatError	error;
	const void *image;
	size_t		size;

	model_file_sweep();
	image = model_image_build(digest, precision, &size);

	/* who writes may have imported the model just now, and may yet roll back */
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		schedule_removal(digest, false);
	model_file_publish(digest, precision, image, size, &file);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);

	if (!enter_mapping(digest, precision, &file, &error))
		report_core_error(LAT_BAD_MODEL, &error);
	if (!catalog_names_digest(digest))
	{
		mappings->gone = true;
		model_file_remove(digest);
	}
	return mappings;
}

const LatModel *
model_cache_get(const char *digest, LatPrecision precision)
{
	Mapping    *mapping = find_mapping(digest, precision);
	int			lock;

	if (seen_generation != catalog_generation())
		drop_outdated(mapping);
	if (mapping == NULL)
		mapping = attach(digest, precision);
	if (mapping == NULL)
	{
		/*
		 * Whoever holds the file lock must wait for no other: a transaction that
		 * has locked our tables might be the next to ask for it.
		 */
		catalog_lock();
		lock = model_file_lock();
		mapping = attach(digest, precision);
		if (mapping == NULL)
			mapping = build_and_publish(digest, precision);
		model_file_unlock(lock);
	}
	return &mapping->model;
}

void
model_cache_count(const char *digest, LatPrecision precision, const CallCounts *counts)
{
	Mapping    *mapping = find_mapping(digest, precision);

	if (mapping != NULL)
		stats_add(mapping->slot, counts);
}

void
model_cache_retire(const char *digest)
{
	schedule_removal(digest, true);
}

/* ---- ends of transactions ----------------------------------------------------------------- */

/* Neither the catalog nor an error is allowed here: only the file system is asked. */
static void
end_transaction(XactEvent event, void *arg)
{
	bool		committed = event == XACT_EVENT_COMMIT || event == XACT_EVENT_PARALLEL_COMMIT;
	bool		aborted = event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT;
	bool		outdated = seen_generation != catalog_generation() || removals != NULL;
	Mapping   **link = &mappings;

	if (!committed && !aborted && event != XACT_EVENT_PREPARE)
		return;
	for (; removals != NULL; removals = removals->next)
	{
		if (removals->on_commit ? committed : aborted)
			model_file_remove(removals->digest);
	}
	while (*link != NULL)
	{
		Mapping    *mapping = *link;

		if (mapping->gone ||
			(outdated &&
			 !model_file_is_current(mapping->digest, mapping->precision, &mapping->file)))
			drop_mapping(link);
		else
			link = &mapping->next;
	}
}

/* A subtransaction that fails takes its retirements with it, and undoes its imports. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	Removal   **link = &removals;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (*link != NULL)
	{
		Removal    *removal = *link;

		if (removal->subtransaction == id && event == SUBXACT_EVENT_ABORT_SUB)
		{
			if (!removal->on_commit)
				model_file_remove(removal->digest);
			*link = removal->next;
			continue;
		}
		if (removal->subtransaction == id)
			removal->subtransaction = parent;
		link = &removal->next;
	}
}

void
model_cache_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
