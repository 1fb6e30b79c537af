/*
 * checkpoint.c
 *	  Names and shapes of the tensors that Hugging Face's classes save.
 *
 * A name is prefix, place, module, suffix: "bert." "encoder.layer.3."
 * "attention.output.dense" ".weight".  Bare encoders are saved with the prefix
 * or without; heads never have it.  Tensors that no section asks for (the
 * pooler of a bare encoder, position_ids, a language model's head) are ignored.
 */
#include "checkpoint.h"

#include <stdio.h>
#include <string.h>

#define NAME_SIZE 160

typedef struct ModuleNames
{
	const char *prefix;
	const char *layers;			/* place of a layer, before its number */
	const char *modules[LAT_SECTION_KINDS];
	const char *queries[3];		/* Q, K and V */
} ModuleNames;

#define BERT_MODULES \
	.modules = { \
		[LAT_SECTION_WORDS] = "embeddings.word_embeddings", \
		[LAT_SECTION_POSITIONS] = "embeddings.position_embeddings", \
		[LAT_SECTION_SEGMENTS] = "embeddings.token_type_embeddings", \
		[LAT_SECTION_EMBEDDING_NORM] = "embeddings.LayerNorm", \
		[LAT_SECTION_EMBEDDING_PROJECTION] = "embeddings_project", \
		[LAT_SECTION_ATTENTION_OUTPUT] = "attention.output.dense", \
		[LAT_SECTION_ATTENTION_NORM] = "attention.output.LayerNorm", \
		[LAT_SECTION_FEED_FORWARD_IN] = "intermediate.dense", \
		[LAT_SECTION_FEED_FORWARD_OUT] = "output.dense", \
		[LAT_SECTION_OUTPUT_NORM] = "output.LayerNorm" \
	}, \
	.queries = {"attention.self.query", "attention.self.key", "attention.self.value"}

static const ModuleNames names[] = {
	[LAT_BERT] = {.prefix = "bert.", .layers = "encoder.layer.", BERT_MODULES},
	[LAT_ELECTRA] = {.prefix = "electra.", .layers = "encoder.layer.", BERT_MODULES},
	[LAT_DISTILBERT] = {
		.prefix = "distilbert.", .layers = "transformer.layer.",
		.modules = {
			[LAT_SECTION_WORDS] = "embeddings.word_embeddings",
			[LAT_SECTION_POSITIONS] = "embeddings.position_embeddings",
			[LAT_SECTION_EMBEDDING_NORM] = "embeddings.LayerNorm",
			[LAT_SECTION_ATTENTION_OUTPUT] = "attention.out_lin",
			[LAT_SECTION_ATTENTION_NORM] = "sa_layer_norm",
			[LAT_SECTION_FEED_FORWARD_IN] = "ffn.lin1",
			[LAT_SECTION_FEED_FORWARD_OUT] = "ffn.lin2",
			[LAT_SECTION_OUTPUT_NORM] = "output_layer_norm"
		},
		.queries = {"attention.q_lin", "attention.k_lin", "attention.v_lin"}
	}
};

/* The encoder's prefix in this checkpoint. */
static const char *
find_prefix(const LatTensors *tensors, const ModuleNames *family)
{
	char		name[NAME_SIZE];

	snprintf(name, sizeof(name), "%s.weight", family->modules[LAT_SECTION_WORDS]);
	return lat_tensors_find(tensors, name) ? "" : family->prefix;
}

/* Write the name of a section's module, without suffix. */
static void
write_module(const LatTensors *tensors, const LatConfig *config, const LatSection *section,
			 int piece, char name[NAME_SIZE])
{
	const ModuleNames *family = &names[config->architecture];
	const char *module = family->modules[section->kind];
	const char *prefix = find_prefix(tensors, family);

	switch (section->kind)
	{
		case LAT_SECTION_HEAD_DENSE:
			if (config->architecture == LAT_BERT)
				snprintf(name, NAME_SIZE, "%spooler.dense", prefix);
			else
				snprintf(name, NAME_SIZE, "%s", config->architecture == LAT_ELECTRA
						 ? "classifier.dense" : "pre_classifier");
			break;
		case LAT_SECTION_HEAD_OUTPUT:
			if (config->task == LAT_CLASSIFY && config->architecture == LAT_ELECTRA)
				snprintf(name, NAME_SIZE, "classifier.out_proj");
			else
				snprintf(name, NAME_SIZE, "%s",
						 config->task == LAT_SPAN ? "qa_outputs" : "classifier");
			break;
		case LAT_SECTION_QKV:
			module = family->queries[piece];
			/* FALLTHROUGH */
		default:
			if (section->kind >= LAT_SECTION_QKV && section->kind <= LAT_SECTION_OUTPUT_NORM)
				snprintf(name, NAME_SIZE, "%s%s%u.%s", prefix, family->layers,
						 (unsigned) section->layer, module);
			else
				snprintf(name, NAME_SIZE, "%s%s", prefix, module);
			break;
	}
}

