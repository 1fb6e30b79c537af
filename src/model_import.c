/*
 * model_import.c
 *	  lat_import_model: from a Hugging Face checkpoint directory into the tables.
 *
 *		directory --find_parts--> files and sizes --read_parts--> content (core/source.c)
 *			--pack_once--> known to be good --model_store.c--> tables
 *
 * The content is packed once before anything is stored, and the image thrown
 * away: whatever is wrong with a checkpoint, down to a NaN among its weights,
 * comes out here and not at the first query.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "compat.h"
#include "core/format.h"
#include "fmgr.h"
#include "model_store.h"
#include "settings.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define MAX_CONTENT_BYTES (UINT64CONST(2) * 1024 * 1024 * 1024)
#define READ_BYTES ((size_t) 1024 * 1024)

typedef struct Checkpoint
{
	const char *directory;
	uint64_t	sizes[LAT_PART_COUNT];	/* 0: absent */
} Checkpoint;

PG_FUNCTION_INFO_V1(lat_import_model);

/* ---- what is there ------------------------------------------------------------------------ */

static bool
file_exists(const char *directory, const char *name)
{
	struct stat status;

	return stat(psprintf("%s/%s", directory, name), &status) == 0;
}

static void
check_directory(const char *directory)
{
	struct stat status;

	if (!is_absolute_path(directory))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is not an absolute path", directory),
				 errhint("Give the full path of a directory on the database server's machine.")));
	if (stat(directory, &status) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not access directory \"%s\": %m", directory),
				 errhint("The directory must be on the database server's machine, "
						 "and readable by the server process.")));
	if (!S_ISDIR(status.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a directory", directory),
				 errhint("Give the directory that holds config.json and model.safetensors.")));
}

/* Say why there is no model.safetensors. */
static void __attribute__((noreturn))
report_no_weights(const char *directory)
{
	static const char *const pickles[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
	"model.pt", "model.pth", "model.bin"};
	size_t		i;

	if (file_exists(directory, "model.safetensors.index.json"))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the weights in \"%s\" are spread over several files", directory),
				 errhint("Load the model in Python and save it with "
						 "save_pretrained(directory, max_shard_size=\"2GB\").")));
	for (i = 0; i < lengthof(pickles); i++)
	{
		if (file_exists(directory, pickles[i]))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("\"%s/%s\" is a Python pickle, which can run code when it is read",
							directory, pickles[i]),
					 errhint("Convert it in Python: load the model with from_pretrained and save "
							 "it with save_pretrained(directory, safe_serialization=True).")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("there is no file \"model.safetensors\" in \"%s\"", directory),
			 errhint("Save the model with save_pretrained(directory) "
					 "of the Python package transformers.")));
}

/* Size of a part's file; 0 if there is none. */
static uint64
part_size(const char *directory, LatSourcePart part)
{
	char	   *path = psprintf("%s/%s", directory, lat_part_name(part));
	struct stat status;

	if (stat(path, &status) < 0)
	{
		if (errno == ENOENT)
			return 0;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not access file \"%s\": %m", path)));
	}
	if (!S_ISREG(status.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a regular file", path)));
	if (status.st_size == 0)
		ereport(ERROR,
				(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
				 errmsg("file \"%s\" is empty", path),
				 errhint("Copy or download the model again.")));
	return status.st_size;
}

static void
find_parts(Checkpoint *checkpoint)
{
	const char *directory = checkpoint->directory;
	uint64_t   *sizes = checkpoint->sizes;
	LatSourcePart part;

	for (part = 0; part < LAT_PART_COUNT; part++)
		sizes[part] = part_size(directory, part);
	if (sizes[LAT_PART_CONFIG] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("there is no file \"config.json\" in \"%s\"", directory),
				 errhint("Give a directory that holds a Hugging Face checkpoint: config.json, "
						 "model.safetensors, and vocab.txt or tokenizer.json.")));
	if (sizes[LAT_PART_WEIGHTS] == 0)
		report_no_weights(directory);
	if (sizes[LAT_PART_TOKENIZER] == 0 && sizes[LAT_PART_VOCABULARY] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("there is neither \"vocab.txt\" nor \"tokenizer.json\" in \"%s\"",
						directory),
				 errhint("Save the tokenizer there as well, with its save_pretrained(directory).")));
	/* tokenizer.json says all that vocab.txt does, and more */
	if (sizes[LAT_PART_TOKENIZER] != 0)
		sizes[LAT_PART_VOCABULARY] = 0;
	for (part = 0; part < LAT_PART_COUNT; part++)
	{
		if (sizes[part] > MAX_CONTENT_BYTES || lat_source_size(sizes) > MAX_CONTENT_BYTES)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the model in \"%s\" is larger than 2 GB", directory),
					 errhint("Save it with 16-bit weights, or choose a smaller model.")));
	}
}

