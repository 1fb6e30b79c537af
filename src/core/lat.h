/*
 * lat.h
 *	  The public face of the core: a text encoder with length-adaptive inference.
 *
 * The core is plain C.  It knows nothing of PostgreSQL, allocates only through
 * the host that is handed to it, never exits and never jumps; it returns a
 * status and fills in an error text.
 *
 * A text goes through these stages, one file each:
 *
 *		bytes --wordpiece.c--> tokens --input.c--> ids with [CLS] and [SEP]
 *			  --forward.c--> hidden states --heads.c--> logits --answers.c--> labels, spans
 *
 * and a model comes this way:
 *
 *		checkpoint files --source.c--> one byte string --pack.c--> image --format.c--> LatModel
 *
 * Letters for shapes, used in every comment:
 *
 *		T  tokens of one sequence		S  tokens of all sequences of a batch
 *		H  hidden size					Hp H rounded up to 16
 *		E  embedding size				I  intermediate (feed-forward) size
 *		A  attention heads				D  H / A, size of one head
 *		L  layers						V  vocabulary size
 *		N  reference length of a length configuration (and, in a GEMM, its columns)
 *		M, K  rows and depth of a GEMM
 *
 * Method: Kim and Cho, "Length-Adaptive Transformer", arXiv 2010.07003.
 */
#ifndef LAT_H
#define LAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- status and host ---------------------------------------------------------------------- */

typedef enum LatStatus
{
	LAT_OK = 0,
	LAT_NO_MEMORY,				/* the host's allocator returned NULL */
	LAT_INTERRUPTED,			/* the host's interrupted() returned true */
	LAT_BAD_ARGUMENT,			/* the caller's arguments do not fit the model */
	LAT_BAD_TEXT,				/* a text is not valid UTF-8 */
	LAT_BAD_MODEL,				/* a checkpoint or an image is damaged or inconsistent */
	LAT_UNSUPPORTED				/* sound, but nothing that lat can run */
} LatStatus;

/* What went wrong, and what to do about it; hint may be empty. Both are UTF-8. */
typedef struct LatError
{
	char		message[512];
	char		hint[512];
} LatError;

/*
 * What the surroundings provide.  interrupted() is asked at most 20 ms apart
 * under any kernel set; it may also not return at all (PostgreSQL's longjmp):
 * the core holds nothing at that point but memory of this host.  alloc()
 * returns NULL when there is none, and need not align beyond 16 bytes.
 */
typedef struct LatHost
{
	void	   *(*alloc) (void *arg, size_t size);
	void		(*release) (void *arg, void *pointer);	/* NULL pointers are ignored */
	bool		(*interrupted) (void *arg);
	void	   *arg;
} LatHost;

/* Fill in *error (if not NULL) and return the status: `return lat_fail(...)`. */
extern LatStatus lat_fail(LatError *error, LatStatus status, const char *message, ...)
			__attribute__((format(printf, 3, 4)));

/* Add the hint to what lat_fail has written. Returns the status it is handed. */
extern LatStatus lat_hint(LatError *error, LatStatus status, const char *hint, ...)
			__attribute__((format(printf, 3, 4)));

/* ---- model -------------------------------------------------------------------------------- */

typedef enum LatArchitecture
{
	LAT_BERT = 0,				/* BERT, MiniLM, TinyBERT */
	LAT_ELECTRA = 1,			/* embeddings of their own size, projected */
	LAT_DISTILBERT = 2			/* no segments, no pooler */
} LatArchitecture;

typedef enum LatTask
{
	LAT_CLASSIFY = 0,			/* SequenceClassification; serves pairs as well */
	LAT_SPAN = 1,				/* QuestionAnswering */
	LAT_TAG = 2,				/* TokenClassification */
	LAT_EMBED = 3				/* the bare encoder */
} LatTask;

typedef enum LatActivation
{
	LAT_IDENTITY = 0,
	LAT_GELU = 1,				/* x * Phi(x), by erf */
	LAT_RELU = 2,
	LAT_TANH = 3
} LatActivation;

typedef enum LatPrecision
{
	LAT_FP32 = 0,
	LAT_INT8 = 1
} LatPrecision;

