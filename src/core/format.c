/*
 * format.c
 *	  The layout of packed images, and opening one in place.
 *
 * An image may come from a file that anybody can write, so nothing in it is
 * believed.  The layout leaves nothing to believe: given the configuration, the
 * precision and the sizes of labels and vocabulary, there is exactly one table
 * of sections.  So opening computes that table and compares, which also proves
 * that sections are in bounds, aligned and apart.  The values behind the table
 * are lat_model_verify's business (verify.c).
 *
 * The limits of lat.h keep every product below 2^48: uint64_t never overflows.
 */
#include "format.h"

#include <string.h>

#include "vocabulary.h"

#define SMALLEST_INPUT 8		/* positions: [CLS], two [SEP] and a few words */
#define MOST_SEGMENTS 256		/* segment ids are bytes */

typedef struct FieldRange
{
	const char *name;			/* as in config.json of BERT */
	size_t		offset;			/* in LatConfig */
	int32_t		low;
	int32_t		high;
	bool		is_size;		/* too large for lat, rather than senseless */
} FieldRange;

#define FIELD(name, member, low, high, is_size) \
	{name, offsetof(LatConfig, member), low, high, is_size}

static const FieldRange field_ranges[] = {
	FIELD("architecture", architecture, LAT_BERT, LAT_DISTILBERT, false),
	FIELD("task", task, LAT_CLASSIFY, LAT_EMBED, false),
	FIELD("num_hidden_layers", layers, 1, LAT_MAX_LAYERS, true),
	FIELD("num_attention_heads", heads, 1, LAT_MAX_HIDDEN, true),
	FIELD("hidden_size", hidden, 1, LAT_MAX_HIDDEN, true),
	FIELD("embedding_size", embedding, 1, LAT_MAX_HIDDEN, true),
	FIELD("intermediate_size", intermediate, 1, LAT_MAX_INTERMEDIATE, true),
	FIELD("vocab_size", vocabulary, 1, LAT_MAX_VOCABULARY, true),
	FIELD("max_position_embeddings", positions, SMALLEST_INPUT, LAT_MAX_POSITIONS, true),
	FIELD("type_vocab_size", segments, 0, MOST_SEGMENTS, true),
	FIELD("number of labels", labels, 0, LAT_MAX_LABELS, true),
	FIELD("activation", activation, LAT_GELU, LAT_RELU, false),
	FIELD("head activation", head_activation, LAT_IDENTITY, LAT_TANH, false),
	FIELD("lowercase", lowercase, 0, 1, false),
	FIELD("strip_accents", strip_accents, 0, 1, false),
	FIELD("split_cjk", split_cjk, 0, 1, false),
	FIELD("id of the pad token", pad_id, 0, LAT_MAX_VOCABULARY, false),
	FIELD("id of the unknown token", unk_id, 0, LAT_MAX_VOCABULARY, false),
	FIELD("id of the cls token", cls_id, 0, LAT_MAX_VOCABULARY, false),
	FIELD("id of the sep token", sep_id, 0, LAT_MAX_VOCABULARY, false),
	FIELD("id of the mask token", mask_id, -1, LAT_MAX_VOCABULARY, false)
};

static LatStatus
check_ranges(const LatConfig *config, LatError *error)
{
	for (size_t i = 0; i < sizeof(field_ranges) / sizeof(field_ranges[0]); i++)
	{
		const FieldRange *range = &field_ranges[i];
		LatStatus	status;
		int32_t		value;

		memcpy(&value, (const char *) config + range->offset, sizeof(value));
		if (value >= range->low && value <= range->high)
			continue;
		status = (range->is_size && value > range->high) ? LAT_UNSUPPORTED : LAT_BAD_MODEL;
		lat_fail(error, status, "%s is %d, outside %d to %d",
				 range->name, (int) value, (int) range->low, (int) range->high);
		if (status == LAT_UNSUPPORTED)
			lat_hint(error, status, "This is more than lat can run; use a smaller model.");
		return status;
	}
	return LAT_OK;
}

