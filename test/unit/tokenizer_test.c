/*
 * tokenizer_test.c
 *	  The tokenizer against the golden sample, its limits, and its behaviour under failure.
 *
 * The golden files are described in test/golden/make_tokenizer.py.
 */
#include "check.h"
#include "load.h"

#include "core/vocabulary.h"

#define GOLDEN "test/golden/"
#define NO_LIMIT INT32_MAX

/* A model that is a vocabulary and the tokenizer's part of a configuration. */
typedef struct Tokenizer
{
	TestHost	host;
	LatModel	model;
	void	   *section;
	size_t		size;
	LatTokens	tokens;
	LatError	error;
} Tokenizer;

static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

static char *
read_file(const char *path, size_t *size)
{
	FILE	   *file = fopen(path, "rb");
	char	   *content;
	long		length;

	if (file == NULL)
		return NULL;
	fseek(file, 0, SEEK_END);
	length = ftell(file);
	rewind(file);
	content = malloc((size_t) length + 1);
	*size = fread(content, 1, (size_t) length, file);
	content[*size] = '\0';
	fclose(file);
	return content;
}

/* words: one a line. */
static LatStatus
open_tokenizer(Tokenizer *tokenizer, const char *words, bool uncased)
{
	LatConfig  *config = &tokenizer->model.config;
	int32_t		added[5];
	int32_t		added_count = 0;
	int32_t		count = 0;
	LatWord    *list;
	LatStatus	status;

	memset(tokenizer, 0, sizeof(*tokenizer));
	test_host_init(&tokenizer->host);
	for (const char *at = words; *at; at++)
		count += *at == '\n';
	list = malloc(((size_t) count + 1) * sizeof(LatWord));
	for (int32_t i = 0; i < count; i++)
	{
		const char *stop = strchr(words, '\n');

		list[i] = (LatWord) {words, (size_t) (stop - words)};
		for (int k = 0; k < 5; k++)
			if (strlen(special[k]) == list[i].bytes &&
				memcmp(special[k], words, list[i].bytes) == 0)
				added[added_count++] = i;
		words = stop + 1;
	}
	config->vocabulary = count;
	config->lowercase = config->strip_accents = uncased;
	config->split_cjk = 1;
	status = lat_vocabulary_build(&tokenizer->host.host, list, count, added, added_count,
								  &tokenizer->section, &tokenizer->size, &tokenizer->error);
	free(list);
	if (status == LAT_OK)
		status = lat_vocabulary_open(tokenizer->section, tokenizer->size, count,
									 &tokenizer->model.vocabulary, &tokenizer->error);
	if (status == LAT_OK)
		status = lat_vocabulary_verify(&tokenizer->model.vocabulary, &tokenizer->error);
	if (status == LAT_OK)
	{
		config->unk_id = lat_vocabulary_find(&tokenizer->model.vocabulary, "[UNK]", 5);
		config->cls_id = lat_vocabulary_find(&tokenizer->model.vocabulary, "[CLS]", 5);
		config->sep_id = lat_vocabulary_find(&tokenizer->model.vocabulary, "[SEP]", 5);
	}
	return status;
}

static void
close_tokenizer(Tokenizer *tokenizer)
{
	lat_tokens_release(&tokenizer->host.host, &tokenizer->tokens);
	tokenizer->host.host.release(tokenizer->host.host.arg, tokenizer->section);
	CHECK(tokenizer->host.live == 0, "nothing leaked (%ld)", tokenizer->host.live);
}

static LatStatus
tokenize(Tokenizer *tokenizer, const char *text, size_t bytes, bool continues, int32_t limit)
{
	return lat_tokenize_text(&tokenizer->host.host, &tokenizer->model, text, bytes, continues,
							 limit, &tokenizer->tokens, &tokenizer->error);
}

