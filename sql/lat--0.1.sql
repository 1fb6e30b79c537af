-- lat 0.1: length-adaptive transformer inference over text columns
\echo Use "CREATE EXTENSION lat" to load this file. \quit

-- ---- models ------------------------------------------------------------------------------------
-- Columns that C code searches by have collation "C": its scan keys compare so.

CREATE TABLE @extschema@.lat_model (
	name pg_catalog.text COLLATE pg_catalog."C" NOT NULL
		CHECK (pg_catalog.octet_length(name) OPERATOR(pg_catalog.>=) 1
			AND pg_catalog.octet_length(name) OPERATOR(pg_catalog.<=) 63),
	digest pg_catalog.text COLLATE pg_catalog."C" NOT NULL
		CHECK (digest OPERATOR(pg_catalog.~) '^[0-9a-f]{64}$'),
	task pg_catalog.text COLLATE pg_catalog."C" NOT NULL
		CHECK (task OPERATOR(pg_catalog.=) ANY (ARRAY['classify', 'span', 'tag', 'embed'])),
	labels pg_catalog.text[],
	architecture pg_catalog.text NOT NULL,
	layers pg_catalog.int4 NOT NULL,
	hidden pg_catalog.int4 NOT NULL,
	max_tokens pg_catalog.int4 NOT NULL,
	precision pg_catalog.text NOT NULL
		CHECK (precision OPERATOR(pg_catalog.=) ANY (ARRAY['float', 'int8'])),
	parameters pg_catalog.int8 NOT NULL,
	imported pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (name)
);
COMMENT ON TABLE @extschema@.lat_model IS 'models by name; SELECT on it is the right to use them';
COMMENT ON COLUMN @extschema@.lat_model.digest IS 'sha256 of the content, which lies in lat_model_chunk';
COMMENT ON COLUMN @extschema@.lat_model.labels IS 'labels of a classifier or tagger, in the order of its outputs';
COMMENT ON COLUMN @extschema@.lat_model.max_tokens IS 'longest input, special tokens included';
COMMENT ON COLUMN @extschema@.lat_model.precision IS 'weights as stored: float (a checkpoint), or int8 only';
COMMENT ON COLUMN @extschema@.lat_model.parameters IS 'number of weights';

CREATE TABLE @extschema@.lat_model_chunk (
	digest pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	seq pg_catalog.int4 NOT NULL,
	data pg_catalog.bytea NOT NULL,
	PRIMARY KEY (digest, seq)
);
ALTER TABLE @extschema@.lat_model_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE @extschema@.lat_model_chunk IS 'content of the models, in pieces of at most 1 MB';

CREATE TABLE @extschema@.lat_pareto (
	digest pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	lengths pg_catalog.int4[] NOT NULL
		CHECK (pg_catalog.array_ndims(lengths) OPERATOR(pg_catalog.=) 1
			AND pg_catalog.cardinality(lengths) OPERATOR(pg_catalog.>=) 1
			AND pg_catalog.cardinality(lengths) OPERATOR(pg_catalog.<=) 64
			AND pg_catalog.array_position(lengths, NULL::pg_catalog.int4) IS NULL),
	reference_length pg_catalog.int4 NOT NULL CHECK (reference_length OPERATOR(pg_catalog.>) 0),
	fraction pg_catalog.float8 NOT NULL
		CHECK (fraction OPERATOR(pg_catalog.>) 0 AND fraction OPERATOR(pg_catalog.<=) 1),
	mean_fraction pg_catalog.float8,
	paper_fraction pg_catalog.float8,
	quality pg_catalog.float8 NOT NULL,
	quality_low pg_catalog.float8,
	quality_high pg_catalog.float8,
	metric pg_catalog.text,
	milliseconds pg_catalog.float8,
	PRIMARY KEY (digest, lengths)
);
COMMENT ON TABLE @extschema@.lat_pareto IS 'length configurations of the models: what each costs, and how well it does';
COMMENT ON COLUMN @extschema@.lat_pareto.lengths IS 'tokens kept after each layer of a text of reference_length tokens';
COMMENT ON COLUMN @extschema@.lat_pareto.fraction IS 'cost at the reference length as a fraction of the full cost; compared with the budget';
COMMENT ON COLUMN @extschema@.lat_pareto.mean_fraction IS 'the same, over the data that quality was measured on';
COMMENT ON COLUMN @extschema@.lat_pareto.paper_fraction IS 'the same, counted as in arXiv 2010.07003';
COMMENT ON COLUMN @extschema@.lat_pareto.quality IS 'quality in the unit of metric, with its interval in quality_low and quality_high';

