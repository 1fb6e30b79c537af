/*
 * tokenizer_files.c
 *	  tokenizer_config.json, tokenizer.json, vocab.txt: words, special tokens, casing.
 *
 * Three files say the same thing, more or less, and which is right is a matter
 * of what Hugging Face's BertTokenizerFast does with them:
 *
 *	 words		tokenizer.json (model.vocab and added_tokens) if it is there, else
 *				the lines of vocab.txt
 *	 casing		each setting from tokenizer_config.json if it is there, else from
 *				tokenizer.json's normalizer, else uncased; strip_accents null means
 *				"as lowercase"
 *	 specials	names from tokenizer_config.json, else the usual ones
 *
 * A truncation or padding setting in tokenizer.json is about how somebody
 * called the tokenizer, not a limit of the model; it is not looked at.
 * Tokenizers that are no plain WordPiece are refused, and so are added tokens
 * that match in another way than byte for byte in the raw text.
 */
#include "config.h"

#include <string.h>

#define MOST_ADDED 4096			/* tokens found in the raw text */
#define LONGEST_SPECIAL 256		/* bytes of the longest name of a special token */

typedef enum Casing
{
	CASING_LOWERCASE,
	CASING_STRIP_ACCENTS,
	CASING_SPLIT_CJK,
	CASING_COUNT
} Casing;

typedef enum Special
{
	SPECIAL_PAD,
	SPECIAL_UNK,
	SPECIAL_CLS,
	SPECIAL_SEP,
	SPECIAL_MASK,
	SPECIAL_COUNT
} Special;

/* What the files have said so far. */
typedef struct Reader
{
	const LatHost *host;
	LatSettings *settings;
	LatError   *error;
	int			casing[CASING_COUNT];	/* 0, 1, or one of the two below */
	LatJsonText specials[SPECIAL_COUNT];	/* bytes NULL: not named */
	LatJsonText model;			/* of tokenizer.json: where its "model" lies */
	LatJsonText added_tokens;	/* of tokenizer.json */
} Reader;

#define CASING_UNSAID (-1)
#define CASING_AS_LOWERCASE (-2)

static LatStatus
refuse(const Reader *reader, const char *file, const char *what)
{
	lat_fail(reader->error, LAT_UNSUPPORTED, "%s %s", file, what);
	return lat_hint(reader->error, LAT_UNSUPPORTED,
					"lat runs models with the tokenizer of BERT: BertNormalizer, BertPreTokenizer, "
					"WordPiece, [CLS] and [SEP].");
}

static LatStatus
malformed(const Reader *reader, const char *file, const char *what)
{
	return lat_fail(reader->error, LAT_BAD_MODEL, "%s %s", file, what);
}

static bool
is_text(const LatJsonField *field, const char *text)
{
	return field->present && field->value.type == LAT_JSON_STRING &&
		lat_json_is(field->value.text, text);
}

/* Take over a casing setting unless a file of higher rank has made it. */
static LatStatus
read_casing(Reader *reader, const char *file, const LatJsonField *field, Casing setting)
{
	if (reader->casing[setting] != CASING_UNSAID)
		return LAT_OK;
	if (field->null && setting == CASING_STRIP_ACCENTS)
		reader->casing[setting] = CASING_AS_LOWERCASE;
	if (!field->present)
		return LAT_OK;
	if (field->value.type != LAT_JSON_TRUE && field->value.type != LAT_JSON_FALSE)
	{
		return lat_fail(reader->error, LAT_BAD_MODEL, "\"%s\" in %s is neither true nor false",
						field->name, file);
	}
	reader->casing[setting] = field->value.type == LAT_JSON_TRUE;
	return LAT_OK;
}

/* ---- tokenizer_config.json ----------------------------------------------------------------- */

