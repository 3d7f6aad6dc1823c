-- The catalog beside pipelines, and what executions have to do with it. Rows that are there already have none of it.

CREATE TABLE ledger.entries (
    noun          text        NOT NULL,  -- template, twin or experiment
    key           text        NOT NULL,
    version       integer     NOT NULL,
    digest        text,                  -- null: removed
    definition    text,
    registered_at timestamptz NOT NULL,
    registered_by text,
    PRIMARY KEY (noun, key, version)
);

ALTER TABLE ledger.executions
    ADD COLUMN template   text,
    ADD COLUMN experiment text,
    ADD COLUMN source     text;

-- With what 0006 and 0007 have added.
CREATE OR REPLACE VIEW ledger_v1.executions AS
SELECT
    e.id, e.shard, e.number, e.name,
    e.pipeline, e.pipeline_version, e.pipeline_digest,
    e.twin, e.mode, e.options, e.inputs, e.properties, e.labels, e.priority, e.pool,
    e.batch_id, e.created_by, e.reason, e.body_digest,
    e.status, e.version, e.digest, e.sequence,
    e.attempt, e.losses, e.runner,
    e.created_at, e.queued_at, e.dispatched_at, e.started_at, e.ended_at, e.updated_at,
    e.abort_requested_by, e.abort_reason, e.abort_requested_at, e.abort_outcome,
    e.outputs, e.failure,
    -- Computed only where it is selected; the first 100, in order. All of them are in the journal.
    (
        SELECT '[' || coalesce(string_agg(w.warning, ',' ORDER BY w.sequence), '') || ']'
        FROM (
            SELECT warning, sequence FROM ledger.warnings
            WHERE execution_id = e.id ORDER BY sequence LIMIT 100
        ) AS w
    ) AS warnings,
    (extract(epoch FROM coalesce(e.started_at, e.ended_at) - e.created_at) * 1000)::bigint AS waiting_ms,
    (extract(epoch FROM e.ended_at - e.started_at) * 1000)::bigint AS execution_ms,
    (extract(epoch FROM e.ended_at - e.created_at) * 1000)::bigint AS total_ms,
    e.policy, e.not_before, e.timeout_at,
    e.linked_to, e.link,
    e.held_at, e.held_by, e.hold_reason,
    e.business_id,
    e.template, e.experiment, e.source,
    CASE
        WHEN e.source IS NOT NULL THEN split_part(e.source, '/', 1)
        WHEN e.batch_id IS NOT NULL THEN 'batch'
        ELSE 'caller'
    END AS trigger
FROM ledger.executions AS e;
COMMENT ON COLUMN ledger_v1.executions.held_at IS
    'Since when somebody (held_by, hold_reason) keeps it from being dispatched; null for all others.';
COMMENT ON COLUMN ledger_v1.executions.labels IS
    'Each "key=value", as they are now; labels @> ARRAY[''team=blue''] uses an index.';
COMMENT ON COLUMN ledger_v1.executions.business_id IS
    'Unique among the live executions of its pipeline, but for those that wait for the end of an earlier one. Indexed.';
COMMENT ON COLUMN ledger_v1.executions.twin IS 'The key of what it was about, which was registered then.';
COMMENT ON COLUMN ledger_v1.executions.template IS 'The key of the template that its twin was on.';
COMMENT ON COLUMN ledger_v1.executions.experiment IS 'The key of the experiment that it belongs to; mode experiment.';
COMMENT ON COLUMN ledger_v1.executions.source IS 'Which one asked for it: batch/<id> or job/<id>. Null: a caller, see created_by.';
COMMENT ON COLUMN ledger_v1.executions.trigger IS 'What asked for it: caller, batch or job.';

CREATE VIEW ledger_v1.entries AS
SELECT
    noun, key, version, digest, definition, registered_at, registered_by,
    version = max(version) OVER (PARTITION BY noun, key) AS newest
FROM ledger.entries;
COMMENT ON VIEW ledger_v1.entries IS
    'All versions of all templates, twins and experiments; WHERE newest AND digest IS NOT NULL for what is registered.';
COMMENT ON COLUMN ledger_v1.entries.digest IS 'Null where it was removed.';
COMMENT ON COLUMN ledger_v1.entries.definition IS 'JSON text: what PUT /v1/<noun>s/<key> took.';

CREATE VIEW ledger_v1.twins AS
SELECT
    key, version, registered_at, registered_by, definition,
    replace(definition, '\u0000', '\ufffd')::json ->> 'name' AS name,
    replace(definition, '\u0000', '\ufffd')::json ->> 'template' AS template,
    replace(definition, '\u0000', '\ufffd')::json ->> 'parent' AS parent
FROM ledger_v1.entries
WHERE noun = 'twin' AND newest AND digest IS NOT NULL;
COMMENT ON VIEW ledger_v1.twins IS 'The twins that are registered, as they are now.';
