-- Training on a synthetic task, from a tiny random encoder: it learns, in the open, and what is
-- wrong with data, options or privileges is said.  In a database of its own.
\getenv source PG_ABS_SRCDIR
\set golden :source /golden
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_lat_train;
DROP ROLE IF EXISTS regress_lat_trainer;
DROP ROLE IF EXISTS regress_lat_stranger;
CREATE DATABASE regress_lat_train;
\c regress_lat_train
CREATE SCHEMA "Odd schema";
CREATE EXTENSION lat SCHEMA "Odd schema";
CREATE SCHEMA test;
SET search_path = test, "Odd schema";
SELECT length(lat_import_model('tiny', :'golden' || '/tiny-embed'));

-- What a command says: ok, or SQLSTATE and texts.
CREATE FUNCTION attempt(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE command;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ': ' || message || coalesce(E'\n' || nullif(detail, ''), '') || coalesce(E'\n' || nullif(hint, ''), '');
END
$$;

-- Sentences whose label depends on one word, at some place among others.
CREATE FUNCTION words(n int, seed int) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg((ARRAY['the','old','man','was','in','town','with','a','cat','on','mat','and','dog','house','water','time'])
		[1 + (hashint4(seed * 1000 + g) & 15)] ORDER BY g) FROM generate_series(1, n) g
$$;
CREATE TABLE tickets AS
	SELECT g AS id, g % 3 AS queue, CASE g % 3 WHEN 0 THEN 'bad' WHEN 1 THEN 'good' ELSE 'other' END AS label,
		array_to_string(words(g % 7, g) || (ARRAY['hate','love','film'])[1 + g % 3] || words(g % 5, -g), ' ') AS body
	FROM generate_series(1, 600) g;
SELECT * FROM tickets ORDER BY id LIMIT 3;

-- classify
SELECT lat_train('tickets', 'tiny', 'classify', 'SELECT body, label FROM tickets WHERE id <= 500 ORDER BY id',
	'{"epochs": 10, "lengthdrop_epochs": 4, "learning_rate": 0.003, "seed": 7}') AS run \gset
SELECT lat_wait(:run);
SELECT count(*) > 95 AS learnt FROM tickets WHERE id > 500 AND lat_classify(body, model => 'tickets') = label;
SELECT model, base, kind, task, state, resumed, rows, rows_truncated, rows_skipped, train_examples, dev_examples,
	query, digest = (SELECT digest FROM lat_model WHERE name = 'tickets') AS digest, quality > 90 AS learnt, quality_smallest > 90 AS also_small, error, started > created AS started,
	finished > started AS finished
FROM lat_run WHERE run = :run;
SELECT owner = current_user AS mine, pid, checkpoint_bytes FROM lat_run WHERE run = :run;
SELECT options - 'workers' AS options FROM lat_run WHERE run = :run;
SELECT name, task, labels, precision FROM lat_model ORDER BY name;
SELECT * FROM lat_default ORDER BY task;

-- its history, and nothing left behind
SELECT phase, round(epoch) AS epoch, step, steps, loss > 0 AS loss, quality > 30 AS quality, learning_rate < 0.003 AS rate
FROM lat_run_log WHERE run = :run AND quality IS NOT NULL ORDER BY seq;
SELECT bool_and(examples_per_second > 0) AS speed, bool_and(eta >= at - interval '1 second') AS eta, max(step) = max(steps) AS complete,
	bool_and(gradient_norm > 0) AS norm
FROM lat_run_log WHERE run = :run;
SELECT count(*) FROM lat_progress;
SELECT count(*) FROM lat_run_data;

-- The same again makes the same model; with another seed it does not.
SELECT lat_train(name, 'tiny', 'classify', 'SELECT body, label FROM tickets WHERE id <= 200 ORDER BY id',
	format('{"epochs": 1, "lengthdrop_epochs": 1, "seed": %s}', seed)::jsonb) AS run
FROM (VALUES ('first', 1), ('again', 1), ('other', 2)) v (name, seed) \g /dev/null
SELECT count(lat_wait(run)) FROM lat_run WHERE model IN ('first', 'again', 'other');
SELECT count(DISTINCT digest) FROM lat_model WHERE name IN ('first', 'again');
SELECT count(DISTINCT digest) FROM lat_model WHERE name IN ('first', 'other');
SELECT lat_drop_model(name) FROM lat_model WHERE name IN ('first', 'again', 'other');

-- a trained model is a base; with the same labels its head goes on, in its order
SELECT lat_train('more', 'tickets', 'classify', 'SELECT body, label FROM tickets ORDER BY id DESC',
	'{"epochs": 0.05, "lengthdrop_epochs": 0, "learning_rate": 0.0001, "dev": "SELECT body, label FROM tickets WHERE id > 500"}') AS run \gset
SELECT lat_wait(:run);
SELECT quality > 90 AS learnt, train_examples, dev_examples FROM lat_run WHERE run = :run;

-- with other labels it gets a new head; under its own name it is replaced
SELECT lat_train('more', 'more', 'classify', 'SELECT body, queue::text FROM tickets ORDER BY id',
	'{"epochs": 4, "lengthdrop_epochs": 0, "learning_rate": 0.002, "hold_out": 0}') AS run \gset
SELECT lat_wait(:run);
SELECT labels FROM lat_model WHERE name = 'more';
SELECT quality, train_examples, dev_examples FROM lat_run WHERE run = :run;
SELECT count(*) > 590 AS learnt FROM tickets WHERE lat_classify(body, model => 'more') = queue::text;

-- pair: do both begin with the same word?
CREATE TABLE pairs AS
	SELECT g AS id, (ARRAY['love','hate'])[1 + g % 2] || ' the cat' AS a, (ARRAY['love','hate'])[1 + g / 2 % 2] || ' a dog' AS b,
		CASE WHEN g % 2 = g / 2 % 2 THEN 'same' ELSE 'different' END AS label
	FROM generate_series(1, 400) g;
SELECT lat_train('pairs', 'tiny', 'pair', 'SELECT a, b, label FROM pairs ORDER BY id',
	'{"epochs": 20, "lengthdrop_epochs": 0, "learning_rate": 0.002}') AS run \gset
SELECT lat_wait(:run);
SELECT quality > 90 AS learnt, task FROM lat_run WHERE run = :run;
SELECT count(*) > 390 AS learnt FROM pairs WHERE lat_classify_pair(a, b, model => 'pairs') = label;

-- span: the word after "was"; windows, and answers by place or by first occurrence
CREATE TABLE questions AS
	SELECT g AS id, 'what was it' AS question,
		array_to_string(array_remove(words(g % 4, g), 'was') || ('was'::text || ' ' || (ARRAY['love','hate','film'])[1 + g % 3]) || array_remove(words(g % 9, -g), 'was'), ' ') AS context,
		(ARRAY['love','hate','film'])[1 + g % 3] AS answer
	FROM generate_series(1, 500) g;
SELECT lat_train('reader', 'tiny', 'span',
	'SELECT question, context, answer, CASE WHEN id % 2 = 0 THEN strpos(context, answer) END FROM questions ORDER BY id',
	'{"epochs": 6, "lengthdrop_epochs": 2, "learning_rate": 0.002}') AS run \gset
SELECT lat_wait(:run);
SELECT quality > 90 AS learnt, train_examples, dev_examples FROM lat_run WHERE run = :run;
SELECT lat_answer('what was it', 'the old man was film in town', model => 'reader');

-- tag
CREATE TABLE sentences AS
	SELECT g AS id, words(g % 6, g) || (ARRAY['cat','teacher'])[1 + g % 2] || words(g % 4, -g) AS words FROM generate_series(1, 400) g;
CREATE TABLE tagged AS
	SELECT id, words, (SELECT array_agg(CASE w WHEN 'cat' THEN 'B-ANIMAL' WHEN 'dog' THEN 'B-ANIMAL' WHEN 'teacher' THEN 'B-PERSON' ELSE 'O' END ORDER BY n)
		FROM unnest(words) WITH ORDINALITY u (w, n)) AS labels FROM sentences;
SELECT lat_train('tagger', 'tiny', 'tag', 'SELECT words, labels FROM tagged ORDER BY id',
	'{"epochs": 25, "lengthdrop_epochs": 2, "learning_rate": 0.003}') AS run \gset
SELECT lat_wait(:run);
SELECT quality > 90 AS learnt FROM lat_run WHERE run = :run;
SELECT label, fragment FROM lat_tag('the teacher with a dog and the cat', model => 'tagger');

-- Bad rows are left out, counted and reported.
SET client_min_messages = notice;
CREATE TABLE bad (id int, body text, label text);
INSERT INTO bad SELECT g, 'the cat', 'x' FROM generate_series(1, 10) g;
INSERT INTO bad SELECT 10 + g, 'a dog', 'y' FROM generate_series(1, 10) g;
INSERT INTO bad VALUES (21, NULL, 'x'), (22, 'a text', NULL), (23, '', 'x'), (24, E' \t ', 'x'), (25, 'a text', ''),
	(26, 'alone', 'z'), (27, repeat('the cat ', 100), 'x');
SELECT lat_train('bad', 'tiny', 'classify', 'SELECT body, label FROM bad ORDER BY id', '{"epochs": 1, "lengthdrop_epochs": 0}') AS run \gset
SELECT lat_wait(:run);
SELECT rows, rows_skipped, rows_truncated, train_examples, dev_examples FROM lat_run WHERE run = :run;
SELECT lat_train('bad', 'tiny', 'classify', 'SELECT body, label FROM bad WHERE id <= 20 ORDER BY id',
	'{"epochs": 1, "lengthdrop_epochs": 0, "dev": "VALUES (''the dog'', ''x''), (''a cat'', ''new'')"}') AS run \gset
SELECT lat_wait(:run);
SELECT rows, rows_skipped, train_examples, dev_examples FROM lat_run WHERE run = :run;
SELECT lat_train('bad', 'tiny', 'span', $$VALUES ('what', 'the cat sat', 'cat', 5), ('what', 'the cat sat', 'dog', NULL),
	('what', 'the cat sat', 'cat', 6), ('what', 'the cat sat', 'cat', NULL), ('what', 'the cat sat', NULL, NULL),
	('what', 'the cat sat', 'cat', 0), ('what', 'the cat sat', 'cat', 1000), ('', 'the cat sat', 'cat', 5), ('what', 'the cat sat', ' ', 4)$$,
	'{"epochs": 1, "lengthdrop_epochs": 0, "hold_out": 0}') AS run \gset
SELECT lat_wait(:run);
SELECT rows, rows_skipped, train_examples FROM lat_run WHERE run = :run;
SELECT lat_train('bad', 'tiny', 'tag', $$VALUES ('{the,cat}'::text[], '{O,B-X}'::text[]), ('{the,cat}', '{O}'), ('{the,NULL}', '{O,O}'),
	('{the,cat}', '{O,""}'), ('{}', '{}'), (NULL, '{O}'), ('{"",cat}', '{O,O}')$$, '{"epochs": 1, "lengthdrop_epochs": 0, "hold_out": 0}') AS run \gset
SELECT lat_wait(:run);
SELECT rows, rows_skipped, train_examples FROM lat_run WHERE run = :run;
SET client_min_messages = warning;

-- Long contexts become several windows: 64 tokens each, half of it shared.
SELECT lat_train('bad', 'tiny', 'span', $$SELECT 'what', repeat('the old man ', 60) || 'film', 'film', NULL::int$$,
	'{"epochs": 1, "lengthdrop_epochs": 0, "hold_out": 0}') AS run \gset
SELECT lat_wait(:run);
SELECT rows, train_examples FROM lat_run WHERE run = :run;

-- What cannot be trained on.
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, label FROM tickets WHERE false')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, label FROM tickets WHERE label = ''bad'' ')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, queue FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'span', 'SELECT body, body, body, label FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'tag', 'SELECT body, label FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', '')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, label FROM tickets; SELECT 1')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'DELETE FROM tickets RETURNING body, label')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'WITH d AS (DELETE FROM tickets RETURNING body, label) SELECT * FROM d')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, label FROM tickets FOR UPDATE')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, label INTO copy FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'EXPLAIN SELECT body, label FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, lable FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, (1 / (id - 20))::text FROM tickets ORDER BY id')$$);
SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, (1 / (id - 20))::text FROM tickets ORDER BY id');
SELECT attempt($$SELECT lat_train('x', 'tiny', 'embed', 'SELECT body FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', 'huge', 'classify', 'SELECT body, label FROM tickets')$$);
SELECT attempt($$SELECT lat_train('', 'tiny', 'classify', 'SELECT body, label FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', NULL, 'classify', 'SELECT body, label FROM tickets')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, label FROM tickets', '{"dev": "SELECT 1"}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, label FROM tickets', '{"dev": "VALUES (''a'', ''new'')"}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, repeat(label, 100) FROM tickets')$$);

-- Other forms of a query, and types that are as good as text.
CREATE DOMAIN label AS varchar(10);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view')$$);
CREATE VIEW bad_view AS SELECT body::varchar, label::label FROM bad WHERE id <= 20 ORDER BY id;
SELECT attempt($$SELECT lat_cancel(lat_train('x', 'tiny', 'classify', 'TABLE bad_view'))$$);
SELECT attempt($$SELECT lat_cancel(lat_train('x', 'tiny', 'classify', 'WITH w AS (TABLE bad_view) SELECT * FROM w'))$$);
SELECT attempt($$SELECT lat_cancel(lat_train('x', 'tiny', 'classify', 'VALUES (''a cat'', ''x''), (''a dog'', ''y'');'))$$);

-- Options.
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"epoch": 1}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '[1]')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"epochs": "three"}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"epochs": [3, 5]}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"epochs": -1}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"epochs": 0, "lengthdrop_epochs": 0}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'SELECT body, label FROM tickets, generate_series(1, 10)', '{"epochs": 10000, "batch": 1}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"batch": 1.5}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"batch": 1e300}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"embeddings": "Lazy"}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"bf16": true}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"seed": -1}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"seed": 1e30}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"max_length": 65}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"workers": 0}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"learning_rate": null}')$$);
SELECT attempt($$SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"dev": 5}')$$);
BEGIN;
SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"seed": 9223372036854775807, "embeddings": "dense",
	"distillation": "reverse", "learning_rate": 0.1e-3, "checkpoint_interval": 0, "workers": 3, "dropout": 0,
	"bf16": "all"}') AS run \gset
