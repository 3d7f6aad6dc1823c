-- Warnings as rows, so that executions with and without them can be found.
--
-- No index comes with the other filters and orders: what changes may carry none, and on 200,000 executions reading
-- every row takes a quarter of a second. Lists newest first, which people ask for most, walk executions_by_age.

CREATE VIEW ledger_v1.warnings AS
SELECT execution_id, sequence, warning
FROM ledger.warnings;
COMMENT ON VIEW ledger_v1.warnings IS 'Every warning of an execution, in the order of sequence.';
COMMENT ON COLUMN ledger_v1.warnings.warning IS 'JSON text: {"time", "attempt", "message"}.';
