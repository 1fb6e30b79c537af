/*
 * verify.c
 *	  Every value of an opened image that inference relies on.
 *
 * lat_model_open (format.c) has proved where everything lies; this reads it all.
 * A model that passes gives finite results on finite arithmetic, and nothing in
 * it can lead a lookup out of its section: floats are finite, codes stay within
 * +-127, column sums are those of the codes, padding is zero, labels are UTF-8.
 */
#include <string.h>

#include <utf8proc.h>

#include "format.h"
#include "vocabulary.h"

#define POLL_BYTES ((size_t) 1 << 20)

/* The walk over one model. */
typedef struct Verifier
{
	const LatHost *host;
	const LatModel *model;
	const LatSection *section;	/* being read, for messages */
	size_t		bytes;			/* read since the host was last asked */
	LatError   *error;
} Verifier;

static LatStatus
damaged(const Verifier *verifier, const char *what)
{
	LatSectionKind kind = (LatSectionKind) verifier->section->kind;

	if (kind >= LAT_SECTION_QKV && kind <= LAT_SECTION_OUTPUT_NORM)
		lat_fail(verifier->error, LAT_BAD_MODEL, "the packed model is damaged: %s of layer %u %s",
				 lat_section_name(kind), (unsigned) verifier->section->layer, what);
	else
		lat_fail(verifier->error, LAT_BAD_MODEL, "the packed model is damaged: %s %s",
				 lat_section_name(kind), what);
	return lat_hint(verifier->error, LAT_BAD_MODEL, "Import the model again.");
}

static LatStatus
poll_host(Verifier *verifier, size_t bytes)
{
	verifier->bytes += bytes;
	if (verifier->bytes < POLL_BYTES)
		return LAT_OK;
	verifier->bytes = 0;
	if (verifier->host->interrupted(verifier->host->arg))
		return lat_fail(verifier->error, LAT_INTERRUPTED, "interrupted while checking a model");
	return LAT_OK;
}

static bool
is_zero(const void *start, size_t bytes)
{
	const uint8_t *at = start;
	uint8_t		any = 0;

	for (size_t i = 0; i < bytes; i++)
		any |= at[i];
	return any == 0;
}

static bool
are_finite(const float *floats, size_t count)
{
	uint32_t	special = 0;

	for (size_t i = 0; i < count; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &floats[i], sizeof(bits));
		special |= (bits & 0x7f800000) == 0x7f800000;
	}
	return special == 0;
}

/* Scales are not negative either; -0 is. */
static bool
are_scales(const float *floats, size_t count)
{
	uint32_t	signs = 0;

	for (size_t i = 0; i < count; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &floats[i], sizeof(bits));
		signs |= bits >> 31;
	}
	return signs == 0 && are_finite(floats, count);
}

static bool
are_codes(const int8_t *codes, size_t count)
{
	uint8_t		outside = 0;

	for (size_t i = 0; i < count; i++)
		outside |= codes[i] == -128;
	return outside == 0;
}

/* A vector of n finite floats, padded with zeros. */
static bool
is_padded_vector(const float *floats, size_t n, size_t padded)
{
	return are_finite(floats, n) && is_zero(floats + n, (padded - n) * sizeof(float));
}

/* ---- sections ----------------------------------------------------------------------------- */

static LatStatus
verify_labels(Verifier *verifier)
{
	const LatModel *model = verifier->model;

	for (int32_t i = 0; i < model->config.labels; i++)
	{
		const uint8_t *at = (const uint8_t *) model->label_bytes + model->label_offsets[i];
		const uint8_t *stop = (const uint8_t *) model->label_bytes + model->label_offsets[i + 1];

		/* The last offset is the end of the section; none before may lie beyond it. */
		if (model->label_offsets[i + 1] > model->label_offsets[model->config.labels] || at >= stop)
			return damaged(verifier, "have wrong offsets");
		while (at < stop)
		{
			utf8proc_int32_t character;
			utf8proc_ssize_t length = utf8proc_iterate(at, stop - at, &character);

			if (length <= 0 || character == 0)
				return damaged(verifier, "are not valid UTF-8");
			at += length;
		}
	}
	return LAT_OK;
}

