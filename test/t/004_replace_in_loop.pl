# PL/pgSQL keeps what a call site caches for the whole transaction. A replacement must be seen at
# the next iteration all the same, be it the transaction's own or another session's.
use strict;
use warnings;

use LatTest;
use Test::More;

my $checkpoint = find_checkpoint('SequenceClassification');
my $server = new_server('main');
my @versions = map { make_version($checkpoint, "v$_") } 0 .. 3;
import_version($server, 'm', $versions[0]);

my $own = $server->safe_psql('postgres', <<"SQL");
CREATE FUNCTION own() RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
	folders text[] := ARRAY['$versions[1]', '$versions[2]', '$versions[3]'];
	label text;
	seen text := '';
BEGIN
	FOR i IN 1 .. 4 LOOP
		label := lat_classify('a text', model => 'm');
		seen := seen || split_part(label, '_', 1) || ' ';
		IF i <= 3 THEN
			PERFORM lat_import_model('m', folders[i]);
		END IF;
	END LOOP;
	RETURN seen;
END
\$\$;
SELECT own();
SQL
is($own, 'v0 v1 v2 v3 ', 'a transaction sees its own replacements at once');

my $undone = $server->safe_psql('postgres', <<"SQL");
CREATE FUNCTION undone() RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
	label text;
	seen text := '';
BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			label := lat_classify('a text', model => 'm');
			seen := seen || split_part(label, '_', 1) || ' ';
			PERFORM lat_import_model('m', '$versions[0]');
			label := lat_classify('a text', model => 'm');
			seen := seen || split_part(label, '_', 1) || ' ';
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
	RETURN seen;
END
\$\$;
SELECT undone();
SQL
is($undone, 'v3 v0 v3 v0 v3 v0 ', 'a replacement undone is seen no more');

# Another session replaces the model while a loop runs.
my $loop = $server->background_psql('postgres', on_error_stop => 0);
$loop->query_until(qr/looping/, <<'SQL');
SET client_min_messages = notice;
CREATE TABLE seen (label text, at timestamptz DEFAULT clock_timestamp());
\echo looping
DO $$
DECLARE
	label text;
	first text;
BEGIN
	first := split_part(lat_classify('a text', model => 'm'), '_', 1);
	FOR i IN 1 .. 3000 LOOP
		label := split_part(lat_classify('a text', model => 'm'), '_', 1);
		EXIT WHEN label <> first;
		PERFORM pg_sleep(0.01);
	END LOOP;
	INSERT INTO seen VALUES (first || ' ' || label);
END
$$;
SQL
$server->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%DO \$\$%' AND wait_event = 'PgSleep'")
  or die 'the loop never started';
import_version($server, 'm', $versions[1]);
$server->poll_query_until('postgres', 'SELECT count(*) = 1 FROM seen')
  or die 'the loop never saw the replacement';
is($server->safe_psql('postgres', 'SELECT label FROM seen'),
	'v3 v1', "another session's replacement is seen at the next iteration");
$loop->quit;

# One snapshot, one version: REPEATABLE READ keeps the old one.
my $steady = $server->background_psql('postgres', on_error_stop => 0);
my $label = "SELECT split_part(lat_classify('a text', model => 'm'), '_', 1)";
$steady->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($steady->query_safe($label), 'v1', 'a transaction begins with a version');
import_version($server, 'm', $versions[2]);
is($steady->query_safe($label), 'v1', 'and under REPEATABLE READ stays with it');
$steady->query_safe('COMMIT');
is($steady->query_safe($label), 'v2', 'until it ends');
$steady->quit;

$server->stop;
done_testing();
