/*
 * image_test.c
 *	  Packed images: the weights in them, and their bytes.
 */
#include "check.h"
#include "checkpoint.h"
#include "core/format.h"
#include "core/safetensors.h"

#include <math.h>

static TestHost test;

static const char *const checkpoints[] = {
	"classify", "span", "tag", "embed", "electra", "distilbert"
};

#define CHECKPOINTS (int) (sizeof(checkpoints) / sizeof(checkpoints[0]))

/* ---- weights ------------------------------------------------------------------------------- */

/* Weight (k, n) of a linear, as inference takes it, and half a step of its coding. */
static float
linear_weight(const LatLinear *linear, int32_t k, int32_t n, float *half_step)
{
	size_t		panel = (size_t) (n / 16);

	*half_step = 0;
	if (linear->layout == LAT_FP32)
		return ((const float *) linear->weights)[(panel * (size_t) linear->k + (size_t) k) * 16 +
												 (size_t) (n % 16)];
	*half_step = linear->scales[n] * 0.5f;
	return linear->scales[n] *
		(float) ((const int8_t *) linear->weights)[(panel * (size_t) (linear->k_padded / 4) +
													(size_t) (k / 4)) * 64 +
												   (size_t) (n % 16 * 4 + k % 4)];
}

/* The source's floats, as the tensor reader converts them. */
static float *
source_floats(const LatTensors *tensors, const char *name, size_t *count)
{
	const LatTensor *tensor = lat_tensors_find(tensors, name);
	float	   *floats;

	if (!CHECK(tensor != NULL, "there is a tensor %s", name))
		exit(check_done("image_test"));
	*count = (size_t) (tensor->stop - tensor->start) / (size_t) tensor->element_size;
	floats = malloc(*count * sizeof(float));
	lat_tensor_floats(tensor, 0, *count, floats);
	return floats;
}

/* Columns first .. of the linear hold this module's weight and bias. */
static void
check_linear(const LatTensors *tensors, const char *module, const LatLinear *linear, int32_t first)
{
	char		name[128];
	size_t		count;
	size_t		columns;
	float	   *weight;
	float	   *bias;
	bool		close = true;
	bool		same_bias;

	snprintf(name, sizeof(name), "%s.weight", module);
	weight = source_floats(tensors, name, &count);
	snprintf(name, sizeof(name), "%s.bias", module);
	bias = source_floats(tensors, name, &columns);
	CHECK(columns * (size_t) linear->k == count, "%s has the linear's depth", module);
	for (size_t n = 0; n < columns; n++)
	{
		for (size_t k = 0; k < (size_t) linear->k; k++)
		{
			float		half_step;
			float		packed = linear_weight(linear, (int32_t) k, first + (int32_t) n,
											   &half_step);

			close &= fabsf(packed - weight[n * (size_t) linear->k + k]) <= half_step * 1.0001f;
		}
	}
	same_bias = memcmp(linear->bias + first, bias, columns * sizeof(float)) == 0;
	CHECK(close, "%s within half a step", module);
	CHECK(same_bias, "%s has its bias", module);
	free(weight);
	free(bias);
}

static void
check_embedding(const LatTensors *tensors, const char *name, const LatEmbedding *embedding,
				size_t width)
{
	size_t		count;
	float	   *weight = source_floats(tensors, name, &count);
	bool		close = count == (size_t) embedding->rows * width;

	for (size_t i = 0; i < count && close; i++)
	{
		size_t		at = i / width * (size_t) embedding->stride + i % width;
		float		scale = embedding->scales ? embedding->scales[i / width] : 0;
		float		packed = embedding->scales
			? scale * (float) ((const int8_t *) embedding->codes)[at]
			: ((const float *) embedding->codes)[at];

		close = fabsf(packed - weight[i]) <= scale * 0.50005f;
	}
	CHECK(close, "%s within half a step", name);
	free(weight);
}

