# The same rows in databases of other encodings train the same models, bit for bit.
use strict;
use warnings;

use LatTest;
use LatTrain;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = $ENV{LAT_SOURCE} || '.';
my $server = new_server('main');
my %digests;
foreach my $encoding ('UTF8', 'LATIN1', 'SQL_ASCII')
{
	my $database = lc $encoding;
	$server->safe_psql('postgres', "CREATE DATABASE $database ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$server->safe_psql($database, 'CREATE EXTENSION lat');
	prepare_training($server, $database);

	# Bytes above ASCII in texts, labels and before answers; SQL_ASCII holds them as UTF-8.
	my $accent = $encoding eq 'SQL_ASCII' ? "E'\\xc3\\xa9'" : $encoding eq 'LATIN1' ? "E'\\xe9'" : "U&'\\00e9'";
	$server->safe_psql($database, <<"SQL");
CREATE TABLE accents AS SELECT g AS id, 'caf' || $accent || ' old ' || g % 3 AS body, 'd' || $accent || 'j' || g % 2 AS label FROM generate_series(1, 60) g;
CREATE TABLE questions AS SELECT 'what was ' || $accent AS question, 'the ' || $accent || 't' || $accent || ' was love' AS context,
	CASE WHEN g % 2 = 0 THEN 'love' ELSE $accent || 't' || $accent END AS answer FROM generate_series(1, 60) g;
SQL
	my $options = q('{"epochs": 1, "lengthdrop_epochs": 1, "workers": 1}');
	my $first = $server->safe_psql($database, "SELECT lat_train('c', 'tiny', 'classify', 'SELECT body, label FROM accents ORDER BY id', $options)");
	my $second = $server->safe_psql($database, "SELECT lat_train('s', 'tiny', 'span',
		'SELECT question, context, answer, strpos(context, answer) FROM questions', $options)");
	is(wait_for_run($server, $_, $database), 'done', "$encoding: run $_") foreach ($first, $second);
	is($server->safe_psql($database, "SELECT rows_skipped FROM lat_run WHERE run = $second"), '{}', "$encoding: every answer is found");
	is($server->safe_psql($database, "SELECT count(*) FROM accents WHERE lat_score(body, label, model => 'c') > 0"), '60',
		"$encoding: the labels are those of the table");
	$digests{$database} = [ map { digest_of($server, $_, $database) } ('c', 's') ];
}
is_deeply($digests{latin1}, $digests{utf8}, 'LATIN1: the same bits as in UTF8');
is_deeply($digests{sql_ascii}, $digests{utf8}, 'SQL_ASCII: too');
is(error_of($server, 'sql_ascii', "SELECT lat_train('c', 'tiny', 'classify', \$\$VALUES (E'caf\\xe9', 'a'), ('b', 'b')\$\$);"), '22021',
	'bytes that are no UTF-8 are an error');
$server->stop;
done_testing();
