-- Attempts say where the code that they ran came from, and how long they waited and ran; executions, how long all of
-- them did, and how long their aborts took. Rows that are there already do not know where their code came from.

ALTER TABLE ledger.attempts ADD COLUMN origin text;

CREATE OR REPLACE VIEW ledger_v1.attempts AS
SELECT
    a.execution_id, a.attempt, a.status, a.runner, a.cause, a.dispatched_at, a.started_at, a.ended_at, a.message,
    a.origin, q.queued_at,
    (extract(epoch FROM coalesce(a.started_at, a.ended_at) - q.queued_at) * 1000)::bigint AS waiting_ms,
    (extract(epoch FROM a.ended_at - a.started_at) * 1000)::bigint AS execution_ms,
    (extract(epoch FROM a.ended_at - q.queued_at) * 1000)::bigint AS total_ms
FROM ledger.attempts AS a
LEFT JOIN ledger.executions AS e ON e.id = a.execution_id
LEFT JOIN ledger.attempts AS earlier ON earlier.execution_id = a.execution_id AND earlier.attempt = a.attempt - 1
CROSS JOIN LATERAL (SELECT coalesce(earlier.ended_at, e.created_at) AS queued_at) AS q;
COMMENT ON COLUMN ledger_v1.attempts.origin IS
    'JSON text, of the code of a pipeline of one function: {"kind", "commit"?, "repository"?, "branch"?, '
    '"requirements"?}. Null where it has steps: each of them has its own.';
COMMENT ON COLUMN ledger_v1.attempts.queued_at IS
    'When its turn began: with the execution, or at the end of the attempt before.';
COMMENT ON COLUMN ledger_v1.attempts.waiting_ms IS
    'From queued_at to started, or to its end when it never started; pauses before a retry and holds are in it.';
COMMENT ON COLUMN ledger_v1.attempts.execution_ms IS 'From started to ended.';
COMMENT ON COLUMN ledger_v1.attempts.total_ms IS 'From queued_at to ended.';

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
    END AS trigger,
    -- These two, too, are computed only where they are selected: lists do without.
    (extract(epoch FROM coalesce(e.started_at, e.ended_at) - e.created_at - coalesce((
        SELECT sum(a.ended_at - a.started_at) FROM ledger.attempts AS a
        WHERE a.execution_id = e.id AND a.status = 'requeued'
    ), interval '0')) * 1000)::bigint AS all_waiting_ms,
    (extract(epoch FROM (
        SELECT sum(a.ended_at - a.started_at) FROM ledger.attempts AS a WHERE a.execution_id = e.id
    )) * 1000)::bigint AS all_execution_ms,
    (extract(epoch FROM e.ended_at - e.abort_requested_at) * 1000)::bigint AS abort_ms
FROM ledger.executions AS e;
COMMENT ON COLUMN ledger_v1.executions.abort_ms IS 'From the request of its abort to its end.';
COMMENT ON COLUMN ledger_v1.executions.execution_ms IS 'From started to ended, of the newest attempt.';
COMMENT ON COLUMN ledger_v1.executions.all_waiting_ms IS
    'As waiting_ms, without the time in which earlier attempts ran: the waiting of all attempts together. Once it has '
    'ended, all_waiting_ms and all_execution_ms add up to total_ms.';
COMMENT ON COLUMN ledger_v1.executions.all_execution_ms IS
    'From started to ended, of all attempts together that have ended; null before the first.';
