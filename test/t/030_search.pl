# A search comes to the same points whoever works on it and whatever happens to it; its points
# appear in one moment, and never for a model that is gone.
use strict;
use warnings;

use LatTest;
use LatTrain;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $checkpoint = find_checkpoint('SequenceClassification');
my $server = new_server('main', settings => "restart_after_crash = on\nmax_worker_processes = 16\n");
my @versions = map { make_version($checkpoint, "v$_") } 0 .. 2;
import_version($server, 'm', $versions[0]);
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE texts AS
	SELECT g AS id, (ARRAY['the','old','man','was','in','town'])[1 + g % 6] || ' ' || g || ' '
		|| (ARRAY['hate','love','film'])[1 + g / 5 % 3] || repeat(' and a cat', g % 9) || (ARRAY[' sat',' ran','!'])[1 + g / 7 % 3] AS body
	FROM generate_series(1, 1000) g;
SQL

sub begin_search
{
	my ($model, %options) = @_;
	%options = (iterations => 30, mutations => 15, crossovers => 15, reference_length => 64, workers => 2, seed => 3, %options);
	my $json = '{' . join(', ', map { qq("$_": $options{$_}) } sort keys %options) . '}';
	return $server->safe_psql('postgres', "SELECT lat_search('$model', 'SELECT body FROM texts ORDER BY id', '$json')");
}

# All that a search of a digest has left, but for the times.
sub points_of
{
	my ($digest) = @_;
	return $server->safe_psql('postgres', <<"SQL");
SELECT count(*), md5(string_agg((lengths, reference_length, fraction, mean_fraction, paper_fraction, quality, quality_low, quality_high, metric)::text, ' ' ORDER BY lengths))
FROM lat_pareto WHERE digest = '$digest'
UNION ALL
SELECT count(*), md5(string_agg((lengths, reference_length, fraction, quality, examples, abandoned)::text, ' ' ORDER BY lengths))
FROM lat_search_point WHERE digest = '$digest'
SQL
}

sub wait_for_step
{
	my ($run, $step) = @_;
	poll_until("run $run has done step $step", sub {
		$server->safe_psql('postgres', "SELECT coalesce(max(step), 0) >= $step FROM lat_run_log WHERE run = $run") eq 't' });
}

sub wait_for_checkpoint
{
	my ($run) = @_;
	poll_until("run $run has a checkpoint", sub {
		$server->safe_psql('postgres', "SELECT checkpoint_step > 0 FROM lat_run WHERE run = $run") eq 't' });
}

my $digest = digest_of($server, 'm');
my $began = time();
my $run = begin_search('m', checkpoint_interval => 0);
is(wait_for_run($server, $run), 'done', 'a search that nothing happens to');
measured(sprintf('%d candidates, %d of them abandoned, %d evaluations in %.0f s', split(/\|/,
	$server->safe_psql('postgres', "SELECT candidates, abandoned, examples FROM lat_run_log WHERE run = $run ORDER BY step DESC LIMIT 1")), time() - $began));
is($server->safe_psql('postgres', "SELECT processes FROM lat_run WHERE run = $run"), '2', 'by two processes');
my $points = points_of($digest);
like($points, qr/^\d{1,3}\|.*\n\d{3,}\|/, 'a frontier, and all that was tried');

# One process.
$server->safe_psql('postgres', 'DELETE FROM lat_pareto');
is(wait_for_run($server, begin_search('m', workers => 1)), 'done', 'one process');
is(points_of($digest), $points, 'comes to the same points');
is(wait_for_run($server, begin_search('m', seed => 4)), 'done', 'another seed');
isnt(points_of($digest), $points, 'leads elsewhere');

# Crashes.
foreach my $disturbance (['kill -9 of the leader', sub { kill(9, leader_of($server, $_[0])) }],
	['kill -9 of a helper', sub { kill(9, helpers_of($server, $_[0])) }],
	['an immediate restart', sub { $server->stop('immediate'); $server->start }])
{
	my ($name, $disturb) = @$disturbance;
	my $before = points_of($digest);
	$run = begin_search('m', checkpoint_interval => 1);
	wait_for_checkpoint($run);
	measured("$name: after a checkpoint of " . $server->safe_psql('postgres', "SELECT checkpoint_bytes FROM lat_run WHERE run = $run") . ' bytes');
	$disturb->($run);
	poll_until('the run is seen as interrupted', sub {
		my $state = '';
		$server->psql('postgres', "SELECT state FROM lat_run WHERE run = $run", stdout => \$state);
		$state eq 'interrupted' });
	is(points_of($digest), $before, "$name: the points are those of before");
	$server->safe_psql('postgres', "SELECT lat_resume($run)");
	is(wait_for_run($server, $run), 'done', "$name: it is resumed");
	like(slurp_file($server->logfile), qr/run $run continues from step [1-9]/, "$name: from its checkpoint");
	is(points_of($digest), $points, "$name: and comes to the same points");
	# lines of the last half second before a crash may be lost: they are not worth waiting for
	is($server->safe_psql('postgres', "SELECT count(*) = count(DISTINCT step), count(*) > 20, max(step) FROM lat_run_log WHERE run = $run"),
		't|t|31', "$name: its log has no iteration twice");
	is(scalar(checkpoint_files($server)), 0, "$name: the checkpoint is gone");
	$server->safe_psql('postgres', "DELETE FROM lat_pareto");
}