/* The tokens' text, joined by spaces; a bar before each that begins a word. */
static const char *
show(const Tokenizer *tokenizer)
{
	static char line[4096];
	size_t		used = 0;

	line[0] = '\0';
	for (int32_t i = 0; i < tokenizer->tokens.count && used < sizeof(line) - 200; i++)
	{
		size_t		bytes;
		const char *text = lat_token_text(&tokenizer->model, tokenizer->tokens.ids[i], &bytes);

		used += (size_t) snprintf(line + used, sizeof(line) - used, "%s%s%.*s", i ? " " : "",
								  tokenizer->tokens.word_starts[i] ? "|" : "", (int) bytes, text);
	}
	return line;
}

static void
check_tokens(Tokenizer *tokenizer, const char *text, const char *expected)
{
	LatStatus	status = tokenize(tokenizer, text, strlen(text), false, NO_LIMIT);

	CHECK(status == LAT_OK && tokenizer->tokens.complete && strcmp(show(tokenizer), expected) == 0,
		  "\"%s\" gives \"%s\", found \"%s\"", text, expected, show(tokenizer));
}

/* ---- golden sample ------------------------------------------------------------------------ */

/* Undo the golden file's escapes in place; returns the bytes. */
static size_t
unescape(char *text)
{
	char	   *out = text;
	char	   *start = text;

	while (*text)
	{
		if (text[0] == '\\' && text[1] == 'u')
		{
			unsigned long c = strtoul(text + 3, &text, 16);

			text++;
			if (c < 0x80)
				*out++ = (char) c;
			else if (c < 0x800)
				*out++ = (char) (0xC0 | c >> 6);
			else if (c < 0x10000)
				*out++ = (char) (0xE0 | c >> 12);
			else
			{
				*out++ = (char) (0xF0 | c >> 18);
				*out++ = (char) (0x80 | (c >> 12 & 0x3F));
			}
			if (c >= 0x800)
				*out++ = (char) (0x80 | (c >> 6 & 0x3F));
			if (c >= 0x80)
				*out++ = (char) (0x80 | (c & 0x3F));
			continue;
		}
		text += *text == '\\';
		*out++ = *text++;
	}
	return (size_t) (out - start);
}

/* One line of "uncased" or "cased": text, then id:start:stop:begins of each token. */
static void
check_golden_text(Tokenizer *tokenizer, char *text, char *expected, int line)
{
	size_t		bytes = unescape(text);
	const LatTokens *tokens = &tokenizer->tokens;
	LatStatus	status = tokenize(tokenizer, text, bytes, false, NO_LIMIT);
	bool		same = status == LAT_OK && tokens->complete;
	int32_t		i = 0;
	int32_t		whole;
	int32_t		field[4];

	for (; same && *expected; i++)
	{
		for (int k = 0; k < 4; k++)
			field[k] = (int32_t) strtol(expected + (k > 0), &expected, 10);
		same = i < tokens->count && tokens->ids[i] == field[0] && tokens->starts[i] == field[1] &&
			tokens->stops[i] == field[2] && tokens->word_starts[i] == field[3];
		expected += *expected == ' ';
	}
	CHECK(same && i == tokens->count, "golden line %d", line);

	/* Whatever part of the text is given, the tokens are a prefix of the whole's. */
	whole = tokens->count;
	if (same && whole > 0)
	{
		int32_t    *ids = malloc((size_t) whole * sizeof(int32_t));
		bool		prefix = true;

		memcpy(ids, tokens->ids, (size_t) whole * sizeof(int32_t));
		for (size_t cut = 0; cut <= bytes; cut += bytes < 100 ? 1 : 13)
		{
			status = tokenize(tokenizer, text, cut, true, NO_LIMIT);
			prefix = prefix && status == LAT_OK && !tokens->complete && tokens->count <= whole &&
				memcmp(ids, tokens->ids, (size_t) tokens->count * sizeof(int32_t)) == 0;
		}
		CHECK(prefix, "golden line %d, cut anywhere", line);
		free(ids);
	}
}

