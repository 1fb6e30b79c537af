/*
 * training_golden_test.c
 *	  Gradients of every parameter and losses of 100 steps against PyTorch's (training.txt,
 *	  written by make_training.py), under every kernel set.
 *
 *	  Usage: training_golden_test GOLDEN_DIRECTORY
 */
#include "check.h"
#include "core/training_block.h"
#include "load.h"

#include <math.h>

#define MOST_SEQUENCES 20
#define MOST_TOKENS 24
#define MOST_ROWS (MOST_SEQUENCES * MOST_TOKENS)
#define PROJECTIONS 4
#define MOST_STEPS 100

/* A way to compute, and how near it comes to PyTorch in f32. */
typedef struct Way
{
	const char *kernels;
	LatBf16Mode bf16;

	/*
	 * Largest difference of a projection, as a share of the gradient's norm: measured 5.1e-5, where
	 * a sub-model is so near to the full one that their outputs cancel; 0.07 in bf16.
	 */
	double		gradient;

	/*
	 * Of a loss, as a share of it: measured 2e-5, but 6e-3 with ReLU, where a rounding error
	 * decides which side of zero is taken; 0.17 in bf16.
	 */
	double		loss;
} Way;

static const Way ways[] = {
	{"scalar", LAT_BF16_NONE, 1e-4, 0.02},
	{"avx2", LAT_BF16_NONE, 1e-4, 0.02},
	{"avx512", LAT_BF16_NONE, 1e-4, 0.02},
	{"neon", LAT_BF16_NONE, 1e-4, 0.02},
	{"avx512_bf16", LAT_BF16_BACKWARD, 0.1, 0.3}
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* Sequences as the file has them. */
typedef struct Batch
{
	int			count;
	int32_t		offsets[MOST_SEQUENCES + 1];
	int32_t		ids[MOST_ROWS];
	int32_t		segments[MOST_ROWS];
	int32_t		labels[MOST_ROWS];
	int32_t		targets[2 * MOST_SEQUENCES];
	int32_t		lengths[MOST_SEQUENCES * LAT_MAX_LAYERS];
	bool		drops;
} Batch;

typedef struct Setup
{
	TestHost	test;
	char		name[64];
	LatModel	model;
	LatTape		tape;
	void	   *memory;
	float	   *gradients;
	float	   *word_gradients;
	int32_t    *slots;
	double		worst[WAYS];	/* difference of a projection */
} Setup;

/* ---- reading ------------------------------------------------------------------------------ */

static int
read_ints(FILE *file, const char *name, int32_t *to)
{
	char		word[64];
	int			count = 0;

	if (fscanf(file, "%63s %d", word, &count) != 2 || strcmp(word, name) != 0)
		abort();
	for (int i = 0; i < count; i++)
		if (fscanf(file, "%d", &to[i]) != 1)
			abort();
	return count;
}

/* The next sequence, whose keyword has been read. */
static void
read_sequence(FILE *file, Batch *batch, int layers)
{
	int			from = batch->offsets[batch->count];
	int			tokens = read_ints(file, "ids", batch->ids + from);

	read_ints(file, "segments", batch->segments + from);
	read_ints(file, "target", batch->targets + 2 * batch->count);
	read_ints(file, "labels", batch->labels + from);
	batch->drops = read_ints(file, "lengths", batch->lengths + batch->count * layers) > 0;
	batch->offsets[++batch->count] = from + tokens;
}

/* ---- gradients ---------------------------------------------------------------------------- */

/* A parameter as PyTorch has it: (n, k), where n = 1 for vectors. */
typedef struct Parameter
{
	const float *gradient;
	int			n;
	int			k;
	size_t		stride;			/* of an embedding's rows; 0: panels of a linear's weights */
	int			column;			/* of the linear that row 0 is */
} Parameter;

/* Part of PyTorch's name, and what it is in lat. */
typedef struct Name
{
	const char *part;
	size_t		offset;			/* of a LatNorm or LatLinear in LatModel or LatLayer */
	bool		norm;
	bool		in_layer;
	int			third;			/* of qkv */
} Name;

#define IN_LAYER(member) offsetof(LatLayer, member)
#define IN_MODEL(member) offsetof(LatModel, member)

/* The first that occurs in a name counts. */
static const Name names[] = {
	{"embeddings.LayerNorm", IN_MODEL(embedding_norm), true, false, 0},
	{"embeddings_project", IN_MODEL(embedding_projection), false, false, 0},
	{"attention.self.query", IN_LAYER(qkv), false, true, 0},
	{"attention.self.key", IN_LAYER(qkv), false, true, 1},
	{"attention.self.value", IN_LAYER(qkv), false, true, 2},
	{"attention.q_lin", IN_LAYER(qkv), false, true, 0},
	{"attention.k_lin", IN_LAYER(qkv), false, true, 1},
	{"attention.v_lin", IN_LAYER(qkv), false, true, 2},
	{"attention.output.dense", IN_LAYER(attention_output), false, true, 0},
	{"attention.out_lin", IN_LAYER(attention_output), false, true, 0},
	{"attention.output.LayerNorm", IN_LAYER(attention_norm), true, true, 0},
	{"sa_layer_norm", IN_LAYER(attention_norm), true, true, 0},
	{"intermediate.dense", IN_LAYER(feed_forward_in), false, true, 0},
	{"ffn.lin1", IN_LAYER(feed_forward_in), false, true, 0},
	{"output.dense", IN_LAYER(feed_forward_out), false, true, 0},
	{"ffn.lin2", IN_LAYER(feed_forward_out), false, true, 0},
	{"output.LayerNorm", IN_LAYER(output_norm), true, true, 0},
	{"output_layer_norm", IN_LAYER(output_norm), true, true, 0},
	{"pooler.dense", IN_MODEL(head_dense), false, false, 0},
	{"pre_classifier", IN_MODEL(head_dense), false, false, 0},
	{"classifier.dense", IN_MODEL(head_dense), false, false, 0},
	{"classifier", IN_MODEL(head_output), false, false, 0},
	{"qa_outputs", IN_MODEL(head_output), false, false, 0}
};

static Parameter
embedding_parameter(const Setup *setup, const char *name)
{
	const LatModel *model = &setup->model;
	const LatEmbedding *table = strstr(name, "word_") ? &model->words :
		strstr(name, "position_") ? &model->positions : &model->segments;

	return (Parameter) {
		.gradient = strstr(name, "word_") ? setup->word_gradients :
			lat_gradient_of(&setup->tape, table->codes),
			.n = table->rows,.k = model->config.embedding,.stride = table->stride
	};
}

static Parameter
find_parameter(const Setup *setup, const char *name)
{
	const LatModel *model = &setup->model;
	bool		bias = strstr(name, ".bias") != NULL;
	const char *number = strstr(name, "layer.");
	const Name *found = NULL;
	const char *at;

	if (strstr(name, "_embeddings."))
		return embedding_parameter(setup, name);
	for (size_t i = 0; !found && i < sizeof(names) / sizeof(names[0]); i++)
		if (strstr(name, names[i].part))
			found = &names[i];
	if (!found)
		abort();
	at = (const char *) model;
	if (found->in_layer)
		at = (const char *) &model->layers[strtol(number + strlen("layer."), NULL, 10)];
	at += found->offset;
	if (found->norm)
	{
		const LatNorm *norm = (const LatNorm *) at;
		const float *values = bias ? norm->beta : norm->gamma;

		return (Parameter) {
			.gradient = lat_gradient_of(&setup->tape, values),.n = 1,.stride = 1,
				.k = values == model->embedding_norm.gamma || values == model->embedding_norm.beta ?
				model->config.embedding : model->config.hidden
		};
	}
	else
	{
		const LatLinear *linear = (const LatLinear *) at;
		int			third = (model->config.hidden + 15) / 16 * 16;
		bool		qkv = found->in_layer && found->offset == IN_LAYER(qkv);
		int			n = qkv ? model->config.hidden : linear->n;

		if (bias)
			return (Parameter) {
				.gradient = lat_gradient_of(&setup->tape, linear->bias) + found->third * third,
					.n = 1,.k = n,.stride = 1
			};
		return (Parameter) {
			.gradient = lat_gradient_of(&setup->tape, linear->weights),.n = n,.k = linear->k,
				.column = found->third * third
		};
	}
}

/* Element i in PyTorch's order. */
static double
element(const Parameter *parameter, int i)
{
	size_t		row = (size_t) i / parameter->k;
	size_t		k = (size_t) i % parameter->k;
	size_t		column = row + parameter->column;

	if (parameter->stride)
		return parameter->gradient[row * parameter->stride + k];
	return parameter->gradient[(column / 16 * parameter->k + k) * 16 + column % 16];
}

/* Compare with the next "gradient" line, whose keyword has been read; number: of the line. */
static void
check_gradient(Setup *setup, FILE *file, int number, size_t way)
{
	char		name[256];
	double		expected[1 + PROJECTIONS];
	double		found[1 + PROJECTIONS] = {0};
	double		worst = 0;
	Parameter	parameter;

	if (fscanf(file, "%255s", name) != 1)
		abort();
	for (int j = 0; j <= PROJECTIONS; j++)
		if (fscanf(file, "%lf", &expected[j]) != 1)
			abort();
	parameter = find_parameter(setup, name);
	for (int i = 0; i < parameter.n * parameter.k; i++)
		found[0] += element(&parameter, i) * element(&parameter, i);
	found[0] = sqrt(found[0]);
	for (int j = 0; j < PROJECTIONS; j++)
	{
		LatRandom	random = lat_random((uint64_t) number, (uint32_t) j, 0, 0, 0);

		for (int i = 0; i < parameter.n * parameter.k; i++)
			found[j + 1] += element(&parameter, i) *
				(lat_random_bits(random, (uint32_t) i) & 1 ? -1 : 1);
	}

	/* the bias of keys has no gradient but rounding: it shifts all scores of a query alike */
	for (int j = 0; j <= PROJECTIONS; j++)
		worst = fmax(worst, fabs(found[j] - expected[j]) / fmax(expected[0], 0.01));
	setup->worst[way] = fmax(setup->worst[way], worst);
	CHECK(worst < ways[way].gradient, "%s, %s: gradient of %s is %.1e off", setup->name,
		  ways[way].kernels, name, worst);
}

static size_t
trained_floats(const LatModel *model)
{
	return (size_t) (model->image + model->image_size -
					 (const uint8_t *) model->positions.codes) / sizeof(float);
}

/* Loss and gradients of a case, as train.c computes them. */
static double
run_case(Setup *setup, const Batch *batch, const char *kind, uint64_t skipped)
{
	const LatConfig *config = &setup->model.config;
	static const int32_t examples[MOST_SEQUENCES];
	uint8_t		segments[MOST_ROWS];
	LatTapeInput input = {
		.count = batch->count,.offsets = batch->offsets,.ids = batch->ids,.segments = segments,
		.examples = examples
	};
	LatTargets	targets = {
		.task = (LatTask) config->task,.labels = config->labels,.count = batch->count,
		.offsets = batch->offsets,.targets = batch->targets,.tags = batch->labels,
		.reverse = strcmp(kind, "reverse") == 0
	};
	LatTape    *tape = &setup->tape;
	int			rows = batch->offsets[batch->count];
	int			counted = 0;
	double		loss;

	for (int row = 0; row < rows; row++)
	{
		segments[row] = (uint8_t) batch->segments[row];
		counted += batch->labels[row] >= 0;
	}
	targets.weight = 1.0 / (config->task == LAT_TAG ? counted : batch->count);
	memset(setup->gradients, 0, trained_floats(&setup->model) * sizeof(float));
	memset(setup->word_gradients, 0,
		   (size_t) config->vocabulary * setup->model.words.stride * sizeof(float));
	lat_tape_forward(tape, &input);
	memcpy(tape->teacher.data, tape->logits.data, rows * tape->logits.ld * sizeof(float));
	input.skipped = skipped;
	input.lengths = batch->drops ? batch->lengths : NULL;
	lat_tape_forward(tape, &input);
	if (strcmp(kind, "task") == 0)
		loss = lat_task_loss(&targets, tape->logits, tape->d_logits);
	else
		loss = lat_distillation_loss(&targets, tape->logits, tape->teacher, tape->d_logits);
	lat_tape_backward(tape);
	return loss;
}

static void
check_case(Setup *setup, FILE *file)
{
	static Batch batch;
	char		kind[16];
	char		word[64];
	double		expected;
	int32_t		layers[LAT_MAX_LAYERS];
	uint64_t	skipped = 0;
	long		start;

	memset(&batch, 0, sizeof(batch));
	if (fscanf(file, "%15s %lf", kind, &expected) != 2)
		abort();
	for (int i = read_ints(file, "skipped", layers); i > 0; i--)
		skipped |= (uint64_t) 1 << layers[i - 1];
	start = ftell(file);
	while (fscanf(file, "%63s", word) == 1 && strcmp(word, "sequence") == 0)
	{
		read_sequence(file, &batch, setup->model.config.layers);
		start = ftell(file);
	}
	for (size_t way = 0; way < WAYS; way++)
	{
		double		loss;
		int			number = 0;

		setup->tape.kernels = lat_find_kernels(ways[way].kernels);
		if (setup->tape.kernels == NULL)
			continue;
		setup->tape.bf16 = ways[way].bf16;
		loss = run_case(setup, &batch, kind, skipped);
		CHECK(fabs(loss - expected) < 1e-5 * expected + 1e-6, "%s, %s: loss %.7g instead of %.7g",
			  setup->name, ways[way].kernels, loss, expected);
		fseek(file, start, SEEK_SET);
		while (fscanf(file, "%63s", word) == 1 && strcmp(word, "gradient") == 0)
			check_gradient(setup, file, number++, way);
		CHECK(number > 20, "%s: %d gradients", setup->name, number);
	}
}

/* ---- a run -------------------------------------------------------------------------------- */

static size_t
write_records(const Batch *batch, LatTask task, uint8_t *to)
{
	size_t		size = 0;

	for (int s = 0; s < batch->count; s++)
	{
		int			from = batch->offsets[s];
		LatExample	example = {.tokens = batch->offsets[s + 1] - from,.ids = batch->ids + from,
		.target = {batch->targets[2 * s], batch->targets[2 * s + 1]}};

		while (example.first < example.tokens && batch->segments[from + example.first] == 0)
			example.first++;
		if (task == LAT_TAG)
			example.labels = batch->labels + from;
		lat_example_write(&example, to + size);
		size += lat_example_size(&example);
	}
	return size;
}

/* A run in the file: data, options, PyTorch's losses. */
typedef struct Run
{
	Batch		batch;
	uint8_t		records[MOST_ROWS * 16];
	LatTrainOptions options;
	LatTrainingSizes sizes;
	double		expected[MOST_STEPS];
	int			steps;
} Run;

static void
read_run(Setup *setup, FILE *file, Run *run)
{
	LatTask		task = (LatTask) setup->model.config.task;
	LatTrainOptions *options = &run->options;
	char		word[64];

	memset(run, 0, sizeof(*run));
	lat_train_defaults(&setup->model.config, task, options);
	if (fscanf(file, "%d %d %lf %lu", &run->sizes.train_count, &options->batch,
			   &options->learning_rate, &options->seed) != 4)
		abort();
	while (fscanf(file, "%63s", word) == 1 && strcmp(word, "sequence") == 0)
		read_sequence(file, &run->batch, setup->model.config.layers);
	if (fscanf(file, "%d", &run->steps) != 1 || run->steps > MOST_STEPS)
		abort();
	for (int i = 0; i < run->steps; i++)
		if (fscanf(file, "%lf", &run->expected[i]) != 1)
			abort();
	run->sizes.base = &setup->model;
	run->sizes.train_bytes = write_records(&run->batch, task, run->records);
	options->epochs[0] = run->steps / ceil((double) run->sizes.train_count / options->batch);
	options->epochs[1] = 0;
	options->hidden_dropout = options->attention_dropout = 0;
	options->max_tokens = MOST_TOKENS;
	options->words = LAT_WORDS_DENSE;
	options->ranks = 2;
}

static void
follow_run(Setup *setup, Run *run, const Way *way)
{
	LatTeam		alone = {.size = 1};
	LatTrainReport report = {0};
	LatTrainer *trainer;
	double		worst = 0;
	size_t		bytes;
	void	   *block;
	void	   *train;
	void	   *dev;

	run->options.bf16 = way->bf16;
	CHECK(lat_training_size(&run->sizes, &run->options, &bytes, NULL) == LAT_OK, "%s: size",
		  setup->name);
	block = aligned_alloc(64, bytes);
	memset(block, 0, bytes);
	if (CHECK(lat_training_create(&setup->test.host, block, &run->sizes, &run->options, &train,
								  &dev, NULL) == LAT_OK, "%s: create", setup->name))
		memcpy(train, run->records, run->sizes.train_bytes);
	if (CHECK(lat_trainer_open(&setup->test.host, lat_find_kernels(way->kernels), &alone, block,
							   &trainer, NULL) == LAT_OK, "%s: open", setup->name))
	{
		for (int i = 0; i < run->steps; i++)
		{
			lat_train_step(trainer, &report, NULL);
			worst = fmax(worst, fabs(report.loss - run->expected[i]) / (run->expected[i] + 0.01));
		}
		CHECK(report.finished && report.step == run->steps, "%s: all steps", setup->name);
		CHECK(worst < way->loss, "%s, %s: losses of %d steps are %.1e off", setup->name,
			  way->kernels, run->steps, worst);
		printf("%s, %s: losses of %d steps, from %.3f to %.3f, at most %.1e off\n", setup->name,
			   way->kernels, run->steps, run->expected[0], run->expected[run->steps - 1], worst);
		lat_trainer_close(trainer);
	}
	free(block);
}

static void
check_run(Setup *setup, FILE *file)
{
	static Run run;

	read_run(setup, file, &run);
	for (size_t way = 0; way < WAYS; way++)
		if (lat_find_kernels(ways[way].kernels))
			follow_run(setup, &run, &ways[way]);
}

/* ---- models ------------------------------------------------------------------------------- */

static bool
open_setup(Setup *setup, const char *directory)
{
	char		path[1024];
	LatError	error;
	int			vocabulary;

	test_host_init(&setup->test);
	snprintf(path, sizeof(path), "%s/%s", directory, setup->name);
	if (!CHECK(load_model(&setup->test.host, path, LAT_FP32, &setup->model, &error) == LAT_OK,
			   "%s: %s", setup->name, error.message))
		return false;
	vocabulary = setup->model.config.vocabulary;
	setup->gradients = calloc(trained_floats(&setup->model), sizeof(float));
	setup->word_gradients = calloc((size_t) vocabulary * setup->model.words.stride, sizeof(float));
	setup->slots = calloc((size_t) vocabulary, sizeof(int32_t));
	for (int i = 0; i < vocabulary; i++)
		setup->slots[i] = i;
	setup->tape.host = &setup->test.host;
	setup->tape.model = &setup->model;
	setup->tape.trained = setup->model.positions.codes;
	setup->tape.gradients = setup->gradients;
	setup->tape.word_gradients = setup->word_gradients;
	setup->tape.slots = setup->slots;
	setup->tape.bf16 = LAT_BF16_BACKWARD;	/* reserves what that needs */
	return CHECK(lat_tape_open(&setup->tape, 3 * MOST_TOKENS, MOST_TOKENS, &setup->memory,
							   &error) == LAT_OK, "%s: tape", setup->name);
}

static void
close_setup(Setup *setup)
{
	for (size_t way = 0; way < WAYS; way++)
		if (setup->worst[way] > 0)
			printf("%s, %s: projections of gradients at most %.1e of their norm off\n", setup->name,
				   ways[way].kernels, setup->worst[way]);
	test_release(&setup->test, setup->memory);
	free((void *) setup->model.image);
	free(setup->gradients);
	free(setup->word_gradients);
	free(setup->slots);
	memset(setup, 0, sizeof(*setup));
}

int
main(int argc, char **argv)
{
	Setup		setup = {0};
	char		word[64];
	char		path[1024];
	FILE	   *file;
	int			models = 0;

	if (argc != 2)
		return 2;
	snprintf(path, sizeof(path), "%s/training.txt", argv[1]);
	file = fopen(path, "r");
	while (file && fscanf(file, "%63s", word) == 1)
	{
		if (strcmp(word, "model") == 0)
		{
			close_setup(&setup);
			if (fscanf(file, "%63s", setup.name) != 1 || !open_setup(&setup, argv[1]))
				break;
			models++;
		}
		else if (strcmp(word, "case") == 0)
			check_case(&setup, file);
		else if (strcmp(word, "run") == 0)
			check_run(&setup, file);
	}
	close_setup(&setup);
	CHECK(models == 5, "training.txt has %d models", models);
	if (file)
		fclose(file);
	return check_done("training_golden");
}
