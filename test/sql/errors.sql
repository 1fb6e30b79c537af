-- What a call refuses: SQLSTATE, message, hint; and the session goes on.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS lat;
CREATE EXTENSION lat;
\getenv dir PG_ABS_SRCDIR

CREATE FUNCTION attempt(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    hint text;
BEGIN
    EXECUTE query;
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ': ' || message || coalesce(E'\n' || nullif(hint, ''), '');
END $$;

-- no models at all
SELECT attempt('SELECT lat_classify(''a'')');
SELECT attempt('SELECT lat_answer(''a'', ''b'')');
SELECT attempt('SELECT * FROM lat_tokenize(''a'')');
SELECT attempt('SELECT lat_embed(''a'', model => ''tiny'')');

SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-classify'));
SELECT length(lat_import_model('span', :'dir' || '/golden/tiny-span'));

-- budgets
SELECT attempt(format('SELECT lat_classify(''a'', %s)', b))
FROM unnest('{0, -1, 1.1, ''NaN'', ''Infinity'', 1e-300, 1}'::text[]) b;
SELECT attempt('SELECT lat_answer(''a'', ''b'', 0)');
SELECT attempt('SET lat.budget = 0');
SELECT attempt('SET lat.budget = ''NaN''');
SELECT attempt('SET lat.max_budget = 2');

-- models
SELECT attempt('SELECT lat_classify(''a'', model => ''none'')');
SELECT attempt('SELECT lat_classify(''a'', model => '''')');
SELECT attempt('SELECT lat_classify(''a'', model => ''span'')');
SELECT attempt('SELECT lat_answer(''a'', ''b'', model => ''tiny'')');
SELECT attempt('SELECT * FROM lat_tag(''a'', model => ''tiny'')');
SELECT attempt('SELECT * FROM lat_tag(''a'')');
SELECT attempt('SELECT lat_embed(''a'', model => ''span'')');
-- what is no name at all, such as a document, is quoted in part
SELECT attempt(format('SELECT lat_classify(''a'', model => %L)', repeat('ä☃', 10000))) ~ '^42704: .{80,130}\.\.\." does not exist' AS long_name;
SELECT attempt(format('SELECT lat_score(''a'', %L)', repeat('ä☃', 10000))) ~ '^42704: .{80,130}\.\.\."\n' AS long_label;

-- labels
SELECT attempt('SELECT lat_score(''a'', ''no such label'')') = '42704: model "tiny" has no label "no such label"'
    || E'\nIts labels: ' || array_to_string(labels, ', ') || '.' AS lists_labels
FROM lat_model WHERE name = 'tiny';

-- lengths
SELECT attempt(format('SELECT lat_logits(''a'', lengths => %L)', l)) ~ '^22023: ' AS refused
FROM lat_model m, LATERAL (VALUES ('{}'), ('{1}'), (array_fill(1, ARRAY[m.layers + 1])::text),
    (array_fill(0, ARRAY[m.layers])::text), (array_fill(-3, ARRAY[m.layers])::text),
    ((array_fill(2, ARRAY[m.layers - 1]) || 3)::text), ((array_fill(2, ARRAY[m.layers - 1]) || NULL)::text),
    ('{{1,1},{1,1}}')) v (l)
WHERE m.name = 'tiny';
SELECT attempt('SELECT lat_logits(''a'', lengths => ''{NULL}'')');
SELECT attempt('SELECT lat_logits(''a'', lengths => ''{{1,1},{1,1}}'')');
SELECT attempt('SELECT * FROM lat_trace(''a'', lengths => ''{1}'')') ~ '^22023: ' AS refused;

-- a row that does not fit its content
UPDATE lat_model SET task = 'tag' WHERE name = 'span';
SELECT attempt('SELECT * FROM lat_tag(''a'', model => ''span'')');
UPDATE lat_model SET digest = repeat('0', 64) WHERE name = 'span';
SELECT attempt('SELECT * FROM lat_tag(''a'', model => ''span'')') ~ '^XX001: ' AS refused;

-- cancelled in the middle of a text that goes on and on: the next call is sound
SET statement_timeout = '100ms';
SELECT attempt('SELECT lat_answer(''who?'', repeat(''the cat sat on the mat. '', 5000000))');
SELECT count(lat_classify('a ' || i)) FROM generate_series(1, 10000000) i;
RESET statement_timeout;
SELECT lat_classify('a') IS NOT NULL AS sound;

DROP FUNCTION attempt;
DROP EXTENSION lat;
SELECT lat_classify('a');
