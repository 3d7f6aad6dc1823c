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
