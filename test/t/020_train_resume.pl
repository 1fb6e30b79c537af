# Whatever happens to a run, it can be resumed from its latest checkpoint, and ends in the same
# bits as one that nothing happened to.
use strict;
use warnings;

use LatTest;
use LatTrain;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('main', settings => "restart_after_crash = on\nmax_worker_processes = 16\n");
prepare_training($server);
my %long = (epochs => 30, lengthdrop_epochs => 4, checkpoint_interval => 1);

sub wait_for_checkpoint
{
	my ($run) = @_;
	poll_until("run $run has a checkpoint", sub {
		$server->safe_psql('postgres', "SELECT checkpoint_step > 0 AND checkpoint_bytes > 100000 FROM lat_run WHERE run = $run") eq 't' });
}

sub wait_for_recovery
{
	my ($before) = @_;
	poll_until('the server has recovered', sub {
		my $now = '';
		$server->psql('postgres', 'SELECT pg_postmaster_start_time()', stdout => \$now) == 0
		  && (() = slurp_file($server->logfile) =~ /all server processes terminated; reinitializing/g) > $before });
}

sub crashes
{
	return scalar(() = slurp_file($server->logfile) =~ /all server processes terminated; reinitializing/g);
}

# What all the others have to come to.
my $undisturbed = start_run($server, 'undisturbed', %long, checkpoint_interval => 0);
is(wait_for_run($server, $undisturbed), 'done', 'a run that nothing happens to');
is($server->safe_psql('postgres', "SELECT processes FROM lat_run WHERE run = $undisturbed"), '2', 'by two processes');
my $digest = digest_of($server, 'undisturbed');
my $lines = $server->safe_psql('postgres', "SELECT count(*) FROM lat_run_log WHERE run = $undisturbed AND quality IS NOT NULL");

my @disturbances = (
	['kill -9 of the leader', sub { my ($run) = @_; my $n = crashes(); kill(9, leader_of($server, $run)); wait_for_recovery($n) }],
	['kill -9 of a helper', sub { my ($run) = @_; my $n = crashes(); kill(9, helpers_of($server, $run)); wait_for_recovery($n) }],
	['an immediate restart', sub { $server->stop('immediate'); $server->start }],
	['a fast restart', sub { $server->restart }],
	['SIGTERM of the leader', sub { my ($run) = @_; $server->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM lat_run WHERE run = $run") }],
	['SIGTERM of a helper', sub { my ($run) = @_; kill('TERM', helpers_of($server, $run)) }],
);
my $number = 0;
foreach my $disturbance (@disturbances)
{
	my ($name, $disturb) = @$disturbance;
	my $model = 'disturbed' . ++$number;
	my $run = start_run($server, $model, %long);
	wait_for_checkpoint($run);
	$disturb->($run);
	poll_until('the run is seen as interrupted', sub { run_state($server, $run) ne 'running' });
	is(run_state($server, $run), 'interrupted', "$name: the run is interrupted");
	is($server->safe_psql('postgres', "SELECT state FROM lat_progress WHERE run = $run"), 'interrupted', "$name: lat_progress says so");
	is(digest_of($server, $model), '', "$name: there is no half-made model");
	is(error_of($server, 'postgres', "SELECT lat_wait($run);"), '55000', "$name: lat_wait says so");
	poll_until('its processes are gone', sub { !workers_left($server) });
	is(scalar(checkpoint_files($server)), 1, "$name: there is a checkpoint");

	my $step = $server->safe_psql('postgres', "SELECT checkpoint_step FROM lat_run WHERE run = $run");
	is($server->safe_psql('postgres', "SELECT lat_resume($run)"), 'queued', "$name: it is resumed");
	is(wait_for_run($server, $run), 'done', "$name: and ends");
	is(digest_of($server, $model), $digest, "$name: in the same bits");
	like(slurp_file($server->logfile), qr/run $run continues from step $step\b/, "$name: from step $step");
	is($server->safe_psql('postgres', "SELECT resumed FROM lat_run WHERE run = $run"), '1', "$name: which is noted");
	is($server->safe_psql('postgres', "SELECT count(*), count(DISTINCT step) FROM lat_run_log WHERE run = $run AND quality IS NOT NULL"),
		"$lines|$lines", "$name: its log has each epoch once");
	is(scalar(checkpoint_files($server)), 0, "$name: the checkpoint is gone");
	is($server->safe_psql('postgres', 'SELECT count(*) FROM lat_run_data'), '0', "$name: and so are the data");
}

# A checkpoint that is damaged, or of another run, is not used: then the run begins anew.
my $run = start_run($server, 'damaged', %long);
wait_for_checkpoint($run);
$server->stop('immediate');
my ($file) = checkpoint_files($server);
open(my $handle, '+<', $file) or die "$file: $!";
seek($handle, (-s $file) / 2, 0);
print $handle "\xff\x00\xff\x00";
close($handle);
$server->start;
$server->safe_psql('postgres', "SELECT lat_resume($run)");
is(wait_for_run($server, $run), 'done', 'a damaged checkpoint does no harm');
is(digest_of($server, 'damaged'), $digest, 'the run comes to the same bits');
like(slurp_file($server->logfile), qr/checkpoint ".*run-\d+-$run.checkpoint" is not used/, 'and the log says why it took longer');

# Fewer processes than wanted, and the same bits.
$server->append_conf('postgresql.conf', "max_worker_processes = 2\n");
$server->restart;
$run = start_run($server, 'alone', %long);
is(wait_for_run($server, $run), 'done', 'without a slot for a helper');
is($server->safe_psql('postgres', "SELECT workers, processes FROM lat_run WHERE run = $run"), '2|1', 'the leader works alone');
is(digest_of($server, 'alone'), $digest, 'and comes to the same bits');

$server->stop;
done_testing();
