/*
 * gradient_test.c
 *	  The backward pass against finite differences of the loss, for every parameter of the tiny
 *	  checkpoints: in full, with drops, with skipped layers, with dropout, by distillation.
 *
 * training_golden_test.c compares with PyTorch under every kernel set; here are what PyTorch's
 * golden file leaves out, above all dropout, and the method that trusts nobody.
 *
 *	  Usage: gradient_test GOLDEN_DIRECTORY
 */
#include "check.h"
#include "core/training.h"
#include "load.h"

#include <math.h>

#define COUNT 3
#define MOST_TOKENS 24
#define MOST_ROWS (COUNT * MOST_TOKENS)

/* Largest relative error; measured: 3.5e-3, of a ReLU model, whose loss has kinks. */
#define TOLERANCE 0.02

static const int tokens[COUNT] = {17, 5, 24};

/* A model of floats that may change, its tape, and the batch. */
typedef struct Setup
{
	TestHost	test;
	const char *name;
	LatModel	model;
	LatTape		tape;
	void	   *memory;
	float	   *gradients;
	float	   *word_gradients;
	int32_t    *slots;
	int32_t		offsets[COUNT + 1];
	int32_t		ids[MOST_ROWS];
	uint8_t		segments[MOST_ROWS];
	int32_t		lengths[COUNT * LAT_MAX_LAYERS];
	int32_t		examples[COUNT];
	int32_t		targets[2 * COUNT];
	int32_t		tags[MOST_ROWS];
	LatTapeInput input;
	LatTargets	about;
	bool		distil;			/* the loss is that of distillation */
	double		worst;
} Setup;

static size_t
trained_floats(const LatModel *model)
{
	return (size_t) (model->image + model->image_size -
					 (const uint8_t *) model->positions.codes) / sizeof(float);
}

static bool
open_setup(Setup *setup, const char *directory, const char *name)
{
	LatError	error;
	char		path[1024];
	const LatConfig *config = &setup->model.config;

	memset(setup, 0, sizeof(*setup));
	setup->name = name;
	test_host_init(&setup->test);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (!CHECK(load_model(&setup->test.host, path, LAT_FP32, &setup->model, &error) == LAT_OK,
			   "%s: %s", name, error.message))
		return false;
	setup->gradients = calloc(trained_floats(&setup->model), sizeof(float));
	setup->word_gradients = calloc((size_t) config->vocabulary * setup->model.words.stride,
								   sizeof(float));
	setup->slots = calloc(config->vocabulary, sizeof(int32_t));
	for (int i = 0; i < config->vocabulary; i++)
		setup->slots[i] = config->vocabulary - 1 - i;
	setup->tape.host = &setup->test.host;
	setup->tape.kernels = &lat_kernels_scalar;
	setup->tape.model = &setup->model;
	setup->tape.trained = setup->model.positions.codes;
	setup->tape.gradients = setup->gradients;
	setup->tape.word_gradients = setup->word_gradients;
	setup->tape.slots = setup->slots;
	return CHECK(lat_tape_open(&setup->tape, MOST_ROWS, MOST_TOKENS, &setup->memory,
							   &error) == LAT_OK, "%s: tape", name);
}

static void
close_setup(Setup *setup)
{
	test_release(&setup->test, setup->memory);
	CHECK(setup->test.live == 0, "%s: nothing leaked", setup->name);
	free((void *) setup->model.image);
	free(setup->gradients);
	free(setup->word_gradients);
	free(setup->slots);
}