/* Labels and the layer in front of them, as the task wants them. */
static LatStatus
check_head(const LatConfig *config, LatError *error)
{
	bool		dense = config->head_activation != LAT_IDENTITY;
	int			least = 2;
	int			most = LAT_MAX_LABELS;

	if (config->task == LAT_EMBED)
		least = most = 0;
	else if (config->task == LAT_SPAN)
		most = 2;
	if (config->labels < least || config->labels > most)
	{
		LatStatus	status = config->labels == 1 ? LAT_UNSUPPORTED : LAT_BAD_MODEL;

		lat_fail(error, status, "a model for task \"%s\" cannot have %d labels",
				 lat_task_name((LatTask) config->task), (int) config->labels);
		if (status == LAT_UNSUPPORTED)
			lat_hint(error, status, "Models with one label are regressors; lat needs two or more.");
		return status;
	}
	if (dense != (config->task == LAT_CLASSIFY))
		return lat_fail(error, LAT_BAD_MODEL, "head activation %d does not fit task \"%s\"",
						(int) config->head_activation, lat_task_name((LatTask) config->task));
	return LAT_OK;
}

static LatStatus
check_floats(const LatConfig *config, LatError *error)
{
	/* Written so that NaN fails. */
	if (!(config->layer_norm_eps >= 0.0f && config->layer_norm_eps < 1.0f))
		return lat_fail(error, LAT_BAD_MODEL, "layer_norm_eps is %g, outside 0 to 1",
						(double) config->layer_norm_eps);
	if (!(config->hidden_dropout >= 0.0f && config->hidden_dropout < 1.0f))
		return lat_fail(error, LAT_BAD_MODEL, "hidden_dropout_prob is %g, outside 0 to 1",
						(double) config->hidden_dropout);
	if (!(config->attention_dropout >= 0.0f && config->attention_dropout < 1.0f))
		return lat_fail(error, LAT_BAD_MODEL, "attention_probs_dropout_prob is %g, outside 0 to 1",
						(double) config->attention_dropout);
	return LAT_OK;
}

LatStatus
lat_check_config(const LatConfig *config, LatError *error)
{
	const int32_t ids[] = {config->pad_id, config->unk_id, config->cls_id, config->sep_id,
	config->mask_id};
	LatStatus	status;

	if ((status = check_ranges(config, error)) != LAT_OK ||
		(status = check_head(config, error)) != LAT_OK ||
		(status = check_floats(config, error)) != LAT_OK)
		return status;
	if (config->hidden % config->heads != 0)
		return lat_fail(error, LAT_BAD_MODEL,
						"hidden_size %d is not a multiple of num_attention_heads %d",
						(int) config->hidden, (int) config->heads);
	if (config->embedding != config->hidden && config->architecture != LAT_ELECTRA)
		return lat_fail(error, LAT_BAD_MODEL, "embedding_size %d differs from hidden_size %d",
						(int) config->embedding, (int) config->hidden);
	if ((config->segments == 0) != (config->architecture == LAT_DISTILBERT))
		return lat_fail(error, LAT_BAD_MODEL, "type_vocab_size %d does not fit architecture %s",
						(int) config->segments,
						lat_architecture_name((LatArchitecture) config->architecture));
	if (config->segments == 1)
	{
		lat_fail(error, LAT_UNSUPPORTED, "type_vocab_size is 1");
		return lat_hint(error, LAT_UNSUPPORTED,
						"The second text of a pair has its own segment, so a model needs two.");
	}
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
	{
		if (ids[i] >= config->vocabulary)
			return lat_fail(error, LAT_BAD_MODEL,
							"a special token has id %d, but the vocabulary has %d words",
							(int) ids[i], (int) config->vocabulary);
	}
	return LAT_OK;
}

/* ---- layout ------------------------------------------------------------------------------- */

const char *
lat_section_name(LatSectionKind kind)
{
	static const char *const names[LAT_SECTION_KINDS] = {
		"labels", "vocabulary", "word embeddings", "position embeddings", "segment embeddings",
		"embedding norm", "embedding projection", "qkv", "attention output", "attention norm",
		"feed-forward in", "feed-forward out", "output norm", "head dense", "head output"
	};

	return (unsigned) kind < LAT_SECTION_KINDS ? names[kind] : "unknown";
}

static bool
section_exists(const LatConfig *config, int kind)
{
	switch (kind)
	{
		case LAT_SECTION_SEGMENTS:
			return config->segments > 0;
		case LAT_SECTION_EMBEDDING_PROJECTION:
			return config->embedding != config->hidden;
		case LAT_SECTION_HEAD_DENSE:
			return config->head_activation != LAT_IDENTITY;
		case LAT_SECTION_HEAD_OUTPUT:
			return config->task != LAT_EMBED;
		default:
			return true;
	}
}

