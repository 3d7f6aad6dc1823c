-- Attempts say where the code that they ran came from. Rows that are there already do not know it.

ALTER TABLE ledger.attempts ADD COLUMN origin text;

CREATE OR REPLACE VIEW ledger_v1.attempts AS
SELECT execution_id, attempt, status, runner, cause, dispatched_at, started_at, ended_at, message, origin
FROM ledger.attempts;
COMMENT ON COLUMN ledger_v1.attempts.origin IS
    'JSON text, of the code of a pipeline of one function: {"kind", "commit"?, "repository"?, "branch"?, '
    '"requirements"?}. Null where it has steps: each of them has its own.';