# Cancel.
my $before = points_of($digest);
$run = begin_search('m');
wait_for_step($run, 2);
$began = time();
is($server->safe_psql('postgres', "SELECT lat_cancel($run)"), 'cancelled', 'a search is cancelled');
measured(sprintf('cancelled after %.0f ms', 1000 * (time() - $began)));
poll_until('its processes are gone', sub { !workers_left($server) });
is(points_of($digest), $before, 'which leaves the points alone');
is($server->safe_psql('postgres', 'SELECT count(*) FROM lat_run_data'), '0', 'and no data');

# Old points or new ones, nothing in between; and a snapshot keeps the old ones.
wait_for_run($server, begin_search('m', iterations => 1, seed => 9));
my $old = points_of($digest);
my $steady = $server->background_psql('postgres', on_error_stop => 0);
$steady->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $count = "SELECT count(*), sum(quality), sum(fraction) FROM lat_pareto WHERE digest = '$digest'";
my $first = $steady->query_safe($count);
my %seen;
$run = begin_search('m', iterations => 2, seed => 10);
until (run_state($server, $run) eq 'done')
{
	$seen{ $server->safe_psql('postgres', $count) } = 1;
}
isnt(points_of($digest), $old, 'there are new points');
$seen{ $server->safe_psql('postgres', $count) } = 1;
is(scalar(keys %seen), 2, 'only the old and the new points were ever seen') or diag(join("\n", keys %seen));
is($steady->query_safe($count), $first, 'an old snapshot keeps the old ones');
$steady->query_safe('COMMIT');
isnt($steady->query_safe($count), $first, 'until it ends');
$steady->quit;

# The name goes to another model meanwhile.
$run = begin_search('m', seed => 11);
wait_for_step($run, 1);
import_version($server, 'm', $versions[1]);
is(error_of($server, 'postgres', "SELECT lat_wait($run);"), '55000', 'a search of a model that was replaced fails');
is($server->safe_psql('postgres', 'SELECT (SELECT count(*) FROM lat_pareto), (SELECT count(*) FROM lat_search_point)'),
	'0|0', 'and leaves no points');
is(error_of($server, 'postgres', "SELECT lat_resume($run); SELECT lat_wait($run);"), '55000', 'and cannot be resumed to better effect');
$server->safe_psql('postgres', "SELECT lat_cancel($run)");

import_version($server, 'twin', $versions[1]);
$digest = digest_of($server, 'm');
$run = begin_search('m', seed => 12, iterations => 3);
wait_for_step($run, 1);
import_version($server, 'm', $versions[2]);
is(wait_for_run($server, $run), 'done', 'unless its content has another name');
like(points_of($digest), qr/^[1-9]/, 'which then has the points');

# Rows that did not fit into memory.
my $errors;
$server->psql('postgres', "SET work_mem = '64kB'; SELECT lat_search('twin', 'SELECT body FROM texts, generate_series(1, 20)')", stderr => \$errors);
is($errors, '', 'rows that were written to a file leave no warning');
$server->safe_psql('postgres', "SELECT lat_cancel(run) FROM lat_run WHERE model = 'twin' AND state IN ('queued', 'running')");

# Dump and restore.
my $all_tried = "SELECT count(*), md5(string_agg(p::text, ' ' ORDER BY p::text)) FROM lat_search_point p WHERE digest = '$digest'";
my $tried = $server->safe_psql('postgres', $all_tried);
like($tried, qr/^[1-9]/, 'points were kept');
$server->safe_psql('postgres', 'CREATE DATABASE restored');
my $dump = PostgreSQL::Test::Utils::tempdir_short() . '/dump.sql';
$server->command_ok(['pg_dump', '-d', $server->connstr('postgres'), '-f', $dump], 'a dump');
$server->safe_psql('restored', "\\i $dump");
is($server->safe_psql('restored', $all_tried), $tried, 'holds all that was tried');
like($server->safe_psql('restored', "SELECT lat_pareto_svg('twin')"), qr/^<svg .*<\/svg>$/s, 'and pictures are drawn from it');

$server->stop;
done_testing();
