/*
 * config.c
 *	  config.json: which model a checkpoint holds, and whether lat can run it.
 *
 * The file is untrusted, and it decides what runs: a key that would change the
 * arithmetic and that lat does not follow (another activation, another kind of
 * positions, several labels a text) is refused rather than ignored.  Keys that
 * only matter elsewhere are skipped.  The three architectures write the same
 * sizes under different names.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "format.h"

#define FILE_NAME "config.json"
#define NUMBERED_LABEL 16		/* bytes that "LABEL_4095" fits in */

/* Keys that are read; DistilBERT's own names follow those of the others. */
typedef enum ConfigKey
{
	KEY_MODEL_TYPE, KEY_ARCHITECTURES, KEY_ID2LABEL, KEY_NUM_LABELS, KEY_PROBLEM_TYPE,
	KEY_IS_DECODER, KEY_CROSS_ATTENTION, KEY_POSITION_TYPE, KEY_QUANTIZATION, KEY_PRUNED_HEADS,
	KEY_VOCAB_SIZE, KEY_POSITIONS, KEY_SEGMENTS, KEY_EMBEDDING, KEY_EPS,
	KEY_HIDDEN, KEY_LAYERS, KEY_HEADS, KEY_INTERMEDIATE, KEY_ACTIVATION, KEY_DROPOUT,
	KEY_ATTENTION_DROPOUT,
	KEY_DISTIL_HIDDEN, KEY_DISTIL_LAYERS, KEY_DISTIL_HEADS, KEY_DISTIL_INTERMEDIATE,
	KEY_DISTIL_ACTIVATION, KEY_DISTIL_DROPOUT, KEY_DISTIL_ATTENTION_DROPOUT,
	KEY_COUNT
} ConfigKey;

static const char *const key_names[KEY_COUNT] = {
	"model_type", "architectures", "id2label", "num_labels", "problem_type",
	"is_decoder", "add_cross_attention", "position_embedding_type", "quantization_config",
	"pruned_heads",
	"vocab_size", "max_position_embeddings", "type_vocab_size", "embedding_size",
	"layer_norm_eps",
	"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
	"hidden_dropout_prob", "attention_probs_dropout_prob",
	"dim", "n_layers", "n_heads", "hidden_dim", "activation", "dropout", "attention_dropout"
};

typedef struct ArchitectureEntry
{
	const char *name;			/* class in Hugging Face's library */
	LatArchitecture architecture;
	LatTask		task;
} ArchitectureEntry;

static const ArchitectureEntry architectures[] = {
	{"BertForSequenceClassification", LAT_BERT, LAT_CLASSIFY},
	{"BertForQuestionAnswering", LAT_BERT, LAT_SPAN},
	{"BertForTokenClassification", LAT_BERT, LAT_TAG},
	{"BertModel", LAT_BERT, LAT_EMBED},
	{"ElectraForSequenceClassification", LAT_ELECTRA, LAT_CLASSIFY},
	{"ElectraForQuestionAnswering", LAT_ELECTRA, LAT_SPAN},
	{"ElectraForTokenClassification", LAT_ELECTRA, LAT_TAG},
	{"ElectraModel", LAT_ELECTRA, LAT_EMBED},
	{"DistilBertForSequenceClassification", LAT_DISTILBERT, LAT_CLASSIFY},
	{"DistilBertForQuestionAnswering", LAT_DISTILBERT, LAT_SPAN},
	{"DistilBertForTokenClassification", LAT_DISTILBERT, LAT_TAG},
	{"DistilBertModel", LAT_DISTILBERT, LAT_EMBED}
};

/* ---- texts -------------------------------------------------------------------------------- */

LatStatus
lat_texts_reserve(const LatHost *host, LatTexts *texts, int32_t index, LatError *error)
{
	int32_t		capacity = texts->capacity ? texts->capacity : 64;
	LatWord    *items;

	if (index >= texts->capacity)
	{
		while (capacity <= index)
			capacity *= 2;
		items = host->alloc(host->arg, (size_t) capacity * sizeof(LatWord));
		if (items == NULL)
			return lat_fail(error, LAT_NO_MEMORY, "out of memory for %d words", (int) capacity);
		memset(items, 0, (size_t) capacity * sizeof(LatWord));
		if (texts->count > 0)
			memcpy(items, texts->items, (size_t) texts->count * sizeof(LatWord));
		host->release(host->arg, texts->items);
		texts->items = items;
		texts->capacity = capacity;
	}
	if (index >= texts->count)
		texts->count = index + 1;
	return LAT_OK;
}

