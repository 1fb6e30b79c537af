/*
 * run.h
 *	  Training and search as runs: long work of one owner, done by background workers.
 *
 * A run is a row of lat_run_entry (shown to users by the view lat_run).  Its
 * life, and the file of each stage:
 *
 *	the caller's session, in the caller's transaction
 *		lat_train, lat_search	run_train.c, run_search.c
 *			options		jsonb -> values, all of them checked	run_options.c
 *			query		cursor -> records, spooled				run_query.c, run_records.c
 *			tables		lat_run_entry, lat_run_data				run_store.c, run_data.c
 *		commit			a background worker is registered		run_control.c
 *	the leader, a worker connected to the database				run_worker.c
 *		data			lat_run_data -> shared block			RunJob.plan, RunJob.create
 *		team			helpers attach to the block				run_team.c
 *		steps			leader and helpers alike				RunJob.open, RunJob.step
 *			log			lat_run_log, about once a second		run_store.c
 *			checkpoint	a file, every two minutes				run_checkpoint.c
 *		end				the result is stored					RunJob.store
 *	any session
 *		lat_wait, lat_cancel, lat_resume						run_control.c
 *
 * The data query runs in the caller's session and nowhere else: so it has the
 * caller's role, search_path, snapshot, policies and temporary tables, and its
 * errors reach the caller.  What is kept of its rows are token ids, in tables,
 * so a rollback takes everything along, no worker holds a snapshot, and a run
 * that is resumed sees the same data.
 *
 * Who is who.  The leader connects without a role (a role that cannot log in
 * owns runs, too) and works as the run's owner; what it stores is stored with
 * the owner's privileges.  The tables of the runs are nobody's to write: the
 * functions of run_store.c write them as the tables' owner, as foreign keys do.
 * Helpers have shared memory only.
 *
 * Alive or not.  While a leader works it holds a session-level lock on its run
 * (LOCK_FIELD4), seen in pg_locks.  A run that says "running" with nobody
 * holding its lock was interrupted: the view lat_run says so, and lat_resume
 * continues from the latest checkpoint, or else from the beginning.
 *
 * Same bits.  All that a result depends on is in the row: the digest of the
 * base, every option (also the seed and the number of shares a batch is cut
 * into), the kernels; and in lat_run_data.  How many processes share the work
 * does not matter.
 *
 * States: queued -> running -> done | failed | cancelled, or interrupted; and
 * from failed and interrupted by lat_resume back to queued, or by lat_cancel to
 * cancelled.  done and cancelled are final, and their data are gone.
 */
#ifndef LAT_RUN_H
#define LAT_RUN_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "catalog.h"
#include "core/lat_training.h"

/* Fourth field of the lock's tag; those of users' advisory locks have 1 and 2 there. */
#define LOCK_FIELD4 0x4c41

/* ---- options (run_options.c) -------------------------------------------------------------- */

typedef enum RunOptionKind
{
	OPTION_REAL,				/* double */
	OPTION_INTEGER,				/* int32 */
	OPTION_SEED,				/* uint64, 0 .. 2^63 - 1 */
	OPTION_WORD,				/* int32, place in words */
	OPTION_TEXT					/* char *; NULL if JSON null */
} RunOptionKind;

/* One key of the options, and where its value goes. */
typedef struct RunOption
{
	const char *name;
	RunOptionKind kind;
	void	   *value;			/* of the kind's type; the default beforehand */
	double		least;			/* bounds of OPTION_REAL and OPTION_INTEGER */
	double		most;
	const char *const *words;	/* OPTION_WORD: ends with NULL */
} RunOption;

/*
 * Read what json (NULL: nothing) gives.  Unknown keys, wrong types, values out
 * of bounds: ERROR 22023.
 */
extern void run_options_read(Jsonb *json, const RunOption *options, int count);

/* All values as jsonb; run_options_read makes exactly the same values of it. */
extern Jsonb *run_options_write(const RunOption *options, int count);

/* ---- data (run_query.c, run_records.c) ---------------------------------------------------- */

