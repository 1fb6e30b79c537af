# What a trained model is stored as: an fp32 image. It scores in both precisions, outlives a dump,
# is left alone by lat_install_default_models(), and is checked as a stranger's.
use strict;
use warnings;

use LatTest;
use LatTrain;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('main');
prepare_training($server);
is(wait_for_run($server, start_run($server, 'sst2', epochs => 4)), 'done', 'a model is trained');

sub scores
{
	my ($database, $precision) = @_;
	return $server->safe_psql($database, "SET lat.precision = $precision;
		SELECT string_agg(id || ' ' || class || ' ' || score, ';' ORDER BY id, class)
		FROM texts, lat_scores(body, model => 'sst2') s(class, score) WHERE id <= 30");
}

sub agreement
{
	my ($condition) = @_;
	return $server->safe_psql('postgres', "SET lat.precision = fp32;
		CREATE TEMP TABLE full_precision AS SELECT id, label, score FROM texts, lat_scores(body, model => 'sst2') s(class, score) WHERE id <= 60 AND class = label;
		SET lat.precision = int8;
		SELECT $condition FROM full_precision f, texts t, lat_scores(t.body, model => 'sst2') s(class, score)
		WHERE t.id = f.id AND class = f.label");
}

is($server->safe_psql('postgres', "SELECT precision FROM lat_model WHERE name = 'sst2'"), 'float',
	'it is stored in floats');
is($server->safe_psql('postgres', "SELECT encode(sha256(string_agg(data, '' ORDER BY seq)), 'hex') = m.digest
	AND substring(string_agg(data, '' ORDER BY seq) FOR 8) = 'lat-pack' FROM lat_model m JOIN lat_model_chunk USING (digest)
	WHERE name = 'sst2' GROUP BY m.digest"), 't', 'as an image, which has the digest');
my $int8 = scores('postgres', 'int8');
my $fp32 = scores('postgres', 'fp32');
isnt($int8, $fp32, 'the two precisions are computed apart');
is(agreement('count(*) = 60 AND max(abs(f.score - s.score)) < 0.05'), 't', 'and give about the same');
is($server->safe_psql('postgres', "SELECT string_agg(l.precision, ' ' ORDER BY l.precision) FROM lat_loaded_models l
	JOIN lat_model m ON m.digest = l.digest WHERE name = 'sst2'"), 'fp32 int8', 'both are in the cache');
my ($right) = $server->safe_psql('postgres', "SELECT count(*) FROM texts WHERE id <= 100 AND lat_classify(body, model => 'sst2') = label");
ok($right >= 95, "$right of 100 labels are right");

# Converting in another backend, or on another server, gives the same bits.
$server->restart;
is(scores('postgres', 'int8'), $int8, 'the same in int8 after a restart');
my $folder = PostgreSQL::Test::Utils::tempdir();
$server->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'pg_dump', '-Fc', '-d', $server->connstr('postgres'), '-f', "$folder/dump" ], 'a dump');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $server->connstr('copy'), "$folder/dump" ], 'restored');
is(scores('copy', 'int8'), $int8, 'the same in int8 out of a dump');
is(scores('copy', 'fp32'), $fp32, 'the same in fp32 out of a dump');

# It has the name of a model that comes with the extension, and stays.
SKIP:
{
	my $digest = digest_of($server, 'sst2');
	skip 'there are no default models', 2 unless install_default_models($server);
	is(digest_of($server, 'sst2'), $digest, 'installing the default models leaves it alone');
	is(scores('postgres', 'int8'), $int8, 'and its results');
}

# A stranger's image under a digest of its own: one byte of its weights makes a NaN of a float.
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE image AS
	SELECT string_agg(data, '' ORDER BY seq) AS bytes FROM lat_model m JOIN lat_model_chunk USING (digest)
	WHERE name = 'sst2';
UPDATE image SET bytes = overlay(bytes PLACING '\xffffffff' FROM length(bytes) - 511 FOR 4);
INSERT INTO lat_model_chunk (digest, seq, data) SELECT encode(sha256(bytes), 'hex'), 0, bytes FROM image;
INSERT INTO lat_model SELECT 'stranger', encode(sha256(bytes), 'hex'), task, labels, architecture, layers, hidden,
	max_tokens, precision, parameters, imported FROM lat_model, image WHERE name = 'sst2';
SQL
foreach my $precision ('int8', 'fp32')
{
	is(error_of($server, 'postgres', "SET lat.precision = $precision; SELECT lat_classify('a film', model => 'stranger')"),
		'22P04', "a damaged image is refused under $precision");
}

$server->stop;
done_testing();
