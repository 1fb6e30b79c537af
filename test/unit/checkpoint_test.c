/*
 * checkpoint_test.c
 *	  Checkpoints that are refused, each with its status and message, and settings that are read.
 *
 * Every case takes a tiny checkpoint of test/golden, damages one place, packs it
 * under both precisions, and looks at status, message, hint and leaks.
 */
#include "check.h"
#include "checkpoint.h"

static TestHost test;

static void
expect(const Checkpoint *checkpoint, LatStatus status, const char *message, const char *name)
{
	checkpoint_expect(&test, checkpoint, status, message, name);
}

/* ---- one text replaced by another ---------------------------------------------------------- */

typedef struct Edit
{
	const char *model;
	LatSourcePart part;
	const char *from;
	const char *to;
	LatStatus	status;
	const char *message;
} Edit;

#define CONFIG(from, to, status, message) \
	{"classify", LAT_PART_CONFIG, from, to, LAT_##status, message}
#define TOKENIZER_CONFIG(from, to, status, message) \
	{"classify", LAT_PART_TOKENIZER_CONFIG, from, to, LAT_##status, message}
#define TOKENIZER(from, to, status, message) \
	{"embed", LAT_PART_TOKENIZER, from, to, LAT_##status, message}
#define WORDS(from, to, status, message) \
	{"span", LAT_PART_VOCABULARY, from, to, LAT_##status, message}
#define WEIGHTS(from, to, status, message) \
	{"classify", LAT_PART_WEIGHTS, from, to, LAT_##status, message}

#define LAYERS "\"num_hidden_layers\": 4"
#define HEADS "\"num_attention_heads\": 4"
#define HIDDEN "\"hidden_size\": 40"

static const Edit edits[] = {
	/* sizes */
	CONFIG(LAYERS, "\"num_hidden_layers\": 65", UNSUPPORTED, "num_hidden_layers is 65"),
	CONFIG(LAYERS, "\"num_hidden_layers\": 100000000000000", UNSUPPORTED, "num_hidden_layers"),
	CONFIG(LAYERS, "\"num_hidden_layers\": 99999999999999999999", BAD_MODEL, "not a whole number"),
	CONFIG(LAYERS, "\"num_hidden_layers\": 0", BAD_MODEL, "num_hidden_layers is 0"),
	CONFIG(LAYERS, "\"num_hidden_layers\": -4", BAD_MODEL, "num_hidden_layers is -4"),
	CONFIG(LAYERS, "\"num_hidden_layers\": 4.0", BAD_MODEL, "not a whole number"),
	CONFIG(LAYERS, "\"num_hidden_layers\": 4e0", BAD_MODEL, "not a whole number"),
	CONFIG(LAYERS, "\"num_hidden_layers\": 1e999", BAD_MODEL, "not a whole number"),
	CONFIG(LAYERS, "\"num_hidden_layers\": \"4\"", BAD_MODEL, "not a whole number"),
	CONFIG(LAYERS, "\"num_hidden_layers\": [4]", BAD_MODEL, "not a whole number"),
	CONFIG(LAYERS, "\"num_hidden_layers\": null", BAD_MODEL, "no \"num_hidden_layers\""),
	CONFIG(LAYERS, "\"num_hidden_layers\": 5", BAD_MODEL,
		   "no tensor \"bert.encoder.layer.4.attention.self.query.weight\""),
	CONFIG(HEADS, "\"num_attention_heads\": 0", BAD_MODEL, "num_attention_heads is 0"),
	CONFIG(HEADS, "\"num_attention_heads\": 3", BAD_MODEL, "not a multiple"),
	CONFIG(HEADS, "\"num_attention_heads\": 100000", UNSUPPORTED, "num_attention_heads is 100000"),
	CONFIG(HIDDEN, "\"hidden_size\": 44", BAD_MODEL, "has shape [433, 40], not [433, 44]"),
	CONFIG(HIDDEN, "\"hidden_size\": 8000000", UNSUPPORTED, "hidden_size"),
	CONFIG(HIDDEN, "\"hidden_size\": 40, \"hidden_size\": 40", BAD_MODEL, "\"hidden_size\" twice"),
	CONFIG(HIDDEN, "\"hidden_size\": 40, \"hidden_\\u0073ize\": 40", BAD_MODEL, "twice"),
	CONFIG(HIDDEN, "\"hidden_size\": null, \"hidden_size\": 40", BAD_MODEL, "twice"),
	CONFIG("\"intermediate_size\": 72", "\"intermediate_size\": 71", BAD_MODEL,
		   "has shape [72, 40]"),
	CONFIG("\"intermediate_size\": 72", "\"intermediate_size\": 20000", UNSUPPORTED,
		   "intermediate"),
	CONFIG("\"vocab_size\": 433", "\"vocab_size\": 432", BAD_MODEL, "has 433 words"),
	CONFIG("\"vocab_size\": 433", "\"vocab_size\": 434", BAD_MODEL, "has shape [433, 40]"),
	CONFIG("\"vocab_size\": 433", "\"vocab_size\": 1458", BAD_MODEL, "has only 433 words"),
	CONFIG("\"vocab_size\": 433", "\"vocab_size\": 2000000", UNSUPPORTED, "vocab_size"),
	CONFIG("\"max_position_embeddings\": 64", "\"max_position_embeddings\": 63", BAD_MODEL,
		   "position_embeddings.weight\" has shape [64, 40]"),
	CONFIG("\"max_position_embeddings\": 64", "\"max_position_embeddings\": 2", BAD_MODEL, "is 2"),
	CONFIG("\"max_position_embeddings\": 64", "\"max_position_embeddings\": 100000", UNSUPPORTED,
		   "max_position_embeddings"),
	CONFIG("\"type_vocab_size\": 2", "\"type_vocab_size\": 1", UNSUPPORTED, "type_vocab_size is 1"),
	CONFIG("\"type_vocab_size\": 2", "\"type_vocab_size\": 0", BAD_MODEL, "type_vocab_size"),
	CONFIG("\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 1e999", BAD_MODEL, "finite number"),
	CONFIG("\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": -1", BAD_MODEL, "outside 0 to 1"),
	CONFIG("\"hidden_dropout_prob\": 0.1", "\"hidden_dropout_prob\": 2", BAD_MODEL,
		   "outside 0 to 1"),
	CONFIG("\"hidden_dropout_prob\": 0.1", "\"hidden_dropout_prob\": \"x\"", BAD_MODEL, "finite"),

	/* what cannot be run */
	CONFIG("\"model_type\": \"bert\"", "\"model_type\": \"roberta\"", UNSUPPORTED, "\"roberta\""),
	CONFIG("\"model_type\": \"bert\"", "\"model_type\": \"t5\"", UNSUPPORTED, "\"t5\""),
	CONFIG("\"model_type\": \"bert\"", "\"model_type\": \"gpt2\"", UNSUPPORTED, "\"gpt2\""),
	CONFIG("\"model_type\": \"bert\"", "\"model_type\": 7", UNSUPPORTED, "\"model_type\": 7"),
	CONFIG("\"model_type\": \"bert\"", "\"model_type\": \"electra\"", BAD_MODEL, "model_type"),
	CONFIG("BertForSequenceClassification", "BertForMaskedLM", UNSUPPORTED, "BertForMaskedLM"),
	CONFIG("BertForSequenceClassification", "BertForPreTraining", UNSUPPORTED,
		   "BertForPreTraining"),
	CONFIG("BertForSequenceClassification", "GPT2Model", UNSUPPORTED, "GPT2Model"),
	CONFIG("\"BertForSequenceClassification\"", "", BAD_MODEL, "names no architecture"),
	CONFIG("\"BertForSequenceClassification\"", "1", BAD_MODEL, "names no architecture"),
	CONFIG("\"problem_type\": null", "\"problem_type\": \"multi_label_classification\"",
		   UNSUPPORTED,
		   "multi_label_classification"),
	CONFIG("\"problem_type\": null", "\"problem_type\": \"regression\"", UNSUPPORTED, "regression"),
	CONFIG("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"silu\"", UNSUPPORTED, "silu"),
	CONFIG("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"gelu_new\"", UNSUPPORTED, "gelu_new"),
	CONFIG("\"hidden_act\": \"gelu\"",
		   "\"hidden_act\": \"gelu\", \"position_embedding_type\": \"relative_key\"", UNSUPPORTED,
		   "relative_key"),
	CONFIG("\"is_decoder\": false", "\"is_decoder\": true", UNSUPPORTED, "is_decoder"),
	CONFIG("\"add_cross_attention\": false", "\"add_cross_attention\": true", UNSUPPORTED,
		   "add_cross_attention"),
	CONFIG("\"is_decoder\": false", "\"quantization_config\": {\"bits\": 4}", UNSUPPORTED,
		   "quantization_config"),
	CONFIG("\"is_decoder\": false", "\"pruned_heads\": {\"1\": [0]}", UNSUPPORTED, "pruned_heads"),

	/* labels */
	CONFIG("\"1\": \"neutral\"", "\"3\": \"neutral\"", BAD_MODEL, "no label 1"),
	CONFIG("\"1\": \"neutral\"", "\"0\": \"neutral\"", BAD_MODEL, "\"0\" twice"),
	CONFIG("\"1\": \"neutral\"", "\"1\": \"negative\"", BAD_MODEL, "\"negative\" twice"),
	CONFIG("\"1\": \"neutral\"", "\"1\": \"a\\u0000b\"", BAD_MODEL, "label with a NUL"),
	CONFIG("\"1\": \"neutral\"", "\"1\": 5", BAD_MODEL, "id2label"),
	CONFIG("\"1\": \"neutral\"", "\"1\": \"\"", BAD_MODEL, "id2label"),
	CONFIG("\"1\": \"neutral\"", "\"01\": \"neutral\"", BAD_MODEL, "id2label"),
	CONFIG("\"1\": \"neutral\"", "\"-1\": \"neutral\"", BAD_MODEL, "id2label"),
	CONFIG("\"1\": \"neutral\"", "\"4096\": \"neutral\"", BAD_MODEL, "id2label"),
	CONFIG("\"1\": \"neutral\"", "\"x\": \"neutral\"", BAD_MODEL, "id2label"),
	CONFIG("\"id2label\": {", "\"id2label\": {\"0\": \"all\"}, \"x\": {", UNSUPPORTED, "1 labels"),
	CONFIG("\"id2label\": {", "\"num_labels\": 1, \"x\": {", UNSUPPORTED, "1 labels"),
	CONFIG("\"id2label\": {", "\"num_labels\": 0, \"x\": {", BAD_MODEL, "num_labels"),
	CONFIG("\"id2label\": {", "\"num_labels\": 100000, \"x\": {", BAD_MODEL, "num_labels"),
	CONFIG("\"id2label\": {", "\"id2label\": 3, \"x\": {", BAD_MODEL, "not an object"),
	CONFIG("\"id2label\": {", "\"num_labels\": 4, \"x\": {", BAD_MODEL,
		   "\"classifier.weight\" has shape [3, 40], not [4, 40]"),

	/* tokenizer_config.json */
	TOKENIZER_CONFIG("\"do_lower_case\": true", "\"do_lower_case\": 1", BAD_MODEL, "do_lower_case"),
	TOKENIZER_CONFIG("\"do_lower_case\": true", "\"do_basic_tokenize\": false", UNSUPPORTED,
					 "do_basic_tokenize"),
	TOKENIZER_CONFIG("\"[CLS]\"", "\"<s>\"", BAD_MODEL, "no special token \"<s>\""),
	TOKENIZER_CONFIG("\"[CLS]\"", "{\"content\": \"<s>\"}", BAD_MODEL, "no special token \"<s>\""),
	TOKENIZER_CONFIG("\"[CLS]\"", "{\"lstrip\": false}", BAD_MODEL, "without a name"),
	TOKENIZER_CONFIG("\"[CLS]\"", "17", BAD_MODEL, "without a name"),
	TOKENIZER_CONFIG("\"BertTokenizer\"", "\"PreTrainedTokenizerFast\"", OK, ""),
	{"span", LAT_PART_TOKENIZER_CONFIG, "\"BertTokenizer\"", "\"BertJapaneseTokenizer\"",
	LAT_UNSUPPORTED, "tokenizer_class"},

	/* tokenizer.json */
	TOKENIZER("BertNormalizer", "NFC", UNSUPPORTED, "\"normalizer\""),
	TOKENIZER("\"normalizer\": {", "\"normalizer\": null, \"x\": {", UNSUPPORTED, "\"normalizer\""),
	TOKENIZER("BertPreTokenizer", "ByteLevel", UNSUPPORTED, "\"pre_tokenizer\""),
	TOKENIZER("TemplateProcessing", "RobertaProcessing", UNSUPPORTED, "\"post_processor\""),
	TOKENIZER("\"type\": \"WordPiece\", \"unk", "\"type\": \"BPE\", \"unk", UNSUPPORTED,
			  "WordPiece"),
	TOKENIZER("\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", "
			  "\"continuing_subword_prefix\": \"##\",",
			  "", UNSUPPORTED, "WordPiece"),
	TOKENIZER("\"continuing_subword_prefix\": \"##\"", "\"continuing_subword_prefix\": \"\"",
			  UNSUPPORTED,
			  "continuing_subword_prefix"),
	TOKENIZER("\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 50", UNSUPPORTED,
			  "max_input_chars_per_word"),
	TOKENIZER("\"clean_text\": true", "\"clean_text\": false", UNSUPPORTED, "clean_text"),
	TOKENIZER("\"lstrip\": false", "\"lstrip\": true", UNSUPPORTED, "lstrip"),
	TOKENIZER("\"rstrip\": false", "\"rstrip\": true", UNSUPPORTED, "rstrip"),
	TOKENIZER("\"single_word\": false", "\"single_word\": true", UNSUPPORTED, "single_word"),
	TOKENIZER("\"normalized\": false", "\"normalized\": true", UNSUPPORTED, "normalized"),
	TOKENIZER("\"id\": 2, \"content\"", "\"id\": 3, \"content\"", BAD_MODEL,
			  "id 3 of another word"),
	TOKENIZER("\"id\": 2, \"content\"", "\"id\": -2, \"content\"", BAD_MODEL, "no number from 0"),
	TOKENIZER("\"id\": 2, \"content\"", "\"id\": 433, \"content\"", BAD_MODEL, ""),
	TOKENIZER("\"id\": 2, \"content\"", "\"id\": 2, \"text\"", BAD_MODEL, "without content"),
	TOKENIZER("\"the\": ", "\"the\": 0, \"x\": ", BAD_MODEL, "have id 0"),
	TOKENIZER("\"the\": ", "\"the\": 4.5, \"x\": ", BAD_MODEL, "no number from 0"),
	TOKENIZER("\"the\": ", "\"the\": 1000000, \"x\": ", BAD_MODEL, "no number from 0"),
	TOKENIZER("\"the\": ", "\"the\": 433, \"x\": ", BAD_MODEL, "has 434 words"),
	TOKENIZER("\"the\": ", "\"the\": 440, \"x\": ", BAD_MODEL, "id 433"),
	TOKENIZER("\"the\": ", "\"of\": ", BAD_MODEL, "\"of\" twice"),
	TOKENIZER("\"vocab\": {", "\"vocab\": [], \"x\": {", BAD_MODEL, "no \"vocab\""),
	TOKENIZER("\"model\": {", "\"x\": {", BAD_MODEL, "no \"model\""),
	TOKENIZER("\"added_tokens\": [", "\"added_tokens\": {}, \"x\": [", BAD_MODEL, "not an array"),
	TOKENIZER("\"added_tokens\": [", "\"added_tokens\": [1, ", BAD_MODEL, "not an object"),

	/* vocab.txt */
	WORDS("[CLS]\n", "[CLX]\n", BAD_MODEL, "no special token \"[CLS]\""),
	WORDS("[SEP]\n", "[SEQ]\n", BAD_MODEL, "no special token \"[SEP]\""),
	WORDS("[UNK]\n", "[UNX]\n", BAD_MODEL, "no special token \"[UNK]\""),
	WORDS("[PAD]\n", "[PAX]\n", BAD_MODEL, "no special token \"[PAD]\""),
	WORDS("[MASK]\n", "[MASX]\n", OK, ""),
	WORDS("\nthe\n", "\nthe\none_more\n", BAD_MODEL, "has 434 words"),
	WORDS("\nthe\n", "\nof\n", BAD_MODEL, "\"of\" twice"),
	WORDS("\nthe\n", "\n\xff\xfe\n", BAD_MODEL, "UTF-8"),
	WORDS("\nthe\n", "\r\nthe\r\n", OK, ""),

	/* tensors */
	WEIGHTS("\"classifier.bias\"", "\"classifier.bigs\"", BAD_MODEL,
			"no tensor \"classifier.bias\""),
	WEIGHTS("\"bert.pooler.dense.weight\"", "\"bert.pooler.dense.x\"", BAD_MODEL,
			"no tensor \"bert.pooler.dense.weight\""),
	WEIGHTS("\"shape\":[3,40]", "\"shape\":[40,3]", BAD_MODEL, "has shape [40, 3], not [3, 40]"),
	WEIGHTS("\"shape\":[3,40]", "\"shape\":[120]", BAD_MODEL, "has shape [120], not [3, 40]"),
	WEIGHTS("\"shape\":[3,40]", "\"shape\":[3,40,1]", BAD_MODEL, "has shape [3, 40, 1]"),
	WEIGHTS("\"dtype\":\"F16\",\"shape\":[3]", "\"dtype\":\"I16\",\"shape\":[3]", UNSUPPORTED,
			"dtype"),
	{"classify", LAT_PART_WEIGHTS, "embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma",
	LAT_OK, ""},
	{"embed", LAT_PART_CONFIG, "[\n    \"BertModel\"", "[\n    \"BertForQuestionAnswering\"",
	LAT_BAD_MODEL, "no tensor \"qa_outputs.weight\""},
	{"electra", LAT_PART_CONFIG, "\"embedding_size\": 24", "\"embedding_size\": 48", LAT_BAD_MODEL,
	"has shape"},
	{"distilbert", LAT_PART_CONFIG, "\"activation\": \"gelu\"", "\"activation\": \"swish\"",
	LAT_UNSUPPORTED, "swish"},
	{"distilbert", LAT_PART_CONFIG, "\"n_heads\": 4", "\"n_heads\": 5", LAT_BAD_MODEL, "multiple"},
	{"span", LAT_PART_CONFIG, "\"model_type\"", "\"num_labels\": 3, \"model_type\"", LAT_OK, ""},
	{"span", LAT_PART_CONFIG, "\"0\": \"LABEL_0\",", "\"2\": \"c\", \"0\": \"LABEL_0\",",
	LAT_BAD_MODEL,
	"\"span\" cannot have 3 labels"}
};

static void
test_edits(void)
{
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++)
	{
		const Edit *edit = &edits[i];
		char		name[300];
		Checkpoint	checkpoint;

		snprintf(name, sizeof(name), "%s, %s: %s instead of %s", edit->model,
				 lat_part_name(edit->part), edit->to, edit->from);
		checkpoint_read(&checkpoint, edit->model);
		checkpoint_replace(&checkpoint, edit->part, edit->from, edit->to);
		expect(&checkpoint, edit->status, edit->message, name);
		checkpoint_free(&checkpoint);
	}
}

/* ---- values -------------------------------------------------------------------------------- */

static void
test_values(void)
{
	static const char *const tensors[] = {
		"bert.embeddings.word_embeddings.weight", "bert.embeddings.LayerNorm.bias",
		"bert.encoder.layer.2.attention.self.key.weight", "bert.encoder.layer.3.output.dense.bias",
		"bert.pooler.dense.weight", "classifier.weight"
	};
	static const uint16_t specials[] = {0x7e00, 0xfe01, 0x7c00, 0xfc00};
	Checkpoint	checkpoint;

	for (size_t i = 0; i < sizeof(tensors) / sizeof(tensors[0]); i++)
	{
		for (size_t j = 0; j < sizeof(specials) / sizeof(specials[0]); j++)
		{
			checkpoint_read(&checkpoint, "classify");
			memcpy(checkpoint_tensor(&checkpoint, tensors[i]) + 4, &specials[j], 2);
			expect(&checkpoint, LAT_BAD_MODEL, tensors[i], "NaN or infinity in F16");
			checkpoint_free(&checkpoint);
		}
	}
	checkpoint_read(&checkpoint, "tag");
	memcpy(checkpoint_tensor(&checkpoint, "classifier.bias"), "\x80\x7f", 2);
	expect(&checkpoint, LAT_BAD_MODEL, "\"classifier.bias\" holds NaN or infinite",
		   "infinity in BF16");
	checkpoint_free(&checkpoint);
	checkpoint_read(&checkpoint, "span");
	memcpy(checkpoint_tensor(&checkpoint, "qa_outputs.weight") + 8, "\0\0\xc0\x7f", 4);
	expect(&checkpoint, LAT_BAD_MODEL, "\"qa_outputs.weight\" holds NaN or infinite", "NaN in F32");
	checkpoint_free(&checkpoint);
}

/* ---- sources ------------------------------------------------------------------------------- */

static void
test_sources(void)
{
	Checkpoint	checkpoint;
	LatPacker  *packer;
	LatError	error;
	size_t		size;
	char	   *source;

	checkpoint_read(&checkpoint, "span");
	source = checkpoint_source(&checkpoint, &size);
	CHECK(!lat_is_image(source, size) && lat_is_image("lat-pack", 8) && !lat_is_image("lat-pac", 7),
		  "sources and images are told apart");
	for (size_t cut = 0; cut < size; cut += cut < 80 ? 1 : 4099)
	{
		char	   *short_source = malloc(cut ? cut : 1);

		memcpy(short_source, source, cut);
		CHECK(lat_packer_open(&test.host, short_source, cut, LAT_INT8, &packer, &error) ==
			  LAT_BAD_MODEL && packer == NULL, "a source cut to %zu bytes is refused", cut);
		free(short_source);
	}
	for (size_t i = 0; i < 64; i++)
	{
		source[i] ^= 0x81;
		CHECK(lat_packer_open(&test.host, source, size, LAT_INT8, &packer, &error) == LAT_BAD_MODEL,
			  "a source with byte %zu flipped is refused", i);
		source[i] ^= 0x81;
	}
	free(source);
	for (int part = 0; part < LAT_PART_COUNT; part++)
	{
		bool		needed = part != LAT_PART_TOKENIZER && part != LAT_PART_TOKENIZER_CONFIG;
		Checkpoint	without = checkpoint;

		without.parts[part] = NULL;
		without.sizes[part] = 0;
		expect(&without, needed ? LAT_BAD_MODEL : LAT_OK, needed ? lat_part_name(part) : "",
			   "an absent part");
	}
	CHECK(test.live == 0, "sources leak nothing");
	checkpoint_free(&checkpoint);
}

/* ---- settings that are read ----------------------------------------------------------------- */

/* Pack fp32 and return the configuration; label 1 goes to label. */
static LatConfig
read_settings(const Checkpoint *checkpoint, char *label)
{
	LatModel	model = {.config = {.labels = 0}};
	LatError	error = {"", ""};
	size_t		size;
	void	   *image;
	LatConfig	config;

	if (!CHECK(checkpoint_pack(&test.host, checkpoint, LAT_FP32, &image, &size, &error) == LAT_OK &&
			   lat_model_open(image, size, &model, &error) == LAT_OK, "packed: %s", error.message))
		exit(check_done("checkpoint_test"));
	config = model.config;
	if (label)
	{
		size_t		bytes;
		const char *text = lat_label_text(&model, 1, &bytes);

		memcpy(label, text, bytes);
		label[bytes] = '\0';
	}
	free(image);
	return config;
}

static void
test_casing(void)
{
	static const struct
	{
		const char *casing;		/* in tokenizer_config.json; NULL: no such file */
		bool		tokenizer;	/* keep tokenizer.json, whose normalizer says cased, keep accents */
		int			lowercase;
		int			strip_accents;
		int			split_cjk;
	}			cases[] =
	{
		{"{}", false, 1, 1, 1},
		{NULL, false, 1, 1, 1},
		{NULL, true, 0, 0, 0},
		{"{}", true, 0, 0, 0},
		{"{\"do_lower_case\": true}", true, 1, 0, 0},
		{"{\"do_lower_case\": true, \"strip_accents\": null}", true, 1, 1, 0},
		{"{\"do_lower_case\": false, \"strip_accents\": null}", true, 0, 0, 0},
		{"{\"do_lower_case\": false}", false, 0, 0, 1},
		{"{\"do_lower_case\": false, \"strip_accents\": true}", false, 0, 1, 1},
		{"{\"strip_accents\": false, \"tokenize_chinese_chars\": false}", false, 1, 0, 0}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Checkpoint	checkpoint;
		LatConfig	config;

		checkpoint_read(&checkpoint, "classify");
		checkpoint_set(&checkpoint, LAT_PART_TOKENIZER_CONFIG, cases[i].casing,
					   cases[i].casing ? strlen(cases[i].casing) : 0);
		checkpoint_replace(&checkpoint, LAT_PART_TOKENIZER, "\"lowercase\": true",
						   "\"lowercase\": false");
		checkpoint_replace(&checkpoint, LAT_PART_TOKENIZER, "\"strip_accents\": null",
						   "\"strip_accents\": false");
		checkpoint_replace(&checkpoint, LAT_PART_TOKENIZER, "\"handle_chinese_chars\": true",
						   "\"handle_chinese_chars\": false");
		if (!cases[i].tokenizer)
			checkpoint_set(&checkpoint, LAT_PART_TOKENIZER, NULL, 0);
		config = read_settings(&checkpoint, NULL);
		CHECK(config.lowercase == cases[i].lowercase &&
			  config.strip_accents == cases[i].strip_accents &&
			  config.split_cjk == cases[i].split_cjk,
			  "casing of case %zu: %d %d %d", i, config.lowercase, config.strip_accents,
			  config.split_cjk);
		checkpoint_free(&checkpoint);
	}
}

static void
test_settings(void)
{
	Checkpoint	checkpoint;
	LatConfig	config;
	char		label[64];

	checkpoint_read(&checkpoint, "classify");
	checkpoint_replace(&checkpoint, LAT_PART_CONFIG, "\"neutral\"",
					   "\"na\\u00ef\\ud83d\\ude00\\n\"");
	config = read_settings(&checkpoint, label);
	CHECK(strcmp(label, "naï😀\n") == 0, "escapes in a label are decoded");
	CHECK(config.positions == 64, "truncation in tokenizer.json is no limit");
	CHECK(config.task == LAT_CLASSIFY && config.architecture == LAT_BERT && config.layers == 4 &&
		  config.heads == 4 && config.hidden == 40 && config.embedding == 40 &&
		  config.intermediate == 72 && config.vocabulary == 433 && config.segments == 2 &&
		  config.labels == 3 && config.activation == LAT_GELU &&
		  config.head_activation == LAT_TANH &&
		  config.layer_norm_eps == 1e-12f && config.hidden_dropout == 0.1f &&
		  config.attention_dropout == 0.1f && config.pad_id == 0 && config.unk_id == 1 &&
		  config.cls_id == 2 && config.sep_id == 3 && config.mask_id == 4, "BERT's configuration");
	checkpoint_free(&checkpoint);

	checkpoint_read(&checkpoint, "distilbert");
	config = read_settings(&checkpoint, label);
	CHECK(config.architecture == LAT_DISTILBERT && config.segments == 0 && config.labels == 2 &&
		  config.head_activation == LAT_RELU && strcmp(label, "LABEL_1") == 0,
		  "DistilBERT's configuration, labels without names");
	checkpoint_free(&checkpoint);

	checkpoint_read(&checkpoint, "electra");
	config = read_settings(&checkpoint, NULL);
	CHECK(config.architecture == LAT_ELECTRA && config.embedding == 24 && config.hidden == 48 &&
		  config.head_activation == LAT_GELU, "ELECTRA's configuration");
	/* A vocabulary shorter than the embedding: the rows without words go. */
	checkpoint_replace(&checkpoint, LAT_PART_VOCABULARY, "\n##en\n", "\n");
	CHECK(read_settings(&checkpoint, NULL).vocabulary == 432, "rows without words are left out");
	checkpoint_free(&checkpoint);

	checkpoint_read(&checkpoint, "span");
	config = read_settings(&checkpoint, label);
	CHECK(config.task == LAT_SPAN && strcmp(label, "end") == 0,
		  "a span's labels are start and end");
	/* Special tokens by other names. */
	checkpoint_replace(&checkpoint, LAT_PART_VOCABULARY, "[CLS]\n", "<s>\n");
	checkpoint_replace(&checkpoint, LAT_PART_TOKENIZER_CONFIG, "\"[CLS]\"",
					   "{\"content\": \"<\\u0073>\", \"lstrip\": false}");
	CHECK(read_settings(&checkpoint, NULL).cls_id == 2, "special tokens may have other names");
	checkpoint_free(&checkpoint);

	checkpoint_read(&checkpoint, "embed");
	/* Files of 2020 do not name the model's type. */
	checkpoint_replace(&checkpoint, LAT_PART_TOKENIZER, "\"type\": \"WordPiece\", \"unk", "\"unk");
	config = read_settings(&checkpoint, NULL);
	CHECK(config.task == LAT_EMBED && config.labels == 0, "a bare encoder has no labels");
	checkpoint_free(&checkpoint);
}

int
main(void)
{
	test_host_init(&test);
	test_edits();
	test_values();
	test_sources();
	test_casing();
	test_settings();
	return check_done("checkpoint_test");
}
