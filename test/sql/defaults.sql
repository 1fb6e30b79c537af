-- The models that come with the extension: installed, used under budgets, left alone, dropped.
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_lat_defaults;
CREATE DATABASE regress_lat_defaults;
\c regress_lat_defaults
SET client_min_messages = notice;
\getenv source PG_ABS_SRCDIR
CREATE EXTENSION lat;
SELECT name, length(digest) FROM lat_install_default_models() ORDER BY name;
SELECT name, task, labels, architecture, layers, hidden, max_tokens, precision
FROM lat_model ORDER BY name;
SELECT * FROM lat_default ORDER BY task;
SELECT m.name, count(*) > 3 AS points, count(*) FILTER (WHERE fraction = 1) AS in_full,
	bool_and(fraction <= 1 AND quality > 0 AND quality_low <= quality AND quality <= quality_high)
		AS plausible,
	min(reference_length) AS reference_length, min(metric) AS metric
FROM lat_pareto JOIN lat_model m USING (digest) GROUP BY m.name ORDER BY m.name;

-- Again: nothing changes, not even points that a search or a user has changed.
DELETE FROM lat_pareto p USING lat_model m WHERE m.digest = p.digest AND name = 'squad' AND fraction < 0.3;
SELECT sum(octet_length(data)) AS bytes, count(*) AS chunks FROM lat_model_chunk \gset
SELECT count(*) AS points FROM lat_pareto \gset
SELECT name FROM lat_install_default_models() ORDER BY name;
SELECT sum(octet_length(data)) = :bytes AS same_bytes, count(*) = :chunks AS same_chunks
FROM lat_model_chunk;
SELECT count(*) = :points AS same_points FROM lat_pareto;

-- They do what they are for.
SELECT budget, lat_classify('One of the finest films of the year.', budget) AS good,
	lat_classify('A tedious, badly acted mess.', budget) AS bad
FROM unnest('{1, 0.8, 0.5}'::float8[]) budget ORDER BY budget DESC;
SELECT lat_answer('Who wrote the report?', 'The report was written by Anna Meyer in 2019.');
SELECT cardinality(lat_embed('some words')) AS size;
CREATE FUNCTION similarity(a real[], b real[]) RETURNS float8 LANGUAGE sql
	AS 'SELECT sum(x::float8 * y) FROM unnest(a, b) u(x, y)';
SELECT similarity(question, near) > similarity(question, far) AS closer_in_meaning
FROM (SELECT lat_embed('How do I reset my password?') AS question,
	lat_embed('I forgot my login credentials.') AS near,
	lat_embed('The soup needs more salt.') AS far) e;

-- They are stored in int8 only.
SET lat.precision = fp32;
\set VERBOSITY sqlstate
SELECT lat_classify('fine') IS NULL;
\set VERBOSITY default
SELECT string_agg(token, ' ') FROM lat_tokenize('Fine.', model => 'sst2');
RESET lat.precision;

-- Who has imported a model under such a name keeps it.
SELECT lat_import_model('sst2', :'source' || '/golden/tiny-classify') AS own \gset
SELECT digest = :'own' AS kept FROM lat_install_default_models() WHERE name = 'sst2';
SELECT labels FROM lat_model WHERE name = 'sst2';
SELECT lat_drop_model(name) FROM lat_model ORDER BY name;
SELECT count(*) AS models FROM lat_model;
SELECT count(*) AS chunks FROM lat_model_chunk;
SELECT count(*) AS points FROM lat_pareto;
SELECT count(*) AS defaults FROM lat_default;
SELECT lat_classify('nobody left');

\c postgres
DROP DATABASE regress_lat_defaults;
