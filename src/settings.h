/*
 * settings.h
 *	  lat's settings (lat.c defines them) and the host that the core runs on.
 */
#ifndef LAT_SETTINGS_H
#define LAT_SETTINGS_H

#include "core/lat.h"

extern double setting_budget;		/* lat.budget */
extern double setting_max_budget;	/* lat.max_budget */
extern int	setting_precision;		/* lat.precision, a LatPrecision */
extern int	setting_train_workers;	/* lat.train_workers */

/* Kernels that lat.kernels names. */
extern const LatKernels *setting_kernels(void);

/*
 * The core's host: memory of CurrentMemoryContext (huge, NULL when out of
 * memory), and interrupts, which are processed on the spot and may longjmp.
 */
extern const LatHost *host_current(void);

/* The same with memory of a given context; *host must live as long as what is allocated. */
extern void host_in_context(LatHost *host, MemoryContext context);

/*
 * size bytes of the current context, 64-byte aligned, however many; ERROR 53200
 * if there is no such memory.  Freed with the context only.
 */
extern void *host_allocate_aligned(size_t size);

/* The text, or its beginning and "...": a column taken for a name may hold whole documents. */
extern const char *clip_for_message(const char *text);

/* ereport(ERROR) for a status of the core: SQLSTATE by status, message and hint by error. */
extern void report_core_error(LatStatus status, const LatError *error)
			__attribute__((noreturn));

/* The same unless the status is LAT_OK. */
extern void core_check(LatStatus status, const LatError *error);

#endif							/* LAT_SETTINGS_H */
