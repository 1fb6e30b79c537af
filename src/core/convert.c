/*
 * convert.c
 *	  An image out of an image: another precision, another head.
 *
 * Training starts from an fp32 image, with the head of its task, made of what is
 * stored: a checkpoint's image or the int8 one that comes with the extension.
 * What it leaves is an fp32 image again, of which int8 is made for scoring.
 *
 * Section by section: what has the same form in both images is copied, and so
 * stays bit for bit what it was; floats are coded as pack.c codes a checkpoint's
 * (coding.c), so int8 from an fp32 image equals int8 packed from the checkpoint of
 * those floats.
 *
 * A code becomes a float somewhere in its step, (code + u) * scale with |u| < 1/2,
 * uniform: where the float that it was made of lay, for all one knows.  Without u
 * all weights would lie on the grid that they are coded on again in the end, and
 * training, which moves most of them by less than half a step, would be rounded
 * away.  With u, moves survive in the mean (subtractive dither: Roberts, IRE Trans.
 * Inf. Theory 8, 1962), and what was not trained gets its old code back: the
 * largest weights of a scale, +-127, keep their values, and so the scale.
 *
 * A new head is the one of Hugging Face's classes: output weights ~ normal(0,
 * 0.02), biases 0; a classifier's dense layer is new as well, unless the base is
 * a classifier whose dense layer has been trained already.  The normal
 * distribution is truncated at two standard deviations; numbers are counter-based
 * (random.h), so a seed gives one head.
 *
 * The base must have passed lat_model_verify.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "coding.h"
#include "lat_training.h"
#include "random.h"
#include "text.h"

#define POLL_ELEMENTS ((size_t) 1 << 18)	/* weights between two polls: about 1 ms */
#define RANDOM_SITE 0x68656164u /* "head": no other user of the seed draws there */
#define DITHER_SITE 0x64697468u /* "dith" */
#define DITHER_RANGE 0.999f		/* of a step: rounding errors do not carry a weight out of it */
#define NEW_WEIGHT_SIGMA 0.02
#define NEW_WEIGHT_RANGE 2.0	/* in sigmas */

typedef struct Converter
{
	const LatHost *host;
	const LatModel *base;
	const LatNewHead *head;		/* NULL: the base's own */
	LatPrecision precision;
	LatConfig	config;			/* of the new image */
	size_t		elements;		/* converted since the host was last asked */
	int			section_count;
	LatSection	sections[LAT_MAX_SECTIONS];
	LatWord		labels[LAT_MAX_LABELS];
	float		row[LAT_MAX_INTERMEDIATE];
	int8_t		codes[LAT_MAX_INTERMEDIATE];
} Converter;

static LatStatus
poll_host(Converter *converter, size_t elements, LatError *error)
{
	converter->elements += elements;
	if (converter->elements < POLL_ELEMENTS)
		return LAT_OK;
	converter->elements = 0;
	if (converter->host->interrupted(converter->host->arg))
		return lat_fail(error, LAT_INTERRUPTED, "interrupted while converting a model");
	return LAT_OK;
}

/* ---- what the new image looks like -------------------------------------------------------- */

static LatConfig
new_config(const LatModel *base, const LatNewHead *head)
{
	static const LatActivation classifiers[] = {
		[LAT_BERT] = LAT_TANH, [LAT_ELECTRA] = LAT_GELU, [LAT_DISTILBERT] = LAT_RELU
	};
	LatConfig	config = base->config;

	if (head)
	{
		config.task = head->task;
		config.labels = head->labels;
		config.head_activation = head->task == LAT_CLASSIFY
			? classifiers[config.architecture] : LAT_IDENTITY;
	}
	return config;
}

/* Label i of the new image. */
static LatWord
label_word(const LatModel *base, const LatNewHead *head, int i)
{
	static const LatWord ends[2] = {{"start", 5}, {"end", 3}};
	LatWord		word;

	if (head == NULL)
		word.text = lat_label_text(base, i, &word.bytes);
	else if (head->task == LAT_SPAN)
		word = ends[i];
	else
	{
		word.text = head->names[i];
		word.bytes = strlen(word.text);
	}
	return word;
}

/* List and place the sections; returns the image's size, 0 if it is too large. */
static uint64_t
place_sections(const LatModel *base, const LatConfig *config, uint64_t label_bytes,
			   LatPrecision precision, LatSection *sections, int *count)
{
	*count = lat_list_sections(config, sections);
	sections[LAT_SECTION_LABELS].size = label_bytes;
	sections[LAT_SECTION_VOCABULARY].size = base->vocabulary.size;
	return lat_place_sections(config, precision, sections, *count);
}

