-- Business ids. Rows that are there already have none.

ALTER TABLE ledger.executions ADD COLUMN business_id text;
-- Never changes, and where nobody uses it, it costs nothing.
CREATE INDEX executions_by_business_id ON ledger.executions (business_id, created_at, id)
    WHERE business_id IS NOT NULL;

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
    e.business_id
FROM ledger.executions AS e;
COMMENT ON COLUMN ledger_v1.executions.business_id IS
    'Unique among the live executions of its pipeline, but for those that wait for the end of an earlier one. Indexed.';
