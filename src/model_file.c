/*
 * model_file.c
 *	  Packed images as immutable files in the data directory, mapped read-only.
 *
 *		<data directory>/pgsql_tmp_lat/<digest>.<precision>.v<format version>
 *
 *		offset		size	meaning
 *			 0		   n	the image (core/format.h)
 *			 n		  32	its sha256
 *
 * One mechanism serves all: every backend and parallel worker maps the file
 * with PROT_READ and MAP_SHARED, so a model is in memory once, in the page
 * cache, whether lat is preloaded or not.  Compared with dynamic shared memory:
 * no backend can scribble on it, it survives a crash restart and a restart of
 * the server (a first call then takes milliseconds), it needs no room in
 * /dev/shm, and it goes when the last mapping of a removed file goes.  Names
 * that begin with pgsql_tmp are left out of base backups.
 *
 * A file is written under a temporary name, flushed and renamed, so a final
 * name always leads to a complete image.  Nobody writes to it again.  The data
 * directory may have suffered while the server was down, so the first backend
 * that meets a file last touched before the server's start computes its sha256
 * and touches it.
 *
 * In pages of 4 KB a model has more pages than the processor's TLB holds, and
 * reading weights waits for page table walks.  So a file is written, and after a
 * restart read, in pieces of one huge page, which Linux keeps as such where it
 * can.  Elsewhere inference is a few per cent slower.
 *
 * The kernel gives SIGBUS to who reads a mapped file that was cut short; that
 * takes an outsider who truncates files in the data directory.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat.h"
#include "core/format.h"
#include "data_file.h"
#include "digest.h"
#include "model_file.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#define LOCK_PATH DATA_DIRECTORY "/lock"
#define LOCK_POLL_MS 10
#define SPACE_HINT "Packed models lie in the data directory, each about a quarter of its " \
	"checkpoint's size."

/* A model that nobody has used this long since the server's start is removed. */
#define UNUSED_SECONDS 3600

#define CACHE_PATH_MAX 160		/* directory, digest, precision, version */

/* The final name of a model's file. */
static void
build_path(const char *digest, LatPrecision precision, char *path)
{
	snprintf(path, CACHE_PATH_MAX, DATA_DIRECTORY "/%s.%s.v%d",
			 digest, lat_precision_name(precision), LAT_FORMAT_VERSION);
}

static void __attribute__((noreturn))
report_file_error(const char *action, const char *path)
{
	data_file_report(action, path, SPACE_HINT);
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Ask for huge pages under a mapping of a file; it does no harm where there are none. */
static void
prefer_huge_pages(void *map, size_t size)
{
#ifdef MADV_HUGEPAGE
	(void) madvise(map, size, MADV_HUGEPAGE);
#endif
}

/*
 * Read a piece of a file into the page cache as one huge page.  Failing is harmless: whoever reads
 * it next loads it in small ones.
 */
static void
read_huge_page(int fd, size_t offset, size_t size)
{
#ifdef MADV_POPULATE_READ
	void	   *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t) offset);

	if (map == MAP_FAILED)
		return;
	prefer_huge_pages(map, size);
	(void) madvise(map, size, MADV_POPULATE_READ);	/* a bad disk gives an error, not a signal */
	(void) munmap(map, size);
#endif
}

/*
 * True if the sha256 at the end of the file is that of what precedes.  Reads
 * instead of mapping: a cancel in between must leave no mapping behind.
 */
static bool
check_trailer(int fd, size_t image_size, const char *path)
{
	CompatSha256 *context = compat_sha256_begin();
	uint8		stored[DIGEST_BYTES];
	uint8		found[DIGEST_BYTES];
	char	   *buffer = palloc(DATA_FILE_PIECE);
	bool		complete = true;

	for (size_t at = 0; at < image_size && complete; at += DATA_FILE_PIECE)
	{
		size_t		size = Min(image_size - at, DATA_FILE_PIECE);

		read_huge_page(fd, at, size);
		complete = data_file_read(fd, buffer, size, path);
		if (complete)
			digest_add(context, buffer, size);
	}
	complete = complete && data_file_read(fd, stored, sizeof(stored), path);
	compat_sha256_finish(context, found);
	pfree(buffer);
	return complete && memcmp(stored, found, sizeof(found)) == 0;
}

