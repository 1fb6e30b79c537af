/*
 * statement.c
 *	  SQL statements on the extension's own tables.
 */
#include "postgres.h"

#include <math.h>

#include "catalog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "statement.h"
#include "utils/builtins.h"

void
add_argument(Arguments *arguments, Oid type, Datum value, bool is_null)
{
	Assert(arguments->count < STATEMENT_ARGUMENTS);
	arguments->types[arguments->count] = type;
	arguments->values[arguments->count] = value;
	arguments->nulls[arguments->count] = is_null ? 'n' : ' ';
	arguments->count++;
}

void
add_text(Arguments *arguments, const char *text)
{
	add_argument(arguments, TEXTOID, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

void
add_int(Arguments *arguments, int32 value)
{
	add_argument(arguments, INT4OID, Int32GetDatum(value), false);
}

void
add_bigint(Arguments *arguments, int64 value)
{
	add_argument(arguments, INT8OID, Int64GetDatum(value), false);
}

void
add_real(Arguments *arguments, double value)
{
	add_argument(arguments, FLOAT8OID, Float8GetDatum(value), isnan(value));
}

static uint64
execute(const char *statement, Arguments *arguments, bool read_only)
{
	char	   *schema = catalog_schema();
	char	   *sql = psprintf(statement, schema);
	int			result;

	result = SPI_execute_with_args(sql, arguments->count, arguments->types, arguments->values,
								   arguments->nulls, read_only, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(result));
	return SPI_processed;
}

uint64
run_sql(const char *statement, Arguments *arguments)
{
	return execute(statement, arguments, false);
}

uint64
read_sql(const char *statement, Arguments *arguments)
{
	return execute(statement, arguments, true);
}

uint64
run_sql_with_text(const char *statement, const char *text)
{
	Arguments	arguments = {0};

	add_text(&arguments, text);
	return run_sql(statement, &arguments);
}
