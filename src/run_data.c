/*
 * run_data.c
 *	  The records that a run works on: from the rows of its queries into lat_run_data, and out.
 *
 *		tuplestore of records --renumber labels, choose, cut windows--> bytes
 *			--pieces of 1 MB--> lat_run_data --run_data_load--> shared block
 *
 * A record may begin in one piece and end in the next: what counts is all the
 * pieces of a part, end to end.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/random.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "model_cache.h"
#include "run_records.h"
#include "run_store.h"
#include "statement.h"
#include "utils/memutils.h"

#define PIECE_BYTES ((size_t) 1024 * 1024)
#define PIECES_A_LOT 16
#define HOLD_OUT_STREAM 0x686f6c64	/* "hold": keeps these draws apart from all others */

/* ---- writing ------------------------------------------------------------------------------ */

/* A piece being filled. */
typedef struct PieceWriter
{
	const Run  *run;
	RunPart		part;
	MemoryContext context;		/* of a record */
	bytea	   *piece;
	size_t		fill;
	int32		seq;
	int32		begun;			/* records that begin in the piece */
	RunStored	stored;
} PieceWriter;

static void
write_piece(PieceWriter *writer)
{
	Arguments	arguments = {0};
	Identity	before;

	if (writer->fill == 0)
		return;
	SET_VARSIZE(writer->piece, VARHDRSZ + writer->fill);
	add_bigint(&arguments, writer->run->id);
	add_int(&arguments, writer->part);
	add_int(&arguments, writer->seq++);
	add_int(&arguments, writer->begun);
	add_argument(&arguments, BYTEAOID, PointerGetDatum(writer->piece), false);
	become_tables_owner(&before);
	SPI_connect();
	(void) run_sql("INSERT INTO %1$s.lat_run_data (run, part, seq, records, data) "
				   "VALUES ($1, $2, $3, $4, $5)", &arguments);
	SPI_finish();
	become_again(&before);
	writer->fill = 0;
	writer->begun = 0;
}

static void
write_record(PieceWriter *writer, const char *bytes, size_t size)
{
	if (writer->stored.records == PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are more than %d examples", PG_INT32_MAX)));
	writer->stored.records++;
	writer->stored.bytes += size;
	writer->begun++;
	while (size > 0)
	{
		size_t		taken = Min(size, PIECE_BYTES - writer->fill);

		memcpy(VARDATA(writer->piece) + writer->fill, bytes, taken);
		writer->fill += taken;
		bytes += taken;
		size -= taken;
		if (writer->fill == PIECE_BYTES)
			write_piece(writer);
	}
}

static void
write_window(void *arg, const LatExample *window)
{
	size_t		size = lat_example_size(window);
	char	   *record = palloc(size);

	lat_example_write(window, record);
	write_record(arg, record, size);
	pfree(record);
}

/* ---- from row to record ------------------------------------------------------------------- */

/*
 * Labels in an example's record get their new places.  Fields of 4 bytes:
 * tokens T, first, target[0], target[1], ids (T), and with tags labels (T).
 */
static void
renumber_labels(int32 *fields, bool tags, const int32 *renumber)
{
	int32		tokens = fields[0];
	int32	   *labels = fields + 4 + tokens;
	int32		i;

	if (!tags && fields[2] >= 0)
		fields[2] = renumber[fields[2]];
	for (i = 0; tags && i < tokens; i++)
	{
		if (labels[i] >= 0)
			labels[i] = renumber[labels[i]];
	}
}

/* What is done with each row. */
typedef struct Conversion
{
	RunRows    *rows;
	bool		cut;			/* into windows */
	const int32 *renumber;
} Conversion;

static void
convert_row(const Conversion *conversion, bytea *record, PieceWriter *writer)
{
	const RunReader *reader = &conversion->rows->reader;
	size_t		size = VARSIZE(record) - VARHDRSZ;

	if (conversion->cut)
	{
		uint64_t	offset = 0;
		LatExamples all = {.kind = LAT_RECORD_QUESTION,.count = 1,
		.bytes = (uint8_t *) VARDATA(record),.offsets = &offset};
		LatQuestion question;

		lat_questions_get(&all, 0, &question);
		(void) record_cut_windows(model_cache_get(reader->digest, LAT_INT8), &question,
								  reader->max_tokens, write_window, writer);
		return;
	}
	if (conversion->renumber)
		renumber_labels((int32 *) VARDATA(record), reader->shape == SHAPE_WORDS_LABELS,
						conversion->renumber);
	write_record(writer, VARDATA(record), size);
}

/* ---- all rows ----------------------------------------------------------------------------- */

/* Selection sampling: of `left` rows that are still to come `wanted` are to be chosen. */
typedef struct Sampler
{
	LatRandom	random;
	uint32		index;
	uint32		left;
	uint32		wanted;
} Sampler;

static void
sampler_begin(Sampler *sampler, const RunHoldOut *choice, int64 rows)
{
	int64		wanted = (int64) (rows * choice->share + 0.5);

	if (wanted == 0 && rows > 1)
		wanted = 1;
	sampler->random = lat_random(choice->seed, HOLD_OUT_STREAM, 0, 0, 0);
	sampler->index = 0;
	sampler->left = (uint32) rows;
	sampler->wanted = (uint32) wanted;
}

static bool
sampler_next(Sampler *sampler)
{
	bool		chosen = lat_random_below(sampler->random, sampler->index, sampler->left)
		< sampler->wanted;

	sampler->index++;
	sampler->left--;
	sampler->wanted -= chosen;
	return chosen;
}

static void
store_rows(const Conversion *conversion, const RunHoldOut *choice, PieceWriter *writer)
{
	RunRows    *rows = conversion->rows;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rows->type, &TTSOpsMinimalTuple);
	Sampler		sampler = {0};

	if (choice)
		sampler_begin(&sampler, choice, rows->usable);
	tuplestore_rescan(rows->store);
	while (tuplestore_gettupleslot(rows->store, true, false, slot))
	{
		MemoryContext old;
		bool		is_null;
		bytea	   *record;

		CHECK_FOR_INTERRUPTS();
		if (choice && sampler_next(&sampler) == choice->rest)
			continue;
		old = MemoryContextSwitchTo(writer->context);
		record = DatumGetByteaPCopy(slot_getattr(slot, 1, &is_null));
		convert_row(conversion, record, writer);
		MemoryContextSwitchTo(old);
		MemoryContextReset(writer->context);
	}
	ExecDropSingleTupleTableSlot(slot);
}

