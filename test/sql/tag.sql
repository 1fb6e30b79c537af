-- Tags of a random model.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS lat;
CREATE EXTENSION lat;
\getenv dir PG_ABS_SRCDIR
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-tag'));
SET lat.precision = fp32;

CREATE TABLE texts (id int PRIMARY KEY, body text);
INSERT INTO texts VALUES
    (1, 'the old man is a teacher in town'),
    (2, 'Émile   Zola, né à Paris; ☃ 日本語 — fin.'),
    (3, repeat('the cat sat on the mat. ', 1000)),
    (4, ''),
    (5, NULL);

SELECT t.id, bool_and(g.fragment = substring(t.body FROM g.start FOR g.stop - g.start + 1)) AS cut_from_text,
    bool_and(g.label <> 'O' AND g.label !~ '^[BI]-') AS plain_labels,
    bool_and(g.score > 0 AND g.score <= 1) AS is_probability,
    bool_and(g.stop >= g.start) AS forward
FROM texts t, lat_tag(t.body) WITH ORDINALITY g (label, fragment, start, stop, score, n) GROUP BY t.id ORDER BY t.id;

-- in the order of the text, not overlapping
SELECT count(*) FROM (SELECT start, lag(stop) OVER (ORDER BY n) AS before
    FROM texts t, lat_tag(t.body) WITH ORDINALITY g (label, fragment, start, stop, score, n) WHERE t.id = 2) s
WHERE start <= before;
SELECT count(*) FROM lat_tag(NULL);
SELECT count(*) FROM lat_tag('');

-- one logit a label and token
SELECT cardinality(lat_logits('the old man', model => 'tiny'))
    = (SELECT count(*) FROM lat_tokenize('the old man', model => 'tiny')) * cardinality(labels) AS per_token
FROM lat_model;

DROP TABLE texts;
DROP EXTENSION lat;
