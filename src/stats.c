/*
 * stats.c
 *	  The directory in shared memory, and the views over it.
 *
 * With lat in shared_preload_libraries a small array in shared memory says how
 * many backends have a model mapped and what was computed with it, a slot for
 * each database, digest and precision.  A lock guards which slot means what;
 * an attached backend's slot stays its own, so counting takes no lock.
 *
 * A slot without backends keeps its counters until another model needs the
 * slot; the least recently attached goes first.
 */
#include "postgres.h"

#include "catalog.h"
#include "compat.h"
#include "fmgr.h"
#include "model_file.h"
#include "port/atomics.h"
#include "result_rows.h"
#include "stats.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define SLOTS 64
#define TRANCHE "lat"

typedef enum Counter
{
	COUNT_CALLS,
	COUNT_ROWS,
	COUNT_TOKENS_IN,
	COUNT_TOKENS_KEPT,
	COUNT_TRUNCATED,
	COUNT_MULTIPLY_ADDS,
	COUNT_MICROSECONDS,
	COUNTERS
} Counter;

typedef struct Slot
{
	Oid			database;		/* InvalidOid: free */
	char		digest[LAT_DIGEST_LENGTH + 1];
	LatPrecision precision;
	uint64		bytes;
	TimestampTz last_attached;
	pg_atomic_uint32 attached;	/* mappings in backends */
	pg_atomic_uint64 counters[COUNTERS];
} Slot;

typedef struct Directory
{
	LWLock	   *lock;
	Slot		slots[SLOTS];
} Directory;

static Directory *directory = NULL; /* NULL: not preloaded */
static CompatRequestHook previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

/* How often this backend is attached to each slot, to be undone at its exit. */
static int	own_attachments[SLOTS];
static bool exit_registered = false;

PG_FUNCTION_INFO_V1(lat_loaded_models);
PG_FUNCTION_INFO_V1(pg_stat_lat);
PG_FUNCTION_INFO_V1(pg_stat_lat_reset);

/* ---- set up ------------------------------------------------------------------------------- */

