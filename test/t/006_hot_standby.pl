# A hot standby scores, and sees replacements.
use strict;
use warnings;

use LatTest;
use Test::More;

my $checkpoint = find_checkpoint('SequenceClassification');
my @versions = map { make_version($checkpoint, "v$_") } 0 .. 2;
my $primary = new_server('primary', allows_streaming => 1);
import_version($primary, 'm', $versions[0]);
my $scores = q(SELECT string_agg(label || ' ' || score, ', ' ORDER BY label)
	FROM generate_series(1, 20) g, lat_scores('text number ' || g, model => 'm'));
my $label = "SELECT split_part(lat_classify('a text', model => 'm'), '_', 1)";
my $expected = $primary->safe_psql('postgres', $scores);

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
is(scalar(cache_files($standby)), 0, 'a base backup leaves the packed models out');
$standby->start;
$primary->wait_for_catchup($standby, 'replay');

is($standby->safe_psql('postgres', $scores), $expected, 'the standby gives the same scores');
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'it is a standby');
is(error_of($standby, 'postgres', "SELECT lat_import_model('x', '$versions[1]');"),
	'25006', 'an import there is refused');

my $session = $standby->background_psql('postgres', on_error_stop => 0);
is($session->query_safe($label), 'v0', 'a session of the standby scores');
import_version($primary, 'm', $versions[1]);
$primary->wait_for_catchup($standby, 'replay');
is($session->query_safe($label), 'v1', 'and sees a replacement');
is($standby->safe_psql('postgres', $label), 'v1', 'so does a new session');
import_version($primary, 'm', $versions[2]);
$primary->wait_for_catchup($standby, 'replay');
is($session->query_safe($label), 'v2', 'and the next one');
cmp_ok(scalar(cache_files($standby)), '<=', 2, 'the standby holds at most two versions');

$primary->safe_psql('postgres', "SELECT lat_drop_model('m')");
$primary->wait_for_catchup($standby, 'replay');
is(error_of($standby, 'postgres', "$label;"), '42704', 'a dropped model is gone there, too');

import_version($primary, 'm', $versions[0]);
$primary->wait_for_catchup($standby, 'replay');
is($session->query_safe($label), 'v0', 'an old version comes back');
$standby->promote;
is($session->query_safe($label), 'v0', 'promotion changes nothing');
import_version($standby, 'm', $versions[1]);
is($session->query_safe($label), 'v1', 'and after it the standby imports');
$session->quit;

$standby->stop;
$primary->stop;
done_testing();