/* Find a tensor by module and suffix, or by the suffix that old checkpoints of norms have. */
static LatStatus
find_tensor(const LatTensors *tensors, const char *module, const char *suffix,
			const char *old_suffix, const LatTensor **tensor, LatError *error)
{
	char		name[NAME_SIZE + 16];

	snprintf(name, sizeof(name), "%s.%s", module, old_suffix);
	*tensor = lat_tensors_find(tensors, name);
	if (*tensor == NULL)
	{
		snprintf(name, sizeof(name), "%s.%s", module, suffix);
		*tensor = lat_tensors_find(tensors, name);
	}
	if (*tensor == NULL)
	{
		lat_fail(error, LAT_BAD_MODEL, "model.safetensors has no tensor \"%s\"", name);
		return lat_hint(error, LAT_BAD_MODEL,
						"config.json and model.safetensors must come from the same checkpoint.");
	}
	if ((*tensor)->dtype == LAT_DTYPE_OTHER)
	{
		lat_fail(error, LAT_UNSUPPORTED, "tensor \"%s\" has a dtype other than F32, F16 and BF16",
				 name);
		return lat_hint(error, LAT_UNSUPPORTED, "Save the model again in one of these.");
	}
	return LAT_OK;
}

/* columns 0: a vector of `rows`. */
static LatStatus
check_shape(const LatTensor *tensor, int64_t rows, int64_t columns, LatError *error)
{
	char		shape[LAT_TENSOR_RANK * 22 + 1] = "";
	size_t		used = 0;

	if (tensor->rank == (columns ? 2 : 1) && tensor->shape[0] == rows &&
		(columns == 0 || tensor->shape[1] == columns))
		return LAT_OK;
	for (int i = 0; i < tensor->rank; i++)
		used += (size_t) snprintf(shape + used, sizeof(shape) - used, "%s%lld", i ? ", " : "",
								  (long long) tensor->shape[i]);
	if (columns)
		lat_fail(error, LAT_BAD_MODEL, "tensor \"%.*s\" has shape [%s], not [%lld, %lld]",
				 (int) tensor->name.size, tensor->name.bytes, shape, (long long) rows,
				 (long long) columns);
	else
		lat_fail(error, LAT_BAD_MODEL, "tensor \"%.*s\" has shape [%s], not [%lld]",
				 (int) tensor->name.size, tensor->name.bytes, shape, (long long) rows);
	return lat_hint(error, LAT_BAD_MODEL,
					"config.json and model.safetensors must come from the same checkpoint.");
}

static bool
is_embedding(uint32_t kind)
{
	return kind >= LAT_SECTION_WORDS && kind <= LAT_SECTION_SEGMENTS;
}

/* Shape of a section's weight as the checkpoint has it; columns 0: a vector. */
static void
expected_shape(const LatSettings *settings, const LatSection *section, int64_t *rows,
			   int64_t *columns)
{
	const LatConfig *config = &settings->config;
	int32_t		k;
	int32_t		n;

	*columns = 0;
	switch (section->kind)
	{
		case LAT_SECTION_EMBEDDING_NORM:
			*rows = config->embedding;
			return;
		case LAT_SECTION_ATTENTION_NORM:
		case LAT_SECTION_OUTPUT_NORM:
			*rows = config->hidden;
			return;
		case LAT_SECTION_WORDS:
			*rows = settings->embedding_rows;
			*columns = config->embedding;
			return;
		case LAT_SECTION_POSITIONS:
			*rows = config->positions;
			*columns = config->embedding;
			return;
		case LAT_SECTION_SEGMENTS:
			*rows = config->segments;
			*columns = config->embedding;
			return;
		default:
			lat_linear_shape(config, (LatSectionKind) section->kind, &k, &n);
			*rows = section->kind == LAT_SECTION_QKV ? config->hidden : n;
			*columns = k;
	}
}

LatStatus
lat_find_section_tensors(const LatTensors *tensors, const LatSettings *settings,
						 const LatSection *section, LatSectionTensors *found, LatError *error)
{
	char		module[NAME_SIZE];
	int64_t		rows;
	int64_t		columns;
	LatStatus	status;

	memset(found, 0, sizeof(LatSectionTensors));
	found->pieces = section->kind == LAT_SECTION_QKV ? 3 : 1;
	expected_shape(settings, section, &rows, &columns);
	for (int i = 0; i < found->pieces; i++)
	{
		write_module(tensors, &settings->config, section, i, module);
		status = find_tensor(tensors, module, "weight", "gamma", &found->weights[i], error);
		if (status != LAT_OK ||
			(status = check_shape(found->weights[i], rows, columns, error)) != LAT_OK)
			return status;
		if (is_embedding(section->kind))
			continue;
		status = find_tensor(tensors, module, "bias", "beta", &found->biases[i], error);
		if (status != LAT_OK || (status = check_shape(found->biases[i], rows, 0, error)) != LAT_OK)
			return status;
	}
	return LAT_OK;
}
