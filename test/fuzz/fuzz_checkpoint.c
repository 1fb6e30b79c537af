/*
 * fuzz_checkpoint.c
 *	  Any bytes as a checkpoint's files, as a source, as a packed image, and as damage to each.
 *
 * The first byte chooses what the rest is.  Whatever it is: nothing is read
 * outside of it (the sanitizers see to that), a refusal says why, and a source
 * that packs gives an image that opens and passes every check.  Damage is a
 * list of five bytes: where (four, modulo the size) and what to add.  The sound
 * files are those of test/golden; run it from the top of the repository.
 */
#include "core/safetensors.h"
#include "core/source.h"
#include "unit/load.h"

#define REQUIRE(condition) \
	do { if (!(condition)) { fprintf(stderr, "broken: %s\n", #condition); abort(); } } while (0)

#define GOLDEN "test/golden/tiny-classify"

/* Sound files, and what they pack to. */
typedef struct Golden
{
	uint8_t    *source;
	size_t		source_size;
	LatPart		parts[LAT_PART_COUNT];
	uint8_t    *image;
	size_t		image_size;
} Golden;

static TestHost test;

/* LAT_OK, or a refusal that explains itself. */
static bool
is_accepted(LatStatus status, const LatError *error)
{
	REQUIRE(status == LAT_OK || status == LAT_BAD_MODEL || status == LAT_UNSUPPORTED ||
			status == LAT_BAD_ARGUMENT);
	REQUIRE(status == LAT_OK || error->message[0] != '\0');
	return status == LAT_OK;
}

static void
try_image(const uint8_t *bytes, size_t size, bool must_pass)
{
	uint8_t    *image = aligned_alloc(64, size / 64 * 64 + 64);
	LatModel	model;
	LatError	error = {"", ""};
	bool		passed;

	/* Ending where the allocation ends, so that a read beyond is seen. */
	memcpy(image, bytes, size);
	passed = is_accepted(lat_model_open(image, size, &model, &error), &error) &&
		is_accepted(lat_model_verify(&test.host, &model, &error), &error);
	REQUIRE(passed || !must_pass);
	free(image);
}

static void
try_source(const uint8_t *source, size_t size, LatPrecision precision)
{
	LatError	error = {"", ""};
	LatPacker  *packer;

	if (is_accepted(lat_packer_open(&test.host, source, size, precision, &packer, &error), &error))
	{
		size_t		image_size = lat_packer_image_size(packer);
		uint8_t    *image = aligned_alloc(64, image_size);

		REQUIRE(lat_packer_write(packer, image, &error) == LAT_OK);
		lat_packer_close(packer);
		try_image(image, image_size, true);
		free(image);
	}
	else
		REQUIRE(packer == NULL);
	REQUIRE(test.live == 0);
}

/* The sound source with one part replaced. */
static void
try_part(const Golden *golden, LatSourcePart part, const uint8_t *bytes, size_t size,
		 LatPrecision precision)
{
	uint64_t	sizes[LAT_PART_COUNT];
	uint8_t    *source;

	for (int i = 0; i < LAT_PART_COUNT; i++)
		sizes[i] = i == (int) part ? size : golden->parts[i].size;
	source = calloc(1, lat_source_size(sizes));
	lat_write_source_header(source, sizes);
	for (int i = 0; i < LAT_PART_COUNT; i++)
	{
		const void *from = i == (int) part ? (const void *) bytes : golden->parts[i].bytes;

		if (sizes[i] > 0)
			memcpy(source + lat_source_part_offset(sizes, (LatSourcePart) i), from, sizes[i]);
	}
	try_source(source, lat_source_size(sizes), precision);
	free(source);
}

/* Bytes as the header of model.safetensors, in front of some data. */
static void
try_header(const uint8_t *bytes, size_t size)
{
	size_t		data = size > 0 ? bytes[0] : 0;
	uint8_t    *file = calloc(1, 8 + size + data);
	LatTensors	tensors = {.items = NULL};
	LatError	error = {"", ""};
	uint64_t	length = size;

	memcpy(file, &length, 8);
	if (size > 0)
		memcpy(file + 8, bytes, size);
	if (size > 0)
		file[8] = '{';
	if (is_accepted(lat_tensors_read(&test.host, file, 8 + size + data, &tensors, &error), &error))
	{
		for (int i = 0; i < tensors.count; i++)
		{
			const LatTensor *tensor = &tensors.items[i];

			REQUIRE(tensor->data >= file + 8 + size);
			REQUIRE(tensor->data + (tensor->stop - tensor->start) <= file + 8 + size + data);
		}
	}
	lat_tensors_release(&test.host, &tensors);
	REQUIRE(test.live == 0);
	free(file);
}

/* A copy of sound bytes with damage done to it. */
static uint8_t *
damaged_copy(const void *sound, size_t size, const uint8_t *damage, size_t damage_size)
{
	uint8_t    *copy = malloc(size);

	memcpy(copy, sound, size);
	for (; damage_size >= 5; damage += 5, damage_size -= 5)
	{
		uint32_t	where;

		memcpy(&where, damage, sizeof(where));
		copy[where % size] = (uint8_t) (copy[where % size] + damage[4]);
	}
	return copy;
}

static void
open_golden(Golden *golden)
{
	LatError	error = {"", ""};
	LatModel	model;

	test_host_init(&test);
	golden->source = load_source(GOLDEN, &golden->source_size);
	REQUIRE(golden->source != NULL);
	REQUIRE(lat_source_open(golden->source, golden->source_size, golden->parts, &error) == LAT_OK);
	REQUIRE(load_model(&test.host, GOLDEN, LAT_INT8, &model, &error) == LAT_OK);
	golden->image = (uint8_t *) (uintptr_t) model.image;
	golden->image_size = model.image_size;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Golden golden;
	uint8_t		choice;
	LatPrecision precision;
	uint8_t    *copy;

	if (golden.source == NULL)
		open_golden(&golden);
	if (size < 1)
		return 0;
	choice = data[0] >> 1;
	precision = data[0] & 1 ? LAT_INT8 : LAT_FP32;
	data++;
	size--;
	switch (choice % 10)
	{
		case 0:
			try_header(data, size);
			break;
		case 1:
			try_part(&golden, LAT_PART_CONFIG, data, size, precision);
			break;
		case 2:
			try_part(&golden, LAT_PART_TOKENIZER_CONFIG, data, size, precision);
			break;
		case 3:
			try_part(&golden, LAT_PART_TOKENIZER, data, size, precision);
			break;
		case 4:
			try_part(&golden, LAT_PART_WEIGHTS, data, size, precision);
			break;
		case 5:
			try_source(data, size, precision);
			break;
		case 6:
			try_image(data, size, false);
			break;
		case 7:
			copy = damaged_copy(golden.image, golden.image_size, data, size);
			try_image(copy, golden.image_size, false);
			free(copy);
			break;
		case 8:
			copy = damaged_copy(golden.parts[LAT_PART_CONFIG].bytes,
								golden.parts[LAT_PART_CONFIG].size, data, size);
			try_part(&golden, LAT_PART_CONFIG, copy, golden.parts[LAT_PART_CONFIG].size, precision);
			free(copy);
			break;
		default:
			copy = damaged_copy(golden.source, golden.source_size, data, size);
			try_source(copy, golden.source_size, precision);
			free(copy);
			break;
	}
	return 0;
}
