# Two databases share one packed model; what one does with it does not break the other.
use strict;
use warnings;

use LatTest;
use Test::More;

my $checkpoint = find_checkpoint('SequenceClassification');
my $server = new_server('main');
my $first = make_version($checkpoint, 'v1');
my $second = make_version($checkpoint, 'v2');
foreach my $database ('a', 'b')
{
	$server->safe_psql('postgres', "CREATE DATABASE $database");
	$server->safe_psql($database, 'CREATE EXTENSION lat');
}

my $label = "SELECT split_part(lat_classify('a text', model => 'm'), '_', 1)";
my $digest = import_version($server, 'm', $first, 'a');
is(import_version($server, 'm', $first, 'b'), $digest, 'the same content has the same digest');
is($server->safe_psql('a', $label), 'v1', 'a scores');
is($server->safe_psql('b', $label), 'v1', 'b scores');
is(scalar(cache_files($server)), 1, 'and they share the packed model');

my $session = $server->background_psql('b', on_error_stop => 0);
is($session->query_safe($label), 'v1', 'a session of b has it mapped');

$server->safe_psql('a', "SELECT lat_drop_model('m')");
is(error_of($server, 'a', "$label;"), '42704', 'a has dropped it');
is($session->query_safe($label), 'v1', 'the session of b goes on');
is($server->safe_psql('b', $label), 'v1', 'and so does a new one');

import_version($server, 'm', $first, 'a');
import_version($server, 'm', $second, 'a');
is($server->safe_psql('a', $label), 'v2', 'a has replaced it');
is($session->query_safe($label), 'v1', 'the session of b has not');
is($server->safe_psql('b', $label), 'v1', 'nor has a new one');
$session->quit;

$server->safe_psql('postgres', 'DROP DATABASE a');
is($server->safe_psql('b', $label), 'v1', 'b outlives a');
$server->safe_psql('b', 'DROP EXTENSION lat; CREATE EXTENSION lat');
is(error_of($server, 'b', "$label;"), '42704', 'models go with the extension');

$server->stop;
done_testing();
