-- What the gateway asks of executions. Only `ledger_v1` is named: everything else is the projector's own.

-- name: whole
-- One execution with everything, by its primary key; what was made from it lives on its shard, so this position has
-- that, too. The first 100 of those, oldest first. Of steps the newest 1,000: ten attempts of the largest pipeline.
SELECT
    e.*,
    CASE
        WHEN e.status = 'failed' THEN left(replace(e.failure, '\u0000', '\ufffd')::json ->> 'message', 300)
        WHEN e.status IN ('abort_requested', 'aborted') THEN left(e.abort_reason, 300)
    END AS why,
    (
        SELECT coalesce(json_agg(made), '[]')
        FROM (
            SELECT id, name, link, status, created_at FROM ledger_v1.executions
            WHERE linked_to = e.id ORDER BY created_at, id LIMIT 100
        ) AS made
    ) AS linked,
    (
        SELECT coalesce(json_agg(made ORDER BY made.sequence), '[]')
        FROM (
            SELECT sequence, attempt, kind, name, step, sha256, size, media_type, recorded_at
            FROM ledger_v1.artifacts WHERE execution_id = e.id ORDER BY sequence LIMIT 100
        ) AS made
    ) AS artifacts,
    (
        SELECT row_to_json(newest)
        FROM (
            SELECT attempt, size, recorded_at AS time FROM ledger_v1.checkpoints
            WHERE execution_id = e.id ORDER BY sequence DESC LIMIT 1
        ) AS newest
    ) AS checkpoint,
    (
        SELECT coalesce(json_agg(step ORDER BY attempt, place), '[]')
        FROM (
            SELECT attempt, place, step AS name, status, needs::json, tries, started_at, ended_at, failure::json,
                   reused, origin::json
            FROM ledger_v1.steps WHERE execution_id = e.id ORDER BY attempt DESC, place LIMIT 1000
        ) AS step
    ) AS steps
FROM ledger_v1.executions AS e WHERE e.id = $1

-- name: id_of_number
-- Numbers are unique; a name is checked by the caller, because its prefix could be anything.
SELECT id, name FROM ledger_v1.executions WHERE number = $1

-- name: attempts
SELECT attempt, status, runner, cause, message, queued_at, dispatched_at, started_at, ended_at,
       waiting_ms, execution_ms, total_ms, origin
FROM ledger_v1.attempts WHERE execution_id = $1 ORDER BY attempt

-- name: completed_steps
-- In their order, as many as a pipeline may have. The events themselves, for payloads are in no column.
SELECT j.event
FROM ledger_v1.executions AS e
JOIN ledger_v1.steps AS s ON s.execution_id = e.id AND s.attempt = e.attempt AND s.status = 'completed'
JOIN ledger_v1.journal AS j ON j.shard = e.shard AND j.sequence = s.sequence
WHERE e.id = $1 ORDER BY s.place

-- name: of_batch
-- What the ledger no longer remembers of a batch that is repeated.
SELECT id, number, name, status FROM ledger_v1.executions WHERE batch_id = $1

-- name: first_event
-- Everything that it was asked for, as it was written down. Of a long life only the beginning is read.
SELECT e.id, e.name, e.status, e.ended_at, j.event
FROM ledger_v1.executions AS e
CROSS JOIN LATERAL (
    SELECT event FROM ledger_v1.journal WHERE subject = e.id::text AND version = 1 ORDER BY sequence LIMIT 1
) AS j
WHERE e.id = $1

-- name: batch
SELECT
    b.count, count(e.id) AS made, count(l.id) AS live,
    count(*) FILTER (WHERE e.status = 'failed') AS failed, count(*) FILTER (WHERE e.status = 'aborted') AS aborted
FROM ledger_v1.batches AS b
LEFT JOIN ledger_v1.executions AS e ON e.batch_id = b.id
LEFT JOIN ledger_v1.live_executions AS l ON l.id = e.id
WHERE b.id = $1 GROUP BY b.count

-- name: refused_of_batch
-- By the ids of its commands. A refusal for the gateway's clock is not the last word, nor one of what was there already.
SELECT count(*) AS count FROM ledger_v1.commands AS command
WHERE command_id = ANY($1::text[]) AND refusal <> 'id_from_future'
  AND NOT EXISTS (SELECT FROM ledger_v1.executions AS e WHERE e.id = command.subject::uuid)

-- name: first_events_of_batch
-- As many as a batch may have.
SELECT e.id, e.name, e.status, e.ended_at, j.event
FROM ledger_v1.executions AS e
CROSS JOIN LATERAL (
    SELECT event FROM ledger_v1.journal WHERE subject = e.id::text AND version = 1 ORDER BY sequence LIMIT 1
) AS j
WHERE e.batch_id = $1 AND e.status = ANY($2::text[])
