/*
 * model_file.h
 *	  Packed images as immutable files in the data directory, mapped read-only.
 */
#ifndef LAT_MODEL_FILE_H
#define LAT_MODEL_FILE_H

#include <sys/types.h>

#include "catalog.h"

/* A file of the cache, mapped. */
typedef struct ModelFile
{
	const uint8 *map;			/* the image comes first */
	size_t		map_size;
	size_t		image_size;
	dev_t		device;
	ino_t		inode;
} ModelFile;

/*
 * Map the file of a model.  False if there is none, or if what there is does
 * not pass for one (then it is removed).
 */
extern bool model_file_open(const char *digest, LatPrecision precision, ModelFile *file);

/* Write the image into a new file under its final name, and map it. */
extern void model_file_publish(const char *digest, LatPrecision precision,
							   const void *image, size_t size, ModelFile *file);

/* Undo the mapping. Raises no error. */
extern void model_file_close(ModelFile *file);

/* False if the name no longer leads to this file. Raises no error. */
extern bool model_file_is_current(const char *digest, LatPrecision precision,
								  const ModelFile *file);

/* Remove the files of a digest, in all precisions. Mappings stay good. Raises no error. */
extern void model_file_remove(const char *digest);

/*
 * Wait for one's turn to pack; only ever a matter of saving work.  The result
 * goes to model_file_unlock; an error gives the turn back, too.
 */
extern int	model_file_lock(void);
extern void model_file_unlock(int lock);

/* Remove what earlier packings that died and models long unused have left behind. */
extern void model_file_sweep(void);

/* A file of the cache, as lat_loaded_models lists it. */
typedef struct ListedFile
{
	char		digest[LAT_DIGEST_LENGTH + 1];
	LatPrecision precision;
	uint64		bytes;
} ListedFile;

/* The files of this format version, in an array of the current memory context. */
extern ListedFile *model_file_list(int *count);

#endif							/* LAT_MODEL_FILE_H */
