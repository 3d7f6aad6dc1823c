-- Checkpoints as rows: when, by which attempt, how large. What they say is in the journal.

CREATE TABLE ledger.checkpoints (
    execution_id uuid        NOT NULL,
    sequence     bigint      NOT NULL,
    attempt      int         NOT NULL,
    size         int         NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (execution_id, sequence)
);

CREATE VIEW ledger_v1.checkpoints AS
SELECT execution_id, sequence, attempt, size, recorded_at
FROM ledger.checkpoints;
COMMENT ON VIEW ledger_v1.checkpoints IS 'Every checkpoint of an execution, in the order of sequence; the newest counts.';
COMMENT ON COLUMN ledger_v1.checkpoints.size IS 'Bytes of its JSON text, which is in the journal.';