CREATE TABLE @extschema@.lat_default (
	task pg_catalog.text COLLATE pg_catalog."C" NOT NULL
		CHECK (task OPERATOR(pg_catalog.=) ANY (ARRAY['classify', 'pair', 'span', 'tag', 'embed'])),
	model pg_catalog.text COLLATE pg_catalog."C" NOT NULL
		REFERENCES @extschema@.lat_model (name) ON UPDATE CASCADE ON DELETE CASCADE,
	PRIMARY KEY (task)
);
COMMENT ON TABLE @extschema@.lat_default IS 'the model that a task takes when a call names none';

-- The models are user data: a dump must hold them.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.lat_model', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.lat_model_chunk', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.lat_pareto', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.lat_default', '');

-- ---- telling backends of changes ---------------------------------------------------------------

CREATE FUNCTION @extschema@.lat_models_changed() RETURNS pg_catalog.trigger
	LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_models_changed() IS 'trigger: tells all sessions that models have changed';

CREATE TRIGGER lat_models_changed AFTER INSERT OR UPDATE OR DELETE ON @extschema@.lat_model
	FOR EACH ROW EXECUTE FUNCTION @extschema@.lat_models_changed();
CREATE TRIGGER lat_models_emptied AFTER TRUNCATE ON @extschema@.lat_model
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.lat_models_changed();
ALTER TABLE @extschema@.lat_model ENABLE ALWAYS TRIGGER lat_models_changed;
ALTER TABLE @extschema@.lat_model ENABLE ALWAYS TRIGGER lat_models_emptied;
COMMENT ON TRIGGER lat_models_changed ON @extschema@.lat_model IS 'tells all sessions that models have changed';
COMMENT ON TRIGGER lat_models_emptied ON @extschema@.lat_model IS 'tells all sessions that models have changed';

CREATE TRIGGER lat_models_changed AFTER INSERT OR UPDATE OR DELETE ON @extschema@.lat_default
	FOR EACH ROW EXECUTE FUNCTION @extschema@.lat_models_changed();
CREATE TRIGGER lat_models_emptied AFTER TRUNCATE ON @extschema@.lat_default
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.lat_models_changed();
ALTER TABLE @extschema@.lat_default ENABLE ALWAYS TRIGGER lat_models_changed;
ALTER TABLE @extschema@.lat_default ENABLE ALWAYS TRIGGER lat_models_emptied;
COMMENT ON TRIGGER lat_models_changed ON @extschema@.lat_default IS 'tells all sessions that models have changed';
COMMENT ON TRIGGER lat_models_emptied ON @extschema@.lat_default IS 'tells all sessions that models have changed';

CREATE TRIGGER lat_models_changed AFTER INSERT OR UPDATE OR DELETE ON @extschema@.lat_pareto
	FOR EACH ROW EXECUTE FUNCTION @extschema@.lat_models_changed();
CREATE TRIGGER lat_models_emptied AFTER TRUNCATE ON @extschema@.lat_pareto
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.lat_models_changed();
ALTER TABLE @extschema@.lat_pareto ENABLE ALWAYS TRIGGER lat_models_changed;
ALTER TABLE @extschema@.lat_pareto ENABLE ALWAYS TRIGGER lat_models_emptied;
COMMENT ON TRIGGER lat_models_changed ON @extschema@.lat_pareto IS 'tells all sessions that models have changed';
COMMENT ON TRIGGER lat_models_emptied ON @extschema@.lat_pareto IS 'tells all sessions that models have changed';

