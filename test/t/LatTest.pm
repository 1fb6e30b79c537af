# What the TAP tests share: servers with the extension, and versions of a small checkpoint.
package LatTest;

use strict;
use warnings;

use Exporter 'import';
use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(find_checkpoint make_version new_server import_version install_default_models
  error_of measured cache_files private_memory threads);

# Folder of the source tree; the checkpoints lie in test/golden.
my $source = $ENV{LAT_SOURCE} || '.';

sub slurp_config
{
	my ($folder) = @_;
	open(my $handle, '<', "$folder/config.json") or die "no config.json in $folder: $!";
	local $/;
	return <$handle>;
}

# The first checkpoint of test/golden whose head is this ("SequenceClassification",
# "QuestionAnswering", ...). Without one the whole test file is skipped.
sub find_checkpoint
{
	my ($head) = @_;
	foreach my $config (sort glob("$source/test/golden/*/config.json"))
	{
		my $folder = $config =~ s{/config\.json$}{}r;
		return $folder
		  if -f "$folder/model.safetensors" && slurp_config($folder) =~ /For$head"/;
	}
	plan skip_all => "there is no checkpoint with $head in test/golden";
}

# A copy of a checkpoint whose labels begin with a prefix, so that every result shows which
# version made it; its digest is another, too. Returns the folder.
sub make_version
{
	my ($checkpoint, $prefix) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir_short();
	foreach my $file (glob("$checkpoint/*"))
	{
		next if $file =~ m{/config\.json$} || !-f $file;
		copy($file, $folder) or die "could not copy $file: $!";
	}
	my $config = slurp_config($checkpoint);
	my $labels = join(', ', map { qq("$_": "${prefix}_$_") } 0 .. count_labels($config) - 1);
	my $ids = join(', ', map { qq("${prefix}_$_": $_) } 0 .. count_labels($config) - 1);
	$config =~ s/"(id2label|label2id|num_labels|_num_labels)"\s*:\s*(\{[^}]*\}|\d+)\s*,?//g;
	$config =~ s/\{/{"id2label": {$labels}, "label2id": {$ids},/;
	$config =~ s/,\s*\}/}/g;
	open(my $handle, '>', "$folder/config.json") or die "could not write config.json: $!";
	print $handle $config;
	close($handle);
	return $folder;
}

sub count_labels
{
	my ($config) = @_;
	my ($labels) = $config =~ /"id2label"\s*:\s*\{([^}]*)\}/;
	return 2 unless defined $labels;
	return scalar(() = $labels =~ /:/g);
}

# A running server with the extension in its database postgres.
sub new_server
{
	my ($name, %options) = @_;
	my $server = PostgreSQL::Test::Cluster->new($name);
	$server->init(%options);
	$server->append_conf('postgresql.conf', "shared_preload_libraries = 'lat'\n")
	  unless $options{no_preload};
	$server->append_conf('postgresql.conf', $options{settings}) if $options{settings};
	$server->start;
	$server->safe_psql('postgres', 'CREATE EXTENSION lat');
	return $server;
}

sub import_version
{
	my ($server, $name, $folder, $database) = @_;
	return $server->safe_psql($database || 'postgres',
		"SELECT lat_import_model('$name', '$folder')");
}

# The models that come with the extension, if they do. Returns how many.
sub install_default_models
{
	my ($server) = @_;
	return 0 unless glob("$source/models/*.latpack");
	return $server->safe_psql('postgres', 'SELECT count(*) FROM lat_install_default_models()');
}

# A figure worth printing in the run's own output.
sub measured
{
	note("measured: $_[0]");
}

# SQLSTATE of the first error of these statements, or '' if there was none.
sub error_of
{
	my ($server, $database, $sql, %options) = @_;
	my $errors;
	$server->psql($database, "\\set VERBOSITY verbose\n$sql", stderr => \$errors,
		on_error_stop => 1, %options);
	return defined $errors && $errors =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/ ? $1 : '';
}

# Names of the packed models in a server's data directory.
sub cache_files
{
	my ($server) = @_;
	my @names;
	if (opendir(my $folder, $server->data_dir . '/pgsql_tmp_lat'))
	{
		@names = grep { /^[0-9a-f]{64}\./ } readdir($folder);
	}
	return @names;
}

# Kilobytes that a process has for itself alone.
sub private_memory
{
	my ($pid) = @_;
	my $sum = 0;
	open(my $handle, '<', "/proc/$pid/smaps_rollup") or return undef;
	while (<$handle>)
	{
		$sum += $1 if /^Private_\w+:\s+(\d+) kB/;
	}
	return $sum;
}

sub threads
{
	my ($pid) = @_;
	return scalar(() = glob("/proc/$pid/task/*"));
}

1;