static void
fill_batch(Setup *setup)
{
	const LatConfig *config = &setup->model.config;
	LatRandom	random = lat_random(7, 0, 0, 0, 0);

	for (int s = 0; s < COUNT; s++)
	{
		int			from = setup->offsets[s];

		setup->offsets[s + 1] = from + tokens[s];
		setup->examples[s] = 100 + s;
		setup->targets[2 * s] = config->task == LAT_SPAN ? s : s % config->labels;
		setup->targets[2 * s + 1] = s + 2;
		for (int t = 0; t < tokens[s]; t++)
		{
			setup->ids[from + t] = t == 0 ? config->cls_id :
				(int32_t) lat_random_below(random, from + t, config->vocabulary);
			setup->segments[from + t] = t > 8;
			setup->tags[from + t] = t % 3 == 0 ? -1 : t % (config->labels ? config->labels : 1);
		}
	}
	setup->input = (LatTapeInput) {
		.count = COUNT,.offsets = setup->offsets,.ids = setup->ids,.segments = setup->segments,
			.examples = setup->examples,.seed = 1,.step = 3,.submodel = 1
	};
	setup->about = (LatTargets) {
		.task = config->task,.labels = config->labels,.count = COUNT,.offsets = setup->offsets,
			.targets = setup->targets,.tags = setup->tags,.weight = 0.5
	};
}

/* Every layer drops a share of what it received. */
static void
set_drops(Setup *setup, double share)
{
	int			layers = setup->model.config.layers;

	for (int s = 0; s < COUNT; s++)
		for (int i = 0, left = tokens[s]; i < layers; i++)
		{
			left = (int) ceil(left * (1 - share));
			setup->lengths[s * layers + i] = left;
		}
	setup->input.lengths = setup->lengths;
}

static double
loss_of(Setup *setup)
{
	LatTape    *tape = &setup->tape;

	if (lat_tape_forward(tape, &setup->input) != LAT_OK)
		abort();
	if (setup->distil)
		return lat_distillation_loss(&setup->about, tape->logits, tape->teacher, tape->d_logits);
	return lat_task_loss(&setup->about, tape->logits, tape->d_logits);
}

/* Sum over levels and rows of which rows were kept, to see whether a nudge changed the choice. */
static uint64_t
choice(const Setup *setup)
{
	uint64_t	sum = 0;

	for (int level = 0; level <= setup->tape.count; level++)
		for (int row = 0; row < setup->tape.levels[level].rows; row++)
			sum = lat_random_mix(sum ^ (uint64_t) setup->tape.levels[level].origins[row]);
	return sum;
}

/* Along its gradient, a parameter's derivative is the gradient's norm. */
static void
check_parameter(Setup *setup, const char *what, float *values, const float *gradient, size_t n,
				int index)
{
	double		norm = 0;
	double		best = INFINITY;
	float	   *saved = malloc(n * sizeof(float));
	uint64_t	before = choice(setup);

	for (size_t i = 0; i < n; i++)
		norm += (double) gradient[i] * gradient[i];
	norm = sqrt(norm);
	memcpy(saved, values, n * sizeof(float));
	if (norm == 0)
	{
		/* a key's bias shifts all scores of a query alike, segment 1 may be unused; nothing else */
		free(saved);
		return;
	}
	for (double h = 0.05; h > 0.0002; h /= 3)
	{
		double		along = 0;
		double		moved = 0;
		bool		same = true;

		for (int sign = -1; sign <= 1; sign += 2)
		{
			for (size_t i = 0; i < n; i++)
				values[i] = (float) (saved[i] + sign * h * gradient[i] / norm);
			for (size_t i = 0; i < n; i++)
				moved += sign * (values[i] - (double) saved[i]) * gradient[i] / norm;
			along += sign * loss_of(setup);
			same = same && choice(setup) == before;
		}
		if (same)
			best = fmin(best, fabs(along / moved - norm) / (norm + 1e-3));
	}
	memcpy(values, saved, n * sizeof(float));
	free(saved);
	if (best == INFINITY)
		return;
	setup->worst = fmax(setup->worst, best);
	CHECK(best < TOLERANCE, "%s: %s %d: gradient of norm %.3g is %.2g off", setup->name, what,
		  index, norm, best);
}

static void
check_trained(Setup *setup, const char *what, const float *values, size_t n, int index)
{
	check_parameter(setup, what, (float *) values, lat_gradient_of(&setup->tape, values), n, index);
}