/* Name of a special token: a string, or an object that has it as "content". */
static LatStatus
read_special(Reader *reader, const LatJsonField *field, Special special)
{
	LatJsonField content[] = {{.name = "content"}};
	LatStatus	status;

	if (!field->present)
		return LAT_OK;
	if (field->value.type == LAT_JSON_OBJECT)
	{
		status = lat_json_fields(reader->host, lat_part_name(LAT_PART_TOKENIZER_CONFIG),
								 field->value.text, content, 1, reader->error);
		if (status != LAT_OK)
			return status;
		field = &content[0];
	}
	if (!field->present || field->value.type != LAT_JSON_STRING || field->value.text.size == 0)
		return malformed(reader, lat_part_name(LAT_PART_TOKENIZER_CONFIG),
						 "has a special token without a name");
	reader->specials[special] = field->value.text;
	return LAT_OK;
}

/* Without tokenizer.json only the class tells whether words are split as BERT does. */
static bool
is_bert_tokenizer(const LatJsonField *class)
{
	static const char *const classes[] = {
		"BertTokenizer", "BertTokenizerFast", "ElectraTokenizer", "ElectraTokenizerFast",
		"DistilBertTokenizer", "DistilBertTokenizerFast"
	};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		if (is_text(class, classes[i]))
			return true;
	}
	return !class->present;
}

static LatStatus
read_tokenizer_config(Reader *reader, LatPart part, bool alone)
{
	const char *file = lat_part_name(LAT_PART_TOKENIZER_CONFIG);
	LatJsonText text = {part.bytes, part.size, false};
	LatJsonField fields[] = {
		{.name = "pad_token"}, {.name = "unk_token"}, {.name = "cls_token"},
		{.name = "sep_token"}, {.name = "mask_token"},
		{.name = "do_lower_case"}, {.name = "strip_accents"}, {.name = "tokenize_chinese_chars"},
		{.name = "do_basic_tokenize"}, {.name = "tokenizer_class"}
	};
	const LatJsonField *basic = &fields[SPECIAL_COUNT + CASING_COUNT];
	const int	count = (int) (sizeof(fields) / sizeof(fields[0]));
	LatStatus	status;

	if (part.bytes == NULL)
		return LAT_OK;
	status = lat_json_fields(reader->host, file, text, fields, count, reader->error);
	for (int i = 0; i < SPECIAL_COUNT && status == LAT_OK; i++)
		status = read_special(reader, &fields[i], (Special) i);
	for (int i = 0; i < CASING_COUNT && status == LAT_OK; i++)
		status = read_casing(reader, file, &fields[SPECIAL_COUNT + i], (Casing) i);
	if (status == LAT_OK && basic->present && basic->value.type == LAT_JSON_FALSE)
		return refuse(reader, file, "switches do_basic_tokenize off");
	if (status == LAT_OK && alone && !is_bert_tokenizer(&basic[1]))
		return refuse(reader, file, "has a tokenizer_class that is not one of BERT's");
	return status;
}

/* ---- tokenizer.json ------------------------------------------------------------------------ */

/* The "type" of one of the tokenizer's stages must be among these; second may be NULL. */
static LatStatus
check_stage(Reader *reader, const LatJsonField *stage, const char *first, const char *second)
{
	const char *file = lat_part_name(LAT_PART_TOKENIZER);
	LatJsonField type[] = {{.name = "type"}};
	LatStatus	status = LAT_OK;

	if (stage->present && stage->value.type == LAT_JSON_OBJECT)
		status = lat_json_fields(reader->host, file, stage->value.text, type, 1, reader->error);
	if (status != LAT_OK || is_text(type, first) || (second && is_text(type, second)))
		return status;
	lat_fail(reader->error, LAT_UNSUPPORTED, "\"%s\" in %s is not of type %s", stage->name, file,
			 first);
	return lat_hint(reader->error, LAT_UNSUPPORTED,
					"lat runs models with the tokenizer of BERT: BertNormalizer, BertPreTokenizer, "
					"WordPiece, [CLS] and [SEP].");
}

