/*
 * catalog.c
 *	  The extension's tables: lat_model, lat_model_chunk, lat_pareto, lat_default.
 *
 * Scoring reads them with index scans in C, not with SQL: that costs
 * microseconds, needs no plan, runs on a hot standby and in a parallel worker,
 * and lets SELECT on lat_model alone be the right to use a model (its chunks
 * stay unreadable).  Such scans bypass PostgreSQL's own privilege checks, so
 * catalog_check_read() comes before them.
 *
 * The extension is not relocatable, so the tables' OIDs hold until a relcache
 * invalidation says otherwise.  A C trigger on the tables sends one for
 * lat_model at every change: it reaches all backends when the change commits,
 * and those of a standby when they replay that.
 *
 * Key columns have collation "C": scan keys made in C compare so, and an index
 * in another order would be searched wrongly.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "compat.h"
#include "digest.h"
#include "settings.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

typedef enum CatalogTable
{
	TABLE_MODEL,
	TABLE_CHUNK,
	TABLE_PARETO,
	TABLE_DEFAULT,
	TABLE_COUNT
} CatalogTable;

static const char *const table_names[TABLE_COUNT] = {
	"lat_model", "lat_model_chunk", "lat_pareto", "lat_default"
};

/* Columns, as the extension's script makes them. */
enum
{
	MODEL_NAME = 1,
	MODEL_DIGEST = 2,
	MODEL_TASK = 3,
	MODEL_LAYERS = 6,
	MODEL_HIDDEN = 7,
	MODEL_MAX_TOKENS = 8,
	MODEL_PRECISION = 9,
	CHUNK_SEQ = 2,
	CHUNK_DATA = 3,
	PARETO_LENGTHS = 2,
	PARETO_REFERENCE = 3,
	PARETO_FRACTION = 4,
	PARETO_QUALITY = 7,
	DEFAULT_MODEL = 2
};

#define MAX_LISTED 20			/* names in a hint */

/* OIDs, valid until lat_model or one of its neighbours is altered. */
static struct
{
	bool		valid;
	Oid			schema;
	Oid			tables[TABLE_COUNT];
	Oid			indexes[TABLE_COUNT];	/* primary keys */
}			known;

static uint64 generation = 1;

/* A scan in the order of the primary key. */
typedef struct KeyScan
{
	Relation	table;
	Relation	index;
	Snapshot	snapshot;
	SysScanDesc scan;
} KeyScan;

PG_FUNCTION_INFO_V1(lat_models_changed);

/* ---- where the tables are ----------------------------------------------------------------- */

static void
relation_changed(Datum arg, Oid relation)
{
	int			i;

	if (!known.valid)
	{
		generation++;			/* it may concern us: we do not know our tables just now */
		return;
	}
	for (i = 0; i < TABLE_COUNT; i++)
	{
		if (relation == InvalidOid || relation == known.tables[i])
		{
			known.valid = false;
			generation++;
			return;
		}
	}
}

void
catalog_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

uint64
catalog_generation(void)
{
	return generation;
}

/* Schema of the extension; ERROR if it is not in this database. */
static Oid
find_schema(void)
{
	Oid			extension = get_extension_oid("lat", true);
	Oid			schema = InvalidOid;
	Relation	relation;
	SysScanDesc scan;
	HeapTuple	tuple;
	ScanKeyData key;

	if (!OidIsValid(extension))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"lat\" is not installed in this database"),
				 errhint("Install it with CREATE EXTENSION lat.")));
	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(relation, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return schema;
}

static void
find_tables(void)
{
	uint64		before;
	int			i;

	if (known.valid)
		return;
	do
	{
		before = generation;
		known.schema = find_schema();
		for (i = 0; i < TABLE_COUNT; i++)
		{
			char		index_name[NAMEDATALEN];

			snprintf(index_name, sizeof(index_name), "%s_pkey", table_names[i]);
			known.tables[i] = get_relname_relid(table_names[i], known.schema);
			known.indexes[i] = get_relname_relid(index_name, known.schema);
			if (!OidIsValid(known.tables[i]) || !OidIsValid(known.indexes[i]))
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_TABLE),
						 errmsg("table \"%s\" of extension \"lat\", or its primary key, is missing",
								table_names[i]),
						 errhint("Drop the extension and create it again.")));
		}
	} while (before != generation); /* something was altered meanwhile: perhaps one of these */
	known.valid = true;
}

