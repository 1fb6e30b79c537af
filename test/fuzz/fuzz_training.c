/*
 * fuzz_training.c
 *	  Any bytes as records of examples, as answers, as damage to an image that is converted.
 *
 * The first byte chooses what the rest is.  Whatever it is: nothing is read
 * outside of it (the sanitizers see to that), a refusal says why, records that
 * are indexed can be evaluated and labelled and are then still sound, and an image
 * that passes every check converts to one that does, or is refused.  Models are
 * those of test/golden; run it from the top of the repository.
 */
#include "core/answers.h"
#include "core/examples.h"
#include "unit/load.h"

#include <math.h>

#define REQUIRE(condition) \
	do { if (!(condition)) { fprintf(stderr, "broken: %s\n", #condition); abort(); } } while (0)

#define RECORDS 64
#define EVALUATED 6				/* records, so that a run stays short */

static const char *const names[] = {"classify", "span", "tag", "embed", "distilbert"};

#define MODELS (sizeof(names) / sizeof(names[0]))

static TestHost test;
static LatModel models[MODELS];

static void
open_models(void)
{
	LatError	error = {"", ""};
	char		path[256];

	test_host_init(&test);
	for (size_t i = 0; i < MODELS; i++)
	{
		snprintf(path, sizeof(path), "test/golden/tiny-%s", names[i]);
		REQUIRE(load_model(&test.host, path, LAT_INT8, &models[i], &error) == LAT_OK);
	}
}

/* ---- records ------------------------------------------------------------------------------ */

static void
evaluate(const LatModel *model, LatExamples *examples)
{
	LatEngine	engine = {.host = &test.host,.kernels = lat_find_kernels("scalar")};
	int32_t		count = examples->count < EVALUATED ? examples->count : EVALUATED;
	const int32_t lengths[] = {20, 10, 5, 5, 5, 5};
	float	   *references = calloc(RECORDS * (size_t) model->config.hidden, sizeof(float));
	LatOutcome	outcomes[EVALUATED];
	LatError	error = {"", ""};

	REQUIRE(lat_evaluate(&engine, model, examples, 0, count, lengths, 32, references, outcomes,
						 &error) == LAT_OK);
	for (int32_t i = 0; i < count; i++)
		REQUIRE(isfinite(outcomes[i].hits) && outcomes[i].multiply_adds >= 0 &&
				2 * outcomes[i].hits <= outcomes[i].predicted + outcomes[i].actual + 1e-3f);
	REQUIRE(lat_label_examples(&engine, model, examples, 0, count, references, &error) == LAT_OK);
	REQUIRE(lat_examples_index(&test.host, model, examples, RECORDS, &error) == LAT_OK);
	lat_engine_release(&engine);
	free(references);
}

static void
try_records(const LatModel *model, LatRecordKind kind, const uint8_t *data, size_t size)
{
	uint8_t    *bytes = malloc(size ? size : 1);	/* of its own, so that a read beyond is seen */
	uint64_t	offsets[RECORDS];
	LatExamples examples = {.kind = kind,.bytes = bytes,.size = size,.offsets = offsets};
	LatError	error = {"", ""};
	LatStatus	status;

	memcpy(bytes, data, size);
	status = lat_examples_index(&test.host, model, &examples, RECORDS, &error);
	REQUIRE(status == LAT_OK || (status == LAT_BAD_MODEL && error.message[0]));
	if (status == LAT_OK && (kind == LAT_RECORD_QUESTION) == (model->config.task == LAT_SPAN))
		evaluate(model, &examples);
	free(bytes);
}

/* Records whose lengths are right, so that more of them pass. */
static void
try_shaped_records(const LatModel *model, const uint8_t *data, size_t size)
{
	bool		tags = model->config.task == LAT_TAG;
	size_t		room = size * 8 + 64;
	int32_t    *bytes = malloc(room);
	size_t		used = 0;

	while (size > 4)
	{
		int32_t		ids[64];
		int32_t		labels[64];
		LatExample	example = {.tokens = 1 + data[0] % 64,.first = 1 + data[1] % 64,
			.target = {(int8_t) data[2], (int8_t) data[3]},.ids = ids,.labels = tags ? labels : NULL
		};

		data += 4;
		size -= 4;
		for (int32_t t = 0; t < example.tokens; t++)
		{
			ids[t] = size > 0 ? *data : 0;
			labels[t] = size > 0 ? *data % 8 - 2 : 0;
			if (size > 0)
			{
				data++;
				size--;
			}
		}
		if (used + lat_example_size(&example) > room)
			break;
		lat_example_write(&example, (uint8_t *) bytes + used);
		used += lat_example_size(&example);
	}
	try_records(model, LAT_RECORD_EXAMPLE, (const uint8_t *) bytes, used);
	free(bytes);
}

/* ---- answers ------------------------------------------------------------------------------ */

static void
try_answers(const uint8_t *data, size_t size)
{
	size_t		cut = size > 0 ? data[0] % size : 0;
	char	   *first = malloc(cut + 1);
	char	   *second = malloc(size - cut + 1);
	LatWord		words[2] = {{first + 1, cut}, {second + 1, size - cut}};
	float		f1;
	float		reversed;

	memcpy(first + 1, data, cut);
	memcpy(second + 1, data + cut, size - cut);
	REQUIRE(lat_answer_f1(&test.host, words[0], words[1], &f1, NULL) == LAT_OK);
	REQUIRE(lat_answer_f1(&test.host, words[1], words[0], &reversed, NULL) == LAT_OK);
	REQUIRE(f1 >= 0 && f1 <= 1 && f1 == reversed);
	REQUIRE(lat_answer_f1(&test.host, words[0], words[0], &f1, NULL) == LAT_OK);
	REQUIRE(f1 == 0 || f1 == 1);
	free(first);
	free(second);
}

/* ---- images ------------------------------------------------------------------------------- */

static void
convert(const LatModel *model, const LatNewHead *head, LatPrecision precision)
{
	size_t		size = lat_convert_size(model, head, precision);
	void	   *image = aligned_alloc(64, size);
	LatModel	converted;
	LatError	error = {"", ""};
	LatStatus	status = lat_convert(&test.host, model, head, precision, image, &error);

	REQUIRE(status == LAT_OK || (status == LAT_BAD_MODEL && error.message[0]));
	if (status == LAT_OK)
	{
		REQUIRE(lat_model_open(image, size, &converted, &error) == LAT_OK);
		REQUIRE(lat_model_verify(&test.host, &converted, &error) == LAT_OK);
	}
	free(image);
}

/* Damage is a list of five bytes: where (four, modulo the size) and what to add. */
static void
try_image(const LatModel *sound, const uint8_t *damage, size_t size)
{
	static const char *const labels[] = {"a", "b", "c"};
	const LatNewHead heads[] = {{LAT_CLASSIFY, 3, labels, 5}, {LAT_SPAN, 2, NULL, 6}};
	uint8_t    *image = aligned_alloc(64, sound->image_size);
	LatModel	model;
	LatError	error;

	memcpy(image, sound->image, sound->image_size);
	for (; size >= 5; damage += 5, size -= 5)
	{
		uint32_t	where;

		memcpy(&where, damage, sizeof(where));
		image[where % sound->image_size] =
			(uint8_t) (image[where % sound->image_size] + damage[4]);
	}
	if (lat_model_open(image, sound->image_size, &model, &error) == LAT_OK &&
		lat_model_verify(&test.host, &model, &error) == LAT_OK)
	{
		for (int precision = LAT_FP32; precision <= LAT_INT8; precision++)
		{
			convert(&model, NULL, (LatPrecision) precision);
			convert(&model, &heads[0], (LatPrecision) precision);
			convert(&model, &heads[1], (LatPrecision) precision);
		}
	}
	free(image);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const LatModel *model;

	if (models[0].image == NULL)
		open_models();
	if (size < 2)
		return 0;
	model = &models[data[0] / 8 % MODELS];
	switch (data[0] % 8)
	{
		case 0:
		case 1:
			try_records(model, LAT_RECORD_EXAMPLE, data + 1, size - 1);
			break;
		case 2:
		case 3:
			try_records(model, LAT_RECORD_QUESTION, data + 1, size - 1);
			break;
		case 4:
			try_shaped_records(model, data + 1, size - 1);
			break;
		case 5:
		case 6:
			try_answers(data + 1, size - 1);
			break;
		default:
			try_image(model, data + 1, size - 1);
			break;
	}
	REQUIRE(test.live == 0);
	return 0;
}
