/*
 * lat_training.h
 *	  The core's second public header: training with LengthDrop, and the search for configurations.
 *
 * Who only scores needs lat.h alone.  Everything here works on one block of
 * memory that several processes share (a team), laid out with offsets only:
 *
 *		base model --convert.c--> fp32 image, trained in place --convert.c--> int8 image
 *		texts --examples.c--> examples, flat bytes
 *		examples --train.c--> steps:	tape.c		forward, everything kept that backward needs
 *										backward.c	gradients, in reverse order
 *										loss.c		cross-entropy, distillation
 *										optimizer.c	clip, AdamW, learning rate
 *		model + examples --evaluate.c--> quality of one length configuration
 *										search.c	evolutionary search over configurations
 *
 * Letters for shapes are those of lat.h.  Method: Kim and Cho, "Length-Adaptive
 * Transformer", arXiv 2010.07003, sections 3 and 4.
 */
#ifndef LAT_TRAINING_H
#define LAT_TRAINING_H

#include "lat.h"

/* ---- images out of images (convert.c) ----------------------------------------------------- */

/* A head to put onto an encoder in place of its own. */
typedef struct LatNewHead
{
	LatTask		task;			/* LAT_CLASSIFY, LAT_SPAN or LAT_TAG */
	int			labels;			/* 2 for spans */
	const char *const *names;	/* (labels) UTF-8, null-terminated; not looked at for spans */
	uint64_t	seed;			/* weights ~ normal(0, 0.02) truncated at 2 sigma, biases 0 */
} LatNewHead;

/* Size of the image that lat_convert will write; 0: lat_convert will say why there is none. */
extern size_t lat_convert_size(const LatModel *base, const LatNewHead *head,
							   LatPrecision precision);

/*
 * Write base as an image of this precision, with a new head or (NULL) with its
 * own.  int8 weights become floats somewhere in their steps, to be trained, which
 * give the same codes again; fp32 from fp32 copies.  image: 64-byte aligned, of that size; it passes lat_model_verify.
 */
extern LatStatus lat_convert(const LatHost *host, const LatModel *base, const LatNewHead *head,
							 LatPrecision precision, void *image, LatError *error);

/* ---- examples (examples.c) ---------------------------------------------------------------- */

/*
 * An example as the encoder takes it.  Bytes of a record, all fields of 4 bytes:
 *
 *		tokens T, first, target[0], target[1], ids (T), and for LAT_TAG labels (T)
 */
typedef struct LatExample
{
	int32_t		tokens;			/* T */
	int32_t		first;			/* tokens of segment 0, [CLS] and [SEP] included; T: one text */
	int32_t		target[2];		/* classify: class, -1 unknown; span: first and last token of the
								 * answer, both 0 ([CLS]): not in this window */
	const int32_t *ids;			/* (T) */
	const int32_t *labels;		/* (T) LAT_TAG: label of the token, -1: does not count; else NULL */
} LatExample;

/*
 * A question over its whole context, for evaluation: windows slide over it as
 * in lat_answer_question.  Bytes of a record: start, stop, bytes of question,
 * bytes of context (4 bytes each), then the two texts, padded to 4.
 */
typedef struct LatQuestion
{
	int32_t		start;			/* the answer's first character in the context, from 0; -1 unknown */
	int32_t		stop;			/* character after its last */
	const char *question;		/* UTF-8 */
	size_t		question_bytes;
	const char *context;		/* UTF-8 */
	size_t		context_bytes;
} LatQuestion;

typedef enum LatRecordKind
{
	LAT_RECORD_EXAMPLE = 0,		/* LatExample */
	LAT_RECORD_QUESTION = 1		/* LatQuestion: evaluation of span models */
} LatRecordKind;

/* Bytes that the record will take, and writing it there (4-byte aligned). */
extern size_t lat_example_size(const LatExample *example);
extern void lat_example_write(const LatExample *example, void *to);
extern size_t lat_question_size(const LatQuestion *question);
extern void lat_question_write(const LatQuestion *question, void *to);

/* Records end to end, and where each begins. */
typedef struct LatExamples
{
	LatRecordKind kind;
	bool		tags;			/* examples carry labels */
	int32_t		count;
	void	   *bytes;			/* writable: lat_label_examples fills in unknown targets */
	size_t		size;			/* of bytes */
	uint64_t   *offsets;		/* (count) into bytes */
} LatExamples;

