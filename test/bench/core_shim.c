/*
 * core_shim.c
 *	  The core behind a few plain functions, for scripts (core.py): parity, quality, models, speed.
 *
 * One Core holds a model, its engine and the last text's tokens.  Functions return a LatStatus,
 * or a count; the message of the last error is in core_error().
 */
#include "core/lat.h"
#include "../plain_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Core
{
	LatModel	model;
	LatEngine	engine;
	void	   *block;			/* of the image, where it is not the caller's */
	LatTokens	first;
	LatTokens	second;
} Core;

static LatError last_error;

static const LatHost host = PLAIN_HOST;

const char *
core_error(void)
{
	return last_error.message;
}

/*
 * content: a source or an image, see source.c.  An image is used where it lies, as the server uses
 * its mapped file, if it is aligned.  NULL on failure.
 */
Core *
core_open(const void *content, size_t size, int precision, const char *kernels)
{
	Core	   *core = calloc(1, sizeof(Core));
	const void *image = content;
	size_t		image_size = size;
	LatStatus	status = LAT_OK;

	core->engine.host = &host;
	core->engine.kernels = lat_find_kernels(kernels);
	if (core->engine.kernels == NULL)
		status = lat_fail(&last_error, LAT_UNSUPPORTED, "this CPU has no kernels \"%s\"", kernels);
	else if (lat_is_image(content, size))
	{
		if ((uintptr_t) content % 64 != 0)
			image = core->block = memcpy(aligned_alloc(64, (size + 63) / 64 * 64), content, size);
	}
	else
	{
		LatPacker  *packer;

		status = lat_packer_open(&host, content, size, precision, &packer, &last_error);
		if (status == LAT_OK)
		{
			image_size = lat_packer_image_size(packer);
			image = core->block = aligned_alloc(64, (image_size + 63) / 64 * 64);
			status = lat_packer_write(packer, core->block, &last_error);
			lat_packer_close(packer);
		}
	}
	if (status == LAT_OK)
		status = lat_model_open(image, image_size, &core->model, &last_error);
	if (status == LAT_OK)
		status = lat_model_verify(&host, &core->model, &last_error);
	if (status == LAT_OK)
		return core;
	free(core->block);
	free(core);
	return NULL;
}

void
core_close(Core *core)
{
	lat_tokens_release(&host, &core->first);
	lat_tokens_release(&host, &core->second);
	lat_engine_release(&core->engine);
	free(core->block);
	free(core);
}

const LatConfig *
core_config(const Core *core)
{
	return &core->model.config;
}

const void *
core_image(const Core *core, size_t *size)
{
	*size = core->model.image_size;
	return core->model.image;
}

int
core_output_columns(const Core *core)
{
	return lat_output_columns(&core->model);
}

/* ids, segments, sources: room for max_tokens. Returns T, or minus a LatStatus. */
int
core_tokenize(Core *core, const char *text, size_t bytes, const char *pair, size_t pair_bytes,
			  int max_tokens, int32_t *ids, uint8_t *segments, int32_t *starts, int32_t *stops)
{
	LatInput	input;
	LatStatus	status = lat_tokenize_text(&host, &core->model, text, bytes, false, INT32_MAX,
										   &core->first, &last_error);

	if (status == LAT_OK && pair)
		status = lat_tokenize_text(&host, &core->model, pair, pair_bytes, false, INT32_MAX,
								   &core->second, &last_error);
	if (status == LAT_OK)
		status = lat_build_input(&host, &core->model, &core->first, pair ? &core->second : NULL,
								 max_tokens, &input, &last_error);
	if (status != LAT_OK)
		return -(int) status;
	memcpy(ids, input.ids, input.tokens * sizeof(int32_t));
	memcpy(segments, input.segments, input.tokens);
	for (int i = 0; i < input.tokens; i++)
	{
		const LatTokens *from = input.segments[i] ? &core->second : &core->first;

		starts[i] = input.sources[i] < 0 ? -1 : from->starts[input.sources[i]];
		stops[i] = input.sources[i] < 0 ? -1 : from->stops[input.sources[i]];
	}
	status = (LatStatus) input.tokens;
	lat_input_release(&host, &input);
	return (int) status;
}

/* See LatBatch and LatTrace; counts NULL: no trace. */
int
core_forward(Core *core, const LatBatch *batch, float *output, int32_t *counts, int32_t *kept)
{
	LatTrace	trace = {counts, kept};

	return lat_forward(&core->engine, &core->model, batch, output, counts ? &trace : NULL,
					   &last_error);
}

int
core_answer(Core *core, const char *question, size_t question_bytes, const char *context,
			size_t context_bytes, const int32_t *lengths, int32_t reference_length, LatSpan *span)
{
	LatStatus	status = lat_tokenize_text(&host, &core->model, question, question_bytes, false,
										   INT32_MAX, &core->first, &last_error);

	if (status == LAT_OK)
		status = lat_tokenize_text(&host, &core->model, context, context_bytes, false, INT32_MAX,
								   &core->second, &last_error);
	if (status == LAT_OK)
		status = lat_answer_question(&core->engine, &core->model, &core->first, &core->second,
									 lengths, reference_length, span, &last_error);
	return status;
}

/* Text of a token, not null-terminated. */
const char *
core_token_text(const Core *core, int id, size_t *bytes)
{
	return lat_token_text(&core->model, id, bytes);
}

/*
 * One text after another, as a row-at-a-time caller does: tokenize all of them (texts end to end,
 * offsets (count + 1)); *tokens is how many came out.
 */
int
core_tokenize_texts(Core *core, const char *texts, const int64_t *offsets, int count,
					int64_t *tokens)
{
	LatStatus	status = LAT_OK;

	*tokens = 0;
	for (int i = 0; status == LAT_OK && i < count; i++)
	{
		status = lat_tokenize_text(&host, &core->model, texts + offsets[i],
								   (size_t) (offsets[i + 1] - offsets[i]), false, INT32_MAX,
								   &core->first, &last_error);
		*tokens += core->first.count;
	}
	return (int) status;
}

/*
 * Classify texts one by one, all in full or under one configuration (L) at a reference length;
 * best: (count) index of the highest logit.
 */
int
core_classify_texts(Core *core, const char *texts, const int64_t *offsets, int count,
					const int32_t *lengths, int reference_length, int32_t *best)
{
	const LatConfig *config = &core->model.config;
	int32_t		scaled[LAT_MAX_LAYERS];
	float		logits[LAT_MAX_LABELS];
	LatStatus	status = LAT_OK;

	for (int i = 0; status == LAT_OK && i < count; i++)
	{
		LatInput	input;
		int32_t		ends[2] = {0, 0};

		status = lat_tokenize_text(&host, &core->model, texts + offsets[i],
								   (size_t) (offsets[i + 1] - offsets[i]), false,
								   config->positions, &core->first, &last_error);
		if (status == LAT_OK)
			status = lat_build_input(&host, &core->model, &core->first, NULL, config->positions,
									 &input, &last_error);
		if (status != LAT_OK)
			break;
		ends[1] = input.tokens;
		if (lengths)
			lat_scale_lengths(lengths, config->layers, reference_length, input.tokens, scaled);
		status = lat_forward(&core->engine, &core->model,
							 &(LatBatch) {1, ends, input.ids, input.segments,
							 lengths ? scaled : NULL, true}, logits, NULL, &last_error);
		lat_input_release(&host, &input);
		best[i] = 0;
		for (int k = 1; k < config->labels; k++)
			if (logits[k] > logits[best[i]])
				best[i] = k;
	}
	return (int) status;
}
