-- The ledger's own tables. Nothing outside the projector may name them: `ledger_v1` is what others read.
--
-- Rules that hold for all of them:
--   * Every time is the ledger's recordedtime, never a reporter's clock.
--   * What users wrote is text, never jsonb: jsonb refuses \u0000 and reorders keys.
--   * Every row can be made again from the log.

-- The events' own bytes, exactly as Kafka holds them.
CREATE TABLE ledger.journal (
    shard        integer     NOT NULL,
    sequence     bigint      NOT NULL,
    kafka_offset bigint      NOT NULL,
    subject      text        NOT NULL,
    version      integer,
    type         text        NOT NULL,
    recorded_at  timestamptz NOT NULL,
    event        bytea       NOT NULL,
    PRIMARY KEY (shard, sequence)
);
-- A subject lives on one shard, so its sequence orders its versions as well as the refusals between them.
CREATE INDEX journal_by_subject ON ledger.journal (subject, sequence);
CREATE INDEX journal_by_time ON ledger.journal USING brin (recorded_at);

-- One row per execution. No column that changes after the insert may be indexed: then every update stays within its
-- page (a HOT update, for which the fillfactor leaves room). What is looked for by status is in live_executions.
CREATE TABLE ledger.executions (
    id                 uuid        PRIMARY KEY,
    shard              integer     NOT NULL,
    number             bigint      NOT NULL UNIQUE,
    name               text        NOT NULL,
    pipeline           text        NOT NULL,
    pipeline_version   integer     NOT NULL,
    pipeline_digest    text        NOT NULL,
    twin               text,
    mode               text        NOT NULL,
    options            text        NOT NULL,
    inputs             text,
    properties         text,
    labels             text[]      NOT NULL,
    priority           integer     NOT NULL,
    pool               text        NOT NULL,
    batch_id           uuid,
    created_by         text,
    reason             text,
    body_digest        text,
    created_at         timestamptz NOT NULL,
    -- from here on: what changes
    version            integer     NOT NULL,
    digest             text        NOT NULL,
    sequence           bigint      NOT NULL,
    updated_at         timestamptz NOT NULL,
    status             text        NOT NULL,
    attempt            integer     NOT NULL,
    losses             integer     NOT NULL,
    runner             text,
    queued_at          timestamptz NOT NULL,
    dispatched_at      timestamptz,
    started_at         timestamptz,
    ended_at           timestamptz,
    abort_requested_by text,
    abort_reason       text,
    abort_requested_at timestamptz,
    abort_outcome      text,
    outputs            text,
    failure            text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- Keyset pages, newest first: (created_at, id) < (…, …), read backwards.
CREATE INDEX executions_by_age ON ledger.executions (created_at, id);
CREATE INDEX executions_by_pipeline ON ledger.executions (pipeline, created_at, id);
CREATE INDEX executions_by_twin ON ledger.executions (twin, created_at, id) WHERE twin IS NOT NULL;
CREATE INDEX executions_by_batch ON ledger.executions (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX executions_by_label ON ledger.executions USING gin (labels);

-- Only what has not ended, and narrow: here the status may be indexed.
CREATE TABLE ledger.live_executions (
    id         uuid        PRIMARY KEY,
    shard      integer     NOT NULL,
    number     bigint      NOT NULL,
    name       text        NOT NULL,
    pipeline   text        NOT NULL,
    twin       text,
    pool       text        NOT NULL,
    priority   integer     NOT NULL,
    created_at timestamptz NOT NULL,
    status     text        NOT NULL,
    attempt    integer     NOT NULL,
    runner     text,
    queued_at  timestamptz NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX live_executions_by_status ON ledger.live_executions (status, created_at, id);

CREATE TABLE ledger.attempts (
    execution_id  uuid    NOT NULL,
    attempt       integer NOT NULL,
    status        text    NOT NULL,
    runner        text,
    cause         text,
    dispatched_at timestamptz,
    started_at    timestamptz,
    ended_at      timestamptz,
    PRIMARY KEY (execution_id, attempt)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Rows of their own, so that a warning never rewrites what is already there.
CREATE TABLE ledger.warnings (
    execution_id uuid   NOT NULL,
    sequence     bigint NOT NULL,
    warning      text   NOT NULL,
    PRIMARY KEY (execution_id, sequence)
);

CREATE TABLE ledger.pipelines (
    name          text        NOT NULL,
    version       integer     NOT NULL,
    digest        text        NOT NULL,
    definition    text,
    registered_at timestamptz NOT NULL,
    registered_by text,
    PRIMARY KEY (name, version)
);

CREATE TABLE ledger.batches (
    id          uuid        PRIMARY KEY,
    shard       integer     NOT NULL,
    sequence    bigint      NOT NULL,
    count       integer     NOT NULL,
    opened_at   timestamptz NOT NULL,
    actor       text,
    body_digest text
);

-- The first trace of every command.
CREATE TABLE ledger.commands (
    command_id  text        NOT NULL,
    shard       integer     NOT NULL,
    sequence    bigint      NOT NULL,
    type        text        NOT NULL,
    subject     text        NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (command_id, shard)
);

-- One row per shard: the compare-and-set on it is what makes the projection exactly once.
CREATE TABLE ledger.positions (
    shard        integer     PRIMARY KEY,
    next_offset  bigint      NOT NULL,
    kafka_offset bigint      NOT NULL,
    sequence     bigint      NOT NULL,
    digest       text        NOT NULL,
    log_id       text        NOT NULL,
    ownerepoch   bigint      NOT NULL,
    recorded_at  timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON COLUMN ledger.positions.next_offset IS
    'The offset to read next: behind the newest event and behind any transaction markers that were seen after it.';
COMMENT ON COLUMN ledger.positions.kafka_offset IS 'Of the newest event: where its digest is checked at every start.';
