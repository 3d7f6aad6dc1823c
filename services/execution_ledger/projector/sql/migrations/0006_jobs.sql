-- Jobs, and what they may ask for: holds are columns of executions; labels change where they are.

ALTER TABLE ledger.executions
    ADD COLUMN held_at     timestamptz,
    ADD COLUMN held_by     text,
    ADD COLUMN hold_reason text;

CREATE TABLE ledger.jobs (
    id             uuid        PRIMARY KEY,
    shard          integer     NOT NULL,
    sequence       bigint      NOT NULL,
    action         text        NOT NULL,
    count          integer     NOT NULL,
    shards         text        NOT NULL,
    targets_digest text        NOT NULL,
    arguments      text,
    opened_at      timestamptz NOT NULL,
    actor          text,
    reason         text,
    body_digest    text
);

-- What a job has come to is what became of its commands. What is there already was refused before there were jobs.
ALTER TABLE ledger.commands
    ADD COLUMN job_id  uuid,
    ADD COLUMN refusal text;
UPDATE ledger.commands AS c
SET refusal = CASE c.type
    WHEN 'command.failed.v1' THEN 'internal'
    ELSE replace(convert_from(j.event, 'UTF8'), '\u0000', '\ufffd')::json #>> '{data,refusal,code}'
END
FROM ledger.journal AS j
WHERE j.shard = c.shard AND j.sequence = c.sequence AND c.type IN ('command.rejected.v1', 'command.failed.v1');
-- Few commands have one, so it costs nothing where there are no jobs.
CREATE INDEX commands_by_job ON ledger.commands (job_id) WHERE job_id IS NOT NULL;

CREATE OR REPLACE VIEW ledger_v1.executions AS
SELECT
    e.id, e.shard, e.number, e.name,
    e.pipeline, e.pipeline_version, e.pipeline_digest,
    e.twin, e.mode, e.options, e.inputs, e.properties, e.labels, e.priority, e.pool,
    e.batch_id, e.created_by, e.reason, e.body_digest,
    e.status, e.version, e.digest, e.sequence,
    e.attempt, e.losses, e.runner,
    e.created_at, e.queued_at, e.dispatched_at, e.started_at, e.ended_at, e.updated_at,
    e.abort_requested_by, e.abort_reason, e.abort_requested_at, e.abort_outcome,
    e.outputs, e.failure,
    -- Computed only where it is selected; the first 100, in order. All of them are in the journal.
    (
        SELECT '[' || coalesce(string_agg(w.warning, ',' ORDER BY w.sequence), '') || ']'
        FROM (
            SELECT warning, sequence FROM ledger.warnings
            WHERE execution_id = e.id ORDER BY sequence LIMIT 100
        ) AS w
    ) AS warnings,
    (extract(epoch FROM coalesce(e.started_at, e.ended_at) - e.created_at) * 1000)::bigint AS waiting_ms,
    (extract(epoch FROM e.ended_at - e.started_at) * 1000)::bigint AS execution_ms,
    (extract(epoch FROM e.ended_at - e.created_at) * 1000)::bigint AS total_ms,
    e.policy, e.not_before, e.timeout_at,
    e.linked_to, e.link,
    e.held_at, e.held_by, e.hold_reason
FROM ledger.executions AS e;
COMMENT ON COLUMN ledger_v1.executions.held_at IS
    'Since when somebody (held_by, hold_reason) keeps it from being dispatched; null for all others.';
COMMENT ON COLUMN ledger_v1.executions.labels IS
    'Each "key=value", as they are now; labels @> ARRAY[''team=blue''] uses an index.';

CREATE VIEW ledger_v1.jobs AS
SELECT id, shard, sequence, action, count, shards, targets_digest, arguments, opened_at, actor, reason, body_digest
FROM ledger.jobs;
COMMENT ON VIEW ledger_v1.jobs IS
    'The same action on many executions. What came of each: commands with this job_id. Its targets: its event.';
COMMENT ON COLUMN ledger_v1.jobs.shards IS 'JSON text: how many of its targets live on each shard.';
COMMENT ON COLUMN ledger_v1.jobs.targets_digest IS 'sha256 of the ids that it acts on, in their order, as JSON.';

CREATE OR REPLACE VIEW ledger_v1.commands AS
SELECT command_id, shard, sequence, type, subject, recorded_at, job_id, refusal
FROM ledger.commands;
COMMENT ON COLUMN ledger_v1.commands.job_id IS 'The job that sent it. Indexed.';
COMMENT ON COLUMN ledger_v1.commands.refusal IS 'The code of its refusal; null where it was done.';
