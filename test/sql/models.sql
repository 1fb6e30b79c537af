-- Models come, are replaced and go; who may do that; what is refused, and how.
-- In a database of its own, with the extension in a schema that is not in search_path.
\getenv source PG_ABS_SRCDIR
\set golden :source /golden
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_lat_models;
CREATE DATABASE regress_lat_models;
\c regress_lat_models
SET client_min_messages = warning;
CREATE SCHEMA "Odd schema";
CREATE EXTENSION lat SCHEMA "Odd schema";
CREATE SCHEMA test;
SET search_path = test;

-- What a command says: ok, or SQLSTATE and texts, without the paths of this machine.
CREATE FUNCTION attempt(command text, VARIADIC arguments text[] = '{}') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
BEGIN
	EXECUTE format(command, VARIADIC arguments);
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ': ' || regexp_replace(message, '"/[^"]*/', '"', 'g')
		|| coalesce(E'\n' || nullif(hint, ''), '');
END
$$;

-- Import, default, replacement.
SELECT "Odd schema".lat_import_model('a', :'golden' || '/tiny-classify') AS first \gset
SELECT "Odd schema".lat_import_model('a', :'golden' || '/tiny-classify') = :'first' AS same_again;
SELECT "Odd schema".lat_import_model('b', :'golden' || '/tiny-classify') = :'first' AS same_digest;
SELECT name, digest = :'first' AS first, task, labels, architecture, layers, hidden, max_tokens,
	precision, parameters
FROM "Odd schema".lat_model ORDER BY name;
SELECT count(DISTINCT digest) AS contents, max(octet_length(data)) <= 1024 * 1024 AS small,
	min(seq) AS first, count(*) - 1 = max(seq) AS no_gaps
FROM "Odd schema".lat_model_chunk;
SELECT encode(sha256(string_agg(data, ''::bytea ORDER BY seq)), 'hex') = :'first' AS is_its_digest
FROM "Odd schema".lat_model_chunk;
SELECT * FROM "Odd schema".lat_default ORDER BY task;
INSERT INTO "Odd schema".lat_pareto (digest, lengths, reference_length, fraction, quality)
VALUES (:'first', '{8,4}', 8, 0.5, 0.9);

-- One name goes elsewhere; the other still needs the content.
SELECT "Odd schema".lat_import_model('a', :'golden' || '/tiny-span') AS second \gset
SELECT count(DISTINCT digest) AS contents FROM "Odd schema".lat_model_chunk;
SELECT * FROM "Odd schema".lat_default ORDER BY task;
SELECT "Odd schema".lat_import_model('b', :'golden' || '/tiny-span') = :'second' AS same_digest;
SELECT count(DISTINCT digest) AS contents, min(digest) = :'second' AS second
FROM "Odd schema".lat_model_chunk;
SELECT count(*) AS points FROM "Odd schema".lat_pareto;

-- All or nothing.
BEGIN;
SELECT "Odd schema".lat_import_model('a', :'golden' || '/tiny-classify') = :'first' AS first;
SELECT "Odd schema".lat_drop_model('b');
SELECT "Odd schema".lat_classify('in the same transaction', model => 'a') IS NOT NULL AS usable;
ROLLBACK;
SELECT name, task FROM "Odd schema".lat_model ORDER BY name;
SELECT bool_and(digest = :'second') AS untouched FROM "Odd schema".lat_model_chunk;

-- Defaults.
SELECT "Odd schema".lat_import_model('c', :'golden' || '/tiny-classify') = :'first' AS first;
SELECT * FROM "Odd schema".lat_default ORDER BY task;
SELECT "Odd schema".lat_set_default('pair', 'c');
SELECT "Odd schema".lat_set_default('span', 'b');
SELECT * FROM "Odd schema".lat_default ORDER BY task;
SELECT attempt($$SELECT "Odd schema".lat_set_default('classify', 'b')$$);
SELECT attempt($$SELECT "Odd schema".lat_set_default('embed', 'c')$$);
SELECT attempt($$SELECT "Odd schema".lat_set_default('poetry', 'c')$$);
SELECT attempt($$SELECT "Odd schema".lat_set_default('span', 'nobody')$$);
SELECT attempt($$SELECT "Odd schema".lat_set_default(NULL, 'c')$$);
SELECT "Odd schema".lat_drop_model('b');
SELECT * FROM "Odd schema".lat_default ORDER BY task;
SELECT attempt($$SELECT "Odd schema".lat_drop_model('b')$$);
UPDATE "Odd schema".lat_model SET name = 'd' WHERE name = 'c';
SELECT * FROM "Odd schema".lat_default ORDER BY task;

-- A session that has a model mapped sees its replacement, in a loop as well.
DO $$
DECLARE
	digests text[];
BEGIN
	FOR i IN 1..2 LOOP
		digests := digests || (SELECT array_agg(layer::text)
			FROM "Odd schema".lat_trace('one text', model => 'd'));
		IF i = 1 THEN
			PERFORM "Odd schema".lat_drop_model('d');
			UPDATE "Odd schema".lat_model SET name = 'd' WHERE name = 'a';
		END IF;
	END LOOP;
	RAISE WARNING 'layers: %', digests;
END
$$;

-- What is shared, without preload or with it.
SELECT l.precision, l.bytes > 0 AS bytes, l."where"
FROM "Odd schema".lat_loaded_models l JOIN "Odd schema".lat_model m USING (digest)
WHERE l.precision = 'int8';

-- Names.
SELECT attempt($$SELECT "Odd schema".lat_import_model('', %L)$$, :'golden' || '/tiny-classify');
SELECT attempt($$SELECT "Odd schema".lat_import_model(%L, %L)$$,
	repeat('x', 64), :'golden' || '/tiny-classify');
