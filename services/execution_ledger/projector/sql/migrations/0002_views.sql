-- What others may rely on: the gateway, dashboards and people with psql.

CREATE SCHEMA ledger_v1;
COMMENT ON SCHEMA ledger_v1 IS
    'The contract: columns may be added here, but none is renamed, removed or given another meaning. '
    'Everything in the schema "ledger" is internal. All of it follows the log, and positions says how far.';

CREATE VIEW ledger_v1.executions AS
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
    (extract(epoch FROM e.ended_at - e.created_at) * 1000)::bigint AS total_ms
FROM ledger.executions AS e;
COMMENT ON VIEW ledger_v1.executions IS 'Every execution and how it stands now.';
COMMENT ON COLUMN ledger_v1.executions.number IS 'Unique; for people, and for clients that know integers only.';
COMMENT ON COLUMN ledger_v1.executions.options IS 'JSON text: {"train", "plot", "write"}.';
COMMENT ON COLUMN ledger_v1.executions.inputs IS 'JSON text; null when it is kept in the object store.';
COMMENT ON COLUMN ledger_v1.executions.properties IS 'JSON text; null when none were given.';
COMMENT ON COLUMN ledger_v1.executions.outputs IS 'JSON text; null until the execution has completed.';
COMMENT ON COLUMN ledger_v1.executions.failure IS 'JSON text: {"kind", "message", "traceback"?}.';
COMMENT ON COLUMN ledger_v1.executions.warnings IS 'JSON text: the first 100, each {"time", "attempt", "message"}.';
COMMENT ON COLUMN ledger_v1.executions.labels IS 'Each "key=value"; labels @> ARRAY[''team=blue''] uses an index.';
COMMENT ON COLUMN ledger_v1.executions.status IS
    'queued, started, abort_requested, aborted, failed or completed. The last three are final.';
COMMENT ON COLUMN ledger_v1.executions.digest IS 'sha256 of its newest event: the head of its chain.';
COMMENT ON COLUMN ledger_v1.executions.sequence IS 'Of its newest event, in its shard.';
COMMENT ON COLUMN ledger_v1.executions.attempt IS 'The newest attempt; 0 before the first.';
COMMENT ON COLUMN ledger_v1.executions.losses IS 'How often it was queued again because its runner was lost.';
COMMENT ON COLUMN ledger_v1.executions.runner IS 'Of the newest attempt; null while it waits to be dispatched.';
COMMENT ON COLUMN ledger_v1.executions.queued_at IS 'When it last joined the queue.';
COMMENT ON COLUMN ledger_v1.executions.started_at IS 'Of the newest attempt; null while it waits to start again.';
COMMENT ON COLUMN ledger_v1.executions.abort_outcome IS
    'never_started, acknowledged, forced, lost, self; too_late when it had ended by itself.';
COMMENT ON COLUMN ledger_v1.executions.waiting_ms IS
    'From created to started (of the newest attempt), or to its end when it never started; null before.';
COMMENT ON COLUMN ledger_v1.executions.execution_ms IS 'From started to ended.';
COMMENT ON COLUMN ledger_v1.executions.total_ms IS 'From created to ended.';

CREATE VIEW ledger_v1.live_executions AS
SELECT id, shard, number, name, pipeline, twin, pool, priority, created_at, status, attempt, runner, queued_at
FROM ledger.live_executions;
COMMENT ON VIEW ledger_v1.live_executions IS
    'Only what has not ended. Indexed by status: the fast way to what is queued, running or being aborted.';

CREATE VIEW ledger_v1.attempts AS
SELECT execution_id, attempt, status, runner, cause, dispatched_at, started_at, ended_at
FROM ledger.attempts;
COMMENT ON VIEW ledger_v1.attempts IS
    'Every attempt: dispatched, started, completed, failed, aborted or requeued. cause says why it did not complete.';

CREATE VIEW ledger_v1.journal AS
SELECT shard, sequence, kafka_offset, subject, version, type, recorded_at, event
FROM ledger.journal;
COMMENT ON VIEW ledger_v1.journal IS
    'Every event with its own bytes: CloudEvents 1.0 JSON in UTF-8. Order by (subject, sequence) for one execution.';
COMMENT ON COLUMN ledger_v1.journal.version IS 'Dense per execution from 1; null on refusals and repeats of commands.';

CREATE VIEW ledger_v1.pipelines AS
SELECT
    p.name, p.version, p.digest, p.definition, p.registered_at, p.registered_by,
    p.version = (SELECT max(newer.version) FROM ledger.pipelines AS newer WHERE newer.name = p.name) AS newest
FROM ledger.pipelines AS p;
COMMENT ON VIEW ledger_v1.pipelines IS 'All versions of all pipelines; WHERE newest for the ones that run now.';
COMMENT ON COLUMN ledger_v1.pipelines.definition IS 'JSON text: inputs, outputs, limit, description.';

CREATE VIEW ledger_v1.batches AS
SELECT id, shard, sequence, count, opened_at, actor, body_digest
FROM ledger.batches;
COMMENT ON VIEW ledger_v1.batches IS 'Batches; their executions bear the id as batch_id.';

CREATE VIEW ledger_v1.commands AS
SELECT command_id, shard, sequence, type, subject, recorded_at
FROM ledger.commands;
COMMENT ON VIEW ledger_v1.commands IS 'What became of a command: its first trace, which is (shard, sequence) in journal.';

CREATE VIEW ledger_v1.positions AS
SELECT shard, sequence, next_offset, log_id, recorded_at, updated_at
FROM ledger.positions;
COMMENT ON VIEW ledger_v1.positions IS
    'How far the views have come, by shard. Each change is also announced: LISTEN ledger_positions, "shard:sequence".';
COMMENT ON COLUMN ledger_v1.positions.recorded_at IS 'When the newest event that is included was recorded.';
COMMENT ON COLUMN ledger_v1.positions.updated_at IS 'When it was included, by the clock of Postgres.';
