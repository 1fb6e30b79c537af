/*
 * lat.c
 *	  The module: its settings and what must be set up when it is loaded.
 *
 * Everything works without shared_preload_libraries; preloading adds the
 * directory in shared memory that counts calls and attached backends.
 */
#include "postgres.h"

#include <math.h>
#include <unistd.h>

#include "catalog.h"
#include "compat.h"
#include "core/lat_training.h"
#include "cost.h"
#include "fmgr.h"
#include "model_cache.h"
#include "run.h"
#include "settings.h"
#include "stats.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

double		setting_budget = 1.0;
double		setting_max_budget = 1.0;
int			setting_precision = LAT_INT8;
int			setting_train_workers = 1;

/* In the order of kernel_options; the core looks kernels up by name. */
enum
{
	KERNELS_AUTO,
	KERNELS_SCALAR,
	KERNELS_AVX2,
	KERNELS_AVX512,
	KERNELS_AVX512_BF16,
	KERNELS_NEON
};

static int	setting_kernels_option = KERNELS_AUTO;
static const LatKernels *kernels_in_use = NULL;

static const struct config_enum_entry precision_options[] = {
	{"int8", LAT_INT8, false},
	{"fp32", LAT_FP32, false},
	{NULL, 0, false}
};

static const struct config_enum_entry kernel_options[] = {
	{"auto", KERNELS_AUTO, false},
	{"scalar", KERNELS_SCALAR, false},
	{"avx2", KERNELS_AVX2, false},
	{"avx512", KERNELS_AVX512, false},
	{"avx512_bf16", KERNELS_AVX512_BF16, false},
	{"neon", KERNELS_NEON, false},
	{NULL, 0, false}
};

const LatKernels *
setting_kernels(void)
{
	return kernels_in_use;
}

/* The range check of a real setting lets 0 and NaN pass. */
static bool
check_budget(double *value, void **extra, GucSource source)
{
	if (*value > 0 && *value <= 1)
		return true;
	GUC_check_errdetail("A budget is greater than 0 and at most 1.");
	return false;
}

static bool
check_kernels(int *value, void **extra, GucSource source)
{
	const char *name = kernel_options[*value].name;

	if (lat_find_kernels(name) != NULL)
		return true;
	GUC_check_errdetail("This CPU, or this build, lacks the kernels \"%s\".", name);
	GUC_check_errhint("\"auto\" takes the fastest kernels that this CPU has.");
	return false;
}

static void
assign_kernels(int value, void *extra)
{
	kernels_in_use = lat_find_kernels(kernel_options[value].name);
}

static void
define_budgets(void)
{
	DefineCustomRealVariable("lat.budget",
							 "Share of a model's full computation that a call may spend.",
							 "Used where a call names no budget. 1 computes in full.",
							 &setting_budget, 1.0, 0.0, 1.0,
							 PGC_USERSET, 0, check_budget, NULL, NULL);
	DefineCustomRealVariable("lat.max_budget",
							 "Upper limit of every budget.",
							 "A larger budget is clipped to it without notice.",
							 &setting_max_budget, 1.0, 0.0, 1.0,
							 PGC_SUSET, 0, check_budget, NULL, NULL);
}

/* The boot value must be the variable's value at that time. */
static void
define_workers(void)
{
	long		cores = sysconf(_SC_NPROCESSORS_ONLN);

	setting_train_workers = (int) Max(1, Min(cores, LAT_MAX_RANKS));
	DefineCustomIntVariable("lat.train_workers",
							"Processes that a training run or a search asks for.",
							"They are background workers, at most three quarters of "
							"max_worker_processes. The default is the number of cores.",
							&setting_train_workers, setting_train_workers, 1, LAT_MAX_RANKS,
							PGC_USERSET, 0, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	define_budgets();
	DefineCustomEnumVariable("lat.precision",
							 "Precision of the arithmetic: int8 or fp32.",
							 NULL,
							 &setting_precision, LAT_INT8, precision_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("lat.kernels",
							 "Instruction set of the inner loops.",
							 "\"auto\" takes the fastest that the CPU has.",
							 &setting_kernels_option, KERNELS_AUTO, kernel_options,
							 PGC_USERSET, 0, check_kernels, assign_kernels, NULL);
	define_workers();
	MarkGUCPrefixReserved("lat");

	catalog_init();
	cost_init();
	model_cache_init();
	run_control_init();
	stats_init();
}
