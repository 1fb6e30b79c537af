# A dump brings models, Pareto points and defaults back: into another database, and into another
# cluster.
use strict;
use warnings;

use LatTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $checkpoint = find_checkpoint('SequenceClassification');
my $server = new_server('main');
import_version($server, 'first', make_version($checkpoint, 'v1'));
import_version($server, 'second', make_version($checkpoint, 'v2'));
$server->safe_psql('postgres', <<'SQL');
SELECT lat_set_default('classify', 'second');
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality)
	SELECT digest, ARRAY(SELECT 64 FROM generate_series(1, layers)), 128, 0.5, 88.5
	FROM lat_model WHERE name = 'first';
CREATE TABLE texts AS SELECT g AS id, 'text number ' || g AS body FROM generate_series(1, 10) g;
CREATE VIEW labelled AS SELECT id, lat_classify(body, model => 'first') AS label FROM texts;
SQL

my $state = q(SELECT (SELECT string_agg(name || digest || task || labels::text, ';' ORDER BY name) FROM lat_model),
	(SELECT string_agg(model || task, ';' ORDER BY task) FROM lat_default),
	(SELECT string_agg(digest || lengths::text || reference_length || fraction || quality, ';') FROM lat_pareto),
	(SELECT sum(length(data)) FROM lat_model_chunk),
	(SELECT string_agg(label, ' ' ORDER BY id) FROM labelled),
	(SELECT string_agg(label || score, ' ' ORDER BY label) FROM lat_scores('a text', budget => 0.6, model => 'first')),
	lat_classify('a text'));
my $before = $server->safe_psql('postgres', $state);
like($before, qr/v2_\d$/, 'the default is in effect');

my $folder = PostgreSQL::Test::Utils::tempdir();
command_ok([ 'pg_dump', '-d', $server->connstr('postgres'), '-f', "$folder/plain.sql" ],
	'a plain dump');
command_ok([ 'pg_dump', '-Fc', '-d', $server->connstr('postgres'), '-f', "$folder/custom" ],
	'a dump in the custom format');

$server->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $server->connstr('copy'), '-o',
		"$folder/psql.out", '-f', "$folder/plain.sql" ], 'restored into a new database');
is($server->safe_psql('copy', $state), $before, 'everything is back');

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
$other->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $other->connstr('copy'), "$folder/custom" ],
	'restored into a new cluster');
is($other->safe_psql('copy', $state), $before, 'everything is back there, too');

$other->stop;
$server->stop;
done_testing();
