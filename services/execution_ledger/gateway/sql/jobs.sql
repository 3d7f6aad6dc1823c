-- What the gateway asks of jobs, and of executions for them.

-- name: targets
-- The oldest first, as they were asked for; labels are read where they are to change.
SELECT id, name, pipeline, status, labels FROM ledger_v1.executions AS execution
WHERE true
{filters}
ORDER BY created_at, id
LIMIT $1

-- name: named
-- Those that a caller names, by id or number.
SELECT id, number, name, pipeline, status, labels FROM ledger_v1.executions
WHERE id = ANY($1::uuid[]) OR number = ANY($2::bigint[])

-- name: first_events
SELECT e.id, e.name, e.status, e.ended_at, j.event
FROM ledger_v1.executions AS e
CROSS JOIN LATERAL (
    SELECT event FROM ledger_v1.journal WHERE subject = e.id::text AND version = 1 ORDER BY sequence LIMIT 1
) AS j
WHERE e.id = ANY($1::uuid[])

-- name: event
SELECT journal.event FROM ledger_v1.jobs AS job
JOIN ledger_v1.journal AS journal USING (shard, sequence)
WHERE job.id = $1

-- name: asked
SELECT command_id FROM ledger_v1.commands WHERE job_id = $1

-- name: outcomes
-- How many of a shard were done (no refusal), or refused as what.
SELECT shard, refusal, count(*) AS count, max(recorded_at) AS last_at
FROM ledger_v1.commands WHERE job_id = $1 GROUP BY shard, refusal

-- name: refusals
-- Their events have the words.
SELECT command.command_id, command.refusal, journal.event
FROM ledger_v1.commands AS command
JOIN ledger_v1.journal AS journal USING (shard, sequence)
WHERE command.job_id = $1 AND command.refusal IS NOT NULL ORDER BY shard, sequence LIMIT $2

-- name: job
SELECT * FROM ledger_v1.jobs WHERE id = $1

-- name: page
-- The newest first: ids begin with the time.
SELECT job.*, outcome.done, outcome.refused, outcome.last_at
FROM ledger_v1.jobs AS job
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE refusal IS NULL) AS done, count(refusal) AS refused, max(recorded_at) AS last_at
    FROM ledger_v1.commands WHERE job_id = job.id
) AS outcome
WHERE $2::uuid IS NULL OR job.id < $2
ORDER BY job.id DESC LIMIT $1

-- name: open
-- Of the last day: what is older waits until somebody asks for it.
SELECT job.id FROM ledger_v1.jobs AS job
WHERE job.opened_at > now() - interval '1 day'
  AND job.count > (SELECT count(*) FROM ledger_v1.commands WHERE job_id = job.id)
ORDER BY job.id LIMIT $1
