/*
 * run_options.c
 *	  Options of a run: from jsonb to values, and back.
 *
 * What the user gives is checked against a table of RunOption; what is kept
 * with the run is a jsonb object with every option, given or not, and that is
 * what the workers read.  So both ways must agree to the bit: reals are written
 * with the fewest digits that read back as the same number, and numeric keeps
 * every digit.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "lib/stringinfo.h"
#include "run.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

/* "a, b, c" of the keys, for hints. */
static char *
list_options(const RunOption *options, int count)
{
	StringInfoData list;
	int			i;

	initStringInfo(&list);
	for (i = 0; i < count; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "", options[i].name);
	return list.data;
}

static char *
list_words(const RunOption *option)
{
	StringInfoData list;
	const char *const *word;

	initStringInfo(&list);
	for (word = option->words; *word; word++)
		appendStringInfo(&list, "%s\"%s\"", word > option->words ? ", " : "", *word);
	return list.data;
}

/* What an option may be. */
static char *
describe_range(const RunOption *option)
{
	switch (option->kind)
	{
		case OPTION_REAL:
			return psprintf("a number from %g to %g", option->least, option->most);
		case OPTION_INTEGER:
			return psprintf("a whole number from %g to %g", option->least, option->most);
		case OPTION_SEED:
			return pstrdup("a whole number from 0 to 9223372036854775807");
		case OPTION_WORD:
			return psprintf("one of %s", list_words(option));
		case OPTION_TEXT:
			break;
	}
	return pstrdup("a string, or null");
}

static void __attribute__((noreturn))
report_value(const RunOption *option)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value of option \"%s\"", option->name),
			 errhint("It must be %s.", describe_range(option))));
}

/* ---- reading ------------------------------------------------------------------------------ */

static char *
numeric_text(const JsonbValue *value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
}

static double
read_real(const RunOption *option, const JsonbValue *value)
{
	double		real;

	if (value->type != jbvNumeric)
		report_value(option);
	real = strtod(numeric_text(value), NULL);	/* too large: infinite, and out of range */

	/* written so that NaN fails */
	if (!(real >= option->least && real <= option->most))
		report_value(option);
	return real;
}

/* A whole number without sign, as the digits that it is written in. */
static uint64
read_seed(const RunOption *option, const JsonbValue *value)
{
	char	   *text;
	char	   *end;
	uint64		seed;

	if (value->type != jbvNumeric)
		report_value(option);
	text = numeric_text(value);
	errno = 0;
	seed = strtoull(text, &end, 10);
	if (*end != '\0' || *text == '-' || errno != 0 || seed > (uint64) PG_INT64_MAX)
		report_value(option);
	return seed;
}

static int32
read_word(const RunOption *option, const JsonbValue *value)
{
	int32		i;

	for (i = 0; value->type == jbvString && option->words[i]; i++)
	{
		if (strlen(option->words[i]) == (size_t) value->val.string.len &&
			memcmp(option->words[i], value->val.string.val, value->val.string.len) == 0)
			return i;
	}
	report_value(option);
}

static void
read_value(const RunOption *option, const JsonbValue *value)
{
	double		real;

	switch (option->kind)
	{
		case OPTION_REAL:
			*(double *) option->value = read_real(option, value);
			break;
		case OPTION_INTEGER:
			real = read_real(option, value);
			if (real != rint(real))
				report_value(option);
			*(int32 *) option->value = (int32) real;
			break;
		case OPTION_SEED:
			*(uint64 *) option->value = read_seed(option, value);
			break;
		case OPTION_WORD:
			*(int32 *) option->value = read_word(option, value);
			break;
		case OPTION_TEXT:
			if (value->type != jbvString && value->type != jbvNull)
				report_value(option);
			*(char **) option->value = value->type == jbvNull ? NULL
				: pnstrdup(value->val.string.val, value->val.string.len);
			break;
	}
}

static const RunOption *
find_option(const JsonbValue *key, const RunOption *options, int count)
{
	int			i;

	for (i = 0; i < count; i++)
	{
		if (strlen(options[i].name) == (size_t) key->val.string.len &&
			memcmp(options[i].name, key->val.string.val, key->val.string.len) == 0)
			return &options[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown option \"%s\"",
					pnstrdup(key->val.string.val, key->val.string.len)),
			 errhint("The options are: %s.", list_options(options, count))));
}

void
run_options_read(Jsonb *json, const RunOption *options, int count)
{
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (json == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object"),
				 errhint("Like {\"seed\": 1}. The options are: %s.",
						 list_options(options, count))));
	iterator = JsonbIteratorInit(&json->root);

	/* after a key comes its value; what is nested comes as one, of type jbvBinary */
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			const RunOption *option = find_option(&value, options, count);

			(void) JsonbIteratorNext(&iterator, &value, true);
			read_value(option, &value);
		}
	}
}

/* ---- writing ------------------------------------------------------------------------------ */

static void
append_value(StringInfo json, const RunOption *option)
{
	char		real[DOUBLE_SHORTEST_DECIMAL_LEN];

	switch (option->kind)
	{
		case OPTION_REAL:
			(void) double_to_shortest_decimal_buf(*(double *) option->value, real);
			appendStringInfoString(json, real);
			break;
		case OPTION_INTEGER:
			appendStringInfo(json, "%d", *(int32 *) option->value);
			break;
		case OPTION_SEED:
			appendStringInfo(json, UINT64_FORMAT, *(uint64 *) option->value);
			break;
		case OPTION_WORD:
			escape_json(json, option->words[*(int32 *) option->value]);
			break;
		case OPTION_TEXT:
			if (*(char **) option->value)
				escape_json(json, *(char **) option->value);
			else
				appendStringInfoString(json, "null");
			break;
	}
}

Jsonb *
run_options_write(const RunOption *options, int count)
{
	StringInfoData json;
	int			i;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (i = 0; i < count; i++)
	{
		appendStringInfo(&json, "%s\"%s\": ", i ? ", " : "", options[i].name);
		append_value(&json, &options[i]);
	}
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
