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
