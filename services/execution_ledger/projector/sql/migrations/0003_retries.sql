-- Retries and deadlines: what an execution's policy is, when it is tried again, and why each attempt ended.
--
-- Rows that are there already get what the log says of them, so that they are what a rebuild would make.

ALTER TABLE ledger.executions
    ADD COLUMN policy     text,
    ADD COLUMN not_before timestamptz,
    ADD COLUMN timeout_at timestamptz;
ALTER TABLE ledger.attempts ADD COLUMN message text;

-- As json and not jsonb: its text stays as it is written, and \u0000 in other fields does no harm.
UPDATE ledger.executions AS e
SET policy = (convert_from(j.event, 'UTF8')::json #> '{data,policy}')::text
FROM ledger.journal AS j
WHERE j.subject = e.id::text AND j.version = 1;
ALTER TABLE ledger.executions ALTER COLUMN policy SET NOT NULL;

UPDATE ledger.attempts AS a
SET message = replace(e.failure, '\u0000', '\ufffd')::json ->> 'message'
FROM ledger.executions AS e
WHERE e.id = a.execution_id AND a.status = 'failed' AND a.attempt = e.attempt;

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
    e.policy, e.not_before, e.timeout_at
FROM ledger.executions AS e;
COMMENT ON COLUMN ledger_v1.executions.policy IS
    'JSON text: {"delivery", "losses_max", "retries", "timeout_ms"?, "queue_ttl_ms"?, "abort_grace_ms", …}.';
COMMENT ON COLUMN ledger_v1.executions.not_before IS
    'Of the newest retry: it is not dispatched before. Null where it may be at once.';
COMMENT ON COLUMN ledger_v1.executions.timeout_at IS
    'Of the newest attempt: by when it must have ended. Null while it waits to be dispatched, and without a timeout.';
COMMENT ON COLUMN ledger_v1.executions.abort_outcome IS
    'never_started, not_running (between two attempts), acknowledged, forced, lost, self; too_late when it had ended '
    'by itself.';

CREATE OR REPLACE VIEW ledger_v1.attempts AS
SELECT execution_id, attempt, status, runner, cause, dispatched_at, started_at, ended_at, message
FROM ledger.attempts;
COMMENT ON COLUMN ledger_v1.attempts.cause IS
    'Why it did not complete: released, lost, timeout, infrastructure, failed (and tried again), the kind of the '
    'failure that ended the execution, or the outcome of its abort.';
COMMENT ON COLUMN ledger_v1.attempts.message IS 'What its failure says; the whole failure is in the journal.';