/*
 * Find the records: kind, bytes, size and offsets, with room for `room` of them,
 * are given, the rest is filled in.  LAT_BAD_MODEL unless they fill size exactly
 * and every token id, label and length fits the model; LAT_INTERRUPTED.
 */
extern LatStatus lat_examples_index(const LatHost *host, const LatModel *model,
									LatExamples *examples, int32_t room, LatError *error);
extern void lat_examples_get(const LatExamples *examples, int32_t i, LatExample *example);
extern void lat_questions_get(const LatExamples *examples, int32_t i, LatQuestion *question);

/* ---- teams -------------------------------------------------------------------------------- */

/*
 * Processes that work on one shared block, all calling the same functions with
 * the same arguments in the same order.  Results do not depend on their number.
 */
typedef struct LatTeam
{
	int			size;			/* processes */
	int			rank;			/* this one, 0 .. size - 1 */

	/*
	 * Return when all have called it: true.  False: somebody failed or was
	 * interrupted, and all give up.  May also not return (longjmp).  NULL: alone.
	 */
	bool		(*wait) (void *arg);
	void	   *arg;
} LatTeam;

/* ---- evaluation (evaluate.c) -------------------------------------------------------------- */

/*
 * What an example contributed to quality.  Quality over examples is
 * 2 sum(hits) / (sum(predicted) + sum(actual)): accuracy for classes (both 1),
 * F1 of evaluate-v1.1 for spans (both 1), entity F1 for tags, mean cosine for
 * embeddings (both 1).
 */
typedef struct LatOutcome
{
	float		hits;
	float		predicted;
	float		actual;
	float		multiply_adds;	/* executed, in millions */
} LatOutcome;

/*
 * Evaluate examples first .. first + count - 1 under a configuration (lengths at
 * reference_length; NULL: in full).  outcomes: (count).  references: for LAT_EMBED
 * (examples->count, H), the embeddings in full; NULL else.
 */
extern LatStatus lat_evaluate(LatEngine *engine, const LatModel *model,
							  const LatExamples *examples, int32_t first, int32_t count,
							  const int32_t *lengths, int32_t reference_length,
							  const float *references, LatOutcome *outcomes, LatError *error);

/* Targets of examples first .. first + count - 1 := what the model says in full. */
extern LatStatus lat_label_examples(LatEngine *engine, const LatModel *model,
									LatExamples *examples, int32_t first, int32_t count,
									float *references, LatError *error);

extern double lat_quality(const LatOutcome *outcomes, int32_t count);

/* 95 % bootstrap interval of lat_quality, from 1,000 draws under the seed. */
extern void lat_quality_interval(const LatOutcome *outcomes, int32_t count, uint64_t seed,
								 double *low, double *high);

/* "accuracy", "f1", or "agreement" (with the model in full) for unlabelled data. */
extern const char *lat_metric_name(LatTask task, bool labelled);

/* ---- training (train.c) ------------------------------------------------------------------- */

typedef enum LatWordMode
{
	LAT_WORDS_LAZY = 0,			/* AdamW for the rows seen; skipped decay made up in closed form */
	LAT_WORDS_FROZEN = 1,
	LAT_WORDS_DENSE = 2			/* AdamW for every row at every step, as PyTorch does */
} LatWordMode;

/* Products of linear layers that are in bf16, if the CPU has it; see training_linear_bf16.c */
typedef enum LatBf16Mode
{
	LAT_BF16_NONE = 0,
	LAT_BF16_BACKWARD = 1,		/* those of gradients; the default */
	LAT_BF16_ALL = 2			/* of the forward pass, too */
} LatBf16Mode;

#define LAT_TRAIN_PHASES 2		/* 0: fine-tuning; 1: LengthDrop */
#define LAT_MAX_SUBMODELS 8
#define LAT_MAX_RANKS 64
#define LAT_MAX_STEPS 16777216	/* each process keeps 8 bytes a step */

