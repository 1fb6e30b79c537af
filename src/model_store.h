/*
 * model_store.h
 *	  Writing the extension's tables: models come, are replaced, and go.
 */
#ifndef LAT_MODEL_STORE_H
#define LAT_MODEL_STORE_H

#include "catalog.h"

/* Content of a model, checked and ready to be stored. */
typedef struct NewModel
{
	const char *content;
	size_t		size;
	char		digest[LAT_DIGEST_LENGTH + 1];
	LatConfig	config;
	const char *precision;		/* of the content: "float" or "int8" */
	Datum		labels;			/* text[], or 0: the task has none */
} NewModel;

/*
 * ERROR unless the transaction and the current user may change models;
 * `function` is named in the message.
 */
extern void store_check_allowed(const char *function);

/* The argument as a text, ERROR 22004 if it is NULL. */
extern char *store_text_argument(FunctionCallInfo fcinfo, int number, const char *name);

/* ERROR 22023 unless a model can have that name. */
extern void store_check_name(const char *name);

/*
 * Let no other transaction change models until this one ends; readers go on.
 * What is read afterwards (by store_find_model) is the latest state.
 */
extern void store_lock(void);
extern ModelRow *store_find_model(const char *name);

/* Fill in digest, config, precision and labels from an opened image of the content. */
extern void store_describe(NewModel *model, const LatModel *image);

/* Store a model under a name, replacing what had it. store_lock() comes first. */
extern void store_model(const char *name, const NewModel *model);

/* Replace the Pareto points of a digest by rows of lat_pareto, as a VALUES list's text values. */
#define PARETO_COLUMNS 10
extern void store_pareto(const char *digest, char *(*rows)[PARETO_COLUMNS], int count);

#endif							/* LAT_MODEL_STORE_H */