static LatStatus
read_normalizer(Reader *reader, const LatJsonField *normalizer)
{
	const char *file = lat_part_name(LAT_PART_TOKENIZER);
	LatJsonField fields[] = {
		{.name = "lowercase"}, {.name = "strip_accents"}, {.name = "handle_chinese_chars"},
		{.name = "clean_text"}
	};
	LatStatus	status = lat_json_fields(reader->host, file, normalizer->value.text, fields, 4,
										 reader->error);

	for (int i = 0; i < CASING_COUNT && status == LAT_OK; i++)
		status = read_casing(reader, file, &fields[i], (Casing) i);
	if (status == LAT_OK && fields[3].present && fields[3].value.type != LAT_JSON_TRUE)
		return refuse(reader, file, "switches clean_text off");
	return status;
}

/* The stages of the tokenizer, and where the rest of the file lies. */
static LatStatus
read_stages(Reader *reader, LatPart part)
{
	LatJsonText text = {part.bytes, part.size, false};
	LatJsonField fields[] = {
		{.name = "normalizer"}, {.name = "pre_tokenizer"}, {.name = "post_processor"},
		{.name = "model"}, {.name = "added_tokens"}
	};
	LatStatus	status = lat_json_fields(reader->host, lat_part_name(LAT_PART_TOKENIZER), text,
										 fields, 5, reader->error);

	if (status != LAT_OK ||
		(status = check_stage(reader, &fields[0], "BertNormalizer", NULL)) != LAT_OK ||
		(status = check_stage(reader, &fields[1], "BertPreTokenizer", NULL)) != LAT_OK ||
		(status = check_stage(reader, &fields[2], "TemplateProcessing",
							  "BertProcessing")) != LAT_OK)
		return status;
	if (!fields[3].present || fields[3].value.type != LAT_JSON_OBJECT)
		return malformed(reader, lat_part_name(LAT_PART_TOKENIZER), "has no \"model\"");
	reader->model = fields[3].value.text;
	if (fields[4].present && fields[4].value.type != LAT_JSON_ARRAY)
		return malformed(reader, lat_part_name(LAT_PART_TOKENIZER),
						 "has \"added_tokens\" that are not an array");
	if (fields[4].present)
		reader->added_tokens = fields[4].value.text;
	return read_normalizer(reader, &fields[0]);
}

/* Give a word its id. */
static LatStatus
set_word(Reader *reader, LatJsonText text, const LatJsonValue *id)
{
	LatTexts   *words = &reader->settings->words;
	LatStatus	status;
	int64_t		index;

	if (!lat_json_integer(id, &index) || index < 0 || index >= LAT_MAX_VOCABULARY)
		return lat_fail(reader->error, LAT_BAD_MODEL,
						"word \"%.*s\" in tokenizer.json has an id that is no number from 0 to %d",
						(int) (text.size < 100 ? text.size : 100), text.bytes,
						LAT_MAX_VOCABULARY - 1);
	status = lat_texts_reserve(reader->host, words, (int32_t) index, reader->error);
	if (status != LAT_OK)
		return status;
	if (words->items[index].text != NULL)
		return lat_fail(reader->error, LAT_BAD_MODEL, "two words in tokenizer.json have id %d",
						(int) index);
	words->items[index] = lat_texts_decode(words, text);
	return LAT_OK;
}

static LatStatus
read_vocab(Reader *reader, const LatJsonField *vocab)
{
	const char *file = lat_part_name(LAT_PART_TOKENIZER);
	LatJson		json;
	LatJsonText word;
	LatJsonValue value;
	LatStatus	status;

	if (!vocab->present || vocab->value.type != LAT_JSON_OBJECT)
		return malformed(reader, file, "has no \"vocab\" that maps words to ids");
	lat_json_begin(&json, reader->host, file, vocab->value.text.bytes, vocab->value.text.size);
	lat_json_next(&json, &value);
	while (lat_json_member(&json, &word) && lat_json_next(&json, &value))
	{
		if ((status = set_word(reader, word, &value)) != LAT_OK)
			return status;
	}
	return lat_json_end(&json, reader->error);
}