void
catalog_lock(void)
{
	int			i;

	do
	{
		find_tables();
		for (i = 0; i < TABLE_COUNT; i++)
		{
			LockRelationOid(known.tables[i], AccessShareLock);
			LockRelationOid(known.indexes[i], AccessShareLock);
		}
	} while (!known.valid);		/* they were altered while we waited */
}

Oid
catalog_model_relation(void)
{
	find_tables();
	return known.tables[TABLE_MODEL];
}

char *
catalog_schema(void)
{
	find_tables();
	return pstrdup(quote_identifier(get_namespace_name(known.schema)));
}

/*
 * Row trigger of lat_model, lat_default and lat_pareto.  A plain UPDATE of a
 * user table tells nobody; this tells every backend, when it commits.
 */
Datum
lat_models_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Oid			relation;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("lat_models_changed can only be called as a trigger")));
	relation = get_relname_relid(table_names[TABLE_MODEL],
								 RelationGetNamespace(trigger->tg_relation));
	if (OidIsValid(relation))
		CacheInvalidateRelcacheByRelid(relation);
	return PointerGetDatum(NULL);
}

/* ---- privileges --------------------------------------------------------------------------- */

void
catalog_check_read(void)
{
	find_tables();
	if (pg_class_aclcheck(known.tables[TABLE_MODEL], GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table lat_model"),
				 errhint("Using models needs SELECT on table %s.lat_model.", catalog_schema())));

	/* Scans in C see every row. Policies would be bypassed without a word, so refuse. */
	if (check_enable_rls(known.tables[TABLE_MODEL], InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row-level security on table lat_model is not supported"),
				 errhint("Grant or revoke SELECT on the table instead.")));
}

void
catalog_check_write(void)
{
	int			i;

	catalog_check_read();
	for (i = 0; i < TABLE_COUNT; i++)
	{
		AclMode		mode = ACL_SELECT | ACL_INSERT | ACL_DELETE;

		if (i == TABLE_MODEL || i == TABLE_DEFAULT)
			mode |= ACL_UPDATE;
		if (pg_class_aclmask(known.tables[i], GetUserId(), mode, ACLMASK_ALL) != mode)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to change models"),
					 errdetail("The current user may not write table %s.", table_names[i]),
					 errhint("Changing models needs SELECT, INSERT, UPDATE and DELETE on tables "
							 "lat_model, lat_model_chunk, lat_pareto and lat_default.")));
	}
}

/* ---- scans -------------------------------------------------------------------------------- */

/* Rows whose first key column is `key` (NULL: all rows), in the order of the primary key. */
static void
scan_begin(KeyScan *scan, CatalogTable table, const char *key)
{
	ScanKeyData scan_key;
	int			keys = 0;

	find_tables();
	if (key != NULL)
	{
		ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(key));
		keys = 1;
	}
	scan->table = table_open(known.tables[table], AccessShareLock);
	scan->index = index_open(known.indexes[table], AccessShareLock);
	scan->snapshot = RegisterSnapshot(ActiveSnapshotSet() ? GetActiveSnapshot()
									  : GetTransactionSnapshot());
	scan->scan = systable_beginscan_ordered(scan->table, scan->index, scan->snapshot,
											keys, &scan_key);
}

static HeapTuple
scan_next(KeyScan *scan)
{
	return systable_getnext_ordered(scan->scan, ForwardScanDirection);
}

static void
scan_end(KeyScan *scan)
{
	systable_endscan_ordered(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, AccessShareLock);
	table_close(scan->table, AccessShareLock);
}

/* A column; all that are read this way are NOT NULL. */
static Datum
get_column(KeyScan *scan, HeapTuple tuple, int column)
{
	bool		is_null;
	Datum		value = heap_getattr(tuple, column, RelationGetDescr(scan->table), &is_null);

	if (is_null)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("null in column %d of table %s", column,
						RelationGetRelationName(scan->table))));
	return value;
}

/* ---- models ------------------------------------------------------------------------------- */

