/*
 * result_rows.h
 *	  Rows of a set-returning function, gathered in a tuplestore.
 */
#ifndef LAT_RESULT_ROWS_H
#define LAT_RESULT_ROWS_H

#include "fmgr.h"
#include "funcapi.h"

typedef struct ResultRows
{
	Tuplestorestate *store;
	TupleDesc	type;
} ResultRows;

/* Prepare the call's result; the function then puts its rows and returns (Datum) 0. */
extern void result_begin(FunctionCallInfo fcinfo, ResultRows *rows);
extern void result_put(ResultRows *rows, const Datum *values, const bool *nulls);

#endif							/* LAT_RESULT_ROWS_H */
