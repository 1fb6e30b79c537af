/*
 * convert_test.c
 *	  Images out of images: int8 from fp32 as from the checkpoint, floats within the steps of codes,
 *	  new heads, what is refused, without memory, interrupted at the n-th question.
 */
#include "check.h"
#include "checkpoint.h"
#include "core/format.h"
#include "core/lat_training.h"

#include <math.h>

static TestHost test;

static const char *const checkpoints[] = {
	"classify", "span", "tag", "embed", "electra", "distilbert"
};

#define CHECKPOINTS (int) (sizeof(checkpoints) / sizeof(checkpoints[0]))

static const char *const three_names[] = {"billing", "Ärger", "other"};
static const LatNewHead three = {LAT_CLASSIFY, 3, three_names, 7};

/* Convert into a block of exactly that size, filled with rubbish; the image is the caller's. */
static void *
convert(const LatModel *base, const LatNewHead *head, LatPrecision precision, LatModel *model)
{
	size_t		size = lat_convert_size(base, head, precision);
	void	   *image = aligned_alloc(64, size);
	LatError	error = {"", ""};
	LatStatus	status;

	memset(image, 0xee, size);
	status = lat_convert(&test.host, base, head, precision, image, &error);
	if (status == LAT_OK && (status = lat_model_open(image, size, model, &error)) == LAT_OK)
		status = lat_model_verify(&test.host, model, &error);
	if (!CHECK(status == LAT_OK, "converts to %s: %s", lat_precision_name(precision),
			   error.message))
		exit(check_done("convert_test"));
	CHECK(test.live == 0, "converting leaks nothing");
	return image;
}

static bool
same_image(const LatModel *a, const LatModel *b)
{
	return a->image_size == b->image_size && memcmp(a->image, b->image, a->image_size) == 0;
}

/* ---- precisions --------------------------------------------------------------------------- */

/* Every conversion that loses nothing gives the image that packing gives. */
static void
test_bytes(void)
{
	for (int i = 0; i < CHECKPOINTS; i++)
	{
		LatModel	packed[2];
		LatModel	model;
		void	   *copy;

		for (int p = LAT_FP32; p <= LAT_INT8; p++)
			checkpoint_open(&test, checkpoints[i], p, &packed[p]);
		for (int p = LAT_FP32; p <= LAT_INT8; p++)
		{
			void	   *image = convert(&packed[LAT_FP32], NULL, p, &model);

			CHECK(same_image(&model, &packed[p]), "%s: %s from fp32 is %s from the checkpoint",
				  checkpoints[i], lat_precision_name(p), lat_precision_name(p));
			free(image);
		}
		copy = convert(&packed[LAT_INT8], NULL, LAT_INT8, &model);
		CHECK(same_image(&model, &packed[LAT_INT8]), "%s: int8 from int8 is a copy",
			  checkpoints[i]);
		free(copy);
		free((void *) packed[LAT_FP32].image);
		free((void *) packed[LAT_INT8].image);
	}
}

/* Code of weight (k, n) of a linear; its place is written out anew here, from format.h. */
static int8_t
code_of(const LatLinear *linear, int32_t k, int32_t n)
{
	const int8_t *codes = linear->weights;

	return codes[((n / 16) * (linear->k_padded / 4) + k / 4) * 64 + n % 16 * 4 + k % 4];
}

/* Where weights lie in the steps of their codes. */
typedef struct Steps
{
	bool		inside;			/* all of them, and the largest in the middle */
	double		count;
	double		sum;
	double		squares;
} Steps;

static void
add_step(Steps *steps, int8_t code, float scale, float value)
{
	double		u = scale > 0 ? value / scale - code : 0;

	steps->inside &= fabs(u) < 0.5 && (scale > 0 || value == 0) &&
		(abs(code) != 127 || fabs(u) < 1e-4);
	if (scale <= 0 || abs(code) == 127)
		return;
	steps->count++;
	steps->sum += u;
	steps->squares += u * u;
}