static TimestampTz
modification_time(const struct stat *status)
{
	return time_t_to_timestamptz(status->st_mtim.tv_sec) + status->st_mtim.tv_nsec / 1000;
}

/* Map an open file. */
static void
map_file(int fd, const struct stat *status, const char *path, ModelFile *file)
{
	void	   *map = mmap(NULL, status->st_size, PROT_READ, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		report_file_error("map", path);
	prefer_huge_pages(map, status->st_size);
	file->map = map;
	file->map_size = status->st_size;
	file->image_size = status->st_size - DIGEST_BYTES;
	file->device = status->st_dev;
	file->inode = status->st_ino;
}

bool
model_file_open(const char *digest, LatPrecision precision, ModelFile *file)
{
	char		path[CACHE_PATH_MAX];
	struct stat status;
	bool		sound;
	int			fd;

	build_path(digest, precision, path);
	fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0)
		report_file_error("open", path);
	if (fstat(fd, &status) < 0)
		report_file_error("stat", path);
	sound = S_ISREG(status.st_mode) &&
		status.st_size > (off_t) (sizeof(LatImageHeader) + DIGEST_BYTES);
	if (sound && modification_time(&status) < PgStartTime)
	{
		sound = check_trailer(fd, status.st_size - DIGEST_BYTES, path);
		if (sound)
			(void) futimens(fd, NULL);	/* else it is checked again, which does no harm */
	}
	if (sound)
		map_file(fd, &status, path, file);
	CloseTransientFile(fd);
	if (!sound)
	{
		ereport(LOG,
				(errmsg("file \"%s\" is damaged and will be made anew", path)));
		(void) unlink(path);
	}
	return sound;
}

void
model_file_close(ModelFile *file)
{
	if (file->map != NULL)
		(void) munmap(unconstify(uint8 *, file->map), file->map_size);
	file->map = NULL;
}

bool
model_file_is_current(const char *digest, LatPrecision precision, const ModelFile *file)
{
	char		path[CACHE_PATH_MAX];
	struct stat status;

	build_path(digest, precision, path);
	return stat(path, &status) == 0 &&
		status.st_dev == file->device && status.st_ino == file->inode;
}

/* ---- publishing --------------------------------------------------------------------------- */

/* On error, and at exit in the midst of it: PG_ENSURE_ERROR_CLEANUP. */
static void
remove_temporary(int code, Datum path)
{
	(void) unlink(DatumGetCString(path));
}

/* The descriptor stays open over the rename: whatever happens to the name, we map our file. */
static void
write_and_rename(const char *temporary, const char *path, const void *image, size_t size,
				 ModelFile *file)
{
	uint8		trailer[DIGEST_BYTES];
	struct stat status;
	int			fd;

	fd = OpenTransientFile(temporary, O_RDWR | O_CREAT | O_TRUNC | PG_BINARY);
	if (fd < 0)
		report_file_error("create", temporary);
	data_file_write(fd, image, size, temporary, SPACE_HINT);
	digest_compute(image, size, trailer);
	data_file_write(fd, trailer, sizeof(trailer), temporary, SPACE_HINT);
	if (fstat(fd, &status) < 0)
		report_file_error("stat", temporary);
	(void) durable_rename(temporary, path, ERROR);
	map_file(fd, &status, path, file);
	CloseTransientFile(fd);
}

void
model_file_publish(const char *digest, LatPrecision precision,
				   const void *image, size_t size, ModelFile *file)
{
	char		path[CACHE_PATH_MAX];
	char		temporary[CACHE_PATH_MAX];

	build_path(digest, precision, path);
	snprintf(temporary, sizeof(temporary), DATA_DIRECTORY "/" TEMPORARY_PREFIX "%d", MyProcPid);
	PG_ENSURE_ERROR_CLEANUP(remove_temporary, CStringGetDatum(temporary));
	{
		write_and_rename(temporary, path, image, size, file);
	}
	PG_END_ENSURE_ERROR_CLEANUP(remove_temporary, CStringGetDatum(temporary));
}