int
lat_list_sections(const LatConfig *config, LatSection *sections)
{
	int			count = 0;

	for (int kind = 0; kind < LAT_SECTION_KINDS; kind++)
	{
		bool		per_layer = kind >= LAT_SECTION_QKV && kind <= LAT_SECTION_OUTPUT_NORM;
		int			layers = per_layer ? config->layers : 1;

		if (!section_exists(config, kind))
			continue;
		for (int layer = 0; layer < layers; layer++)
		{
			memset(&sections[count], 0, sizeof(LatSection));
			sections[count].kind = (uint32_t) kind;
			sections[count].layer = (uint32_t) layer;
			count++;
		}
	}
	return count;
}

void
lat_linear_shape(const LatConfig *config, LatSectionKind kind, int32_t *k, int32_t *n)
{
	*k = *n = config->hidden;
	switch (kind)
	{
		case LAT_SECTION_EMBEDDING_PROJECTION:
			*k = config->embedding;
			break;
		case LAT_SECTION_QKV:
			*n = 3 * LAT_ROUND_UP(config->hidden, LAT_PANEL);
			break;
		case LAT_SECTION_FEED_FORWARD_IN:
			*n = config->intermediate;
			break;
		case LAT_SECTION_FEED_FORWARD_OUT:
			*k = config->intermediate;
			break;
		case LAT_SECTION_HEAD_OUTPUT:
			*n = config->labels;
			break;
		default:
			break;
	}
}

void
lat_fill_linear_header(const LatConfig *config, LatPrecision precision, LatSectionKind kind,
					   LatLinearHeader *header)
{
	if (kind == LAT_SECTION_HEAD_OUTPUT)
		precision = LAT_FP32;
	memset(header, 0, sizeof(LatLinearHeader));
	header->layout = precision;
	lat_linear_shape(config, kind, &header->k, &header->n);
	header->k_padded = precision == LAT_INT8 ? LAT_ROUND_UP(header->k, 64) : header->k;
	header->n_padded = LAT_ROUND_UP(header->n, LAT_PANEL);
	header->levels = precision == LAT_INT8 ? 127 : 0;
}

static uint64_t
linear_size(const LatLinearHeader *header)
{
	uint64_t	elements = (uint64_t) header->k_padded * (uint64_t) header->n_padded;
	uint64_t	columns = (uint64_t) header->n_padded;

	if (header->layout == LAT_INT8)
		return sizeof(LatLinearHeader) + elements + columns * 12;
	return sizeof(LatLinearHeader) + elements * 4 + columns * 4;
}

static uint64_t
embedding_size(const LatConfig *config, LatPrecision precision, int32_t rows)
{
	uint64_t	elements = (uint64_t) rows * LAT_ROUND_UP((uint64_t) config->embedding, LAT_PANEL);

	if (precision == LAT_INT8)
		return LAT_ROUND_UP(elements, LAT_ALIGNMENT) + (uint64_t) rows * 4;
	return elements * 4;
}

uint64_t
lat_section_size(const LatConfig *config, LatPrecision precision, LatSectionKind kind)
{
	LatLinearHeader header;

	switch (kind)
	{
		case LAT_SECTION_LABELS:
		case LAT_SECTION_VOCABULARY:
			return 0;
		case LAT_SECTION_WORDS:
			return embedding_size(config, precision, config->vocabulary);
		case LAT_SECTION_POSITIONS:
			return embedding_size(config, precision, config->positions);
		case LAT_SECTION_SEGMENTS:
			return embedding_size(config, precision, config->segments);
		case LAT_SECTION_EMBEDDING_NORM:
			return LAT_ROUND_UP((uint64_t) config->embedding, LAT_PANEL) * 8;
		case LAT_SECTION_ATTENTION_NORM:
		case LAT_SECTION_OUTPUT_NORM:
			return LAT_ROUND_UP((uint64_t) config->hidden, LAT_PANEL) * 8;
		default:
			lat_fill_linear_header(config, precision, kind, &header);
			return linear_size(&header);
	}
}

uint64_t
lat_place_sections(const LatConfig *config, LatPrecision precision, LatSection *sections,
				   int count)
{
	uint64_t	end = sizeof(LatImageHeader) + (uint64_t) count * sizeof(LatSection);

	for (int i = 0; i < count; i++)
	{
		LatSection *section = &sections[i];

		if (section->kind > LAT_SECTION_VOCABULARY)
			section->size = lat_section_size(config, precision, (LatSectionKind) section->kind);
		section->offset = LAT_ROUND_UP(end, LAT_ALIGNMENT);
		end = section->offset + section->size;
	}
	end = LAT_ROUND_UP(end, LAT_ALIGNMENT);
	return end > SIZE_MAX / 2 ? 0 : end;
}