static void
check_norm(const LatTensors *tensors, const char *module, const LatNorm *norm)
{
	char		name[128];
	size_t		count;
	float	   *gamma;
	float	   *beta;

	snprintf(name, sizeof(name), "%s.weight", module);
	gamma = source_floats(tensors, name, &count);
	snprintf(name, sizeof(name), "%s.bias", module);
	beta = source_floats(tensors, name, &count);
	CHECK(memcmp(norm->gamma, gamma, count * sizeof(float)) == 0 &&
		  memcmp(norm->beta, beta, count * sizeof(float)) == 0, "%s is copied", module);
	free(gamma);
	free(beta);
}

/* BERT and ELECTRA name the encoder's tensors alike. */
static void
check_bert(const LatTensors *tensors, const char *prefix, const LatModel *model)
{
	int32_t		padded = LAT_ROUND_UP(model->config.hidden, 16);
	char		name[128];

#define NAME(module) (snprintf(name, sizeof(name), "%s" module, prefix), name)
	check_embedding(tensors, NAME("embeddings.word_embeddings.weight"), &model->words,
					(size_t) model->config.embedding);
	check_embedding(tensors, NAME("embeddings.position_embeddings.weight"), &model->positions,
					(size_t) model->config.embedding);
	check_embedding(tensors, NAME("embeddings.token_type_embeddings.weight"), &model->segments,
					(size_t) model->config.embedding);
	check_norm(tensors, NAME("embeddings.LayerNorm"), &model->embedding_norm);
	for (int i = 0; i < model->config.layers; i++)
	{
		const LatLayer *layer = &model->layers[i];

#define LAYER(module) \
	(snprintf(name, sizeof(name), "%sencoder.layer.%d." module, prefix, i), name)
		check_linear(tensors, LAYER("attention.self.query"), &layer->qkv, 0);
		check_linear(tensors, LAYER("attention.self.key"), &layer->qkv, padded);
		check_linear(tensors, LAYER("attention.self.value"), &layer->qkv, 2 * padded);
		check_linear(tensors, LAYER("attention.output.dense"), &layer->attention_output, 0);
		check_norm(tensors, LAYER("attention.output.LayerNorm"), &layer->attention_norm);
		check_linear(tensors, LAYER("intermediate.dense"), &layer->feed_forward_in, 0);
		check_linear(tensors, LAYER("output.dense"), &layer->feed_forward_out, 0);
		check_norm(tensors, LAYER("output.LayerNorm"), &layer->output_norm);
	}
}

static void
check_distilbert(const LatTensors *tensors, const LatModel *model)
{
	int32_t		padded = LAT_ROUND_UP(model->config.hidden, 16);
	char		name[128];

#define DISTIL(module) \
	(snprintf(name, sizeof(name), "distilbert.transformer.layer.%d." module, i), name)
	for (int i = 0; i < model->config.layers; i++)
	{
		const LatLayer *layer = &model->layers[i];

		check_linear(tensors, DISTIL("attention.q_lin"), &layer->qkv, 0);
		check_linear(tensors, DISTIL("attention.k_lin"), &layer->qkv, padded);
		check_linear(tensors, DISTIL("attention.v_lin"), &layer->qkv, 2 * padded);
		check_linear(tensors, DISTIL("attention.out_lin"), &layer->attention_output, 0);
		check_norm(tensors, DISTIL("sa_layer_norm"), &layer->attention_norm);
		check_linear(tensors, DISTIL("ffn.lin1"), &layer->feed_forward_in, 0);
		check_linear(tensors, DISTIL("ffn.lin2"), &layer->feed_forward_out, 0);
		check_norm(tensors, DISTIL("output_layer_norm"), &layer->output_norm);
	}
	check_linear(tensors, "pre_classifier", &model->head_dense, 0);
	check_linear(tensors, "classifier", &model->head_output, 0);
}