LatStatus
lat_texts_arena(const LatHost *host, LatTexts *texts, size_t size, LatError *error)
{
	texts->arena = host->alloc(host->arg, size);
	if (texts->arena == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for %zu bytes of text", size);
	return LAT_OK;
}

LatWord
lat_texts_decode(LatTexts *texts, LatJsonText text)
{
	LatWord		word = {text.bytes, text.size};

	if (text.escaped)
	{
		word.text = texts->arena + texts->arena_used;
		word.bytes = lat_json_decode(text, texts->arena + texts->arena_used);
		texts->arena_used += word.bytes;
	}
	return word;
}

/* ---- scalars ------------------------------------------------------------------------------ */

static LatStatus
unsupported(LatError *error, const LatJsonField *field, const char *hint)
{
	lat_fail(error, LAT_UNSUPPORTED, "%s has \"%s\": %.*s%.*s%.*s, which lat cannot run", FILE_NAME,
			 field->name, field->value.type == LAT_JSON_STRING, "\"",
			 (int) (field->value.text.size < 100 ? field->value.text.size : 100),
			 field->value.text.bytes ? field->value.text.bytes : "true",
			 field->value.type == LAT_JSON_STRING, "\"");
	return lat_hint(error, LAT_UNSUPPORTED, "%s", hint);
}

/* An integer that must be there. */
static LatStatus
get_integer(const LatJsonField *field, int32_t *integer, LatError *error)
{
	int64_t		wide;

	if (!field->present)
		return lat_fail(error, LAT_BAD_MODEL, "%s has no \"%s\"", FILE_NAME, field->name);
	if (!lat_json_integer(&field->value, &wide))
		return lat_fail(error, LAT_BAD_MODEL, "\"%s\" in %s is not a whole number", field->name,
						FILE_NAME);
	/* Beyond these bounds every size is refused in the same way. */
	*integer = wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t) wide;
	return LAT_OK;
}

/* A number that may be absent; *number holds its default. */
static LatStatus
get_float(const LatJsonField *field, float *number, LatError *error)
{
	double		wide;

	if (!field->present)
		return LAT_OK;
	if (!lat_json_double(&field->value, &wide))
		return lat_fail(error, LAT_BAD_MODEL, "\"%s\" in %s is not a finite number", field->name,
						FILE_NAME);
	*number = (float) wide;
	return LAT_OK;
}

static bool
is_text(const LatJsonField *field, const char *text)
{
	return field->present && field->value.type == LAT_JSON_STRING &&
		lat_json_is(field->value.text, text);
}

/* ---- what can be run ---------------------------------------------------------------------- */

/* Find the class that wrote the checkpoint: the first of "architectures". */
static LatStatus
read_architecture(const LatHost *host, const LatJsonField *fields, LatConfig *config,
				  LatError *error)
{
	const LatJsonField *field = &fields[KEY_ARCHITECTURES];
	LatJson		json;
	LatJsonValue value = {.type = LAT_JSON_NULL};

	if (field->present && field->value.type == LAT_JSON_ARRAY)
	{
		lat_json_begin(&json, host, FILE_NAME, field->value.text.bytes, field->value.text.size);
		if (lat_json_next(&json, &value) && lat_json_element(&json))
			lat_json_next(&json, &value);
	}
	if (value.type != LAT_JSON_STRING)
	{
		lat_fail(error, LAT_BAD_MODEL, "%s names no architecture", FILE_NAME);
		return lat_hint(error, LAT_BAD_MODEL,
						"Set \"architectures\" to the class that the checkpoint was saved from, "
						"such as [\"BertForSequenceClassification\"].");
	}
	for (size_t i = 0; i < sizeof(architectures) / sizeof(architectures[0]); i++)
	{
		const ArchitectureEntry *entry = &architectures[i];

		if (lat_json_is(value.text, entry->name))
		{
			config->architecture = entry->architecture;
			config->task = entry->task;
			return LAT_OK;
		}
	}
	lat_fail(error, LAT_UNSUPPORTED, "architecture \"%.*s\" is not supported",
			 (int) (value.text.size < 100 ? value.text.size : 100), value.text.bytes);
	return lat_hint(error, LAT_UNSUPPORTED,
					"lat runs BERT, ELECTRA and DistilBERT encoders for sequence classification, "
					"question answering and token classification, and bare ones for embeddings.");
}