bool
catalog_parse_task(const char *name, LatTask *task)
{
	LatTask		candidate;

	if (strcmp(name, "pair") == 0)
	{
		*task = LAT_CLASSIFY;
		return true;
	}
	for (candidate = LAT_CLASSIFY; candidate <= LAT_EMBED; candidate++)
	{
		if (strcmp(name, lat_task_name(candidate)) == 0)
		{
			*task = candidate;
			return true;
		}
	}
	return false;
}

/* A digest becomes part of a file name: nothing but 64 hexadecimal digits may pass. */
static void
copy_digest(const char *stored, char *digest)
{
	if (strlen(stored) != LAT_DIGEST_LENGTH ||
		strspn(stored, "0123456789abcdef") != LAT_DIGEST_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table lat_model holds a digest that is not a sha256")));
	strlcpy(digest, stored, LAT_DIGEST_LENGTH + 1);
}

ModelRow *
catalog_find_model(const char *name)
{
	KeyScan		scan;
	HeapTuple	tuple;
	ModelRow   *row = NULL;

	scan_begin(&scan, TABLE_MODEL, name);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		char	   *task = TextDatumGetCString(get_column(&scan, tuple, MODEL_TASK));
		char	   *kind = TextDatumGetCString(get_column(&scan, tuple, MODEL_PRECISION));

		row = palloc(sizeof(ModelRow));
		row->name = TextDatumGetCString(get_column(&scan, tuple, MODEL_NAME));
		copy_digest(TextDatumGetCString(get_column(&scan, tuple, MODEL_DIGEST)), row->digest);
		row->int8_only = strcmp(kind, "int8") == 0;
		row->layers = DatumGetInt32(get_column(&scan, tuple, MODEL_LAYERS));
		row->hidden = DatumGetInt32(get_column(&scan, tuple, MODEL_HIDDEN));
		row->max_tokens = DatumGetInt32(get_column(&scan, tuple, MODEL_MAX_TOKENS));
		if (!catalog_parse_task(task, &row->task))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("model \"%s\" has an unknown task \"%s\"", name, task)));
	}
	scan_end(&scan);
	return row;
}

ModelRow *
catalog_get_model(const char *name)
{
	ModelRow   *row = catalog_find_model(name);

	if (row == NULL)
	{
		char	   *names = catalog_list_models(NULL);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" does not exist", clip_for_message(name)),
				 names[0] ? errhint("There are: %s.", names)
				 : errhint("There is no model yet. Call lat_install_default_models() "
						   "or lat_import_model(name, directory).")));
	}
	return row;
}

/*
 * A catalog snapshot (what systable_beginscan takes for NULL) is made anew at
 * each scan of a table that has no system cache, even in a parallel worker,
 * where no other way to a fresh snapshot is allowed.
 */
bool
catalog_names_digest(const char *digest)
{
	Relation	table;
	SysScanDesc scan;
	ScanKeyData key;
	bool		found;

	find_tables();
	ScanKeyInit(&key, MODEL_DIGEST, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(digest));
	table = table_open(known.tables[TABLE_MODEL], AccessShareLock);
	scan = systable_beginscan(table, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(table, AccessShareLock);
	return found;
}

char *
catalog_default_model(const char *task)
{
	KeyScan		scan;
	HeapTuple	tuple;
	char	   *name = NULL;

	scan_begin(&scan, TABLE_DEFAULT, task);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		name = TextDatumGetCString(get_column(&scan, tuple, DEFAULT_MODEL));
	scan_end(&scan);
	return name;
}

char *
catalog_list_models(const char *task)
{
	StringInfoData names;
	KeyScan		scan;
	HeapTuple	tuple;
	LatTask		wanted = LAT_CLASSIFY;
	LatTask		served;
	int			listed = 0;

	if (task != NULL && !catalog_parse_task(task, &wanted))
		elog(ERROR, "unknown task \"%s\"", task);
	initStringInfo(&names);
	scan_begin(&scan, TABLE_MODEL, NULL);
	while (HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		char	   *its_task = TextDatumGetCString(get_column(&scan, tuple, MODEL_TASK));

		if (task != NULL && (!catalog_parse_task(its_task, &served) || served != wanted))
			continue;
		if (listed == MAX_LISTED)
		{
			appendStringInfoString(&names, ", ...");
			break;
		}
		appendStringInfo(&names, "%s%s", listed ? ", " : "",
						 TextDatumGetCString(get_column(&scan, tuple, MODEL_NAME)));
		listed++;
	}
	scan_end(&scan);
	return names.data;
}

/* ---- Pareto points ------------------------------------------------------------------------ */

static int
compare_points(const void *a, const void *b)
{
	const LatPoint *left = &((const ParetoRow *) a)->point;
	const LatPoint *right = &((const ParetoRow *) b)->point;

	if (left->fraction != right->fraction)
		return left->fraction < right->fraction ? -1 : 1;
	if (left->quality != right->quality)
		return left->quality > right->quality ? -1 : 1;
	return 0;
}

/* Returns how many. */
static int
read_lengths(Datum value, int32 *lengths)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	int			count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) != 1 || array_contains_nulls(array) || count > LAT_MAX_LAYERS)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table lat_pareto holds lengths that are not a list of 1 to %d numbers",
						LAT_MAX_LAYERS)));
	memcpy(lengths, ARR_DATA_PTR(array), count * sizeof(int32));
	return count;
}

