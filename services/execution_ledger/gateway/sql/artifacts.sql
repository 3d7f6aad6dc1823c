-- What the gateway asks of artifacts, models and metrics.

-- name: of_execution
SELECT sequence, attempt, kind, name, step, sha256, size, media_type, recorded_at
FROM ledger_v1.artifacts WHERE execution_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3

-- name: of_name
-- Of several with one name the newest counts.
SELECT sequence, attempt, kind, name, step, sha256, size, media_type, recorded_at
FROM ledger_v1.artifacts
WHERE execution_id = $1 AND name = $2 AND ($3::int IS NULL OR attempt = $3) AND ($4::text IS NULL OR step = $4)
ORDER BY sequence DESC LIMIT 1

-- name: models
-- Newest first, by an index on key and time where a key is given.
SELECT * FROM ledger_v1.models
WHERE ($1::text IS NULL OR key = $1) AND ($2::text IS NULL OR pipeline = $2)
AND ($3::timestamptz IS NULL OR (recorded_at, execution_id, sequence) < ($3, $4::uuid, $5::bigint))
ORDER BY recorded_at DESC, execution_id DESC, sequence DESC LIMIT $6

-- name: model
SELECT * FROM ledger_v1.models
WHERE key = $1 AND ($2::bigint IS NULL OR (number = $2 AND attempt = $3))
ORDER BY recorded_at DESC, execution_id DESC, sequence DESC LIMIT 1

-- name: metrics
-- One row for each metric of an execution (and step), of its newest attempt that recorded it: an attempt before that has
-- measured something else. Newest executions first. The values only where they are asked for.
SELECT
    e.id, e.name AS execution, e.number, e.pipeline, e.pipeline_version, e.twin, e.mode, e.status, e.created_at,
    m.name, m.step, m.attempt, max(m.recorded_at) AS recorded_at,
    (array_agg(coalesce(m.value, m.values[cardinality(m.values)]) ORDER BY m.sequence DESC))[1] AS value,
    sum(coalesce(cardinality(m.values), 1)) AS count,
    min(least(m.value, (SELECT min(v) FROM unnest(m.values) AS v))) AS min,
    max(greatest(m.value, (SELECT max(v) FROM unnest(m.values) AS v))) AS max,
    bool_or(m.values IS NOT NULL) AS listed
FROM ledger_v1.metrics AS m
JOIN ledger_v1.executions AS e ON e.id = m.execution_id
WHERE ($1::uuid IS NULL OR e.id = $1) AND ($2::text IS NULL OR e.pipeline = $2) AND ($3::text IS NULL OR m.name = $3)
AND ($4::text IS NULL OR e.twin = $4)
AND NOT EXISTS (
    SELECT FROM ledger_v1.metrics AS later
    WHERE later.execution_id = m.execution_id AND later.name = m.name AND later.step IS NOT DISTINCT FROM m.step
    AND later.attempt > m.attempt
)
AND (
    $5::timestamptz IS NULL OR (e.created_at, e.id) < ($5, $6::uuid)
    OR (e.created_at = $5 AND e.id = $6 AND (m.name, coalesce(m.step, '')) > ($7::text, $8::text))
)
GROUP BY
    e.id, e.name, e.number, e.pipeline, e.pipeline_version, e.twin, e.mode, e.status, e.created_at,
    m.name, m.step, m.attempt
ORDER BY e.created_at DESC, e.id DESC, m.name, coalesce(m.step, '') LIMIT $9

-- name: values
-- All that lists of one attempt of an execution hold, in the order in which they came.
SELECT m.name, m.step, m.attempt, (array_agg(each.v ORDER BY m.sequence, each.n))[1:$2] AS values
FROM ledger_v1.metrics AS m, unnest(m.values) WITH ORDINALITY AS each (v, n)
WHERE m.execution_id = $1 AND m.values IS NOT NULL
GROUP BY m.name, m.step, m.attempt