/* The family must be one of ours, and the one that the class belongs to. */
static LatStatus
check_model_type(const LatJsonField *fields, const LatConfig *config, LatError *error)
{
	const LatJsonField *field = &fields[KEY_MODEL_TYPE];
	const char *expected = lat_architecture_name((LatArchitecture) config->architecture);

	if (!field->present || is_text(field, expected))
		return LAT_OK;
	return lat_fail(error, LAT_BAD_MODEL,
					"\"model_type\" in %s is not \"%s\", as its architecture is", FILE_NAME,
					expected);
}

static LatStatus
check_family(const LatJsonField *fields, LatError *error)
{
	const LatJsonField *field = &fields[KEY_MODEL_TYPE];

	for (int i = LAT_BERT; i <= LAT_DISTILBERT; i++)
	{
		if (!field->present || is_text(field, lat_architecture_name((LatArchitecture) i)))
			return LAT_OK;
	}
	return unsupported(error, field, "lat runs models of type bert, electra and distilbert.");
}

/* Keys under which the arithmetic would be another one. */
static LatStatus
check_switches(const LatJsonField *fields, const LatConfig *config, LatError *error)
{
	const LatJsonField *field;

	for (int i = KEY_IS_DECODER; i <= KEY_CROSS_ATTENTION; i++)
	{
		field = &fields[i];
		if (field->present && field->value.type != LAT_JSON_FALSE)
			return unsupported(error, field, "lat runs encoders only.");
	}
	field = &fields[KEY_POSITION_TYPE];
	if (field->present && !is_text(field, "absolute"))
		return unsupported(error, field, "lat runs models with absolute positions only.");
	field = &fields[KEY_QUANTIZATION];
	if (field->present)
		return unsupported(error, field,
						   "lat quantizes by itself; import the checkpoint in its own precision.");
	field = &fields[KEY_PRUNED_HEADS];
	if (field->present && field->value.text.size > 2)
		return unsupported(error, field, "lat runs models with all their attention heads.");
	field = &fields[KEY_PROBLEM_TYPE];
	if (config->task == LAT_CLASSIFY && field->present &&
		!is_text(field, "single_label_classification"))
		return unsupported(error, field,
						   "lat runs classifiers that give each text exactly one of their labels.");
	return LAT_OK;
}

static LatStatus
read_activations(const LatJsonField *fields, LatConfig *config, LatError *error)
{
	static const LatActivation of_head[] = {LAT_TANH, LAT_GELU, LAT_RELU};
	const LatJsonField *field = &fields[config->architecture == LAT_DISTILBERT
										? KEY_DISTIL_ACTIVATION : KEY_ACTIVATION];

	config->head_activation = config->task == LAT_CLASSIFY
		? of_head[config->architecture] : LAT_IDENTITY;
	config->activation = LAT_GELU;
	if (is_text(field, "relu"))
		config->activation = LAT_RELU;
	else if (field->present && !is_text(field, "gelu"))
		return unsupported(error, field, "lat runs models whose activation is gelu or relu.");
	return LAT_OK;
}

/* ---- sizes -------------------------------------------------------------------------------- */

static LatStatus
read_sizes(const LatJsonField *fields, LatSettings *settings, LatError *error)
{
	LatConfig  *config = &settings->config;
	bool		distil = config->architecture == LAT_DISTILBERT;
	const struct
	{
		ConfigKey	key;
		int32_t    *to;
	}			sizes[] =
	{
		{distil ? KEY_DISTIL_HIDDEN : KEY_HIDDEN, &config->hidden},
		{distil ? KEY_DISTIL_LAYERS : KEY_LAYERS, &config->layers},
		{distil ? KEY_DISTIL_HEADS : KEY_HEADS, &config->heads},
		{distil ? KEY_DISTIL_INTERMEDIATE : KEY_INTERMEDIATE, &config->intermediate},
		{KEY_VOCAB_SIZE, &settings->embedding_rows},
		{KEY_POSITIONS, &config->positions}
	};
	LatStatus	status;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		if ((status = get_integer(&fields[sizes[i].key], sizes[i].to, error)) != LAT_OK)
			return status;
	}
	config->vocabulary = settings->embedding_rows;
	config->embedding = config->hidden;
	if (config->architecture == LAT_ELECTRA &&
		(status = get_integer(&fields[KEY_EMBEDDING], &config->embedding, error)) != LAT_OK)
		return status;
	if (!distil &&
		(status = get_integer(&fields[KEY_SEGMENTS], &config->segments, error)) != LAT_OK)
		return status;
	return LAT_OK;
}