-- ---- managing models ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.lat_import_model(name pg_catalog.text, directory pg_catalog.text)
	RETURNS pg_catalog.text
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_import_model(pg_catalog.text, pg_catalog.text) IS 'import a Hugging Face checkpoint from a directory of the server; returns its digest';

CREATE FUNCTION @extschema@.lat_install_default_models()
	RETURNS TABLE (name pg_catalog.text, digest pg_catalog.text)
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 3 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_install_default_models() IS 'install the models that come with the extension';

CREATE FUNCTION @extschema@.lat_drop_model(name pg_catalog.text) RETURNS pg_catalog.void
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_drop_model(pg_catalog.text) IS 'drop a model';

CREATE FUNCTION @extschema@.lat_set_default(task pg_catalog.text, model pg_catalog.text)
	RETURNS pg_catalog.void
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_set_default(pg_catalog.text, pg_catalog.text) IS 'make a model the default of a task: classify, pair, span, tag or embed';

-- ---- scoring -----------------------------------------------------------------------------------
-- Not STRICT: most arguments may be NULL, and mean something by it.

CREATE FUNCTION @extschema@.lat_cost_support(pg_catalog.internal) RETURNS pg_catalog.internal
	LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_cost_support(pg_catalog.internal) IS 'planner support: what a scoring call costs';

CREATE FUNCTION @extschema@.lat_tokenize(
		input pg_catalog.text,
		pair pg_catalog.text DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL
	)
	RETURNS TABLE (
		pos pg_catalog.int4,
		segment pg_catalog.int4,
		token_id pg_catalog.int4,
		token pg_catalog.text,
		start pg_catalog.int4,
		stop pg_catalog.int4
	)
	LANGUAGE C STABLE PARALLEL SAFE COST 1000 ROWS 100
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_tokenize(pg_catalog.text, pg_catalog.text, pg_catalog.text)
	IS 'tokens of a text, or of a pair, as the model reads it';

CREATE FUNCTION @extschema@.lat_classify(
		input pg_catalog.text,
		budget pg_catalog.float8 DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL
	)
	RETURNS pg_catalog.text
	LANGUAGE C STABLE PARALLEL SAFE COST 100000
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_classify(pg_catalog.text, pg_catalog.float8, pg_catalog.text)
	IS 'label of a text';

CREATE FUNCTION @extschema@.lat_classify_pair(
		input pg_catalog.text,
		pair pg_catalog.text,
		budget pg_catalog.float8 DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL
	)
	RETURNS pg_catalog.text
	LANGUAGE C STABLE PARALLEL SAFE COST 100000
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_classify_pair(pg_catalog.text, pg_catalog.text, pg_catalog.float8, pg_catalog.text)
	IS 'label of a pair of texts';

CREATE FUNCTION @extschema@.lat_scores(
		input pg_catalog.text,
		pair pg_catalog.text DEFAULT NULL,
		budget pg_catalog.float8 DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL
	)
	RETURNS TABLE (
		label pg_catalog.text,
		score pg_catalog.float4
	)
	LANGUAGE C STABLE PARALLEL SAFE COST 100000 ROWS 3
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_scores(pg_catalog.text, pg_catalog.text, pg_catalog.float8, pg_catalog.text)
	IS 'probabilities of all labels of a text or pair, best first';

CREATE FUNCTION @extschema@.lat_score(
		input pg_catalog.text,
		label pg_catalog.text,
		budget pg_catalog.float8 DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL,
		pair pg_catalog.text DEFAULT NULL
	)
	RETURNS pg_catalog.float4
	LANGUAGE C STABLE PARALLEL SAFE COST 100000
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_score(pg_catalog.text, pg_catalog.text, pg_catalog.float8, pg_catalog.text, pg_catalog.text)
	IS 'probability of one label of a text or pair';

