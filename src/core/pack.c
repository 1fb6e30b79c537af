/*
 * pack.c
 *	  From a checkpoint to the packed image that the kernels read.
 *
 * Opening reads everything and refuses what is wrong, so that an import fails
 * before anything is stored; writing then only converts.  A row of the
 * checkpoint, (n, k) as PyTorch keeps a Linear, is converted to floats and handed
 * to coding.c, which lays it out.  Scratch memory is one such row.
 */
#include <string.h>

#include "checkpoint.h"
#include "coding.h"

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

static LatStatus
place_sections(LatPacker *packer, size_t vocabulary_size, LatError *error)
{
	const LatConfig *config = &packer->settings.config;
	uint64_t	size;

	packer->section_count = lat_list_sections(config, packer->sections);
	packer->sections[LAT_SECTION_LABELS].size =
		lat_labels_size(packer->settings.labels.items, packer->settings.labels.count);
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

/* ---- writing ------------------------------------------------------------------------------ */

static LatStatus
write_linear(LatPacker *packer, const LatSection *section, const LatSectionTensors *source,
			 uint8_t *bytes, LatError *error)
{
	LatLinearTarget target;
	size_t		k;
	LatStatus	status;

	lat_begin_linear(&packer->settings.config, packer->precision, section, bytes, &target);
	k = (size_t) target.header.k;
	for (int piece = 0; piece < source->pieces; piece++)
	{
		int32_t		first = piece * (target.header.n_padded / source->pieces);
		int32_t		columns = (int32_t) source->weights[piece]->shape[0];

		for (int32_t i = 0; i < columns; i++)
		{
			lat_tensor_floats(source->weights[piece], (uint64_t) i * k, k, packer->row);
			lat_write_column(&target, first + i, packer->row, packer->codes);
			if ((status = poll_host(packer, k, error)) != LAT_OK)
				return status;
		}
		lat_tensor_floats(source->biases[piece], 0, (size_t) columns, target.bias + first);
	}
	return LAT_OK;
}

static LatStatus
write_embedding(LatPacker *packer, const LatSection *section, const LatSectionTensors *source,
				uint8_t *bytes, LatError *error)
{
	const LatConfig *config = &packer->settings.config;
	size_t		width = (size_t) config->embedding;
	size_t		rows = (size_t) source->weights[0]->shape[0];
	LatEmbeddingTarget target;
	LatStatus	status;

	if (section->kind == LAT_SECTION_WORDS)
		rows = (size_t) config->vocabulary;
	lat_begin_embedding(config, packer->precision, rows, bytes, &target);
	for (size_t i = 0; i < rows; i++)
	{
		lat_tensor_floats(source->weights[0], i * width, width, packer->row);
		lat_write_embedding_row(&target, i, packer->row);
		if ((status = poll_host(packer, width, error)) != LAT_OK)
			return status;
	}
	return LAT_OK;
}

static void
write_norm(const LatSection *section, const LatSectionTensors *source, void *bytes)
{
	size_t		width = (size_t) source->weights[0]->shape[0];
	float	   *gamma = bytes;

	memset(bytes, 0, (size_t) section->size);
	lat_tensor_floats(source->weights[0], 0, width, gamma);
	lat_tensor_floats(source->biases[0], 0, width, gamma + LAT_ROUND_UP(width, LAT_PANEL));
}

static LatStatus
write_section(LatPacker *packer, int index, uint8_t *bytes, LatError *error)
{
	const LatSection *section = &packer->sections[index];
	const LatSectionTensors *source = &packer->sources[index];

	switch (section->kind)
	{
		case LAT_SECTION_LABELS:
			lat_write_labels(packer->settings.labels.items, packer->settings.labels.count, bytes);
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
	LatStatus	status = LAT_OK;

	lat_write_frame(&packer->settings.config, packer->precision, packer->sections,
					packer->section_count, packer->image_size, bytes);
	for (int i = 0; i < packer->section_count && status == LAT_OK; i++)
		status = write_section(packer, i, bytes + packer->sections[i].offset, error);
	return status;
}
