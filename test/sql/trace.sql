-- Lengths by hand: which tokens survive. No vocabulary has a snowman: each is one token, [UNK].
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS lat;
CREATE EXTENSION lat;
\getenv dir PG_ABS_SRCDIR
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-classify'));
SET lat.precision = fp32;

CREATE FUNCTION falling(layers int, from_length int) RETURNS int[] LANGUAGE sql IMMUTABLE
    AS 'SELECT array_agg(greatest(1, from_length - i) ORDER BY i) FROM generate_series(0, layers - 1) i';

-- in full every layer keeps every token
SELECT count(*) = m.layers AS all_layers, min(tokens) AS least, bool_and(kept = ARRAY[0,1,2,3,4,5,6,7]) AS all_kept
FROM lat_model m, lat_trace('☃ ☃ ☃ ☃ ☃ ☃') GROUP BY m.layers;
SELECT layer, tokens, cardinality(kept) AS kept, kept[1] AS first
FROM lat_model m, lat_trace('☃ ☃ ☃ ☃ ☃ ☃', lengths => falling(m.layers, 7))
WHERE layer < 2;
-- kept tokens are a falling sequence of sets, in order
SELECT bool_and(kept <@ before) AS subset, bool_and(tokens = cardinality(kept)) AS counted,
    bool_and(kept = ARRAY(SELECT k FROM unnest(kept) k ORDER BY k)) AS ordered
FROM (SELECT tokens, kept, lag(kept, 1, kept) OVER (ORDER BY layer) AS before
    FROM lat_model m, lat_trace('☃ the cat', 'sat on the mat ☃', falling(m.layers, 7))) t;
-- lengths beyond T are T
SELECT lat_logits('the cat sat', lengths => array_fill(1000, ARRAY[layers])) = lat_logits('the cat sat') AS clipped,
    lat_logits('the cat sat on', lengths => array_fill(2, ARRAY[layers])) = lat_logits('the cat sat on') AS shorter
FROM lat_model;
SELECT bool_and(tokens = 1 AND kept = ARRAY[0]) AS only_cls
FROM lat_model m, lat_trace('the cat sat', lengths => array_fill(1, ARRAY[m.layers]));
SELECT count(*) FROM lat_trace(NULL);

-- the SQL function and the trace agree on what lat.max_budget leaves
INSERT INTO lat_pareto (digest, lengths, reference_length, fraction, quality)
    SELECT digest, array_fill(64, ARRAY[layers]), 128, 0.4, 0.5 FROM lat_model;
SET lat.max_budget = 0.5;
SELECT bool_and(tokens = 4) AS half FROM lat_trace('☃ ☃ ☃ ☃ ☃ ☃');
SELECT lat_logits('☃ ☃ ☃ ☃ ☃ ☃')
    = (SELECT l FROM lat_model m, set_config('lat.max_budget', '1', false),
        lat_logits('☃ ☃ ☃ ☃ ☃ ☃', lengths => array_fill(4, ARRAY[m.layers])) l) AS same;
RESET lat.max_budget;

DROP FUNCTION falling;
DROP EXTENSION lat;
