/*
 * input.c
 *	  Tokens become the sequence that the encoder takes: special tokens, segments, truncation.
 *
 * Too long a pair is cut by the reference's rule longest_first: with room for R
 * tokens and n1 <= n2, the longer one is cut alone if that is enough to make it
 * fit (n2 = R - n1 >= n1); else both are cut to R / 2, and an odd token goes to
 * the one that was longer (to the second, if they were equal).
 */
#include "lat.h"

#include <string.h>

/* Lengths after truncation to room tokens in all. */
static void
cut_longest_first(int32_t room, int32_t *first, int32_t *second)
{
	int32_t    *shorter = *first > *second ? second : first;
	int32_t    *longer = *first > *second ? first : second;

	if ((int64_t) *first + *second <= room)
		return;
	if (*shorter <= room / 2)
		*longer = room - *shorter;
	else
	{
		*shorter = room / 2;
		*longer = room - room / 2;
	}
}

/* One text's tokens, then [SEP]. */
static void
append_tokens(LatInput *input, const LatTokens *tokens, int32_t count, uint8_t segment,
			  int32_t sep_id)
{
	for (int32_t i = 0; i <= count; i++)
	{
		input->ids[input->tokens] = i < count ? tokens->ids[i] : sep_id;
		input->segments[input->tokens] = segment;
		input->sources[input->tokens] = i < count ? i : -1;
		input->tokens++;
	}
}

LatStatus
lat_build_input(const LatHost *host, const LatModel *model, const LatTokens *first,
				const LatTokens *second, int32_t max_tokens, LatInput *input, LatError *error)
{
	int32_t		first_count = first->count;
	int32_t		second_count = second ? second->count : 0;
	int32_t		special = second ? 3 : 2;
	size_t		total;

	memset(input, 0, sizeof(*input));
	if (max_tokens < 5)
		return lat_fail(error, LAT_BAD_ARGUMENT, "a limit of %d tokens is too low, it must be at "
						"least 5", max_tokens);
	cut_longest_first(max_tokens - special, &first_count, &second_count);
	total = (size_t) first_count + (size_t) second_count + (size_t) special;
	input->ids = host->alloc(host->arg, total * (2 * sizeof(int32_t) + 1));
	if (input->ids == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for %zu tokens", total);
	input->sources = input->ids + total;
	input->segments = (uint8_t *) (input->sources + total);
	input->ids[0] = model->config.cls_id;
	input->segments[0] = 0;
	input->sources[0] = -1;
	input->tokens = 1;
	append_tokens(input, first, first_count, 0, model->config.sep_id);
	if (second)
		append_tokens(input, second, second_count, 1, model->config.sep_id);
	input->truncated = !first->complete || first_count < first->count ||
		(second && (!second->complete || second_count < second->count));
	return LAT_OK;
}

void
lat_input_release(const LatHost *host, LatInput *input)
{
	host->release(host->arg, input->ids);
	memset(input, 0, sizeof(*input));
}
