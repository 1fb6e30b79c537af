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
	bool		int8_only;		/* its content is a packed int8 image: the shipped models */
	int32		layers;			/* these three for estimates, without opening the model */
	int32		hidden;
	int32		max_tokens;
} ModelRow;

/* A row of lat_pareto. */
typedef struct ParetoRow
{
	LatPoint	point;			/* fraction at N, quality */
	int32		reference_length;	/* N */
	int			count;			/* of lengths; L, unless somebody has made a mistake */
	int32		lengths[LAT_MAX_LAYERS];
} ParetoRow;

/* Listen for changes of lat_model; at load of the library. */
extern void catalog_init(void);

/* Grows whenever a model, a default or a Pareto point may have changed. */
extern uint64 catalog_generation(void);

/*
 * Lock the tables and their indexes for reading, to the end of the transaction: before
 * waiting for anything that PostgreSQL's deadlock detector does not know.
 */
extern void catalog_lock(void);

/* OID of lat_model, and the extension's schema as a quoted identifier (palloc'd). */
extern Oid	catalog_model_relation(void);
extern char *catalog_schema(void);

/* ERROR 42501 unless the current user may SELECT from lat_model. */
extern void catalog_check_read(void);

/* ERROR 42501 unless the current user may write lat_model and the tables behind it. */
extern void catalog_check_write(void);

/* The model's row, in the current memory context; NULL if there is none. */
extern ModelRow *catalog_find_model(const char *name);

/* The same, but an ERROR 42704 whose hint lists the models if there is none. */
extern ModelRow *catalog_get_model(const char *name);

/* True if a model has this digest, under a snapshot of this very moment. */
extern bool catalog_names_digest(const char *digest);

/* Task of that name; false if there is none. "pair" is LAT_CLASSIFY. */
extern bool catalog_parse_task(const char *name, LatTask *task);

/* Name of the task's default ("classify", "pair", "span", "tag", "embed"), or NULL. */
extern char *catalog_default_model(const char *task);

/* Names of the models that serve a task (NULL: all), "a, b, c", for hints. At most 20. */
extern char *catalog_list_models(const char *task);

/* The model's Pareto points, by fraction, in the current memory context. */
extern ParetoRow *catalog_pareto(const char *digest, int *count);

/* Content of a model in one huge allocation of the current context, 64-byte aligned, re-hashed. */
extern char *catalog_read_content(const char *digest, size_t *size);

/* Bytes of content stored under a digest; 0: none. Cheap: reads no weights. */
extern size_t catalog_content_size(const char *digest);

#endif							/* LAT_CATALOG_H */
