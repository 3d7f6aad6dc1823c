"""Executions: submit one, read one."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.parts import TERMINAL

from ..edge.http import MinPosition, StrictRoute, TheCaller, TheGateway
from ..gateway import Gateway
from ..reads.pages import Limit
from ..reads.records import EventPage, ExecutionRecord, record_json
from ..reads.references import execution_id, found_or_caught_up
from ..writes.answering import SUBMITTED, TheWrite, tell_position
from ..writes.answers import ExecutionAnswer, ReceivedAnswer
from ..writes.commands import unknown_execution
from ..writes.requests import ExecutionRequest

router = APIRouter(prefix="/v1/executions", tags=["executions"], route_class=StrictRoute)

EndWait = Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end")]


@router.post("", status_code=201, responses=SUBMITTED)
async def submit(body: ExecutionRequest, write: TheWrite) -> ExecutionAnswer | ReceivedAnswer:
    """Asks for one run of a pipeline; answers when the ledger has decided."""
    return write.submitted(await write.gateway.commands.submit(body, write.actor, write.key, write.traceparent))


@router.get("/{reference}", response_model=ExecutionRecord)
async def get_execution(
    reference: str,
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    wait: EndWait = 0,
    min_position: MinPosition = None,
) -> Response:
    """The whole record, by id, number or name. With `wait` it returns when the execution has ended."""
    known = await execution_id(gateway, caller.token, reference, min_position)
    position = await gateway.reading.reach(caller.token, min_position, shard_of(known))
    if wait:
        await _wait_for_end(gateway, known, wait)
        position = gateway.views.positions.position
    content = await _read(gateway, known, tell_position(request, position))
    return Response(content, media_type="application/json")


@router.get("/{reference}/events")
async def list_events(
    reference: str,
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    cursor: Annotated[int, Query(ge=0, lt=2**63, description="`next` of the page before")] = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> EventPage:
    """Its journal: every event as it was written, oldest first, with the refusals between."""
    known = await execution_id(gateway, caller.token, reference, min_position)
    position = await gateway.reading.reach(caller.token, min_position, shard_of(known))
    frames = await found_or_caught_up(
        gateway, shard_of(known), lambda: gateway.views.subject_frames(known, cursor, limit + 1)
    )
    if not frames and not cursor:
        raise unknown_execution(reference)
    return EventPage(
        items=[json.loads(frame.raw) for frame in frames[:limit]],
        next=str(frames[limit - 1].sequence) if len(frames) > limit else None,
        position=tell_position(request, position),
    )


async def _read(gateway: Gateway, known: str, position: str) -> bytes:
    row = await found_or_caught_up(gateway, shard_of(known), lambda: gateway.views.execution(known))
    if row is None:
        raise unknown_execution(known)
    return record_json(row, await gateway.views.attempts(known), position)


async def _wait_for_end(gateway: Gateway, known: str, wait_s: float) -> None:
    """Returns when the views show the end, or after `wait_s`.

    The tail runs ahead of the views: an end that it has passed already wakes nobody any more. So the views are looked
    at only once they include all that the tail had read when the wait began.
    """
    shard = shard_of(known)
    ending = gateway.tail.expect_end(known)
    try:
        await gateway.reading.include({shard: gateway.tail.position.get(shard, 0)})
        row = await gateway.views.execution(known)
        if row is None or row["status"] in TERMINAL:
            return
        async with asyncio.timeout(wait_s):
            await gateway.reading.include(await ending)
    except TimeoutError:
        return
    finally:
        gateway.tail.forget_end(known, ending)
