/*
 * examples.h
 *	  Where an example's targets lie, for those who fill them in.
 */
#ifndef LAT_EXAMPLES_H
#define LAT_EXAMPLES_H

#include "lat_training.h"

/* target[2] of an example, start and stop of a question. */
extern int32_t *lat_examples_target(LatExamples *examples, int32_t i);

/* Labels (T) of an example that has some. */
extern int32_t *lat_examples_labels(LatExamples *examples, int32_t i);

#endif							/* LAT_EXAMPLES_H */
