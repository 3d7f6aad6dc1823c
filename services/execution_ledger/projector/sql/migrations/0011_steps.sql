-- Steps: the parts of a pipeline, within each attempt. An execution of one function has none, and costs nothing here.

ALTER TABLE ledger.executions ADD COLUMN steps text;
COMMENT ON COLUMN ledger.executions.steps IS 'JSON text: {step: [those that it needs], …}, in order; null without steps.';

-- Only what events say of a step; the view below adds the rest.
CREATE TABLE ledger.steps (
    execution_id uuid    NOT NULL,
    attempt      integer NOT NULL,
    step         text    NOT NULL,
    status       text    NOT NULL,
    tries        integer NOT NULL,
    sequence     bigint  NOT NULL,
    started_at   timestamptz,
    ended_at     timestamptz,
    failure      text,
    reused       uuid,
    origin       text,
    PRIMARY KEY (execution_id, attempt, step)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- A step that no event speaks of is pending, and the end of its attempt closes what is open. So an end rewrites no
-- rows of steps, and an execution shows its steps before anything has run.
CREATE VIEW ledger_v1.steps AS
SELECT
    e.id AS execution_id, coalesce(a.attempt, 0) AS attempt, d.place::integer AS place, d.step, d.needs::text AS needs,
    CASE
        WHEN s.status IN ('completed', 'failed', 'skipped') THEN s.status
        WHEN coalesce(a.ended_at, e.ended_at) IS NULL THEN coalesce(s.status, 'pending')
        WHEN s.status IS NULL THEN 'skipped'
        WHEN a.status = 'aborted' THEN 'aborted'
        ELSE 'failed'
    END AS status,
    coalesce(s.tries, 0) AS tries, s.started_at,
    CASE WHEN s.status = 'started' THEN a.ended_at ELSE s.ended_at END AS ended_at,
    s.failure, s.reused, s.origin, s.sequence
FROM ledger.executions AS e
CROSS JOIN LATERAL json_each(e.steps::json) WITH ORDINALITY AS d (step, needs, place)
LEFT JOIN ledger.attempts AS a ON a.execution_id = e.id
LEFT JOIN ledger.steps AS s ON s.execution_id = e.id AND s.attempt = a.attempt AND s.step = d.step;
COMMENT ON VIEW ledger_v1.steps IS
    'The steps of each attempt, and before the first attempt those that there will be, as attempt 0. By execution_id.';
COMMENT ON COLUMN ledger_v1.steps.place IS 'From 1, in an order in which a step comes after those that it needs.';
COMMENT ON COLUMN ledger_v1.steps.needs IS 'JSON text: the names of the steps that must have completed before.';
COMMENT ON COLUMN ledger_v1.steps.status IS
    'pending, started, completed, failed, skipped (not begun, and never will be in this attempt), or aborted.';
COMMENT ON COLUMN ledger_v1.steps.tries IS 'How often it was begun in this attempt; 0 where its outputs were reused.';
COMMENT ON COLUMN ledger_v1.steps.failure IS
    'JSON text: {"kind", "message", "traceback"?}. Of a step that has completed: why the try before did not.';
COMMENT ON COLUMN ledger_v1.steps.reused IS 'It did not run: its outputs are those that it gave in this execution.';
COMMENT ON COLUMN ledger_v1.steps.origin IS
    'JSON text, of the code that ran: {"kind", "commit"?, "repository"?, "branch"?, "requirements"?}.';
COMMENT ON COLUMN ledger_v1.steps.sequence IS 'Of its newest event, in its shard; null while there is none.';
