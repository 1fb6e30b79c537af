-- What the planner believes a call costs.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS lat;
CREATE EXTENSION lat;
\getenv dir PG_ABS_SRCDIR

CREATE FUNCTION cost_of(query text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN plan -> 0 -> 'Plan' ->> 'Total Cost';
END $$;
CREATE FUNCTION rows_of(query text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN plan -> 0 -> 'Plan' ->> 'Plan Rows';
END $$;
CREATE TABLE texts (short text, long text, other int);
INSERT INTO texts SELECT repeat('cat ', 5), repeat('cat ', 200), i FROM generate_series(1, 100) i;
ANALYZE texts;

-- without any model: as for one of MiniLM's size
SELECT cost_of('SELECT lat_classify(short) FROM texts') BETWEEN 1000 AND 100000 AS some_default;

SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-classify')), length(lat_import_model('span', :'dir' || '/golden/tiny-span'));
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality)
    SELECT digest, array_fill(32, ARRAY[layers]), 128, 0.3, 0.9 FROM lat_model;

SELECT cost_of('SELECT lat_classify(short) FROM texts') < cost_of('SELECT lat_classify(long) FROM texts') AS by_width,
    cost_of('SELECT lat_classify(long, 0.5) FROM texts') < cost_of('SELECT lat_classify(long) FROM texts') AS by_budget,
    cost_of('SELECT lat_tokenize(short) FROM texts') < cost_of('SELECT lat_trace(short) FROM texts') AS tokens_are_cheap,
    cost_of('SELECT lat_answer(''who?'', long) FROM texts') > cost_of('SELECT lat_answer(''who?'', short) FROM texts') AS spans;
SET lat.budget = 0.5;
SELECT cost_of('SELECT lat_classify(long) FROM texts') = cost_of('SELECT lat_classify(long, 0.5) FROM texts') AS by_setting;
RESET lat.budget;
SELECT rows_of('SELECT * FROM lat_tokenize(''a b c d e f g h i j k l m n o p q'')') BETWEEN 5 AND 30 AS tokens,
    rows_of('SELECT * FROM lat_trace(''a'')') = (SELECT layers FROM lat_model WHERE name = 'tiny') AS layers,
    rows_of('SELECT * FROM lat_tag(''a'')') >= 1 AS tags;

-- the cheap condition comes first
EXPLAIN (COSTS OFF) SELECT * FROM texts WHERE lat_classify(long) = 'positive' AND other = 3;

-- a plan is made whatever the arguments are
PREPARE prepared (text, float8, text) AS SELECT lat_classify($1, $2, $3) IS NULL;
EXECUTE prepared (NULL, 7, 'none');
SELECT cost_of('SELECT lat_classify(short, 7) FROM texts') > 0 AS bad_budget,
    cost_of('SELECT lat_classify(short, model => ''none'') FROM texts') > 0 AS unknown_model,
    cost_of('SELECT lat_classify(short || long, other / 100.0, short) FROM texts') > 0 AS expressions,
    cost_of('SELECT lat_score(pair => long, input => short, label => ''x'') FROM texts') > 0 AS named;

DEALLOCATE prepared;
DROP TABLE texts;
DROP FUNCTION cost_of, rows_of;
DROP EXTENSION lat;