static void
add_linear(Steps *steps, const LatLinear *coded, const LatLinear *floats)
{
	steps->inside &= memcmp(coded->bias, floats->bias, (size_t) coded->n_padded * 4) == 0;
	for (int32_t n = 0; n < coded->n; n++)
		for (int32_t k = 0; k < coded->k; k++)
			add_step(steps, code_of(coded, k, n), coded->scales[n],
					 ((const float *) floats->weights)[(n / 16 * coded->k + k) * 16 + n % 16]);
}

static void
add_embedding(Steps *steps, const LatEmbedding *coded, const LatEmbedding *floats, int32_t width)
{
	steps->inside &= coded->rows == floats->rows && coded->stride == floats->stride;
	for (int32_t row = 0; steps->inside && row < coded->rows; row++)
		for (int32_t i = 0; i < width; i++)
			add_step(steps, ((const int8_t *) coded->codes)[row * coded->stride + i],
					 coded->scales[row], ((const float *) floats->codes)[row * coded->stride + i]);
}

/* Floats lie anywhere in their codes' steps; coding them again gives the codes they were. */
static void
test_dequantized(void)
{
	for (int i = 0; i < CHECKPOINTS; i++)
	{
		LatModel	coded;
		LatModel	floats;
		LatModel	again;
		void	   *images[3];
		Steps		steps = {.inside = true};
		bool		same = true;

		images[0] = checkpoint_open(&test, checkpoints[i], LAT_INT8, &coded);
		images[1] = convert(&coded, NULL, LAT_FP32, &floats);
		images[2] = convert(&floats, NULL, LAT_INT8, &again);
		CHECK(memcmp(&coded.config, &floats.config, sizeof(LatConfig)) == 0, "same configuration");
		add_embedding(&steps, &coded.words, &floats.words, coded.config.embedding);
		add_embedding(&steps, &coded.positions, &floats.positions, coded.config.embedding);
		if (coded.config.segments > 0)
			add_embedding(&steps, &coded.segments, &floats.segments, coded.config.embedding);
		for (int l = 0; l < coded.config.layers; l++)
		{
			const LatLayer *one = &coded.layers[l];
			const LatLayer *two = &floats.layers[l];

			add_linear(&steps, &one->qkv, &two->qkv);
			add_linear(&steps, &one->attention_output, &two->attention_output);
			add_linear(&steps, &one->feed_forward_in, &two->feed_forward_in);
			add_linear(&steps, &one->feed_forward_out, &two->feed_forward_out);
		}
		if (coded.head_dense.weights)
			add_linear(&steps, &coded.head_dense, &floats.head_dense);
		if (coded.embedding_projection.weights)
			add_linear(&steps, &coded.embedding_projection, &floats.embedding_projection);
		CHECK(steps.inside, "%s: weights lie in the steps of their codes", checkpoints[i]);
		CHECK(fabs(steps.sum / steps.count) < 5 / sqrt(12 * steps.count) &&
			  fabs(12 * steps.squares / steps.count - 1) < 0.02,
			  "%s: anywhere in them: mean %.4f, variance %.4f of 1/12, %.0f weights",
			  checkpoints[i], steps.sum / steps.count, 12 * steps.squares / steps.count,
			  steps.count);
		for (int l = 0; l < coded.config.layers; l++)
		{
			const LatLinear *one = &coded.layers[l].feed_forward_in;
			const LatLinear *two = &again.layers[l].feed_forward_in;

			same &= memcmp(one->weights, two->weights,
						   (size_t) one->k_padded * (size_t) one->n_padded) == 0;
			for (int32_t n = 0; n < one->n; n++)
				same &= fabsf(one->scales[n] - two->scales[n]) <= 1.2e-7f * one->scales[n];
		}
		CHECK(same, "%s: the way back gives the same codes", checkpoints[i]);
		for (int j = 0; j < 3; j++)
			free(images[j]);
	}
}

