-- How the gateway finds executions. The parts that a request needs are put together, so that each combination is a
-- statement of its own and gets the index that suits it.

-- name: page
-- Keyset pages: the id tells equals apart, so each row has one place. Payloads stay out: 500 of them could be 30 MB;
-- of a failure there is the beginning, without its traceback.
SELECT {key} AS sort_key,
       id, number, name, pipeline, pipeline_version, twin, mode, labels, priority, pool, batch_id, created_by,
       status, attempt, runner, losses, created_at, queued_at, dispatched_at, started_at, ended_at, updated_at,
       waiting_ms, execution_ms, total_ms, link, linked_to, held_at, business_id, template, experiment, trigger, source,
       CASE
           WHEN status = 'failed' THEN left(replace(failure, '\u0000', '\ufffd')::json ->> 'message', 300)
           WHEN status IN ('abort_requested', 'aborted') THEN left(abort_reason, 300)
       END AS why
FROM ledger_v1.executions AS execution
WHERE true
{filters}
ORDER BY sort_key {direction}, id {direction}
LIMIT $1

-- name: behind_desc
AND ({key}, id) < ($2, $3)

-- name: behind_asc
AND ({key}, id) > ($2, $3)

-- name: key_created
created_at

-- name: key_updated
updated_at

-- name: key_number
number

-- name: key_priority
priority::bigint

-- name: key_pipeline
-- By code points, whatever the database's own order of texts is.
pipeline COLLATE "C"

-- name: key_status
status COLLATE "C"

-- name: key_twin
coalesce(twin, {last_text}) COLLATE "C"

-- name: key_template
coalesce(template, {last_text}) COLLATE "C"

-- name: key_experiment
coalesce(experiment, {last_text}) COLLATE "C"

-- name: key_started
coalesce(started_at, {last_time})

-- name: key_ended
coalesce(ended_at, {last_time})

-- name: key_waiting
coalesce(waiting_ms, {last_number})

-- name: key_took
coalesce(execution_ms, {last_number})

-- name: key_total
coalesce(total_ms, {last_number})

-- name: stats
-- Groups of what the filters leave; percentiles pass over executions that have no such time yet.
SELECT *, count(*) OVER () AS groups
FROM (
    SELECT {by} AS value, count(*) AS count,
           percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY waiting_ms) AS waiting_ms,
           percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY execution_ms) AS execution_ms
    FROM ledger_v1.executions AS execution
    WHERE true
    {filters}
    GROUP BY 1
) AS counted
ORDER BY {order}
LIMIT $1

-- name: by_day
-- Of its creation, in UTC.
to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')

-- name: filter_pipeline
-- Equality, unlike ANY, leaves the index in the order of a page.
AND pipeline = {value}

-- name: filter_any_pipeline
AND pipeline = ANY({value}::text[])

-- name: filter_version
AND pipeline_version = {value}

-- name: filter_status
AND status = ANY({value}::text[])

-- name: filter_live_status
-- Where only what has not ended is asked for, the narrow table of that is indexed by status.
AND id IN (SELECT id FROM ledger_v1.live_executions WHERE status = ANY({value}::text[]))

-- name: filter_twin
AND twin = {value}

-- name: filter_template
AND template = {value}

-- name: filter_experiment
AND experiment = {value}

-- name: filter_trigger
AND trigger = {value}

-- name: filter_mode
AND mode = {value}

-- name: filter_label
AND labels @> {value}::text[]

-- name: filter_created_by
AND created_by = {value}

-- name: filter_batch
AND batch_id = {value}

-- name: filter_business_id
AND business_id = {value}

-- name: filter_job
-- What it asked of an execution bears that one's id, and so does what it made. What was refused, it did not act on.
AND id IN (SELECT subject::uuid FROM ledger_v1.commands WHERE job_id = {value} AND refusal IS NULL)

-- name: filter_held
AND (held_at IS NOT NULL) = {value}

-- name: filter_linked_to
AND linked_to = {value}

-- name: filter_runner
AND runner = {value}

-- name: filter_pool
AND pool = {value}

-- name: filter_failure
-- Only what has failed is parsed; its text may hold a NUL, which JSON can and Postgres cannot.
AND status = 'failed' AND replace(failure, '\u0000', '\ufffd')::json ->> 'kind' = {value}

-- name: filter_abort
AND abort_outcome = {value}

-- name: filter_attempts_min
AND attempt >= {value}

-- name: filter_warnings
AND EXISTS (SELECT FROM ledger_v1.warnings AS warning WHERE warning.execution_id = execution.id) = {value}

-- name: filter_priority
AND priority = {value}

-- name: filter_created_after
AND created_at >= {value}

-- name: filter_created_before
AND created_at < {value}

-- name: filter_started_after
AND started_at >= {value}

-- name: filter_started_before
AND started_at < {value}

-- name: filter_ended_after
AND ended_at >= {value}

-- name: filter_ended_before
AND ended_at < {value}

-- name: filter_q
-- A name begins with its pipeline's. One text is compared, in which no word can span two parts: {value} holds no line
-- break.
AND concat_ws(
    E'\n', name, twin, array_to_string(labels, E'\n'),
    replace(failure, '\u0000', '\ufffd')::json ->> 'message'
) ILIKE {value}