SELECT options FROM lat_run WHERE run = :run;
ROLLBACK;
SELECT count(*) FROM lat_run WHERE run = :run;

-- A run begins at commit.
BEGIN;
SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"epochs": 1, "lengthdrop_epochs": 0}') AS run \gset
SELECT state, pid, started FROM lat_run WHERE run = :run;
SELECT run = :run AS run, state, step FROM lat_progress;
SELECT records, part FROM lat_run_data WHERE run = :run ORDER BY part;
SELECT regexp_replace(attempt(format('SELECT lat_wait(%s)', :run)), '\d{1,4} begins', 'N begins');
SELECT count(*) FROM lat_model WHERE name = 'x';
COMMIT;
SELECT lat_wait(:run), lat_wait(:run), lat_cancel(:run);
SELECT count(*) FROM lat_model WHERE name = 'x';
SELECT regexp_replace(attempt(format('SELECT lat_resume(%s)', :run)), 'run \d+', 'run N');

-- Nor can it end while who waits has changed models.
SELECT lat_train('x', 'tiny', 'classify', 'TABLE bad_view', '{"epochs": 1, "lengthdrop_epochs": 0}') AS run \gset
BEGIN;
SELECT lat_set_default('classify', 'tickets');
SELECT regexp_replace(attempt(format('SELECT lat_wait(%s)', :run)), 'run \d+', 'run N');
ROLLBACK;
SELECT lat_wait(:run);

