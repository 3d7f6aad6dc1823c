-- What the runner of migrations says to Postgres.

-- name: prepare
-- The one thing that is not itself a migration.
CREATE SCHEMA IF NOT EXISTS ledger;
CREATE TABLE IF NOT EXISTS ledger.migrations (
    name       text        PRIMARY KEY,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- name: applied
-- sha256 by name.
SELECT name, sha256 FROM ledger.migrations

-- name: remember
-- In the migration's own transaction.
INSERT INTO ledger.migrations (name, sha256) VALUES ($1, $2)
