/*
 * train_shim.c
 *	  Training behind a few plain functions, for train.py and train_bf16.py: processes that
 *	  share a block.
 *
 * The processes are forked and meet at a barrier in shared memory, as PostgreSQL's workers do
 * with condition variables; each has the host's plain malloc.
 */
#include "core/train.h"
#include "../plain_host.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_STEPS 100000

/* In front of the run's block, in shared memory. */
typedef struct Shared
{
	pthread_barrier_t barrier;
	int32_t		status;			/* of rank 0 */
	int64_t		steps;			/* done by rank 0 */
	LatError	error;
	double		seconds[MOST_STEPS];	/* of each step */
	LatTrainReport reports[MOST_STEPS];
} Shared;

static LatError last_error;

static const LatHost host = PLAIN_HOST;

const char *
train_error(void)
{
	return last_error.message;
}

static bool
wait_barrier(void *arg)
{
	pthread_barrier_wait(arg);
	return true;
}

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

typedef struct Run
{
	Shared	   *shared;
	void	   *block;
	size_t		size;
	LatModel	base;
	void	   *image;
} Run;

/* Examples as records. */
typedef struct Records
{
	const void *bytes;
	size_t		size;
	int			count;
} Records;

/* A run: base image, a new head of `labels` (0: the base's own), train, dev; NULL on failure. */
Run *
train_create(const void *image, size_t image_size, int task, int labels,
			 const Records *records, const LatTrainOptions *options)
{
	const char *names[LAT_MAX_LABELS];
	LatNewHead	head = {.task = (LatTask) task,.labels = labels,.names = names,.seed = 1};
	Run		   *run = calloc(1, sizeof(Run));
	LatTrainingSizes sizes = {.base = &run->base,.head = labels ? &head : NULL,
	.train_bytes = records[0].size,.train_count = records[0].count,
	.dev_bytes = records[1].size,.dev_count = records[1].count};
	void	   *train;
	void	   *dev;
	LatStatus	status;

	for (int i = 0; i < labels; i++)
	{
		char	   *name = malloc(16);

		snprintf(name, 16, "label %d", i);
		names[i] = name;
	}
	run->image = aligned_alloc(64, (image_size + 63) / 64 * 64);
	memcpy(run->image, image, image_size);
	status = lat_model_open(run->image, image_size, &run->base, &last_error);
	if (status == LAT_OK)
		status = lat_training_size(&sizes, options, &run->size, &last_error);
	if (status != LAT_OK)
		return NULL;
	run->shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
					   -1, 0);
	run->block = mmap(NULL, run->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	status = lat_training_create(&host, run->block, &sizes, options, &train, &dev, &last_error);
	if (status != LAT_OK)
		return NULL;
	memcpy(train, records[0].bytes, records[0].size);
	if (records[1].size > 0)
		memcpy(dev, records[1].bytes, records[1].size);
	return run;
}

size_t
train_block_size(const Run *run)
{
	return run->size;
}

static int
work(Run *run, const char *kernels, int size, int rank, int64_t steps)
{
	LatTeam		team = {.size = size,.rank = rank,.wait = wait_barrier,
	.arg = &run->shared->barrier};
	LatTrainer *trainer;
	LatTrainReport report;
	LatStatus	status = lat_trainer_open(&host, lat_find_kernels(kernels), &team, run->block,
										  &trainer, &run->shared->error);

	if (status != LAT_OK)
		return status;
	pthread_barrier_wait(&run->shared->barrier);
	for (int64_t step = 0; status == LAT_OK && step < steps; step++)
	{
		double		from = now();

		status = lat_train_step(trainer, &report, &run->shared->error);
		if (rank > 0)
			continue;
		run->shared->seconds[step] = now() - from;
		run->shared->reports[step] = report;
		run->shared->steps = step + 1;
	}
	lat_trainer_close(trainer);
	return status;
}

/* `steps` steps by `size` processes; seconds and losses: (steps). A LatStatus. */
int
train_steps(Run *run, const char *kernels, int size, int steps, double *seconds, double *losses)
{
	pthread_barrierattr_t attributes;
	int			worst = LAT_OK;

	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&run->shared->barrier, &attributes, (unsigned) size);
	for (int rank = 0; rank < size; rank++)
	{
		if (fork() == 0)
			_exit(work(run, kernels, size, rank, steps));
	}
	for (int rank = 0; rank < size; rank++)
	{
		int			status;

		wait(&status);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != LAT_OK)
			worst = WIFEXITED(status) ? WEXITSTATUS(status) : LAT_BAD_MODEL;
	}
	last_error = run->shared->error;
	for (int step = 0; step < steps; step++)
	{
		seconds[step] = run->shared->seconds[step];
		losses[step] = run->shared->reports[step].loss;
	}
	return worst;
}

/* Quality on dev, in full and of the smallest sub-model: (2). A LatStatus. */
int
train_evaluate(Run *run, const char *kernels, double *quality)
{
	LatTeam		team = {.size = 1};
	LatTrainer *trainer;
	LatStatus	status = lat_trainer_open(&host, lat_find_kernels(kernels), &team, run->block,
										  &trainer, &last_error);

	if (status == LAT_OK)
		status = lat_train_evaluate(trainer, &quality[0], &quality[1], &last_error);
	if (status == LAT_OK)
		lat_trainer_close(trainer);
	return status;
}

/* Examples of the first `steps` steps, (steps, batch), -1 where a batch is smaller. */
int
train_batches(Run *run, int steps, int batch, int32_t *numbers)
{
	LatTeam		team = {.size = 1};
	LatTrainer *trainer;
	LatStatus	status = lat_trainer_open(&host, lat_find_kernels("auto"), &team, run->block,
										  &trainer, &last_error);

	for (int step = 0; status == LAT_OK && step < steps; step++)
	{
		lat_plan_step(trainer, step);
		for (int i = 0; i < batch; i++)
			numbers[step * batch + i] = i < trainer->count ? trainer->batch[i] : -1;
	}
	if (status == LAT_OK)
		lat_trainer_close(trainer);
	return status;
}

void
train_close(Run *run)
{
	munmap(run->block, run->size);
	munmap(run->shared, sizeof(Shared));
	free(run->image);
	free(run);
}
