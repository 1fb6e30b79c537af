/*
 * default_models.c
 *	  lat_install_default_models: the models that come with the extension.
 *
 * They lie packed in the installation's share directory:
 *
 *		<sharedir>/lat/NAME.latpack		an int8 image (core/format.h)
 *		<sharedir>/lat/NAME.pareto		its Pareto points; may be absent
 *
 * The second is text: a header line, then a line a point, columns separated by
 * tabs, \N for null: lengths (separated by commas), reference_length, fraction,
 * mean_fraction, paper_fraction, quality, quality_low, quality_high, metric,
 * milliseconds.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "model_store.h"
#include "result_rows.h"
#include "settings.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define MAX_PARETO_ROWS 1000

static const char *const shipped[] = {"minilm", "sst2", "squad"};

PG_FUNCTION_INFO_V1(lat_install_default_models);

/* ---- files -------------------------------------------------------------------------------- */

static char *
shipped_path(const char *name, const char *suffix)
{
	char		share[MAXPGPATH];

	get_share_path(my_exec_path, share);
	return psprintf("%s/lat/%s.%s", share, name, suffix);
}

/* A file's bytes, 64-byte aligned and followed by a zero; NULL if there is none. */
static char *
read_file(const char *path, size_t *size)
{
	FILE	   *file = AllocateFile(path, PG_BINARY_R);
	struct stat status;
	char	   *bytes;

	if (file == NULL && errno == ENOENT)
		return NULL;
	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\" for reading: %m", path)));
	if (fstat(fileno(file), &status) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	*size = status.st_size;
	bytes = host_allocate_aligned(*size + 1);
	if (fread(bytes, 1, *size, file) != *size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", path)));
	bytes[*size] = '\0';
	FreeFile(file);
	return bytes;
}

static void
open_image(NewModel *model, const char *path)
{
	LatModel   *opened = palloc(sizeof(LatModel));
	LatError	error;
	LatStatus	status;

	if (!lat_is_image(model->content, model->size))
		ereport(ERROR,
				(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
				 errmsg("file \"%s\" is not a packed model", path),
				 errhint("Install the extension's files again.")));
	status = lat_model_open(model->content, model->size, opened, &error);
	if (status == LAT_OK)
		status = lat_model_verify(host_current(), opened, &error);
	if (status != LAT_OK)
		report_core_error(status, &error);
	store_describe(model, opened);
}

/* Split the lines of a .pareto file, in place; returns the number of points. */
static int
parse_pareto(char *text, const char *path, char *(*rows)[PARETO_COLUMNS])
{
	char	   *line_state = NULL;
	char	   *line = strtok_r(text, "\n", &line_state);	/* the header */
	int			count = 0;

	while ((line = strtok_r(NULL, "\n", &line_state)) != NULL)
	{
		int			columns = 0;
		char	   *column;

		while ((column = strsep(&line, "\t")) != NULL && columns < PARETO_COLUMNS)
			rows[count][columns++] = strcmp(column, "\\N") == 0 ? NULL : column;
		if (columns != PARETO_COLUMNS || column != NULL || count == MAX_PARETO_ROWS - 1)
			ereport(ERROR,
					(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
					 errmsg("line %d of file \"%s\" does not have %d columns",
							count + 2, path, PARETO_COLUMNS),
					 errhint("Install the extension's files again.")));
		count++;
	}
	return count;
}

/* ---- the SQL function --------------------------------------------------------------------- */

static void
install_pareto(const char *name, const char *digest)
{
	char	   *path = shipped_path(name, "pareto");
	size_t		size;
	char	   *text = read_file(path, &size);
	char	   *(*rows)[PARETO_COLUMNS];

	if (text == NULL)
		return;
	rows = palloc(MAX_PARETO_ROWS * sizeof(*rows));
	store_pareto(digest, rows, parse_pareto(text, path, rows));
}

/*
 * Install one model, if its file is there; false if not.  A model of that name
 * that somebody imported or trained stays: it has floats.  An earlier shipped
 * one is replaced.  The points of one that is there already stay as they are:
 * a search may have found better ones.
 */
static bool
install_model(const char *name, char *digest)
{
	char	   *path = shipped_path(name, "latpack");
	NewModel	model;
	ModelRow   *row;
	bool		known;

	model.content = read_file(path, &model.size);
	if (model.content == NULL)
		return false;
	open_image(&model, path);
	strlcpy(digest, model.digest, LAT_DIGEST_LENGTH + 1);
	row = store_find_model(name);
	if (row != NULL && !row->int8_only)
	{
		ereport(NOTICE,
				(errmsg("model \"%s\" is left alone, since it was imported or trained here",
						name),
				 errhint("Drop it first to have the model that comes with the extension.")));
		strlcpy(digest, row->digest, LAT_DIGEST_LENGTH + 1);
		return true;
	}
	known = row != NULL && strcmp(row->digest, model.digest) == 0;
	store_model(name, &model);
	if (!known)
		install_pareto(name, model.digest);
	return true;
}

Datum
lat_install_default_models(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	ResultRows	rows;
	size_t		i;
	int			installed = 0;

	store_check_allowed("lat_install_default_models()");
	result_begin(fcinfo, &rows);
	store_lock();
	context = AllocSetContextCreate(CurrentMemoryContext, "lat install", ALLOCSET_DEFAULT_SIZES);
	for (i = 0; i < lengthof(shipped); i++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(context);
		char		digest[LAT_DIGEST_LENGTH + 1];
		Datum		values[2];
		bool		nulls[2] = {false};

		if (install_model(shipped[i], digest))
		{
			values[0] = CStringGetTextDatum(shipped[i]);
			values[1] = CStringGetTextDatum(digest);
			result_put(&rows, values, nulls);
			installed++;
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	if (installed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("the extension was installed without models"),
				 errhint("\"make install\" copies them from the folder models/; "
						 "lat_import_model(name, directory) takes others.")));
	return (Datum) 0;
}
