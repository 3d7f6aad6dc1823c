"""Reads lanes over Kafka: only what is committed, from positions that the caller keeps, never from a default."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError

from ..errors import BrokenHistory, LedgerError, LogTruncated, Transient
from ..lifecycle import end_tasks
from ..settings import KafkaSettings
from .aiokafka_inside import end_consumer
from .bounds import outside
from .kafka_client import answered, client_options, partition_of, unavailable
from .kafka_lookup import KafkaLookup
from .protocol import Chunk, Ends, Lane, Record
from .watchdog import Watchdog

FETCH_WAIT_MS = 500  # how long a broker holds a poll that has nothing; data answers it at once
FETCH_BYTES_MAX = 1_048_576  # per lane and poll; the memory of a reader is about twice this per lane
SLICE_S = 0.1  # a poll that brought only markers does not wake aiokafka's caller, so positions are looked at this often


class KafkaReader:
    """One consumer with a fixed assignment. After an error it is finished: what it had fetched may be lost with it."""

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        positions: Mapping[Lane, int],
        lookup: KafkaLookup,
        stall_s: float,
    ) -> None:
        self._settings = settings
        self._lookup = lookup
        self._positions = dict(positions)
        self._lanes = {partition_of(settings, lane): lane for lane in positions}
        self._failure: LedgerError | None = None
        self._watching: asyncio.Task[None] | None = None
        self._watchdog = Watchdog(lambda: self._positions, lookup.ends, stall_s)
        self._consumer = AIOKafkaConsumer(
            **client_options(settings, client_id),
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            check_crcs=True,
        )

    async def start(self) -> None:
        async with answered(self._settings, "opening a reader"):
            await self._consumer.start()
        # No wait between these: a lane that is assigned without a position makes the consumer wait for one for ever.
        self._consumer.assign(list(self._lanes))
        for partition, lane in self._lanes.items():
            self._consumer.seek(partition, self._positions[lane])
        self._watching = asyncio.create_task(self._watchdog.run(), name="watchdog")

    async def close(self) -> None:
        if self._watching:
            await end_tasks([self._watching])
        await end_consumer(self._consumer)

    async def read(self, wait_s: float) -> Mapping[Lane, Chunk]:
        clock = asyncio.get_running_loop().time
        until = clock() + wait_s
        while True:
            self._raise_failure()
            self._watchdog.asked = True
            left_s = max(0.0, until - clock())
            chunks = await self._poll(min(left_s, SLICE_S))
            if chunks or not left_s:
                return chunks

    def ends(self) -> Mapping[Lane, Ends]:
        """Every answer to a poll names them; without data one comes after FETCH_WAIT_MS."""
        found = {
            lane: (self._consumer.last_stable_offset(partition), self._consumer.highwater(partition))
            for partition, lane in self._lanes.items()
        }
        return {lane: Ends(stable, high) for lane, (stable, high) in found.items() if high is not None}

    async def _poll(self, wait_s: float) -> dict[Lane, Chunk]:
        try:
            fetched = await self._consumer.getmany(timeout_ms=wait_s * 1_000)
        except KafkaError as error:
            self._failure = await self._explain(error)
            raise self._failure from error
        return await self._take(fetched)

    async def _take(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> dict[Lane, Chunk]:
        """Does not wait: `position` answers at once for a lane that was sought, so nothing fetched can be lost."""
        moved: dict[Lane, Chunk] = {}
        for partition, lane in self._lanes.items():
            position = await self._consumer.position(partition)
            if position > self._positions[lane]:
                records = [_record(lane, record) for record in fetched.get(partition, ())]
                moved[lane] = Chunk(records, position)
                self._positions[lane] = position
        return moved

    def _raise_failure(self) -> None:
        if self._watching and self._watching.done():
            self._watching.result()
        self._failure = self._failure or self._watchdog.verdict
        if self._failure:
            raise self._failure

    async def _explain(self, error: KafkaError) -> LedgerError:
        if isinstance(error, OffsetOutOfRangeError):
            return await self._truncated()
        if isinstance(error, CorruptRecordException):
            return BrokenHistory(f"{error}: a record's checksum does not fit it. Compare the partition's replicas.")
        return unavailable(self._settings, "reading", error)

    async def _truncated(self) -> LedgerError:
        try:
            begins = await self._lookup.begins(self._positions)
            ends = await self._lookup.ends(self._positions)
        except Transient as unanswered:
            return unanswered
        for lane, position in self._positions.items():
            if not begins[lane] <= position <= ends[lane]:
                return LogTruncated(outside(lane, position, begins[lane], ends[lane]))
        return unavailable(self._settings, "reading", OffsetOutOfRangeError(self._positions))


def _record(lane: Lane, record: ConsumerRecord) -> Record:
    return Record(lane, record.offset, record.timestamp, record.key, record.value)
