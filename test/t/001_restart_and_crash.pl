# A restart, a crash in the middle of inference and a damaged file change no answer.
use strict;
use warnings;

use LatTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $checkpoint = find_checkpoint('SequenceClassification');
my $server = new_server('main', settings => "restart_after_crash = on\n");
import_version($server, 'm', make_version($checkpoint, 'v1'));

my $scores = q(SELECT string_agg(label || ' ' || score, ', ' ORDER BY label)
	FROM generate_series(1, 20) g, lat_scores('text number ' || g, model => 'm'));
my $before = $server->safe_psql('postgres', $scores);
like($before, qr/v1_0 /, 'scores before');

$server->restart;
is($server->safe_psql('postgres', $scores), $before, 'the same after a restart');
is(scalar(cache_files($server)), 1, 'one packed file');

my $victim = $server->background_psql('postgres', on_error_stop => 0);
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
$victim->query_until(qr/running/,
	"\\echo running\nSELECT count(lat_classify('t ' || g, model => 'm')) FROM generate_series(1, 100000000) g;\n");
$server->poll_query_until('postgres',
	"SELECT state = 'active' FROM pg_stat_activity WHERE pid = $pid")
  or die 'the scoring never started';
select(undef, undef, undef, 0.5);
is(kill(9, $pid), 1, 'a backend in inference is killed');
eval { $victim->quit };

my ($recovered, $output) = (0, '');
for (1 .. 600)
{
	# Until the crash is noticed the old server still accepts connections.
	if ($server->psql('postgres', 'SELECT pg_postmaster_start_time()', stdout => \$output) == 0
		&& slurp_file($server->logfile) =~ /all server processes terminated; reinitializing/)
	{
		$recovered = 1;
		last;
	}
	select(undef, undef, undef, 0.1);
}
ok($recovered, 'the server has recovered');
is($server->safe_psql('postgres', $scores), $before, 'and answers the same');
is(scalar(cache_files($server)), 1, 'still one packed file');
is($server->safe_psql('postgres', 'SELECT count(*) FROM lat_loaded_models'), '1', 'and listed once');

# A file is checked at its first use after a start, in pieces of 2 MB: here are several.
SKIP:
{
	skip 'there are no default models', 7 unless install_default_models($server);
	$scores = q(SELECT string_agg(label || ' ' || score, ', ' ORDER BY label)
		FROM generate_series(1, 20) g, lat_scores('text number ' || g, model => 'sst2'));
	$before = $server->safe_psql('postgres', $scores);
	my $digest = $server->safe_psql('postgres', "SELECT digest FROM lat_model WHERE name = 'sst2'");
	my ($name) = grep { /^$digest\.int8\./ } cache_files($server);
	my $file = $server->data_dir . "/pgsql_tmp_lat/$name";
	my $damaged = qr/file "[^"]*$digest\.int8\.[^"]*" is damaged and will be made anew/;
	my $offset = 16 * 1024 * 1024 + 3;	# in a layer: the scores depend on it
	my $found = byte_of($file, $offset);

	$server->restart;
	is($server->safe_psql('postgres', $scores), $before,
		'a model of several pieces is the same after a restart');
	unlike(slurp_file($server->logfile), $damaged, 'and the log says nothing');

	$server->stop;
	is(byte_of($file, $offset, $found ^ 255), $found, 'a byte beyond the first piece is damaged');
	$server->start;
	is($server->safe_psql('postgres', $scores), $before, 'the scores are the same');
	is(byte_of($file, $offset), $found, 'the file is made anew');
	is($server->safe_psql('postgres', $scores), $before, 'and used from then on');
	is(scalar(() = slurp_file($server->logfile) =~ /$damaged/g), 1, 'the log says so, once');
}

$server->stop;
done_testing();

# A byte of a file; with a third argument it is replaced, and the old one returned.
sub byte_of
{
	my ($file, $offset, $new) = @_;
	my $byte;
	open(my $handle, '+<:raw', $file) or die "could not open $file: $!";
	seek($handle, $offset, 0);
	read($handle, $byte, 1) == 1 or die "$file has no byte $offset";
	if (defined $new)
	{
		seek($handle, $offset, 0);
		print $handle chr($new);
	}
	close($handle) or die "could not write $file: $!";
	return ord($byte);
}
