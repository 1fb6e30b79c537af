/*
 * checkpoint.h
 *	  A checkpoint in memory that a test can damage, and what packing it says.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "check.h"
#include "load.h"

#define GOLDEN "test/golden/"

typedef struct Checkpoint
{
	char	   *parts[LAT_PART_COUNT];	/* each ends with an additional NUL; NULL: absent */
	size_t		sizes[LAT_PART_COUNT];
} Checkpoint;

static inline void
checkpoint_set(Checkpoint *checkpoint, LatSourcePart part, const void *bytes, size_t size)
{
	free(checkpoint->parts[part]);
	checkpoint->parts[part] = NULL;
	checkpoint->sizes[part] = size;
	if (bytes == NULL)
		return;
	checkpoint->parts[part] = malloc(size + 1);
	memcpy(checkpoint->parts[part], bytes, size);
	checkpoint->parts[part][size] = '\0';
}

static inline void
checkpoint_read(Checkpoint *checkpoint, const char *name)
{
	memset(checkpoint, 0, sizeof(Checkpoint));
	for (int part = 0; part < LAT_PART_COUNT; part++)
	{
		char		path[256];
		char	   *bytes;
		FILE	   *file;
		long		size;

		snprintf(path, sizeof(path), GOLDEN "tiny-%s/%s", name, lat_part_name(part));
		file = fopen(path, "rb");
		if (file == NULL)
			continue;
		fseek(file, 0, SEEK_END);
		size = ftell(file);
		rewind(file);
		bytes = malloc((size_t) size);
		if (fread(bytes, 1, (size_t) size, file) != (size_t) size)
			abort();
		fclose(file);
		checkpoint_set(checkpoint, part, bytes, (size_t) size);
		free(bytes);
	}
}

static inline void
checkpoint_free(Checkpoint *checkpoint)
{
	for (int part = 0; part < LAT_PART_COUNT; part++)
		checkpoint_set(checkpoint, part, NULL, 0);
}

/* Where a text first occurs in a part; aborts if it does not. */
static inline char *
checkpoint_find(const Checkpoint *checkpoint, LatSourcePart part, const char *text)
{
	size_t		size = strlen(text);

	for (size_t i = 0; i + size <= checkpoint->sizes[part]; i++)
	{
		if (memcmp(checkpoint->parts[part] + i, text, size) == 0)
			return checkpoint->parts[part] + i;
	}
	fprintf(stderr, "no \"%s\" in %s\n", text, lat_part_name(part));
	abort();
}

/* Replace the first occurrence of a text; in the weights, the header's length follows. */
static inline void
checkpoint_replace(Checkpoint *checkpoint, LatSourcePart part, const char *from, const char *to)
{
	const char *found = checkpoint_find(checkpoint, part, from);
	size_t		before = (size_t) (found - checkpoint->parts[part]);
	size_t		after = before + strlen(from);
	size_t		size = checkpoint->sizes[part] - strlen(from) + strlen(to);
	char	   *bytes = malloc(size);

	memcpy(bytes, checkpoint->parts[part], before);
	memcpy(bytes + before, to, strlen(to));
	memcpy(bytes + before + strlen(to), checkpoint->parts[part] + after,
		   checkpoint->sizes[part] - after);
	if (part == LAT_PART_WEIGHTS)
	{
		uint64_t	length;

		memcpy(&length, bytes, sizeof(length));
		length = length - strlen(from) + strlen(to);
		memcpy(bytes, &length, sizeof(length));
	}
	checkpoint_set(checkpoint, part, bytes, size);
	free(bytes);
}

/* First byte of a tensor's data. */
static inline char *
checkpoint_tensor(const Checkpoint *checkpoint, const char *name)
{
	const char *weights = checkpoint->parts[LAT_PART_WEIGHTS];
	char		quoted[256];
	const char *offsets;
	uint64_t	length;

	snprintf(quoted, sizeof(quoted), "\"%s\"", name);
	offsets = strstr(checkpoint_find(checkpoint, LAT_PART_WEIGHTS, quoted), "\"data_offsets\":[");
	memcpy(&length, weights, sizeof(length));
	return checkpoint->parts[LAT_PART_WEIGHTS] + 8 + length +
		strtoull(offsets + strlen("\"data_offsets\":["), NULL, 10);
}