static LatStatus
read_model(Reader *reader)
{
	const char *file = lat_part_name(LAT_PART_TOKENIZER);
	LatJsonField fields[] = {
		{.name = "vocab"}, {.name = "unk_token"}, {.name = "continuing_subword_prefix"},
		{.name = "max_input_chars_per_word"}, {.name = "type"}
	};
	int64_t		longest = 100;
	LatStatus	status = lat_json_fields(reader->host, file, reader->model, fields, 5,
										 reader->error);

	if (status != LAT_OK)
		return status;
	/* Files of 2020 do not name the type; only WordPiece has a prefix of this name. */
	if (fields[4].present ? !is_text(&fields[4], "WordPiece") : !fields[2].present)
		return refuse(reader, file, "has a model that is not WordPiece");
	if (fields[2].present && !is_text(&fields[2], "##"))
		return refuse(reader, file, "has a continuing_subword_prefix other than ##");
	if (fields[3].present && (!lat_json_integer(&fields[3].value, &longest) || longest != 100))
		return refuse(reader, file, "has a max_input_chars_per_word other than 100");
	if (reader->specials[SPECIAL_UNK].bytes == NULL && fields[1].present &&
		fields[1].value.type == LAT_JSON_STRING)
		reader->specials[SPECIAL_UNK] = fields[1].value.text;
	return read_vocab(reader, &fields[0]);
}

/* ---- added and special tokens -------------------------------------------------------------- */

/* Mark a word as matched in the raw text; ids stay ascending and single. */
static LatStatus
add_token(Reader *reader, int32_t id)
{
	LatSettings *settings = reader->settings;
	int32_t		at = settings->added_count;

	for (int32_t i = 0; i < settings->added_count; i++)
	{
		if (settings->added[i] == id)
			return LAT_OK;
	}
	if (at == MOST_ADDED)
	{
		lat_fail(reader->error, LAT_UNSUPPORTED, "the tokenizer has more than %d added tokens",
				 MOST_ADDED);
		return lat_hint(reader->error, LAT_UNSUPPORTED,
						"Make them ordinary words of the vocabulary.");
	}
	for (; at > 0 && settings->added[at - 1] > id; at--)
		settings->added[at] = settings->added[at - 1];
	settings->added[at] = id;
	settings->added_count++;
	return LAT_OK;
}

/* One entry of tokenizer.json's "added_tokens", which may be a new word or mark an old one. */
static LatStatus
read_added_token(Reader *reader, LatJsonText text)
{
	const char *file = lat_part_name(LAT_PART_TOKENIZER);
	LatTexts   *words = &reader->settings->words;
	LatJsonField fields[] = {
		{.name = "lstrip"}, {.name = "rstrip"}, {.name = "single_word"}, {.name = "normalized"},
		{.name = "content"}, {.name = "id"}
	};
	LatStatus	status = lat_json_fields(reader->host, file, text, fields, 6, reader->error);
	const LatJsonText content = fields[4].value.text;
	int64_t		id;

	if (status != LAT_OK)
		return status;
	for (int i = 0; i < 4; i++)
	{
		if (fields[i].present && fields[i].value.type != LAT_JSON_FALSE)
		{
			lat_fail(reader->error, LAT_UNSUPPORTED, "an added token in %s sets \"%s\"", file,
					 fields[i].name);
			return lat_hint(reader->error, LAT_UNSUPPORTED,
							"lat finds added tokens as they are written; save the tokenizer with "
							"that setting false.");
		}
	}
	if (!fields[4].present || fields[4].value.type != LAT_JSON_STRING || content.size == 0 ||
		!fields[5].present)
		return malformed(reader, file, "has an added token without content or id");
	if (lat_json_integer(&fields[5].value, &id) && id >= 0 && id < words->count &&
		words->items[id].text != NULL)
	{
		LatWord		word = lat_texts_decode(words, content);

		if (word.bytes != words->items[id].bytes ||
			memcmp(word.text, words->items[id].text, word.bytes) != 0)
			return lat_fail(reader->error, LAT_BAD_MODEL,
							"an added token in %s has the id %d of another word", file, (int) id);
	}
	else if ((status = set_word(reader, content, &fields[5].value)) != LAT_OK)
		return status;
	lat_json_integer(&fields[5].value, &id);
	return add_token(reader, (int32_t) id);
}

