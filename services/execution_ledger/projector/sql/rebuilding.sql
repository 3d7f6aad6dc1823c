-- What making the views anew says to Postgres, beside what projecting says.

-- name: alone
-- Two at once would drop each other's schemas.
SELECT pg_try_advisory_lock($1)

-- name: positions
-- How far views have come, as of their last commit.
SELECT shard, log_id, sequence, kafka_offset, next_offset FROM ledger.positions

-- name: hold
-- Until the transaction ends no projector moves the views that are in use.
SELECT shard, log_id, sequence, kafka_offset, next_offset FROM ledger.positions FOR UPDATE

-- name: grants
-- What was granted on the contract, as statements that grant it again.
WITH granted AS (
    SELECT 'SCHEMA ledger_v1' AS what, space.nspowner AS owner, item.*
    FROM pg_namespace AS space, aclexplode(space.nspacl) AS item
    WHERE space.nspname = 'ledger_v1'
    UNION ALL
    SELECT format('ledger_v1.%I', relation.relname), relation.relowner, item.*
    FROM pg_class AS relation, aclexplode(relation.relacl) AS item
    WHERE relation.relnamespace = to_regnamespace('ledger_v1')
)
SELECT format(
    'GRANT %s ON %s TO %s', privilege_type, what,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
)
FROM granted WHERE grantee <> owner
