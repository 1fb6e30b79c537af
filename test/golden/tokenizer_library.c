/*
 * tokenizer_library.c
 *	  The tokenizer behind a few plain functions, for compare_tokenizer.py (ctypes).
 */
#include <stdlib.h>
#include <string.h>

#include "../../src/core/lat.h"
#include "../../src/core/vocabulary.h"
#include "../plain_host.h"

typedef struct Tokenizer
{
	LatModel	model;
	void	   *section;
	LatTokens	tokens[2];
	LatInput	input;
	LatError	error;
} Tokenizer;

static const LatHost host = PLAIN_HOST;

/* text: the words, each followed by a newline; the added tokens are those in brackets. */
Tokenizer  *tokenizer_open(const char *text, int32_t count, int lowercase, int strip_accents);
void		tokenizer_close(Tokenizer *tokenizer);
const char *tokenizer_error(const Tokenizer *tokenizer);
int			tokenizer_run(Tokenizer *tokenizer, int which, const char *text, size_t bytes,
						  int continues, int32_t limit);
const LatTokens *tokenizer_tokens(const Tokenizer *tokenizer, int which);
const LatInput *tokenizer_input(Tokenizer *tokenizer, int pair, int32_t max_tokens);

Tokenizer *
tokenizer_open(const char *text, int32_t count, int lowercase, int strip_accents)
{
	static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
	Tokenizer  *tokenizer = calloc(1, sizeof(Tokenizer));
	LatWord    *words = malloc((size_t) count * sizeof(LatWord));
	LatConfig  *config = &tokenizer->model.config;
	int32_t		added[5];
	size_t		size;

	for (int32_t i = 0; i < count; i++)
	{
		const char *stop = strchr(text, '\n');

		words[i] = (LatWord) {text, (size_t) (stop - text)};
		for (int k = 0; k < 5; k++)
			if (words[i].bytes == strlen(special[k]) &&
				memcmp(text, special[k], words[i].bytes) == 0)
				added[k] = i;
		text = stop + 1;
	}
	config->vocabulary = count;
	config->lowercase = lowercase;
	config->strip_accents = strip_accents;
	config->split_cjk = 1;
	config->unk_id = added[1];
	config->cls_id = added[2];
	config->sep_id = added[3];
	if (lat_vocabulary_build(&host, words, count, added, 5, &tokenizer->section, &size,
							 &tokenizer->error) == LAT_OK &&
		lat_vocabulary_open(tokenizer->section, size, count, &tokenizer->model.vocabulary,
							&tokenizer->error) == LAT_OK)
		(void) lat_vocabulary_verify(&tokenizer->model.vocabulary, &tokenizer->error);
	free(words);
	return tokenizer;
}

void
tokenizer_close(Tokenizer *tokenizer)
{
	lat_tokens_release(&host, &tokenizer->tokens[0]);
	lat_tokens_release(&host, &tokenizer->tokens[1]);
	lat_input_release(&host, &tokenizer->input);
	free(tokenizer->section);
	free(tokenizer);
}

const char *
tokenizer_error(const Tokenizer *tokenizer)
{
	return tokenizer->error.message;
}

int
tokenizer_run(Tokenizer *tokenizer, int which, const char *text, size_t bytes, int continues,
			  int32_t limit)
{
	return lat_tokenize_text(&host, &tokenizer->model, text, bytes, continues != 0, limit,
							 &tokenizer->tokens[which], &tokenizer->error);
}

const LatTokens *
tokenizer_tokens(const Tokenizer *tokenizer, int which)
{
	return &tokenizer->tokens[which];
}

const LatInput *
tokenizer_input(Tokenizer *tokenizer, int pair, int32_t max_tokens)
{
	lat_input_release(&host, &tokenizer->input);
	if (lat_build_input(&host, &tokenizer->model, &tokenizer->tokens[0],
						pair ? &tokenizer->tokens[1] : NULL, max_tokens, &tokenizer->input,
						&tokenizer->error) != LAT_OK)
		return NULL;
	return &tokenizer->input;
}
