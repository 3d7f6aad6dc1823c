-- What the gateway asks of executions whose logs are read.

-- name: spans
-- Each attempt, and the file that keeps its log: the last of that name, which the runner records at its end. An
-- execution without attempts has one row, without an attempt.
SELECT e.ended_at IS NOT NULL AS ended, a.attempt, a.dispatched_at, a.ended_at, kept.sha256
FROM ledger_v1.executions AS e
LEFT JOIN ledger_v1.attempts AS a ON a.execution_id = e.id
LEFT JOIN LATERAL (
    SELECT sha256 FROM ledger_v1.artifacts
    WHERE execution_id = e.id AND attempt = a.attempt AND kind = $2 AND media_type = $3
    ORDER BY sequence DESC LIMIT 1
) AS kept ON true
WHERE e.id = $1 ORDER BY a.attempt
