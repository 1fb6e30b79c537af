# What a backend has for itself: little memory, and one thread. The largest model at hand is used.
use strict;
use warnings;

use LatTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $limit = 12 * 1024;    # kB that the first inference may add
my $first_call_limit = 30;    # ms, with a model that others have loaded
my $checkpoint = find_checkpoint('SequenceClassification');
plan skip_all => 'there is no /proc/PID/smaps_rollup here' unless defined private_memory($$);

my $server = new_server('main');
install_default_models($server);
import_version($server, 'tiny', make_version($checkpoint, 'v1'));
my ($model, $layers) = split /\|/, $server->safe_psql('postgres',
	"SELECT name, layers FROM lat_model WHERE task = 'classify' ORDER BY parameters DESC LIMIT 1");
measured("the model is $model");
my $text = 'a film that ' . join(' ', map { "repeats itself $_ times," } 1 .. 200);
my $score = "SELECT score FROM lat_scores('$text', model => '$model') LIMIT 1";

my $other = $server->background_psql('postgres');
my $expected = $other->query_safe($score);
foreach my $precision ('int8', 'fp32')
{
	my $session = $server->background_psql('postgres');
	$session->query_safe("SET lat.precision = $precision");
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe("SELECT sum(hashtext(g::text)) FROM generate_series(1, 1000) g");

	# A model that exists in int8 only does not run in fp32.
	if ($precision eq 'fp32'
		&& $server->safe_psql('postgres', "SELECT precision FROM lat_model WHERE name = '$model'") eq 'int8')
	{
		$score =~ s/'\Q$model\E'/'tiny'/;
	}
	else
	{
		$other->query_safe("SET lat.precision = $precision");
	}
	$other->query_safe($score);

	my $before = private_memory($pid);
	my $began = time();
	$session->query_safe($score);
	my $took = 1000 * (time() - $began);
	my $grown = private_memory($pid) - $before;
	measured(sprintf('%s: a first call with 512 tokens took %.1f ms, private memory grew by %d kB',
		$precision, $took, $grown));
	cmp_ok($grown, '<', $limit, "$precision: private memory grows by less than 12 MB ($grown kB)");
	is(threads($pid), 1, "$precision: the backend has one thread");

	$session->query_safe($score) for 1 .. 20;
	my $later = private_memory($pid) - $before;
	cmp_ok($later, '<', $limit, "$precision: and stays there ($later kB)");
	is(threads($pid), 1, "$precision: still one thread");
	$session->quit;
}

# What a new connection waits for: loading the library, reading the catalog, mapping the model. The
# text is short, and the quickest of several connections counts, since the machine may be busy.
my $call = "SELECT lat_classify('a film that works', model => '$model')";
$other->query_safe($call);
my (@first_calls, $small);
for (1 .. 9)
{
	my $session = $server->background_psql('postgres');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $before = private_memory($pid);
	my $began = time();
	$session->query_safe($call);
	push @first_calls, 1000 * (time() - $began);
	$small = private_memory($pid) - $before;
	$session->quit;
}
@first_calls = sort { $a <=> $b } @first_calls;
measured(sprintf('first call of a new connection with a short text: %.1f to %.1f ms, median %.1f; '
	  . 'private memory grew by %d kB', $first_calls[0], $first_calls[-1], $first_calls[4], $small));
cmp_ok($first_calls[0], '<', $first_call_limit, 'the first call of a connection is quick');
$other->quit;

# What a call costs must not make the server load its compiler of expressions.
my $session = $server->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe("SET jit = on; SET jit_above_cost = 0; $call");
unlike(slurp_file("/proc/$pid/maps"), qr/LLVM/, 'a statement that scores is not compiled');
$session->quit;

$server->stop;
done_testing();
