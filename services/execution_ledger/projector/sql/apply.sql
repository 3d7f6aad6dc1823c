-- What the projector says to Postgres. Rows that are new go in by COPY and are not here.

-- name: position
-- The stored position, and whether the newest journal row is the very event that it speaks of.
SELECT p.next_offset, p.kafka_offset, p.sequence, p.digest, p.log_id, p.ownerepoch, p.recorded_at,
       (j.sequence, encode(sha256(j.event), 'hex')) IS NOT DISTINCT FROM (p.sequence, p.digest) AS agrees
FROM ledger.positions AS p
LEFT JOIN LATERAL (
    SELECT sequence, event FROM ledger.journal WHERE shard = p.shard ORDER BY sequence DESC LIMIT 1
) AS j ON true
WHERE p.shard = $1

-- name: first_position
-- The compare-and-set of a shard that was never projected: no row comes back where another projector was first.
WITH moved AS (
    INSERT INTO ledger.positions
        (shard, next_offset, kafka_offset, sequence, digest, log_id, ownerepoch, recorded_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())
    ON CONFLICT DO NOTHING
    RETURNING shard, sequence
)
SELECT pg_notify('ledger_positions', shard || ':' || sequence) FROM moved

-- name: move_position
-- The compare-and-set, and the first statement of every batch: its row lock makes a second projector wait here, and
-- then find nothing to move. The notification is sent by the commit.
WITH moved AS (
    UPDATE ledger.positions
    SET next_offset = $2, kafka_offset = $3, sequence = $4, digest = $5, log_id = $6, ownerepoch = $7,
        recorded_at = $8, updated_at = clock_timestamp()
    WHERE shard = $1 AND next_offset = $9 AND sequence = $10 AND digest = $11
    RETURNING shard, sequence
)
SELECT pg_notify('ledger_positions', shard || ':' || sequence) FROM moved

-- name: patch_executions
-- Executions of earlier batches: null leaves a column as it is. Counts the rows that it found, because version and
-- digest must continue the chain that is stored. In one statement with the live rows to save a round trip.
WITH patch AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::text[], $4::int[], $5::text[], $6::bigint[], $7::timestamptz[], $8::text[],
        $9::int[], $10::int[], $11::boolean[], $12::text[], $13::timestamptz[], $14::timestamptz[],
        $15::timestamptz[], $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::text[], $20::text[],
        $21::timestamptz[], $22::text[], $23::text[], $24::text[], $25::boolean[], $26::timestamptz[], $27::text[],
        $28::text[]
    ) AS p (
        id, known_version, known_digest, version, digest, sequence, updated_at, status,
        attempt, losses, restarted, runner, queued_at, dispatched_at,
        started_at, not_before, timeout_at, ended_at, abort_requested_by, abort_reason, abort_requested_at, abort_outcome,
        outputs, failure, holding, held_at, held_by, hold_reason
    )
), patched AS (
    UPDATE ledger.executions AS e
    SET version = p.version, digest = p.digest, sequence = p.sequence, updated_at = p.updated_at,
        -- a start that comes after a request to abort does not take the request back
        status = CASE WHEN e.status = 'abort_requested' AND p.status = 'started' THEN e.status
                      ELSE coalesce(p.status, e.status) END,
        attempt = coalesce(p.attempt, e.attempt),
        losses = e.losses + p.losses,
        -- back in the queue: what belonged to the attempt before is no longer true
        runner = CASE WHEN p.restarted THEN p.runner ELSE coalesce(p.runner, e.runner) END,
        dispatched_at = CASE WHEN p.restarted THEN p.dispatched_at ELSE coalesce(p.dispatched_at, e.dispatched_at) END,
        started_at = CASE WHEN p.restarted THEN p.started_at ELSE coalesce(p.started_at, e.started_at) END,
        not_before = CASE WHEN p.restarted THEN p.not_before ELSE coalesce(p.not_before, e.not_before) END,
        timeout_at = CASE WHEN p.restarted THEN p.timeout_at ELSE coalesce(p.timeout_at, e.timeout_at) END,
        queued_at = coalesce(p.queued_at, e.queued_at),
        ended_at = coalesce(p.ended_at, e.ended_at),
        -- the first who asked for the abort stays the one who asked
        abort_requested_by = CASE WHEN e.abort_requested_at IS NULL THEN p.abort_requested_by
                                  ELSE e.abort_requested_by END,
        abort_reason = CASE WHEN e.abort_requested_at IS NULL THEN p.abort_reason ELSE e.abort_reason END,
        abort_requested_at = coalesce(e.abort_requested_at, p.abort_requested_at),
        abort_outcome = coalesce(p.abort_outcome, e.abort_outcome),
        outputs = coalesce(p.outputs, e.outputs),
        failure = coalesce(p.failure, e.failure),
        held_at = CASE WHEN p.holding IS NULL THEN e.held_at ELSE p.held_at END,
        held_by = CASE WHEN p.holding IS NULL THEN e.held_by ELSE p.held_by END,
        hold_reason = CASE WHEN p.holding IS NULL THEN e.hold_reason ELSE p.hold_reason END
    FROM patch AS p
    WHERE e.id = p.id AND e.version = p.known_version AND e.digest = p.known_digest
    RETURNING e.id, e.status, e.attempt, e.runner, e.queued_at, e.ended_at
), ended AS (
    DELETE FROM ledger.live_executions AS l USING patched AS p
    WHERE l.id = p.id AND p.ended_at IS NOT NULL
), moved AS (
    UPDATE ledger.live_executions AS l
    SET status = p.status, attempt = p.attempt, runner = p.runner, queued_at = p.queued_at
    FROM patched AS p
    WHERE l.id = p.id AND p.ended_at IS NULL
)
SELECT count(*) FROM patched

