# A model is replaced fifty times while others score with it: every statement sees one version, and
# in the end at most two are held, on disk and in memory.
use strict;
use warnings;

use IPC::Run;
use LatTest;
use Test::More;

my $replacements = 50;
my $clients = 3;
my $checkpoint = find_checkpoint('SequenceClassification');
my $server = new_server('main');
my @versions = map { make_version($checkpoint, "v$_") } 0 .. $replacements;
import_version($server, 'm', $versions[0]);
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE texts AS SELECT g AS id, 'text number ' || g AS body FROM generate_series(1, 40) g;
-- Long enough for replacements to happen in the middle of it.
CREATE FUNCTION dawdle(label text) RETURNS text LANGUAGE plpgsql VOLATILE
	AS $$ BEGIN PERFORM pg_sleep(0.003); RETURN label; END $$;
SQL

# Each client runs one statement after the other and prints the versions that it saw in each.
my $statement = q(SELECT 'saw ' || string_agg(DISTINCT split_part(v, '_', 1), '+') FROM (
	SELECT dawdle(lat_classify(body, model => 'm')) AS v FROM texts
	UNION ALL SELECT s.label FROM texts t, lat_scores(t.body, model => 'm') s) u);
my @runs;
foreach my $client (1 .. $clients)
{
	my ($in, $out, $err) = ("$statement \\watch 0.01\n", '', '');
	my $run = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $server->connstr('postgres') ],
		'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(300));
	push @runs, { run => $run, out => \$out, err => \$err };
}

sub pump_all
{
	$_->{run}->pump_nb foreach @runs;
}

# How many versions the backends of this server have mapped.
sub mapped_versions
{
	my %digests;
	my $pids = $server->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
	foreach my $pid (split /\n/, $pids)
	{
		open(my $maps, '<', "/proc/$pid/maps") or next;
		while (<$maps>)
		{
			$digests{$1} = 1 if m{pgsql_tmp_lat/([0-9a-f]{64})};
		}
	}
	return scalar(keys %digests);
}

my $importer = $server->background_psql('postgres');
my ($most_files, $most_mapped) = (0, 0);
foreach my $k (1 .. $replacements)
{
	$importer->query_safe("SELECT lat_import_model('m', '$versions[$k]')");
	for (1 .. 5)
	{
		pump_all();
		select(undef, undef, undef, 0.01);
		my $files = cache_files($server);
		my $mapped = mapped_versions();
		$most_files = $files if $files > $most_files;
		$most_mapped = $mapped if $mapped > $most_mapped;
	}
}
measured("during the replacements at most $most_files on disk, $most_mapped mapped by $clients clients");

# Let every client finish what it began before the last replacement.
my %seen_at = map { $_ => scalar(() = ${ $runs[$_]{out} } =~ /^saw/mg) } 0 .. $#runs;
for (1 .. 600)
{
	pump_all();
	last
	  unless grep { scalar(() = ${ $runs[$_]{out} } =~ /^saw/mg) < $seen_at{$_} + 3 } 0 .. $#runs;
	select(undef, undef, undef, 0.05);
}

my $files = scalar(cache_files($server));
my $mapped = mapped_versions();
cmp_ok($files, '<=', 2, "at most two versions on disk ($files)");
cmp_ok($mapped, '<=', 2, "at most two versions mapped ($mapped)");
measured("afterwards $files on disk, $mapped mapped");

my ($statements, $mixed, %versions_seen) = (0, 0);
foreach my $client (@runs)
{
	$client->{run}->kill_kill;
	is(${ $client->{err} }, '', 'a client had no error');
	foreach my $line (split /\n/, ${ $client->{out} })
	{
		next unless $line =~ /^saw (.*)$/;
		$statements++;
		$mixed++ if $1 =~ /\+/;
		$versions_seen{$1} = 1;
	}
}
is($mixed, 0, "none of $statements statements saw two versions");
cmp_ok(scalar(keys %versions_seen), '>', 3, 'the clients saw several versions come and go');
is($importer->query_safe("SELECT split_part(lat_classify('x', model => 'm'), '_', 1)"),
	"v$replacements", 'the last one stays');
$importer->quit;

$server->stop;
done_testing();
