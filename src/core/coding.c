/*
 * coding.c
 *	  Floats become sections of a packed image (format.h).
 *
 * A row of a checkpoint's matrix, (n, k) as PyTorch keeps a Linear, is one output
 * channel: it is coded and scattered into its column of the panel layout.
 *
 * int8: a column's scale is max|w| / 127 and a code is w / scale rounded to
 * nearest, ties to even; so is each row of an embedding.  The same floats give
 * the same bytes on every machine: all steps are single IEEE operations.
 */
#include "coding.h"

#include <string.h>

/* ---- coding ------------------------------------------------------------------------------- */

/*
 * Code a row into -127 .. 127 and return its scale.  Adding 1.5 * 2^23 leaves
 * the rounded integer in the low bits of the float.  A row of zeros, or of
 * values so small that the scale would be subnormal, has scale 0 and codes 0.
 */
static float
quantize_row(const float *row, int32_t n, int8_t *codes)
{
	const float magic = 0x1.8p23f;
	int32_t		largest = 0;	/* bits of max|w|: ordered as the floats are */
	float		limit;
	float		inverse;

	for (int32_t i = 0; i < n; i++)
	{
		int32_t		bits;

		memcpy(&bits, &row[i], sizeof(bits));
		bits &= 0x7fffffff;
		largest = bits > largest ? bits : largest;
	}
	memcpy(&limit, &largest, sizeof(limit));
	if (limit < 0x1p-118f)
	{
		memset(codes, 0, (size_t) n);
		return 0.0f;
	}
	inverse = 127.0f / limit;
	for (int32_t i = 0; i < n; i++)
	{
		float		shifted = row[i] * inverse + magic;
		int32_t		bits;

		memcpy(&bits, &shifted, sizeof(bits));
		codes[i] = (int8_t) (bits - 0x4b400000);
	}
	return limit / 127.0f;
}

/* Floats of the image; sections are aligned, and their parts too. */
static float *
floats_at(void *bytes)
{
	return bytes;
}

/* ---- linears ------------------------------------------------------------------------------ */

void
lat_begin_linear(const LatConfig *config, LatPrecision precision, const LatSection *section,
				 uint8_t *bytes, LatLinearTarget *target)
{
	LatLinearHeader *header = &target->header;
	uint8_t    *end = bytes + section->size;
	uint8_t    *behind;
	size_t		elements;

	memset(target, 0, sizeof(LatLinearTarget));
	lat_fill_linear_header(config, precision, (LatSectionKind) section->kind, header);
	memcpy(bytes, header, sizeof(LatLinearHeader));
	elements = (size_t) header->k_padded * (size_t) header->n_padded;
	target->weights = bytes + sizeof(LatLinearHeader);
	if (header->layout == LAT_INT8)
	{
		target->column_sums = (int32_t *) (target->weights + elements);
		target->scales = floats_at(target->column_sums + header->n_padded);
		target->bias = target->scales + header->n_padded;
		behind = target->weights + elements;
	}
	else
	{
		target->bias = floats_at(target->weights) + elements;
		behind = (uint8_t *) target->bias;
	}
	memset(behind, 0, (size_t) (end - behind));
}

void
lat_write_column(const LatLinearTarget *target, int32_t column, const float *row, int8_t *codes)
{
	size_t		lane = (size_t) (column % LAT_PANEL);
	size_t		k = (size_t) target->header.k;
	size_t		k_padded = (size_t) target->header.k_padded;
	size_t		first = (size_t) (column / LAT_PANEL) * k_padded * LAT_PANEL;

	if (target->header.layout == LAT_INT8)
	{
		uint8_t    *panel = target->weights + first;
		int32_t		sum = 0;

		if (lane == 0)
			memset(panel, 0, k_padded * LAT_PANEL);
		target->scales[column] = quantize_row(row, (int32_t) k, codes);
		memset(codes + k, 0, k_padded - k);
		for (size_t i = 0; i < k; i++)
			sum += codes[i];
		target->column_sums[column] = sum;
		for (size_t i = 0; i < k_padded; i += 4)
			memcpy(panel + i * LAT_PANEL + lane * 4, codes + i, 4);
	}
	else
	{
		float	   *panel = floats_at(target->weights) + first;

		if (lane == 0)
			memset(panel, 0, k * LAT_PANEL * sizeof(float));
		for (size_t i = 0; i < k; i++)
			panel[i * LAT_PANEL + lane] = row[i];
	}
}

/* ---- embeddings --------------------------------------------------------------------------- */

void
lat_begin_embedding(const LatConfig *config, LatPrecision precision, size_t rows, uint8_t *bytes,
					LatEmbeddingTarget *target)
{
	size_t		stride = LAT_ROUND_UP((size_t) config->embedding, LAT_PANEL);
	size_t		end = rows * stride;

	*target = (LatEmbeddingTarget) {
		.precision = precision,.width = (size_t) config->embedding,.stride = stride,.codes = bytes
	};
	if (precision == LAT_INT8)
	{
		memset(bytes + end, 0, LAT_ROUND_UP(end, LAT_ALIGNMENT) - end);
		target->scales = floats_at(bytes + LAT_ROUND_UP(end, LAT_ALIGNMENT));
	}
}

void
lat_write_embedding_row(const LatEmbeddingTarget *target, size_t i, const float *row)
{
	size_t		width = target->width;
	size_t		stride = target->stride;

	if (target->precision == LAT_INT8)
	{
		int8_t	   *to = (int8_t *) target->codes + i * stride;

		target->scales[i] = quantize_row(row, (int32_t) width, to);
		memset(to + width, 0, stride - width);
	}
	else
	{
		float	   *to = floats_at(target->codes) + i * stride;

		memcpy(to, row, width * sizeof(float));
		memset(to + width, 0, (stride - width) * sizeof(float));
	}
}

/* ---- labels and frame --------------------------------------------------------------------- */

uint64_t
lat_labels_size(const LatWord *labels, int32_t count)
{
	uint64_t	size = ((uint64_t) count + 1) * sizeof(uint32_t);

	for (int32_t i = 0; i < count; i++)
		size += labels[i].bytes;
	return size;
}

void
lat_write_labels(const LatWord *labels, int32_t count, uint8_t *bytes)
{
	uint32_t   *offsets = (uint32_t *) bytes;
	char	   *to = (char *) (offsets + count + 1);

	offsets[0] = 0;
	for (int32_t i = 0; i < count; i++)
	{
		memcpy(to + offsets[i], labels[i].text, labels[i].bytes);
		offsets[i + 1] = offsets[i] + (uint32_t) labels[i].bytes;
	}
}

void
lat_write_frame(const LatConfig *config, LatPrecision precision, const LatSection *sections,
				int count, uint64_t size, uint8_t *image)
{
	uint64_t	end = sizeof(LatImageHeader) + (uint64_t) count * sizeof(LatSection);
	LatImageHeader header = {
		.version = LAT_FORMAT_VERSION,
		.precision = precision,
		.size = size,
		.sections = (uint32_t) count,
		.config = *config
	};

	memcpy(header.magic, LAT_FORMAT_MAGIC, sizeof(header.magic));
	memcpy(image, &header, sizeof(header));
	memcpy(image + sizeof(header), sections, (size_t) count * sizeof(LatSection));
	for (int i = 0; i < count; i++)
	{
		memset(image + end, 0, (size_t) (sections[i].offset - end));
		end = sections[i].offset + sections[i].size;
	}
	memset(image + end, 0, (size_t) (size - end));
}