/* ---- opening ------------------------------------------------------------------------------ */

static LatStatus
damaged(LatError *error, const char *what)
{
	lat_fail(error, LAT_BAD_MODEL, "the packed model is damaged: %s", what);
	return lat_hint(error, LAT_BAD_MODEL, "Import the model again.");
}

static LatStatus
check_header(const LatImageHeader *header, size_t size, LatError *error)
{
	if (memcmp(header->magic, LAT_FORMAT_MAGIC, sizeof(header->magic)) != 0)
		return damaged(error, "it does not begin with the format's magic");
	if (header->version != LAT_FORMAT_VERSION)
	{
		lat_fail(error, LAT_UNSUPPORTED, "the packed model has format version %u, not %d",
				 (unsigned) header->version, LAT_FORMAT_VERSION);
		return lat_hint(error, LAT_UNSUPPORTED,
						"It was packed by another version of lat; import the model again.");
	}
	if (header->precision != LAT_FP32 && header->precision != LAT_INT8)
		return damaged(error, "its precision is unknown");
	if (header->size != size)
		return damaged(error, "its size is not the one in its header");
	if (header->zero != 0)
		return damaged(error, "a field of its header that must be zero is not");
	return lat_check_config(&header->config, error);
}

/* Compare the image's section table with the only one that its configuration allows. */
static LatStatus
check_sections(const LatImageHeader *header, const LatSection *found, LatSection *expected,
			   LatError *error)
{
	int			count = lat_list_sections(&header->config, expected);

	if (header->sections != (uint32_t) count ||
		header->size < sizeof(LatImageHeader) + (uint64_t) count * sizeof(LatSection))
		return damaged(error, "it has a wrong number of sections");
	for (int i = LAT_SECTION_LABELS; i <= LAT_SECTION_VOCABULARY; i++)
	{
		if (found[i].size > header->size)
			return damaged(error, "a section is larger than the image");
		expected[i].size = found[i].size;
	}
	if (lat_place_sections(&header->config, (LatPrecision) header->precision, expected,
						   count) != header->size ||
		memcmp(found, expected, (size_t) count * sizeof(LatSection)) != 0)
		return damaged(error, "its sections do not lie where they must");
	return LAT_OK;
}

static LatStatus
open_labels(const uint8_t *bytes, uint64_t size, LatModel *model, LatError *error)
{
	uint64_t	table = ((uint64_t) model->config.labels + 1) * sizeof(uint32_t);

	if (size < table)
		return damaged(error, "its label section is too short");
	model->label_offsets = (const uint32_t *) bytes;
	model->label_bytes = (const char *) bytes + table;
	if (model->label_offsets[0] != 0 ||
		model->label_offsets[model->config.labels] != size - table)
		return damaged(error, "its label offsets do not fit its label section");
	return LAT_OK;
}

/* Floats of the image; sections are aligned, and their parts too. */
static const float *
floats_at(const void *bytes)
{
	return bytes;
}

static void
open_embedding(const uint8_t *bytes, const LatModel *model, int32_t rows, LatEmbedding *embedding)
{
	embedding->precision = model->precision;
	embedding->rows = rows;
	embedding->stride = LAT_ROUND_UP(model->config.embedding, LAT_PANEL);
	embedding->codes = bytes;
	embedding->scales = NULL;
	if (model->precision == LAT_INT8)
	{
		size_t		elements = (size_t) rows * (size_t) embedding->stride;

		embedding->scales = floats_at(bytes + LAT_ROUND_UP(elements, LAT_ALIGNMENT));
	}
}

static void
open_norm(const uint8_t *bytes, int32_t width, LatNorm *norm)
{
	norm->gamma = floats_at(bytes);
	norm->beta = norm->gamma + LAT_ROUND_UP(width, LAT_PANEL);
}

static LatStatus
open_linear(const uint8_t *bytes, const LatModel *model, LatSectionKind kind, LatLinear *linear,
			LatError *error)
{
	LatLinearHeader header;
	const uint8_t *weights = bytes + sizeof(LatLinearHeader);
	size_t		elements;

	lat_fill_linear_header(&model->config, model->precision, kind, &header);
	if (memcmp(bytes, &header, sizeof(header)) != 0)
		return damaged(error, "the header of a weight matrix does not fit the configuration");
	elements = (size_t) header.k_padded * (size_t) header.n_padded;
	linear->layout = header.layout;
	linear->k = header.k;
	linear->k_padded = header.k_padded;
	linear->n = header.n;
	linear->n_padded = header.n_padded;
	linear->levels = header.levels;
	linear->weights = weights;
	if (header.layout == LAT_INT8)
	{
		linear->column_sums = (const int32_t *) (weights + elements);
		linear->scales = floats_at(linear->column_sums + header.n_padded);
		linear->bias = linear->scales + header.n_padded;
	}
	else
		linear->bias = floats_at(weights) + elements;
	return LAT_OK;
}

