# What others put on the tables that a run writes never runs as the superuser that the run's
# processes are: a trigger that may be deferred to commit, a cursor that is left to it.
use strict;
use warnings;

use LatTest;
use LatTrain;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('main');
prepare_training($server);
$server->safe_psql('postgres', <<'SQL');
CREATE ROLE trainer;
GRANT ALL ON lat_model, lat_model_chunk, lat_pareto, lat_default TO trainer;
GRANT SELECT ON texts TO trainer;
CREATE SCHEMA traps AUTHORIZATION trainer;
SET ROLE trainer;
CREATE TABLE traps.met (who name, how text);
GRANT ALL ON SCHEMA traps TO PUBLIC;
GRANT ALL ON traps.met TO PUBLIC;
CREATE FUNCTION traps.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO traps.met VALUES (current_user, tg_argv[0]);
	RETURN new;
END $$;
CREATE FUNCTION traps.note_row(how text) RETURNS int LANGUAGE sql VOLATILE AS
	$$ INSERT INTO traps.met VALUES (current_user, how); SELECT 1 $$;
CREATE FUNCTION traps.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT traps.note_row(''cursor'')';
	RETURN new;
END $$;
SQL

sub met
{
	return $server->safe_psql('postgres', "SELECT string_agg(DISTINCT who || ' ' || how, ', ') FROM traps.met");
}

sub train
{
	my ($as) = @_;
	my $run = start_run($server, 'mine', epochs => 0.1, lengthdrop_epochs => 0, as => $as);
	my ($output, $errors);
	$server->psql('postgres', "SELECT lat_wait($run)", stdout => \$output, stderr => \$errors);
	return $output || $errors;
}

# Triggers of the run's owner.
$server->safe_psql('postgres', "SET ROLE trainer; CREATE TRIGGER plain AFTER INSERT OR UPDATE ON lat_model FOR EACH ROW EXECUTE FUNCTION traps.note('plain')");
is(train('trainer'), 'done', 'a trigger on lat_model');
is(met(), 'trainer plain', 'runs as the run\'s owner');
$server->safe_psql('postgres', "SET ROLE trainer; CREATE CONSTRAINT TRIGGER deferred AFTER INSERT OR UPDATE ON lat_model
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION traps.note('deferred')");
like(train('trainer'), qr/deferred trigger within security-restricted operation/, 'one that waits for the commit');
is(met(), 'trainer plain', 'never runs');
$server->safe_psql('postgres', "DROP TRIGGER deferred ON lat_model; SET ROLE trainer;
	CREATE TRIGGER held AFTER INSERT OR UPDATE ON lat_model FOR EACH ROW EXECUTE FUNCTION traps.hold()");
like(train('trainer'), qr/cursor WITH HOLD within security-restricted operation/, 'a cursor that is left to the commit');
is(met(), 'trainer plain', 'is never read');
$server->safe_psql('postgres', 'DROP TRIGGER held ON lat_model');

# Triggers of the tables' owner, where that is no superuser.
$server->safe_psql('postgres', <<'SQL');
ALTER TABLE lat_run_log OWNER TO trainer;
ALTER TABLE lat_run_entry OWNER TO trainer;
ALTER TABLE lat_run_data OWNER TO trainer;
TRUNCATE traps.met;
SET ROLE trainer;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON lat_run_log
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION traps.note('deferred');
SQL
like(train(), qr/deferred trigger within security-restricted operation/, 'a trigger on the log that waits for the commit');
is(met(), '', 'never runs either');

$server->stop;
unlike(slurp_file($server->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing in the log that should not be there');
done_testing();
