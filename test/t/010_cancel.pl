# Inference is cancelled soon, wherever it is, and the session works on.
use strict;
use warnings;

use LatTest;
use Test::More;
use Time::HiRes qw(time);

# The overshoot is printed. What is asserted leaves room for a busy machine.
my $patience = 2;    # seconds
my $classifier = find_checkpoint('SequenceClassification');
my $reader = find_checkpoint('QuestionAnswering');
my $server = new_server('main');
import_version($server, 'm', make_version($classifier, 'v1'));
$server->safe_psql('postgres', "SELECT lat_import_model('reader', '" . make_version($reader, 'q') . "')");

my $session = $server->background_psql('postgres', on_error_stop => 0);
$session->query_safe('\\set VERBOSITY verbose');
$session->query_safe("CREATE TABLE huge AS SELECT repeat('a long story, ', 400000) AS body");
$session->query_safe("ALTER TABLE huge ADD plain text; ALTER TABLE huge ALTER plain SET STORAGE EXTERNAL");
$session->query_safe('UPDATE huge SET plain = body');
my $label = "SELECT split_part(lat_classify('a text', model => 'm'), '_', 1)";

my %statements = (
	'a span over a very long text' => "lat_answer('who?', plain, model => 'reader') FROM huge",
	'tokens of a very long text' => "count(*) FROM huge, lat_tokenize(plain || plain || plain || plain, model => 'm')",
	'many short texts' => "count(lat_classify('t ' || g, model => 'm')) FROM generate_series(1, 100000000) g",
	'many embeddings of logits' => "count(lat_logits('t ' || g, model => 'm')) FROM generate_series(1, 100000000) g",
	'one very long word' => "lat_answer('who?', repeat('x', 60000000), model => 'reader')");
foreach my $name (sort keys %statements)
{
	$session->{stderr} = '';
	$session->query_safe("SET statement_timeout = '200ms'");
	my $began = time();
	$session->query("SELECT $statements{$name};");
	my $took = time() - $began;
	measured(sprintf('%s: %.0f ms past the timeout', $name, 1000 * ($took - 0.2)));
	if ($session->{stderr} =~ /57014/)
	{
		cmp_ok($took, '<', 0.2 + $patience, "$name: the timeout strikes");
	}
	else
	{
		# Some are done in time. That is as good, unless it is an error of another kind.
		is($session->{stderr}, '', "$name: done within the timeout, or nearly");
		cmp_ok($took, '<', 0.2 + $patience, "$name: in $took s");
	}
	$session->{stderr} = '';
	$session->query_safe('RESET statement_timeout');
	is($session->query_safe($label), 'v1', "$name: the session works on");
}

# A 100 MB text: classification reads the beginning only.
$session->query_safe("CREATE TABLE larger (body text); ALTER TABLE larger ALTER body SET STORAGE EXTERNAL");
$session->query_safe("INSERT INTO larger SELECT repeat('0123456789 ', 9500000)");
is($session->query_safe("SELECT split_part(lat_classify(body, model => 'm'), '_', 1) FROM larger"),
	'v1', 'a text of 100 MB is classified');
is($session->query_safe("SELECT lat_classify(body, model => 'm') = lat_classify(left(body, 100000), model => 'm') FROM larger"),
	't', 'as its beginning is');

# An answer reads all of it. Wherever the timeout strikes, it strikes soon; while PostgreSQL itself
# detoasts the text it cannot.
my $began_detoasting = time();
$session->query_safe("SELECT octet_length(body || 'x') FROM larger");
my $detoasting = time() - $began_detoasting;
my $latest = 0;
foreach my $timeout (20, 50, 100, 150, 200, 300, 400, 600, 800, 1000)
{
	$session->{stderr} = '';
	$session->query_safe("SET statement_timeout = '${timeout}ms'");
	my $began = time();
	$session->query("SELECT lat_answer('who?', body, model => 'reader') FROM larger;");
	my $late = time() - $began - $timeout / 1000;
	like($session->{stderr}, qr/57014/, "an answer from 100 MB is cancelled after $timeout ms");
	$latest = $late if $late > $latest;
	$session->{stderr} = '';
	$session->query_safe('RESET statement_timeout');
}
measured(sprintf('an answer from 100 MB: at most %.0f ms past ten timeouts, detoasting alone takes %.0f ms',
	1000 * $latest, 1000 * $detoasting));
cmp_ok($latest, '<', $detoasting + $patience, 'an answer from 100 MB is cancelled soon');

# The same by hand, from another session.
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_until(qr/running/,
	"\\echo running\nSELECT count(lat_classify('t ' || g, model => 'm')) FROM generate_series(1, 100000000) g;\n");
$server->poll_query_until('postgres', "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $pid")
  or die 'the scoring never started';
my $began = time();
$server->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$server->poll_query_until('postgres', "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $pid")
  or die 'the cancel never arrived';
cmp_ok(time() - $began, '<', $patience, 'pg_cancel_backend arrives');
$session->{stderr} = '';
is($session->query($label), 'v1', 'and the session works on');
eval { $session->quit };

# Nothing here may keep another session from dropping a database.
my $busy = $server->background_psql('postgres', on_error_stop => 0);
$busy->query_until(qr/running/,
	"\\echo running\nSELECT lat_answer('who?', plain, model => 'reader') FROM huge;\n");
$server->safe_psql('postgres', 'CREATE DATABASE bystander');
$began = time();
$server->safe_psql('postgres', 'DROP DATABASE bystander');
my $took = time() - $began;
measured(sprintf('DROP DATABASE took %.0f ms beside inference', 1000 * $took));
cmp_ok($took, '<', $patience, 'DROP DATABASE is not held up');

$server->stop('immediate');
done_testing();
