/*
 * damage_test.c
 *	  Packing when memory ends or the host interrupts, and packed images that are damaged.
 */
#include "check.h"
#include "checkpoint.h"
#include "core/format.h"

#include <math.h>

static TestHost test;

/* ---- failure ------------------------------------------------------------------------------- */

/* The n-th allocation fails, for every n until none is left. */
static void
test_memory(void)
{
	static const char *const names[] = {"classify", "electra", "embed"};

	for (int i = 0; i < 3; i++)
	{
		Checkpoint	checkpoint;
		LatStatus	status = LAT_NO_MEMORY;
		long		n = 0;

		checkpoint_read(&checkpoint, names[i]);
		for (; status != LAT_OK && n < 1000; n++)
		{
			LatError	error = {"", ""};
			size_t		size;
			void	   *image;

			test.fail_at = n;
			status = checkpoint_pack(&test.host, &checkpoint, LAT_INT8, &image, &size, &error);
			free(image);
			CHECK(test.live == 0 &&
				  (status == LAT_OK || (status == LAT_NO_MEMORY && error.message[0])),
				  "allocation %ld of %s fails: status %d, %ld live", n, names[i], status,
				  test.live);
		}
		test.fail_at = -1;
		CHECK(status == LAT_OK && n > 5, "%s packs after %ld failures", names[i], n - 1);
		checkpoint_free(&checkpoint);
	}
}

/* An interrupt at the n-th question, for every n until none is left. */
static void
test_interrupts(void)
{
	Checkpoint	checkpoint;
	LatStatus	status = LAT_INTERRUPTED;
	long		n = 1;

	checkpoint_read(&checkpoint, "tag");
	for (; status != LAT_OK && n < 1000; n++)
	{
		LatError	error = {"", ""};
		size_t		size;
		void	   *image;

		test.interrupt_at = n;
		status = checkpoint_pack(&test.host, &checkpoint, LAT_FP32, &image, &size, &error);
		free(image);
		CHECK(test.live == 0 && (status == LAT_OK || status == LAT_INTERRUPTED),
			  "interrupt at question %ld: status %d, %ld live", n, status, test.live);
	}
	test.interrupt_at = -1;
	CHECK(status == LAT_OK && n > 3, "packs after %ld interrupts", n - 1);
	checkpoint_free(&checkpoint);
}

/* ---- damage -------------------------------------------------------------------------------- */

static LatStatus
open_and_verify(const void *image, size_t size, LatError *error)
{
	LatModel	model;
	LatStatus	status = lat_model_open(image, size, &model, error);

	return status == LAT_OK ? lat_model_verify(&test.host, &model, error) : status;
}

/* Write bytes somewhere, expect a refusal with this text, and undo. */
static void
damage(const LatModel *model, const void *where, const void *bytes, size_t size,
	   const char *message, const char *name)
{
	uint8_t    *at = (uint8_t *) (uintptr_t) where;
	uint8_t		saved[64];
	LatError	error = {"", ""};
	LatStatus	status;

	memcpy(saved, at, size);
	memcpy(at, bytes, size);
	status = open_and_verify(model->image, model->image_size, &error);
	CHECK((status == LAT_BAD_MODEL || status == LAT_UNSUPPORTED) && strstr(error.message, message),
		  "%s: status %d, \"%s\"", name, status, error.message);
	memcpy(at, saved, size);
}

static void
test_headers(void)
{
	LatModel	model;
	uint8_t    *image = checkpoint_open(&test, "electra", LAT_INT8, &model);
	const LatImageHeader *header = (const LatImageHeader *) image;
	size_t		table = header->sections * sizeof(LatSection);
	size_t		mistaken = 0;
	LatError	error;

	damage(&model, &header->version, "\2", 1, "version 2", "version");
	damage(&model, &header->precision, "\2", 1, "precision", "precision");
	damage(&model, &header->size, "\1", 1, "size", "size");
	damage(&model, &header->sections, "\1", 1, "number of sections", "sections");
	damage(&model, &header->zero, "\1", 1, "must be zero", "zero");
	damage(&model, &header->config.layers, "\xff\xff\xff\x7f", 4, "num_hidden_layers", "layers");
	damage(&model, &header->config.layers, "\xff\xff\xff\xff", 4, "num_hidden_layers", "layers");
	damage(&model, &header->config.heads, "\0", 1, "num_attention_heads", "heads");
	damage(&model, &header->config.task, "\7", 1, "task", "task");
	damage(&model, &header->config.layer_norm_eps, "\0\0\xc0\x7f", 4, "layer_norm_eps", "epsilon");
	damage(&model, &header->config.cls_id, "\xff\xff\0", 3, "special token", "special token");
	/* Any byte of the section table or of the header before the configuration. */
	for (size_t i = 0; i < 32 + table; i++)
	{
		uint8_t    *at = image + (i < 32 ? i : i + 96);

		*at ^= 0x40;
		mistaken += open_and_verify(image, model.image_size, &error) == LAT_OK;
		*at ^= 0x40;
	}
	CHECK(mistaken == 0, "%zu flips in header and table pass", mistaken);
	CHECK(open_and_verify(image, model.image_size, &error) == LAT_OK, "undone: %s", error.message);
	CHECK(lat_model_open(image + 8, model.image_size, &model, &error) == LAT_BAD_ARGUMENT,
		  "an unaligned image is refused");
	free(image);
}

