/*
 * answers.h
 *	  What evaluation shares with inference, so that both mean the same by an answer.
 */
#ifndef LAT_ANSWERS_H
#define LAT_ANSWERS_H

#include "vocabulary.h"

/* ---- tags (answers.c) --------------------------------------------------------------------- */

/* Label of a word, the first of equals. logits: (labels); probabilities: (labels), filled in. */
extern int	lat_word_label(const float *logits, int labels, float *probabilities);

/* Is it the label of words outside of all tags? */
extern bool lat_is_outside(const LatModel *model, int label);

/* Does `label` continue a tag that began with `first`? */
extern bool lat_continues_tag(const LatModel *model, int first, int label);

/* Do tags that began with these labels have one name, that behind "B-" or "I-"? */
extern bool lat_same_tag(const LatModel *model, int a, int b);

/* ---- spans (answer_f1.c) ------------------------------------------------------------------ */

/* F1 of an answer's words against the true one's, as SQuAD's evaluate-v1.1 has it. Valid UTF-8. */
extern LatStatus lat_answer_f1(const LatHost *host, LatWord answer, LatWord truth, float *f1,
							   LatError *error);

#endif							/* LAT_ANSWERS_H */