static void
check_weights(const char *name, const LatTensors *tensors, const LatModel *model)
{
	if (strcmp(name, "distilbert") == 0)
		check_distilbert(tensors, model);
	else if (strcmp(name, "electra") == 0)
	{
		check_bert(tensors, "electra.", model);
		check_linear(tensors, "electra.embeddings_project", &model->embedding_projection, 0);
		check_linear(tensors, "classifier.dense", &model->head_dense, 0);
		check_linear(tensors, "classifier.out_proj", &model->head_output, 0);
	}
	else
	{
		check_bert(tensors, strcmp(name, "embed") == 0 ? "" : "bert.", model);
		CHECK(model->embedding_projection.weights == NULL, "%s has no projection", name);
		CHECK((model->head_dense.weights == NULL) == (strcmp(name, "classify") != 0),
			  "%s has a pooler if it classifies", name);
		if (strcmp(name, "classify") == 0)
			check_linear(tensors, "bert.pooler.dense", &model->head_dense, 0);
		if (strcmp(name, "span") == 0)
			check_linear(tensors, "qa_outputs", &model->head_output, 0);
		else if (strcmp(name, "embed") != 0)
			check_linear(tensors, "classifier", &model->head_output, 0);
	}
	if (model->head_output.weights)
		CHECK(model->head_output.layout == LAT_FP32, "%s has an fp32 head", name);
}

/* fp32 holds the source's values exactly, int8 within half a step of its scale. */
static void
test_weights(void)
{
	for (int i = 0; i < CHECKPOINTS; i++)
	{
		LatTensors	tensors = {.items = NULL};
		Checkpoint	checkpoint;
		LatError	error = {"", ""};

		checkpoint_read(&checkpoint, checkpoints[i]);
		CHECK(lat_tensors_read(&test.host, (const uint8_t *) checkpoint.parts[LAT_PART_WEIGHTS],
							   checkpoint.sizes[LAT_PART_WEIGHTS], &tensors, &error) == LAT_OK,
			  "tensors of %s: %s", checkpoints[i], error.message);
		for (int precision = LAT_FP32; precision <= LAT_INT8; precision++)
		{
			LatModel	model;
			void	   *image = checkpoint_open(&test, checkpoints[i], precision, &model);

			check_weights(checkpoints[i], &tensors, &model);
			free(image);
		}
		lat_tensors_release(&test.host, &tensors);
		checkpoint_free(&checkpoint);
	}
}

/* Every half and every bfloat16 that is finite, against arithmetic on its parts. */
static void
test_conversion(void)
{
	uint16_t   *halves = malloc(65536 * sizeof(uint16_t));
	float	   *floats = malloc(65536 * sizeof(float));
	LatTensor	tensor = {.element_size = 2, .data = (const uint8_t *) halves};
	int			wrong = 0;
	int			wrong_finite = 0;

	for (int i = 0; i < 65536; i++)
		halves[i] = (uint16_t) i;
	tensor.dtype = LAT_DTYPE_F16;
	lat_tensor_floats(&tensor, 0, 65536, floats);
	for (int i = 0; i < 65536; i++)
	{
		int			exponent = i >> 10 & 31;
		float		expected = exponent ? ldexpf((float) (1024 + (i & 1023)), exponent - 25)
			: ldexpf((float) (i & 1023), -24);

		wrong_finite += lat_tensor_finite(&tensor, (uint64_t) i, 1) != (exponent != 31);
		if (exponent != 31)
			wrong += floats[i] != (i & 0x8000 ? -expected : expected);
	}
	CHECK(wrong == 0, "%d halves are wrong", wrong);
	tensor.dtype = LAT_DTYPE_BF16;
	lat_tensor_floats(&tensor, 0, 65536, floats);
	wrong = 0;
	for (int i = 0; i < 65536; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &floats[i], sizeof(bits));
		wrong += bits != (uint32_t) i << 16;
		wrong_finite += lat_tensor_finite(&tensor, (uint64_t) i, 1) != ((i >> 7 & 255) != 255);
	}
	CHECK(wrong == 0, "%d bfloats are wrong", wrong);
	CHECK(wrong_finite == 0, "%d elements are wrongly finite or not", wrong_finite);
	free(halves);
	free(floats);
}

