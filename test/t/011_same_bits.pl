# A text's result has the same bits alone, among others, and in a parallel worker, in both
# precisions.
use strict;
use warnings;

use LatTest;
use Test::More;

my $checkpoint = find_checkpoint('SequenceClassification');
my $server = new_server('main', settings => "max_parallel_workers_per_gather = 2\n");
import_version($server, 'm', make_version($checkpoint, 'v1'));
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE texts AS
	SELECT g AS id, left(repeat('some words of text number ' || g || ', ', 1 + g % 7), 5 + g % 150) AS body
	FROM generate_series(1, 300) g;
ALTER TABLE texts SET (parallel_workers = 2);
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality)
	SELECT digest, ARRAY(SELECT greatest(2, 64 >> l) FROM generate_series(1, layers) l), 128, 0.5, 80
	FROM lat_model;
SQL

my $serial = 'SET max_parallel_workers_per_gather = 0;';
my $parallel = 'SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;';
my $plan = $server->safe_psql('postgres',
	"$parallel EXPLAIN (ANALYZE, COSTS OFF) SELECT id, lat_logits(body, model => 'm') FROM texts");
like($plan, qr/Workers Launched: [12]/, 'parallel workers take part');

foreach my $precision ('int8', 'fp32')
{
	my %calls = (
		logits => "lat_logits(body, model => 'm')::text",
		score => "lat_score(body, 'v1_1', model => 'm')::text",
		'score under a budget' => "lat_score(body, 'v1_1', 0.5, 'm')::text");
	foreach my $name (sort keys %calls)
	{
		my $all = "SELECT md5(string_agg(id || $calls{$name}, ';' ORDER BY id)) FROM texts";
		my $expected = $server->safe_psql('postgres', "$serial SET lat.precision = $precision; $all");
		is($server->safe_psql('postgres', "$parallel SET lat.precision = $precision;
				SELECT md5(string_agg(id || r, ';' ORDER BY id)) FROM (SELECT id, $calls{$name} AS r FROM texts OFFSET 0) s"),
			$expected, "$precision, $name: parallel workers");
		is($server->safe_psql('postgres', "$serial SET lat.precision = $precision;
				SELECT md5(string_agg(id || r, ';' ORDER BY id)) FROM (SELECT id, $calls{$name} AS r FROM texts ORDER BY random()) s"),
			$expected, "$precision, $name: in another order");
		is($server->safe_psql('postgres', "$serial SET lat.precision = $precision;
				CREATE TEMP TABLE alone (id int, r text);
				DO \$\$ DECLARE i int; BEGIN FOR i IN 1 .. 300 LOOP
					INSERT INTO alone SELECT id, $calls{$name} FROM texts WHERE id = i;
				END LOOP; END \$\$;
				SELECT md5(string_agg(id || r, ';' ORDER BY id)) FROM alone"),
			$expected, "$precision, $name: one at a time");
	}
}

$server->stop;
done_testing();