/* The whole as one source, of exactly its size so that a sanitizer sees a read beyond. */
static inline void *
checkpoint_source(const Checkpoint *checkpoint, size_t *size)
{
	uint64_t	sizes[LAT_PART_COUNT];
	char	   *source;

	for (int part = 0; part < LAT_PART_COUNT; part++)
		sizes[part] = checkpoint->sizes[part];
	*size = (size_t) lat_source_size(sizes);
	source = calloc(1, *size);
	lat_write_source_header(source, sizes);
	for (int part = 0; part < LAT_PART_COUNT; part++)
	{
		if (checkpoint->parts[part])
			memcpy(source + lat_source_part_offset(sizes, part), checkpoint->parts[part],
				   checkpoint->sizes[part]);
	}
	return source;
}

/* Pack; on LAT_OK *image is the caller's to free. */
static inline LatStatus
checkpoint_pack(const LatHost *host, const Checkpoint *checkpoint, LatPrecision precision,
				void **image, size_t *image_size, LatError *error)
{
	size_t		size;
	void	   *source = checkpoint_source(checkpoint, &size);
	LatPacker  *packer = NULL;
	LatStatus	status = lat_packer_open(host, source, size, precision, &packer, error);

	*image = NULL;
	if (status == LAT_OK)
	{
		*image_size = lat_packer_image_size(packer);
		*image = aligned_alloc(64, *image_size);
		memset(*image, 0xee, *image_size);
		status = lat_packer_write(packer, *image, error);
		lat_packer_close(packer);
	}
	if (status != LAT_OK)
	{
		free(*image);
		*image = NULL;
	}
	free(source);
	return status;
}

/* Pack under both precisions, expecting this status, and a message that contains this text. */
static inline void
checkpoint_expect(TestHost *test, const Checkpoint *checkpoint, LatStatus expected,
				  const char *message, const char *name)
{
	for (int precision = LAT_FP32; precision <= LAT_INT8; precision++)
	{
		LatError	error = {"", ""};
		LatModel	model;
		size_t		size = 0;
		void	   *image;
		LatStatus	status = checkpoint_pack(&test->host, checkpoint, precision, &image, &size,
											 &error);

		if (status == LAT_OK && (status = lat_model_open(image, size, &model, &error)) == LAT_OK)
			status = lat_model_verify(&test->host, &model, &error);
		free(image);
		CHECK(status == expected && strstr(error.message, message) != NULL,
			  "%s: status %d, \"%s\" (hint: %s)", name, status, error.message, error.hint);
		CHECK(status != LAT_UNSUPPORTED || error.hint[0], "%s has a hint", name);
		CHECK(test->live == 0, "%s leaks nothing", name);
	}
}

/* Pack a golden checkpoint and open the image, which is the caller's to free. */
static inline void *
checkpoint_open(TestHost *test, const char *name, LatPrecision precision, LatModel *model)
{
	Checkpoint	checkpoint;
	LatError	error = {"", ""};
	size_t		size;
	void	   *image;
	LatStatus	status;

	checkpoint_read(&checkpoint, name);
	status = checkpoint_pack(&test->host, &checkpoint, precision, &image, &size, &error);
	if (status == LAT_OK && (status = lat_model_open(image, size, model, &error)) == LAT_OK)
		status = lat_model_verify(&test->host, model, &error);
	if (!CHECK(status == LAT_OK, "%s packs as %s: %s", name, lat_precision_name(precision),
			   error.message))
		exit(check_done("checkpoint_open"));
	checkpoint_free(&checkpoint);
	return image;
}

#endif							/* CHECKPOINT_H */