static LatStatus
read_added_tokens(Reader *reader)
{
	const char *file = lat_part_name(LAT_PART_TOKENIZER);
	LatJson		json;
	LatJsonValue value;
	LatStatus	status;

	if (reader->added_tokens.bytes == NULL)
		return LAT_OK;
	lat_json_begin(&json, reader->host, file, reader->added_tokens.bytes,
				   reader->added_tokens.size);
	lat_json_next(&json, &value);
	while (lat_json_element(&json) && lat_json_next(&json, &value))
	{
		LatJsonText text = {json.at - 1, 0, false};

		if (value.type != LAT_JSON_OBJECT)
			return malformed(reader, file, "has an added token that is not an object");
		lat_json_leave(&json);
		text.size = (size_t) (json.at - text.bytes);
		if ((status = read_added_token(reader, text)) != LAT_OK)
			return status;
	}
	return lat_json_end(&json, reader->error);
}

static int32_t
find_word(const LatTexts *words, LatJsonText name)
{
	char		decoded[LONGEST_SPECIAL];
	size_t		bytes;

	if (name.size > sizeof(decoded))
		return -1;
	bytes = lat_json_decode(name, decoded);
	for (int32_t i = 0; i < words->count; i++)
	{
		if (words->items[i].bytes == bytes && memcmp(words->items[i].text, decoded, bytes) == 0)
			return i;
	}
	return -1;
}

static LatStatus
find_specials(Reader *reader)
{
	static const char *const names[SPECIAL_COUNT] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
	LatConfig  *config = &reader->settings->config;
	int32_t    *const ids[SPECIAL_COUNT] = {
		&config->pad_id, &config->unk_id, &config->cls_id, &config->sep_id, &config->mask_id
	};
	LatStatus	status;

	for (int i = 0; i < SPECIAL_COUNT; i++)
	{
		LatJsonText name = reader->specials[i];

		if (name.bytes == NULL)
			name = (LatJsonText) {names[i], strlen(names[i]), false};
		*ids[i] = find_word(&reader->settings->words, name);
		if (*ids[i] < 0 && i == SPECIAL_MASK)
			continue;			/* inference has no use for it */
		if (*ids[i] < 0)
		{
			lat_fail(reader->error, LAT_BAD_MODEL,
					 "the vocabulary has no special token \"%.*s\"",
					 (int) (name.size < 100 ? name.size : 100), name.bytes);
			return lat_hint(reader->error, LAT_BAD_MODEL,
							"Name the model's special tokens in tokenizer_config.json.");
		}
		if ((status = add_token(reader, *ids[i])) != LAT_OK)
			return status;
	}
	return LAT_OK;
}

/* ---- vocab.txt ----------------------------------------------------------------------------- */

/* One word a line, its number the word's id. */
static LatStatus
read_lines(Reader *reader, LatPart part)
{
	LatTexts   *words = &reader->settings->words;
	const char *at = part.bytes;
	const char *stop = at + part.size;
	LatStatus	status;

	while (at < stop)
	{
		const char *end = memchr(at, '\n', (size_t) (stop - at));
		const char *next = end ? end + 1 : stop;

		if (words->count == LAT_MAX_VOCABULARY)
			return lat_fail(reader->error, LAT_UNSUPPORTED, "vocab.txt has more than %d lines",
							LAT_MAX_VOCABULARY);
		if (words->count % 10000 == 0 && reader->host->interrupted(reader->host->arg))
			return lat_fail(reader->error, LAT_INTERRUPTED, "interrupted while reading vocab.txt");
		end = end ? end : stop;
		if (end > at && end[-1] == '\r')
			end--;
		status = lat_texts_reserve(reader->host, words, words->count, reader->error);
		if (status != LAT_OK)
			return status;
		words->items[words->count - 1] = (LatWord) {at, (size_t) (end - at)};
		at = next;
	}
	return LAT_OK;
}

