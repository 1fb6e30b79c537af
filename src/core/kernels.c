/*
 * kernels.c
 *	  Choice of the kernel set, at run time, by what this CPU has.
 */
#include "kernels.h"

#include <string.h>

typedef struct Candidate
{
	const LatKernels *kernels;
	bool		available;
} Candidate;

const LatKernels *
lat_find_kernels(const char *name)
{
#if defined(__x86_64__)
	bool		avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vnni");
#endif

	/* from best to last */
	Candidate	candidates[] = {
#if defined(__x86_64__)
		{&lat_kernels_avx512_bf16, avx512 && __builtin_cpu_supports("avx512bf16")},
		{&lat_kernels_avx512, avx512},
		{&lat_kernels_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
#if defined(__aarch64__)
		{&lat_kernels_neon, true},
#endif
		{&lat_kernels_scalar, true},
	};

	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++)
	{
		const Candidate *candidate = &candidates[i];

		if (candidate->available &&
			(strcmp(name, "auto") == 0 || strcmp(name, candidate->kernels->name) == 0))
			return candidate->kernels;
	}
	return NULL;
}

const char *
lat_kernels_name(const LatKernels *kernels)
{
	return kernels->name;
}
