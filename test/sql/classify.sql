-- Labels and scores of a random model: what matters is that the functions agree with each other.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS lat;
CREATE EXTENSION lat;
\getenv dir PG_ABS_SRCDIR
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-classify'));
SELECT lat_set_default('pair', 'tiny');
SET lat.precision = fp32;

CREATE TABLE texts (id int PRIMARY KEY, body text);
INSERT INTO texts VALUES
    (1, 'the cat sat on the mat'),
    (2, 'a good film'),
    (3, ''),
    (4, NULL),
    (5, repeat('the old man is a teacher in town ', 3000)),
    (6, 'Naïve façades, 42 times — and never again!');

-- the label is the first of the scores
SELECT t.id, lat_classify(t.body) IS NOT DISTINCT FROM
        (SELECT s.label FROM lat_scores(t.body) s LIMIT 1) AS same
FROM texts t ORDER BY id;

-- scores: best first, of all labels, adding up to 1, equal to lat_score
SELECT t.id, count(s.label) = cardinality(m.labels) AS all_labels,
    round(sum(s.score)::numeric, 3) AS sum,
    bool_and(s.score = lat_score(t.body, s.label)) AS same,
    array_agg(s.score) = array_agg(s.score ORDER BY s.score DESC) AS sorted
FROM lat_model m, texts t, lat_scores(t.body) s GROUP BY t.id, m.labels ORDER BY t.id;

-- logits, with every layer computed in full, give the same scores
SELECT t.id, (SELECT bool_and(abs(s.score - exp(l.logit) / l.sum) < 0.0001)
    FROM lat_scores(t.body) s, lat_model m,
        LATERAL (SELECT label, logit, sum(exp(logit)) OVER () AS sum
            FROM unnest(m.labels, lat_logits(t.body)::float8[]) AS u (label, logit)) l
    WHERE l.label = s.label) AS same
FROM texts t WHERE t.body IS NOT NULL ORDER BY id;

-- pairs
SELECT lat_classify_pair('the cat', 'sat on the mat') = s.label AS same, s.score = lat_score('the cat', s.label, pair => 'sat on the mat') AS same_score
FROM lat_scores('the cat', 'sat on the mat') s LIMIT 1;
SELECT lat_classify_pair('the cat', NULL) IS NULL AS pair, lat_classify_pair(NULL, 'the cat') IS NULL AS input,
    lat_classify(NULL) IS NULL AS classify, lat_score(NULL, 'x') IS NULL AS score,
    lat_score('x', NULL) IS NULL AS label;
SELECT count(*) FROM lat_scores(NULL);
-- a NULL pair is a single text, an empty one is not
SELECT (SELECT array_agg(score) FROM lat_scores('the cat', NULL)) = (SELECT array_agg(score) FROM lat_scores('the cat')) AS single,
    lat_logits('the cat', '') = lat_logits('the cat') AS empty_pair;

-- a long text is cut: what follows the model's maximum does not matter
SELECT lat_logits(body) = lat_logits(left(body, 2000)) AS cut,
    (SELECT max(tokens) FROM lat_trace(body)) = (SELECT max_tokens FROM lat_model) AS full
FROM texts WHERE id = 5;
-- compressed, out of line, or as it is
ALTER TABLE texts ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO texts SELECT 7, body FROM texts WHERE id = 5;
UPDATE texts SET body = body || '' WHERE id = 7;
SELECT count(DISTINCT lat_logits(body)) FROM texts WHERE id IN (5, 7);

-- the longer of two texts is cut, whichever that is
SELECT segment, count(*) FROM lat_tokenize(repeat('a ', 100000), 'the cat') GROUP BY 1 ORDER BY 1;
SELECT segment, count(*) FROM lat_tokenize('the cat', repeat('a ', 100000)) GROUP BY 1 ORDER BY 1;
SELECT (SELECT count(*) FILTER (WHERE segment = 0) - count(*) FILTER (WHERE segment = 1)
        FROM lat_tokenize(repeat('a ', 50000), repeat('a ', 60000))) AS second_longer,
    (SELECT count(*) FILTER (WHERE segment = 0) - count(*) FILTER (WHERE segment = 1)
        FROM lat_tokenize(repeat('a ', 60000), repeat('a ', 50000))) AS first_longer;

-- parallel workers give the same
CREATE TABLE many AS SELECT i AS id, 'the ' || i || ' cats sat on ' || i % 7 || ' mats' AS body
    FROM generate_series(1, 300) i;
CREATE TABLE serial AS SELECT id, lat_classify(body) AS label, lat_logits(body) AS logits FROM many;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
ALTER TABLE many SET (parallel_workers = 2);
EXPLAIN (COSTS OFF) SELECT id, lat_classify(body) AS label, lat_logits(body) AS logits FROM many;
CREATE TEMP TABLE parallel AS
    SELECT id, lat_classify(body) AS label, lat_logits(body) AS logits FROM many;
SELECT count(*) FROM (TABLE serial EXCEPT TABLE parallel) d;
RESET max_parallel_workers_per_gather;

-- a PL/pgSQL loop keeps its call site for the whole transaction, and sees a replacement
CREATE FUNCTION replaced() RETURNS TABLE (step text, same boolean) LANGUAGE plpgsql AS $$
DECLARE
    first real[];
    this real[];
    old text := (SELECT digest FROM lat_model WHERE name = 'tiny');
BEGIN
    FOR i IN 1..6 LOOP
        IF i = 2 THEN
            UPDATE lat_model SET (digest, task) = (SELECT digest, task FROM lat_model WHERE name = 'other')
                WHERE name = 'tiny';
        ELSIF i = 4 THEN
            BEGIN
                UPDATE lat_model SET digest = old, task = 'classify' WHERE name = 'tiny';
                this := lat_logits('the cat sat');
                step := 'inside a block that is rolled back';
                same := this = first;
                RAISE EXCEPTION 'undo';
            EXCEPTION WHEN raise_exception THEN
                RETURN NEXT;
            END;
        ELSIF i = 6 THEN
            UPDATE lat_model SET digest = old, task = 'classify' WHERE name = 'tiny';
        END IF;
        this := lat_logits('the cat sat');
        first := coalesce(first, this);
        step := i;
        same := this = first;
        RETURN NEXT;
    END LOOP;
END $$;
SELECT length(lat_import_model('other', :'dir' || '/golden/tiny-span'));
SELECT * FROM replaced();

-- a column of models, and of budgets
SELECT model, cardinality(lat_logits('the cat sat', model => model))
FROM (VALUES (1, 'tiny'), (2, 'other'), (3, 'tiny')) v (i, model) ORDER BY i;

-- privileges: SELECT on lat_model is the right to score
CREATE ROLE lat_reader;
GRANT SELECT ON texts TO lat_reader;
SET ROLE lat_reader;
SELECT lat_classify('a') IS NOT NULL AS allowed;
RESET ROLE;
REVOKE SELECT ON lat_model FROM PUBLIC;
SET ROLE lat_reader;
SELECT lat_classify('a') IS NOT NULL AS allowed;
RESET ROLE;
SELECT lat_classify('a') IS NOT NULL AS allowed;

DROP TABLE texts, many, serial;
DROP FUNCTION replaced;
DROP ROLE lat_reader;
DROP EXTENSION lat;