static LatStatus
open_section(const LatSection *section, LatModel *model, LatError *error)
{
	const uint8_t *bytes = model->image + section->offset;
	const LatConfig *config = &model->config;
	LatSectionKind kind = (LatSectionKind) section->kind;
	LatLayer   *layer = &model->layers[section->layer];

	switch (kind)
	{
		case LAT_SECTION_LABELS:
			return open_labels(bytes, section->size, model, error);
		case LAT_SECTION_VOCABULARY:
			return lat_vocabulary_open(bytes, section->size, config->vocabulary,
									   &model->vocabulary, error);
		case LAT_SECTION_WORDS:
			open_embedding(bytes, model, config->vocabulary, &model->words);
			return LAT_OK;
		case LAT_SECTION_POSITIONS:
			open_embedding(bytes, model, config->positions, &model->positions);
			return LAT_OK;
		case LAT_SECTION_SEGMENTS:
			open_embedding(bytes, model, config->segments, &model->segments);
			return LAT_OK;
		case LAT_SECTION_EMBEDDING_NORM:
			open_norm(bytes, config->embedding, &model->embedding_norm);
			return LAT_OK;
		case LAT_SECTION_EMBEDDING_PROJECTION:
			return open_linear(bytes, model, kind, &model->embedding_projection, error);
		case LAT_SECTION_QKV:
			return open_linear(bytes, model, kind, &layer->qkv, error);
		case LAT_SECTION_ATTENTION_OUTPUT:
			return open_linear(bytes, model, kind, &layer->attention_output, error);
		case LAT_SECTION_ATTENTION_NORM:
			open_norm(bytes, config->hidden, &layer->attention_norm);
			return LAT_OK;
		case LAT_SECTION_FEED_FORWARD_IN:
			return open_linear(bytes, model, kind, &layer->feed_forward_in, error);
		case LAT_SECTION_FEED_FORWARD_OUT:
			return open_linear(bytes, model, kind, &layer->feed_forward_out, error);
		case LAT_SECTION_OUTPUT_NORM:
			open_norm(bytes, config->hidden, &layer->output_norm);
			return LAT_OK;
		case LAT_SECTION_HEAD_DENSE:
			return open_linear(bytes, model, kind, &model->head_dense, error);
		case LAT_SECTION_HEAD_OUTPUT:
			return open_linear(bytes, model, kind, &model->head_output, error);
		case LAT_SECTION_KINDS:
			break;
	}
	return damaged(error, "a section is of unknown kind");
}

LatStatus
lat_model_open(const void *image, size_t size, LatModel *model, LatError *error)
{
	LatSection	sections[LAT_MAX_SECTIONS];
	LatImageHeader header;
	LatStatus	status;

	memset(model, 0, sizeof(LatModel));
	if ((uintptr_t) image % LAT_ALIGNMENT != 0)
		return lat_fail(error, LAT_BAD_ARGUMENT, "the packed model is not aligned to %d bytes",
						LAT_ALIGNMENT);
	if (size < sizeof(LatImageHeader))
		return damaged(error, "it is shorter than its header");
	memcpy(&header, image, sizeof(header));
	if ((status = check_header(&header, size, error)) != LAT_OK)
		return status;
	status = check_sections(&header,
							(const LatSection *) ((const uint8_t *) image + sizeof(header)),
							sections, error);
	if (status != LAT_OK)
		return status;
	model->image = image;
	model->image_size = size;
	model->precision = (LatPrecision) header.precision;
	model->config = header.config;
	for (uint32_t i = 0; i < header.sections && status == LAT_OK; i++)
		status = open_section(&sections[i], model, error);
	return status;
}

int
lat_output_columns(const LatModel *model)
{
	return model->config.task == LAT_EMBED ? model->config.hidden : model->config.labels;
}

const char *
lat_label_text(const LatModel *model, int label, size_t *bytes)
{
	uint32_t	start = model->label_offsets[label];

	*bytes = model->label_offsets[label + 1] - start;
	return model->label_bytes + start;
}