/* Every number of a run. lat_train_defaults fills in the paper's values. */
typedef struct LatTrainOptions
{
	double		epochs[LAT_TRAIN_PHASES];	/* 3, 5; fractions allowed; 0: no such phase */
	double		learning_rate;	/* 5e-5, highest of the linear schedule; anew in each phase */
	double		warmup;			/* 0.1, share of a phase's steps in which it rises from 0 */
	double		decay;			/* 0.01, decoupled; not for biases and LayerNorm */
	double		beta1;			/* 0.9 */
	double		beta2;			/* 0.999 */
	double		epsilon;		/* 1e-8 */
	double		clip;			/* 1.0, largest norm of the gradient; 0: no clipping */
	double		length_drop;	/* p: 0.2 at 12 layers, 0.4 at 6: min(0.5, 2.4 / L) */
	double		layer_drop;		/* 0.2, chance that a sub-model skips a layer */
	double		hidden_dropout; /* of the model's config; -1 means that */
	double		attention_dropout;	/* the same */
	int32_t		batch;			/* 32 examples a step */
	int32_t		max_tokens;		/* 384 for spans, 128 else; also the reference length N */
	int32_t		submodels;		/* 2 random ones a step, beside the full and the smallest */
	int32_t		words;			/* LatWordMode */
	int32_t		bf16;			/* LatBf16Mode */
	int32_t		reverse_kl;		/* 0: KL(full || sub); 1: KL(sub || full), as the reference code */
	int32_t		ranks;			/* shares a batch is cut into; fixes the order of all sums */
	uint64_t	seed;
} LatTrainOptions;

extern void lat_train_defaults(const LatConfig *config, LatTask task, LatTrainOptions *options);

/* LAT_BAD_ARGUMENT, naming the option, unless every value lies in its range. */
extern LatStatus lat_check_train_options(const LatTrainOptions *options, LatError *error);

/* Steps of a phase: whole batches, the last of an epoch may be smaller. */
extern double lat_phase_steps(const LatTrainOptions *options, int32_t examples, int phase);

/* LAT_BAD_ARGUMENT if so many examples make more than LAT_MAX_STEPS steps. */
extern LatStatus lat_check_train_steps(const LatTrainOptions *options, int32_t examples,
									   LatError *error);

/*
 * The shared block of a run:
 *
 *		header, options, where everything lies
 *		state			fp32 image, moments m and v, when each word row was last updated, counters:
 *						all that a checkpoint needs
 *		gradients		one buffer a rank, of the trained floats
 *		examples		records of train and dev, offsets
 *		exchange		loss and norms of the ranks, outcomes of dev
 */
typedef struct LatTrainingSizes
{
	const LatModel *base;
	const LatNewHead *head;		/* NULL: the base's own */
	size_t		train_bytes;	/* of the records */
	int32_t		train_count;
	size_t		dev_bytes;
	int32_t		dev_count;		/* 0: no dev set */
} LatTrainingSizes;

extern LatStatus lat_training_size(const LatTrainingSizes *sizes, const LatTrainOptions *options,
								   size_t *bytes, LatError *error);

/*
 * Lay out the block (64-byte aligned, zeroed) and fill in image, options and
 * state as of step 0.  The caller then copies the records to *train and *dev.
 */
extern LatStatus lat_training_create(const LatHost *host, void *block,
									 const LatTrainingSizes *sizes,
									 const LatTrainOptions *options,
									 void **train, void **dev, LatError *error);

/* What a checkpoint is: these bytes, saved between two steps and put back into an equal block. */
extern void lat_training_state(void *block, void **state, size_t *bytes);

/* A process's access to the block. */
typedef struct LatTrainer LatTrainer;

/* Index and check the records (all do), reserve scratch. Memory is the host's until close. */
extern LatStatus lat_trainer_open(const LatHost *host, const LatKernels *kernels,
								  const LatTeam *team, void *block, LatTrainer **trainer,
								  LatError *error);
extern void lat_trainer_close(LatTrainer *trainer);

/* Where a run stands. */
typedef struct LatTrainReport
{
	int32_t		phase;			/* of LAT_TRAIN_PHASES, of the step just done */
	double		epoch;			/* epochs done in this phase */
	int64_t		step;			/* steps done in all */
	int64_t		steps;			/* steps of the whole run */
	double		loss;			/* of the step just done: mean over the batch, and over n + 2 models */
	double		learning_rate;
	double		gradient_norm;	/* before clipping */
	int64_t		examples;		/* seen in this run */
	double		work_left;		/* about, in steps of the first phase, which cost less */
	bool		epoch_ended;	/* also at the end of a phase: time to evaluate */
	bool		finished;		/* no steps are left */
} LatTrainReport;

/*
 * One step of the whole team.  LAT_BAD_ARGUMENT if the loss is not finite;
 * LAT_INTERRUPTED if the team gave up.  Where none is left it only reports.
 */
extern LatStatus lat_train_step(LatTrainer *trainer, LatTrainReport *report, LatError *error);

/* Where the run stands, without a step. */
extern void lat_train_report(const LatTrainer *trainer, LatTrainReport *report);

