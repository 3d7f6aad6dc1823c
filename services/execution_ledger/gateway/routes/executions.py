"""Executions: submit, list, read."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BeforeValidator, StringConstraints

from execution_ledger.messages.ids import PipelineName, shard_of
from execution_ledger.messages.parts import TERMINAL, Mode, Status, Text

from ..answering import received, tell_position, written
from ..answers import ExecutionAnswer, ReceivedAnswer
from ..commands import unknown_execution
from ..gateway import Gateway
from ..http import IdempotencyKey, MinPosition, StrictRoute, TheCaller, TheGateway, Traceparent
from ..pages import Limit, PageCursor, read_cursor, write_cursor
from ..records import EventPage, ExecutionPage, ExecutionRecord, record_json, summary
from ..references import execution_id, found_or_caught_up
from ..requests import ExecutionRequest
from ..views import Filters

router = APIRouter(prefix="/v1/executions", tags=["executions"], route_class=StrictRoute)

Label = Annotated[str, StringConstraints(pattern=r"^[^=\x00]{1,63}=[^\x00]{0,255}$")]
# A bare number would be taken for seconds since 1970.
Moment = Annotated[AwareDatetime, BeforeValidator(lambda text: text if "T" in text.upper() else "")]
EndWait = Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end")]


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": ExecutionAnswer, "description": "A repeat of its key: the first answer"},
        202: {"model": ReceivedAnswer, "description": "Safe in the log; the ledger has not decided yet"},
    },
)
async def submit(
    body: ExecutionRequest,
    request: Request,
    response: Response,
    gateway: TheGateway,
    caller: TheCaller,
    traceparent: Traceparent,
    key: IdempotencyKey = None,
) -> ExecutionAnswer | ReceivedAnswer:
    """Asks for one run of a pipeline; answers when the ledger has decided."""
    answer = await gateway.commands.submit(body, caller.actor, key, traceparent)
    if answer.trace is None:
        return received(answer, response, None if key else answer.subject)
    first = answer.trace.outcome
    response.status_code = 200 if answer.repeated else 201
    response.headers["Location"] = f"/v1/executions/{first.subject}"
    return ExecutionAnswer(
        id=first.subject,
        number=first.number or 0,
        name=first.name or "",
        status=Status.QUEUED,
        position=written(request, gateway, caller, answer.position),
        command_id=answer.command_id,
    )


@router.get("")
async def list_executions(
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    pipeline: PipelineName | None = None,
    status: Annotated[list[Status] | None, Query()] = None,
    mode: Mode | None = None,
    twin: Text | None = None,
    label: Annotated[list[Label] | None, Query(description="key=value; all that are given must hold")] = None,
    created_after: Moment | None = None,
    created_before: Moment | None = None,
    batch: UUID | None = None,
    cursor: PageCursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> ExecutionPage:
    """Newest first. `queued` includes what is on its way to a runner."""
    filters = Filters(
        pipeline=pipeline,
        mode=mode,
        twin=twin,
        batch=str(batch) if batch else None,
        labels=label or (),
        created_after=created_after,
        created_before=created_before,
        status=status or (),
    )
    below = read_cursor(cursor)
    position = await gateway.reading.reach(caller.token, min_position)
    rows = await gateway.views.page(filters, below, limit + 1)
    return ExecutionPage(
        items=[summary(row) for row in rows[:limit]],
        next=write_cursor(rows[limit - 1]) if len(rows) > limit else None,
        position=tell_position(request, position),
    )


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
