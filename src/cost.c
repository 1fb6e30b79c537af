/*
 * cost.c
 *	  What the planner is told of a scoring call: cost and rows.
 *
 * A call's price is its multiply-adds, known from the model's shape, the tokens
 * that the argument's average width suggests and the fraction that the budget
 * leaves of them.  PostgreSQL's unit of cost is the read of a page in sequence:
 * with the default settings a tuple costs a hundredth of it, and takes some
 * 0.1 us, so a unit is about 10 us.  A core does about 100 multiply-adds of
 * int8 in a nanosecond, a quarter of that in fp32: hence a million of them a
 * unit.  What matters to a plan is the order of magnitude (a call costs
 * hundreds of units), so that cheap conditions come first and workers pay off.
 *
 * Nothing here opens a model, let alone runs it, and nothing is an error: an
 * unknown model is taken for one of the size of MiniLM.
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "call.h"
#include "cost.h"
#include "jit/jit.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define MULTIPLY_ADDS_PER_UNIT 1e6	/* int8 */
#define FP32_SLOWDOWN 4.0
#define COST_PER_CALL 1.0		/* units: detoasting, memory, the call itself */
#define COST_PER_TOKEN 0.01		/* units: the tokenizer */
#define BYTES_PER_TOKEN 4.5		/* of English prose */
#define UNKNOWN_TOKENS 32		/* where a column has no statistics */
#define TOKENS_PER_TAG 12

static uint64 calls_priced = 0;
static planner_hook_type previous_planner = NULL;

PG_FUNCTION_INFO_V1(lat_cost_support);

/* Where a function has its arguments; -1: it has none. */
typedef struct Profile
{
	const char *name;
	const char *task;
	int			pair;
	int			budget;
	int			model;
	bool		encodes;		/* false: only the tokenizer runs */
	bool		cls_only;
} Profile;

static const Profile profiles[] = {
	{"lat_classify", "classify", -1, 1, 2, true, true},
	{"lat_classify_pair", "pair", 1, 2, 3, true, true},
	{"lat_scores", "classify", 1, 2, 3, true, true},
	{"lat_score", "classify", 4, 2, 3, true, true},
	{"lat_answer_span", "span", 1, 2, 3, true, false},
	{"lat_answer", "span", 1, 2, 3, true, false},
	{"lat_tag", "tag", -1, 1, 2, true, false},
	{"lat_embed", "embed", -1, 1, 2, true, false},
	{"lat_logits", "classify", 1, -1, 3, true, false},
	{"lat_trace", "classify", 1, -1, 3, true, false},
	{"lat_tokenize", "classify", 1, -1, 2, false, false},
};

/* What a model costs under a budget. */
typedef struct ModelEstimate
{
	LatConfig	config;
	double		fraction;
} ModelEstimate;

/* The tables say the same as long as the snapshot does: a plan asks for many costs. */
typedef struct KnownEstimate
{
	SnapshotKey snapshot;
	char		model[NAMEDATALEN]; /* "": the default */
	const Profile *profile;
	double		budget;
	ModelEstimate estimate;
} KnownEstimate;

/* A call to estimate. */
typedef struct Estimation
{
	const Profile *profile;
	PlannerInfo *root;			/* may be NULL */
	List	   *arguments;		/* NIL: unknown */
} Estimation;

/* ---- arguments ---------------------------------------------------------------------------- */

