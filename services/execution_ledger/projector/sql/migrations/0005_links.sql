-- Links: which execution, or batch, a retry or rerun was made from. Rows that are there already have none.

ALTER TABLE ledger.executions
    ADD COLUMN linked_to uuid,
    ADD COLUMN link      text;
ALTER TABLE ledger.batches
    ADD COLUMN linked_to uuid,
    ADD COLUMN link      text;
-- Never changes, and few rows have one: so it costs nothing where nothing is done again.
CREATE INDEX executions_by_link ON ledger.executions (linked_to, created_at, id) WHERE linked_to IS NOT NULL;

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
    e.linked_to, e.link
FROM ledger.executions AS e;
COMMENT ON COLUMN ledger_v1.executions.linked_to IS 'The ended execution that this one was made from. Indexed.';
COMMENT ON COLUMN ledger_v1.executions.link IS 'retry (all the same) or rerun (with changes) of linked_to; else null.';

CREATE OR REPLACE VIEW ledger_v1.batches AS
SELECT id, shard, sequence, count, opened_at, actor, body_digest, linked_to, link
FROM ledger.batches;
COMMENT ON COLUMN ledger_v1.batches.linked_to IS 'The batch whose executions it retries.';
