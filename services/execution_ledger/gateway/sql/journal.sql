-- What the gateway asks of the journal, of commands and of how far the views have come.

-- name: positions
SELECT shard, sequence, recorded_at FROM ledger_v1.positions

-- name: of_shard
-- Where the ring no longer reaches back, a follower reads here.
SELECT shard, sequence, type, subject, event FROM ledger_v1.journal
WHERE shard = $1 AND sequence > $2 ORDER BY sequence LIMIT $3

-- name: of_subject
-- One execution's history, with the refusals between; its subject lives on one shard, so sequence is its order.
SELECT shard, sequence, type, subject, event FROM ledger_v1.journal
WHERE subject = $1 AND sequence > $2 ORDER BY sequence LIMIT $3

-- name: of_command
-- The first trace of a command, as the event that it is.
SELECT journal.event FROM ledger_v1.commands AS command
JOIN ledger_v1.journal AS journal USING (shard, sequence)
WHERE command.command_id = $1 ORDER BY command.recorded_at LIMIT 1
