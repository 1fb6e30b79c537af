/*
 * source.c
 *	  The stored form of a checkpoint: its files, end to end behind a small header.
 *
 *		offset  size  meaning
 *			 0     8  magic "lat-srcs"
 *			 8     4  version, 1
 *			12     4  number of parts, LAT_PART_COUNT
 *			16    40  size of each part in bytes, 0: absent
 *			56     8  zero
 *			64        parts, in the order of LatSourcePart, each at a multiple of 64
 *
 * Files are kept as they are, so that the sha256 of the whole says which
 * checkpoint it is.
 */
#include "source.h"

#include <string.h>

#include "format.h"

#define SOURCE_MAGIC "lat-srcs"
#define SOURCE_VERSION 1

typedef struct SourceHeader
{
	char		magic[8];
	uint32_t	version;
	uint32_t	parts;
	uint64_t	sizes[LAT_PART_COUNT];
	uint64_t	zero;
} SourceHeader;

_Static_assert(sizeof(SourceHeader) == LAT_ALIGNMENT, "SourceHeader is part of the format");

const char *
lat_part_name(LatSourcePart part)
{
	static const char *const names[LAT_PART_COUNT] = {
		"config.json", "tokenizer_config.json", "vocab.txt", "tokenizer.json", "model.safetensors"
	};

	return (unsigned) part < LAT_PART_COUNT ? names[part] : "unknown";
}

size_t
lat_source_header_size(void)
{
	return sizeof(SourceHeader);
}

void
lat_write_source_header(void *header, const uint64_t sizes[LAT_PART_COUNT])
{
	SourceHeader filled = {.version = SOURCE_VERSION, .parts = LAT_PART_COUNT};

	memcpy(filled.magic, SOURCE_MAGIC, sizeof(filled.magic));
	memcpy(filled.sizes, sizes, sizeof(filled.sizes));
	memcpy(header, &filled, sizeof(filled));
}

uint64_t
lat_source_part_offset(const uint64_t sizes[LAT_PART_COUNT], LatSourcePart part)
{
	uint64_t	offset = sizeof(SourceHeader);

	for (int i = 0; i < (int) part; i++)
		offset += LAT_ROUND_UP(sizes[i], LAT_ALIGNMENT);
	return offset;
}

uint64_t
lat_source_size(const uint64_t sizes[LAT_PART_COUNT])
{
	return lat_source_part_offset(sizes, LAT_PART_WEIGHTS) + sizes[LAT_PART_WEIGHTS];
}

bool
lat_is_image(const void *content, size_t size)
{
	return size >= 8 && memcmp(content, LAT_FORMAT_MAGIC, 8) == 0;
}

static LatStatus
absent_part(LatSourcePart part, LatError *error)
{
	lat_fail(error, LAT_BAD_MODEL, "the checkpoint has no %s, or it is empty", lat_part_name(part));
	return lat_hint(error, LAT_BAD_MODEL,
					"A checkpoint holds config.json, model.safetensors, and vocab.txt or "
					"tokenizer.json, as save_pretrained writes them.");
}

static LatStatus
check_header(const SourceHeader *header, size_t size, LatError *error)
{
	if (memcmp(header->magic, SOURCE_MAGIC, sizeof(header->magic)) != 0 ||
		header->version != SOURCE_VERSION || header->parts != LAT_PART_COUNT || header->zero != 0)
		return lat_fail(error, LAT_BAD_MODEL,
						"the stored model does not begin with a known header");
	for (int i = 0; i < LAT_PART_COUNT; i++)
	{
		if (header->sizes[i] > size)	/* so that sums cannot overflow */
			return lat_fail(error, LAT_BAD_MODEL, "the stored %s is larger than the whole model",
							lat_part_name((LatSourcePart) i));
	}
	if (size > SIZE_MAX / 16 || lat_source_size(header->sizes) != size)
		return lat_fail(error, LAT_BAD_MODEL,
						"the sizes of the stored model's parts do not add up");
	return LAT_OK;
}

LatStatus
lat_source_open(const void *source, size_t size, LatPart parts[LAT_PART_COUNT], LatError *error)
{
	SourceHeader header;
	LatStatus	status;

	memset(parts, 0, LAT_PART_COUNT * sizeof(LatPart));
	if (size < sizeof(header))
		return lat_fail(error, LAT_BAD_MODEL, "the stored model is shorter than its header");
	memcpy(&header, source, sizeof(header));
	if ((status = check_header(&header, size, error)) != LAT_OK)
		return status;
	for (int i = 0; i < LAT_PART_COUNT; i++)
	{
		if (header.sizes[i] == 0)
			continue;
		parts[i].bytes = (const char *) source +
			lat_source_part_offset(header.sizes, (LatSourcePart) i);
		parts[i].size = (size_t) header.sizes[i];
	}
	if (parts[LAT_PART_CONFIG].bytes == NULL)
		return absent_part(LAT_PART_CONFIG, error);
	if (parts[LAT_PART_WEIGHTS].bytes == NULL)
		return absent_part(LAT_PART_WEIGHTS, error);
	if (parts[LAT_PART_VOCABULARY].bytes == NULL && parts[LAT_PART_TOKENIZER].bytes == NULL)
		return absent_part(LAT_PART_VOCABULARY, error);
	return LAT_OK;
}
