-- What `exledger verify` reads of the views, shard by shard. Rows whose shard does not exist come with shard 0, so that
-- no row is left out; ids bear their shard in twelve bits. $1 is the shard, $2 the number of shards.

-- name: exists
-- False before a projector has ever run here.
SELECT to_regclass('ledger.positions') IS NOT NULL

-- name: position
SELECT next_offset, kafka_offset, sequence, digest, log_id, ownerepoch, recorded_at
FROM ledger.positions WHERE shard = $1

-- name: newest
-- The newest journal row, with the digest of its bytes.
SELECT sequence, encode(sha256(event), 'hex') AS digest
FROM ledger.journal WHERE shard = $1 ORDER BY sequence DESC LIMIT 1

-- name: journal
SELECT shard, sequence, kafka_offset, subject, version, type, recorded_at, event
FROM ledger.journal WHERE shard = $1 AND sequence BETWEEN $2 AND $3 ORDER BY sequence

-- name: executions
SELECT e.*
FROM ledger.executions AS e, LATERAL (SELECT ('x' || substr(e.id::text, 16, 3))::bit(12)::int AS shard) AS s
WHERE s.shard = $1 OR ($1 = 0 AND s.shard NOT BETWEEN 1 AND $2 - 1)

-- name: live_executions
SELECT e.*
FROM ledger.live_executions AS e, LATERAL (SELECT ('x' || substr(e.id::text, 16, 3))::bit(12)::int AS shard) AS s
WHERE s.shard = $1 OR ($1 = 0 AND s.shard NOT BETWEEN 1 AND $2 - 1)

-- name: attempts
SELECT a.*
FROM ledger.attempts AS a, LATERAL (SELECT ('x' || substr(a.execution_id::text, 16, 3))::bit(12)::int AS shard) AS s
WHERE s.shard = $1 OR ($1 = 0 AND s.shard NOT BETWEEN 1 AND $2 - 1)

-- name: steps
SELECT t.*
FROM ledger.steps AS t, LATERAL (SELECT ('x' || substr(t.execution_id::text, 16, 3))::bit(12)::int AS shard) AS s
WHERE s.shard = $1 OR ($1 = 0 AND s.shard NOT BETWEEN 1 AND $2 - 1)

-- name: warnings
SELECT w.*
FROM ledger.warnings AS w, LATERAL (SELECT ('x' || substr(w.execution_id::text, 16, 3))::bit(12)::int AS shard) AS s
WHERE s.shard = $1 OR ($1 = 0 AND s.shard NOT BETWEEN 1 AND $2 - 1)

-- name: artifacts
SELECT a.*
FROM ledger.artifacts AS a, LATERAL (SELECT ('x' || substr(a.execution_id::text, 16, 3))::bit(12)::int AS shard) AS s
WHERE s.shard = $1 OR ($1 = 0 AND s.shard NOT BETWEEN 1 AND $2 - 1)

-- name: metrics
SELECT m.*
FROM ledger.metrics AS m, LATERAL (SELECT ('x' || substr(m.execution_id::text, 16, 3))::bit(12)::int AS shard) AS s
WHERE s.shard = $1 OR ($1 = 0 AND s.shard NOT BETWEEN 1 AND $2 - 1)

-- name: checkpoints
SELECT c.*
FROM ledger.checkpoints AS c, LATERAL (SELECT ('x' || substr(c.execution_id::text, 16, 3))::bit(12)::int AS shard) AS s
WHERE s.shard = $1 OR ($1 = 0 AND s.shard NOT BETWEEN 1 AND $2 - 1)

-- name: pipelines
-- All of them belong to shard 0.
SELECT * FROM ledger.pipelines WHERE $1 = 0 AND $2::int > 0

-- name: entries
-- So do these.
SELECT * FROM ledger.entries WHERE $1 = 0 AND $2::int > 0

-- name: batches
SELECT * FROM ledger.batches WHERE shard = $1 OR ($1 = 0 AND shard NOT BETWEEN 1 AND $2 - 1)

-- name: jobs
SELECT * FROM ledger.jobs WHERE shard = $1 OR ($1 = 0 AND shard NOT BETWEEN 1 AND $2 - 1)

-- name: commands
SELECT * FROM ledger.commands WHERE shard = $1 OR ($1 = 0 AND shard NOT BETWEEN 1 AND $2 - 1)
