# Packing waits for no transaction while others wait for it: who has locked the tables may be the
# next to ask for the model, and PostgreSQL sees no deadlock in a file lock.
use strict;
use warnings;

use LatTest;
use Test::More;

my $server = new_server('main');
import_version($server, 'm', make_version(find_checkpoint('SequenceClassification'), 'v1'));
my $label = "SELECT split_part(lat_classify('a text', model => 'm'), '_', 1)";

# Nobody has scored yet, so the first to do so packs the model.
my $owner = $server->background_psql('postgres', on_error_stop => 0);
$owner->query_safe('BEGIN');
$owner->query_safe('LOCK TABLE lat_model_chunk IN ACCESS EXCLUSIVE MODE');

my $scorer = $server->background_psql('postgres', on_error_stop => 0);
my $pid = $scorer->query_safe('SELECT pg_backend_pid()');
$scorer->query_until(qr/scoring/, "\\echo scoring\n$label;\n");
$server->poll_query_until('postgres',
	"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid")
  or die 'the scoring does not wait';

$owner->query_safe("SET LOCAL statement_timeout = '60s'");
is($owner->query_safe($label), 'v1', 'who has locked the tables scores while another waits');
$owner->query_safe('COMMIT');
is($scorer->query_safe('SELECT 1'), "v1\n1", 'and so does the other, afterwards');

$owner->quit;
$scorer->quit;
$server->stop;
done_testing();
