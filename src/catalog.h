/*
 * catalog.h
 *	  The extension's tables, as the rest of the glue sees them.
 *
 * Tables are found through the extension's schema, never through search_path,
 * and read under the active snapshot.
 */
#ifndef LAT_CATALOG_H
#define LAT_CATALOG_H

#include "core/lat.h"

#define LAT_DIGEST_LENGTH 64	/* sha256 in hexadecimal */

typedef struct ModelRow
{
	char	   *name;
	char		digest[LAT_DIGEST_LENGTH + 1];
	LatTask		task;
} ModelRow;

/* A row of lat_pareto. */
typedef struct ParetoRow
{
	LatPoint	point;			/* fraction at N, quality */
	int32		reference_length;	/* N */
	int32		lengths[LAT_MAX_LAYERS];	/* (L) */
} ParetoRow;

/* ERROR 42501 unless the current user may SELECT from lat_model. */
extern void catalog_check_read(void);

/* ERROR 42501 unless the current user may write lat_model. */
extern void catalog_check_write(void);

/* The model's row, in the current memory context; NULL if there is none. */
extern ModelRow *catalog_find_model(const char *name);

/* Name of the task's default ("classify", "pair", "span", "tag", "embed"), or NULL. */
extern char *catalog_default_model(const char *task);

/* Names of the models that serve a task (NULL: all), "a, b, c", for hints. At most 20. */
extern char *catalog_list_models(const char *task);

/* The model's Pareto points, by fraction, in the current memory context. */
extern ParetoRow *catalog_pareto(const char *digest, int *count);

/* Content of a model in one huge allocation of the current context, 64-byte aligned, re-hashed. */
extern char *catalog_read_content(const char *digest, size_t *size);

#endif							/* LAT_CATALOG_H */