SELECT attempt($$SELECT "Odd schema".lat_import_model(NULL, %L)$$, :'golden' || '/tiny-classify');
SELECT attempt($$SELECT "Odd schema".lat_import_model('x', NULL)$$);

-- Directories.
\! rm -rf "$PG_ABS_BUILDDIR/results/models"; mkdir -p "$PG_ABS_BUILDDIR/results/models/empty"
\! for d in pickle sharded blank words cut notjson nolayers; do cp -r "$PG_ABS_SRCDIR/golden/tiny-classify" "$PG_ABS_BUILDDIR/results/models/$d"; done
\! cd "$PG_ABS_BUILDDIR/results/models/pickle" && mv model.safetensors pytorch_model.bin
\! cd "$PG_ABS_BUILDDIR/results/models/sharded" && mv model.safetensors model.safetensors.index.json
\! cd "$PG_ABS_BUILDDIR/results/models/blank" && : > model.safetensors
\! cd "$PG_ABS_BUILDDIR/results/models/words" && rm -f vocab.txt tokenizer.json
\! cd "$PG_ABS_BUILDDIR/results/models/cut" && head -c 1000 ../notjson/model.safetensors > model.safetensors
\! cd "$PG_ABS_BUILDDIR/results/models/notjson" && echo 'not JSON' > config.json
\! cd "$PG_ABS_BUILDDIR/results/models/nolayers" && sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 0/' ../words/config.json > config.json
\getenv build PG_ABS_BUILDDIR
SELECT directory, attempt($$SELECT "Odd schema".lat_import_model('x', %L)$$,
	:'build' || '/results/models/' || directory)
FROM unnest('{missing, empty, pickle, sharded, blank, words, cut, notjson, notjson/config.json, nolayers}'
	::text[]) directory;
SELECT attempt($$SELECT "Odd schema".lat_import_model('x', 'relative')$$);
SELECT count(*) AS half_stored FROM "Odd schema".lat_model WHERE name = 'x';

-- Privileges.
CREATE ROLE regress_lat_reader;
CREATE ROLE regress_lat_writer;
GRANT USAGE ON SCHEMA "Odd schema", test TO regress_lat_reader, regress_lat_writer;
SELECT "Odd schema".lat_import_model('d', :'golden' || '/tiny-classify') = :'first' AS first;
SET ROLE regress_lat_reader;
SELECT "Odd schema".lat_classify('anybody may', model => 'd') IS NOT NULL AS usable;
SELECT attempt($$SELECT data FROM "Odd schema".lat_model_chunk$$);
SELECT attempt($$SELECT "Odd schema".lat_import_model('d', %L)$$, :'golden' || '/tiny-classify');
SELECT attempt($$SELECT "Odd schema".lat_install_default_models()$$);
SELECT attempt($$SELECT "Odd schema".lat_drop_model('d')$$);
SELECT attempt($$SELECT "Odd schema".lat_set_default('classify', 'd')$$);
SELECT attempt($$SET lat.max_budget = 1$$);
RESET ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON "Odd schema".lat_model, "Odd schema".lat_model_chunk,
	"Odd schema".lat_pareto, "Odd schema".lat_default TO regress_lat_writer;
SET ROLE regress_lat_writer;
SELECT attempt($$SELECT "Odd schema".lat_import_model('e', %L)$$, :'golden' || '/tiny-classify');
RESET ROLE;
GRANT pg_read_server_files TO regress_lat_writer;
SET ROLE regress_lat_writer;
SELECT attempt($$SELECT "Odd schema".lat_import_model('e', %L)$$, :'golden' || '/tiny-classify');
SELECT attempt($$SELECT "Odd schema".lat_set_default('classify', 'e')$$);
SELECT attempt($$SELECT "Odd schema".lat_drop_model('e')$$);
RESET ROLE;
REVOKE SELECT ON "Odd schema".lat_model FROM PUBLIC;
SET ROLE regress_lat_reader;
SELECT attempt($$SELECT "Odd schema".lat_classify('no longer', model => 'd')$$);
RESET ROLE;
GRANT SELECT ON "Odd schema".lat_model TO PUBLIC;
ALTER TABLE "Odd schema".lat_model ENABLE ROW LEVEL SECURITY;
SET ROLE regress_lat_reader;
SELECT attempt($$SELECT "Odd schema".lat_classify('policies', model => 'd')$$);
RESET ROLE;
ALTER TABLE "Odd schema".lat_model DISABLE ROW LEVEL SECURITY;
SELECT attempt($$SET LOCAL transaction_read_only = on; SELECT "Odd schema".lat_drop_model('d')$$);

-- Damage is noticed. (The model is not mapped: a new digest, never used.)
SELECT "Odd schema".lat_import_model('d', :'golden' || '/tiny-span') = :'second' AS second;
UPDATE "Odd schema".lat_model SET digest = repeat('0', 64) WHERE name = 'd';
UPDATE "Odd schema".lat_model_chunk SET digest = repeat('0', 64) WHERE digest = :'second';
SELECT attempt($$SELECT "Odd schema".lat_answer('who', 'somebody', model => 'd')$$);
SELECT attempt($$UPDATE "Odd schema".lat_model SET digest = '../../etc/passwd'$$);

-- Settings.
SELECT attempt($$SET lat.budget = %s$$, budget)
FROM unnest('{0, -1, 1.1, ''NaN'', 0.5}'::text[]) budget;
SELECT attempt($$SET lat.kernels = 'mmx'$$);
SELECT attempt($$SET lat.precision = 'int4'$$);

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_lat_models;
DROP ROLE regress_lat_reader;
DROP ROLE regress_lat_writer;
