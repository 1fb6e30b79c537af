# Databases that are not in UTF-8: texts are converted on the way in, fragments on the way out.
use strict;
use warnings;

use LatTest;
use Test::More;

my $classifier = find_checkpoint('SequenceClassification');
my $reader = find_checkpoint('QuestionAnswering');
my ($version, $questions) = (make_version($classifier, 'v1'), make_version($reader, 'q'));
my $server = new_server('main');
foreach my $encoding ('UTF8', 'LATIN1', 'SQL_ASCII')
{
	my $database = lc $encoding;
	$server->safe_psql('postgres',
		"CREATE DATABASE $database ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$server->safe_psql($database, "CREATE EXTENSION lat;
		SELECT lat_import_model('m', '$version'), lat_import_model('reader', '$questions')");
}

my $text = 'Caf\u00e9 d\u00e9j\u00e0 vu: na\u00efve \u00c5ngstr\u00f6m, 20 \u00b0C';
my $scores = "SET client_encoding = 'UTF8';
	SELECT string_agg(label || ' ' || score, ', ' ORDER BY label) FROM lat_scores(U&'"
  . ($text =~ s/\\u/\\/gr) . "', model => 'm')";
my $tokens = $scores =~ s/SELECT .*? FROM lat_scores/SELECT string_agg(token || ' ' || coalesce(start::text, '-') || ' ' || coalesce(stop::text, '-'), ', ' ORDER BY pos) FROM lat_tokenize/r;
is($server->safe_psql('latin1', $scores), $server->safe_psql('utf8', $scores),
	'LATIN1: the same scores as in UTF8');
is($server->safe_psql('latin1', $tokens), $server->safe_psql('utf8', $tokens),
	'LATIN1: the same tokens and places');
my $span = "SET client_encoding = 'UTF8';
	SELECT a.answer = substring(c.t FROM a.start FOR a.stop - a.start + 1), a.answer
	FROM (SELECT U&'" . ($text =~ s/\\u/\\/gr) . "' AS t) c, lat_answer_span('where?', c.t, model => 'reader') a";
like($server->safe_psql('latin1', $span), qr/^t\|/, 'LATIN1: the answer is where it says');
is($server->safe_psql('latin1', $span), $server->safe_psql('utf8', $span), 'LATIN1: and the same as in UTF8');

my $label = "SELECT split_part(lat_classify('a plain text', model => 'm'), '_', 1)";
is($server->safe_psql('sql_ascii', $label), 'v1', 'SQL_ASCII: plain text works');
is(error_of($server, 'sql_ascii', "SELECT lat_classify(E'caf\\xe9 au lait', model => 'm');"),
	'22021', 'SQL_ASCII: bytes that are no UTF-8 are an error');
is($server->safe_psql('sql_ascii', "SELECT split_part(lat_classify(E'caf\\xc3\\xa9', model => 'm'), '_', 1)"),
	'v1', 'SQL_ASCII: bytes that are UTF-8 work');

my $session = $server->background_psql('sql_ascii', on_error_stop => 0);
$session->query("SELECT lat_classify(E'\\xff', model => 'm');");
$session->{stderr} = '';
is($session->query($label), 'v1', 'SQL_ASCII: the session works on after the error');
$session->quit;

$server->stop;
done_testing();