/* Columns of zeros, of the smallest floats and of the largest. */
static void
test_extremes(void)
{
	static const float values[] = {0, 1e-45f, 1e-38f, 1e-30f, 3.4e38f, -3.4e38f};
	Checkpoint	checkpoint;
	LatError	error = {"", ""};
	LatModel	model;
	size_t		size;
	void	   *image;

	checkpoint_read(&checkpoint, "span");
	for (int column = 0; column < 6; column++)
	{
		char	   *data = checkpoint_tensor(&checkpoint,
											 "bert.encoder.layer.0.attention.output.dense.weight");

		for (int k = 0; k < 32; k++)
			memcpy(data + (column * 32 + k) * 4, &values[column], 4);
	}
	CHECK(checkpoint_pack(&test.host, &checkpoint, LAT_INT8, &image, &size, &error) == LAT_OK &&
		  lat_model_open(image, size, &model, &error) == LAT_OK &&
		  lat_model_verify(&test.host, &model, &error) == LAT_OK, "extremes: %s", error.message);
	for (int column = 0; image && column < 6; column++)
	{
		const LatLinear *linear = &model.layers[0].attention_output;
		float		half_step;
		float		packed = linear_weight(linear, 5, column, &half_step);

		if (fabsf(values[column]) < 1e-36f)
			CHECK(linear->scales[column] == 0 && linear->column_sums[column] == 0,
				  "column of %g has scale and codes 0", (double) values[column]);
		else
			CHECK(fabsf(packed - values[column]) <= half_step, "column of %g",
				  (double) values[column]);
	}
	free(image);
	checkpoint_free(&checkpoint);
}

/* ---- bytes --------------------------------------------------------------------------------- */

static uint64_t
checksum(const uint8_t *bytes, size_t size, uint64_t sum)
{
	for (size_t i = 0; i < size; i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);	/* FNV-1a */
	return sum;
}

/*
 * The format's bytes.  A change of these sums is a change of the format: raise
 * LAT_FORMAT_VERSION with it.  The vocabulary is summed apart, since its trie
 * may be built otherwise without a reader noticing.
 */
static void
test_golden(void)
{
	static const uint64_t sums[][3] = {	/* fp32, int8, vocabulary */
#include "image_sums.h"
	};

	for (int i = 0; i < CHECKPOINTS; i++)
	{
		for (int precision = LAT_FP32; precision <= LAT_INT8; precision++)
		{
			LatModel	model;
			uint8_t    *image = checkpoint_open(&test, checkpoints[i], precision, &model);
			const LatSection *labels = (const LatSection *) (image + sizeof(LatImageHeader));
			const LatSection *vocabulary = labels + 1;
			const LatSection *rest = labels + 2;
			uint64_t	start = UINT64_C(0xcbf29ce484222325);
			uint64_t	sum = start;
			uint64_t	words;

			/* Header, labels and what follows the vocabulary; not the table, which has its size. */
			sum = checksum(image, 16, sum);
			sum = checksum(image + 24, sizeof(LatImageHeader) - 24, sum);
			sum = checksum(image + labels->offset, labels->size, sum);
			sum = checksum(image + rest->offset, model.image_size - rest->offset, sum);
			words = checksum(image + vocabulary->offset, vocabulary->size, start);
			CHECK(sum == sums[i][precision], "%s packs as %s to the same bytes: 0x%016llx",
				  checkpoints[i], lat_precision_name(precision), (unsigned long long) sum);
			CHECK(words == sums[i][2], "%s has the same vocabulary section: 0x%016llx",
				  checkpoints[i], (unsigned long long) words);
			free(image);
		}
	}
}

int
main(void)
{
	test_host_init(&test);
	test_weights();
	test_conversion();
	test_extremes();
	test_golden();
	CHECK(test.live == 0, "nothing leaks");
	return check_done("image_test");
}