size_t
lat_convert_size(const LatModel *base, const LatNewHead *head, LatPrecision precision)
{
	LatConfig	config = new_config(base, head);
	LatSection	sections[LAT_MAX_SECTIONS];
	uint64_t	label_bytes = lat_labels_size(NULL, 0);
	int			count;

	if (lat_check_config(&config, NULL) != LAT_OK)
		return 0;
	for (int i = 0; i < config.labels; i++)
		label_bytes += sizeof(uint32_t) + label_word(base, head, i).bytes;
	return (size_t) place_sections(base, &config, label_bytes, precision, sections, &count);
}

/* A label must be what lat_model_verify and SQL take for one. */
static LatStatus
check_label(const Converter *converter, int i, LatError *error)
{
	const LatWord *label = &converter->labels[i];
	const uint8_t *at = (const uint8_t *) label->text;
	const uint8_t *end = at + label->bytes;

	if (label->bytes == 0)
		return lat_hint(error, lat_fail(error, LAT_BAD_ARGUMENT, "label %d is empty", i),
						"Give every class a name.");
	if (label->bytes > INT32_MAX / LAT_MAX_LABELS)
		return lat_fail(error, LAT_BAD_ARGUMENT, "label %d has %zu bytes, more than %d", i,
						label->bytes, INT32_MAX / LAT_MAX_LABELS);
	while (at < end)
	{
		uint32_t	character;
		int			length = lat_decode_char(at, end, &character);

		if (length <= 0)
			return lat_fail(error, LAT_BAD_TEXT, "label %d is not valid UTF-8", i);
		at += length;
	}
	for (int j = 0; j < i; j++)
	{
		if (converter->labels[j].bytes == label->bytes &&
			memcmp(converter->labels[j].text, label->text, label->bytes) == 0)
			return lat_fail(error, LAT_BAD_ARGUMENT, "label \"%.*s\" is given twice",
							(int) (label->bytes < 100 ? label->bytes : 100), label->text);
	}
	return LAT_OK;
}

/* Fill in config, labels and sections; *size is the image's. */
static LatStatus
plan_image(Converter *converter, uint64_t *size, LatError *error)
{
	LatStatus	status;

	converter->config = new_config(converter->base, converter->head);
	if ((status = lat_check_config(&converter->config, error)) != LAT_OK)
		return status;
	for (int i = 0; i < converter->config.labels; i++)
	{
		converter->labels[i] = label_word(converter->base, converter->head, i);
		if (converter->head == NULL)
			continue;			/* verified with the base */
		if ((status = check_label(converter, i, error)) != LAT_OK ||
			(status = poll_host(converter, (size_t) i, error)) != LAT_OK)
			return status;
	}
	*size = place_sections(converter->base, &converter->config,
						   lat_labels_size(converter->labels, converter->config.labels),
						   converter->precision, converter->sections, &converter->section_count);
	if (*size == 0)
		return lat_fail(error, LAT_UNSUPPORTED, "the model is too large for this machine");
	return LAT_OK;
}

/* ---- reading the base --------------------------------------------------------------------- */

/* True if the section's weights are the base's; false: they are new with the head. */
static bool
is_kept(const Converter *converter, LatSectionKind kind)
{
	if (converter->head == NULL)
		return true;
	if (kind == LAT_SECTION_HEAD_DENSE)
		return converter->base->config.task == LAT_CLASSIFY;
	return kind != LAT_SECTION_LABELS && kind != LAT_SECTION_HEAD_OUTPUT;
}

/* True if the section has the same bytes in both precisions. */
static bool
is_same_in_all(LatSectionKind kind)
{
	return kind == LAT_SECTION_VOCABULARY || kind == LAT_SECTION_EMBEDDING_NORM ||
		kind == LAT_SECTION_ATTENTION_NORM || kind == LAT_SECTION_OUTPUT_NORM ||
		kind == LAT_SECTION_HEAD_OUTPUT;
}

/* The base's bytes of a section that it has. */
static const uint8_t *
base_bytes(const LatModel *base, const LatSection *section)
{
	const LatSection *at = (const LatSection *) (base->image + sizeof(LatImageHeader));

	while (at->kind != section->kind || at->layer != section->layer)
		at++;
	return base->image + at->offset;
}

static const LatEmbedding *
base_embedding(const LatModel *base, LatSectionKind kind)
{
	return kind == LAT_SECTION_WORDS ? &base->words
		: kind == LAT_SECTION_POSITIONS ? &base->positions : &base->segments;
}

