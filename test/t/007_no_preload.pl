# Without shared_preload_libraries everything works, but for the counters.
use strict;
use warnings;

use LatTest;
use Test::More;

my $checkpoint = find_checkpoint('SequenceClassification');
my @versions = map { make_version($checkpoint, "v$_") } 0 .. 1;
my $scores = q(SELECT string_agg(label || ' ' || score, ', ' ORDER BY label)
	FROM generate_series(1, 20) g, lat_scores('text number ' || g, model => 'm'));

my $with = new_server('with');
import_version($with, 'm', $versions[0]);
my $expected = $with->safe_psql('postgres', $scores);
cmp_ok($with->safe_psql('postgres', 'SELECT sum(rows) FROM pg_stat_lat'),
	'>=', 20, 'with preload calls are counted');
$with->stop;

my $without = new_server('without', no_preload => 1);
my $label = "SELECT split_part(lat_classify('a text', model => 'm'), '_', 1)";
import_version($without, 'm', $versions[0]);
is($without->safe_psql('postgres', $scores), $expected, 'without it the scores are the same');
is(scalar(cache_files($without)), 1, 'one packed file');
is($without->safe_psql('postgres', 'SELECT count(*), count(attached) FROM lat_loaded_models'),
	'1|0', 'it is listed, without a count of who has it');
is(error_of($without, 'postgres', 'SELECT count(*) FROM pg_stat_lat;'),
	'55000', 'pg_stat_lat says what it needs');

my $session = $without->background_psql('postgres', on_error_stop => 0);
is($session->query_safe($label), 'v0', 'a session scores');
import_version($without, 'm', $versions[1]);
is($session->query_safe($label), 'v1', 'and sees a replacement');
cmp_ok(scalar(cache_files($without)), '<=', 2, 'at most two versions are held');
$session->quit;
$without->restart;
is($without->safe_psql('postgres', $label), 'v1', 'a restart changes nothing');
$without->stop;
done_testing();
