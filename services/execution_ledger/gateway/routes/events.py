"""The event stream, as server-sent events."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.position import Position, covers, parse_position

from ..edge.http import StrictRoute, TheCaller, TheGateway
from ..edge.problems import away
from ..gateway import Gateway
from ..reads.reading import position_ahead
from ..reads.references import execution_id
from ..stream.following import FOLLOWERS_MAX, Follower

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=StrictRoute)

STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "Events as they were written, without end"}
}


@router.get("", responses=STREAM, response_class=StreamingResponse)
async def follow(
    gateway: TheGateway,
    caller: TheCaller,
    after: Annotated[str | None, Query(description="A position; empty: from the beginning; default: from now")] = None,
    execution: Annotated[str | None, Query(description="Only this one's events: its id, number or name")] = None,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", description="Resumes; beats `after`")] = None,
) -> StreamingResponse:
    """`id:` is the position behind an event, `event:` its type, `data:` its own bytes.

    Within a shard events come in order; between shards any order is true.
    """
    subject = None if execution is None else await execution_id(gateway, caller.token, execution, None)
    start = await _start(gateway, last_event_id or after)
    shards = range(gateway.tail.shards) if subject is None else [shard_of(subject)]
    follower = Follower(gateway, {shard: start.get(shard, 0) for shard in shards}, subject)
    if gateway.following >= FOLLOWERS_MAX:
        raise away("too-busy", f"{FOLLOWERS_MAX} streams are open here. Close one, or try again later.", 10)
    return StreamingResponse(
        follower.stream(),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _start(gateway: Gateway, text: str | None) -> Position:
    """Raises Refused for a position that this log does not reach, even after a moment's wait."""
    tail = gateway.tail
    if not tail.caught_up.is_set():
        raise away("starting", "This gateway has not yet read the events to their end. Try again in a moment.")
    if text is None:
        return tail.position
    position = parse_position(text)
    try:
        async with asyncio.timeout(gateway.settings.read_wait_s):
            while not covers(tail.position, position):
                await tail.moved.wait()
    except TimeoutError as late:
        raise position_ahead(tail.position, position) from late
    return position