/* All that the packed image's header says of the model. Every field is 4 bytes, little-endian. */
typedef struct LatConfig
{
	int32_t		architecture;	/* LatArchitecture */
	int32_t		task;			/* LatTask */
	int32_t		layers;			/* L, 1 .. LAT_MAX_LAYERS */
	int32_t		heads;			/* A */
	int32_t		hidden;			/* H, a multiple of A, up to LAT_MAX_HIDDEN */
	int32_t		embedding;		/* E; not H only in ELECTRA */
	int32_t		intermediate;	/* I, up to LAT_MAX_INTERMEDIATE */
	int32_t		vocabulary;		/* V, up to LAT_MAX_VOCABULARY */
	int32_t		positions;		/* the longest input in tokens, special tokens included */
	int32_t		segments;		/* rows of the segment embedding; 0: none (DistilBERT) */
	int32_t		labels;			/* columns of the head's output; 2 for spans, 0 for LAT_EMBED */
	int32_t		activation;		/* LatActivation of the feed-forward block */
	int32_t		head_activation;	/* of the dense layer before a classifier; LAT_IDENTITY: no such layer */
	float		layer_norm_eps;
	float		hidden_dropout; /* for training */
	float		attention_dropout;	/* for training */
	int32_t		lowercase;		/* tokenizer: 1 for uncased models */
	int32_t		strip_accents;	/* tokenizer: 0 or 1 (never "as lowercase": resolved at import) */
	int32_t		split_cjk;		/* tokenizer: spaces around CJK ideographs */
	int32_t		pad_id;
	int32_t		unk_id;
	int32_t		cls_id;
	int32_t		sep_id;
	int32_t		mask_id;		/* -1: none */
} LatConfig;

#define LAT_MAX_LAYERS 64
#define LAT_MAX_HIDDEN 4096
#define LAT_MAX_INTERMEDIATE 16384
#define LAT_MAX_VOCABULARY 1000000
#define LAT_MAX_POSITIONS 8192
#define LAT_MAX_LABELS 4096

/* A weight matrix with its bias, y = x W + b, inside an image. Layouts: see format.h. */
typedef struct LatLinear
{
	int32_t		layout;			/* LatPrecision of the weights */
	int32_t		k;				/* depth: input size */
	int32_t		k_padded;		/* rounded up to 64 (int8); k (fp32) */
	int32_t		n;				/* columns: output size, Q, K and V each padded (see format.h) */
	int32_t		n_padded;		/* rounded up to 16 */
	int32_t		levels;			/* int8: activations are coded 0 .. levels (127) */
	const void *weights;		/* int8: s8 (Np/16, Kp/4, 16, 4); fp32: f32 (Np/16, K, 16) */
	const int32_t *column_sums; /* int8: (Np), sum over k of the column's weights */
	const float *scales;		/* int8: (Np), weight = code * scale */
	const float *bias;			/* (Np), zero in the padding */
} LatLinear;

typedef struct LatNorm
{
	const float *gamma;			/* (Hp), zero in the padding */
	const float *beta;			/* (Hp), zero in the padding */
} LatNorm;

typedef struct LatEmbedding
{
	int32_t		precision;		/* LatPrecision of the codes */
	int32_t		rows;
	int32_t		stride;			/* elements a row: H (or E) rounded up to 16 */
	const void *codes;			/* s8 or f32 (rows, stride) */
	const float *scales;		/* int8: (rows); NULL in fp32 */
} LatEmbedding;

typedef struct LatLayer
{
	LatLinear	qkv;			/* Q in columns 0 .., K from Hp, V from 2 Hp; n = 3 Hp */
	LatLinear	attention_output;
	LatNorm		attention_norm;
	LatLinear	feed_forward_in;
	LatLinear	feed_forward_out;
	LatNorm		output_norm;
} LatLayer;

/* The word list and the trie over it; see vocabulary.c for the bytes. */
typedef struct LatVocabulary
{
	const uint8_t *section;		/* start of the section in the image */
	size_t		size;			/* of the section, in bytes */
	const uint32_t *offsets;	/* (V + 1) into bytes */
	const char *bytes;			/* the tokens' text, end to end */
	int32_t		count;			/* V */
	const void *trie;			/* vocabulary.c knows its nodes */
	uint32_t	trie_nodes;
	const void *added;			/* tokens matched in the raw text, "[SEP]" and the like */
	uint32_t	added_count;
} LatVocabulary;

