/*
 * data_file.c
 *	  Files of our own in the data directory.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "data_file.h"
#include "miscadmin.h"
#include "storage/fd.h"

void
data_file_make_directory(void)
{
	if (MakePGDirectory(DATA_DIRECTORY) < 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", DATA_DIRECTORY)));
}

void
data_file_report(const char *action, const char *path, const char *space_hint)
{
	bool		disk_full = errno == ENOSPC;

	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not %s file \"%s\": %m", action, path),
			 disk_full ? errhint("%s", space_hint) : 0));
	pg_unreachable();
}

bool
data_file_read(int fd, void *buffer, size_t size, const char *path)
{
	char	   *position = buffer;

	while (size > 0)
	{
		ssize_t		got;

		CHECK_FOR_INTERRUPTS();
		got = read(fd, position, Min(size, DATA_FILE_PIECE));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			data_file_report("read", path, "");
		if (got == 0)
			return false;
		position += got;
		size -= got;
	}
	return true;
}

void
data_file_write(int fd, const void *data, size_t size, const char *path, const char *space_hint)
{
	const char *position = data;

	while (size > 0)
	{
		ssize_t		written;

		CHECK_FOR_INTERRUPTS();
		errno = 0;
		written = write(fd, position, Min(size, DATA_FILE_PIECE));
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			/* a write of nothing that reports no reason means a full disk */
			if (errno == 0)
				errno = ENOSPC;
			data_file_report("write", path, space_hint);
		}
		position += written;
		size -= written;
	}
}
