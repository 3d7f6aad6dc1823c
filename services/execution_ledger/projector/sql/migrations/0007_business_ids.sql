-- Business ids. Rows that are there already have none.

ALTER TABLE ledger.executions ADD COLUMN business_id text;
-- Never changes, and where nobody uses it, it costs nothing.
CREATE INDEX executions_by_business_id ON ledger.executions (business_id, created_at, id)
    WHERE business_id IS NOT NULL;