/* Numbers with the defaults of Hugging Face's configuration classes. */
static LatStatus
read_floats(const LatJsonField *fields, LatConfig *config, LatError *error)
{
	bool		distil = config->architecture == LAT_DISTILBERT;
	LatStatus	status;

	config->layer_norm_eps = 1e-12f;
	config->hidden_dropout = 0.1f;
	config->attention_dropout = 0.1f;
	if ((status = get_float(&fields[distil ? KEY_DISTIL_DROPOUT : KEY_DROPOUT],
							&config->hidden_dropout, error)) != LAT_OK ||
		(status = get_float(&fields[distil ? KEY_DISTIL_ATTENTION_DROPOUT : KEY_ATTENTION_DROPOUT],
							&config->attention_dropout, error)) != LAT_OK)
		return status;
	return distil ? LAT_OK : get_float(&fields[KEY_EPS], &config->layer_norm_eps, error);
}

/* ---- labels ------------------------------------------------------------------------------- */

/* The number that a key of id2label spells, or -1. */
static int32_t
label_index(LatJsonText key)
{
	LatJsonValue value = {LAT_JSON_NUMBER, key};
	int64_t		index;

	if (key.escaped || key.size == 0 || key.bytes[0] == '-' ||
		(key.size > 1 && key.bytes[0] == '0') || !lat_json_integer(&value, &index) ||
		index >= LAT_MAX_LABELS)
		return -1;
	return (int32_t) index;
}

static LatStatus
read_id2label(const LatHost *host, LatJsonText text, LatTexts *labels, LatError *error)
{
	LatJson		json;
	LatJsonText key;
	LatJsonValue value;
	LatStatus	status;

	lat_json_begin(&json, host, FILE_NAME, text.bytes, text.size);
	lat_json_next(&json, &value);
	while (lat_json_member(&json, &key) && lat_json_next(&json, &value))
	{
		int32_t		index = label_index(key);

		if (index < 0 || value.type != LAT_JSON_STRING || value.text.size == 0)
			return lat_fail(error, LAT_BAD_MODEL,
							"\"id2label\" in %s must map numbers from 0 to at most %d to names",
							FILE_NAME, LAT_MAX_LABELS - 1);
		if ((status = lat_texts_reserve(host, labels, index, error)) != LAT_OK)
			return status;
		if (labels->items[index].text != NULL)
			return lat_fail(error, LAT_BAD_MODEL, "\"id2label\" in %s has the key \"%d\" twice",
							FILE_NAME, (int) index);
		labels->items[index] = lat_texts_decode(labels, value.text);
	}
	for (int32_t i = 0; i < labels->count; i++)
	{
		if (labels->items[i].text == NULL)
			return lat_fail(error, LAT_BAD_MODEL, "\"id2label\" in %s has no label %d", FILE_NAME,
							(int) i);
	}
	return LAT_OK;
}

/* Labels that the checkpoint does not name are LABEL_0 and so on, as Hugging Face has it. */
static LatStatus
number_labels(const LatHost *host, int32_t count, LatTexts *labels, LatError *error)
{
	LatStatus	status;

	if (count < 1 || count > LAT_MAX_LABELS)
	{
		lat_fail(error, LAT_BAD_MODEL, "\"num_labels\" in %s is %d, outside 1 to %d", FILE_NAME,
				 (int) count, LAT_MAX_LABELS);
		return lat_hint(error, LAT_BAD_MODEL, "lat runs models with up to %d labels.",
						LAT_MAX_LABELS);
	}
	if ((status = lat_texts_reserve(host, labels, count - 1, error)) != LAT_OK)
		return status;
	for (int32_t i = 0; i < count; i++)
	{
		char	   *name = labels->arena + labels->arena_used;
		int			bytes = snprintf(name, NUMBERED_LABEL, "LABEL_%d", (int) i);

		labels->items[i] = (LatWord) {name, (size_t) bytes};
		labels->arena_used += (size_t) bytes;
	}
	return LAT_OK;
}