/* A packed model, opened: pointers into an image that must outlive it. Read-only, shareable. */
typedef struct LatModel
{
	const uint8_t *image;
	size_t		image_size;
	LatPrecision precision;
	LatConfig	config;
	LatVocabulary vocabulary;
	LatEmbedding words;			/* (V, E) */
	LatEmbedding positions;		/* (positions, E) */
	LatEmbedding segments;		/* (segments, E); rows 0: none */
	LatNorm		embedding_norm;
	LatLinear	embedding_projection;	/* E to H; weights NULL: none */
	LatLinear	head_dense;		/* H to H; weights NULL: none */
	LatLinear	head_output;	/* H to labels; weights NULL: none */
	const uint32_t *label_offsets;	/* (labels + 1) into label_bytes */
	const char *label_bytes;	/* label names in UTF-8, end to end */
	LatLayer	layers[LAT_MAX_LAYERS];
} LatModel;

/* Columns of the head's output a row: labels, or H for LAT_EMBED. */
extern int	lat_output_columns(const LatModel *model);

/* SQL's word for a task ("classify", "span", "tag", "embed"), an architecture or a precision. */
extern const char *lat_task_name(LatTask task);
extern const char *lat_architecture_name(LatArchitecture architecture);
extern const char *lat_precision_name(LatPrecision precision);

/* ---- source: what is stored, and hashed (source.c) ---------------------------------------- */

/*
 * The stored content of a model is one byte string, of one of two kinds: the
 * files of a checkpoint, end to end behind a small header ("source"), or a
 * packed image (int8: the shipped models; fp32: trained ones).  Its sha256 is
 * the model's identity.
 */
typedef enum LatSourcePart
{
	LAT_PART_CONFIG,			/* config.json */
	LAT_PART_TOKENIZER_CONFIG,	/* tokenizer_config.json; may be absent */
	LAT_PART_VOCABULARY,		/* vocab.txt; absent if the next is present */
	LAT_PART_TOKENIZER,			/* tokenizer.json; may be absent if vocab.txt is present */
	LAT_PART_WEIGHTS,			/* model.safetensors */
	LAT_PART_COUNT
} LatSourcePart;

/* File name of a part inside a checkpoint directory. */
extern const char *lat_part_name(LatSourcePart part);

/* Bytes of the header that precedes the parts, at these sizes (0: absent). */
extern size_t lat_source_header_size(void);

/* Write that header. The parts follow it in the order of the enum, each at a multiple of 64. */
extern void lat_write_source_header(void *header, const uint64_t sizes[LAT_PART_COUNT]);

/* Offset of a part, and total size of the source, at these sizes. */
extern uint64_t lat_source_part_offset(const uint64_t sizes[LAT_PART_COUNT], LatSourcePart part);
extern uint64_t lat_source_size(const uint64_t sizes[LAT_PART_COUNT]);

/* True if content (at least 8 bytes are looked at) is a packed image rather than a source. */
extern bool lat_is_image(const void *content, size_t size);

/* ---- packing (pack.c) and opening (format.c) ---------------------------------------------- */

typedef struct LatPacker LatPacker;

/*
 * Read and check a source: JSON, safetensors, every tensor's presence, dtype,
 * shape and values.  *packer lives in the host's memory and points into source.
 * LAT_BAD_MODEL or LAT_UNSUPPORTED with message and hint if it is not usable.
 */
extern LatStatus lat_packer_open(const LatHost *host, const void *source, size_t size,
								 LatPrecision precision, LatPacker **packer, LatError *error);

/* The configuration read, and the size in bytes of the image it will make. */
extern const LatConfig *lat_packer_config(const LatPacker *packer);
extern size_t lat_packer_image_size(const LatPacker *packer);

/* Write the image (64-byte aligned, image_size bytes). Refuses NaN and infinite weights. */
extern LatStatus lat_packer_write(LatPacker *packer, void *image, LatError *error);
extern void lat_packer_close(LatPacker *packer);

/*
 * Open an image in place: checks the header and that every section lies where
 * it must, in a time that does not depend on the model's size.  image must be
 * 64-byte aligned.  *model is filled in and holds pointers into image.
 */
extern LatStatus lat_model_open(const void *image, size_t size, LatModel *model, LatError *error);

/* Check every value of an opened image that inference relies on: offsets, trie, finite floats. */
extern LatStatus lat_model_verify(const LatHost *host, const LatModel *model, LatError *error);