static const LatLinear *
base_linear(const LatModel *base, const LatSection *section)
{
	const LatLayer *layer = &base->layers[section->layer];

	switch (section->kind)
	{
		case LAT_SECTION_EMBEDDING_PROJECTION:
			return &base->embedding_projection;
		case LAT_SECTION_QKV:
			return &layer->qkv;
		case LAT_SECTION_ATTENTION_OUTPUT:
			return &layer->attention_output;
		case LAT_SECTION_FEED_FORWARD_IN:
			return &layer->feed_forward_in;
		case LAT_SECTION_FEED_FORWARD_OUT:
			return &layer->feed_forward_out;
		case LAT_SECTION_HEAD_DENSE:
			return &base->head_dense;
		default:
			return &base->head_output;
	}
}

/* False if weights of this scale may be too large for a float. */
static bool
is_scale_usable(float scale)
{
	return 127.0f * scale <= FLT_MAX;
}

/* Where in its step a weight lies; `unit`: the column or row that it is the i-th of. */
static LatRandom
begin_dither(LatSectionKind kind, uint32_t layer, size_t unit)
{
	return lat_random(0, (uint32_t) kind, layer, (uint32_t) unit, DITHER_SITE);
}

static float
dithered(int8_t code, float scale, LatRandom dither, size_t i)
{
	float		u = (float) (lat_random_bits(dither, (uint32_t) i) >> 8) * 0x1p-24f - 0.5f;

	if (code == 127 || code == -127)
		u = 0;
	return ((float) code + DITHER_RANGE * u) * scale;
}

/* Column of a linear as floats: row (K). */
static bool
read_column(const LatLinear *linear, int32_t column, LatRandom dither, float *row)
{
	size_t		lane = (size_t) (column % LAT_PANEL);
	size_t		k = (size_t) linear->k;
	size_t		first = (size_t) (column / LAT_PANEL) * (size_t) linear->k_padded * LAT_PANEL;

	if (linear->layout == LAT_INT8)
	{
		const int8_t *panel = (const int8_t *) linear->weights + first;

		for (size_t i = 0; i < k; i++)
		{
			size_t		at = i / 4 * 4 * LAT_PANEL + lane * 4 + i % 4;

			row[i] = dithered(panel[at], linear->scales[column], dither, i);
		}
		return is_scale_usable(linear->scales[column]);
	}
	for (size_t i = 0; i < k; i++)
		row[i] = ((const float *) linear->weights)[first + i * LAT_PANEL + lane];
	return true;
}

static bool
read_embedding_row(const LatEmbedding *embedding, size_t row_index, size_t width,
				   LatRandom dither, float *row)
{
	size_t		first = row_index * (size_t) embedding->stride;

	if (embedding->precision == LAT_INT8)
	{
		const int8_t *codes = (const int8_t *) embedding->codes + first;

		for (size_t i = 0; i < width; i++)
			row[i] = dithered(codes[i], embedding->scales[row_index], dither, i);
		return is_scale_usable(embedding->scales[row_index]);
	}
	memcpy(row, (const float *) embedding->codes + first, width * sizeof(float));
	return true;
}

/* ---- writing ------------------------------------------------------------------------------ */

static LatStatus
too_large(LatSectionKind kind, LatError *error)
{
	return lat_fail(error, LAT_BAD_MODEL, "%s of the model have a scale beyond single precision",
					lat_section_name(kind));
}

static LatStatus
copy_section(Converter *converter, const LatSection *section, uint8_t *bytes, LatError *error)
{
	const uint8_t *from = base_bytes(converter->base, section);
	size_t		size = (size_t) section->size;
	LatStatus	status;

	for (size_t at = 0; at < size; at += POLL_ELEMENTS)
	{
		size_t		piece = size - at < POLL_ELEMENTS ? size - at : POLL_ELEMENTS;

		memcpy(bytes + at, from + at, piece);
		if ((status = poll_host(converter, piece / sizeof(float), error)) != LAT_OK)
			return status;
	}
	return LAT_OK;
}

static LatStatus
convert_embedding(Converter *converter, const LatSection *section, uint8_t *bytes,
				  LatError *error)
{
	LatSectionKind kind = (LatSectionKind) section->kind;
	const LatEmbedding *from = base_embedding(converter->base, kind);
	LatEmbeddingTarget target;
	LatStatus	status;

	lat_begin_embedding(&converter->config, converter->precision, (size_t) from->rows, bytes,
						&target);
	for (size_t i = 0; i < (size_t) from->rows; i++)
	{
		if (!read_embedding_row(from, i, target.width, begin_dither(kind, 0, i), converter->row))
			return too_large(kind, error);
		lat_write_embedding_row(&target, i, converter->row);
		if ((status = poll_host(converter, target.width, error)) != LAT_OK)
			return status;
	}
	return LAT_OK;
}

