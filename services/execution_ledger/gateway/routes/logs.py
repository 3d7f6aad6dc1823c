"""What the code of an execution prints and logs: all of it at once, or as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from execution_ledger.errors import Transient
from execution_ledger.messages.base import rfc3339
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.lines import LOG_MEDIA_TYPE
from execution_ledger.messages.parts import Count, Text

from ..edge.http import MinPosition, StrictRoute, TheCaller, TheGateway
from ..edge.problems import away
from ..gateway import Gateway
from ..reads.finding import Truth
from ..reads.log_reading import Known, Line, LogReading, Ordinal, Wanted
from ..reads.references import execution_id
from ..writes.commands import unknown_execution

router = APIRouter(prefix="/v1/executions", tags=["executions"], route_class=StrictRoute)

READERS_MAX = 20  # at once: each reads a whole shard's lines, and takes some two megabytes for that
KEEP_ALIVE_S = 15.0
PLACE = r"^[0-9]{1,9}\.[0-9]{1,9}$"

LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {LOG_MEDIA_TYPE: {}, "text/plain": {}, "text/event-stream": {}},
        "description": "One line of the log each; the schema is `logs/line.v1`",
    }
}
Encode = Callable[[Iterable[Line]], bytes]


@router.get("/{reference}/logs", responses=LINES, response_class=StreamingResponse)
async def read_logs(
    reference: str,
    gateway: TheGateway,
    caller: TheCaller,
    attempt: Annotated[Count | None, Query(description="Only this attempt's")] = None,
    step: Annotated[Text | None, Query(description="Only this step's")] = None,
    follow: Annotated[Truth, Query(description="As server-sent events, until the execution has ended")] = False,
    as_: Annotated[Literal["json", "text"], Query(alias="format", description="Unless it is followed")] = "json",
    after: Annotated[str | None, Query(pattern=PLACE, description="Begins behind this line: attempt.ordinal")] = None,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", pattern=PLACE)] = None,
    min_position: MinPosition = None,
) -> StreamingResponse:
    """Lines in their order. Where an attempt printed too much, a line of the stream `cut` says what is missing.

    Followed, `id:` is attempt.ordinal and `data:` a line; `event: end` is the last.
    """
    known = await execution_id(gateway, caller.token, reference, min_position)
    await gateway.reading.reach(caller.token, min_position, shard_of(known))
    look = _looking(gateway, known)
    if not (await look()).spans and not await gateway.views.execution(known):
        raise unknown_execution(reference)
    if gateway.reading_logs >= READERS_MAX:
        raise away("too-busy", f"{READERS_MAX} logs are being read here. Try again in a moment.", 5)
    wanted = Wanted(_ordinal(last_event_id or after), attempt, step)
    reading = LogReading(gateway.log, gateway.storing.files, gateway.world.clock.now_ms, known, look, wanted)
    if follow:
        return _answer(gateway, _followed(gateway, known, reading), "text/event-stream")
    encode, media_type = (_as_json, LOG_MEDIA_TYPE) if as_ == "json" else (_as_text, "text/plain; charset=utf-8")
    return _answer(gateway, _whole(reading, encode), media_type)


def _looking(gateway: Gateway, known: str) -> Callable[[], Awaitable[Known]]:
    shard = shard_of(known)

    async def look() -> Known:
        await gateway.reading.include({shard: gateway.tail.position.get(shard, 0)})
        return await gateway.views.log_spans(known)

    return look


def _answer(gateway: Gateway, pieces: AsyncIterator[bytes], media_type: str) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(_counted(gateway, pieces), media_type=media_type, headers=headers)


async def _counted(gateway: Gateway, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    gateway.reading_logs += 1
    try:
        async for piece in pieces:
            yield piece
    finally:
        gateway.reading_logs -= 1


async def _whole(reading: LogReading, encode: Encode) -> AsyncIterator[bytes]:
    async for piece in reading.now():
        yield encode(piece)


async def _followed(gateway: Gateway, known: str, reading: LogReading) -> AsyncIterator[bytes]:
    ending = gateway.tail.expect_end(known)
    now_s = asyncio.get_running_loop().time
    told_s = now_s()
    try:
        yield b"retry: 1000\n\n"
        async for piece in reading.follow(ending, gateway.stopping):
            if piece or now_s() - told_s > KEEP_ALIVE_S:
                yield _as_events(piece) or b": keep-alive\n\n"
                told_s = now_s()
        if not gateway.stopping.is_set():
            yield b"event: end\ndata: {}\n\n"
    except Transient as error:
        yield f": this stream ends here, resume it: {error}\n\n".encode()
    finally:
        gateway.tail.forget_end(known, ending)


def _ordinal(text: str | None) -> Ordinal:
    attempt, _, ordinal = (text or "0.0").partition(".")
    return int(attempt), int(ordinal)


def _as_json(lines: Iterable[Line]) -> bytes:
    return b"".join(line.raw + b"\n" for line in lines)


def _as_text(lines: Iterable[Line]) -> bytes:
    return "".join(f"{rfc3339(line.time)}  {line.text}\n" for line, _ in lines).encode()


def _as_events(lines: Iterable[Line]) -> bytes:
    return b"".join(f"id: {line.attempt}.{line.ordinal}\n".encode() + b"data: " + raw + b"\n\n" for line, raw in lines)