/* Quality in full (and, in smallest, of the smallest sub-model) on dev, by the whole team. */
extern LatStatus lat_train_evaluate(LatTrainer *trainer, double *full, double *smallest,
									LatError *error);

/* Make up for decay that lazy rows have skipped; afterwards the image is the trained model. */
extern LatStatus lat_train_finish(LatTrainer *trainer, LatError *error);
extern const LatModel *lat_trainer_model(const LatTrainer *trainer);

/* ---- search (search.c) -------------------------------------------------------------------- */

/* Cost axis. */
typedef enum LatSearchCost
{
	LAT_COST_MULTIPLY_ADDS = 0,
	LAT_COST_MILLISECONDS = 1	/* of one text of N tokens, measured by rank 0 */
} LatSearchCost;

typedef struct LatSearchOptions
{
	int32_t		iterations;		/* 30 */
	int32_t		mutations;		/* 30 an iteration */
	int32_t		crossovers;		/* 30 an iteration */
	int32_t		ratios;			/* 20 constant-ratio configurations to start from */
	double		mutation;		/* 0.5, chance that a layer's length changes */
	double		length_drop;	/* p of the smallest configuration; as trained */
	int32_t		reference_length;	/* N */
	int32_t		cost;			/* LatSearchCost */
	uint64_t	seed;
} LatSearchOptions;

extern void lat_search_defaults(const LatConfig *config, LatSearchOptions *options);
extern LatStatus lat_check_search_options(const LatSearchOptions *options, LatError *error);

/* A configuration that was looked at. */
typedef struct LatCandidate
{
	int32_t		lengths[LAT_MAX_LAYERS];	/* (L) at N */
	double		fraction;		/* multiply-adds at N over those in full */
	double		mean_fraction;	/* the same over the data; NAN: abandoned */
	double		paper_fraction; /* the paper's own count, at N */
	double		milliseconds;	/* of one text of N tokens; 0: not measured */
	double		selection;		/* quality on the half that selects; abandoned: as estimated */
	double		quality;		/* quality on the other half, for the frontier and in full; NAN else */
	double		quality_low;
	double		quality_high;
	int32_t		evaluated;		/* examples of the selecting half it was tried on */
	bool		abandoned;		/* given up early: clearly dominated */
	bool		frontier;		/* on the Pareto frontier of (cost, selection) */
} LatCandidate;

typedef struct LatSearcher LatSearcher;

/* Size of the shared block for a search over that many records of that many bytes. */
extern LatStatus lat_search_size(const LatModel *model, const LatSearchOptions *options,
								 size_t record_bytes, int32_t count, size_t *bytes,
								 LatError *error);

/* Lay out the block; the caller copies the records to *records, then all open it. */
extern LatStatus lat_search_create(void *block, const LatModel *model,
								   const LatSearchOptions *options, LatRecordKind kind,
								   size_t record_bytes, int32_t count, bool labelled,
								   void **records, LatError *error);

/* A checkpoint, as in lat_training_state: taken between two iterations. */
extern void lat_search_state(void *block, void **state, size_t *bytes);

extern LatStatus lat_searcher_open(const LatHost *host, const LatKernels *kernels,
								   const LatTeam *team, const LatModel *model, void *block,
								   LatSearcher **searcher, LatError *error);
extern void lat_searcher_close(LatSearcher *searcher);

/*
 * A clock in milliseconds.  With it the frontier's milliseconds are measured at the end; with
 * LAT_COST_MILLISECONDS every candidate's, and then there must be one.
 */
extern void lat_searcher_set_clock(LatSearcher *searcher, double (*clock) (void));

typedef struct LatSearchReport
{
	int32_t		iteration;		/* done; 0: only the configurations to start from */
	int32_t		iterations;
	int32_t		candidates;		/* distinct configurations so far */
	int32_t		abandoned;
	int64_t		examples;		/* evaluated so far, over all candidates */
	double		hypervolume;	/* area under the frontier on the selecting half: how it converges */
	bool		finished;
} LatSearchReport;

/* The next iteration, by the whole team; the last one also measures the frontier's quality. */
extern LatStatus lat_search_step(LatSearcher *searcher, LatSearchReport *report,
								 LatError *error);
extern void lat_search_report(const LatSearcher *searcher, LatSearchReport *report);

/* All candidates, in the order they were met, the first in full; *count of them. */
extern const LatCandidate *lat_search_candidates(const LatSearcher *searcher, int32_t *count);

#endif							/* LAT_TRAINING_H */