RunStored
run_rows_store(const Run *run, RunPart part, RunRows *rows, LatRecordKind kind,
			   const int32 *renumber, const RunHoldOut *choice)
{
	Conversion	conversion = {.rows = rows,.renumber = renumber};
	PieceWriter writer = {.run = run,.part = part};

	if (rows->usable > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the %s query has more than %d rows", rows->reader.name, PG_INT32_MAX)));
	conversion.cut = kind == LAT_RECORD_EXAMPLE &&
		(rows->reader.shape == SHAPE_QUESTION || rows->reader.shape == SHAPE_QUESTION_ANSWER);
	writer.context = AllocSetContextCreate(CurrentMemoryContext, "lat run data",
										   ALLOCSET_DEFAULT_SIZES);
	writer.piece = palloc(VARHDRSZ + PIECE_BYTES);
	store_rows(&conversion, choice, &writer);
	write_piece(&writer);
	pfree(writer.piece);
	MemoryContextDelete(writer.context);
	return writer.stored;
}

/* ---- reading ------------------------------------------------------------------------------ */

RunStored
run_data_size(const Run *run, RunPart part)
{
	Arguments	arguments = {0};
	RunStored	stored;
	Identity	before;
	bool		is_null;

	add_bigint(&arguments, run->id);
	add_int(&arguments, part);
	become_tables_owner(&before);
	SPI_connect();
	(void) read_sql("SELECT coalesce(pg_catalog.sum(records), 0)::pg_catalog.int8, "
					"coalesce(pg_catalog.sum(pg_catalog.octet_length(data)), 0)::pg_catalog.int8 "
					"FROM %1$s.lat_run_data WHERE run OPERATOR(pg_catalog.=) $1 "
					"AND part OPERATOR(pg_catalog.=) $2", &arguments);
	stored.records = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
												 &is_null));
	stored.bytes = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2,
											   &is_null));
	SPI_finish();
	become_again(&before);
	return stored;
}

static void __attribute__((noreturn))
report_damage(const Run *run)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the stored data of run %lld are damaged", (long long) run->id),
			 errhint("Cancel the run with lat_cancel(%lld) and begin anew.",
					 (long long) run->id)));
}

static Portal
open_pieces(const Run *run, RunPart part)
{
	Oid			types[2] = {INT8OID, INT4OID};
	Datum		values[2] = {Int64GetDatum(run->id), Int32GetDatum(part)};
	char	   *sql = psprintf("SELECT data FROM %s.lat_run_data "
							   "WHERE run OPERATOR(pg_catalog.=) $1 "
							   "AND part OPERATOR(pg_catalog.=) $2 ORDER BY seq",
							   catalog_schema());

	return SPI_cursor_open_with_args(NULL, sql, 2, types, values, NULL, true, 0);
}

void
run_data_load(const Run *run, RunPart part, void *to, size_t size)
{
	Identity	before;
	Portal		cursor;
	size_t		filled = 0;
	uint64		i;

	become_tables_owner(&before);
	SPI_connect();
	cursor = open_pieces(run, part);
	for (;;)
	{
		SPI_cursor_fetch(cursor, true, PIECES_A_LOT);
		if (SPI_processed == 0)
			break;
		for (i = 0; i < SPI_processed; i++)
		{
			bool		is_null;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1,
											  &is_null);
			bytea	   *piece = DatumGetByteaPP(value);
			size_t		bytes = VARSIZE_ANY_EXHDR(piece);

			CHECK_FOR_INTERRUPTS();
			if (bytes > size - filled)
				report_damage(run);
			memcpy((char *) to + filled, VARDATA_ANY(piece), bytes);
			filled += bytes;
			if ((Pointer) piece != DatumGetPointer(value))
				pfree(piece);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(cursor);
	SPI_finish();
	become_again(&before);
	if (filled != size)
		report_damage(run);
}
