-- Which Pareto point a budget chooses.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS lat;
CREATE EXTENSION lat;
\getenv dir PG_ABS_SRCDIR
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-classify'));
SELECT length(lat_import_model('span', :'dir' || '/golden/tiny-span'));
SET lat.precision = fp32;
\set text 'a ☃ the ☃ a ☃ the ☃ a ☃ the ☃ a ☃'

-- no points: in full, with one warning a call site
SELECT lat_score(:'text', (SELECT labels[1] FROM lat_model WHERE name = 'tiny'), 0.5)
    = lat_score(:'text', (SELECT labels[1] FROM lat_model WHERE name = 'tiny')) AS in_full;
SELECT count(lat_classify(:'text' || i, 0.5)) FROM generate_series(1, 20) i;

INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality)
SELECT m.digest, array_fill(p.length, ARRAY[m.layers]), 128, p.fraction, p.quality
FROM lat_model m, (VALUES (32, 0.25, 0.7), (64, 0.5, 0.9), (96, 0.75, 0.8)) p (length, fraction, quality);

-- within the budget, the best quality decides; below the cheapest, the cheapest runs.
-- No vocabulary has a snowman: each is one token, so here are 16.
SELECT b.budget,
    abs(s.score - exp(g.logits[1]) / (SELECT sum(exp(x)) FROM unnest(g.logits) x)) < 0.0001 AS as_expected
FROM (VALUES (0.1, 4), (0.3, 4), (0.5, 8), (0.6, 8), (0.8, 8), (0.99, 8), (1, 16)) b (budget, tokens),
    lat_model m,
    LATERAL (SELECT m.labels[1] AS label) l,
    LATERAL (SELECT lat_score('☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃', l.label, b.budget) AS score) s,
    LATERAL (SELECT lat_logits('☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃',
        lengths => array_fill(b.tokens, ARRAY[m.layers]))::float8[] AS logits) g
WHERE m.name = 'tiny' ORDER BY 1;

-- lat.budget is the budget of calls that name none; a budget of their own overrides it
SET lat.budget = 0.3;
SELECT lat_score(:'text', labels[1]) = lat_score(:'text', labels[1], 0.3) AS setting,
    lat_score(:'text', labels[1], 1) = lat_score(:'text', labels[1]) AS own_is_ignored
FROM lat_model WHERE name = 'tiny';
-- lat.max_budget clips without a word
SET lat.max_budget = 0.3;
SELECT lat_score(:'text', labels[1], 1) = lat_score(:'text', labels[1]) AS clipped
FROM lat_model WHERE name = 'tiny';
-- lengths given by hand are refused instead
SELECT lat_logits(:'text', lengths => array_fill(2, ARRAY[layers])) IS NOT NULL AS allowed FROM lat_model WHERE name = 'tiny';
SELECT lat_logits(:'text', lengths => array_fill(16, ARRAY[layers])) IS NOT NULL AS allowed FROM lat_model WHERE name = 'tiny';
RESET lat.max_budget;
RESET lat.budget;
-- a budget a row
SELECT b, lat_score(:'text', m.labels[1], b) = CASE WHEN b < 0.5 THEN lat_score(:'text', m.labels[1], 0.25)
    ELSE lat_score(:'text', m.labels[1], 0.5) END AS same
FROM (VALUES (0.3), (0.6), (0.4), (0.9)) v (b), lat_model m WHERE name = 'tiny';
-- spans slide their windows under the budget
SELECT a.answer = substring(c FROM a.start FOR a.stop - a.start + 1) AS cut_from_context
FROM repeat('the old man is a teacher in town. ', 100) c, lat_answer_span('who?', c, 0.5) a;

-- a row by hand is taken as it is, however odd, if it is a configuration of the model at all
DELETE FROM lat_pareto;
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality)
    SELECT digest, array_fill(1, ARRAY[layers]), 1, 0.5, 'NaN'::float8 FROM lat_model UNION ALL
    SELECT digest, array_fill(2147483647, ARRAY[layers]), 1, 0.4, '-Infinity' FROM lat_model UNION ALL
    SELECT digest, array_fill(3, ARRAY[layers]), 2147483647, 0.3, 0 FROM lat_model;
SELECT b, lat_classify(:'text', b) IS NOT NULL AS runs, lat_answer('who?', :'text', b) IS NOT NULL AS answers
FROM (VALUES (0.3), (0.4), (0.5)) v (b);

-- if it is none, it is refused: when it is written, or by the call that would take it
DELETE FROM lat_pareto;
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality) VALUES ('x', '{4,NULL}', 8, 0.5, 1);
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality) VALUES ('x', '{{4,3},{2,1}}', 8, 0.5, 1);
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality) VALUES ('x', '{}', 8, 0.5, 1);
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality)
    SELECT digest, v.lengths, 8, v.fraction, v.fraction
    FROM lat_model, (VALUES ('{4,2}'::int[], 0.2), ('{4,4,2,-1}', 0.3), ('{4,5,2}', 0.4)) v (lengths, fraction);
SELECT lat_classify(:'text', 0.2);
SELECT lat_classify(:'text', 0.3);
SELECT lat_answer('who?', :'text', 0.4);
SELECT lat_classify(:'text') IS NOT NULL AS runs_in_full;

DROP EXTENSION lat;
