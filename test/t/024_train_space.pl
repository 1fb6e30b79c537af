# Little shared memory, a full disk, no preload.
use strict;
use warnings;

# Run this file again in a mount namespace of our own, where /dev/shm is small and a small disk can
# be mounted. That must come before the test modules take hold of the output.
BEGIN
{
	if (!$ENV{LAT_SMALL_SHM})
	{
		my @unshare = ('unshare', '--user', '--mount', '--map-current-user', '--keep-caps');
		my $mount = 'mount -t tmpfs -o size=4m tmpfs /dev/shm';
		if (system("@unshare sh -c '$mount' >/dev/null 2>&1") != 0)
		{
			print "1..0 # SKIP mount namespaces are not permitted here\n";
			exit 0;
		}
		$ENV{LAT_SMALL_SHM} = 1;
		exec(@unshare, 'sh', '-c', "$mount && exec \"\$@\"", 'sh', $^X, $0);
	}
}

use LatTest;
use LatTrain;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('main', no_preload => 1);
prepare_training($server);

# It works without preload, and in a small /dev/shm as long as it suffices.
my $run = start_run($server, 'small', epochs => 3);
is(wait_for_run($server, $run), 'done', 'without preload a run goes as with it');
is($server->safe_psql('postgres', "SELECT processes FROM lat_run WHERE run = $run"), '2', 'its processes share 4 MB');

# Where it does not suffice the leader goes on alone, and says so; the bits are the same.
system("dd if=/dev/zero of=/dev/shm/ballast bs=1k count=100000 >/dev/null 2>&1");
$run = start_run($server, 'smaller', epochs => 3);
is(wait_for_run($server, $run), 'done', 'without room in /dev/shm a run goes on');
is($server->safe_psql('postgres', "SELECT processes FROM lat_run WHERE run = $run"), '1', 'in one process');
like(slurp_file($server->logfile), qr/run $run works in one process.*\n.*No space left.*\n.*shm-size/, 'the log says why');
is(digest_of($server, 'smaller'), digest_of($server, 'small'), 'and comes to the same bits');
unlink('/dev/shm/ballast');

# A disk that is full while a checkpoint is written: the run fails, and can be resumed.
my $folder = $server->data_dir . '/pgsql_tmp_lat';
$server->stop;
system("mount -t tmpfs -o size=4m tmpfs '$folder'") == 0 or die 'could not mount a small disk';
$server->start;
my %long = (epochs => 40, lengthdrop_epochs => 0, checkpoint_interval => 1);
$run = start_run($server, 'full', %long);
poll_until('there is a checkpoint', sub { checkpoint_files($server) });
system("dd if=/dev/zero of='$folder/ballast' bs=1k count=100000 >/dev/null 2>&1");
is(error_of($server, 'postgres', "SELECT lat_wait($run);"), '53100', 'a full disk is an error');
is(run_state($server, $run), 'failed', 'the run has failed');
like($server->safe_psql('postgres', "SELECT error, error_hint FROM lat_run WHERE run = $run"),
	qr/could not write file "pgsql_tmp_lat.*No space left on device\|.*lat_resume/, 'with a message and a hint');
is(scalar(checkpoint_files($server)), 1, 'the checkpoint before is still there');
is(scalar(glob("$folder/tmp.*")), undef, 'and no half of another');
unlink("$folder/ballast");
is($server->safe_psql('postgres', "SELECT lat_resume($run)"), 'queued', 'with room again it is resumed');
is(wait_for_run($server, $run), 'done', 'and ends');
like(slurp_file($server->logfile), qr/run $run continues from step \d+/, 'it did not begin anew');

$server->stop;
done_testing();