CREATE FUNCTION @extschema@.lat_answer_span(
		question pg_catalog.text,
		context pg_catalog.text,
		budget pg_catalog.float8 DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL,
		OUT answer pg_catalog.text,
		OUT start pg_catalog.int4,
		OUT stop pg_catalog.int4,
		OUT score pg_catalog.float4
	)
	LANGUAGE C STABLE PARALLEL SAFE COST 100000
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_answer_span(pg_catalog.text, pg_catalog.text, pg_catalog.float8, pg_catalog.text)
	IS 'answer to a question in a context, its first and last character, and its probability';

CREATE FUNCTION @extschema@.lat_answer(
		question pg_catalog.text,
		context pg_catalog.text,
		budget pg_catalog.float8 DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL
	)
	RETURNS pg_catalog.text
	LANGUAGE C STABLE PARALLEL SAFE COST 100000
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_answer(pg_catalog.text, pg_catalog.text, pg_catalog.float8, pg_catalog.text)
	IS 'answer to a question in a context';

CREATE FUNCTION @extschema@.lat_tag(
		input pg_catalog.text,
		budget pg_catalog.float8 DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL
	)
	RETURNS TABLE (
		label pg_catalog.text,
		fragment pg_catalog.text,
		start pg_catalog.int4,
		stop pg_catalog.int4,
		score pg_catalog.float4
	)
	LANGUAGE C STABLE PARALLEL SAFE COST 100000 ROWS 5
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_tag(pg_catalog.text, pg_catalog.float8, pg_catalog.text)
	IS 'tagged fragments of a text';

CREATE FUNCTION @extschema@.lat_embed(
		input pg_catalog.text,
		budget pg_catalog.float8 DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL
	)
	RETURNS pg_catalog.float4[]
	LANGUAGE C STABLE PARALLEL SAFE COST 100000
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_embed(pg_catalog.text, pg_catalog.float8, pg_catalog.text)
	IS 'embedding of a text: a vector of length 1';

CREATE FUNCTION @extschema@.lat_logits(
		input pg_catalog.text,
		pair pg_catalog.text DEFAULT NULL,
		lengths pg_catalog.int4[] DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL
	)
	RETURNS pg_catalog.float4[]
	LANGUAGE C STABLE PARALLEL SAFE COST 100000
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_logits(pg_catalog.text, pg_catalog.text, pg_catalog.int4[], pg_catalog.text)
	IS 'raw outputs of the model at given lengths a layer';

CREATE FUNCTION @extschema@.lat_trace(
		input pg_catalog.text,
		pair pg_catalog.text DEFAULT NULL,
		lengths pg_catalog.int4[] DEFAULT NULL,
		model pg_catalog.text DEFAULT NULL
	)
	RETURNS TABLE (
		layer pg_catalog.int4,
		tokens pg_catalog.int4,
		kept pg_catalog.int4[]
	)
	LANGUAGE C STABLE PARALLEL SAFE COST 100000 ROWS 12
	SUPPORT @extschema@.lat_cost_support
	AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_trace(pg_catalog.text, pg_catalog.text, pg_catalog.int4[], pg_catalog.text)
	IS 'tokens that each layer keeps, at given lengths a layer';

-- ---- training and search -----------------------------------------------------------------------
-- Nobody is granted lat_run_entry: users see their runs through the view lat_run, and the functions
-- write the tables of the runs as their owner, as foreign keys do.

