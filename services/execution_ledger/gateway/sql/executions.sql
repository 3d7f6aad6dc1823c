-- What the gateway asks of executions. Only `ledger_v1` is named: everything else is the projector's own.

-- name: whole
-- One execution with everything, by its primary key.
SELECT * FROM ledger_v1.executions WHERE id = $1

-- name: id_of_number
-- Numbers are unique; a name is checked by the caller, because its prefix could be anything.
SELECT id, name FROM ledger_v1.executions WHERE number = $1

-- name: attempts
SELECT attempt, status, runner, cause, message, dispatched_at, started_at, ended_at
FROM ledger_v1.attempts WHERE execution_id = $1 ORDER BY attempt

-- name: of_batch
-- What the ledger no longer remembers of a batch that is repeated.
SELECT id, number, name, status FROM ledger_v1.executions WHERE batch_id = $1

-- name: page
-- Keyset pages, newest first. Payloads stay out: 500 of them could be 30 MB. The filters that a request names are
-- added as they are below, so that each combination is a statement of its own and gets the index that suits it.
SELECT id, number, name, pipeline, pipeline_version, twin, mode, labels, priority, pool, batch_id, created_by,
       status, attempt, runner, losses, created_at, queued_at, dispatched_at, started_at, ended_at, updated_at,
       waiting_ms, execution_ms, total_ms
FROM ledger_v1.executions
WHERE (created_at, id) < ($1, $2)
{filters}
ORDER BY created_at DESC, id DESC
LIMIT $3

-- name: filter_pipeline
AND pipeline = {value}

-- name: filter_mode
AND mode = {value}

-- name: filter_twin
AND twin = {value}

-- name: filter_batch
AND batch_id = {value}::uuid

-- name: filter_labels
AND labels @> {value}::text[]

-- name: filter_created_after
AND created_at >= {value}

-- name: filter_created_before
AND created_at < {value}

-- name: filter_status
AND status = ANY({value}::text[])

-- name: filter_live_status
-- Where only what has not ended is asked for, the narrow table of that is indexed by status.
AND id IN (SELECT id FROM ledger_v1.live_executions WHERE status = ANY({value}::text[]))
