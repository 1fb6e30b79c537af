/*
 * fuzz_tokenizer.c
 *	  Any bytes as a text, and as damage to a vocabulary section.
 *
 * The first byte chooses the setting; the next two a limit, a place to cut, or
 * where the damage goes.  On a sound section these must hold: offsets never
 * run backwards and stay within the text, ids are words, a word begins first,
 * and any cut or limit gives a prefix of the whole text's tokens.  On a damaged
 * one: nothing is read outside it (the sanitizers see to that).
 */
#include "core/vocabulary.h"
#include "../plain_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) \
	do { if (!(condition)) { fprintf(stderr, "broken: %s\n", #condition); abort(); } } while (0)

static const char *const words[] = {
	"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "b", "##b", "the", "##ing", "un",
	"##s", ".", "[", "]", "s", "i", "##i", "\xc3\xa9", "\xe4\xb8\xad", "##\xf0\x9d\x85\xa5",
	"\xcc\x81", "A"
};

#define WORDS ((int32_t) (sizeof(words) / sizeof(words[0])))

static const LatHost host = PLAIN_HOST;

static void
open_model(LatModel *model, void **section, size_t *size)
{
	static const int32_t added[] = {0, 1, 2, 3, 4};
	LatWord		list[WORDS];
	LatError	error;

	for (int i = 0; i < WORDS; i++)
		list[i] = (LatWord) {words[i], strlen(words[i])};
	memset(model, 0, sizeof(*model));
	model->config.vocabulary = WORDS;
	model->config.unk_id = 1;
	model->config.cls_id = 2;
	model->config.sep_id = 3;
	REQUIRE(lat_vocabulary_build(&host, list, WORDS, added, 5, section, size, &error) == LAT_OK);
	REQUIRE(lat_vocabulary_open(*section, *size, WORDS, &model->vocabulary, &error) == LAT_OK);
	REQUIRE(lat_vocabulary_verify(&model->vocabulary, &error) == LAT_OK);
}

static void
require_prefix(const LatTokens *whole, const LatTokens *part)
{
	REQUIRE(part->count <= whole->count);
	for (int32_t i = 0; i < part->count; i++)
		REQUIRE(part->ids[i] == whole->ids[i] && part->starts[i] == whole->starts[i] &&
				part->stops[i] == whole->stops[i] &&
				part->word_starts[i] == whole->word_starts[i]);
}

static int32_t
count_chars(const char *text, size_t bytes)
{
	int32_t		chars = 0;

	for (size_t i = 0; i < bytes; i++)
		chars += ((uint8_t) text[i] & 0xC0) != 0x80;
	return chars;
}

static void
read_sound(const LatModel *model, const char *text, size_t bytes, uint16_t number)
{
	LatTokens	whole = {0};
	LatTokens	part = {0};
	LatInput	input;
	LatError	error;
	LatStatus	status = lat_tokenize_text(&host, model, text, bytes, false, INT32_MAX, &whole,
										   &error);

	REQUIRE(status == LAT_OK || status == LAT_BAD_TEXT);
	if (status == LAT_OK)
	{
		int32_t		chars = count_chars(text, bytes);
		int32_t		limit = number % 64;

		REQUIRE(whole.complete);
		for (int32_t i = 0; i < whole.count; i++)
		{
			REQUIRE(whole.ids[i] >= 0 && whole.ids[i] < WORDS);
			REQUIRE(whole.starts[i] < whole.stops[i] && whole.stops[i] <= chars);
			REQUIRE(i > 0 ? whole.starts[i] >= whole.starts[i - 1] : whole.word_starts[i]);
		}
		REQUIRE(lat_tokenize_text(&host, model, text, number % (bytes + 1), true, INT32_MAX, &part,
								  &error) == LAT_OK);
		REQUIRE(!part.complete);
		require_prefix(&whole, &part);
		REQUIRE(lat_tokenize_text(&host, model, text, bytes, false, limit, &part,
								  &error) == LAT_OK);
		REQUIRE(part.count >= (limit < whole.count ? limit : whole.count));
		REQUIRE(part.complete == (part.count == whole.count));
		require_prefix(&whole, &part);
		REQUIRE(lat_build_input(&host, model, &whole, &part, 5 + limit, &input, &error) == LAT_OK);
		REQUIRE(input.tokens <= 5 + limit && input.tokens >= 3);
		lat_input_release(&host, &input);
	}
	lat_tokens_release(&host, &whole);
	lat_tokens_release(&host, &part);
}

static void
read_damaged(LatModel *model, const void *section, size_t size, const uint8_t *damage, size_t bytes,
			 uint16_t number)
{
	static const char text[] = "The [MASK]ing un\xc3\xa9s \xe4\xb8\xad [SEP] aaab abba.";
	uint8_t    *copy = malloc(size);
	size_t		at = number * (size_t) 7 % size;
	LatTokens	tokens = {0};
	LatError	error;

	memcpy(copy, section, size);
	for (size_t i = 0; i < bytes && at + i < size; i++)
		copy[at + i] ^= damage[i];
	if (lat_vocabulary_open(copy, size, WORDS, &model->vocabulary, &error) == LAT_OK)
	{
		(void) lat_vocabulary_verify(&model->vocabulary, &error);
		REQUIRE(lat_tokenize_text(&host, model, text, sizeof(text) - 1, false, INT32_MAX, &tokens,
								  &error) == LAT_OK);
		for (int32_t i = 0; i < tokens.count; i++)
		{
			size_t		length;

			REQUIRE(tokens.ids[i] >= 0 && tokens.ids[i] < WORDS);
			(void) lat_token_text(model, tokens.ids[i], &length);
		}
	}
	lat_tokens_release(&host, &tokens);
	free(copy);
}

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static LatModel model;
	static void *section;
	static size_t section_size;
	LatModel	used;
	uint16_t	number;

	if (section == NULL)
		open_model(&model, &section, &section_size);
	if (size < 3)
		return 0;
	used = model;
	number = (uint16_t) (data[1] | data[2] << 8);
	used.config.lowercase = data[0] & 1;
	used.config.strip_accents = data[0] >> 1 & 1;
	used.config.split_cjk = data[0] >> 2 & 1;
	if (data[0] & 8)
		read_damaged(&used, section, section_size, data + 3, size - 3, number);
	else
		read_sound(&used, (const char *) data + 3, size - 3, number);
	return 0;
}
