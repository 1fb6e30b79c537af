/*
 * search_points.c
 *	  The configurations that a search has tried: table lat_search_point.
 *
 * lat_pareto holds the few that are worth using, and every scoring statement
 * reads it; these are all, for pictures and for those who want to know.  Like
 * the tables of the runs this one is nobody's to write but its owner's, whose
 * identity is taken here: who may change models needs no further grant.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "run_store.h"
#include "search_points.h"
#include "statement.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* "{12,9,5}" */
static Datum
lengths_text(const int32 *lengths, int layers)
{
	StringInfoData text;
	int			i;

	initStringInfo(&text);
	for (i = 0; i < layers; i++)
		appendStringInfo(&text, "%c%d", i ? ',' : '{', lengths[i]);
	appendStringInfoChar(&text, '}');
	return CStringGetTextDatum(text.data);
}

/* An array a column, as $3 to $7: lengths, fraction, quality, examples, abandoned. */
static void
add_columns(Arguments *arguments, const LatCandidate *candidates, int count, int layers)
{
	Datum	   *columns[5];
	int			c;
	int			i;

	for (c = 0; c < 5; c++)
		columns[c] = palloc(count * sizeof(Datum));
	for (i = 0; i < count; i++)
	{
		columns[0][i] = lengths_text(candidates[i].lengths, layers);
		columns[1][i] = Float8GetDatum(candidates[i].fraction);
		columns[2][i] = Float8GetDatum(100 * candidates[i].selection);
		columns[3][i] = Int32GetDatum(candidates[i].evaluated);
		columns[4][i] = BoolGetDatum(candidates[i].abandoned);
	}
	add_argument(arguments, TEXTARRAYOID, PointerGetDatum(
				 construct_array(columns[0], count, TEXTOID, -1, false, 'i')), false);
	add_argument(arguments, FLOAT8ARRAYOID, PointerGetDatum(
				 construct_array(columns[1], count, FLOAT8OID, 8, FLOAT8PASSBYVAL, 'd')), false);
	add_argument(arguments, FLOAT8ARRAYOID, PointerGetDatum(
				 construct_array(columns[2], count, FLOAT8OID, 8, FLOAT8PASSBYVAL, 'd')), false);
	add_argument(arguments, INT4ARRAYOID, PointerGetDatum(
				 construct_array(columns[3], count, INT4OID, 4, true, 'i')), false);
	add_argument(arguments, BOOLARRAYOID, PointerGetDatum(
				 construct_array(columns[4], count, BOOLOID, 1, true, 'c')), false);
}

static void
delete_points(const char *digest)
{
	(void) run_sql_with_text("DELETE FROM %1$s.lat_search_point "
							 "WHERE digest OPERATOR(pg_catalog.=) $1", digest);
}

void
search_points_replace(const char *digest, const LatCandidate *candidates, int count, int layers,
					  int32 reference_length)
{
	Arguments	arguments = {0};
	Identity	before;

	become_tables_owner(&before);
	SPI_connect();
	delete_points(digest);
	add_text(&arguments, digest);
	add_int(&arguments, reference_length);
	add_columns(&arguments, candidates, count, layers);
	(void) run_sql("INSERT INTO %1$s.lat_search_point (digest, lengths, reference_length, "
				   "fraction, quality, examples, abandoned) "
				   "SELECT $1, p.lengths::pg_catalog.int4[], $2, p.fraction, p.quality, "
				   "p.examples, p.abandoned "
				   "FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), "
				   "pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) "
				   "AS p (lengths, fraction, quality, examples, abandoned)", &arguments);
	SPI_finish();
	become_again(&before);
}

void
search_points_delete(const char *digest)
{
	Identity	before;

	become_tables_owner(&before);
	SPI_connect();
	delete_points(digest);
	SPI_finish();
	become_again(&before);
}