/* One line of "pair": limit, two texts, then id:segment of each token. */
static void
check_golden_pair(Tokenizer *tokenizer, char *fields[4], int line)
{
	const LatHost *host = &tokenizer->host.host;
	LatTokens	second = {0};
	LatInput	input;
	size_t		bytes = unescape(fields[1]);
	char	   *expected = fields[3];
	bool		same;
	int32_t		i = 0;

	same = tokenize(tokenizer, fields[1], bytes, false, NO_LIMIT) == LAT_OK;
	bytes = unescape(fields[2]);
	same = same && lat_tokenize_text(host, &tokenizer->model, fields[2], bytes, false, NO_LIMIT,
									 &second, NULL) == LAT_OK;
	same = same && lat_build_input(host, &tokenizer->model, &tokenizer->tokens, &second,
								   atoi(fields[0]), &input, NULL) == LAT_OK;
	for (; same && *expected; i++)
	{
		int32_t		id = (int32_t) strtol(expected, &expected, 10);
		int32_t		segment = (int32_t) strtol(expected + 1, &expected, 10);

		same = i < input.tokens && input.ids[i] == id && input.segments[i] == segment;
		expected += *expected == ' ';
	}
	CHECK(same && i == input.tokens &&
		  input.truncated == (input.tokens < tokenizer->tokens.count + second.count + 3),
		  "golden line %d", line);
	lat_input_release(host, &input);
	lat_tokens_release(host, &second);
}

static void
test_golden(Tokenizer *uncased, Tokenizer *cased)
{
	size_t		size;
	char	   *content = read_file(GOLDEN "tokenizer.golden", &size);
	char	   *line = content;
	int			number = 0;

	if (!CHECK(content != NULL, "%stokenizer.golden can be read", GOLDEN))
		return;
	while (*line)
	{
		char	   *stop = strchr(line, '\n');
		char	   *fields[5] = {line, "", "", "", ""};
		char	   *tab = line;

		*stop = '\0';
		number++;
		for (int i = 1; i < 5 && (tab = strchr(tab, '\t')) != NULL; i++)
		{
			*tab++ = '\0';
			fields[i] = tab;
		}
		if (strcmp(fields[0], "pair") == 0)
			check_golden_pair(uncased, fields + 1, number);
		else
			check_golden_text(strcmp(fields[0], "cased") == 0 ? cased : uncased, fields[1],
							  fields[2], number);
		line = stop + 1;
	}
	CHECK(number > 1000, "the golden file has %d lines", number);
	free(content);
}

/* ---- limits and failure ------------------------------------------------------------------- */

static const char small_words[] =
	"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\na\n##a\nplay\n##ing\nplaying\n.\n,\n"
	"[\n]\nsep\ncaf\n##e\n\xe4\xb8\xad\n";

static void
test_words(Tokenizer *small)
{
	check_tokens(small, "", "");
	check_tokens(small, " \t\xe2\x80\x8b ", "");
	check_tokens(small, "Unaffable, playing.", "|un ##aff ##able |, |playing |.");
	check_tokens(small, "caf\xc3\xa9 cafe\xcc\x81", "|caf ##e |caf ##e");
	check_tokens(small, "a\xe4\xb8\xad" "a", "|a |\xe4\xb8\xad |a");
	check_tokens(small, "a[SEP]a [sep]", "|a |[SEP] |a |[ |sep |]");
	check_tokens(small, "unknown", "|[UNK]");
	CHECK(lat_vocabulary_find(&small->model.vocabulary, "##able", 6) == 7, "find a piece");
	CHECK(lat_vocabulary_find(&small->model.vocabulary, "play", 4) == 10, "find a word");
	CHECK(lat_vocabulary_find(&small->model.vocabulary, "pla", 3) == -1, "find no word");
	CHECK(lat_vocabulary_find(&small->model.vocabulary, "play\0", 5) == -1, "find no NUL");
}

