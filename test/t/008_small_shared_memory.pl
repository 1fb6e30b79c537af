# A container gives /dev/shm 64 MB. Models must not need it, nor take it from parallel queries.
use strict;
use warnings;

# Run this file again where /dev/shm is small, in a mount namespace of our own. That must come
# before the test modules take hold of the output.
BEGIN
{
	if (!$ENV{LAT_SMALL_SHM})
	{
		my @unshare = ('unshare', '--user', '--mount', '--map-current-user', '--keep-caps');
		my $mount = 'mount -t tmpfs -o size=64m tmpfs /dev/shm';
		if (system("@unshare sh -c '$mount' >/dev/null 2>&1") != 0)
		{
			print "1..0 # SKIP mount namespaces are not permitted here\n";
			exit 0;
		}
		$ENV{LAT_SMALL_SHM} = 1;
		exec(@unshare, 'sh', '-c', "$mount && exec \"\$@\"", 'sh', $^X, $0);
	}
}

use LatTest;
use Test::More;

sub shm_megabytes
{
	my ($line) = (split /\n/, `df --output=size -m /dev/shm`)[1];
	return defined $line ? $line + 0 : 0;
}

is(shm_megabytes(), 64, '/dev/shm has 64 MB');

my $checkpoint = find_checkpoint('SequenceClassification');
my $server = new_server('main', settings => "max_parallel_workers_per_gather = 2\n");
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE texts AS SELECT g AS id, 'text number ' || g AS body FROM generate_series(1, 400) g;
ALTER TABLE texts SET (parallel_workers = 2);
SQL
install_default_models($server);
import_version($server, 'm', make_version($checkpoint, 'v1'));

my @models = split /\n/, $server->safe_psql('postgres',
	"SELECT name FROM lat_model WHERE task IN ('classify', 'embed') ORDER BY name");
foreach my $model (@models)
{
	is($server->safe_psql('postgres', "SELECT count(*) FROM texts
		WHERE id <= 20 AND cardinality(lat_logits(body, model => '$model')) > 0"),
		'20', "$model runs");
}
is($server->safe_psql('postgres', q(SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0;
	SELECT count(*) FROM texts WHERE lat_classify(body, model => 'm') LIKE 'v1%')),
	'400', 'and so do parallel workers');
is($server->safe_psql('postgres', q(SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0;
	SET work_mem = '8MB'; SET enable_nestloop = off; SET enable_mergejoin = off;
	SELECT count(*) FROM texts a JOIN texts b USING (id))),
	'400', 'a parallel hash join still finds its memory');

$server->stop;
done_testing();
