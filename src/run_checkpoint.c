/*
 * run_checkpoint.c
 *	  What a run has reached, in a file.
 *
 *		<data directory>/pgsql_tmp_lat/run-<database>-<run>.checkpoint
 *
 *		offset		size	meaning
 *			 0		 160	CheckpointHeader
 *		   160		   n	the state (RunJob.state), as it lies in memory
 *
 * The state of a large model is hundreds of megabytes, written every few
 * minutes: too much for the write-ahead log, and of no use on a standby.  A file
 * is written under a temporary name, flushed and renamed, so there is always
 * one that is whole, and the disk holds two for a moment.  Who comes back after
 * a base backup or on a promoted standby finds none, and begins anew with the
 * same data.
 *
 * A file belongs to the run whose number and time of creation it names: numbers
 * come again when the extension is dropped and created.  CRC-32C guards against
 * a disk that lies; a file that does not pass is as good as none.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat.h"
#include "data_file.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "run_checkpoint.h"
#include "run_store.h"
#include "storage/fd.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define CHECKPOINT_MAGIC UINT64CONST(0x54504b434e55524c)	/* "LRUNCKPT" */
#define CHECKPOINT_VERSION 1
#define CHECKPOINT_PATH_MAX 100
#define SPACE_HINT "While a checkpoint is written the disk holds two of them. Once there is " \
	"room, lat_resume(run) continues from the one before."

typedef struct CheckpointHeader
{
	uint64		magic;
	uint32		version;
	uint32		header_bytes;
	int64		run;
	int64		created;		/* of the run */
	int64		step;			/* steps done */
	uint64		state_bytes;
	char		base_digest[LAT_DIGEST_LENGTH];
	char		kind[16];		/* zero-padded, as the next */
	char		kernels[16];
	uint32		options_bytes;	/* of the run's options */
	uint32		options_crc;
	uint32		state_crc;
	uint32		header_crc;		/* of all that precedes */
} CheckpointHeader;

StaticAssertDecl(sizeof(CheckpointHeader) == 160, "CheckpointHeader has padding");

static void
build_path(Oid database, int64 run, char *path)
{
	snprintf(path, CHECKPOINT_PATH_MAX, DATA_DIRECTORY "/" DATA_FILE_RUN "%u-%lld.checkpoint",
			 database, (long long) run);
}

static uint32
crc_of(const void *data, size_t size)
{
	const char *position = data;
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	while (size > 0)
	{
		size_t		piece = Min(size, DATA_FILE_PIECE);

		CHECK_FOR_INTERRUPTS();
		COMP_CRC32C(crc, position, piece);
		position += piece;
		size -= piece;
	}
	FIN_CRC32C(crc);
	return crc;
}

/* The header that a checkpoint of this run has, but for step and sums. */
static void
fill_header(const Run *run, size_t bytes, CheckpointHeader *header)
{
	memset(header, 0, sizeof(CheckpointHeader));
	header->magic = CHECKPOINT_MAGIC;
	header->version = CHECKPOINT_VERSION;
	header->header_bytes = sizeof(CheckpointHeader);
	header->run = run->id;
	header->created = run->created;
	header->state_bytes = bytes;
	memcpy(header->base_digest, run->base_digest, LAT_DIGEST_LENGTH);
	header->options_bytes = VARSIZE(run->options) - VARHDRSZ;
	header->options_crc = crc_of(VARDATA(run->options), header->options_bytes);
	strlcpy(header->kind, run->job->kind, sizeof(header->kind));
	strlcpy(header->kernels, run->kernels, sizeof(header->kernels));
}

/* ---- writing ------------------------------------------------------------------------------ */

static void
remove_temporary(int code, Datum path)
{
	(void) unlink(DatumGetCString(path));
}

static void
write_temporary(const char *temporary, const CheckpointHeader *header, const void *state)
{
	int			fd = OpenTransientFile(temporary, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);

	if (fd < 0)
		data_file_report("create", temporary, SPACE_HINT);
	data_file_write(fd, header, sizeof(CheckpointHeader), temporary, SPACE_HINT);
	data_file_write(fd, state, header->state_bytes, temporary, SPACE_HINT);
	if (CloseTransientFile(fd) != 0)
		data_file_report("close", temporary, SPACE_HINT);
}

