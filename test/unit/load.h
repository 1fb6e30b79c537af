/*
 * load.h
 *	  A host for tests, which counts what is live and can fail or interrupt on request, and a
 *	  loader of checkpoint directories.
 */
#ifndef LOAD_H
#define LOAD_H

#include "core/lat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct TestHost
{
	LatHost		host;
	long		live;			/* allocations not yet released */
	long		fail_at;		/* this many more allocations succeed; negative: all do */
	long		interrupt_at;	/* this many more questions are answered no; negative: all are */
} TestHost;

static void *
test_alloc(void *arg, size_t size)
{
	TestHost   *test = arg;
	void	   *pointer;

	if (test->fail_at == 0)
		return NULL;
	if (test->fail_at > 0)
		test->fail_at--;
	pointer = malloc(size);
	test->live += pointer != NULL;
	return pointer;
}

static void
test_release(void *arg, void *pointer)
{
	((TestHost *) arg)->live -= pointer != NULL;
	free(pointer);
}

static bool
test_interrupted(void *arg)
{
	TestHost   *test = arg;

	if (test->interrupt_at > 0)
		test->interrupt_at--;
	return test->interrupt_at == 0;
}

static inline void
test_host_init(TestHost *test)
{
	test->host = (LatHost) {
		test_alloc, test_release, test_interrupted, test
	};
	test->live = 0;
	test->fail_at = -1;
	test->interrupt_at = -1;
}

/* The parts of a checkpoint directory as one source; NULL if it has no weights. */
static inline void *
load_source(const char *directory, size_t *size)
{
	uint64_t	sizes[LAT_PART_COUNT] = {0};
	FILE	   *files[LAT_PART_COUNT];
	uint8_t    *source;

	for (int part = 0; part < LAT_PART_COUNT; part++)
	{
		char		path[4096];

		snprintf(path, sizeof(path), "%s/%s", directory, lat_part_name(part));
		files[part] = fopen(path, "rb");
		if (files[part] == NULL)
			continue;
		fseek(files[part], 0, SEEK_END);
		sizes[part] = (uint64_t) ftell(files[part]);
		rewind(files[part]);
	}
	*size = lat_source_size(sizes);
	source = calloc(1, *size);
	lat_write_source_header(source, sizes);
	for (int part = 0; part < LAT_PART_COUNT; part++)
		if (files[part])
		{
			if (fread(source + lat_source_part_offset(sizes, part), 1, sizes[part], files[part]) !=
				sizes[part])
				abort();
			fclose(files[part]);
		}
	if (sizes[LAT_PART_WEIGHTS] > 0)
		return source;
	free(source);
	return NULL;
}

/* Pack and open a checkpoint directory; release model->image with free(). */
static inline LatStatus
load_model(const LatHost *host, const char *directory, LatPrecision precision, LatModel *model,
		   LatError *error)
{
	size_t		size;
	void	   *source = load_source(directory, &size);
	LatPacker  *packer;
	void	   *image;
	LatStatus	status;

	if (source == NULL)
		return lat_fail(error, LAT_BAD_MODEL, "no checkpoint in \"%s\"", directory);
	status = lat_packer_open(host, source, size, precision, &packer, error);
	if (status == LAT_OK)
	{
		size_t		image_size = lat_packer_image_size(packer);

		image = aligned_alloc(64, (image_size + 63) / 64 * 64);
		status = lat_packer_write(packer, image, error);
		lat_packer_close(packer);
		if (status == LAT_OK)
			status = lat_model_open(image, image_size, model, error);
		if (status == LAT_OK)
			status = lat_model_verify(host, model, error);
		if (status != LAT_OK)
			free(image);
	}
	free(source);
	return status;
}

#endif							/* LOAD_H */