/* Columns of a data query, by position. */
typedef enum RunShape
{
	SHAPE_TEXT,					/* text; also to be tagged or embedded */
	SHAPE_TEXT_LABEL,			/* text, label */
	SHAPE_PAIR,					/* text, text */
	SHAPE_PAIR_LABEL,			/* text, text, label */
	SHAPE_QUESTION,				/* question, context */
	SHAPE_QUESTION_ANSWER,		/* question, context, answer, start (int; from 1, or NULL) */
	SHAPE_WORDS_LABELS			/* text[], text[]: words and a label each */
} RunShape;

/* Why a row is not used. */
typedef enum RunSkip
{
	SKIP_NULL,					/* a NULL where there must be none */
	SKIP_EMPTY,					/* a text, or a label, without content */
	SKIP_NO_ANSWER,				/* the answer does not stand in the context, or not there */
	SKIP_LENGTHS,				/* words and labels differ in number */
	SKIP_UNKNOWN_LABEL,			/* a label that the set, which is fixed, does not hold */
	SKIP_COUNT
} RunSkip;

/* Distinct labels, in order of appearance; see run_labels_sort. */
typedef struct RunLabels
{
	int			count;
	bool		fixed;			/* no label is added any more */
	int			capacity;
	char	  **names;			/* (count) UTF-8 */
	int64	   *rows;			/* (count) rows, or words, with that label */
	struct HTAB *index;			/* name -> place */
	MemoryContext context;
} RunLabels;

extern RunLabels *run_labels_create(void);

/* A fixed set, that of a model, in the model's order. */
extern RunLabels *run_labels_of_model(const LatModel *model);

/* How to read a query. */
typedef struct RunReader
{
	const char *name;			/* of the query in messages: "data" or "dev" */
	RunShape	shape;
	const char *digest;			/* of the model whose tokenizer it is */
	int32		max_tokens;		/* texts are cut there; spans slide windows */
	RunLabels  *labels;			/* NULL: the shape has none */
} RunReader;

/*
 * What a query returned, as one record a usable row: LatExample with labels by
 * place in reader.labels; LatQuestion for the shapes with questions.
 */
typedef struct RunRows
{
	RunReader	reader;
	int64		read;			/* rows that the query returned */
	int64		usable;
	int64		truncated;		/* usable, but cut at max_tokens */
	int64		skipped[SKIP_COUNT];
	Tuplestorestate *store;		/* rows of one bytea */
	TupleDesc	type;
} RunRows;

/*
 * Run a query in the current session, as the current user, under the active
 * snapshot, and read all of it.  ERROR if it is not one SELECT with the columns
 * of the shape.
 */
extern RunRows *run_rows_read(const char *query, const RunReader *reader);

extern void run_rows_free(RunRows *rows);

/* One NOTICE with what was skipped and why, if anything was. */
extern void run_rows_report(const RunRows *rows);

/*
 * Places of the labels in the order of their names (bytes); renumber[place] is
 * a label's new place.  labels itself is left as it is.
 */
extern char **run_labels_sort(const RunLabels *labels, int32 *renumber);

/* ---- tables (run_store.c, run_data.c) ----------------------------------------------------- */

typedef enum RunPart
{
	PART_TRAIN = 0,				/* search: all of its data */
	PART_DEV = 1
} RunPart;

typedef struct RunJob RunJob;

/* What the row of a run says. */
typedef struct Run
{
	int64		id;
	Oid			owner;
	char	   *owner_name;
	TimestampTz created;		/* tells two runs with the same number apart */
	const RunJob *job;
	char	   *recorded;		/* its state in the row ... */
	char	   *state;			/* ... and as it is: interrupted, if nobody is there */
	char	   *model;
	char	   *base;			/* search: the model again */
	char		base_digest[LAT_DIGEST_LENGTH + 1];
	char	   *task;			/* "classify", "pair", ... */
	char	   *query;			/* the data query, for the record */
	Jsonb	   *options;		/* complete */
	char	   *kernels;		/* name of the kernels that compute it */
	char	  **labels;			/* (label_count) UTF-8, of the new head; NULL: the base's own */
	int			label_count;
	int32		checkpoint_interval;	/* seconds; 0: no checkpoints */
	int32		workers;		/* processes wanted */
	char	   *error_code;		/* SQLSTATE that it ended with; NULL: none, as the next three */
	char	   *error;
	char	   *error_detail;
	char	   *error_hint;
} Run;

