/*
 * pack.c
 *	  From a checkpoint to the packed image that the kernels read.
 *
 * Opening reads everything and refuses what is wrong, so that an import fails
 * before anything is stored; writing then only converts.  A row of the
 * checkpoint, (n, k) as PyTorch keeps a Linear, is one output channel: it is
 * converted to floats, coded, and scattered into its column of the panel layout
 * (format.h).  Scratch memory is one such row.
 *
 * int8: a column's scale is max|w| / 127 and a code is w / scale rounded to
 * nearest, ties to even; so is each row of an embedding.  The same checkpoint
 * gives the same bytes on every machine: all steps are single IEEE operations.
 */
#include <string.h>

#include "checkpoint.h"

#define POLL_ELEMENTS ((size_t) 1 << 18)	/* weights between two polls: about 1 ms */

struct LatPacker
{
	const LatHost *host;
	LatPrecision precision;
	LatSettings settings;
	LatTensors	tensors;
	void	   *vocabulary;		/* the finished section */
	size_t		image_size;
	size_t		elements;		/* converted since the host was last asked */
	int			section_count;
	LatSection	sections[LAT_MAX_SECTIONS];
	LatSectionTensors sources[LAT_MAX_SECTIONS];
	float		row[LAT_MAX_INTERMEDIATE];
	int8_t		codes[LAT_MAX_INTERMEDIATE];
};