/* ---- tokens (wordpiece.c, input.c) -------------------------------------------------------- */

/* Tokens of one text, without [CLS] and [SEP]. Arrays grow in the host's memory. */
typedef struct LatTokens
{
	int32_t		count;
	int32_t		capacity;
	int32_t    *ids;			/* (count) */
	int32_t    *starts;			/* (count) first character, from 0, in the original text */
	int32_t    *stops;			/* (count) character after the last */
	uint8_t    *word_starts;	/* (count) 1 where a word (pre-tokenizer's) begins */
	bool		complete;		/* the whole text is in; false: stopped at the limit */
} LatTokens;

/*
 * Tokenize as Hugging Face's BertTokenizerFast.  text is UTF-8 (LAT_BAD_TEXT
 * if not).  Stops after the word in which count reaches limit.  If continues is
 * true, text is the beginning of a longer one (and may end inside a character):
 * the word that touches its end is left out and complete is false.
 * tokens must be zeroed before first use; arrays are reused at later calls.
 */
extern LatStatus lat_tokenize_text(const LatHost *host, const LatModel *model,
								   const char *text, size_t bytes, bool continues,
								   int32_t limit, LatTokens *tokens, LatError *error);
extern void lat_tokens_release(const LatHost *host, LatTokens *tokens);

/* Text of a token, not null-terminated. */
extern const char *lat_token_text(const LatModel *model, int32_t id, size_t *bytes);

/* One sequence as the encoder takes it. */
typedef struct LatInput
{
	int32_t		tokens;			/* T */
	int32_t    *ids;			/* (T) */
	uint8_t    *segments;		/* (T) 0, or 1 for the second text and its [SEP] */
	int32_t    *sources;		/* (T) index into its LatTokens; -1 for [CLS] and [SEP] */
	bool		truncated;
} LatInput;

/*
 * [CLS] first [SEP], or [CLS] first [SEP] second [SEP]; second may be NULL.
 * Cut to max_tokens (at least 5) by the rule longest_first.  Arrays come from the host.
 */
extern LatStatus lat_build_input(const LatHost *host, const LatModel *model,
								 const LatTokens *first, const LatTokens *second,
								 int32_t max_tokens, LatInput *input, LatError *error);
extern void lat_input_release(const LatHost *host, LatInput *input);

/* ---- length configurations, cost, choice (lengths.c) -------------------------------------- */

/*
 * lengths[i] = tokens kept after layer i (arXiv 2010.07003 section 3.1), given at
 * reference length N.  On T tokens layer i keeps max(2, ceil(T * lengths[i] / N)),
 * never more than the layer before.  scaled: (L).
 */
extern void lat_scale_lengths(const int32_t *lengths, int layers, int32_t reference_length,
							  int32_t tokens, int32_t *scaled);

/* LAT_BAD_ARGUMENT unless there are L of them, each at least 1, none growing. */
extern LatStatus lat_check_lengths(const LatConfig *config, const int32_t *lengths, int count,
								   LatError *error);

/*
 * Multiply-adds that lat_forward executes on T tokens with these (absolute)
 * lengths, NULL for full: projections, both T^2 products, feed-forward, head.
 * cls_only: the last layer runs for [CLS] alone (see LatBatch).
 */
extern double lat_cost(const LatConfig *config, int32_t tokens, const int32_t *lengths, bool cls_only);

/*
 * The paper's own count: every layer in full, the output projection before the drop.
 */
extern double lat_paper_cost(const LatConfig *config, int32_t tokens, const int32_t *lengths);

/* A point of the Pareto frontier: what a configuration costs, as a fraction of full, and yields. */
typedef struct LatPoint
{
	double		fraction;
	double		quality;
} LatPoint;

#define LAT_CHOOSE_FULL (-1)

/*
 * Index of the point to use under budget (0 < budget <= 1): 1 is in full; else
 * the best quality (then the lowest fraction) among those within the budget;
 * none within: the cheapest, and *over_budget is set; no points: in full, *over_budget is set.
 */
extern int	lat_choose_point(const LatPoint *points, int count, double budget, bool *over_budget);

/* ---- forward pass (forward.c, heads.c) ---------------------------------------------------- */

typedef struct LatKernels LatKernels;	/* kernels.h */

/*
 * "scalar", "avx2", "avx512", "avx512_bf16", "neon" or "auto" (the best that this CPU has).
 * NULL: not to be had.
 */