/* Training moves weights by a tenth of a step: in int8 a tenth of them moves by a whole one. */
static void
test_moves(void)
{
	LatModel	coded;
	LatModel	floats;
	LatModel	moved;
	void	   *images[3];
	double		sum = 0;
	double		count = 0;

	images[0] = checkpoint_open(&test, "classify", LAT_INT8, &coded);
	images[1] = convert(&coded, NULL, LAT_FP32, &floats);
	for (int l = 0; l < coded.config.layers; l++)
	{
		const LatLinear *one = &coded.layers[l].feed_forward_in;
		float	   *weights = (float *) floats.layers[l].feed_forward_in.weights;

		for (int32_t n = 0; n < one->n; n++)
			for (int32_t k = 0; k < one->k; k++)
				if (abs(code_of(one, k, n)) < 120)
					weights[(n / 16 * one->k + k) * 16 + n % 16] += 0.1f * one->scales[n];
	}
	images[2] = convert(&floats, NULL, LAT_INT8, &moved);
	for (int l = 0; l < coded.config.layers; l++)
	{
		const LatLinear *one = &coded.layers[l].feed_forward_in;

		for (int32_t n = 0; n < one->n; n++)
			for (int32_t k = 0; k < one->k; k++)
				if (abs(code_of(one, k, n)) < 120)
				{
					sum += code_of(&moved.layers[l].feed_forward_in, k, n) - code_of(one, k, n);
					count++;
				}
	}
	CHECK(fabs(sum / count - 0.1) < 5 * sqrt(0.09 / count), "a move of 0.1 is one of %.3f in int8",
		  sum / count);
	for (int j = 0; j < 3; j++)
		free(images[j]);
}

/* ---- heads -------------------------------------------------------------------------------- */

/* The encoder's part of two models of one precision has the same bytes. */
static bool
same_encoder(const LatModel *a, const LatModel *b)
{
	const LatSection *of_a = (const LatSection *) (a->image + sizeof(LatImageHeader));
	const LatSection *of_b = (const LatSection *) (b->image + sizeof(LatImageHeader));
	bool		same = true;

	for (int i = LAT_SECTION_VOCABULARY; of_a[i].kind < LAT_SECTION_HEAD_DENSE &&
		 i < (int) ((const LatImageHeader *) a->image)->sections; i++)
		same = same && of_a[i].kind == of_b[i].kind && of_a[i].size == of_b[i].size &&
			memcmp(a->image + of_a[i].offset, b->image + of_b[i].offset, of_a[i].size) == 0;
	return same;
}

static bool
same_label(const LatModel *model, int label, const char *name)
{
	size_t		bytes;
	const char *text = lat_label_text(model, label, &bytes);

	return bytes == strlen(name) && memcmp(text, name, bytes) == 0;
}

static void
check_head(const char *name, const LatModel *base, const LatModel *model, const LatNewHead *head)
{
	static const LatActivation activations[] = {LAT_TANH, LAT_GELU, LAT_RELU};
	const char *const ends[] = {"start", "end"};
	const char *const *labels = head->task == LAT_SPAN ? ends : head->names;
	bool		classifies = head->task == LAT_CLASSIFY;
	bool		named = true;
	LatConfig	expected = base->config;

	expected.task = head->task;
	expected.labels = head->labels;
	expected.head_activation = classifies ? activations[expected.architecture] : LAT_IDENTITY;
	CHECK(memcmp(&expected, &model->config, sizeof(LatConfig)) == 0, "%s gets a %s head", name,
		  lat_task_name(head->task));
	for (int i = 0; i < head->labels; i++)
		named = named && same_label(model, i, labels[i]);
	CHECK(named, "%s: the head's labels", name);
	CHECK(same_encoder(base, model), "%s: the encoder stays as it is", name);
	CHECK((model->head_dense.weights != NULL) == classifies, "%s: a dense layer if it classifies",
		  name);
	for (int32_t i = 0; i < model->head_output.n_padded; i++)
		CHECK(model->head_output.bias[i] == 0, "biases are 0");
	if (classifies && base->config.task == LAT_CLASSIFY)
		CHECK(memcmp(base->head_dense.weights, model->head_dense.weights,
					 (size_t) model->head_dense.k_padded * (size_t) model->head_dense.n_padded *
					 (model->precision == LAT_INT8 ? 1 : 4)) == 0 &&
			  memcmp(base->head_dense.bias, model->head_dense.bias,
					 (size_t) model->head_dense.n_padded * 4) == 0,
			  "%s: a classifier keeps its dense layer", name);
}

