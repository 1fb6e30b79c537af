-- Search for length configurations with tiny models: for every task, with labels and without; what
-- it leaves in the tables, its picture, and what is refused.  In a database of its own.
\getenv source PG_ABS_SRCDIR
\set golden :source /golden
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_lat_search;
DROP ROLE IF EXISTS regress_lat_searcher;
CREATE DATABASE regress_lat_search;
\c regress_lat_search
SET client_min_messages = notice;
CREATE SCHEMA "Odd schema";
CREATE EXTENSION lat SCHEMA "Odd schema";
CREATE SCHEMA test;
SET search_path = test, "Odd schema";
SELECT length(lat_import_model('tiny', :'golden' || '/tiny-classify'));
SELECT length(lat_import_model('reader', :'golden' || '/tiny-span'));
SELECT length(lat_import_model('tagger', :'golden' || '/tiny-tag'));
SELECT length(lat_import_model('encoder', :'golden' || '/tiny-embed'));

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

CREATE FUNCTION words(n int, seed int) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg((ARRAY['the','old','man','was','in','town','with','a','cat','on','mat','and','dog','house','water','time'])
		[1 + (hashint4(seed * 1000 + g) & 15)] ORDER BY g) FROM generate_series(1, n) g
$$;
CREATE TABLE texts AS SELECT g AS id, array_to_string(words(3 + g % 20, g), ' ') AS body FROM generate_series(1, 400) g;
ALTER TABLE texts ADD label text;
UPDATE texts SET label = CASE WHEN id % 10 = 0 THEN 'neutral' ELSE lat_classify(body, 1, 'tiny') END;

-- without labels: agreement with the model in full
SELECT lat_search('tiny', 'SELECT body FROM texts ORDER BY id',
	'{"iterations": 3, "mutations": 10, "crossovers": 10, "ratios": 6, "reference_length": 32, "seed": 5}') AS run \gset
SELECT lat_wait(:run);
SELECT kind, model, base, task, state, rows, rows_skipped, train_examples, dev_examples, error,
	digest = (SELECT digest FROM lat_model WHERE name = 'tiny') AS digest, quality
FROM lat_run WHERE run = :run;
SELECT options - 'workers' AS options FROM lat_run WHERE run = :run;
SELECT phase, step, steps, candidates BETWEEN 6 AND 8 + 20 * (step - 1) AS candidates,
	hypervolume >= lag(hypervolume, 1, 0::float8) OVER (ORDER BY step) AS area_grows,
	examples > lag(examples, 1, 0::int8) OVER (ORDER BY step) AS examples_grow, quality, loss
FROM lat_run_log WHERE run = :run ORDER BY step;
SELECT count(*) FROM lat_run_data;

CREATE VIEW points AS
	SELECT p.*, m.name FROM lat_pareto p JOIN lat_model m USING (digest);
CREATE VIEW tried AS
	SELECT p.*, m.name FROM lat_search_point p JOIN lat_model m USING (digest);
SELECT count(*) > 2 AS several, min(reference_length), max(reference_length), max(metric) AS metric,
	bool_and(quality BETWEEN 0 AND 100 AND quality_low <= quality AND quality <= quality_high) AS intervals,
	bool_and(milliseconds > 0) AS measured, bool_and(fraction > 0 AND mean_fraction > 0 AND paper_fraction > 0) AS costs
FROM points WHERE name = 'tiny';
SELECT lengths, fraction, mean_fraction, paper_fraction, quality, quality_low, quality_high FROM points WHERE name = 'tiny' AND fraction = 1;
SELECT count(*) = (SELECT candidates FROM lat_run_log WHERE run = :run ORDER BY step DESC LIMIT 1) AS all_of_them,
	count(DISTINCT lengths) = count(*) AS each_once, max(examples) AS examples, bool_and(abandoned OR examples = 200) AS in_full,
	bool_and(NOT abandoned OR examples < 200) AS given_up_early
FROM tried WHERE name = 'tiny';
SELECT count(*) AS unsound FROM tried, unnest(lengths) WITH ORDINALITY l (length, layer)
WHERE length > coalesce(lengths[layer - 1], reference_length) OR length < 2 OR lengths[3] <> lengths[4];
SELECT count(*) AS strangers FROM points p WHERE name = 'tiny' AND NOT EXISTS (
	SELECT FROM tried t WHERE t.digest = p.digest AND t.lengths = p.lengths AND NOT t.abandoned);
SELECT count(*) AS beaten FROM points p JOIN tried t USING (digest, lengths) JOIN tried o USING (digest)
WHERE p.name = 'tiny' AND p.fraction < 1 AND NOT o.abandoned AND o.fraction < t.fraction AND o.quality >= t.quality;

-- calls choose among the points
SELECT count(*) > 300 AS agree FROM texts WHERE lat_classify(body, 0.7, 'tiny') = lat_classify(body, 1, 'tiny');