-- Rolled back, to a savepoint or in full, it leaves nothing; cancelled, a row.
BEGIN;
SAVEPOINT s;
SELECT lat_train('y', 'tiny', 'classify', 'TABLE bad_view') AS run \gset
ROLLBACK TO s;
SELECT count(*) FROM lat_run_data;
SELECT lat_train('y', 'tiny', 'classify', 'TABLE bad_view') AS run \gset
SELECT lat_cancel(:run);
COMMIT;
SELECT lat_wait(:run);
SELECT state, started, digest FROM lat_run WHERE run = :run;
SELECT count(*) FROM lat_run_data;
SELECT regexp_replace(attempt(format('SELECT lat_resume(%s)', :run)), 'run \d+', 'run N');
SELECT count(*) FROM lat_model WHERE name = 'y';
SELECT attempt('SELECT lat_wait(123456)'), attempt('SELECT lat_cancel(123456)'), lat_wait(NULL);
BEGIN READ ONLY;
SELECT attempt($$SELECT lat_train('y', 'tiny', 'classify', 'TABLE bad_view')$$);
COMMIT;

-- A run that fails says why to who waits: the base is gone.
BEGIN;
SELECT length(lat_import_model('brief', :'golden' || '/tiny-classify'));
SELECT lat_train('y', 'brief', 'classify', 'TABLE bad_view') AS run \gset
SELECT lat_drop_model('brief');
COMMIT;
\set VERBOSITY terse
SELECT lat_wait(:run);
\set VERBOSITY default
SELECT state, error_code, error FROM lat_run WHERE run = :run;
SELECT lat_cancel(:run);
SELECT state, error FROM lat_run WHERE run = :run;

