-- Answers of a random model: they are pieces of the context, wherever they lie.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS lat;
CREATE EXTENSION lat;
\getenv dir PG_ABS_SRCDIR
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-span'));
SET lat.precision = fp32;

CREATE TABLE contexts (id int PRIMARY KEY, body text);
INSERT INTO contexts VALUES
    (1, 'the old man is a teacher in town'),
    (2, 'Émile   Zola, né à Paris; ☃ «der Größte» 日本語 — fin.'),
    (3, repeat('the old man is a teacher in town, and 42 cats sat on the mat. ', 200)),
    (4, 'one'),
    (5, E'tabs\tand\nlines and \u0001 control, e\u0301 combining');

SELECT c.id, a.answer = substring(c.body FROM a.start FOR a.stop - a.start + 1) AS cut_from_context,
    a.answer = lat_answer('who is it?', c.body) AS same,
    a.score > 0 AND a.score <= 1 AS is_probability, a.start >= 1 AND a.stop <= length(c.body) AS inside
FROM contexts c, lat_answer_span('who is it?', c.body) a ORDER BY c.id;

-- once more, all columns of one call
SELECT id, (a).answer = (b).answer AND (a).start = (b).start AND (a).stop = (b).stop AS same
FROM (SELECT id, lat_answer_span('where?', body) AS a, lat_answer_span('where?', body) AS b FROM contexts) s
ORDER BY id;
SELECT count(*) FROM (SELECT (lat_answer_span('where?', body)).* FROM contexts) s;

-- spaces do not change the answer, but its place
SELECT b.start - a.start AS shift, a.answer = b.answer AS same
FROM lat_answer_span('who?', 'the old man is a teacher') a,
    lat_answer_span('who?', '     the old man is a teacher') b;

-- nothing to answer from, and empty questions
SELECT lat_answer_span('who?', '') IS NULL AS empty, lat_answer('who?', '   ') IS NULL AS blank,
    lat_answer(NULL, 'a') IS NULL AS no_question, lat_answer('who?', NULL) IS NULL AS no_context,
    lat_answer('', 'the old man') IS NOT NULL AS empty_question;
SELECT * FROM lat_answer_span('who?', NULL);

-- questions are cut
SELECT lat_answer(repeat('who is it ', 500), 'the old man') = lat_answer(repeat('who is it ', 50), 'the old man') AS same;

-- logits: all starts, then all ends
SELECT cardinality(lat_logits('who is it?', 'the old man', model => 'tiny'))
    = 2 * (SELECT count(*) FROM lat_tokenize('who is it?', 'the old man', 'tiny')) AS two_a_token;

DROP TABLE contexts;
DROP EXTENSION lat;