static void
test_limits(Tokenizer *small)
{
	const LatTokens *tokens = &small->tokens;

	tokenize(small, "unaffable a a", 13, false, 2);
	CHECK(tokens->count == 3 && !tokens->complete, "stops after the word that reaches the limit");
	tokenize(small, "unaffable \xe2\x80\x8b ", 14, false, 3);
	CHECK(tokens->count == 3 && tokens->complete, "nothing but spaces behind the limit");
	tokenize(small, "a a a", 5, false, 2);
	CHECK(tokens->count == 2 && !tokens->complete, "a word behind the limit");
	tokenize(small, "a a[SEP]", 8, false, 2);
	CHECK(tokens->count == 2 && !tokens->complete, "an added token behind the limit");
	tokenize(small, "a", 1, false, 0);
	CHECK(tokens->count == 0 && !tokens->complete, "limit 0");
	tokenize(small, "a unaff", 7, true, NO_LIMIT);
	CHECK(tokens->count == 1 && !tokens->complete, "the word at a cut is left out");
	tokenize(small, "a a.", 4, true, NO_LIMIT);
	CHECK(tokens->count == 2 && !tokens->complete, "punctuation at a cut is left out");
	tokenize(small, "a, [SE", 6, true, NO_LIMIT);
	CHECK(tokens->count == 2 && !tokens->complete, "half an added token at a cut");
	tokenize(small, "a, a\xe4\xb8", 6, true, NO_LIMIT);
	CHECK(tokens->count == 2 && !tokens->complete, "half a character at a cut");
}