static LatStatus
verify_embedding(Verifier *verifier, const LatEmbedding *embedding)
{
	size_t		width = (size_t) verifier->model->config.embedding;
	size_t		stride = (size_t) embedding->stride;
	size_t		rows = (size_t) embedding->rows;
	LatStatus	status;

	for (size_t i = 0; i < rows; i++)
	{
		if (embedding->precision == LAT_INT8)
		{
			const int8_t *row = (const int8_t *) embedding->codes + i * stride;

			if (!are_codes(row, width))
				return damaged(verifier, "have a code of -128");
			if (!is_zero(row + width, stride - width))
				return damaged(verifier, "have padding that is not zero");
		}
		else if (!is_padded_vector((const float *) embedding->codes + i * stride, width, stride))
			return damaged(verifier, "have NaN, infinite values or padding that is not zero");
		if ((status = poll_host(verifier, stride)) != LAT_OK)
			return status;
	}
	if (embedding->precision == LAT_INT8)
	{
		const uint8_t *end = (const uint8_t *) embedding->codes + rows * stride;

		if (!is_zero(end, (size_t) ((const uint8_t *) embedding->scales - end)))
			return damaged(verifier, "have padding that is not zero");
		if (!are_scales(embedding->scales, rows))
			return damaged(verifier, "have a scale that is negative, NaN or infinite");
	}
	return LAT_OK;
}

static LatStatus
verify_norm(Verifier *verifier, const LatNorm *norm, size_t width)
{
	size_t		padded = LAT_ROUND_UP(width, LAT_PANEL);

	if (!is_padded_vector(norm->gamma, width, padded) ||
		!is_padded_vector(norm->beta, width, padded))
		return damaged(verifier, "has NaN, infinite values or padding that is not zero");
	return LAT_OK;
}

/* One panel of int8 weights: its codes and their sums. */
static LatStatus
verify_codes(Verifier *verifier, const LatLinear *linear, size_t panel)
{
	size_t		bytes = (size_t) linear->k_padded * LAT_PANEL;
	const int8_t *codes = (const int8_t *) linear->weights + panel * bytes;
	int32_t		sums[LAT_PANEL] = {0};

	if (!are_codes(codes, bytes))
		return damaged(verifier, "has a code of -128");
	for (size_t row = 0; row < bytes; row += 4 * LAT_PANEL)
	{
		for (size_t lane = 0; lane < LAT_PANEL; lane++)
		{
			const int8_t *four = codes + row + 4 * lane;

			sums[lane] += four[0] + four[1] + four[2] + four[3];
		}
	}
	if (memcmp(sums, linear->column_sums + panel * LAT_PANEL, sizeof(sums)) != 0)
		return damaged(verifier, "has a wrong column sum");
	for (int32_t k = linear->k; k < linear->k_padded; k++)
	{
		for (size_t lane = 0; lane < LAT_PANEL; lane++)
		{
			if (codes[(size_t) (k / 4) * 64 + lane * 4 + (size_t) (k % 4)] != 0)
				return damaged(verifier, "has padding that is not zero");
		}
	}
	return LAT_OK;
}

/* One panel of fp32 weights, of whose columns the first `columns` are real. */
static LatStatus
verify_floats(Verifier *verifier, const LatLinear *linear, size_t panel, size_t columns)
{
	size_t		count = (size_t) linear->k * LAT_PANEL;
	const float *weights = (const float *) linear->weights + panel * count;

	if (!are_finite(weights, count))
		return damaged(verifier, "has NaN or infinite values");
	for (size_t at = 0; at < count && columns < LAT_PANEL; at += LAT_PANEL)
	{
		if (!is_zero(weights + at + columns, (LAT_PANEL - columns) * sizeof(float)))
			return damaged(verifier, "has padding that is not zero");
	}
	return LAT_OK;
}