static void
test_sections(void)
{
	LatModel	model;
	uint8_t    *image = checkpoint_open(&test, "classify", LAT_INT8, &model);
	const LatLayer *layer = &model.layers[1];
	static const float infinity = INFINITY;
	static const float minus = -1;

	damage(&model, layer->qkv.weights, "\x80", 1, "qkv of layer 1 has a code of -128", "code");
	damage(&model, layer->qkv.weights, "\x7f\x7f", 2, "qkv of layer 1 has a wrong column sum",
		   "codes");
	damage(&model, layer->feed_forward_in.column_sums + 71, "\1\1", 2,
		   "feed-forward in of layer 1 has a wrong column sum", "column sum");
	damage(&model, layer->qkv.scales, &infinity, 4, "scale", "infinite scale");
	damage(&model, layer->qkv.scales + 41, "\1", 1, "padding", "scale of a padded column");
	damage(&model, layer->qkv.bias, &infinity, 4, "bias", "infinite bias");
	damage(&model, layer->qkv.bias + 40, "\1", 1, "padding", "bias of a padded column");
	damage(&model, layer->output_norm.gamma, &infinity, 4, "output norm of layer 1", "norm");
	damage(&model, layer->output_norm.beta + 47, "\1", 1, "output norm of layer 1",
		   "norm's padding");
	damage(&model, model.words.codes, "\x80", 1, "word embeddings", "embedding's code");
	damage(&model, (const int8_t *) model.words.codes + 40, "\1", 1, "padding",
		   "embedding's padding");
	damage(&model, model.words.scales, &minus, 4, "scale", "embedding's scale");
	damage(&model, model.head_output.weights, &infinity, 4, "head output", "head's weight");
	damage(&model, (const float *) model.head_output.weights + 3, "\1", 1, "padding",
		   "head's padding");
	damage(&model, (const uint8_t *) layer->qkv.weights - 60, "\1", 1, "weight matrix",
		   "linear header");
	damage(&model, &model.label_offsets[1], "\xff", 1, "labels", "label offset");
	damage(&model, &model.label_offsets[1], "\0", 1, "labels", "empty label");
	damage(&model, &model.label_offsets[3], "\xff", 1, "label offsets", "last label offset");
	damage(&model, model.label_bytes, "\xff", 1, "UTF-8", "label text");
	damage(&model, image + model.image_size - 1, "\1", 1, "", "last byte");
	free(image);
}

/* Bytes flipped anywhere, and images cut anywhere: refused, or as good as before. */
static void
test_noise(void)
{
	LatModel	model;
	uint8_t    *image = checkpoint_open(&test, "span", LAT_INT8, &model);
	uint32_t	random = 1;
	LatError	error;
	int			passed = 0;

	for (int i = 0; i < 4000; i++)
	{
		size_t		at;

		random = random * 1664525 + 1013904223;
		at = (size_t) (random >> 8) % model.image_size;
		image[at] ^= (uint8_t) (1 << (random & 7));
		passed += open_and_verify(image, model.image_size, &error) == LAT_OK;
		image[at] ^= (uint8_t) (1 << (random & 7));
	}
	CHECK(passed < 1200, "%d of 4,000 flips pass: only those of words, scales and biases may",
		  passed);
	for (size_t cut = 0; cut < model.image_size; cut += cut < 2000 ? 1 : 997)
	{
		uint8_t    *short_image = aligned_alloc(64, LAT_ROUND_UP(cut, 64) + 64);

		memcpy(short_image, image, cut);
		CHECK(open_and_verify(short_image, cut, &error) != LAT_OK, "an image cut to %zu bytes",
			  cut);
		free(short_image);
	}
	free(image);
}

int
main(void)
{
	test_host_init(&test);
	test_memory();
	test_interrupts();
	test_headers();
	test_sections();
	test_noise();
	CHECK(test.live == 0, "nothing leaks");
	return check_done("damage_test");
}