/* Every task onto every checkpoint, in both precisions. */
static void
test_heads(void)
{
	const LatNewHead heads[] = {
		three, {LAT_SPAN, 2, NULL, 8}, {LAT_TAG, 3, three_names, 9}
	};

	for (int i = 0; i < CHECKPOINTS; i++)
	{
		for (int p = LAT_FP32; p <= LAT_INT8; p++)
		{
			LatModel	base;
			void	   *image = checkpoint_open(&test, checkpoints[i], p, &base);

			for (int h = 0; h < 3; h++)
			{
				LatModel	model;
				LatModel	at_once;
				LatModel	after;
				void	   *images[3];

				images[0] = convert(&base, &heads[h], p, &model);
				check_head(checkpoints[i], &base, &model, &heads[h]);
				images[1] = convert(&base, &heads[h], LAT_INT8, &at_once);
				images[2] = convert(&model, NULL, LAT_INT8, &after);
				CHECK(same_image(&at_once, &after),
					  "%s: head and precision at once, as one after the other", checkpoints[i]);
				for (int j = 0; j < 3; j++)
					free(images[j]);
			}
			free(image);
		}
	}
}

/* The weights drawn: spread, bounds, and that they are the seed's. */
static void
test_distribution(void)
{
	LatModel	base;
	LatModel	model;
	void	   *image = checkpoint_open(&test, "span", LAT_FP32, &base);
	LatNewHead	head = three;
	double		sums[3] = {0, 0, 0};	/* of x, x^2, x^4 */
	double		largest = 0;
	long		count = 0;
	int			small = 0;
	void	   *first;
	void	   *second;

	for (head.seed = 0; head.seed < 100; head.seed++)
	{
		void	   *converted = convert(&base, &head, LAT_FP32, &model);
		const LatLinear *dense = &model.head_dense;

		for (int32_t i = 0; i < dense->k * dense->n; i++)
		{
			double		x = ((const float *) dense->weights)[i] / 0.02;

			sums[0] += x;
			sums[1] += x * x;
			sums[2] += x * x * x * x;
			largest = fmax(largest, fabs(x));
			small += fabs(x) < 1;
			count++;
		}
		free(converted);
	}

	/* of the standard normal distribution between -2 and 2; four standard errors of 102,400 */
	CHECK(count == 100 * 32 * 32, "%ld weights drawn", count);
	CHECK(fabs(sums[0] / count) < 0.011, "mean %.4f", sums[0] / count);
	CHECK(fabs(sums[1] / count - 0.7737) < 0.011, "variance %.4f", sums[1] / count);
	CHECK(fabs(sums[2] / count - 1.4165) < 0.027, "fourth moment %.4f", sums[2] / count);
	CHECK(fabs((double) small / count - 0.7152) < 0.006, "within one sigma %.4f",
		  (double) small / count);
	CHECK(largest <= 2.00001 && largest > 1.99, "largest %.4f", largest);

	head.seed = 1;
	first = convert(&base, &head, LAT_FP32, &model);
	second = convert(&base, &head, LAT_FP32, &model);
	CHECK(memcmp(first, second, model.image_size) == 0, "a seed gives one head");
	free(second);
	head.seed = 2;
	second = convert(&base, &head, LAT_FP32, &model);
	CHECK(memcmp(first, second, model.image_size) != 0, "another seed gives another");
	free(first);
	free(second);
	free(image);
}

/* ---- what is refused, and failures -------------------------------------------------------- */

static void
refuse(const LatModel *base, const LatNewHead *head, LatStatus expected, const char *message)
{
	size_t		size = lat_convert_size(base, &three, LAT_INT8) + 4096;
	void	   *image = aligned_alloc(64, LAT_ROUND_UP(size, 64));
	LatError	error = {"", ""};
	LatStatus	status = lat_convert(&test.host, base, head, LAT_INT8, image, &error);

	CHECK(status == expected && strstr(error.message, message), "refused: %d, \"%s\"", status,
		  error.message);
	CHECK(test.live == 0, "and leaks nothing");
	free(image);
}

