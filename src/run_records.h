/*
 * run_records.h
 *	  Rows of a data query become records of the core.
 */
#ifndef LAT_RUN_RECORDS_H
#define LAT_RUN_RECORDS_H

#include "run.h"

#define RECORD_COLUMNS 4		/* at most, of all shapes */

typedef struct RecordMaker RecordMaker;

/* Begin to add records to rows->store.  Everything goes with the current memory context. */
extern RecordMaker *record_begin(RunRows *rows);

/* The tokenizer to use until it is set anew. */
extern void record_use_model(RecordMaker *maker, const LatModel *model);

/* Add a row of the query, or count why it is left out. */
extern void record_add(RecordMaker *maker, const Datum *values, const bool *nulls);

extern void record_end(RecordMaker *maker);

/* Takes the example of a window. */
typedef void (*WindowSink) (void *arg, const LatExample *window);

/* Cut a question (a record of LatQuestion) into windows; returns their number. */
extern int64 record_cut_windows(const LatModel *model, const LatQuestion *question,
								int32 max_tokens, WindowSink sink, void *arg);

#endif							/* LAT_RUN_RECORDS_H */