static void
request_memory(void)
{
	if (previous_request != NULL)
		previous_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(Directory)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

static void
clear_counters(Slot *slot)
{
	int			i;

	for (i = 0; i < COUNTERS; i++)
		pg_atomic_write_u64(&slot->counters[i], 0);
}

static void
start_memory(void)
{
	bool		found;
	int			i;
	int			j;

	if (previous_startup != NULL)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	directory = ShmemInitStruct("lat directory", sizeof(Directory), &found);
	if (!found)
	{
		memset(directory, 0, sizeof(Directory));
		directory->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
		for (i = 0; i < SLOTS; i++)
		{
			pg_atomic_init_u32(&directory->slots[i].attached, 0);
			for (j = 0; j < COUNTERS; j++)
				pg_atomic_init_u64(&directory->slots[i].counters[j], 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
stats_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_request = compat_request_shmem(request_memory);
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}

/* ---- attaching and counting --------------------------------------------------------------- */

static void
detach_at_exit(int code, Datum arg)
{
	int			i;

	for (i = 0; i < SLOTS; i++)
	{
		while (own_attachments[i] > 0)
			stats_detach(i);
	}
}

/* The slot of this model and database, else one to take: free, or not attached for the longest. */
static int
find_slot(const char *digest, LatPrecision precision, bool *is_its_own)
{
	int			best = STATS_NO_SLOT;
	int			i;

	for (i = 0; i < SLOTS; i++)
	{
		Slot	   *slot = &directory->slots[i];

		*is_its_own = slot->database == MyDatabaseId && slot->precision == precision &&
			strcmp(slot->digest, digest) == 0;
		if (*is_its_own)
			return i;
		if (pg_atomic_read_u32(&slot->attached) == 0 &&
			(best == STATS_NO_SLOT || slot->last_attached < directory->slots[best].last_attached))
			best = i;
	}
	return best;
}

int
stats_attach(const char *digest, LatPrecision precision, uint64 bytes)
{
	bool		is_its_own;
	int			slot_number;

	if (directory == NULL)
		return STATS_NO_SLOT;
	if (!exit_registered)
	{
		before_shmem_exit(detach_at_exit, (Datum) 0);
		exit_registered = true;
	}
	LWLockAcquire(directory->lock, LW_EXCLUSIVE);
	slot_number = find_slot(digest, precision, &is_its_own);
	if (slot_number != STATS_NO_SLOT)
	{
		Slot	   *slot = &directory->slots[slot_number];

		if (!is_its_own)
		{
			slot->database = MyDatabaseId;
			slot->precision = precision;
			strlcpy(slot->digest, digest, sizeof(slot->digest));
			clear_counters(slot);
		}
		slot->bytes = bytes;
		slot->last_attached = GetCurrentTimestamp();
		pg_atomic_fetch_add_u32(&slot->attached, 1);
		own_attachments[slot_number]++;
	}
	LWLockRelease(directory->lock);
	return slot_number;
}

void
stats_detach(int slot)
{
	if (slot == STATS_NO_SLOT || own_attachments[slot] == 0)
		return;
	own_attachments[slot]--;
	pg_atomic_fetch_sub_u32(&directory->slots[slot].attached, 1);
}

void
stats_add(int slot, const CallCounts *counts)
{
	pg_atomic_uint64 *counters;

	if (slot == STATS_NO_SLOT)
		return;
	counters = directory->slots[slot].counters;
	pg_atomic_fetch_add_u64(&counters[COUNT_CALLS], 1);
	pg_atomic_fetch_add_u64(&counters[COUNT_ROWS], counts->rows);
	pg_atomic_fetch_add_u64(&counters[COUNT_TOKENS_IN], counts->tokens_in);
	pg_atomic_fetch_add_u64(&counters[COUNT_TOKENS_KEPT], counts->tokens_kept);
	pg_atomic_fetch_add_u64(&counters[COUNT_TRUNCATED], counts->truncated);
	pg_atomic_fetch_add_u64(&counters[COUNT_MULTIPLY_ADDS], (int64) counts->multiply_adds);
	pg_atomic_fetch_add_u64(&counters[COUNT_MICROSECONDS], (int64) (counts->milliseconds * 1000));
}

/* ---- SQL functions ------------------------------------------------------------------------ */

/* Backends that have a model mapped, over all databases; marks the slots it has counted. */
static int
count_attached(const ListedFile *file, bool *counted)
{
	int			attached = 0;
	int			i;

	for (i = 0; i < SLOTS; i++)
	{
		Slot	   *slot = &directory->slots[i];

		if (OidIsValid(slot->database) && slot->precision == file->precision &&
			strcmp(slot->digest, file->digest) == 0)
		{
			attached += pg_atomic_read_u32(&slot->attached);
			counted[i] = true;
		}
	}
	return attached;
}

static void
put_loaded(ResultRows *rows, const ListedFile *file, const char *where, int attached)
{
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(file->digest);
	values[1] = CStringGetTextDatum(lat_precision_name(file->precision));
	values[2] = Int64GetDatum((int64) file->bytes);
	values[3] = CStringGetTextDatum(where);
	values[4] = Int32GetDatum(attached);
	nulls[4] = directory == NULL;
	result_put(rows, values, nulls);
}

/*
 * Models in memory or ready to be mapped: the files, and then what backends
 * still have mapped of files that were removed.
 */
Datum
lat_loaded_models(PG_FUNCTION_ARGS)
{
	ResultRows	rows;
	bool		counted[SLOTS] = {false};
	int			count;
	int			i;
	ListedFile *files;

	result_begin(fcinfo, &rows);
	files = model_file_list(&count);
	if (directory != NULL)
		LWLockAcquire(directory->lock, LW_SHARED);
	for (i = 0; i < count; i++)
		put_loaded(&rows, &files[i], "file",
				   directory != NULL ? count_attached(&files[i], counted) : 0);
	for (i = 0; i < SLOTS && directory != NULL; i++)
	{
		Slot	   *slot = &directory->slots[i];
		ListedFile	removed;

		if (counted[i] || !OidIsValid(slot->database) ||
			pg_atomic_read_u32(&slot->attached) == 0)
			continue;
		strlcpy(removed.digest, slot->digest, sizeof(removed.digest));
		removed.precision = slot->precision;
		removed.bytes = slot->bytes;
		put_loaded(&rows, &removed, "removed file", count_attached(&removed, counted));
	}
	if (directory != NULL)
		LWLockRelease(directory->lock);
	return (Datum) 0;
}

static void
require_directory(void)
{
	if (directory == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("lat must be loaded via shared_preload_libraries"),
				 errhint("Calls are counted in shared memory, which is allotted at server start: "
						 "add lat to shared_preload_libraries and restart the server.")));
}

Datum
pg_stat_lat(PG_FUNCTION_ARGS)
{
	ResultRows	rows;
	int			i;
	int			j;

	require_directory();
	result_begin(fcinfo, &rows);
	LWLockAcquire(directory->lock, LW_SHARED);
	for (i = 0; i < SLOTS; i++)
	{
		Slot	   *slot = &directory->slots[i];
		Datum		values[3 + COUNTERS];
		bool		nulls[3 + COUNTERS] = {false};

		if (!OidIsValid(slot->database))
			continue;
		values[0] = ObjectIdGetDatum(slot->database);
		values[1] = CStringGetTextDatum(slot->digest);
		values[2] = CStringGetTextDatum(lat_precision_name(slot->precision));
		for (j = 0; j < COUNTERS; j++)
		{
			uint64		count = pg_atomic_read_u64(&slot->counters[j]);

			if (j == COUNT_MULTIPLY_ADDS)
				values[3 + j] = Float8GetDatum((double) count);
			else if (j == COUNT_MICROSECONDS)
				values[3 + j] = Float8GetDatum(count / 1000.0);
			else
				values[3 + j] = Int64GetDatum((int64) count);
		}
		result_put(&rows, values, nulls);
	}
	LWLockRelease(directory->lock);
	return (Datum) 0;
}

Datum
pg_stat_lat_reset(PG_FUNCTION_ARGS)
{
	int			i;

	require_directory();
	LWLockAcquire(directory->lock, LW_EXCLUSIVE);
	for (i = 0; i < SLOTS; i++)
		clear_counters(&directory->slots[i]);
	LWLockRelease(directory->lock);
	PG_RETURN_VOID();
}
