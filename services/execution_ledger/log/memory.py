"""The log in memory: one object is the broker, and every client of a test or a simulation shares it.

It keeps what others must not get wrong over Kafka: epochs that fence, batches that are all or nothing, a marker behind
each transaction, so that an offset is never the last one + 1, and a moment until readers see what was committed. It has
no thread, no clock and no chance of its own. A subclass can break it on purpose: every trip to the broker passes
`_request`, every write passes `_answer` too, and append times, readers and transactions have a seam each.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ..errors import Fenced, LedgerError, LogTruncated, OutcomeUnknown, TopicContract
from .bounds import outside, refuse_oversized
from .protocol import Chunk, Ends, Lane, Outgoing, Record, Topic

MARKER_S = 0.002  # between a commit's answer and the sight of it, as with a real broker
READ_RECORDS_MAX = 5_000  # of one lane at a time, so that readers meet partial reads here too


@dataclass(slots=True)
class Partition:
    """What the broker holds of one lane. `end` may lie behind the last record: markers take an offset each.

    Readers see what lies before `stable`; a transaction is decided when it is written, and seen when it is settled.
    """

    records: list[Record] = field(default_factory=list)
    begin: int = 0
    stable: int = 0
    end: int = 0
    epoch: int = 0
    readers: list[asyncio.Event] = field(default_factory=list)

    def write(self, lane: Lane, batch: Sequence[Outgoing], time_ms: int) -> list[int]:
        offsets = list(range(self.end, self.end + len(batch)))
        new = zip(offsets, batch, strict=True)
        self.records += [Record(lane, offset, time_ms, item.key, item.value) for offset, item in new]
        self.end += len(batch)
        return offsets

    def settle(self) -> None:
        if self.stable == self.end:
            return
        self.stable = self.end
        for news in self.readers:
            news.set()

    def read(self, position: int) -> Chunk:
        start, stop = self.index(position), self.index(self.stable)
        records = self.records[start : min(stop, start + READ_RECORDS_MAX)]
        complete = start + len(records) >= stop
        return Chunk(records, max(position, self.stable) if complete else records[-1].offset + 1)

    def index(self, position: int) -> int:
        return bisect_left(self.records, position, key=_offset)


class MemoryLog:
    """`now_ms` gives the append times; where it steps back, a lane's append times stand still."""

    reader_type: type[MemoryReader]

    def __init__(self, shards: int, inbox_partitions: int = 2, *, now_ms: Callable[[], int]) -> None:
        self._shards = shards
        self._now_ms = now_ms
        counts = {Topic.INBOX: inbox_partitions, Topic.HEARTBEATS: 1}
        self._partitions = {
            Lane(topic, number): Partition() for topic in Topic for number in range(counts.get(topic, shards))
        }

    async def shards(self) -> int:
        return self._shards

    @asynccontextmanager
    async def reader(self, positions: Mapping[Lane, int]) -> AsyncIterator[MemoryReader]:
        partitions = {lane: self.partition(lane) for lane in positions}
        news = asyncio.Event()
        for partition in partitions.values():
            partition.readers.append(news)
        try:
            yield self.reader_type(self, dict(positions), news)
        finally:
            for partition in partitions.values():
                partition.readers.remove(news)

    @asynccontextmanager
    async def take_over(self, shard: int) -> AsyncIterator[MemoryWriter]:
        partition = self.partition(Lane(Topic.EVENTS, shard))
        await self._request(Lane(Topic.EVENTS, shard))
        partition.epoch += 1
        partition.settle()
        writer = MemoryWriter(self, shard, partition.epoch, partition.end)
        try:
            await self._answer(Lane(Topic.EVENTS, shard))
            yield writer
        finally:
            writer.let_go()

    async def send(self, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        refuse_oversized(lane, batch)
        partition = self.partition(lane)
        if not batch:
            return []
        await self._request(lane)
        offsets = partition.write(lane, batch, self._append_ms(partition))
        partition.settle()
        await self._answer(lane)
        return offsets

    async def begin(self, lane: Lane) -> int:
        partition = self.partition(lane)
        await self._request(lane)
        return partition.begin

    async def end(self, lane: Lane) -> int:
        partition = self.partition(lane)
        await self._request(lane)
        return partition.stable

    async def position_at(self, lane: Lane, time_ms: int) -> int:
        partition = self.partition(lane)
        await self._request(lane)
        index = bisect_left(partition.records, time_ms, key=_time_ms)
        return partition.records[index].offset if index < partition.index(partition.stable) else partition.stable

    async def transact(self, shard: int, epoch: int, batch: Sequence[Outgoing]) -> int:
        """One transaction of the writer that holds `epoch`; answers with its last offset.

        Raises Fenced where that is not the shard's last epoch.
        """
        lane = Lane(Topic.EVENTS, shard)
        await self._request(lane)
        partition = self.partition(lane)
        if epoch != partition.epoch:
            raise Fenced(f"Shard {shard} was taken over: this writer holds epoch {epoch} of {partition.epoch}.")
        partition.settle()
        offsets = partition.write(lane, batch, self._append_ms(partition))
        partition.end += 1  # the marker
        asyncio.get_running_loop().call_later(MARKER_S, partition.settle)
        await self._answer(lane)
        return offsets[-1]

    def forget(self, lane: Lane, before: int) -> None:
        """Deletes what lies before a position, as retention does."""
        partition = self.partition(lane)
        partition.begin = max(partition.begin, min(before, partition.stable))
        del partition.records[: partition.index(partition.begin)]

    def partition(self, lane: Lane) -> Partition:
        if lane not in self._partitions:
            raise TopicContract(
                f"This log has no {lane.topic}/{lane.partition}: it was made with {self._shards} shards."
            )
        return self._partitions[lane]

    def _append_ms(self, partition: Partition) -> int:
        now_ms = self._now_ms()
        return max(now_ms, partition.records[-1].time_ms) if partition.records else now_ms

    async def _request(self, lane: Lane) -> None:
        """On the way to the broker: others may run, and nothing has happened yet."""
        await asyncio.sleep(0)

    async def _answer(self, lane: Lane) -> None:
        """On the way back: it has happened, and the caller does not know yet."""
        await asyncio.sleep(0)


class MemoryReader:
    def __init__(self, log: MemoryLog, positions: dict[Lane, int], news: asyncio.Event) -> None:
        self._log = log
        self._positions = positions
        self._news = news

    async def read(self, wait_s: float) -> Mapping[Lane, Chunk]:
        await asyncio.sleep(0)  # so that a reader that always finds something lets others run
        if chunks := self._take():
            return chunks
        try:
            async with asyncio.timeout(wait_s):
                while not (chunks := self._take()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return {}
        return chunks

    def ends(self) -> Mapping[Lane, Ends]:
        partitions = {lane: self._log.partition(lane) for lane in self._positions}
        return {lane: Ends(partition.stable, partition.end) for lane, partition in partitions.items()}

    def _take(self) -> dict[Lane, Chunk]:
        """Without waiting in between, so that a cancelled read has taken nothing."""
        chunks = {lane: self._read(lane, position) for lane, position in self._positions.items()}
        moved = {lane: chunk for lane, chunk in chunks.items() if chunk.position > self._positions[lane]}
        self._positions |= {lane: chunk.position for lane, chunk in moved.items()}
        return moved

    def _read(self, lane: Lane, position: int) -> Chunk:
        partition = self._log.partition(lane)
        if not partition.begin <= position <= partition.end:
            raise LogTruncated(outside(lane, position, partition.begin, partition.end))
        return partition.read(position)


MemoryLog.reader_type = MemoryReader


class MemoryWriter:
    def __init__(self, log: MemoryLog, shard: int, epoch: int, end: int) -> None:
        self._log = log
        self._epoch = epoch
        self._ended: LedgerError | None = None
        self.shard = shard
        self.end = end

    async def append(self, batch: Sequence[Outgoing]) -> int:
        refuse_oversized(Lane(Topic.EVENTS, self.shard), batch)
        if self._ended:
            raise self._ended
        if not batch:
            return -1
        self._ended = OutcomeUnknown(f"An append to shard {self.shard} was left in the middle; take it over anew.")
        try:
            offset = await self._log.transact(self.shard, self._epoch, batch)
        except LedgerError as error:
            self._ended = error
            raise
        self._ended = None
        return offset

    def let_go(self) -> None:
        self._ended = Fenced(f"This writer let shard {self.shard} go; take it over anew.")


def _offset(record: Record) -> int:
    return record.offset


def _time_ms(record: Record) -> int:
    return record.time_ms
