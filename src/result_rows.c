/*
 * result_rows.c
 *	  Rows of a set-returning function, gathered in a tuplestore.
 *
 * PostgreSQL has a helper for this since 15 only; these few lines serve all.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "result_rows.h"
#include "utils/tuplestore.h"

void
result_begin(FunctionCallInfo fcinfo, ResultRows *rows)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old_context;

	if (info == NULL || !IsA(info, ReturnSetInfo) || !(info->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	old_context = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);

	/* To ask the catalogs at each call would leave garbage in the query's memory. */
	if (info->expectedDesc)
		rows->type = info->expectedDesc;
	else if (get_call_result_type(fcinfo, NULL, &rows->type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rows->type = CreateTupleDescCopy(rows->type);
	rows->store = tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0,
										false, work_mem);
	MemoryContextSwitchTo(old_context);
	info->returnMode = SFRM_Materialize;
	info->setResult = rows->store;
	info->setDesc = rows->type;
}

void
result_put(ResultRows *rows, const Datum *values, const bool *nulls)
{
	tuplestore_putvalues(rows->store, rows->type, unconstify(Datum *, values),
						 unconstify(bool *, nulls));
}