void
model_file_remove(const char *digest)
{
	char		path[CACHE_PATH_MAX];
	LatPrecision precision;

	for (precision = LAT_FP32; precision <= LAT_INT8; precision++)
	{
		build_path(digest, precision, path);
		(void) unlink(path);
	}
}

/* ---- one at a time ------------------------------------------------------------------------ */

/*
 * A file lock, since PostgreSQL's heavyweight locks of this strength are not
 * to be had on a hot standby.  It is polled, so that a waiter can be cancelled,
 * and goes with the descriptor, even at a crash.
 */
int
model_file_lock(void)
{
	int			fd;

	data_file_make_directory();
	fd = OpenTransientFile(LOCK_PATH, O_RDWR | O_CREAT | PG_BINARY);
	if (fd < 0)
		report_file_error("open", LOCK_PATH);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0)
	{
		if (errno != EWOULDBLOCK && errno != EINTR)
			break;				/* a file system without locks: at worst work is done twice */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOCK_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return fd;
}

void
model_file_unlock(int lock)
{
	CloseTransientFile(lock);
}

/* ---- what lies there ---------------------------------------------------------------------- */

/* A temporary file whose writer is gone: it was killed between creation and rename. */
static bool
is_orphan(const char *name)
{
	int			pid;

	if (strncmp(name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) != 0)
		return false;
	pid = (int) strtol(name + strlen(TEMPORARY_PREFIX), NULL, 10);
	return pid == MyProcPid || BackendPidGetProc(pid) == NULL;
}

/* Nobody has used it since the server started, and that was a while ago. */
static bool
is_unused(const char *path)
{
	struct stat status;

	return TimestampDifferenceExceeds(PgStartTime, GetCurrentTimestamp(), UNUSED_SECONDS * 1000) &&
		stat(path, &status) == 0 && modification_time(&status) < PgStartTime;
}

void
model_file_sweep(void)
{
	DIR		   *directory = AllocateDir(DATA_DIRECTORY);
	struct dirent *entry;

	while ((entry = ReadDirExtended(directory, DATA_DIRECTORY, LOG)) != NULL)
	{
		char		path[MAXPGPATH];

		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0 ||
			strncmp(entry->d_name, DATA_FILE_RUN, strlen(DATA_FILE_RUN)) == 0)
			continue;			/* checkpoints of runs: see run_checkpoint.c */
		snprintf(path, sizeof(path), DATA_DIRECTORY "/%s", entry->d_name);
		if (strncmp(entry->d_name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) == 0
			? is_orphan(entry->d_name) : is_unused(path))
			(void) unlink(path);
	}
	FreeDir(directory);
}

/* Take a file's name apart; false unless it is a model in this format version. */
static bool
parse_name(const char *name, ListedFile *file)
{
	char		path[CACHE_PATH_MAX];
	LatPrecision precision;

	if (strlen(name) <= LAT_DIGEST_LENGTH)
		return false;
	memcpy(file->digest, name, LAT_DIGEST_LENGTH);
	file->digest[LAT_DIGEST_LENGTH] = '\0';
	for (precision = LAT_FP32; precision <= LAT_INT8; precision++)
	{
		file->precision = precision;
		build_path(file->digest, precision, path);
		if (strcmp(path + strlen(DATA_DIRECTORY "/"), name) == 0)
			return true;
	}
	return false;
}

ListedFile *
model_file_list(int *count)
{
	int			capacity = 16;
	ListedFile *files = palloc(capacity * sizeof(ListedFile));
	DIR		   *directory = AllocateDir(DATA_DIRECTORY);
	struct dirent *entry;

	*count = 0;
	if (directory == NULL && errno == ENOENT)
		return files;
	while ((entry = ReadDir(directory, DATA_DIRECTORY)) != NULL)
	{
		char		path[MAXPGPATH];
		struct stat status;

		if (*count == capacity)
		{
			capacity *= 2;
			files = repalloc(files, capacity * sizeof(ListedFile));
		}
		snprintf(path, sizeof(path), DATA_DIRECTORY "/%s", entry->d_name);
		if (parse_name(entry->d_name, &files[*count]) && stat(path, &status) == 0)
			files[(*count)++].bytes = Max(status.st_size, DIGEST_BYTES) - DIGEST_BYTES;
	}
	FreeDir(directory);
	return files;
}