static void
check_linear(Setup *setup, const char *what, const LatLinear *linear, int index)
{
	if (linear->weights == NULL)
		return;
	check_trained(setup, what, linear->weights, (size_t) linear->k * linear->n_padded, index);
	check_trained(setup, "bias", linear->bias, linear->n_padded, index);
}

static void
check_norm(Setup *setup, const char *what, const LatNorm *norm, int width, int index)
{
	check_trained(setup, what, norm->gamma, width, index);
	check_trained(setup, what, norm->beta, width, index);
}

static void
check_words(Setup *setup)
{
	const LatEmbedding *words = &setup->model.words;

	for (int i = 0; i < MOST_ROWS; i += 7)
		if (i < setup->offsets[COUNT])
			check_parameter(setup, "word",
							(float *) words->codes + (size_t) setup->ids[i] * words->stride,
							setup->word_gradients +
							(size_t) setup->slots[setup->ids[i]] * words->stride,
							words->stride, setup->ids[i]);
}

static void
check_all(Setup *setup, const char *what)
{
	const LatModel *model = &setup->model;
	const LatConfig *config = &model->config;

	memset(setup->gradients, 0, trained_floats(model) * sizeof(float));
	memset(setup->word_gradients, 0,
		   (size_t) config->vocabulary * model->words.stride * sizeof(float));
	setup->worst = 0;
	loss_of(setup);
	CHECK(lat_tape_backward(&setup->tape) == LAT_OK, "%s: backward", setup->name);
	check_words(setup);
	check_trained(setup, "positions", model->positions.codes,
				  (size_t) model->positions.rows * model->positions.stride, 0);
	if (config->segments)
		check_trained(setup, "segments", model->segments.codes,
					  (size_t) model->segments.rows * model->segments.stride, 0);
	check_norm(setup, "embedding norm", &model->embedding_norm, config->embedding, 0);
	check_linear(setup, "projection", &model->embedding_projection, 0);
	for (int i = 0; i < config->layers; i++)
	{
		const LatLayer *layer = &model->layers[i];

		check_linear(setup, "qkv", &layer->qkv, i);
		check_linear(setup, "attention output", &layer->attention_output, i);
		check_norm(setup, "attention norm", &layer->attention_norm, config->hidden, i);
		check_linear(setup, "feed-forward in", &layer->feed_forward_in, i);
		check_linear(setup, "feed-forward out", &layer->feed_forward_out, i);
		check_norm(setup, "output norm", &layer->output_norm, config->hidden, i);
	}
	check_linear(setup, "head dense", &model->head_dense, 0);
	check_linear(setup, "head output", &model->head_output, 0);
	printf("%s, %s: worst relative error %.1e\n", setup->name, what, setup->worst);
}

int
main(int argc, char **argv)
{
	const char *names[] = {"tiny-classify", "tiny-span", "tiny-tag", "tiny-electra",
	"tiny-distilbert"};

	if (argc != 2)
		return 2;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		Setup		setup;

		if (!open_setup(&setup, argv[1], names[i]))
			continue;
		fill_batch(&setup);
		check_all(&setup, "in full");
		set_drops(&setup, 0.3);
		check_all(&setup, "with drops");
		setup.input.skipped = 1 << 1;
		check_all(&setup, "with drops and a skipped layer");
		setup.input.hidden_dropout = 0.1f;
		setup.input.attention_dropout = 0.2f;
		check_all(&setup, "with dropout as well");
		for (size_t n = 0; n < MOST_ROWS * setup.tape.teacher.ld; n++)
			setup.tape.teacher.data[n] = (float) (n % 7) / 4;
		setup.distil = true;
		check_all(&setup, "distillation");
		setup.about.reverse = true;
		check_all(&setup, "distillation, reverse");
		close_setup(&setup);
	}
	return check_done("gradient");
}
