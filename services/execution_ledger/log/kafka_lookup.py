"""Where lanes begin and end: questions to the brokers over a connection of their own.

A reader's connection is busy with a long poll, and a broker answers one request of a connection after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer

from ..errors import Unavailable
from ..settings import KafkaSettings
from .aiokafka_inside import end_consumer
from .kafka_client import answered, client_options, partition_of
from .protocol import Lane


class KafkaLookup:
    """Its client is made at the first question, and anew after a question that got no answer."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._settings = settings
        self._client_id = f"{client_id}-lookup"
        self._consumer: AIOKafkaConsumer | None = None
        self._making = asyncio.Lock()

    async def begins(self, lanes: Iterable[Lane]) -> dict[Lane, int]:
        partitions = {lane: partition_of(self._settings, lane) for lane in lanes}
        async with self._asking("where lanes begin") as consumer:
            found = await consumer.beginning_offsets(list(partitions.values()))
        return {lane: found[partition] for lane, partition in partitions.items()}

    async def ends(self, lanes: Iterable[Lane]) -> dict[Lane, int]:
        """Last stable offsets: behind them nothing is decided yet."""
        partitions = {lane: partition_of(self._settings, lane) for lane in lanes}
        async with self._asking("where lanes end") as consumer:
            found = await consumer.end_offsets(list(partitions.values()))
        return {lane: found[partition] for lane, partition in partitions.items()}

    async def at(self, lane: Lane, time_ms: int) -> int | None:
        """The offset of the first record of that time or later; None where there is none."""
        partition = partition_of(self._settings, lane)
        async with self._asking("where a time lies") as consumer:
            found = (await consumer.offsets_for_times({partition: time_ms}))[partition]
        return None if found is None else int(found.offset)

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await end_consumer(consumer)

    @asynccontextmanager
    async def _asking(self, what: str) -> AsyncIterator[AIOKafkaConsumer]:
        try:
            async with answered(self._settings, what):
                yield await self._ready()
        except Unavailable:
            await self.close()
            raise

    async def _ready(self) -> AIOKafkaConsumer:
        async with self._making:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(
                    **client_options(self._settings, self._client_id),
                    isolation_level="read_committed",
                    auto_offset_reset="none",
                    enable_auto_commit=False,
                )
                try:
                    await consumer.start()
                except BaseException:
                    await end_consumer(consumer)
                    raise
                self._consumer = consumer
            return self._consumer