static Node *
find_argument(const Estimation *estimation, int index)
{
	Node	   *node;

	if (index < 0 || index >= list_length(estimation->arguments))
		return NULL;
	node = list_nth(estimation->arguments, index);
	if (IsA(node, NamedArgExpr))
		return NULL;			/* not yet put into place */
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

static bool
is_null_constant(const Node *node)
{
	return node != NULL && IsA(node, Const) && ((const Const *) node)->constisnull;
}

/* Average width of a column, 0 if unknown. Long values count as stored, so too little. */
static double
column_width(PlannerInfo *root, const Var *var)
{
	RangeTblEntry *entry;

	if (root == NULL || var->varlevelsup != 0 || var->varattno <= 0
		|| (int) var->varno < 1 || (int) var->varno > list_length(root->parse->rtable))
		return 0;
	entry = rt_fetch(var->varno, root->parse->rtable);
	if (entry->rtekind != RTE_RELATION)
		return 0;
	return get_attavgwidth(entry->relid, var->varattno);
}

/* Tokens of a text argument; 0: NULL, or there is no such argument. */
static double
estimate_tokens(const Estimation *estimation, int index)
{
	Node	   *node = find_argument(estimation, index);
	double		bytes = 0;

	if (index < 0 || is_null_constant(node))
		return 0;
	if (node != NULL && IsA(node, Const))
		return ceil((toast_raw_datum_size(((Const *) node)->constvalue) - VARHDRSZ)
					/ BYTES_PER_TOKEN);
	if (node != NULL && IsA(node, Var))
		bytes = column_width(estimation->root, (Var *) node);
	return bytes > 0 ? ceil(bytes / BYTES_PER_TOKEN) : UNKNOWN_TOKENS;
}

/* The budget as far as it is known now. A bad one is left for execution to refuse. */
static double
estimate_budget(const Estimation *estimation)
{
	Node	   *node = find_argument(estimation, estimation->profile->budget);
	double		budget = estimation->profile->budget < 0 ? 1.0 : setting_budget;

	if (node != NULL && IsA(node, Const) && !is_null_constant(node))
		budget = DatumGetFloat8(((Const *) node)->constvalue);
	if (!(budget > 0 && budget <= 1))
		budget = 1;
	return Min(budget, setting_max_budget);
}

/* ---- models ------------------------------------------------------------------------------- */

/* Look the model up; leaves the estimate as it is if there is none. */
static void
read_estimate(const char *name, const Profile *profile, double budget, ModelEstimate *estimate)
{
	ModelRow   *row;
	ParetoRow  *points;
	int			count;
	LatPoint   *candidates;
	int			choice;
	bool		over_budget;

	if (name[0] == '\0')
		name = catalog_default_model(profile->task);
	row = name ? catalog_find_model(name) : NULL;
	if (row == NULL)
		return;
	estimate->config.task = row->task;
	estimate->config.layers = row->layers;
	estimate->config.hidden = row->hidden;
	estimate->config.positions = row->max_tokens;
	if (budget >= 1)
		return;

	points = catalog_pareto(row->digest, &count);
	candidates = palloc(sizeof(LatPoint) * Max(count, 1));
	for (int i = 0; i < count; i++)
		candidates[i] = points[i].point;
	choice = lat_choose_point(candidates, count, budget, &over_budget);
	estimate->fraction = choice == LAT_CHOOSE_FULL ? 1 : candidates[choice].fraction;
}

static void
estimate_model(const Estimation *estimation, ModelEstimate *estimate)
{
	static KnownEstimate known;
	const Profile *profile = estimation->profile;
	Node	   *node = find_argument(estimation, profile->model);
	SnapshotKey snapshot;
	double		budget = estimate_budget(estimation);
	char		name[NAMEDATALEN] = "";

	memset(estimate, 0, sizeof(ModelEstimate));
	estimate->fraction = budget;
	estimate->config.task = LAT_CLASSIFY;
	estimate->config.layers = 6;	/* MiniLM */
	estimate->config.hidden = 384;
	estimate->config.positions = 512;

	snapshot_key_take(&snapshot);
	if (snapshot.usable && (node == NULL || IsA(node, Const)))
	{
		if (node != NULL && !is_null_constant(node))
			text_to_cstring_buffer(DatumGetTextPP(((Const *) node)->constvalue),
								   name, sizeof(name));
		if (!(snapshot_key_equal(&known.snapshot, &snapshot) && known.profile == profile
			  && known.budget == budget && strcmp(known.model, name) == 0))
		{
			known.snapshot.usable = false;
			read_estimate(name, profile, budget, estimate);
			known.estimate = *estimate;
			known.profile = profile;
			known.budget = budget;
			strlcpy(known.model, name, sizeof(known.model));
			known.snapshot = snapshot;
		}
		*estimate = known.estimate;
	}
	estimate->config.embedding = estimate->config.hidden;
	estimate->config.intermediate = 4 * estimate->config.hidden;
	estimate->config.labels = 2;
}

/* ---- cost --------------------------------------------------------------------------------- */

/* Multiply-adds in full of an answer: windows of LAT_SPAN_WINDOW slide over the context. */
static double
windows_cost(const LatConfig *config, double question, double context)
{
	double		tokens = question + context;
	double		room = LAT_SPAN_WINDOW - question;
	double		windows;

	if (tokens <= LAT_SPAN_WINDOW)
		return lat_cost(config, (int32) tokens, NULL, false);
	windows = 1 + ceil((context - room) / (room - LAT_SPAN_STRIDE));
	return windows * lat_cost(config, LAT_SPAN_WINDOW, NULL, false);
}

/* Tokens of the encoder's input, special ones included. */
static double
input_tokens(const Estimation *estimation, const ModelEstimate *model)
{
	double		second = estimate_tokens(estimation, estimation->profile->pair);
	double		tokens = estimate_tokens(estimation, 0) + 2 + (second > 0 ? second + 1 : 0);

	return Min(tokens, model->config.positions);
}

static double
call_cost(const Estimation *estimation)
{
	const Profile *profile = estimation->profile;
	ModelEstimate model;
	double		multiply_adds = 0;
	double		tokens;

	estimate_model(estimation, &model);
	tokens = input_tokens(estimation, &model);
	if (profile->encodes && strcmp(profile->task, "span") == 0)
	{
		double		question = Min(estimate_tokens(estimation, 0), LAT_SPAN_QUESTION) + 3;
		double		context = estimate_tokens(estimation, 1);

		tokens = question + context;
		multiply_adds = windows_cost(&model.config, question, context);
	}
	else if (profile->encodes)
		multiply_adds = lat_cost(&model.config, (int32) tokens, NULL, profile->cls_only);

	multiply_adds *= model.fraction;
	if (setting_precision == LAT_FP32)
		multiply_adds *= FP32_SLOWDOWN;
	return COST_PER_CALL + tokens * COST_PER_TOKEN + multiply_adds / MULTIPLY_ADDS_PER_UNIT;
}

/* Rows of a set-returning call; 0: the function's own ROWS will do. */
static double
call_rows(const Estimation *estimation)
{
	const char *name = estimation->profile->name;
	ModelEstimate model;

	estimate_model(estimation, &model);
	if (strcmp(name, "lat_tokenize") == 0)
		return input_tokens(estimation, &model);
	if (strcmp(name, "lat_tag") == 0)
		return clamp_row_est(input_tokens(estimation, &model) / TOKENS_PER_TAG);
	if (strcmp(name, "lat_trace") == 0)
		return model.config.layers;
	return 0;
}

static bool
begin_estimation(Estimation *estimation, PlannerInfo *root, Oid function, Node *node)
{
	char	   *name = get_func_name(function);

	memset(estimation, 0, sizeof(Estimation));
	estimation->root = root;
	if (node != NULL && IsA(node, FuncExpr))
		estimation->arguments = ((FuncExpr *) node)->args;
	for (size_t i = 0; name != NULL && i < lengthof(profiles); i++)
		if (strcmp(profiles[i].name, name) == 0)
			estimation->profile = &profiles[i];
	return estimation->profile != NULL;
}

Datum
lat_cost_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Estimation	estimation;

	if (IsA(request, SupportRequestCost))
	{
		SupportRequestCost *cost = (SupportRequestCost *) request;

		if (begin_estimation(&estimation, cost->root, cost->funcid, cost->node))
		{
			calls_priced++;
			cost->startup = 0;
			cost->per_tuple = call_cost(&estimation);
			PG_RETURN_POINTER(cost);
		}
	}
	else if (IsA(request, SupportRequestRows))
	{
		SupportRequestRows *rows = (SupportRequestRows *) request;

		if (begin_estimation(&estimation, rows->root, rows->funcid, rows->node))
		{
			double		count = call_rows(&estimation);

			if (count > 0)
			{
				rows->rows = count;
				PG_RETURN_POINTER(rows);
			}
		}
	}
	PG_RETURN_POINTER(NULL);
}

/* ---- compilation -------------------------------------------------------------------------- */

/*
 * PostgreSQL compiles the expressions of a statement that costs more than
 * jit_above_cost.  Ours cost that for what happens inside a function, where
 * compiled expressions win nothing, while LLVM costs a new connection some 60
 * ms and 9 MB of its own.  So a statement whose planning priced a call is not
 * compiled.  (Without preload the first one of a connection may be: the module
 * is then loaded in the midst of its planning.)
 */
static PlannedStmt *
plan_uncompiled(Query *query, const char *text, int cursor_options, ParamListInfo parameters)
{
	uint64		before = calls_priced;
	PlannedStmt *plan;

	if (previous_planner != NULL)
		plan = previous_planner(query, text, cursor_options, parameters);
	else
		plan = standard_planner(query, text, cursor_options, parameters);
	if (calls_priced != before)
		plan->jitFlags = PGJIT_NONE;
	return plan;
}

void
cost_init(void)
{
	previous_planner = planner_hook;
	planner_hook = plan_uncompiled;
}