extern const LatKernels *lat_find_kernels(const char *name);
extern const char *lat_kernels_name(const LatKernels *kernels);

/* Scratch memory and kernels of one caller. Zero it, set host and kernels; grows as needed. */
typedef struct LatEngine
{
	const LatHost *host;
	const LatKernels *kernels;
	void	   *block;			/* as the host returned it */
	size_t		block_size;
} LatEngine;

extern void lat_engine_release(LatEngine *engine);

/*
 * Sequences packed end to end, without padding.  Results do not depend on what
 * else is in the batch: the same sequence gives the same bits.
 */
typedef struct LatBatch
{
	int			count;			/* sequences, at least 1 */
	const int32_t *offsets;		/* (count + 1) first token of each, offsets[count] = S */
	const int32_t *ids;			/* (S) */
	const uint8_t *segments;	/* (S); NULL: all 0 */
	const int32_t *lengths;		/* (count, L) absolute tokens kept, clipped to T; NULL: full */
	bool		cls_only;		/* classifier: the last layer for [CLS] alone (same result, cheaper) */
} LatBatch;

/* Which tokens survived each layer: positions within their own sequence. */
typedef struct LatTrace
{
	int32_t    *counts;			/* (L, count) */
	int32_t    *kept;			/* (L, S): those of sequence s start at offsets[s] */
} LatTrace;

/*
 * Run the encoder and its head.  output: LAT_CLASSIFY (count, labels) logits;
 * LAT_SPAN and LAT_TAG (S, labels) logits, every token restored (Drop-and-Restore,
 * section 3.3); LAT_EMBED (count, H), mean over the restored tokens, L2-normalised.
 * trace may be NULL; with cls_only its last layer repeats the one before.
 */
extern LatStatus lat_forward(LatEngine *engine, const LatModel *model, const LatBatch *batch,
							 float *output, LatTrace *trace, LatError *error);

/* ---- answers out of logits (answers.c) ---------------------------------------------------- */

/* Softmax of n logits; probabilities may be the same array. */
extern void lat_softmax(const float *logits, int n, float *probabilities);

#define LAT_SPAN_WINDOW 384		/* tokens of a window, question and special tokens included */
#define LAT_SPAN_QUESTION 64	/* tokens of the question that are read */
#define LAT_SPAN_STRIDE 128		/* tokens that neighbouring windows share (doc stride's overlap) */
#define LAT_SPAN_ANSWER 30		/* tokens of the longest answer */
#define LAT_SPAN_CANDIDATES 20	/* candidates of a window that enter the softmax */

typedef struct LatSpan
{
	bool		found;			/* false: the context has no token */
	int32_t		start;			/* first character of the answer in the context, from 0 */
	int32_t		stop;			/* character after the last */
	float		score;			/* softmax over the candidates of all windows */
	bool		truncated;		/* the question was cut */
	int64_t		tokens_in;		/* over all windows */
	int64_t		tokens_kept;	/* summed over the layers, over all windows */
	double		multiply_adds;	/* over all windows */
} LatSpan;

/*
 * Best answer in the context: windows slide over it, each under the length
 * configuration (lengths at reference_length; NULL: full).  Candidates have start <= stop, both in
 * the context; a window's score is start + end logit minus those of [CLS].
 */
extern LatStatus lat_answer_question(LatEngine *engine, const LatModel *model,
									 const LatTokens *question, const LatTokens *context,
									 const int32_t *lengths, int32_t reference_length,
									 LatSpan *span, LatError *error);

typedef struct LatTag
{
	int32_t		label;			/* index of the label of its first word ("B-x" or "I-x" or "x") */
	int32_t		start;			/* first character, from 0 */
	int32_t		stop;			/* character after the last */
	float		score;			/* mean probability over its words */
} LatTag;

/*
 * Merge B-x I-x ... words of one sequence into tags; O is left out.  logits: (T,
 * labels) of input; tags must hold T of them; *count is how many were found.
 */
extern LatStatus lat_decode_tags(const LatHost *host, const LatModel *model, const LatInput *input,
								 const LatTokens *tokens, const float *logits, LatTag *tags,
								 int *count, LatError *error);

/* Name of a label, not null-terminated. */
extern const char *lat_label_text(const LatModel *model, int label, size_t *bytes);

#endif							/* LAT_H */