/* Two labels of one name could not be told apart in SQL, and no text in SQL holds a NUL. */
static LatStatus
check_labels(const LatHost *host, const LatTexts *labels, LatError *error)
{
	for (int32_t i = 0; i < labels->count; i++)
	{
		const LatWord *label = &labels->items[i];

		if (host->interrupted(host->arg))
			return lat_fail(error, LAT_INTERRUPTED, "interrupted while reading %s", FILE_NAME);
		if (memchr(label->text, '\0', label->bytes) != NULL)
			return lat_fail(error, LAT_BAD_MODEL, "%s has a label with a NUL character", FILE_NAME);
		for (int32_t j = 0; j < i; j++)
		{
			if (labels->items[j].bytes == label->bytes &&
				memcmp(labels->items[j].text, label->text, label->bytes) == 0)
				return lat_fail(error, LAT_BAD_MODEL, "%s has the label \"%.*s\" twice", FILE_NAME,
								(int) (label->bytes < 100 ? label->bytes : 100), label->text);
		}
	}
	return LAT_OK;
}

static LatStatus
read_labels(const LatHost *host, const LatJsonField *fields, LatSettings *settings,
			LatError *error)
{
	LatTexts   *labels = &settings->labels;
	const LatJsonField *field = &fields[KEY_ID2LABEL];
	int32_t		count = 2;
	LatStatus	status;

	if (settings->config.task == LAT_EMBED)
		return LAT_OK;
	if (field->present && field->value.type != LAT_JSON_OBJECT)
		return lat_fail(error, LAT_BAD_MODEL, "\"id2label\" in %s is not an object", FILE_NAME);
	status = lat_texts_arena(host, labels, field->value.text.size + LAT_MAX_LABELS * NUMBERED_LABEL,
							 error);
	if (status != LAT_OK)
		return status;
	if (field->present)
		status = read_id2label(host, field->value.text, labels, error);
	else if (fields[KEY_NUM_LABELS].present &&
			 (status = get_integer(&fields[KEY_NUM_LABELS], &count, error)) != LAT_OK)
		return status;
	else
		status = number_labels(host, count, labels, error);
	if (status == LAT_OK)
		status = check_labels(host, labels, error);
	settings->config.labels = labels->count;
	if (status == LAT_OK && settings->config.task == LAT_SPAN && labels->count == 2)
	{
		labels->items[0] = (LatWord) {"start", 5};
		labels->items[1] = (LatWord) {"end", 3};
	}
	return status;
}

/* ---- the whole ---------------------------------------------------------------------------- */

LatStatus
lat_read_config(const LatHost *host, LatPart part, LatSettings *settings, LatError *error)
{
	LatConfig  *config = &settings->config;
	LatJsonField fields[KEY_COUNT];
	LatJsonText text = {part.bytes, part.size, false};
	LatStatus	status;

	memset(fields, 0, sizeof(fields));
	for (int i = 0; i < KEY_COUNT; i++)
		fields[i].name = key_names[i];
	if ((status = lat_json_fields(host, FILE_NAME, text, fields, KEY_COUNT, error)) != LAT_OK ||
		(status = check_family(fields, error)) != LAT_OK ||
		(status = read_architecture(host, fields, config, error)) != LAT_OK ||
		(status = check_model_type(fields, config, error)) != LAT_OK ||
		(status = check_switches(fields, config, error)) != LAT_OK ||
		(status = read_activations(fields, config, error)) != LAT_OK ||
		(status = read_sizes(fields, settings, error)) != LAT_OK ||
		(status = read_floats(fields, config, error)) != LAT_OK)
		return status;
	if ((status = read_labels(host, fields, settings, error)) != LAT_OK)
		return status;
	config->mask_id = -1;
	/* Sizes first: what follows allocates by them. The tokenizer's fields are still zero. */
	return lat_check_config(config, error);
}

LatStatus
lat_settings_read(const LatHost *host, const LatPart parts[LAT_PART_COUNT],
				  LatSettings *settings, LatError *error)
{
	LatStatus	status;

	if ((status = lat_read_config(host, parts[LAT_PART_CONFIG], settings, error)) != LAT_OK ||
		(status = lat_read_tokenizer(host, parts, settings, error)) != LAT_OK)
		return status;
	return lat_check_config(&settings->config, error);
}

static void
release_texts(const LatHost *host, LatTexts *texts)
{
	host->release(host->arg, texts->items);
	host->release(host->arg, texts->arena);
}

void
lat_settings_release(const LatHost *host, LatSettings *settings)
{
	release_texts(host, &settings->labels);
	release_texts(host, &settings->words);
	host->release(host->arg, settings->added);
	memset(settings, 0, sizeof(LatSettings));
}