-- the same again by one process; another seed
CREATE TABLE before AS SELECT lengths, fraction, quality, quality_low, quality_high, mean_fraction FROM points WHERE name = 'tiny';
CREATE TABLE tried_before AS SELECT lengths, fraction, quality, examples, abandoned FROM tried WHERE name = 'tiny';
SELECT lat_search('tiny', 'SELECT body FROM texts ORDER BY id',
	'{"iterations": 3, "mutations": 10, "crossovers": 10, "ratios": 6, "reference_length": 32, "seed": 5, "workers": 1}') AS run \gset
SELECT lat_wait(:run);
SELECT processes FROM lat_run WHERE run = :run;
(TABLE before EXCEPT SELECT lengths, fraction, quality, quality_low, quality_high, mean_fraction FROM points WHERE name = 'tiny')
UNION ALL (SELECT lengths, fraction, quality, quality_low, quality_high, mean_fraction FROM points WHERE name = 'tiny' EXCEPT TABLE before);
(TABLE tried_before EXCEPT SELECT lengths, fraction, quality, examples, abandoned FROM tried WHERE name = 'tiny')
UNION ALL (SELECT lengths, fraction, quality, examples, abandoned FROM tried WHERE name = 'tiny' EXCEPT TABLE tried_before);
SELECT lat_search('tiny', 'SELECT body FROM texts ORDER BY id',
	'{"iterations": 3, "mutations": 10, "crossovers": 10, "ratios": 6, "reference_length": 32, "seed": 6}') AS run \gset
SELECT lat_wait(:run);
SELECT count(*) > 0 AS others FROM (SELECT lengths FROM tried WHERE name = 'tiny' EXCEPT SELECT lengths FROM tried_before) t;

-- with labels, and by time; every task
CREATE TABLE searches (id int GENERATED ALWAYS AS IDENTITY, model text, state text, metric text, task text, against text,
	several bool, full_quality float8);
