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

-- name: strays
-- What no event can have made: a journal before the first sequence, journals and positions of shards that do not exist.
SELECT 'journal' AS name, shard, sequence FROM ledger.journal
WHERE (shard = $1 AND sequence < 1) OR ($1 = 0 AND (shard < 0 OR shard >= $2))
UNION ALL
SELECT 'positions', shard, sequence FROM ledger.positions WHERE $1 = 0 AND (shard < 0 OR shard >= $2)
ORDER BY 1, 2, 3

-- The rows of a table, by what says where they live. {table} and {id} are names out of `rows.TABLES`.

-- name: of_executions
SELECT found.*
FROM ledger.{table} AS found, LATERAL (SELECT ('x' || substr(found.{id}::text, 16, 3))::bit(12)::int AS shard) AS s
WHERE s.shard = $1 OR ($1 = 0 AND s.shard NOT BETWEEN 1 AND $2 - 1)

-- name: of_the_shard
SELECT * FROM ledger.{table} WHERE shard = $1 OR ($1 = 0 AND shard NOT BETWEEN 1 AND $2 - 1)

-- name: of_the_catalog
-- All of them belong to shard 0.
SELECT * FROM ledger.{table} WHERE $1 = 0 AND $2::int > 0
