/*
 * loss.c
 *	  Losses and their gradients with respect to the logits.
 *
 *		classify	cross-entropy of the class, a distribution over labels for each example
 *		span		mean of the cross-entropies of first and last token, two distributions over
 *					the example's tokens
 *		tag			cross-entropy of each labelled token
 *
 * A sub-model learns from the full model's outputs instead (in-place
 * distillation, arXiv 2010.07003 section 3.2): over the same distributions,
 * KL(full || sub), whose gradient is sub - full; as an option KL(sub || full), as
 * the reference code has it.  The full model's outputs are constants there.
 */
#include "training.h"

#include <math.h>
#include <string.h>

/* n logits, stride floats apart, that one softmax turns into probabilities. */
typedef struct Distribution
{
	const float *logits;
	const float *teacher;		/* the same place in the full model's logits */
	float	   *d;				/* the same place in the gradient */
	int			n;
	size_t		stride;
	double		weight;
} Distribution;

/* log of the sum of exponentials, the highest taken out */
static double
log_sum(const float *logits, int n, size_t stride)
{
	int			best = 0;
	double		sum = 1;

	for (int i = 1; i < n; i++)
		best = logits[i * stride] > logits[best * stride] ? i : best;
	for (int i = 0; i < n; i++)
		if (i != best)
			sum += exp((double) logits[i * stride] - logits[best * stride]);
	return logits[best * stride] + log(sum);
}

static double
cross_entropy(const Distribution *of, int target)
{
	double		total = log_sum(of->logits, of->n, of->stride);

	for (int i = 0; i < of->n; i++)
	{
		double		q = exp(of->logits[i * of->stride] - total);

		of->d[i * of->stride] = (float) (of->weight * (q - (i == target)));
	}
	return of->weight * (total - of->logits[target * of->stride]);
}

static double
divergence(const Distribution *of, bool reverse)
{
	double		sub = log_sum(of->logits, of->n, of->stride);
	double		full = log_sum(of->teacher, of->n, of->stride);
	double		sum = 0;

	for (int i = 0; i < of->n; i++)
	{
		double		log_q = of->logits[i * of->stride] - sub;
		double		log_p = of->teacher[i * of->stride] - full;

		sum += reverse ? exp(log_q) * (log_q - log_p) : exp(log_p) * (log_p - log_q);
	}
	for (int i = 0; i < of->n; i++)
	{
		double		log_q = of->logits[i * of->stride] - sub;
		double		log_p = of->teacher[i * of->stride] - full;
		double		d = reverse ? exp(log_q) * (log_q - log_p - sum) : exp(log_q) - exp(log_p);

		of->d[i * of->stride] = (float) (of->weight * d);
	}
	return of->weight * sum;
}

/* Either loss of one distribution; target is not looked at in distillation. */
static double
loss_of(Distribution of, const LatTargets *targets, int target)
{
	return of.teacher ? divergence(&of, targets->reverse) : cross_entropy(&of, target);
}

/* The distribution over labels in a row. */
static Distribution
row_distribution(const LatTargets *targets, LatMatrix logits, const LatMatrix *teacher,
				 LatMatrix d, int row)
{
	return (Distribution) {
		.logits = logits.data + row * logits.ld,
			.teacher = teacher ? teacher->data + row * teacher->ld : NULL,
			.d = d.data + row * d.ld,.n = targets->labels,.stride = 1,.weight = targets->weight
	};
}

static double
loss(const LatTargets *targets, LatMatrix logits, const LatMatrix *teacher, LatMatrix d)
{
	int			rows = targets->task == LAT_CLASSIFY ? targets->count :
		targets->offsets[targets->count];
	double		sum = 0;

	memset(d.data, 0, rows * d.ld * sizeof(float));
	if (targets->task == LAT_CLASSIFY)
		for (int s = 0; s < rows; s++)
			sum += loss_of(row_distribution(targets, logits, teacher, d, s), targets,
						   targets->targets[2 * s]);
	else if (targets->task == LAT_TAG)
	{
		for (int row = 0; row < rows; row++)
			if (targets->tags[row] >= 0)
				sum += loss_of(row_distribution(targets, logits, teacher, d, row), targets,
							   targets->tags[row]);
	}
	else
		for (int s = 0; s < targets->count; s++)
			for (int column = 0; column < 2; column++)
			{
				size_t		from = (size_t) targets->offsets[s];

				sum += loss_of((Distribution) {
					.logits = logits.data + from * logits.ld + column,
						.teacher = teacher ? teacher->data + from * teacher->ld + column : NULL,
						.d = d.data + from * d.ld + column,
						.n = targets->offsets[s + 1] - targets->offsets[s],.stride = logits.ld,
						.weight = targets->weight / 2
				}, targets, targets->targets[2 * s + column]);
			}
	return sum;
}

double
lat_task_loss(const LatTargets *targets, LatMatrix logits, LatMatrix d)
{
	return loss(targets, logits, NULL, d);
}

double
lat_distillation_loss(const LatTargets *targets, LatMatrix logits, LatMatrix teacher, LatMatrix d)
{
	return loss(targets, logits, &teacher, d);
}