-- name: put_attempts
-- An attempt may begin in one batch and end in another: null leaves a column as it is.
INSERT INTO ledger.attempts AS a
    (execution_id, attempt, status, runner, cause, message, dispatched_at, started_at, ended_at, origin)
SELECT * FROM unnest(
    $1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
    $9::timestamptz[], $10::text[]
)
ON CONFLICT (execution_id, attempt) DO UPDATE
SET status = excluded.status,
    runner = coalesce(excluded.runner, a.runner),
    cause = coalesce(excluded.cause, a.cause),
    message = coalesce(excluded.message, a.message),
    dispatched_at = coalesce(excluded.dispatched_at, a.dispatched_at),
    started_at = coalesce(excluded.started_at, a.started_at),
    ended_at = coalesce(excluded.ended_at, a.ended_at),
    origin = coalesce(excluded.origin, a.origin)

-- name: put_labels
-- In the order in which events write them: of the characters themselves, in no language.
WITH change AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) AS c (id, key, label)
)
UPDATE ledger.executions AS e
SET labels = ARRAY(
    SELECT kept.label FROM (
        SELECT l.label FROM unnest(e.labels) AS l (label)
        WHERE split_part(l.label, '=', 1) NOT IN (SELECT key FROM change WHERE change.id = e.id)
        UNION ALL
        SELECT change.label FROM change WHERE change.id = e.id AND change.label IS NOT NULL
    ) AS kept
    ORDER BY kept.label COLLATE "C"
)
WHERE e.id IN (SELECT id FROM change)

-- name: put_steps
-- As an attempt, a step may begin in one batch and end in another.
INSERT INTO ledger.steps AS s
    (execution_id, attempt, step, status, tries, sequence, started_at, ended_at, failure, reused, origin)
SELECT * FROM unnest(
    $1::uuid[], $2::int[], $3::text[], $4::text[], $5::int[], $6::bigint[], $7::timestamptz[], $8::timestamptz[],
    $9::text[], $10::uuid[], $11::text[]
)
ON CONFLICT (execution_id, attempt, step) DO UPDATE
SET status = excluded.status,
    tries = excluded.tries,
    sequence = excluded.sequence,
    started_at = coalesce(excluded.started_at, s.started_at),
    ended_at = coalesce(excluded.ended_at, s.ended_at),
    failure = coalesce(excluded.failure, s.failure),
    reused = coalesce(excluded.reused, s.reused),
    origin = coalesce(excluded.origin, s.origin)

-- name: put_commands
-- The first trace of a command stays; a second event of it, or a repeat of it, changes nothing.
INSERT INTO ledger.commands (command_id, shard, sequence, type, subject, recorded_at, job_id, refusal)
SELECT * FROM unnest(
    $1::text[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::uuid[], $8::text[]
)
ON CONFLICT DO NOTHING
