-- Embeddings: of length 1, and as wide as the model.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS lat;
CREATE EXTENSION lat;
\getenv dir PG_ABS_SRCDIR
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-embed'));

CREATE FUNCTION dot(a real[], b real[]) RETURNS float8 LANGUAGE sql IMMUTABLE
    AS 'SELECT sum(x::float8 * y::float8) FROM unnest(a, b) u (x, y)';

SELECT p.precision, t.id, cardinality(e) = (SELECT hidden FROM lat_model) AS width,
    array_ndims(e) AS dimensions, array_lower(e, 1) AS lower, round(dot(e, e)::numeric, 4) AS norm
FROM (VALUES (1, 'the old man is a teacher in town'), (2, ''), (3, repeat('the cat ', 5000))) t (id, body),
    (VALUES ('fp32'), ('int8')) p (precision),
    set_config('lat.precision', p.precision, false), lat_embed(t.body) e
ORDER BY 1, 2;

SELECT lat_embed(NULL) IS NULL AS nothing;
SELECT lat_embed('The CAT') = lat_embed('the cat') AS uncased,
    lat_embed('the cat') = lat_embed('the mat') AS same,
    lat_embed('the cat') = lat_logits('the cat', model => 'tiny') AS logits;

DROP FUNCTION dot;
DROP EXTENSION lat;