static void
test_refused(void)
{
	const char *const twice[] = {"a", "b", "a"};
	const char *const empty[] = {"a", "", "c"};
	const char *const invalid[] = {"a", "b", "\xff"};
	LatModel	base;
	void	   *image = checkpoint_open(&test, "classify", LAT_INT8, &base);
	LatNewHead	head = three;
	float	   *scale;

	head.names = twice;
	refuse(&base, &head, LAT_BAD_ARGUMENT, "\"a\" is given twice");
	head.names = empty;
	refuse(&base, &head, LAT_BAD_ARGUMENT, "label 1 is empty");
	head.names = invalid;
	refuse(&base, &head, LAT_BAD_TEXT, "label 2 is not valid UTF-8");
	head = (LatNewHead) {LAT_CLASSIFY, 1, three_names, 0};
	refuse(&base, &head, LAT_UNSUPPORTED, "cannot have 1 labels");
	CHECK(lat_convert_size(&base, &head, LAT_INT8) == 0, "one label has no size");
	head = (LatNewHead) {LAT_CLASSIFY, LAT_MAX_LABELS + 1, NULL, 0};
	refuse(&base, &head, LAT_UNSUPPORTED, "number of labels");
	head = (LatNewHead) {LAT_SPAN, 3, NULL, 0};
	refuse(&base, &head, LAT_BAD_MODEL, "cannot have 3 labels");

	/* a verified image may have a scale whose largest weight is beyond a float */
	for (int i = 0; i < 2; i++)
	{
		const float *at = i ? base.words.scales + 5 : base.layers[1].qkv.scales;
		LatModel	model;
		void	   *to = aligned_alloc(64, lat_convert_size(&base, NULL, LAT_FP32));
		LatError	error = {"", ""};
		float		before = *at;

		scale = (float *) at;
		*scale = 3e38f;
		CHECK(lat_model_open(image, base.image_size, &model, &error) == LAT_OK &&
			  lat_model_verify(&test.host, &model, &error) == LAT_OK, "the scale passes");
		CHECK(lat_convert(&test.host, &base, NULL, LAT_FP32, to, &error) == LAT_BAD_MODEL &&
			  strstr(error.message, "scale beyond single precision"), "but not as floats: %s",
			  error.message);
		*scale = before;
		free(to);
	}
	free(image);
}

static void
test_failures(void)
{
	LatModel	base;
	void	   *image = checkpoint_open(&test, "classify", LAT_FP32, &base);
	size_t		size = lat_convert_size(&base, &three, LAT_INT8);
	void	   *to = aligned_alloc(64, size);
	LatStatus	status = LAT_INTERRUPTED;
	LatError	error;
	long		questions = 0;
	LatNewHead	head = {LAT_CLASSIFY, 1000, NULL, 3};
	char		names[1000][8];
	const char *pointers[1000];

	test.fail_at = 0;
	CHECK(lat_convert(&test.host, &base, &three, LAT_INT8, to, &error) == LAT_NO_MEMORY,
		  "out of memory is told");
	test.fail_at = -1;
	free(to);
	free(image);

	/* a head that takes a while, so that the host is asked */
	image = checkpoint_open(&test, "span", LAT_FP32, &base);
	for (int i = 0; i < 1000; i++)
	{
		snprintf(names[i], sizeof(names[i]), "n%d", i);
		pointers[i] = names[i];
	}
	head.names = pointers;
	to = aligned_alloc(64, lat_convert_size(&base, &head, LAT_INT8));
	while (status == LAT_INTERRUPTED && questions < 1000)
	{
		test.interrupt_at = ++questions;
		status = lat_convert(&test.host, &base, &head, LAT_INT8, to, &error);
		CHECK(test.live == 0, "nothing leaks when interrupted");
	}
	test.interrupt_at = -1;
	CHECK(status == LAT_OK && questions > 3, "%ld chances to interrupt", questions - 1);
	free(to);
	free(image);
}

int
main(void)
{
	test_host_init(&test);
	test_bytes();
	test_dequantized();
	test_moves();
	test_heads();
	test_distribution();
	test_refused();
	test_failures();
	CHECK(test.live == 0, "nothing leaks");
	return check_done("convert_test");
}
