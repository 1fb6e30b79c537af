/*
 * call.h
 *	  One call of a scoring function: model, length configuration, texts, encoder.
 *
 * Every SQL function that scores goes the same way:
 *
 *		call_begin		call.c		which model, which Pareto point; scratch memory
 *		call_tokenize	call_text.c	argument -> tokens, reading no more of it than needed
 *		call_forward	call_forward.c	tokens -> logits, out of the memo if they are in it
 *		call_end		call.c		everything but the result is given back
 *
 * From call_begin to call_end the current memory context is the call's own.  A
 * result is built in call->caller.  After an error the call's context goes
 * with its parent, and takes the state of the engine along.
 */
#ifndef LAT_CALL_H
#define LAT_CALL_H

#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/array.h"

#include "catalog.h"
#include "model_cache.h"
#include "settings.h"

/* What decides which rows a statement sees; see snapshot_key_take. */
typedef struct SnapshotKey
{
	TransactionId xmin;
	TransactionId xmax;
	uint32		xcnt;
	int32		subxcnt;
	CommandId	curcid;
	SubTransactionId subtransaction;
	TimestampTz transaction;
	bool		suboverflowed;
	bool		recovery;
	bool		usable;			/* false: compare with nothing */
} SnapshotKey;

/* What a function asks of a model, and where its arguments are; -1: it has none. */
typedef struct CallRequest
{
	const char *task;			/* whose default NULL names; NULL: any task will do */
	int			budget;
	int			model;
	bool		only_tokens;		/* no pass: the model's smallest form will do */
} CallRequest;

typedef struct CallSite CallSite;	/* what fn_extra keeps */

typedef struct Call
{
	CallSite   *site;
	const LatModel *model;
	const char *name;			/* the model's */
	const char *digest;
	LatPrecision precision;
	const int32_t *lengths;		/* (L) at reference_length; NULL: in full */
	int32_t		reference_length;
	LatEngine  *engine;
	LatHost		host;			/* memory of the call */
	MemoryContext context;		/* of the call */
	MemoryContext caller;		/* of the result */
} Call;

/* A text argument, as far as it has been read. */
typedef struct CallText
{
	Datum		datum;
	const char *bytes;			/* in the server encoding */
	size_t		size;
	bool		whole;			/* that is all of it */
	struct varlena *copy;		/* what bytes lie in, unless in the argument itself */
	LatTokens	tokens;
} CallText;

/* A place in a text, going forward. */
typedef struct TextCursor
{
	const CallText *text;
	size_t		byte;
	int32		code_point;		/* as the core counts */
	int32		character;		/* as substring() counts, from 0 */
} TextCursor;

/* One sequence for the encoder. */
typedef struct CallSequence
{
	LatInput	input;
	const int32_t *lengths;		/* (L) absolute; NULL: in full */
	bool		cls_only;
	LatTrace   *trace;			/* NULL: not wanted */
} CallSequence;

extern void snapshot_key_take(SnapshotKey *key);
extern bool snapshot_key_equal(const SnapshotKey *a, const SnapshotKey *b);

/* ERROR 22023 unless 0 < budget <= 1; returns it clipped to lat.max_budget. */
extern double clip_budget(double budget);

extern void call_begin(Call *call, FunctionCallInfo fcinfo, const CallRequest *request);
extern void call_end(Call *call);

/* Row type of the function, kept with the call site. */
extern TupleDesc call_row_type(Call *call, FunctionCallInfo fcinfo);

/* Read and tokenize the argument until there are `limit` tokens; LAT_ALL_TOKENS: the whole text. */
#define LAT_ALL_TOKENS PG_INT32_MAX
extern void call_tokenize(Call *call, CallText *text, int32 limit);

/* Make the whole argument available in text->bytes. */
extern void call_read_whole(CallText *text);

/* Input of one text or of a pair (second argument NULL: one text), cut to the model's maximum. */
extern void call_build_input(Call *call, CallText *first, CallText *second, LatInput *input);

/* The same, cut to `most` tokens.  Needs a call's host and model only. */
extern void call_build_input_within(Call *call, CallText *first, CallText *second, int32 most,
									LatInput *input);

extern void cursor_begin(TextCursor *cursor, const CallText *text);
extern void cursor_move(TextCursor *cursor, int32 code_point);

/* A piece of the text, in the current memory context. */
extern text *cut_text(const TextCursor *start, const TextCursor *stop);

/* UTF-8 of the core to the server encoding; what that lacks is written \uXXXX. */
extern text *text_from_utf8(const char *utf8, size_t bytes);

/* The core's name for a task, label and so on, compared with a value of the server encoding. */
extern bool text_equals_utf8(const text *value, const char *utf8, size_t bytes);

/* Tokens that each layer keeps of T under the call's configuration; NULL: in full. */
extern const int32_t *call_lengths(Call *call, int32 tokens);

/* The head's output for a sequence, in the call's memory; *count is the number of floats. */
extern const float *call_forward(Call *call, const CallSequence *sequence, size_t *count);

/* The rule of most functions: logits of the argument(s) under the call's configuration. */
extern const float *call_logits(Call *call, CallText *first, CallText *second);

/* real[] of these values, in the current memory context. */
extern ArrayType *real_array(const float *values, size_t count);

#endif							/* LAT_CALL_H */
