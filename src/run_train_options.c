/*
 * run_train_options.c
 *	  Options of lat_train: every number of the method, the paper's values by default.
 */
#include "postgres.h"

#include "common/shortest_dec.h"
#include "run_train.h"
#include "settings.h"

static const char *const word_modes[] = {
	[LAT_WORDS_LAZY] = "lazy",
	[LAT_WORDS_FROZEN] = "frozen",
	[LAT_WORDS_DENSE] = "dense",
	NULL
};

/* A CPU without products in bf16 makes them in f32, whatever is chosen. */
static const char *const bf16_modes[] = {
	[LAT_BF16_NONE] = "none",
	[LAT_BF16_BACKWARD] = "backward",
	[LAT_BF16_ALL] = "all",
	NULL
};

static const char *const directions[] = {"forward", "reverse", NULL};

#define MAX_OPTIONS 32
#define REAL(name, field, least, most) \
	table[n++] = (RunOption) {name, OPTION_REAL, &options->field, least, most, NULL}
#define INTEGER(name, field, least, most) \
	table[n++] = (RunOption) {name, OPTION_INTEGER, &options->field, least, most, NULL}
#define WORD(name, field, words) \
	table[n++] = (RunOption) {name, OPTION_WORD, &options->field, 0, 0, words}

/* Bounds as in the core (lat_check_train_options), which does not know the names. */
static int
list_options(TrainOptions *options, RunOption *table)
{
	int			n = 0;

	REAL("epochs", core.epochs[0], 0, 10000);
	REAL("lengthdrop_epochs", core.epochs[1], 0, 10000);
	INTEGER("batch", core.batch, 1, 4096);
	INTEGER("max_length", core.max_tokens, 8, LAT_MAX_POSITIONS);
	REAL("learning_rate", core.learning_rate, 0, 0.5);
	REAL("warmup", core.warmup, 0, 1);
	REAL("weight_decay", core.decay, 0, 1);
	REAL("beta1", core.beta1, 0, 0.999999);
	REAL("beta2", core.beta2, 0, 0.999999);
	REAL("epsilon", core.epsilon, 1e-12, 1);
	REAL("clip", core.clip, 0, 1e6);
	REAL("dropout", core.hidden_dropout, 0, 0.9);
	REAL("attention_dropout", core.attention_dropout, 0, 0.9);
	REAL("length_drop", core.length_drop, 0, 0.9);
	REAL("layer_drop", core.layer_drop, 0, 0.9);
	INTEGER("submodels", core.submodels, 0, LAT_MAX_SUBMODELS);
	WORD("distillation", core.reverse_kl, directions);
	WORD("embeddings", core.words, word_modes);
	WORD("bf16", core.bf16, bf16_modes);
	table[n++] = (RunOption) {"seed", OPTION_SEED, &options->core.seed, 0, 0, NULL};
	table[n++] = (RunOption) {"dev", OPTION_TEXT, &options->dev, 0, 0, NULL};
	REAL("hold_out", hold_out, 0, 0.9);
	INTEGER("workers", workers, 1, LAT_MAX_RANKS);
	INTEGER("checkpoint_interval", checkpoint_interval, 0, 86400);
	Assert(n <= MAX_OPTIONS);
	return n;
}

/* The double that is written like this float: 0.1, not 0.10000000149011612. */
static double
as_written(float value)
{
	char		text[FLOAT_SHORTEST_DECIMAL_LEN];

	(void) float_to_shortest_decimal_buf(value, text);
	return strtod(text, NULL);
}

static void
set_defaults(const LatConfig *base, LatTask task, TrainOptions *options)
{
	memset(options, 0, sizeof(TrainOptions));
	lat_train_defaults(base, task, &options->core);
	if (options->core.hidden_dropout < 0)
		options->core.hidden_dropout = as_written(base->hidden_dropout);
	if (options->core.attention_dropout < 0)
		options->core.attention_dropout = as_written(base->attention_dropout);
	options->hold_out = 0.05;
	options->workers = Min(setting_train_workers, LAT_MAX_RANKS);
	options->checkpoint_interval = 120;
}

void
train_options_read(const LatConfig *base, LatTask task, Jsonb *json, TrainOptions *options)
{
	RunOption	table[MAX_OPTIONS];
	LatError	error;
	LatStatus	status;

	set_defaults(base, task, options);
	run_options_read(json, table, list_options(options, table));
	options->core.ranks = options->workers;
	status = lat_check_train_options(&options->core, &error);
	if (status != LAT_OK)
		report_core_error(status, &error);
	if (options->core.max_tokens > base->positions)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"max_length\" is %d, more than the base model's %d tokens",
						options->core.max_tokens, base->positions)));
}

Jsonb *
train_options_write(TrainOptions *options)
{
	RunOption	table[MAX_OPTIONS];

	return run_options_write(table, list_options(options, table));
}
