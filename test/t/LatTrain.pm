# What the tests of training share: data that a tiny model learns, runs of some seconds, and the
# processes that work on them.
package LatTrain;

use strict;
use warnings;

use Exporter 'import';
use LatTest;
use Test::More;
use Time::HiRes qw(time sleep);

our @EXPORT = qw(prepare_training start_run wait_for_run run_state digest_of leader_of helpers_of
  poll_until checkpoint_files workers_left);

# A tiny encoder "tiny", and a table "texts" whose label depends on one word.
sub prepare_training
{
	my ($server, $database) = @_;
	my $source = $ENV{LAT_SOURCE} || '.';
	my $encoder = "$source/test/golden/tiny-embed";
	plan skip_all => 'there is no test/golden/tiny-embed' unless -f "$encoder/model.safetensors";
	$server->safe_psql($database || 'postgres', <<"SQL");
SELECT lat_import_model('tiny', '$encoder');
CREATE TABLE texts AS
	SELECT g AS id, (ARRAY['the','old','man','was','in','town'])[1 + g % 6] || ' '
		|| (ARRAY['hate','love','film'])[1 + g % 3] || ' ' || (ARRAY['with','a','cat','on'])[1 + g / 7 % 4] AS body,
		(ARRAY['bad','good','other'])[1 + g % 3] AS label
	FROM generate_series(1, 2000) g;
SQL
	return;
}

# Begin a run; "epochs" decides how long it takes: one is 2,000 short texts.
sub start_run
{
	my ($server, $model, %options) = @_;
	my $database = delete $options{database} || 'postgres';
	my $as = delete $options{as};
	%options = (epochs => 2, lengthdrop_epochs => 1, learning_rate => 0.001, workers => 2, hold_out => 0.02, %options);
	my $json = '{' . join(', ', map { qq("$_": $options{$_}) } sort keys %options) . '}';
	return $server->safe_psql($database, ($as ? "SET ROLE $as;" : '')
		. "SELECT lat_train('$model', 'tiny', 'classify', 'SELECT body, label FROM texts ORDER BY id', '$json')");
}

sub wait_for_run
{
	my ($server, $run, $database) = @_;
	return $server->safe_psql($database || 'postgres', "SELECT lat_wait($run)");
}

sub run_state
{
	my ($server, $run, $database) = @_;
	return $server->safe_psql($database || 'postgres', "SELECT state FROM lat_run WHERE run = $run");
}

sub digest_of
{
	my ($server, $model, $database) = @_;
	return $server->safe_psql($database || 'postgres', "SELECT digest FROM lat_model WHERE name = '$model'");
}

# Until the code returns true; dies after two minutes.
sub poll_until
{
	my ($what, $code) = @_;
	my $deadline = time() + 120;
	until ($code->())
	{
		die "waited in vain until $what" if time() > $deadline;
		sleep(0.05);
	}
	return;
}

sub leader_of
{
	my ($server, $run, $database) = @_;
	return $server->safe_psql($database || 'postgres', "SELECT pid FROM lat_run WHERE run = $run");
}

# Background workers of this server whose title matches.
sub workers_titled
{
	my ($server, $title) = @_;
	my @found;
	open(my $file, '<', $server->data_dir . '/postmaster.pid') or return;
	my $postmaster = <$file> + 0;
	foreach my $folder (glob('/proc/[0-9]*'))
	{
		open(my $status, '<', "$folder/status") or next;
		next unless grep { /^PPid:\s+$postmaster$/ } <$status>;
		open(my $command, '<', "$folder/cmdline") or next;
		local $/;
		my $text = <$command>;
		push(@found, $folder =~ s{/proc/}{}r) if defined $text && $text =~ /$title/;
	}
	return @found;
}

sub helpers_of
{
	my ($server, $run) = @_;
	return workers_titled($server, qr/lat helper \d+ of run $run\b/);
}

# Processes of any run.
sub workers_left
{
	my ($server) = @_;
	return workers_titled($server, qr/lat (helper|run) /);
}

sub checkpoint_files
{
	my ($server) = @_;
	my @files = glob($server->data_dir . '/pgsql_tmp_lat/run-*');
	return @files;
}

1;
