-- demo.sql: what lat does, over 214 reviews and 25 documents. Run by `make demo`.

\pset linestyle unicode
\pset border 1
\pset footer off
SET client_min_messages = warning;

\echo
\echo '== Two statements to begin with'
\echo 'CREATE EXTENSION lat;'
\echo 'SELECT * FROM lat_install_default_models();'
CREATE EXTENSION lat;
SELECT name, left(digest, 12) || '...' AS digest FROM lat_install_default_models();

CREATE TABLE reviews (id int PRIMARY KEY, topic text, label text, body text);
CREATE TABLE documents (id int PRIMARY KEY, kind text, title text, question text, answer text,
    second_question text, second_answer text, body text);
\copy reviews FROM 'demo-reviews.tsv' WITH (FORMAT text, HEADER)
\copy documents FROM 'demo-documents.tsv' WITH (FORMAT text, HEADER)
ANALYZE reviews, documents;

\echo
\echo '== Labels and scores'
\echo 'SELECT r.id, s.label, s.score, r.body FROM reviews r, lat_scores(r.body) s ... -- best label'
SELECT r.id, s.label, round(s.score::numeric, 3) AS score, left(r.body, 70) AS body
FROM reviews r,
    LATERAL (SELECT * FROM lat_scores(r.body) LIMIT 1) s
WHERE r.id <= 8
ORDER BY r.id;

\echo '== A GROUP BY over labels'
\echo 'SELECT topic, lat_classify(body) AS label, count(*) FROM reviews GROUP BY topic, label;'
SELECT topic,
    count(*) FILTER (WHERE found = 'positive') AS positive,
    count(*) FILTER (WHERE found = 'negative') AS negative,
    round(100.0 * count(*) FILTER (WHERE found = label)
        / count(*) FILTER (WHERE label <> 'mixed')) AS "% as a reader would say"
FROM (SELECT topic, label, lat_classify(body) AS found FROM reviews) r
GROUP BY topic
ORDER BY 2 DESC, 1;
\echo '(The model knows two labels. Reviews that a reader would call mixed are left out of the share.)'

\echo
\echo '== Answers out of documents, with their place in the text'
\echo 'SELECT d.question, a.answer, a.start, a.stop FROM documents d, lat_answer_span(d.question, d.body) a;'
SELECT d.id, d.question, a.answer, round(a.score::numeric, 2) AS score, a.start, a.stop,
    substring(d.body FROM a.start FOR a.stop - a.start + 1) = a.answer AS "as in text"
FROM documents d, lat_answer_span(d.question, d.body) a
WHERE d.id % 3 = 1
ORDER BY d.id;

\echo '== The points that a budget chooses from'
SELECT m.name, p.lengths, round(p.fraction::numeric, 2) AS fraction, round(p.quality::numeric, 2) AS quality
FROM lat_pareto p JOIN lat_model m USING (digest)
ORDER BY m.name, p.fraction;

\echo '== The same query at three budgets (time: the best of three runs)'
\echo 'SELECT id, lat_classify(body, 0.5) FROM reviews;'
CREATE TEMP TABLE results (query text, budget float8, id int, result text, expected text);
CREATE TEMP TABLE times (query text, budget float8, milliseconds float8);
CREATE FUNCTION try_budget(query text, tried float8, statement text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    began   timestamptz;
BEGIN
    FOR run IN 1 .. 3 LOOP
        DELETE FROM results r WHERE r.query = $1 AND r.budget = tried;
        began := clock_timestamp();
        EXECUTE 'INSERT INTO results SELECT $1, $2, ' || statement USING query, tried;
        INSERT INTO times VALUES (query, tried, 1000 * extract(epoch FROM clock_timestamp() - began));
    END LOOP;
END
$$;
DO $$
BEGIN
    PERFORM try_budget('lat_classify, ' || (SELECT count(*) FROM reviews) || ' reviews', budget,
            'id, lat_classify(body, $2), label FROM reviews')
        FROM unnest(ARRAY[1, 0.5, 0.3]) budget;
    PERFORM try_budget('lat_answer, ' || (SELECT count(*) FROM documents) || ' documents', budget,
            'id, lat_answer(question, body, $2), answer FROM documents')
        FROM unnest(ARRAY[1, 0.85, 0.6]) budget;
END
$$;
SELECT r.query, r.budget,
    (SELECT round(min(t.milliseconds)::numeric) FROM times t
     WHERE (t.query, t.budget) = (r.query, r.budget)) AS ms,
    round(100 * avg((r.result = f.result)::int)) AS "% as in full",
    round(100 * avg((r.result = r.expected OR position(r.result IN r.expected) > 0
        OR position(r.expected IN r.result) > 0)::int) FILTER (WHERE r.expected <> 'mixed'))
        AS "% as a reader would say"
FROM results r JOIN results f USING (query, id)
WHERE f.budget = 1
GROUP BY r.query, r.budget
ORDER BY r.query DESC, r.budget DESC;
\echo '(squad has not been trained to drop tokens, sst2 has: that is the difference.)'
\echo

\echo '== Where the time goes: the tokens that each layer kept of one review'
\echo 'SELECT * FROM lat_trace(body, lengths => ...), at the lengths that budget 0.5 chooses'
SELECT t.layer, cardinality(t.kept) AS kept, string_agg(k.token, ' ' ORDER BY k.pos) AS tokens
FROM (SELECT p.lengths, p.reference_length
      FROM lat_pareto p JOIN lat_model m USING (digest)
      WHERE m.name = 'sst2' AND p.fraction <= 0.5 ORDER BY p.quality DESC LIMIT 1) p,
    (SELECT body, (SELECT count(*) FROM lat_tokenize(body)) AS tokens FROM reviews WHERE id = 2) r,
    LATERAL (SELECT array_agg(greatest(2, ceil(r.tokens * l / p.reference_length::numeric))::int
                 ORDER BY place) AS lengths
             FROM unnest(p.lengths) WITH ORDINALITY u (l, place)) scaled,
    LATERAL lat_trace(r.body, lengths => scaled.lengths) t,
    LATERAL lat_tokenize(r.body) k
WHERE k.pos = ANY (t.kept)
GROUP BY t.layer, t.kept
ORDER BY t.layer;

\echo '== Nearest neighbours by meaning'
CREATE FUNCTION cosine(a real[], b real[]) RETURNS real
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT sum(x::float8 * y)::real FROM unnest(a, b) AS v (x, y)';
ALTER TABLE reviews ADD embedding real[];
UPDATE reviews SET embedding = lat_embed(body);
\echo 'UPDATE reviews SET embedding = lat_embed(body);'
\echo 'SELECT body FROM reviews ORDER BY cosine(embedding, lat_embed(''my luggage never arrived'')) DESC;'
SELECT w.wish, n.similarity, n.topic, n.body
FROM (VALUES ('my luggage never arrived'), ('a device that ran out of power'),
             ('good with small children')) w (wish),
    LATERAL (SELECT round(cosine(r.embedding, q.vector)::numeric, 2) AS similarity, r.topic,
                 left(r.body, 70) AS body
             FROM reviews r, (SELECT lat_embed(w.wish) AS vector) q
             ORDER BY cosine(r.embedding, q.vector) DESC LIMIT 2) n;

\echo '== What is loaded: one copy of each model, for all connections'
SELECT m.name, l.precision, l.bytes, l."where", l.attached
FROM lat_loaded_models l LEFT JOIN lat_model m USING (digest)
ORDER BY m.name;
