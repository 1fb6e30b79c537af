/*
 * statement.h
 *	  SQL statements on the extension's own tables.
 *
 * In every statement %1$s stands for the extension's schema; all other names
 * are qualified in full.  SPI must be connected.
 */
#ifndef LAT_STATEMENT_H
#define LAT_STATEMENT_H

#include "postgres.h"

#define STATEMENT_ARGUMENTS 40

/* Arguments of a statement. Zero it first. */
typedef struct Arguments
{
	int			count;
	Oid			types[STATEMENT_ARGUMENTS];
	Datum		values[STATEMENT_ARGUMENTS];
	char		nulls[STATEMENT_ARGUMENTS];
} Arguments;

extern void add_argument(Arguments *arguments, Oid type, Datum value, bool is_null);
extern void add_text(Arguments *arguments, const char *text);	/* NULL: null */
extern void add_int(Arguments *arguments, int32 value);
extern void add_bigint(Arguments *arguments, int64 value);
extern void add_real(Arguments *arguments, double value);	/* NAN: null */

/* Run a statement; returns the rows it met. */
extern uint64 run_sql(const char *statement, Arguments *arguments);

/* The same, reading only, under the active snapshot. */
extern uint64 read_sql(const char *statement, Arguments *arguments);

/* A statement whose only argument is one text. */
extern uint64 run_sql_with_text(const char *statement, const char *text);

#endif							/* LAT_STATEMENT_H */