static void
test_bad_text(Tokenizer *small)
{
	static const char *const bad[] = {
		"\x80", "a\xff", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3(", "\xe2\x28\xa1", "\xe4\xb8",
		"a\xf0\x9f\x98",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(tokenize(small, bad[i], strlen(bad[i]), false, NO_LIMIT) == LAT_BAD_TEXT &&
			  small->error.hint[0] != '\0', "invalid UTF-8, case %zu", i);
	CHECK(tokenize(small, "a \xf0\x9f\x98", 5, true, NO_LIMIT) == LAT_OK,
		  "a cut character is no error");
	CHECK(tokenize(small, "a \xf0\x9f( b", 7, true, NO_LIMIT) == LAT_BAD_TEXT, "but a bad one is");
}

/* Words of exactly 100 and 101 characters, and one of ten million. */
static void
test_long_words(Tokenizer *small)
{
	const LatTokens *tokens = &small->tokens;
	size_t		bytes = 10 * 1000 * 1000;
	char	   *text = malloc(bytes);

	memset(text, 'a', bytes);
	tokenize(small, text, 100, false, NO_LIMIT);
	CHECK(tokens->count == 100, "100 characters are cut into pieces");
	tokenize(small, text, 101, false, NO_LIMIT);
	CHECK(tokens->count == 1 && tokens->ids[0] == 1, "101 characters are [UNK]");
	lat_tokens_release(&small->host.host, &small->tokens);
	tokenize(small, text, bytes, false, NO_LIMIT);
	CHECK(tokens->count == 1 && tokens->ids[0] == 1 && tokens->starts[0] == 0 &&
		  tokens->stops[0] == (int32_t) bytes, "ten million characters are [UNK]");
	CHECK(tokens->capacity < 2000, "and need no memory of that size");

	/* A mark that stays (a stem), sorted behind five million that are stripped (cedillas). */
	for (size_t i = 0; i + 2 <= bytes; i += 2)
		memcpy(text + i, "\xcc\xa7", 2);
	memcpy(text, "aa\xf0\x9d\x85\xa5", 6);
	tokenize(small, text, bytes, false, NO_LIMIT);
	CHECK(tokens->count == 1 && tokens->stops[0] == (int32_t) (bytes - 6) / 2 + 3,
		  "a run of five million marks");
	free(text);
}

static void
test_interrupts(Tokenizer *small)
{
	static const char *const texts[] = {"a ", "aa", "..", "\xcc\x81", "\xc3\xa9", "\xe2\x80\x8b"};
	size_t		bytes = 1 << 20;
	char	   *text = malloc(bytes + 8);

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		size_t		length = strlen(texts[i]);
		size_t		used = 0;
		long		asked;

		while (used + length <= bytes)
		{
			memcpy(text + used, texts[i], length);
			used += length;
		}
		small->host.interrupt_at = 1000;
		tokenize(small, text, used, false, NO_LIMIT);
		asked = 1000 - small->host.interrupt_at;
		CHECK(asked >= 14 && asked <= 17, "asked %ld times in a megabyte, text %zu", asked, i);
		small->host.interrupt_at = 3;
		CHECK(tokenize(small, text, used, false, NO_LIMIT) == LAT_INTERRUPTED,
			  "interrupted, text %zu", i);
		small->host.interrupt_at = -1;
	}
	free(text);
}

/* Every allocation fails once. */
static void
test_no_memory(void)
{
	Tokenizer	tokenizer;
	long		fail = 0;
	LatStatus	status;

	for (;; fail++)
	{
		LatInput	input = {0};
		char		text[3000];

		CHECK(open_tokenizer(&tokenizer, small_words, true) == LAT_OK, "open");
		memset(text, '.', sizeof(text));
		tokenizer.host.fail_at = fail;
		status = tokenize(&tokenizer, text, sizeof(text), false, NO_LIMIT);
		if (status == LAT_OK)
			status = lat_build_input(&tokenizer.host.host, &tokenizer.model, &tokenizer.tokens,
									 NULL, 10, &input, &tokenizer.error);
		tokenizer.host.fail_at = -1;
		lat_input_release(&tokenizer.host.host, &input);
		close_tokenizer(&tokenizer);
		if (status == LAT_OK)
			break;
		CHECK(status == LAT_NO_MEMORY, "allocation %ld fails", fail);
	}
	CHECK(fail > 2, "%ld allocations failed in reading", fail);
}

static void
test_no_memory_build(void)
{
	LatWord		words[3000];
	char		text[3000][8];
	TestHost	host;
	LatError	error;
	long		fail = 0;
	LatStatus	status;

	for (int i = 0; i < 3000; i++)
		words[i] = (LatWord) {text[i], (size_t) snprintf(text[i], 8, "%x", i * 7919)};
	test_host_init(&host);
	for (;; fail++)
	{
		void	   *section;
		size_t		size;

		host.fail_at = fail;
		status = lat_vocabulary_build(&host.host, words, 3000, NULL, 0, &section, &size, &error);
		if (status == LAT_OK)
		{
			host.host.release(host.host.arg, section);
			break;
		}
		CHECK(status == LAT_NO_MEMORY && section == NULL && host.live == 0,
			  "allocation %ld fails in building", fail);
	}
	CHECK(fail > 5 && host.live == 0, "%ld allocations failed in building", fail);
}

static void
test_bad_vocabularies(void)
{
	Tokenizer	tokenizer;
	uint32_t	seed = 1;

	CHECK(open_tokenizer(&tokenizer, "a\nb\na\n", true) == LAT_BAD_MODEL &&
		  strstr(tokenizer.error.message, "twice") != NULL, "a word twice");
	close_tokenizer(&tokenizer);
	CHECK(open_tokenizer(&tokenizer, "a\n##b\n##b\n", true) == LAT_BAD_MODEL, "a piece twice");
	close_tokenizer(&tokenizer);
	CHECK(open_tokenizer(&tokenizer, "a\n\xff\n", true) == LAT_BAD_MODEL,
		  "a word that is no UTF-8");
	close_tokenizer(&tokenizer);
	CHECK(open_tokenizer(&tokenizer, "", true) == LAT_BAD_MODEL, "no words");
	close_tokenizer(&tokenizer);

	/* Damaged sections are refused, or at least never read beyond. */
	CHECK(open_tokenizer(&tokenizer, small_words, true) == LAT_OK, "open");
	for (int round = 0; round < 3000; round++)
	{
		LatVocabulary sound = tokenizer.model.vocabulary;
		uint8_t    *bytes = tokenizer.section;
		uint8_t		saved;
		size_t		at;

		seed = seed * 1103515245 + 12345;
		at = (seed >> 8) % tokenizer.size;
		saved = bytes[at];
		bytes[at] ^= (uint8_t) (1 + (seed >> 4) % 255);
		if (lat_vocabulary_open(tokenizer.section, tokenizer.size, sound.count,
								&tokenizer.model.vocabulary, NULL) == LAT_OK)
		{
			(void) lat_vocabulary_verify(&tokenizer.model.vocabulary, NULL);
			(void) tokenize(&tokenizer, "unaffable play[SEP]ing caf\xc3\xa9", 26, false, NO_LIMIT);
			(void) show(&tokenizer);
		}
		tokenizer.model.vocabulary = sound;
		bytes[at] = saved;
	}
	CHECK(lat_vocabulary_open(tokenizer.section, tokenizer.size - 1, 21,
							  &tokenizer.model.vocabulary, NULL) == LAT_BAD_MODEL,
		  "a section cut short");
	CHECK(lat_vocabulary_open(tokenizer.section, tokenizer.size, 22, &tokenizer.model.vocabulary,
							  NULL) == LAT_BAD_MODEL, "another number of words");
	close_tokenizer(&tokenizer);
}

/* longest_first on pairs of `first` and `second` tokens. */
static void
test_truncation(Tokenizer *small)
{
	static const int cases[][5] = {	/* first, second, limit; then what is left of each */
		{0, 0, 5, 0, 0}, {2, 2, 10, 2, 2}, {2, 8, 10, 2, 5}, {4, 8, 10, 3, 4}, {8, 2, 10, 5, 2},
		{8, 4, 10, 4, 3}, {8, 8, 10, 3, 4}, {0, 8, 10, 0, 7}, {8, 0, 10, 7, 0}, {3, 4, 10, 3, 4},
		{9, 8, 5, 1, 1},
	};
	const LatHost *host = &small->host.host;
	LatTokens	tokens[2] = {{0}};
	LatInput	input;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		for (int which = 0; which < 2; which++)
			lat_tokenize_text(host, &small->model, "..........", (size_t) cases[i][which], false,
							  NO_LIMIT, &tokens[which], NULL);
		CHECK(lat_build_input(host, &small->model, &tokens[0], &tokens[1], cases[i][2], &input,
							  NULL) == LAT_OK && input.tokens == cases[i][3] + cases[i][4] + 3 &&
			  input.ids[0] == 2 &&
			  input.ids[cases[i][3] + 1] == 3 && input.sources[cases[i][3] + 1] == -1 &&
			  input.segments[cases[i][3] + 1] == 0 && input.segments[input.tokens - 1] == 1 &&
			  input.truncated == (cases[i][0] + cases[i][1] > cases[i][3] + cases[i][4]),
			  "longest_first, case %zu", i);
		lat_input_release(host, &input);
	}
	CHECK(lat_build_input(host, &small->model, &tokens[0], NULL, 6, &input, NULL) == LAT_OK &&
		  input.tokens == 6 && input.truncated && input.sources[4] == 3, "a single text is cut");
	lat_input_release(host, &input);
	CHECK(lat_build_input(host, &small->model, &tokens[0], NULL, 4, &input, &small->error) ==
		  LAT_BAD_ARGUMENT, "a limit below 5");
	lat_tokens_release(host, &tokens[0]);
	lat_tokens_release(host, &tokens[1]);
}

int
main(void)
{
	Tokenizer	uncased;
	Tokenizer	cased;
	Tokenizer	small;
	size_t		size;
	char	   *words = read_file(GOLDEN "tokenizer.vocab", &size);

	if (CHECK(words != NULL, "%stokenizer.vocab can be read", GOLDEN) &&
		CHECK(open_tokenizer(&uncased, words, true) == LAT_OK, "uncased: %s",
			  uncased.error.message) &&
		CHECK(open_tokenizer(&cased, words, false) == LAT_OK, "cased: %s", cased.error.message))
	{
		test_golden(&uncased, &cased);
		close_tokenizer(&uncased);
		close_tokenizer(&cased);
	}
	free(words);
	CHECK(open_tokenizer(&small, small_words, true) == LAT_OK, "small: %s", small.error.message);
	test_words(&small);
	test_limits(&small);
	test_bad_text(&small);
	test_long_words(&small);
	test_interrupts(&small);
	test_truncation(&small);
	close_tokenizer(&small);
	test_no_memory();
	test_no_memory_build();
	test_bad_vocabularies();
	return check_done("tokenizer");
}