/* ---- reading ------------------------------------------------------------------------------ */

static void
read_part(const Checkpoint *checkpoint, LatSourcePart part, char *target)
{
	char	   *path = psprintf("%s/%s", checkpoint->directory, lat_part_name(part));
	FILE	   *file = AllocateFile(path, PG_BINARY_R);
	uint64		done = 0;

	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\" for reading: %m", path),
				 errhint("The file must be readable by the server process.")));
	while (done < checkpoint->sizes[part])
	{
		size_t		wanted = Min(checkpoint->sizes[part] - done, READ_BYTES);
		size_t		got;

		CHECK_FOR_INTERRUPTS();
		got = fread(target + done, 1, wanted, file);
		if (ferror(file))
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", path)));
		if (got < wanted)
			ereport(ERROR,
					(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
					 errmsg("file \"%s\" became shorter while it was read", path),
					 errhint("Import the model once it has been copied in full.")));
		done += got;
	}
	FreeFile(file);
}

static char *
read_parts(const Checkpoint *checkpoint, size_t *size)
{
	LatSourcePart part;
	char	   *content;

	*size = lat_source_size(checkpoint->sizes);
	content = host_allocate_aligned(*size);
	/* the gaps between the parts are part of what is hashed */
	memset(content, 0, lat_source_header_size());
	lat_write_source_header(content, checkpoint->sizes);
	for (part = 0; part < LAT_PART_COUNT; part++)
	{
		uint64		start = lat_source_part_offset(checkpoint->sizes, part);
		uint64		end = start + checkpoint->sizes[part];

		if (checkpoint->sizes[part] == 0)
			continue;
		read_part(checkpoint, part, content + start);
		memset(content + end, 0, Min(*size, LAT_ROUND_UP(end, LAT_ALIGNMENT)) - end);
	}
	return content;
}

/* Pack in int8 to see that it can be done, and to learn what the model is. */
static void
pack_once(NewModel *model)
{
	const LatHost *host = host_current();
	LatModel   *opened = palloc(sizeof(LatModel));
	LatPacker  *packer;
	LatError	error;
	LatStatus	status;

	status = lat_packer_open(host, model->content, model->size, LAT_INT8, &packer, &error);
	if (status == LAT_OK)
	{
		size_t		size = lat_packer_image_size(packer);
		void	   *image = host_allocate_aligned(size);

		status = lat_packer_write(packer, image, &error);
		if (status == LAT_OK)
			status = lat_model_open(image, size, opened, &error);
		if (status == LAT_OK)
			store_describe(model, opened);
		lat_packer_close(packer);
	}
	if (status != LAT_OK)
		report_core_error(status, &error);
}

/* ---- the SQL function --------------------------------------------------------------------- */

static void
check_may_read_files(void)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to import a model from the server's files"),
				 errhint("Only roles with privileges of pg_read_server_files may do that; "
						 "lat_install_default_models() needs no such privilege.")));
}

Datum
lat_import_model(PG_FUNCTION_ARGS)
{
	char	   *name = store_text_argument(fcinfo, 0, "name");
	Checkpoint	checkpoint = {.directory = store_text_argument(fcinfo, 1, "directory")};
	MemoryContext context;
	MemoryContext old_context;
	NewModel	model;
	text	   *digest;

	store_check_allowed("lat_import_model()");
	check_may_read_files();
	store_check_name(name);
	check_directory(checkpoint.directory);

	context = AllocSetContextCreate(CurrentMemoryContext, "lat import", ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	find_parts(&checkpoint);
	model.content = read_parts(&checkpoint, &model.size);
	pack_once(&model);
	store_lock();
	store_model(name, &model);
	MemoryContextSwitchTo(old_context);
	digest = cstring_to_text(model.digest);
	MemoryContextDelete(context);
	PG_RETURN_TEXT_P(digest);
}
