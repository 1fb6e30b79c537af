# Runs beside one another, cancelled, rolled back, without a slot; databases, extensions and roles
# that go while somebody trains.
use strict;
use warnings;

use LatTest;
use LatTrain;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $server = new_server('main', settings => "max_prepared_transactions = 5\n");
prepare_training($server);
my %endless = (epochs => 10000, lengthdrop_epochs => 0);

sub running
{
	my ($run, $database) = @_;
	poll_until("run $run runs", sub {
		$server->safe_psql($database || 'postgres', "SELECT count(*) FROM lat_run_log WHERE run = $run AND step > 0") > 0 });
}

# Cancel.
my $run = start_run($server, 'never', %endless, checkpoint_interval => 1);
running($run);
like($server->safe_psql('postgres', "SELECT kind, model, state, phase, epoch > 0, step > 0, steps > step, examples_per_second > 0,
	loss > 0, started < now(), eta > now() FROM lat_progress WHERE run = $run"),
	qr/^train\|never\|running\|fine-tuning\|t\|t\|t\|t\|t\|t\|t$/, 'lat_progress follows it');
my $step = $server->safe_psql('postgres', "SELECT step FROM lat_progress WHERE run = $run");
sleep(2.5);
cmp_ok($server->safe_psql('postgres', "SELECT step FROM lat_progress WHERE run = $run"), '>', $step, 'as it goes on');
is($server->safe_psql('postgres', "SELECT backend_type, query ~ 'fine-tuning, step' FROM pg_stat_activity WHERE pid = " . leader_of($server, $run)),
	'lat run|t', 'and so does pg_stat_activity');
cmp_ok($server->safe_psql('postgres', "SELECT count(*) FROM lat_run_log WHERE run = $run AND quality IS NULL"), '<=',
	$server->safe_psql('postgres', "SELECT 2 + extract(epoch FROM now() - started) FROM lat_run WHERE run = $run"), 'with a line a second at most');
poll_until('there is a checkpoint', sub { checkpoint_files($server) });
is($server->safe_psql('postgres', "SELECT checkpoint_bytes FROM lat_run WHERE run = $run"), -s (checkpoint_files($server))[0],
	'lat_run says what the checkpoint takes');
poll_until('no snapshot is held', sub {
	$server->safe_psql('postgres', 'SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE pid = ' . leader_of($server, $run)) eq 't' });
is(error_of($server, 'postgres', "SELECT lat_resume($run);"), '55006', 'one that runs cannot be resumed');
is(error_of($server, 'postgres', "SET statement_timeout = '300ms'; SELECT lat_wait($run);"), '57014', 'who waits can stop waiting');
is(run_state($server, $run), 'running', 'and the run goes on');
my $began = time();
is($server->safe_psql('postgres', "SELECT lat_cancel($run)"), 'cancelled', 'cancelled');
measured(sprintf('lat_cancel took %.0f ms', 1000 * (time() - $began)));
cmp_ok(time() - $began, '<', 3, 'soon');
is($server->safe_psql('postgres', "SELECT lat_wait($run)"), 'cancelled', 'lat_wait says so');
poll_until('its processes are gone', sub { !workers_left($server) });
is(scalar(checkpoint_files($server)), 0, 'the checkpoint is gone');
is($server->safe_psql('postgres', 'SELECT count(*) FROM lat_run_data'), '0', 'and so are the data');
is(digest_of($server, 'never'), '', 'there is no model');
is(error_of($server, 'postgres', "SELECT lat_resume($run);"), '55000', 'and nothing to resume');

# pg_cancel_backend does the same.
$run = start_run($server, 'never', %endless);
running($run);
$server->safe_psql('postgres', 'SELECT pg_cancel_backend(' . leader_of($server, $run) . ')');
is(wait_for_run($server, $run), 'cancelled', 'pg_cancel_backend of the leader cancels the run');

# The data query is the caller's own: it is cancelled with the caller, and leaves nothing.
foreach my $query ('SELECT body, label FROM texts, generate_series(1, 100000000)', 'SELECT \'the cat\', pg_sleep(100)::text',
	'SELECT repeat(\'the cat \', 10000000), label FROM texts')
{
	$began = time();
	is(error_of($server, 'postgres', "SET statement_timeout = '500ms'; SELECT lat_train('never', 'tiny', 'classify', \$\$$query\$\$);"),
		'57014', "$query: a timeout strikes");
	cmp_ok(time() - $began, '<', 5, 'soon');
}
is($server->safe_psql('postgres', "SELECT count(*) FROM lat_run WHERE state = 'queued'"), '0', 'and no run is left');

# Two at once, and a model that is in use while it is replaced.
my @runs = map { start_run($server, $_, epochs => 6) } ('one', 'two');
is(wait_for_run($server, $_), 'done', "run $_ of two at once") foreach @runs;
is(digest_of($server, 'one'), digest_of($server, 'two'), 'come to the same');
is($server->safe_psql('postgres', "SELECT lat_classify('the love', model => 'one')"), 'good', 'and know good from bad');

# Nothing half-made: rolled back, prepared, and by who has lost the right to store it.
$server->psql('postgres', "BEGIN; SELECT lat_train('back', 'tiny', 'classify', 'SELECT body, label FROM texts'); ROLLBACK;");
is($server->safe_psql('postgres', "SELECT count(*) FROM lat_run WHERE model = 'back'"), '0', 'rolled back: no run');
is(error_of($server, 'postgres', "BEGIN; SELECT lat_train('back', 'tiny', 'classify', 'SELECT body, label FROM texts'); PREPARE TRANSACTION 'p';"),
	'0A000', 'a transaction that began a run cannot be prepared');
is($server->safe_psql('postgres', "SELECT count(*) FROM lat_run WHERE model = 'back'"), '0', 'and is gone');

# A role that may not log in owns a run; its search_path, temporary table and policies count.
$server->safe_psql('postgres', <<'SQL');
CREATE ROLE owner NOLOGIN;
CREATE ROLE stranger;
GRANT SELECT, INSERT, UPDATE, DELETE ON lat_model, lat_model_chunk, lat_pareto, lat_default TO owner;
CREATE SCHEMA hidden AUTHORIZATION owner;
GRANT SELECT ON texts TO owner;
SET ROLE owner;
CREATE TABLE hidden.lines AS SELECT * FROM texts;
ALTER TABLE hidden.lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE hidden.lines FORCE ROW LEVEL SECURITY;
CREATE POLICY a_few ON hidden.lines USING (id <= 100);
SQL
$run = $server->safe_psql('postgres', <<'SQL');
SET ROLE owner;
SET search_path = hidden, public;
CREATE TEMPORARY TABLE mine AS SELECT 1 AS id;
SELECT lat_train('theirs', 'tiny', 'classify', 'SELECT body, label FROM lines UNION ALL SELECT ''a cat'', ''bad'' FROM mine ORDER BY 1', '{"epochs": 1, "lengthdrop_epochs": 0}');
SQL
is(wait_for_run($server, $run), 'done', 'a role that may not log in trains');
is($server->safe_psql('postgres', "SELECT owner, rows FROM lat_run WHERE run = $run"), 'owner|101',
	'with its own search_path, policies and temporary table');
is(error_of($server, 'postgres', "SET ROLE stranger; SELECT lat_wait($run);"), '42501', 'others may not wait for it');
is(error_of($server, 'postgres', "SET ROLE stranger; SELECT lat_resume($run);"), '42501', 'nor resume it');
is($server->safe_psql('postgres', 'SET ROLE stranger; SELECT count(*) FROM lat_run'), '0', 'nor see it');
is($server->safe_psql('postgres', "GRANT owner TO stranger; SET ROLE stranger; SELECT lat_wait($run)"), 'done', 'but members may');
$server->safe_psql('postgres', 'REVOKE owner FROM stranger');

# The privilege is checked again at the end, and a role can be gone by then.
$run = start_run($server, 'theirs', %endless, epochs => 12, as => 'owner');
running($run);
$server->safe_psql('postgres', 'REVOKE INSERT ON lat_model FROM owner');
my $before = digest_of($server, 'theirs');
is(error_of($server, 'postgres', "SELECT lat_wait($run);"), '42501', 'who may not store a model any more does not');
is(run_state($server, $run), 'failed', 'the run has failed');
is(digest_of($server, 'theirs'), $before, 'and the old model is as it was');
$server->safe_psql('postgres', 'GRANT INSERT ON lat_model TO owner');
$run = start_run($server, 'theirs', epochs => 12, as => 'owner');
running($run);
$server->safe_psql('postgres', 'DROP OWNED BY owner; DROP ROLE owner');
is(error_of($server, 'postgres', "SELECT lat_wait($run);"), '42704', 'a role that was dropped stores nothing');
is($server->safe_psql('postgres', 'SET ROLE stranger; SELECT count(*) FROM lat_run'), '0', 'and its runs are nobody else\'s');
is($server->safe_psql('postgres', "SELECT lat_cancel($run)"), 'cancelled', 'a superuser can clear it away');

# A run that finds no slot is waited for until another leaves its own.
$server->append_conf('postgresql.conf', "max_worker_processes = 2\n");
$server->restart;
@runs = map { start_run($server, $_, epochs => 8, lengthdrop_epochs => 0) } ('first', 'second');
is(run_state($server, $runs[1]), 'queued', 'the only slot is taken');
is(wait_for_run($server, $runs[1]), 'done', 'until it is free');
is(run_state($server, $runs[0]), 'done', 'because the other run has ended');

# No slot for a worker.
$server->append_conf('postgresql.conf', "max_worker_processes = 1\n");
$server->restart;
my ($output, $errors);
$server->psql('postgres', "SELECT lat_train('late', 'tiny', 'classify', 'SELECT body, label FROM texts ORDER BY id', '{\"epochs\": 1, \"lengthdrop_epochs\": 0}')",
	stdout => \$output, stderr => \$errors);
$run = $output;
like($errors, qr/WARNING:  run $run could not be started.*\n?.*max_worker_processes/, 'without a slot for its worker a run waits');
is(run_state($server, $run), 'queued', 'in the queue');
is(error_of($server, 'postgres', "SELECT lat_wait($run);"), '53400', 'lat_wait says what is wrong');
$server->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$server->restart;
is(wait_for_run($server, $run), 'done', 'and starts it once it can be');

# Databases and extensions that go.
$run = start_run($server, 'never', %endless);
running($run);
$began = time();
$server->safe_psql('postgres', 'CREATE DATABASE bystander');
$server->safe_psql('postgres', 'DROP DATABASE bystander');
my $took = time() - $began;
measured(sprintf('CREATE and DROP DATABASE took %.0f ms beside training', 1000 * $took));
cmp_ok($took, '<', 5, 'DROP DATABASE is not held up by training in another');
$server->safe_psql('postgres', "SELECT lat_cancel($run)");

$server->safe_psql('postgres', 'CREATE DATABASE doomed');
$server->safe_psql('doomed', 'CREATE EXTENSION lat');
prepare_training($server, 'doomed');
$run = start_run($server, 'never', %endless, database => 'doomed', checkpoint_interval => 1);
running($run, 'doomed');
poll_until('there is a checkpoint', sub { checkpoint_files($server) });
$server->safe_psql('doomed', 'DROP EXTENSION lat CASCADE');
poll_until('the processes have noticed', sub { !workers_left($server) });
pass('a run ends when its extension is dropped');
$server->safe_psql('doomed', 'DROP TABLE texts; CREATE EXTENSION lat');
prepare_training($server, 'doomed');
my $other = start_run($server, 'fresh', database => 'doomed');
is($other, $run, 'a new extension counts from the beginning');
is(wait_for_run($server, $other, 'doomed'), 'done', 'and takes no checkpoint of the old one');
$run = start_run($server, 'never', %endless, database => 'doomed', checkpoint_interval => 1);
running($run, 'doomed');
poll_until('there is a checkpoint', sub { checkpoint_files($server) });
$server->safe_psql('postgres', 'DROP DATABASE doomed WITH (FORCE)');
poll_until('the processes have gone', sub { !workers_left($server) });
pass('a run ends when its database is dropped');
$run = start_run($server, 'last', epochs => 1);
is(wait_for_run($server, $run), 'done', 'another run begins');
is(scalar(checkpoint_files($server)), 0, 'and sweeps the checkpoint of the database that is gone');

$server->stop;
unlike(slurp_file($server->logfile), qr/PANIC|TRAP|terminated by signal|WARNING:.*leak/, 'nothing in the log that should not be there');
done_testing();