static LatStatus
poll_host(LatPacker *packer, size_t elements, LatError *error)
{
	packer->elements += elements;
	if (packer->elements < POLL_ELEMENTS)
		return LAT_OK;
	packer->elements = 0;
	if (packer->host->interrupted(packer->host->arg))
		return lat_fail(error, LAT_INTERRUPTED, "interrupted while packing a model");
	return LAT_OK;
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Refuse NaN and infinity, a piece at a time. */
static LatStatus
check_values(LatPacker *packer, const LatTensor *tensor, LatError *error)
{
	uint64_t	count;
	LatStatus	status;

	if (tensor == NULL)
		return LAT_OK;
	count = (tensor->stop - tensor->start) / (uint64_t) tensor->element_size;
	for (uint64_t first = 0; first < count; first += POLL_ELEMENTS)
	{
		size_t		piece = count - first < POLL_ELEMENTS ? count - first : POLL_ELEMENTS;

		if (!lat_tensor_finite(tensor, first, piece))
		{
			lat_fail(error, LAT_BAD_MODEL, "tensor \"%.*s\" holds NaN or infinite values",
					 (int) tensor->name.size, tensor->name.bytes);
			return lat_hint(error, LAT_BAD_MODEL,
							"The training of this model has diverged, or the file is damaged.");
		}
		if ((status = poll_host(packer, piece, error)) != LAT_OK)
			return status;
	}
	return LAT_OK;
}

static LatStatus
check_tensors(LatPacker *packer, LatError *error)
{
	LatStatus	status;

	/* All names and shapes before the first value: the cheap errors come first. */
	for (int i = LAT_SECTION_WORDS; i < packer->section_count; i++)
	{
		status = lat_find_section_tensors(&packer->tensors, &packer->settings,
										  &packer->sections[i], &packer->sources[i], error);
		if (status != LAT_OK)
			return status;
	}
	for (int i = LAT_SECTION_WORDS; i < packer->section_count; i++)
	{
		for (int piece = 0; piece < packer->sources[i].pieces; piece++)
		{
			const LatSectionTensors *source = &packer->sources[i];

			if ((status = check_values(packer, source->weights[piece], error)) != LAT_OK ||
				(status = check_values(packer, source->biases[piece], error)) != LAT_OK)
				return status;
		}
	}
	return LAT_OK;
}

static uint64_t
labels_size(const LatTexts *labels)
{
	uint64_t	size = ((uint64_t) labels->count + 1) * sizeof(uint32_t);

	for (int32_t i = 0; i < labels->count; i++)
		size += labels->items[i].bytes;
	return size;
}

static LatStatus
place_sections(LatPacker *packer, size_t vocabulary_size, LatError *error)
{
	const LatConfig *config = &packer->settings.config;
	uint64_t	size;

	packer->section_count = lat_list_sections(config, packer->sections);
	packer->sections[LAT_SECTION_LABELS].size = labels_size(&packer->settings.labels);
	packer->sections[LAT_SECTION_VOCABULARY].size = vocabulary_size;
	size = lat_place_sections(config, packer->precision, packer->sections, packer->section_count);
	if (size == 0)
		return lat_fail(error, LAT_UNSUPPORTED, "the model is too large for this machine");
	packer->image_size = (size_t) size;
	return LAT_OK;
}

static LatStatus
read_source(LatPacker *packer, const void *source, size_t size, LatError *error)
{
	const LatHost *host = packer->host;
	LatSettings *settings = &packer->settings;
	LatPart		parts[LAT_PART_COUNT];
	size_t		vocabulary_size = 0;
	LatStatus	status;

	if ((status = lat_source_open(source, size, parts, error)) != LAT_OK ||
		(status = lat_settings_read(host, parts, settings, error)) != LAT_OK ||
		(status = lat_tensors_read(host, (const uint8_t *) parts[LAT_PART_WEIGHTS].bytes,
								   parts[LAT_PART_WEIGHTS].size, &packer->tensors,
								   error)) != LAT_OK ||
		(status = lat_vocabulary_build(host, settings->words.items, settings->words.count,
									   settings->added, settings->added_count,
									   &packer->vocabulary, &vocabulary_size, error)) != LAT_OK ||
		(status = place_sections(packer, vocabulary_size, error)) != LAT_OK)
		return status;
	return check_tensors(packer, error);
}

LatStatus
lat_packer_open(const LatHost *host, const void *source, size_t size, LatPrecision precision,
				LatPacker **packer, LatError *error)
{
	LatStatus	status;

	*packer = host->alloc(host->arg, sizeof(LatPacker));
	if (*packer == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for packing a model");
	memset(*packer, 0, sizeof(LatPacker));
	(*packer)->host = host;
	(*packer)->precision = precision;
	status = read_source(*packer, source, size, error);
	if (status != LAT_OK)
	{
		lat_packer_close(*packer);
		*packer = NULL;
	}
	return status;
}

const LatConfig *
lat_packer_config(const LatPacker *packer)
{
	return &packer->settings.config;
}

size_t
lat_packer_image_size(const LatPacker *packer)
{
	return packer->image_size;
}

void
lat_packer_close(LatPacker *packer)
{
	const LatHost *host;

	if (packer == NULL)
		return;
	host = packer->host;
	lat_settings_release(host, &packer->settings);
	lat_tensors_release(host, &packer->tensors);
	host->release(host->arg, packer->vocabulary);
	host->release(host->arg, packer);
}

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

/* Where a linear's arrays lie in its section. */
typedef struct LinearParts
{
	LatLinearHeader header;
	uint8_t    *weights;
	int32_t    *column_sums;
	float	   *scales;
	float	   *bias;
} LinearParts;

static void
find_linear_parts(uint8_t *bytes, LinearParts *parts)
{
	size_t		elements = (size_t) parts->header.k_padded * (size_t) parts->header.n_padded;

	parts->weights = bytes + sizeof(LatLinearHeader);
	if (parts->header.layout == LAT_INT8)
	{
		parts->column_sums = (int32_t *) (parts->weights + elements);
		parts->scales = floats_at(parts->column_sums + parts->header.n_padded);
		parts->bias = parts->scales + parts->header.n_padded;
	}
	else
		parts->bias = floats_at(parts->weights) + elements;
}

/* Put the packer's row into a column; its panel has been zeroed. */
static void
write_column(LatPacker *packer, const LinearParts *parts, int32_t column)
{
	size_t		panel = (size_t) (column / LAT_PANEL);
	size_t		lane = (size_t) (column % LAT_PANEL);
	int32_t		k = parts->header.k;
	int32_t		k_padded = parts->header.k_padded;

	if (parts->header.layout == LAT_INT8)
	{
		uint8_t    *to = parts->weights + panel * (size_t) k_padded * LAT_PANEL + lane * 4;
		int32_t		sum = 0;

		parts->scales[column] = quantize_row(packer->row, k, packer->codes);
		memset(packer->codes + k, 0, (size_t) (k_padded - k));
		for (int32_t i = 0; i < k; i++)
			sum += packer->codes[i];
		parts->column_sums[column] = sum;
		for (int32_t i = 0; i < k_padded; i += 4)
			memcpy(to + (size_t) i * LAT_PANEL, packer->codes + i, 4);
	}
	else
	{
		float	   *to = floats_at(parts->weights) + panel * (size_t) k * LAT_PANEL + lane;

		for (int32_t i = 0; i < k; i++)
			to[(size_t) i * LAT_PANEL] = packer->row[i];
	}
}

static LatStatus
write_linear(LatPacker *packer, const LatSection *section, const LatSectionTensors *source,
			 uint8_t *bytes, LatError *error)
{
	LinearParts parts = {.weights = NULL};
	LatLinearHeader *header = &parts.header;
	size_t		panel_size;
	LatStatus	status;

	lat_fill_linear_header(&packer->settings.config, packer->precision,
						   (LatSectionKind) section->kind, header);
	memcpy(bytes, header, sizeof(LatLinearHeader));
	find_linear_parts(bytes, &parts);
	panel_size = (size_t) header->k_padded * LAT_PANEL * (header->layout == LAT_INT8 ? 1 : 4);
	/* Everything behind the weights, where padded columns stay zero. */
	memset(parts.weights + panel_size * (size_t) (header->n_padded / LAT_PANEL), 0,
		   (size_t) section->size - sizeof(LatLinearHeader) -
		   panel_size * (size_t) (header->n_padded / LAT_PANEL));
	for (int piece = 0; piece < source->pieces; piece++)
	{
		int32_t		first = piece * (header->n_padded / source->pieces);
		int32_t		columns = (int32_t) source->weights[piece]->shape[0];

		for (int32_t i = 0; i < columns; i++)
		{
			if (i % LAT_PANEL == 0)
				memset(parts.weights + panel_size * (size_t) ((first + i) / LAT_PANEL), 0,
					   panel_size);
			lat_tensor_floats(source->weights[piece], (uint64_t) i * (uint64_t) header->k,
							  (size_t) header->k, packer->row);
			write_column(packer, &parts, first + i);
			if ((status = poll_host(packer, (size_t) header->k, error)) != LAT_OK)
				return status;
		}
		lat_tensor_floats(source->biases[piece], 0, (size_t) columns, parts.bias + first);
	}
	return LAT_OK;
}

static LatStatus
write_embedding(LatPacker *packer, const LatSection *section, const LatSectionTensors *source,
				uint8_t *bytes, LatError *error)
{
	const LatConfig *config = &packer->settings.config;
	size_t		width = (size_t) config->embedding;
	size_t		stride = LAT_ROUND_UP(width, LAT_PANEL);
	size_t		rows = (size_t) source->weights[0]->shape[0];
	size_t		codes_end;
	float	   *scales;
	LatStatus	status;

	if (section->kind == LAT_SECTION_WORDS)
		rows = (size_t) config->vocabulary;
	codes_end = LAT_ROUND_UP(rows * stride, LAT_ALIGNMENT);
	scales = floats_at(bytes + codes_end);	/* of int8 only */
	if (packer->precision == LAT_INT8)
		memset(bytes + rows * stride, 0, codes_end - rows * stride);
	for (size_t i = 0; i < rows; i++)
	{
		lat_tensor_floats(source->weights[0], i * width, width, packer->row);
		if (packer->precision == LAT_INT8)
		{
			int8_t	   *to = (int8_t *) bytes + i * stride;

			scales[i] = quantize_row(packer->row, config->embedding, to);
			memset(to + width, 0, stride - width);
		}
		else
		{
			float	   *to = floats_at(bytes) + i * stride;

			memcpy(to, packer->row, width * sizeof(float));
			memset(to + width, 0, (stride - width) * sizeof(float));
		}
		if ((status = poll_host(packer, width, error)) != LAT_OK)
			return status;
	}
	return LAT_OK;
}

static void
write_norm(const LatSection *section, const LatSectionTensors *source, uint8_t *bytes)
{
	size_t		width = (size_t) source->weights[0]->shape[0];
	float	   *gamma = floats_at(bytes);

	memset(bytes, 0, (size_t) section->size);
	lat_tensor_floats(source->weights[0], 0, width, gamma);
	lat_tensor_floats(source->biases[0], 0, width, gamma + LAT_ROUND_UP(width, LAT_PANEL));
}

static void
write_labels(const LatTexts *labels, uint8_t *bytes)
{
	uint32_t   *offsets = (uint32_t *) bytes;
	char	   *to = (char *) (offsets + labels->count + 1);

	offsets[0] = 0;
	for (int32_t i = 0; i < labels->count; i++)
	{
		memcpy(to + offsets[i], labels->items[i].text, labels->items[i].bytes);
		offsets[i + 1] = offsets[i] + (uint32_t) labels->items[i].bytes;
	}
}

static LatStatus
write_section(LatPacker *packer, int index, uint8_t *bytes, LatError *error)
{
	const LatSection *section = &packer->sections[index];
	const LatSectionTensors *source = &packer->sources[index];

	switch (section->kind)
	{
		case LAT_SECTION_LABELS:
			write_labels(&packer->settings.labels, bytes);
			return LAT_OK;
		case LAT_SECTION_VOCABULARY:
			memcpy(bytes, packer->vocabulary, (size_t) section->size);
			return LAT_OK;
		case LAT_SECTION_WORDS:
		case LAT_SECTION_POSITIONS:
		case LAT_SECTION_SEGMENTS:
			return write_embedding(packer, section, source, bytes, error);
		case LAT_SECTION_EMBEDDING_NORM:
		case LAT_SECTION_ATTENTION_NORM:
		case LAT_SECTION_OUTPUT_NORM:
			write_norm(section, source, bytes);
			return LAT_OK;
		default:
			return write_linear(packer, section, source, bytes, error);
	}
}

LatStatus
lat_packer_write(LatPacker *packer, void *image, LatError *error)
{
	uint8_t    *bytes = image;
	uint64_t	end = sizeof(LatImageHeader) +
		(uint64_t) packer->section_count * sizeof(LatSection);
	LatImageHeader header = {
		.version = LAT_FORMAT_VERSION,
		.precision = packer->precision,
		.size = packer->image_size,
		.sections = (uint32_t) packer->section_count,
		.config = packer->settings.config
	};
	LatStatus	status = LAT_OK;

	memcpy(header.magic, LAT_FORMAT_MAGIC, sizeof(header.magic));
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), packer->sections,
		   (size_t) packer->section_count * sizeof(LatSection));
	for (int i = 0; i < packer->section_count && status == LAT_OK; i++)
	{
		const LatSection *section = &packer->sections[i];

		memset(bytes + end, 0, (size_t) (section->offset - end));
		status = write_section(packer, i, bytes + section->offset, error);
		end = section->offset + section->size;
	}
	memset(bytes + end, 0, (size_t) (packer->image_size - end));
	return status;
}
