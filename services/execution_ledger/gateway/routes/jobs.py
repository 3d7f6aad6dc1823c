"""Jobs: the same action on many executions. First a dry run, then a job with its progress and its result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from execution_ledger.messages.events import decode_event

from ..edge.http import MinPosition, StrictRoute, TheCaller, TheGateway
from ..edge.problems import Away, invalid, refused
from ..gateway import Gateway
from ..reads.job_records import JobPage, JobRecord, JobRefusal, job_record, job_summary, refusals_of
from ..reads.pages import Limit
from ..reads.records import milliseconds
from ..reads.views import Row
from ..writes.answering import TheWrite, Writing, tell_position
from ..writes.answers import JobAnswer, JobPreview, ReceivedAnswer, Target
from ..writes.jobs import NEW, Targets, job_of
from ..writes.requests import JobRequest

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

SAMPLE_MAX = 10
REFUSALS_MAX = 1_000  # shown of a job
READ_AGAIN_S = 0.2  # at most so often, however fast the views move …
LOOK_S = 1.0  # … and at least so often while somebody waits
STILL_MS = 5_000  # a job that has made no step for so long may have been left by its gateway

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": JobAnswer | JobPreview, "description": "A dry run; or a repeat of its key: the first job"},
    202: {"model": ReceivedAnswer, "description": "Safe in the log; the ledger has not decided yet"},
}


@router.post("", status_code=201, responses=_ANSWERS)
async def open_job(body: JobRequest, write: TheWrite) -> JobAnswer | JobPreview | ReceivedAnswer:
    """Fixes which executions it acts on, and answers; what it asks of each follows, each with its own decision."""
    gateway = write.gateway
    if wrong := body.wrong():
        raise invalid(*wrong)
    if body.dry_run:
        return await _preview(body, write)
    if body.action in NEW and (busy := gateway.admission.refusal()):
        raise Away(busy)

    async def found() -> Targets:
        return (await _found(gateway, body))[1]

    answer = await gateway.commands.open_job(body, found, write.actor, write.key, write.traceparent)
    if answer.trace is None:
        return write.received(answer)
    position = write.written(answer.position)
    await gateway.reading.include(answer.position)
    row = await _job(gateway, answer.subject.removeprefix("job/"))
    gateway.job_work.take(str(row["id"]))
    write.response.status_code = 200 if answer.repeated else 201
    write.response.headers["Location"] = f"/v1/jobs/{row['id']}"
    return JobAnswer(
        id=str(row["id"]),
        action=row["action"],
        count=row["count"],
        targets_digest=row["targets_digest"],
        position=position,
        command_id=answer.command_id,
    )


@router.get("")
async def list_jobs(
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    cursor: Annotated[UUID | None, Query(description="`next` of the page before")] = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> JobPage:
    """The newest first."""
    position = await gateway.reading.reach(caller.token, min_position)
    rows = await gateway.views.jobs(None if cursor is None else str(cursor), limit + 1)
    return JobPage(
        items=[job_summary(row) for row in rows[:limit]],
        next=str(rows[limit - 1]["id"]) if len(rows) > limit else None,
        position=tell_position(request, position),
    )


@router.get("/{job_id}")
async def get_job(
    job_id: UUID,
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end")] = 0,
    min_position: MinPosition = None,
) -> JobRecord:
    """How far it is, by shard, and what was refused. With `wait` it returns when nothing is left to do."""
    await gateway.reading.reach(caller.token, min_position)
    row = await _job(gateway, str(job_id))
    outcomes = await _until_ended(gateway, row, wait)
    if not _has_ended(row, outcomes) and _stands_still(gateway, row, outcomes):
        gateway.job_work.take(str(job_id))
    position = tell_position(request, gateway.views.positions.position)
    return job_record(row, outcomes, await _refusals(gateway, row, outcomes), position)


async def _preview(body: JobRequest, write: Writing) -> JobPreview:
    rows, targets = await _found(write.gateway, body)
    write.response.status_code = 200
    return JobPreview(
        action=body.action,
        count=len(rows),
        targets_digest=targets.payload.sha256,
        sample=[Target(id=str(row["id"]), name=row["name"], status=row["status"]) for row in rows[:SAMPLE_MAX]],
        position=tell_position(write.request, write.gateway.views.positions.position),
    )


async def _found(gateway: Gateway, body: JobRequest) -> tuple[Sequence[Row], Targets]:
    """Raises Refused where they are not those of the dry run, or where one could not be run again like that."""
    rows = await gateway.jobs.find(body)
    newest = {row["pipeline"] for row in rows} if body.changes and body.changes.newest else ()
    targets = Targets([str(row["id"]) for row in rows], await gateway.commands.newest(newest))
    if body.targets_digest not in (None, targets.payload.sha256):
        raise refused(
            "refused",
            f"These are not the executions of the dry run any more; {len(rows)} are found now. Look at them once more.",
            code="targets_changed",
        )
    await gateway.commands.jobs.check(body, targets, gateway.jobs)
    return rows, targets


async def _job(gateway: Gateway, job_id: str) -> Row:
    row = await gateway.views.job(job_id)
    if row is None:
        await gateway.reading.include(gateway.tail.position)
        row = await gateway.views.job(job_id)
    if row is None:
        raise refused("unknown-job", f"No job {job_id} is known. Which are: exledger jobs list, or GET /v1/jobs")
    return row


async def _until_ended(gateway: Gateway, row: Row, wait_s: float) -> Sequence[Row]:
    """What has come of it, at its end or after `wait_s`."""
    views = gateway.views
    outcomes = await views.job_outcomes(row["id"])
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            while not _has_ended(row, outcomes):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await views.positions.moved.wait()
                await asyncio.sleep(READ_AGAIN_S)
                outcomes = await views.job_outcomes(row["id"])
    return outcomes


def _has_ended(row: Row, outcomes: Sequence[Row]) -> bool:
    return bool(sum(outcome["count"] for outcome in outcomes) >= row["count"])


def _stands_still(gateway: Gateway, row: Row, outcomes: Sequence[Row]) -> bool:
    newest = max([row["opened_at"], *(outcome["last_at"] for outcome in outcomes)])
    return bool(gateway.world.clock.now_ms() - milliseconds(newest) > STILL_MS)


async def _refusals(gateway: Gateway, row: Row, outcomes: Sequence[Row]) -> list[JobRefusal]:
    if all(outcome["refusal"] is None for outcome in outcomes):
        return []
    raw = await gateway.views.job_event(row["id"])
    rows = await gateway.views.job_refusals(row["id"], REFUSALS_MAX)
    return refusals_of(job_of(decode_event(raw)), rows) if raw else []
