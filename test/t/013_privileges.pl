# Who may do what: SELECT on lat_model is the right to use models, writing it the right to change
# them; reading the server's files needs pg_read_server_files as well.
use strict;
use warnings;

use LatTest;
use Test::More;

my $checkpoint = find_checkpoint('SequenceClassification');
my ($first, $second) = (make_version($checkpoint, 'v1'), make_version($checkpoint, 'v2'));
my $server = new_server('main');
import_version($server, 'm', $first);
$server->safe_psql('postgres', 'CREATE ROLE reader; CREATE ROLE stranger; CREATE ROLE keeper; CREATE ROLE limited');

my $label = "SELECT split_part(lat_classify('a text', model => 'm'), '_', 1);";
my $import = "SELECT lat_import_model('m', '$second');";

is($server->safe_psql('postgres', "SET ROLE reader; $label"), 'v1', 'anybody may score');
is($server->safe_psql('postgres', "SET ROLE reader; SELECT count(*) > 0 FROM lat_loaded_models"),
	't', 'and look at what is loaded');
is(error_of($server, 'postgres', "SET ROLE reader; $import"), '42501', 'but not import');
is(error_of($server, 'postgres', "SET ROLE reader; SELECT lat_drop_model('m');"), '42501', 'nor drop');
is(error_of($server, 'postgres', "SET ROLE reader; SELECT lat_set_default('classify', 'm');"),
	'42501', 'nor set a default');
is(error_of($server, 'postgres', "SET ROLE reader; SELECT * FROM lat_install_default_models();"),
	'42501', 'nor install');
is(error_of($server, 'postgres', "SET ROLE reader; SELECT count(*) FROM lat_model_chunk;"),
	'42501', 'nor read the weights');
is(error_of($server, 'postgres', "SET ROLE reader; SELECT pg_stat_lat_reset();"),
	'42501', 'nor reset the counters');

$server->safe_psql('postgres', 'REVOKE SELECT ON lat_model FROM PUBLIC; GRANT SELECT ON lat_model TO reader');
is(error_of($server, 'postgres', "SET ROLE stranger; $label"), '42501', 'without SELECT nobody scores');
is($server->safe_psql('postgres', "SET ROLE reader; $label"), 'v1', 'with it one does');
is(error_of($server, 'postgres', "$label SET ROLE stranger; $label"), '42501',
	'also not after a call as another role');

# keeper may write the tables, and later read files.
$server->safe_psql('postgres', 'GRANT SELECT, INSERT, UPDATE, DELETE ON lat_model, lat_model_chunk, lat_pareto, lat_default TO keeper');
is(error_of($server, 'postgres', "SET ROLE keeper; $import"), '42501', 'import needs pg_read_server_files');
$server->safe_psql('postgres', 'GRANT pg_read_server_files TO keeper');
is(error_of($server, 'postgres', "SET ROLE keeper; $import"), '', 'with it, and write privileges, import works');
is($server->safe_psql('postgres', $label), 'v2', 'the replacement is in effect');
is(error_of($server, 'postgres', "SET ROLE keeper; SELECT lat_set_default('classify', 'm'); SELECT lat_drop_model('m');"),
	'', 'and so do setting a default and dropping');
$server->safe_psql('postgres', 'GRANT pg_read_server_files TO reader');
is(error_of($server, 'postgres', "SET ROLE reader; $import"), '42501',
	'pg_read_server_files alone is not enough');

# A limit on the budget that a role cannot lift.
import_version($server, 'm', $first);
is(error_of($server, 'postgres', 'SET ROLE limited; SET lat.max_budget = 1;'), '42501',
	'lat.max_budget is not for everybody to set');

$server->stop;
done_testing();