CREATE TABLE @extschema@.lat_run_entry (
	run pg_catalog.int8 GENERATED ALWAYS AS IDENTITY,
	owner pg_catalog.name NOT NULL,
	owner_id pg_catalog.oid NOT NULL,
	kind pg_catalog.text COLLATE pg_catalog."C" NOT NULL
		CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['train', 'search'])),
	model pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	base pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	base_digest pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	task pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	query pg_catalog.text NOT NULL,
	options pg_catalog.jsonb NOT NULL,
	kernels pg_catalog.text NOT NULL,
	labels pg_catalog.text[],
	workers pg_catalog.int4 NOT NULL,
	checkpoint_interval pg_catalog.int4 NOT NULL,
	state pg_catalog.text COLLATE pg_catalog."C" NOT NULL DEFAULT 'queued'
		CHECK (state OPERATOR(pg_catalog.=) ANY
			(ARRAY['queued', 'running', 'done', 'failed', 'cancelled', 'interrupted'])),
	created pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	started pg_catalog.timestamptz,
	finished pg_catalog.timestamptz,
	resumed pg_catalog.int4 NOT NULL DEFAULT 0,
	rows pg_catalog.int8,
	rows_truncated pg_catalog.int8,
	rows_skipped pg_catalog.jsonb,
	train_examples pg_catalog.int8,
	dev_examples pg_catalog.int8,
	processes pg_catalog.int4,
	checkpoint_step pg_catalog.int8,
	checkpoint_bytes pg_catalog.int8,
	checkpointed pg_catalog.timestamptz,
	digest pg_catalog.text,
	quality pg_catalog.float8,
	quality_smallest pg_catalog.float8,
	error_code pg_catalog.text,
	error pg_catalog.text,
	error_detail pg_catalog.text,
	error_hint pg_catalog.text,
	PRIMARY KEY (run)
);
COMMENT ON TABLE @extschema@.lat_run_entry IS 'runs of lat_train and lat_search, as recorded; the view lat_run shows them to their owners';
COMMENT ON COLUMN @extschema@.lat_run_entry.owner IS 'role that the run works as; a role of that name with another owner_id does not see it';
COMMENT ON COLUMN @extschema@.lat_run_entry.state IS 'as recorded; a run that is "running" without a process was interrupted';

CREATE TABLE @extschema@.lat_run_log (
	run pg_catalog.int8 NOT NULL
		REFERENCES @extschema@.lat_run_entry (run) ON DELETE CASCADE,
	seq pg_catalog.int4 NOT NULL,
	at pg_catalog.timestamptz NOT NULL,
	phase pg_catalog.text,
	epoch pg_catalog.float8,
	step pg_catalog.int8 NOT NULL,
	steps pg_catalog.int8 NOT NULL,
	examples pg_catalog.int8,
	examples_per_second pg_catalog.float8,
	loss pg_catalog.float8,
	learning_rate pg_catalog.float8,
	gradient_norm pg_catalog.float8,
	quality pg_catalog.float8,
	quality_smallest pg_catalog.float8,
	candidates pg_catalog.int4,
	abandoned pg_catalog.int4,
	hypervolume pg_catalog.float8,
	eta pg_catalog.timestamptz,
	PRIMARY KEY (run, seq)
);
COMMENT ON TABLE @extschema@.lat_run_log IS 'how runs went, about a row a second; a run''s owner sees its rows';
COMMENT ON COLUMN @extschema@.lat_run_log.epoch IS 'epochs done in this phase';
COMMENT ON COLUMN @extschema@.lat_run_log.step IS 'steps done, of steps in all; a search counts iterations';
COMMENT ON COLUMN @extschema@.lat_run_log.quality IS 'accuracy or F1 in percent: in training on dev, of the fp32 model in full; in a search of the best configuration, on the half of the data that selects, and in the last row on the other half';
COMMENT ON COLUMN @extschema@.lat_run_log.quality_smallest IS 'the same, of the smallest sub-model';
COMMENT ON COLUMN @extschema@.lat_run_log.hypervolume IS 'of a search: area under the frontier';

