-- Databases of other encodings: texts are converted, and positions count their characters.
SET client_min_messages = warning;
SET client_encoding = 'UTF8';
\getenv dir PG_ABS_SRCDIR
SELECT current_database() AS here \gset
\set answers 'SELECT c.id, a.answer = substring(c.body FROM a.start FOR a.stop - a.start + 1) AS cut_from_context, a.stop <= length(c.body) AS inside FROM contexts c, lat_answer_span(\'who is it?\', c.body) a ORDER BY 1'
\set tokens 'SELECT c.id, t.token, substring(c.body FROM t.start FOR t.stop - t.start + 1) AS original FROM contexts c, lat_tokenize(c.body) t WHERE t.start IS NOT NULL AND c.id <= 2 ORDER BY c.id, t.pos'

-- one byte a character
DROP DATABASE IF EXISTS regress_lat_latin1;
CREATE DATABASE regress_lat_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C';
\c regress_lat_latin1
SET client_min_messages = warning;
SET client_encoding = 'UTF8';
CREATE EXTENSION lat;
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-classify')), length(lat_import_model('span', :'dir' || '/golden/tiny-span'));
CREATE TABLE contexts (id int, body text);
INSERT INTO contexts VALUES (1, 'é the ñandú sat à Paris'), (2, 'Größe 42²'), (3, repeat('the façade is grün. ', 8000));
:answers;
:tokens;
SELECT lat_classify(body) = lat_classify(left(body, 2000)) AS cut FROM contexts WHERE id = 3;
\c :here
SET client_min_messages = warning;
DROP DATABASE regress_lat_latin1;

-- characters that are two code points
DROP DATABASE IF EXISTS regress_lat_jis;
CREATE DATABASE regress_lat_jis TEMPLATE template0 ENCODING 'EUC_JIS_2004' LOCALE 'C';
\c regress_lat_jis
SET client_min_messages = warning;
SET client_encoding = 'UTF8';
CREATE EXTENSION lat;
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-classify')), length(lat_import_model('span', :'dir' || '/golden/tiny-span'));
CREATE TABLE contexts (id int, body text);
INSERT INTO contexts VALUES (1, 'か゚ the き゚ 日本 sat'), (2, '日本 a'), (3, repeat('か゚か゚日本 the old man. ', 4000));
SELECT id, length(body) FROM contexts WHERE id < 3 ORDER BY id;
:answers;
:tokens;
SELECT lat_classify(body) = lat_classify(left(body, 2000)) AS cut FROM contexts WHERE id = 3;
\c :here
SET client_min_messages = warning;
DROP DATABASE regress_lat_jis;

-- bytes of no known encoding: UTF-8 if they can be read so
DROP DATABASE IF EXISTS regress_lat_ascii;
CREATE DATABASE regress_lat_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C';
\c regress_lat_ascii
SET client_min_messages = warning;
CREATE EXTENSION lat;
SELECT length(lat_import_model('tiny', :'dir' || '/golden/tiny-classify')), length(lat_import_model('span', :'dir' || '/golden/tiny-span'));
CREATE TABLE contexts (id int, body text);
INSERT INTO contexts VALUES (1, 'é the ñandú sat à Paris'), (2, '日本 a'), (3, repeat('the façade is grün. ', 8000));
:answers;
:tokens;
\set VERBOSITY sqlstate
SELECT lat_classify(E'the \xe9 cat');
SELECT lat_answer('who?', E'the \xe9 cat');
SELECT lat_classify(E'the cat \xe2\x98');
SELECT lat_classify(repeat('the ', 5000) || E'\xff') IS NOT NULL AS beyond_the_cut;
\set VERBOSITY default
\c :here
SET client_min_messages = warning;
DROP DATABASE regress_lat_ascii;