ParetoRow *
catalog_pareto(const char *digest, int *count)
{
	KeyScan		scan;
	HeapTuple	tuple;
	int			capacity = 16;
	ParetoRow  *rows = palloc(capacity * sizeof(ParetoRow));

	*count = 0;
	scan_begin(&scan, TABLE_PARETO, digest);
	while (HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		ParetoRow  *row;

		if (*count == capacity)
		{
			capacity *= 2;
			rows = repalloc(rows, capacity * sizeof(ParetoRow));
		}
		row = &rows[(*count)++];
		memset(row, 0, sizeof(ParetoRow));
		row->count = read_lengths(get_column(&scan, tuple, PARETO_LENGTHS), row->lengths);
		row->reference_length = DatumGetInt32(get_column(&scan, tuple, PARETO_REFERENCE));
		row->point.fraction = DatumGetFloat8(get_column(&scan, tuple, PARETO_FRACTION));
		row->point.quality = DatumGetFloat8(get_column(&scan, tuple, PARETO_QUALITY));
	}
	scan_end(&scan);
	qsort(rows, *count, sizeof(ParetoRow), compare_points);
	return rows;
}

/* ---- content ------------------------------------------------------------------------------ */

size_t
catalog_content_size(const char *digest)
{
	KeyScan		scan;
	HeapTuple	tuple;
	size_t		size = 0;

	scan_begin(&scan, TABLE_CHUNK, digest);
	while (HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		CHECK_FOR_INTERRUPTS();
		/* the size stands in the toast pointer */
		size += toast_raw_datum_size(get_column(&scan, tuple, CHUNK_DATA)) - VARHDRSZ;
	}
	scan_end(&scan);
	return size;
}

static void __attribute__((noreturn))
report_damage(const char *digest)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the stored content of model %.12s is damaged", digest),
			 errdetail("Its chunks do not add up to what its digest says."),
			 errhint("Drop the model and import it again.")));
}

char *
catalog_read_content(const char *digest, size_t *size)
{
	char		found[LAT_DIGEST_LENGTH + 1];
	KeyScan		scan;
	HeapTuple	tuple;
	size_t		filled = 0;
	char	   *content;
	int			seq = 0;

	*size = catalog_content_size(digest);
	content = host_allocate_aligned(*size);
	scan_begin(&scan, TABLE_CHUNK, digest);
	while (HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		Datum		value = get_column(&scan, tuple, CHUNK_DATA);
		bytea	   *chunk;

		CHECK_FOR_INTERRUPTS();
		chunk = DatumGetByteaPP(value);
		if (DatumGetInt32(get_column(&scan, tuple, CHUNK_SEQ)) != seq++ ||
			VARSIZE_ANY_EXHDR(chunk) > *size - filled)
			report_damage(digest);
		memcpy(content + filled, VARDATA_ANY(chunk), VARSIZE_ANY_EXHDR(chunk));
		filled += VARSIZE_ANY_EXHDR(chunk);
		if ((Pointer) chunk != DatumGetPointer(value))
			pfree(chunk);
	}
	scan_end(&scan);
	digest_compute_hex(content, filled, found);
	if (filled != *size || strcmp(found, digest) != 0)
		report_damage(digest);
	return content;
}
