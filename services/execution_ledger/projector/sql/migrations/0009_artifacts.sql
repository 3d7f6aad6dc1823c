-- Artifacts and metrics: what pipelines record of themselves while they run. Rows of their own, like warnings, so that
-- recording one never rewrites what is already there.

CREATE TABLE ledger.artifacts (
    execution_id uuid        NOT NULL,
    sequence     bigint      NOT NULL,
    attempt      integer     NOT NULL,
    kind         text        NOT NULL,
    name         text        NOT NULL,
    step         text,
    sha256       text        NOT NULL,
    size         bigint      NOT NULL,
    media_type   text        NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (execution_id, sequence)
);
-- Models are looked for by key over all executions; the other kinds only within theirs.
CREATE INDEX artifacts_of_models ON ledger.artifacts (name, recorded_at, execution_id) WHERE kind = 'model';

CREATE TABLE ledger.metrics (
    execution_id uuid        NOT NULL,
    sequence     bigint      NOT NULL,
    attempt      integer     NOT NULL,
    name         text        NOT NULL,
    step         text,
    value        float8,
    values       float8[],
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (execution_id, sequence)
);

CREATE VIEW ledger_v1.artifacts AS
SELECT
    a.execution_id, a.sequence, a.attempt, a.kind, a.name, a.step, a.sha256, a.size, a.media_type, a.recorded_at
FROM ledger.artifacts AS a;
COMMENT ON VIEW ledger_v1.artifacts IS 'Every artifact of an execution, in the order of sequence; of one name the newest counts.';
COMMENT ON COLUMN ledger_v1.artifacts.sha256 IS 'Of its bytes, which are the object files/<sha256>.';

CREATE VIEW ledger_v1.models AS
SELECT
    a.name AS key, e.number || '.' || a.attempt AS version, e.number, a.attempt,
    a.execution_id, e.name AS execution, e.pipeline, e.twin,
    a.sequence, a.step, a.sha256, a.size, a.media_type, a.recorded_at
FROM ledger.artifacts AS a
JOIN ledger.executions AS e ON e.id = a.execution_id
WHERE a.kind = 'model';
COMMENT ON VIEW ledger_v1.models IS 'Trained models by key and version: the number of the execution, and the attempt.';

CREATE VIEW ledger_v1.metrics AS
SELECT m.execution_id, m.sequence, m.attempt, m.name, m.step, m.value, m.values, m.recorded_at
FROM ledger.metrics AS m;
COMMENT ON VIEW ledger_v1.metrics IS
'What pipelines measured, as it was recorded: of single values the newest counts, lists go on from one another.';