static LatStatus
convert_linear(Converter *converter, const LatSection *section, uint8_t *bytes, LatError *error)
{
	LatSectionKind kind = (LatSectionKind) section->kind;
	const LatLinear *from = base_linear(converter->base, section);
	int32_t		hidden = converter->config.hidden;
	int32_t		piece = kind == LAT_SECTION_QKV ? LAT_ROUND_UP(hidden, LAT_PANEL) : from->n;
	int32_t		columns = kind == LAT_SECTION_QKV ? hidden : from->n;	/* of each piece */
	LatLinearTarget target;
	LatStatus	status;

	lat_begin_linear(&converter->config, converter->precision, section, bytes, &target);
	for (int32_t column = 0; column < from->n; column++)
	{
		if (column % piece >= columns)
			continue;
		if (!read_column(from, column,
						 begin_dither(kind, (uint32_t) section->layer, (size_t) column),
						 converter->row))
			return too_large(kind, error);
		lat_write_column(&target, column, converter->row, converter->codes);
		if ((status = poll_host(converter, (size_t) from->k, error)) != LAT_OK)
			return status;
	}
	memcpy(target.bias, from->bias, (size_t) from->n_padded * sizeof(float));
	return LAT_OK;
}

/*
 * Normal distribution, truncated, by rejection: a uniform number in the range is taken with
 * the probability exp(-x^2 / 2).  The value itself is exact arithmetic on random
 * bits, the same on every machine.
 */
static float
new_weight(uint64_t seed, LatSectionKind kind, uint32_t element)
{
	for (uint32_t attempt = 0;; attempt++)
	{
		LatRandom	random = lat_random(seed, (uint32_t) kind, attempt, 0, RANDOM_SITE);
		double		x = NEW_WEIGHT_RANGE * (2 * lat_random_double(random, 2 * element) - 1);

		if (lat_random_double(random, 2 * element + 1) < exp(-x * x / 2))
			return (float) (x * NEW_WEIGHT_SIGMA);
	}
}

static LatStatus
write_new_linear(Converter *converter, const LatSection *section, uint8_t *bytes,
				 LatError *error)
{
	LatLinearTarget target;
	LatStatus	status;

	lat_begin_linear(&converter->config, converter->precision, section, bytes, &target);
	for (int32_t column = 0; column < target.header.n; column++)
	{
		uint32_t	k = (uint32_t) target.header.k;

		for (uint32_t i = 0; i < k; i++)
			converter->row[i] = new_weight(converter->head->seed, (LatSectionKind) section->kind,
										   (uint32_t) column * k + i);
		lat_write_column(&target, column, converter->row, converter->codes);
		/* drawing a weight costs as much as converting tens of them */
		if ((status = poll_host(converter, (size_t) k * 32, error)) != LAT_OK)
			return status;
	}
	return LAT_OK;
}

static LatStatus
write_section(Converter *converter, const LatSection *section, uint8_t *bytes, LatError *error)
{
	LatSectionKind kind = (LatSectionKind) section->kind;

	if (kind == LAT_SECTION_LABELS)
	{
		lat_write_labels(converter->labels, converter->config.labels, bytes);
		return LAT_OK;
	}
	if (!is_kept(converter, kind))
		return write_new_linear(converter, section, bytes, error);
	if (converter->precision == converter->base->precision || is_same_in_all(kind))
		return copy_section(converter, section, bytes, error);
	if (kind >= LAT_SECTION_WORDS && kind <= LAT_SECTION_SEGMENTS)
		return convert_embedding(converter, section, bytes, error);
	return convert_linear(converter, section, bytes, error);
}

LatStatus
lat_convert(const LatHost *host, const LatModel *base, const LatNewHead *head,
			LatPrecision precision, void *image, LatError *error)
{
	Converter  *converter = host->alloc(host->arg, sizeof(Converter));
	uint8_t    *bytes = image;
	uint64_t	size;
	LatStatus	status;

	if (converter == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for converting a model");
	memset(converter, 0, sizeof(Converter));
	converter->host = host;
	converter->base = base;
	converter->head = head;
	converter->precision = precision;
	status = plan_image(converter, &size, error);
	if (status != LAT_OK)
		goto done;
	lat_write_frame(&converter->config, precision, converter->sections,
					converter->section_count, size, bytes);
	for (int i = 0; i < converter->section_count && status == LAT_OK; i++)
	{
		const LatSection *section = &converter->sections[i];

		status = write_section(converter, section, bytes + section->offset, error);
	}
done:
	host->release(host->arg, converter);
	return status;
}