CREATE PROCEDURE search(model text, data text, options jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
DECLARE
	number bigint;
	ended text;
BEGIN
	number := lat_search(model, data, options || '{"iterations": 1, "mutations": 4, "crossovers": 4, "ratios": 3, "reference_length": 32}');
	COMMIT;
	ended := lat_wait(number);
	INSERT INTO searches (model, state, metric, task, against, several, full_quality)
	SELECT r.model, ended, max(p.metric), r.task, r.options ->> 'against', count(*) > 1, max(p.quality) FILTER (WHERE fraction = 1)
	FROM lat_run r JOIN points p ON p.name = r.model WHERE r.run = number GROUP BY r.model, r.task, r.options;
END
$$;
CALL search('tiny', 'SELECT body, label FROM texts');
CALL search('tiny', 'SELECT body, label FROM texts', '{"cost": "milliseconds"}');
CALL search('tiny', 'SELECT body, label FROM texts', '{"precision": "fp32", "checkpoint_interval": 0}');
CALL search('tiny', 'SELECT body, body, label FROM texts');
CALL search('tiny', 'SELECT body, reverse(body) FROM texts', '{"input": "pair"}');
CALL search('encoder', 'SELECT body FROM texts');
CALL search('tagger', 'SELECT body FROM texts');
CALL search('tagger', 'SELECT string_to_array(body, '' ''),
	ARRAY(SELECT (ARRAY[''O'', ''B-PER'', ''O'', ''B-LOC''])[1 + (i + id) % 4] FROM generate_series(1, 3 + id % 20) i) FROM texts');
CALL search('reader', 'SELECT ''who was in town?''::text, body FROM texts WHERE id <= 60');
CALL search('reader', 'SELECT ''who was in town?''::text, body, split_part(body, '' '', 2), NULL::int FROM texts WHERE id <= 60');
SELECT model, state, metric, task, against, several, CASE WHEN against = 'full' THEN round(full_quality::numeric, 2)::text
	ELSE (full_quality BETWEEN 1 AND 99)::text END AS full_quality FROM searches ORDER BY id;

-- a model that was trained here is searched as it was trained, unless the options say otherwise
SELECT lat_train('trained', 'encoder', 'classify', 'SELECT body, label FROM texts',
	'{"epochs": 1, "lengthdrop_epochs": 1, "length_drop": 0.3, "max_length": 24, "hold_out": 0}') AS run \gset
SELECT lat_wait(:run);
CALL search('trained', 'SELECT body, label FROM texts');
SELECT lat_search('trained', 'SELECT body, label FROM texts', '{"iterations": 0, "ratios": 0, "checkpoint_interval": 0}') AS run \gset
SELECT lat_wait(:run);
SELECT options ->> 'length_drop' AS length_drop, options ->> 'reference_length' AS reference_length FROM lat_run
WHERE model = 'trained' AND kind = 'search' ORDER BY run;
SELECT lengths, quality IS NOT NULL AS quality FROM points WHERE name = 'trained' ORDER BY fraction DESC;

-- what is refused
SELECT attempt('SELECT lat_search(''none'', ''SELECT body FROM texts'')');
SELECT attempt('SELECT lat_search(NULL, ''SELECT body FROM texts'')');
SELECT attempt('SELECT lat_search(''tiny'', ''SELECT 1'')');
SELECT attempt('SELECT lat_search(''tiny'', ''SELECT body, body, body, body FROM texts'')');
SELECT attempt('SELECT lat_search(''tiny'', ''SELECT body, label FROM texts'', ''{"against": "full"}'')');
SELECT attempt('SELECT lat_search(''tiny'', ''DELETE FROM texts'')');
SELECT attempt('SELECT lat_search(''tiny'', ''SELECT body FROM texts; SELECT body FROM texts'')');
SELECT attempt('SELECT lat_search(''tiny'', ''SELECT body FROM texts LIMIT 1'')');
SELECT attempt('SELECT lat_search(''tiny'', ''SELECT body, ''''strange'''' FROM texts'')');
SELECT attempt('SELECT lat_search(''encoder'', ''SELECT body FROM texts'', ''{"against": "labels"}'')');
SELECT attempt(format('SELECT lat_search(''tiny'', ''SELECT body FROM texts'', %L)', o))
FROM unnest('{"{\"iteration\": 1}", "{\"iterations\": 1001}", "{\"iterations\": -1}", "{\"mutation\": 2}", "{\"cost\": \"money\"}",
	"{\"reference_length\": 65}", "{\"reference_length\": 1}", "{\"length_drop\": 0.95}", "{\"seed\": -1}", "[]"}'::text[]) o;
CREATE ROLE regress_lat_searcher;
GRANT USAGE ON SCHEMA test, "Odd schema" TO regress_lat_searcher;
SET ROLE regress_lat_searcher;
SELECT attempt('SELECT lat_search(''tiny'', ''SELECT body FROM texts'')');
SELECT attempt('INSERT INTO lat_search_point SELECT * FROM lat_search_point');
SELECT count(*) > 0 AS seen FROM lat_search_point;
SELECT lat_pareto_svg('tiny') LIKE '<svg %' AS svg;
RESET ROLE;
SELECT count(*) AS left_over FROM lat_run WHERE state <> 'done';

-- a rollback takes the run along
BEGIN;
SELECT lat_search('tiny', 'SELECT body FROM texts') > 0 AS begun;
SELECT attempt(format('SELECT lat_wait(%s)', max(run))) FROM lat_run;
ROLLBACK;
SELECT count(*) AS left_over FROM lat_run WHERE state <> 'done';

-- pictures
CREATE FUNCTION occurrences(text, pattern text) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM regexp_matches($1, $2, 'g') $$;
SELECT svg ~ '^<svg [^>]*>.*</svg>\s*$' AS whole,
	occurrences(svg, '<circle[^>]*r="3\.5"><title>') = (SELECT count(*) FROM points WHERE name = 'tiny') AS marks,
	occurrences(svg, '<circle[^>]*r="2"') BETWEEN 1 AND (SELECT count(*) FROM tried WHERE name = 'tiny') AS points,
	occurrences(svg, '<polygon class="band"') AS bands, occurrences(svg, '<polyline') AS lines,
	svg ~ 'prefers-color-scheme: dark' AS dark, svg ~ '>agreement \(%\)<' AS axis, svg ~ 'NaN|nan|inf' AS nonsense
FROM (SELECT lat_pareto_svg('tiny') AS svg) s;
SELECT length(lat_import_model('a<b> & "c"', :'golden' || '/tiny-distilbert'));
SELECT attempt('SELECT lat_pareto_svg(''a<b> & "c"'')');
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality)
	SELECT digest, '{32}', 32, 0.5, 90 FROM lat_model WHERE name LIKE 'a<b>%';
SELECT occurrences(svg, 'a&lt;b&gt; &amp; &quot;c&quot;') AS names, occurrences(svg, '<polygon') AS bands,
	occurrences(svg, '<title>') AS marks, svg ~ '>quality \(%\)<' AS axis, svg ~ 'NaN|nan|inf' AS nonsense
FROM (SELECT lat_pareto_svg('a<b> & "c"') AS svg) s;
SELECT occurrences(svg, '<polyline') AS lines, occurrences(svg, 'a&lt;b&gt; &amp; &quot;c&quot;') AS names
FROM (SELECT lat_pareto_svg('tiny', beside => 'a<b> & "c"') AS svg) s;
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality, quality_low)
	SELECT digest, ARRAY[n], 32, 0.1, q, '-Infinity' FROM lat_model, (VALUES (1, 'NaN'::float8), (2, 'Infinity'), (3, '-Infinity'), (4, 80)) v (n, q) WHERE name LIKE 'a<b>%';
SELECT occurrences(svg, '<title>') AS marks, occurrences(svg, '<polygon') AS bands, svg ~* '[^a-z](nan|inf)' AS nonsense
FROM (SELECT lat_pareto_svg('a<b> & "c"') AS svg) s;
SELECT attempt('SELECT lat_pareto_svg(''tiny'', ''reader'')');
SELECT attempt('SELECT lat_pareto_svg(NULL)');
SELECT attempt('SELECT lat_pareto_svg(''none'')');

-- points go with the model's content
SELECT lat_drop_model('tiny');
SELECT count(*) AS left_over FROM lat_search_point p WHERE NOT EXISTS (SELECT FROM lat_model m WHERE m.digest = p.digest);
\c postgres
DROP DATABASE regress_lat_search;
DROP ROLE regress_lat_searcher;