CREATE TABLE @extschema@.lat_run_data (
	run pg_catalog.int8 NOT NULL
		REFERENCES @extschema@.lat_run_entry (run) ON DELETE CASCADE,
	part pg_catalog.int4 NOT NULL,
	seq pg_catalog.int4 NOT NULL,
	records pg_catalog.int4 NOT NULL,
	data pg_catalog.bytea NOT NULL,
	PRIMARY KEY (run, part, seq)
);
ALTER TABLE @extschema@.lat_run_data ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE @extschema@.lat_run_data IS 'what unfinished runs work on, in pieces of at most 1 MB; a run''s owner alone sees its rows';
COMMENT ON COLUMN @extschema@.lat_run_data.part IS '0: training (or search) data, 1: dev';
COMMENT ON COLUMN @extschema@.lat_run_data.records IS 'records that begin in this piece';

CREATE VIEW @extschema@.lat_run WITH (security_barrier) AS
	SELECT r.run, r.owner, r.kind, r.model, r.base, r.task,
		CASE WHEN r.state OPERATOR(pg_catalog.=) 'running' AND l.pid IS NULL
				AND NOT pg_catalog.pg_is_in_recovery()
			THEN 'interrupted' ELSE r.state END AS state,
		l.pid, r.created, r.started, r.finished, r.resumed,
		r.query, r.options, r.base_digest, r.kernels,
		r.rows, r.rows_truncated, r.rows_skipped, r.train_examples, r.dev_examples,
		r.workers, r.processes,
		r.checkpoint_step, r.checkpoint_bytes, r.checkpointed,
		r.digest, r.quality, r.quality_smallest,
		r.error_code, r.error, r.error_detail, r.error_hint
	FROM @extschema@.lat_run_entry r
		LEFT JOIN pg_catalog.pg_locks l ON l.locktype OPERATOR(pg_catalog.=) 'advisory'
			AND l.database OPERATOR(pg_catalog.=)
				(SELECT d.oid FROM pg_catalog.pg_database d
					WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
			AND l.classid OPERATOR(pg_catalog.=) (r.run OPERATOR(pg_catalog.>>) 32)::pg_catalog.oid
			AND l.objid OPERATOR(pg_catalog.=)
				(r.run OPERATOR(pg_catalog.&) 4294967295)::pg_catalog.oid
			AND l.objsubid OPERATOR(pg_catalog.=) 19521
			AND l.granted
	WHERE (pg_catalog.pg_has_role(r.owner_id, 'USAGE')
			AND r.owner OPERATOR(pg_catalog.=) pg_catalog.pg_get_userbyid(r.owner_id))
		OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');
COMMENT ON VIEW @extschema@.lat_run IS 'one''s own runs of lat_train and lat_search, or with pg_read_all_stats everybody''s';
COMMENT ON COLUMN @extschema@.lat_run.state IS 'queued, running, done, failed, cancelled or interrupted';
COMMENT ON COLUMN @extschema@.lat_run.pid IS 'the background worker that leads the run';
COMMENT ON COLUMN @extschema@.lat_run.options IS 'every option, given or not';
COMMENT ON COLUMN @extschema@.lat_run.rows_skipped IS 'rows of the queries that are not used, by reason';
COMMENT ON COLUMN @extschema@.lat_run.rows_truncated IS 'rows that are used, but were cut at the maximum length';
COMMENT ON COLUMN @extschema@.lat_run.quality IS 'in percent, as in the last row of lat_run_log';
COMMENT ON COLUMN @extschema@.lat_run.workers IS 'processes wanted; processes says how many there are';
COMMENT ON COLUMN @extschema@.lat_run.checkpoint_bytes IS 'disk that the latest checkpoint takes';

CREATE VIEW @extschema@.lat_progress AS
	SELECT r.run, r.model, r.kind, r.state, r.pid, g.phase, g.epoch, g.step, g.steps,
		g.examples_per_second, g.loss, q.quality, r.started,
		CASE WHEN r.state OPERATOR(pg_catalog.=) 'running' THEN g.eta END AS eta
	FROM @extschema@.lat_run r
		LEFT JOIN LATERAL (SELECT * FROM @extschema@.lat_run_log o
			WHERE o.run OPERATOR(pg_catalog.=) r.run
			ORDER BY o.seq DESC LIMIT 1) g ON true
		LEFT JOIN LATERAL (SELECT o.quality FROM @extschema@.lat_run_log o
			WHERE o.run OPERATOR(pg_catalog.=) r.run AND o.quality IS NOT NULL
			ORDER BY o.seq DESC LIMIT 1) q ON true
	WHERE r.state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running', 'interrupted']);
COMMENT ON VIEW @extschema@.lat_progress IS 'runs that have not ended, and how far they are';
COMMENT ON COLUMN @extschema@.lat_progress.quality IS 'latest quality in percent, as in lat_run_log';
COMMENT ON COLUMN @extschema@.lat_progress.eta IS 'when the run will end, at its present speed';

ALTER TABLE @extschema@.lat_run_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY lat_run_seen ON @extschema@.lat_run_log FOR SELECT
	USING (run OPERATOR(pg_catalog.=) ANY (SELECT r.run FROM @extschema@.lat_run r));
COMMENT ON POLICY lat_run_seen ON @extschema@.lat_run_log IS 'whoever sees the run in lat_run sees its log';

ALTER TABLE @extschema@.lat_run_data ENABLE ROW LEVEL SECURITY;
CREATE POLICY lat_run_owned ON @extschema@.lat_run_data FOR SELECT
	USING (EXISTS (SELECT FROM @extschema@.lat_run r, pg_catalog.pg_roles o
		WHERE r.run OPERATOR(pg_catalog.=) lat_run_data.run
			AND o.rolname OPERATOR(pg_catalog.=) r.owner
			AND pg_catalog.pg_has_role(o.oid, 'USAGE')));
COMMENT ON POLICY lat_run_owned ON @extschema@.lat_run_data IS 'a run''s owner alone sees its data';

GRANT SELECT ON @extschema@.lat_run, @extschema@.lat_progress, @extschema@.lat_run_log,
	@extschema@.lat_run_data TO PUBLIC;

-- A dump holds what has ended: the rest goes on in this cluster only.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.lat_run_entry',
	'WHERE state IN (''done'', ''failed'', ''cancelled'')');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.lat_run_entry_run_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.lat_run_log',
	'WHERE run IN (SELECT r.run FROM @extschema@.lat_run_entry r '
	'WHERE r.state IN (''done'', ''failed'', ''cancelled''))');