/* Insert the row of a run, state queued, owned by the current user; sets id, owner and created. */
extern void run_insert(Run *run);

/* A seeded choice of rows: share of them, at least one if there are two. */
typedef struct RunHoldOut
{
	double		share;
	uint64		seed;
	bool		rest;			/* those not chosen */
} RunHoldOut;

/* What was stored. */
typedef struct RunStored
{
	int64		records;
	int64		bytes;
} RunStored;

/*
 * Store rows in lat_run_data: as questions (LAT_RECORD_QUESTION), or as examples,
 * windows where there are questions.  renumber: new places of the labels, or
 * NULL.  choice: NULL stores all.
 */
extern RunStored run_rows_store(const Run *run, RunPart part, RunRows *rows, LatRecordKind kind,
								const int32 *renumber, const RunHoldOut *choice);

/* Note in the row what the queries gave.  rows: (parts); stored: by part, both of them. */
extern void run_record_rows(const Run *run, RunRows *const *rows, int parts,
							const RunStored *stored);

/* Size and number of the records of a part, and all of them, end to end. */
extern RunStored run_data_size(const Run *run, RunPart part);
extern void run_data_load(const Run *run, RunPart part, void *to, size_t size);

/* ---- jobs --------------------------------------------------------------------------------- */

/* Where a run stands; NAN and 0 are unknown. */
typedef struct RunProgress
{
	const char *phase;			/* static text */
	double		epoch;
	int64		step;			/* done */
	int64		steps;			/* of the whole run */
	int64		examples;		/* computed so far; the rate is taken from it */
	double		work_left;		/* in units of the job's own, for the time of its end */
	double		loss;
	double		learning_rate;
	double		gradient_norm;
	double		quality;		/* in percent: of the model in full on dev; or of the best candidate */
	double		quality_smallest;	/* of the smallest sub-model */
	int32		candidates;		/* search */
	int32		abandoned;
	double		hypervolume;
	bool		milestone;		/* to be logged at once */
} RunProgress;

/*
 * What one kind of run does.  Errors are raised, by report_core_error or
 * otherwise; every process that fails takes the team along.
 */
struct RunJob
{
	const char *kind;			/* "train", "search": column kind */

	/*
	 * Leader, in a transaction as the run's owner: read what there is to read,
	 * and say how large the shared block is.  The result goes to create().
	 */
	void	   *(*plan) (const Run *run, size_t *bytes);

	/* Leader, in the same transaction: fill in the block (64-byte aligned, zeroed). */
	void		(*create) (const Run *run, void *plan, void *block);

	/* What a checkpoint saves between two steps, and puts back before open(). */
	void		(*state) (void *block, void **state, size_t *bytes);

	/* Every process, outside transactions; host, kernels and team outlive the result. */
	void	   *(*open) (const LatHost *host, const LatKernels *kernels, const LatTeam *team,
						 void *block);

	/*
	 * Every process: the next step, in all of them the same.  False: that was
	 * the last one, and what the whole team had to do is done.
	 */
	bool		(*step) (void *opened, RunProgress *progress);

	/*
	 * Leader, in a transaction as the run's owner, whose right to write models
	 * was checked again: store the result.  Returns its digest (palloc'd).
	 */
	char	   *(*store) (const Run *run, void *opened);
};

extern const RunJob run_train_job;	/* run_train.c */
extern const RunJob run_search_job; /* run_search.c */

/* ---- start (run_control.c) ---------------------------------------------------------------- */

/* Have the run started when the current transaction commits; see run_control.c. */
extern void run_start_at_commit(const Run *run);

/* Listen to the ends of transactions; at load of the library. */
extern void run_control_init(void);

#endif							/* LAT_RUN_H */