-- Who may: writing the models is the right to train; the rows are read with one's own privileges.
CREATE ROLE regress_lat_trainer;
CREATE ROLE regress_lat_stranger;
GRANT USAGE ON SCHEMA test, "Odd schema" TO regress_lat_trainer, regress_lat_stranger;
SET ROLE regress_lat_trainer;
SELECT attempt($$SELECT lat_train('z', 'tiny', 'classify', 'TABLE bad_view')$$);
RESET ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON lat_model, lat_model_chunk, lat_pareto, lat_default TO regress_lat_trainer;
SET ROLE regress_lat_trainer;
SELECT attempt($$SELECT lat_train('z', 'tiny', 'classify', 'TABLE bad_view')$$);
RESET ROLE;
GRANT SELECT ON bad_view TO regress_lat_trainer;
SET ROLE regress_lat_trainer;
BEGIN;
SELECT lat_train('z', 'tiny', 'classify', 'TABLE bad_view', '{"epochs": 1, "lengthdrop_epochs": 0}') AS run \gset
SELECT count(*) AS runs, min(owner) AS owner FROM lat_run;
SELECT sum(records) FROM lat_run_data;
COMMIT;
SELECT lat_wait(:run);
SELECT count(*) > 0 AS log, count(DISTINCT run) AS runs FROM lat_run_log;
SELECT attempt('SELECT * FROM lat_run_entry'), attempt('DELETE FROM lat_run_log'),
	attempt(format('UPDATE lat_run SET state = %L', 'queued'));
RESET ROLE;
BEGIN;
SET LOCAL ROLE regress_lat_trainer;
SELECT lat_train('z', 'tiny', 'classify', 'TABLE bad_view') AS run \gset
SET LOCAL ROLE regress_lat_stranger;
SELECT count(*) AS runs FROM lat_run;
SELECT count(*) AS pieces FROM lat_run_data;
SELECT count(*) AS lines FROM lat_run_log;
SELECT regexp_replace(attempt(format('SELECT lat_cancel(%s)', :run)), 'run \d+', 'run N');
ROLLBACK;

\c postgres
DROP DATABASE regress_lat_train;
DROP ROLE regress_lat_trainer;
DROP ROLE regress_lat_stranger;