CREATE FUNCTION @extschema@.lat_train(
		model pg_catalog.text,
		base pg_catalog.text,
		task pg_catalog.text,
		data pg_catalog.text,
		options pg_catalog.jsonb DEFAULT '{}'
	)
	RETURNS pg_catalog.int8
	LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_train(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb)
	IS 'train a model on the rows of a query, in the background; returns the number of the run';

CREATE FUNCTION @extschema@.lat_wait(run pg_catalog.int8) RETURNS pg_catalog.text
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_wait(pg_catalog.int8) IS 'wait until a run has ended; raises its error if it failed';

CREATE FUNCTION @extschema@.lat_cancel(run pg_catalog.int8) RETURNS pg_catalog.text
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_cancel(pg_catalog.int8) IS 'cancel a run, and give up its data and checkpoint';

CREATE FUNCTION @extschema@.lat_resume(run pg_catalog.int8) RETURNS pg_catalog.text
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_resume(pg_catalog.int8) IS 'continue a run that was interrupted or has failed';

-- ---- search ------------------------------------------------------------------------------------

CREATE TABLE @extschema@.lat_search_point (
	digest pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	lengths pg_catalog.int4[] NOT NULL,
	reference_length pg_catalog.int4 NOT NULL,
	fraction pg_catalog.float8 NOT NULL,
	quality pg_catalog.float8 NOT NULL,
	examples pg_catalog.int4 NOT NULL,
	abandoned pg_catalog.bool NOT NULL,
	PRIMARY KEY (digest, lengths)
);
COMMENT ON TABLE @extschema@.lat_search_point IS 'every length configuration that the last search of a model has tried';
COMMENT ON COLUMN @extschema@.lat_search_point.quality IS 'on the half of the data that selects, so a little flattered; estimated if abandoned';
COMMENT ON COLUMN @extschema@.lat_search_point.examples IS 'examples that it was tried on';
COMMENT ON COLUMN @extschema@.lat_search_point.abandoned IS 'given up early: clearly not on the frontier';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.lat_search_point', '');
GRANT SELECT ON @extschema@.lat_search_point TO PUBLIC;

