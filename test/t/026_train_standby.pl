# A standby shows how runs fare on the primary, and promoted it can take them up: it has their data,
# though not their checkpoints.
use strict;
use warnings;

use LatTest;
use LatTrain;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_server('primary', allows_streaming => 1);
prepare_training($primary);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my %long = (epochs => 30, lengthdrop_epochs => 4, checkpoint_interval => 1);
my $done = start_run($primary, 'done', %long);
is(wait_for_run($primary, $done), 'done', 'a run on the primary');
my $run = start_run($primary, 'taken', %long);
poll_until('it has a checkpoint', sub { checkpoint_files($primary) });
poll_until('the standby sees it run', sub { run_state($standby, $run) eq 'running' });
is($standby->safe_psql('postgres', "SELECT pid IS NULL, step > 0 FROM lat_progress WHERE run = $run"), 't|t',
	'a standby shows its progress, and does not take it for interrupted');
is(error_of($standby, 'postgres', "SELECT lat_wait($run);"), '25006', 'there is no waiting on a standby');
is(error_of($standby, 'postgres', "SELECT lat_cancel($run);"), '25006', 'nor cancelling');
is(error_of($standby, 'postgres', "SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, label FROM texts');"), '25006', 'nor training');
is($standby->safe_psql('postgres', "SELECT lat_classify('the love', model => 'done')"), 'good', 'but a model that was trained is there');

$primary->stop('immediate');
$standby->promote;
is(run_state($standby, $run), 'interrupted', 'promoted, it knows that nobody works on the run');
is($standby->safe_psql('postgres', "SELECT lat_resume($run)"), 'queued', 'takes it up');
is(wait_for_run($standby, $run), 'done', 'and brings it to its end');
is(digest_of($standby, 'taken'), digest_of($standby, 'done'), 'in the same bits');
$standby->stop;
done_testing();
