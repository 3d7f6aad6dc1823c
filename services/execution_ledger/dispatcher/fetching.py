"""Fetching: what an attempt that has to start begins with, read again because it was not kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from execution_ledger.errors import Stalled, Transient
from execution_ledger.log.protocol import Lane, Log, Record, Topic
from execution_ledger.messages.events import Event, decode_event
from execution_ledger.messages.payload import Payload

from .board import Execution
from .desk import Desk
from .starts import QueuedEvents
from .told import Telling

_READ_WAIT_S = 5.0
_AHEAD_MAX = 200  # records behind the wanted one that are kept too: those queued next are likely to start next

_log = structlog.get_logger()


Deliver = Callable[[Telling, Event, Payload | None], None]


class Fetcher:
    """`deliver` gets each start that was ordered, with the queued event and the newest checkpoint."""

    def __init__(self, log: Log, desk: Desk, queued: QueuedEvents, deliver: Deliver) -> None:
        self._log = log
        self._desk = desk
        self._queued = queued
        self._deliver = deliver
        self._wanted: deque[Telling] = deque()  # bounded by the slots of all runners
        self._news = asyncio.Event()

    def want(self, start: Telling) -> None:
        self._wanted.append(start)
        self._news.set()

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._wanted:
                await self._fetch(self._wanted.popleft())

    async def _fetch(self, start: Telling) -> None:
        if (execution := self._desk.to_start(start.tokens[0])) is None:
            self._desk.told.unsent(start)
            return
        try:
            event = self._queued.get(execution.id) or await self._queued_event(execution)
            checkpoint = await self._checkpoint(execution)
        except Transient as error:
            _log.warning(
                "what an execution starts with cannot be read",
                shard=execution.shard,
                execution=execution.id,
                offset=execution.offset,
                error=str(error),
            )
            self._desk.told.unsent(start)  # the runner's next heartbeat orders it again
        else:
            self._deliver(start, event, checkpoint)

    async def _checkpoint(self, execution: Execution) -> Payload | None:
        """Of an attempt before: once the next one is dispatched, none is added."""
        if execution.checkpoint is None:
            return None
        record, *_ = await self._read(Lane(Topic.EVENTS, execution.shard), execution.checkpoint)
        checkpoint: Payload = decode_event(record.value or b"", record).data.value
        return checkpoint

    async def _read(self, lane: Lane, offset: int) -> Sequence[Record]:
        """At least one, the first of them that at `offset`."""
        async with self._log.reader({lane: offset}) as reader:
            chunk = (await reader.read(_READ_WAIT_S)).get(lane)
        if chunk is None or not chunk.records or chunk.records[0].offset != offset:
            raise Stalled(f"Nothing came of {lane} at {offset} in {_READ_WAIT_S:.0f} s. It is tried again.")
        return chunk.records

    async def _queued_event(self, execution: Execution) -> Event:
        records = await self._read(Lane(Topic.EVENTS, execution.shard), execution.offset)
        values = [record.value or b"" for record in records[:_AHEAD_MAX]]
        events = [(decode_event(value), len(value)) for value in values]
        for event, size in reversed(events):  # the wanted one last, so that it is not the first to go
            if self._desk.picture.board.get(event.subject):
                self._queued.follow(event, size)
        return events[0][0]
