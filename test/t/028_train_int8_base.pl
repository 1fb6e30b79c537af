# A short training run on a model that is stored in int8 only, as those that come with the
# extension: what it has learnt must still be there when the result is coded in int8 again.
use strict;
use warnings;

use LatTest;
use LatTrain;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('main');
my $found = $server->safe_psql('postgres', 'SELECT count(*) FROM lat_install_default_models()');
plan skip_all => 'the default models are not installed' if $found == 0;
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE tickets AS SELECT g AS id, g % 5 = 0 AS held_out,
	CASE g % 3 WHEN 0 THEN 'the printer is broken and makes noise number ' || g
		WHEN 1 THEN 'please pay the invoice amount ' || g || ' by friday'
		ELSE 'i forgot my password for account ' || g END AS body,
	CASE g % 3 WHEN 1 THEN 'positive' ELSE 'negative' END AS label
FROM generate_series(1, 400) g;
SQL

sub right
{
	my ($model) = @_;
	return $server->safe_psql('postgres', "SELECT round(100 * avg((lat_classify(body, model => '$model') = label)::int))
		FROM tickets WHERE held_out");
}

is($server->safe_psql('postgres', "SELECT precision FROM lat_model WHERE name = 'sst2'"), 'int8', 'the base is stored in int8');
cmp_ok(right('sst2'), '<', 75, 'and knows nothing of tickets');
my $run = $server->safe_psql('postgres', "SELECT lat_train('tickets', 'sst2', 'classify',
	'SELECT body, label FROM tickets WHERE NOT held_out ORDER BY id', '{\"epochs\": 3, \"lengthdrop_epochs\": 0, \"max_length\": 24, \"workers\": 2}')");
is(wait_for_run($server, $run), 'done', 'three epochs of ten steps');
cmp_ok(right('tickets'), '>=', 95, 'are kept in int8');

$server->stop;
done_testing();