int64
checkpoint_write(const Run *run, int64 step, const void *state, size_t bytes)
{
	CheckpointHeader header;
	char		path[CHECKPOINT_PATH_MAX];
	char		temporary[CHECKPOINT_PATH_MAX];

	fill_header(run, bytes, &header);
	header.step = step;
	header.state_crc = crc_of(state, bytes);
	header.header_crc = crc_of(&header, offsetof(CheckpointHeader, header_crc));

	data_file_make_directory();
	build_path(MyDatabaseId, run->id, path);
	snprintf(temporary, sizeof(temporary), DATA_DIRECTORY "/" TEMPORARY_PREFIX "%d", MyProcPid);
	PG_ENSURE_ERROR_CLEANUP(remove_temporary, CStringGetDatum(temporary));
	{
		write_temporary(temporary, &header, state);
		(void) durable_rename(temporary, path, ERROR);	/* flushes the file, too */
	}
	PG_END_ENSURE_ERROR_CLEANUP(remove_temporary, CStringGetDatum(temporary));
	return sizeof(CheckpointHeader) + bytes;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* True if the header is of a checkpoint of this run. */
static bool
check_header(const Run *run, size_t bytes, const CheckpointHeader *header)
{
	CheckpointHeader expected;

	if (header->header_crc != crc_of(header, offsetof(CheckpointHeader, header_crc)))
		return false;
	fill_header(run, bytes, &expected);
	expected.step = header->step;
	expected.state_crc = header->state_crc;
	expected.header_crc = header->header_crc;
	return memcmp(header, &expected, sizeof(expected)) == 0;
}

/* True if the rest of the file is what its header says. */
static bool
check_state(int fd, const CheckpointHeader *header, const char *path)
{
	char	   *buffer = palloc(DATA_FILE_PIECE);
	size_t		left = header->state_bytes;
	bool		complete = true;
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	while (left > 0 && complete)
	{
		size_t		piece = Min(left, DATA_FILE_PIECE);

		complete = data_file_read(fd, buffer, piece, path);
		if (complete)
			COMP_CRC32C(crc, buffer, piece);
		left -= piece;
	}
	FIN_CRC32C(crc);
	pfree(buffer);
	return complete && crc == header->state_crc;
}

/* Reads twice, the second time from the page cache: state must not be harmed by a bad file. */
bool
checkpoint_read(const Run *run, void *state, size_t bytes, int64 *step)
{
	CheckpointHeader header;
	char		path[CHECKPOINT_PATH_MAX];
	bool		sound;
	int			fd;

	build_path(MyDatabaseId, run->id, path);
	fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0)
		data_file_report("open", path, "");
	sound = data_file_read(fd, &header, sizeof(header), path) &&
		check_header(run, bytes, &header) && check_state(fd, &header, path);
	if (sound)
	{
		if (lseek(fd, sizeof(header), SEEK_SET) < 0 || !data_file_read(fd, state, bytes, path))
			data_file_report("read", path, "");
		*step = header.step;
	}
	CloseTransientFile(fd);
	if (!sound)
		ereport(LOG,
				(errmsg("checkpoint \"%s\" is not used: it is damaged, or not of this run",
						path)));
	return sound;
}

/* ---- removing ----------------------------------------------------------------------------- */

void
checkpoint_remove(Oid database, int64 run)
{
	char		path[CHECKPOINT_PATH_MAX];

	build_path(database, run, path);
	(void) unlink(path);
}

/* False if nobody can come back to the checkpoint of this run. */
static bool
is_wanted(Oid database, int64 id)
{
	Run		   *run;

	if (database != MyDatabaseId)
		return SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
	PushActiveSnapshot(GetLatestSnapshot());
	run = run_find(id);
	PopActiveSnapshot();
	return run != NULL && strcmp(run->state, "done") != 0 &&
		strcmp(run->state, "cancelled") != 0;
}

/* Take a file's name apart; false unless it is a checkpoint's. */
static bool
parse_name(const char *name, Oid *database, int64 *run)
{
	char		path[CHECKPOINT_PATH_MAX];
	char	   *end;

	if (strncmp(name, DATA_FILE_RUN, strlen(DATA_FILE_RUN)) != 0)
		return false;
	*database = (Oid) strtoul(name + strlen(DATA_FILE_RUN), &end, 10);
	if (*end != '-')
		return false;
	*run = strtoll(end + 1, NULL, 10);
	build_path(*database, *run, path);
	return strcmp(path + strlen(DATA_DIRECTORY "/"), name) == 0;
}

void
checkpoint_sweep(void)
{
	DIR		   *directory = AllocateDir(DATA_DIRECTORY);
	struct dirent *entry;

	if (directory == NULL)
		return;					/* there is none yet */
	while ((entry = ReadDirExtended(directory, DATA_DIRECTORY, LOG)) != NULL)
	{
		Oid			database;
		int64		run;

		if (parse_name(entry->d_name, &database, &run) && !is_wanted(database, run))
			checkpoint_remove(database, run);
	}
	FreeDir(directory);
}