CREATE FUNCTION @extschema@.lat_search(
		model pg_catalog.text,
		data pg_catalog.text,
		options pg_catalog.jsonb DEFAULT '{}'
	)
	RETURNS pg_catalog.int8
	LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_search(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb)
	IS 'search length configurations for a model on the rows of a query, in the background; returns the number of the run';

CREATE FUNCTION @extschema@.lat_pareto_svg(
		model pg_catalog.text,
		beside pg_catalog.text DEFAULT NULL
	)
	RETURNS pg_catalog.text
	LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_pareto_svg(pg_catalog.text, pg_catalog.text)
	IS 'picture of a model''s quality against its cost, beside that of another model';

-- ---- looking at it -----------------------------------------------------------------------------

CREATE FUNCTION @extschema@.lat_loaded_models(
		OUT digest pg_catalog.text,
		OUT "precision" pg_catalog.text,
		OUT bytes pg_catalog.int8,
		OUT "where" pg_catalog.text,
		OUT attached pg_catalog.int4
	)
	RETURNS SETOF pg_catalog.record
	LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.lat_loaded_models() IS 'packed models that all sessions share; behind the view';

CREATE VIEW @extschema@.lat_loaded_models AS
	SELECT l.digest, l.precision, l.bytes, l."where", l.attached
	FROM @extschema@.lat_loaded_models() l;
COMMENT ON VIEW @extschema@.lat_loaded_models IS 'packed models that all sessions share, and how many have each mapped (NULL without preload)';

CREATE FUNCTION @extschema@.pg_stat_lat(
		OUT datid pg_catalog.oid,
		OUT digest pg_catalog.text,
		OUT "precision" pg_catalog.text,
		OUT calls pg_catalog.int8,
		OUT rows pg_catalog.int8,
		OUT tokens_in pg_catalog.int8,
		OUT tokens_kept pg_catalog.int8,
		OUT truncated pg_catalog.int8,
		OUT multiply_adds pg_catalog.float8,
		OUT milliseconds pg_catalog.float8
	)
	RETURNS SETOF pg_catalog.record
	LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.pg_stat_lat() IS 'what was computed since the server started; behind the view';

CREATE VIEW @extschema@.pg_stat_lat AS
	SELECT s.datid, d.datname, s.digest,
		(SELECT pg_catalog.string_agg(m.name, ', ' ORDER BY m.name)
			FROM @extschema@.lat_model m
			WHERE m.digest OPERATOR(pg_catalog.=) s.digest
				AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS name,
		s.precision, s.calls, s.rows, s.tokens_in, s.tokens_kept, s.truncated,
		s.multiply_adds, s.milliseconds
	FROM @extschema@.pg_stat_lat() s
		LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.datid;
COMMENT ON VIEW @extschema@.pg_stat_lat IS 'calls, texts, tokens and time, by database and model, since the server started; needs preload';

CREATE FUNCTION @extschema@.pg_stat_lat_reset() RETURNS pg_catalog.void
	LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.pg_stat_lat_reset() IS 'set the counters of pg_stat_lat to zero';
REVOKE ALL ON FUNCTION @extschema@.pg_stat_lat_reset() FROM PUBLIC;

GRANT SELECT ON @extschema@.lat_model, @extschema@.lat_pareto, @extschema@.lat_default,
	@extschema@.lat_loaded_models, @extschema@.pg_stat_lat TO PUBLIC;