/* ---- the whole ----------------------------------------------------------------------------- */

/*
 * Rows of the embedding that have no word are left out: no text can reach
 * them.  A few come of padding; as many as this, of a vocabulary that was cut.
 */
#define MOST_ROWS_WITHOUT_WORD 1024

static LatStatus
check_count(Reader *reader)
{
	LatSettings *settings = reader->settings;

	for (int32_t i = 0; i < settings->words.count; i++)
	{
		if (settings->words.items[i].text == NULL)
			return lat_fail(reader->error, LAT_BAD_MODEL, "no word in tokenizer.json has id %d",
							(int) i);
	}
	if (settings->words.count > settings->embedding_rows)
	{
		lat_fail(reader->error, LAT_BAD_MODEL,
				 "the vocabulary has %d words, but \"vocab_size\" in config.json is %d",
				 (int) settings->words.count, (int) settings->embedding_rows);
		return lat_hint(reader->error, LAT_BAD_MODEL,
						"Take the tokenizer's files from the same checkpoint as the weights.");
	}
	if (settings->embedding_rows - settings->words.count > MOST_ROWS_WITHOUT_WORD)
	{
		lat_fail(reader->error, LAT_BAD_MODEL,
				 "the vocabulary has only %d words, but \"vocab_size\" in config.json is %d",
				 (int) settings->words.count, (int) settings->embedding_rows);
		return lat_hint(reader->error, LAT_BAD_MODEL,
						"The tokenizer's files are incomplete, or of another checkpoint.");
	}
	settings->config.vocabulary = settings->words.count;
	return LAT_OK;
}

LatStatus
lat_read_tokenizer(const LatHost *host, const LatPart parts[LAT_PART_COUNT],
				   LatSettings *settings, LatError *error)
{
	LatPart		tokenizer = parts[LAT_PART_TOKENIZER];
	Reader		reader = {.host = host, .settings = settings, .error = error};
	LatConfig  *config = &settings->config;
	LatStatus	status;

	for (int i = 0; i < CASING_COUNT; i++)
		reader.casing[i] = CASING_UNSAID;
	settings->added = host->alloc(host->arg, MOST_ADDED * sizeof(int32_t));
	if (settings->added == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for added tokens");
	status = read_tokenizer_config(&reader, parts[LAT_PART_TOKENIZER_CONFIG],
								   tokenizer.bytes == NULL);
	if (status == LAT_OK && tokenizer.bytes == NULL)
		status = read_lines(&reader, parts[LAT_PART_VOCABULARY]);
	else if (status == LAT_OK &&
			 (status = lat_texts_arena(host, &settings->words, tokenizer.size, error)) == LAT_OK &&
			 (status = read_stages(&reader, tokenizer)) == LAT_OK &&
			 (status = read_model(&reader)) == LAT_OK)
		status = read_added_tokens(&reader);
	if (status != LAT_OK ||
		(status = check_count(&reader)) != LAT_OK ||
		(status = find_specials(&reader)) != LAT_OK)
		return status;
	config->lowercase = reader.casing[CASING_LOWERCASE] != 0;
	config->split_cjk = reader.casing[CASING_SPLIT_CJK] != 0;
	config->strip_accents = reader.casing[CASING_STRIP_ACCENTS] < 0
		? config->lowercase : reader.casing[CASING_STRIP_ACCENTS];
	return LAT_OK;
}
