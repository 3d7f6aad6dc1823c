"""The tail: the one reader of all shards' events in this gateway, which everything that waits here hangs on.

Shard 0 is read from its first event (the catalog); the others from a little before their end, so that the ring is
warm and their sequences are known. Callers wait for traces and endings, followers for anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import structlog

from execution_ledger.errors import BrokenHistory, Transient
from execution_ledger.lifecycle import Signal
from execution_ledger.log.protocol import Chunk, Lane, Log, Reader, Record, Topic
from execution_ledger.messages.catalog import Noun
from execution_ledger.messages.events import Aborted, Completed, Event, Failed, decode_event
from execution_ledger.messages.ids import CATALOG_SHARD
from execution_ledger.messages.position import Position

from ..edge.problems import away
from .catalog import Catalog, Registered
from .ring import Frame, Ring
from .traces import Traces

LOOKBACK = 2_000  # offsets before a shard's end; a group commit and the claim behind it are shorter
READ_WAIT_S = 1.0
REOPEN_PAUSE_S = 0.5
BREATH = 100  # events folded before other tasks get a turn

LOG = structlog.get_logger("gateway.tail")


class Tail:
    def __init__(self, log: Log) -> None:
        self._log = log
        self.catalog = Catalog()
        self.traces = Traces()
        self.rings: dict[int, Ring] = {}
        self.moved = Signal()
        self.caught_up = asyncio.Event()
        self.reading = False
        self._offsets: dict[Lane, int] = {}
        self._goals: Mapping[Lane, int] = {}
        self._sequences: dict[int, int] = {}
        self._endings: dict[str, list[asyncio.Future[Position]]] = {}

    @property
    def shards(self) -> int:
        """0 until the log was reached."""
        return len(self._offsets)

    @property
    def position(self) -> Position:
        return dict(self._sequences)

    async def run(self) -> None:
        """Ends only by cancellation, or with an error that a new reader cannot mend."""
        while True:
            try:
                if not self._offsets:
                    await self._find_start()
                async with self._log.reader(dict(self._offsets)) as reader:
                    await self._follow(reader)
            except Transient as error:
                LOG.warning("the tail reads anew from where it was", error=str(error))
            self.reading = False
            await asyncio.sleep(REOPEN_PAUSE_S)

    async def resolve(self, name: str, wait_s: float, version: int | None = None) -> Registered:
        """One version of a pipeline, by default the newest; refused only after reading shard 0 to its end."""
        known = self.catalog.find(name, version)
        if known is None:
            await self.read_to_end(CATALOG_SHARD, wait_s)
            known = self.catalog.find(name, version)
        if known is None:
            raise self.catalog.unknown(name)
        return known

    async def learn(self, named: Collection[tuple[Noun, str]], wait_s: float) -> None:
        """Reads shard 0 to its end where the catalog lacks some of these: they may have been registered just now."""
        if not self.catalog.entries.knows(named):
            await self.read_to_end(CATALOG_SHARD, wait_s)

    async def read_to_end(self, shard: int, wait_s: float) -> None:
        """Returns when this tail has read what the shard holds now. Raises Away when that takes too long."""
        lane = Lane(Topic.EVENTS, shard)
        try:
            async with asyncio.timeout(wait_s):
                end = await self._log.end(lane)
                while self._offsets.get(lane, 0) < end:
                    await self.moved.wait()
        except TimeoutError as late:
            raise away("starting", f"This gateway has not yet read shard {shard} to its end. Try again.") from late

    def expect_end(self, execution_id: str) -> asyncio.Future[Position]:
        """A future that gets the position of the execution's last event, from now on; give it back after use."""
        future: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self._endings.setdefault(execution_id, []).append(future)
        return future

    def forget_end(self, execution_id: str, future: asyncio.Future[Position]) -> None:
        waiting = self._endings.get(execution_id, [])
        if future in waiting:
            waiting.remove(future)
        if not waiting:
            self._endings.pop(execution_id, None)

    async def _find_start(self) -> None:
        lanes = [Lane(Topic.EVENTS, shard) for shard in range(await self._log.shards())]
        goals = {lane: await self._log.end(lane) for lane in lanes}
        begins = {lane: await self._log.begin(lane) for lane in lanes}
        starts = {lane: max(begins[lane], goals[lane] - LOOKBACK) for lane in lanes}
        starts[lanes[CATALOG_SHARD]] = begins[lanes[CATALOG_SHARD]]
        self.rings = {lane.partition: Ring() for lane in lanes}
        self._goals, self._offsets = goals, starts

    async def _follow(self, reader: Reader) -> None:
        self.reading = True
        while True:
            self._notice_caught_up()
            for lane, chunk in (await reader.read(READ_WAIT_S)).items():
                await self._take(lane, chunk)

    async def _take(self, lane: Lane, chunk: Chunk) -> None:
        for count, record in enumerate(chunk.records):
            self._fold(record)
            self._offsets[lane] = record.offset + 1
            if count % BREATH == BREATH - 1:
                await asyncio.sleep(0)
        self._offsets[lane] = chunk.position
        self.moved.fire()

    def _fold(self, record: Record) -> None:
        raw = record.value or b""
        event = decode_event(raw, record)
        self._check_dense(event)
        self._sequences[event.shard] = event.sequence
        self.rings[event.shard].add(Frame(event.shard, event.sequence, event.type, event.subject, raw))
        if event.shard == CATALOG_SHARD:
            self.catalog.fold(event)
        self.traces.feed(event)
        if isinstance(event.data, Completed | Failed | Aborted):
            self._wake_ending(event)

    def _check_dense(self, event: Event) -> None:
        last = self._sequences.get(event.shard)
        if last is not None and event.sequence != last + 1:
            raise BrokenHistory(
                f"Shard {event.shard} goes from sequence {last} to {event.sequence}: events are missing or doubled. "
                "Run `exledger verify` and keep this log as it is."
            )

    def _wake_ending(self, event: Event) -> None:
        for future in self._endings.pop(event.subject, ()):
            if not future.done():
                future.set_result({event.shard: event.sequence})

    def _notice_caught_up(self) -> None:
        if not self.caught_up.is_set() and all(self._offsets[lane] >= end for lane, end in self._goals.items()):
            self.caught_up.set()
