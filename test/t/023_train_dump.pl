# A dump holds the history of runs that have ended, and nothing of those that have not.
use strict;
use warnings;

use LatTest;
use LatTrain;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('main');
prepare_training($server);
my $done = start_run($server, 'done', epochs => 1);
is(wait_for_run($server, $done), 'done', 'a run');
my $running = start_run($server, 'never', epochs => 10000, lengthdrop_epochs => 0, checkpoint_interval => 1);
poll_until('another runs', sub { checkpoint_files($server) });

my $folder = PostgreSQL::Test::Utils::tempdir();
command_ok([ 'pg_dump', '-d', $server->connstr('postgres'), '-f', "$folder/plain.sql" ], 'a dump beside a run');
my $history = "SELECT run, owner, model, state, options, digest, (SELECT count(*) FROM lat_run_log l WHERE l.run = r.run) > 0
	FROM lat_run r ORDER BY run";
my $before = $server->safe_psql('postgres', "SELECT * FROM ($history) h WHERE run = $done");

# In another cluster, where the owner's role may be another's number.
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
$other->safe_psql('postgres', 'CREATE ROLE somebody; CREATE DATABASE copy');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $other->connstr('copy'), '-o', "$folder/psql.out", '-f', "$folder/plain.sql" ],
	'is restored');
is($other->safe_psql('copy', $history), $before, 'what has ended is there');
is($other->safe_psql('copy', 'SELECT count(*) FROM lat_run_data'), '0', 'without data');
is($other->safe_psql('copy', "SET ROLE somebody; SELECT count(*) FROM lat_run"), '0', 'and nobody else\'s');
my $next = start_run($other, 'next', database => 'copy', epochs => 1);
cmp_ok($next, '>', $running, 'numbers go on');
is(wait_for_run($other, $next, 'copy'), 'done', 'and so does training');

$server->safe_psql('postgres', "SELECT lat_cancel($running)");
$other->stop;
$server->stop;
done_testing();