/* Q, K and V are three pieces, each padded; every other linear is one. */
static LatStatus
verify_linear(Verifier *verifier, const LatLinear *linear)
{
	bool		is_qkv = verifier->section->kind == LAT_SECTION_QKV;
	size_t		pieces = is_qkv ? 3 : 1;
	size_t		columns = is_qkv ? (size_t) verifier->model->config.hidden : (size_t) linear->n;
	size_t		padded = (size_t) linear->n_padded / pieces;
	LatStatus	status;

	for (size_t piece = 0; piece < pieces; piece++)
	{
		size_t		first = piece * padded;

		if (!is_padded_vector(linear->bias + first, columns, padded))
			return damaged(verifier,
						   "has a bias that is NaN or infinite, or padding that is not zero");
		if (linear->layout == LAT_INT8 &&
			(!are_scales(linear->scales + first, columns) ||
			 !is_zero(linear->scales + first + columns, (padded - columns) * sizeof(float))))
			return damaged(verifier, "has a scale that is negative, NaN or infinite, "
						   "or padding that is not zero");
		for (size_t column = 0; column < padded; column += LAT_PANEL)
		{
			size_t		panel = (first + column) / LAT_PANEL;
			size_t		real = columns - column < LAT_PANEL ? columns - column : LAT_PANEL;

			status = linear->layout == LAT_INT8 ? verify_codes(verifier, linear, panel)
				: verify_floats(verifier, linear, panel, real);
			if (status != LAT_OK ||
				(status = poll_host(verifier, (size_t) linear->k * LAT_PANEL)) != LAT_OK)
				return status;
		}
	}
	return LAT_OK;
}

static LatStatus
verify_section(Verifier *verifier)
{
	const LatModel *model = verifier->model;
	const LatLayer *layer = &model->layers[verifier->section->layer];
	size_t		hidden = (size_t) model->config.hidden;

	switch ((LatSectionKind) verifier->section->kind)
	{
		case LAT_SECTION_LABELS:
			return verify_labels(verifier);
		case LAT_SECTION_VOCABULARY:
			return lat_vocabulary_verify(&model->vocabulary, verifier->error);
		case LAT_SECTION_WORDS:
			return verify_embedding(verifier, &model->words);
		case LAT_SECTION_POSITIONS:
			return verify_embedding(verifier, &model->positions);
		case LAT_SECTION_SEGMENTS:
			return verify_embedding(verifier, &model->segments);
		case LAT_SECTION_EMBEDDING_NORM:
			return verify_norm(verifier, &model->embedding_norm,
							   (size_t) model->config.embedding);
		case LAT_SECTION_EMBEDDING_PROJECTION:
			return verify_linear(verifier, &model->embedding_projection);
		case LAT_SECTION_QKV:
			return verify_linear(verifier, &layer->qkv);
		case LAT_SECTION_ATTENTION_OUTPUT:
			return verify_linear(verifier, &layer->attention_output);
		case LAT_SECTION_ATTENTION_NORM:
			return verify_norm(verifier, &layer->attention_norm, hidden);
		case LAT_SECTION_FEED_FORWARD_IN:
			return verify_linear(verifier, &layer->feed_forward_in);
		case LAT_SECTION_FEED_FORWARD_OUT:
			return verify_linear(verifier, &layer->feed_forward_out);
		case LAT_SECTION_OUTPUT_NORM:
			return verify_norm(verifier, &layer->output_norm, hidden);
		case LAT_SECTION_HEAD_DENSE:
			return verify_linear(verifier, &model->head_dense);
		case LAT_SECTION_HEAD_OUTPUT:
			return verify_linear(verifier, &model->head_output);
		case LAT_SECTION_KINDS:
			break;
	}
	return LAT_OK;
}

LatStatus
lat_model_verify(const LatHost *host, const LatModel *model, LatError *error)
{
	const LatImageHeader *header = (const LatImageHeader *) model->image;
	const LatSection *sections = (const LatSection *) (header + 1);
	Verifier	verifier = {.host = host, .model = model, .section = sections, .error = error};
	uint64_t	end = sizeof(LatImageHeader) + (uint64_t) header->sections * sizeof(LatSection);
	LatStatus	status;

	for (uint32_t i = 0; i < header->sections; i++)
	{
		verifier.section = &sections[i];
		if (!is_zero(model->image + end, (size_t) (sections[i].offset - end)))
			return damaged(&verifier, "is preceded by padding that is not zero");
		if ((status = verify_section(&verifier)) != LAT_OK)
			return status;
		end = sections[i].offset + sections[i].size;
	}
	if (!is_zero(model->image + end, (size_t) (model->image_size - end)))
		return damaged(&verifier, "is followed by padding that is not zero");
	return LAT_OK;
}
