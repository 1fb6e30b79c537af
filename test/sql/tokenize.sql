-- Tokens with their places in the text.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS lat;
CREATE EXTENSION lat;
\getenv dir PG_ABS_SRCDIR
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-classify'));

SELECT pos, segment, token, start, stop FROM lat_tokenize('The cat,  sat!', 'a [SEP] man');
SELECT token, start, stop FROM lat_tokenize('');
SELECT count(*) FROM lat_tokenize(NULL);
SELECT count(*) FROM lat_tokenize(NULL, 'a');

-- start and stop are characters of the original text
SELECT token, start, stop, substring(body FROM start FOR stop - start + 1) AS original
FROM (VALUES ('É日本 the  ẞ')) v (body), lat_tokenize(body) WHERE start IS NOT NULL;

-- cut at the model's maximum
SELECT count(*) = m.max_tokens AS cut, max(stop) < 2 * m.max_tokens AS near_the_start
FROM lat_model m, lat_tokenize(repeat('a ', 1000000)) GROUP BY m.max_tokens;
-- one very long word is one token, and its end is known
SELECT token, start, stop FROM lat_tokenize(repeat('x', 100000) || ' the');
-- texts around the sizes of a slice, with characters of several bytes across its end
SELECT bool_and(n = least(m.max_tokens, 2 + i)) AS cut_or_whole
FROM lat_model m, generate_series(0, 200, 50) i,
    LATERAL (SELECT count(*) AS n FROM lat_tokenize(repeat(E'\u3000', 5400) || repeat('the ', i))) t;

-- memory does not grow with rows
CREATE FUNCTION memory() RETURNS bigint LANGUAGE sql VOLATILE
    AS 'SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts';
CREATE TEMP TABLE texts AS SELECT 'the cat sat on mat ' || i AS body FROM generate_series(1, 20000) i;
SELECT count(*) > 0 AS warm FROM texts, lat_tokenize(body) WHERE body < 'the cat sat on mat 11';
DO $$
DECLARE
    before bigint;
    most bigint := 0;
    r record;
    n int := 0;
BEGIN
    FOR r IN SELECT t.start FROM texts, lat_tokenize(body) t LOOP
        n := n + 1;
        IF n = 1000 THEN
            before := memory();
        ELSIF n % 20000 = 0 THEN
            most := greatest(most, memory());
        END IF;
    END LOOP;
    IF most - before > 1000000 THEN
        RAISE EXCEPTION 'memory grew by % bytes', most - before;
    END IF;
    before := NULL;
    most := 0;
    n := 0;
    FOR r IN SELECT lat_classify(body), lat_logits(body), lat_tokenize(body) FROM texts LIMIT 30000 LOOP
        n := n + 1;
        IF n = 1000 THEN
            before := memory();
        ELSIF n % 5000 = 0 THEN
            most := greatest(most, memory());
        END IF;
    END LOOP;
    IF most - before > 1000000 THEN
        RAISE EXCEPTION 'memory grew by % bytes', most - before;
    END IF;
END $$;

DROP FUNCTION memory;
DROP EXTENSION lat;
