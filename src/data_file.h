/*
 * data_file.h
 *	  Files of our own in the data directory.
 *
 * All of them lie in one folder.  Names that begin with pgsql_tmp are left out
 * of base backups.  A file is written under a temporary name and renamed.
 */
#ifndef LAT_DATA_FILE_H
#define LAT_DATA_FILE_H

#define DATA_DIRECTORY "pgsql_tmp_lat"
#define TEMPORARY_PREFIX "tmp."	/* and the process's number */
#define DATA_FILE_RUN "run-"	/* checkpoints of runs */

/*
 * Read or written at once: a huge page of x86-64 and of most arm64.  Linux keeps a file that is
 * written in such pieces in such pages where its file system can (XFS; ext4 since 6.16).
 */
#define DATA_FILE_PIECE ((size_t) 2 * 1024 * 1024)

extern void data_file_make_directory(void);

/* ERROR with errno's text; the hint is given where the disk is full. */
extern void data_file_report(const char *action, const char *path, const char *space_hint)
			__attribute__((noreturn));

/* Read size bytes at the descriptor's position; false at the file's end. */
extern bool data_file_read(int fd, void *buffer, size_t size, const char *path);

/* Write size bytes there, with interrupts served in between. */
extern void data_file_write(int fd, const void *data, size_t size, const char *path,
							const char *space_hint);

#endif							/* LAT_DATA_FILE_H */
