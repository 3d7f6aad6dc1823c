"""The log over Kafka, by aiokafka. What Kafka and its client can get wrong is kept out here, so that no service knows.

- Nothing is sent to a partition that a client picked, and no topic is named that does not exist.
- Every wait has a deadline. A write without an answer destroys its producer: it would try again for ever.
- Readers start from the caller's position, see committed records only, and fail loudly where the log does not reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from ..errors import TopicContract
from ..settings import KafkaSettings
from .aiokafka_inside import prepare_aiokafka
from .bounds import refuse_oversized
from .kafka_client import no_such_lane, topic_name
from .kafka_lookup import KafkaLookup
from .kafka_reader import KafkaReader
from .kafka_sender import KafkaSender
from .kafka_writer import KafkaWriter, take_over
from .protocol import Lane, Outgoing, Topic
from .topics import partition_counts

STALL_S = 15.0


class KafkaLog:
    """`async with KafkaLog(settings, "gateway") as log`. Raises Unavailable where Kafka does not answer.

    `stall_s`: how long a reader may stand still although its lanes go on, before it raises Stalled.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, *, stall_s: float = STALL_S) -> None:
        self._settings = settings
        self._client_id = client_id
        self._stall_s = stall_s
        self._partitions: dict[Topic, int] = {}
        self._lookup = KafkaLookup(settings, client_id)
        self._sender = KafkaSender(settings, client_id)
        self._logs_sender = KafkaSender(settings, f"{client_id}-logs")  # its trouble costs nobody else's writes

    async def __aenter__(self) -> Self:
        prepare_aiokafka()
        self._partitions = await partition_counts(self._settings)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.gather(self._sender.close(), self._logs_sender.close(), self._lookup.close())

    async def shards(self) -> int:
        count = self._partitions.get(Topic.EVENTS) or (await self._look_again()).get(Topic.EVENTS)
        if not count:
            raise TopicContract(
                f"There is no topic {topic_name(self._settings, Topic.EVENTS)} at {self._settings.bootstrap_servers}. "
                "Make the topics with `exledger init`."
            )
        return count

    @asynccontextmanager
    async def reader(self, positions: Mapping[Lane, int]) -> AsyncIterator[KafkaReader]:
        await self._require(positions)
        reader = KafkaReader(self._settings, f"{self._client_id}-reader", positions, self._lookup, self._stall_s)
        try:
            await reader.start()
            yield reader
        finally:
            await reader.close()

    @asynccontextmanager
    async def take_over(self, shard: int) -> AsyncIterator[KafkaWriter]:
        await self._require([Lane(Topic.EVENTS, shard)])
        writer = await take_over(self._settings, self._client_id, shard, self._lookup)
        try:
            yield writer
        finally:
            await writer.let_go()

    async def send(self, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        refuse_oversized(lane, batch)
        await self._require([lane])
        sender = self._logs_sender if lane.topic is Topic.LOGS else self._sender
        return await sender.send(lane, batch) if batch else []

    async def begin(self, lane: Lane) -> int:
        await self._require([lane])
        return (await self._lookup.begins([lane]))[lane]

    async def end(self, lane: Lane) -> int:
        await self._require([lane])
        return (await self._lookup.ends([lane]))[lane]

    async def position_at(self, lane: Lane, time_ms: int) -> int:
        end = await self.end(lane)  # asked first: what is appended in between must not be passed
        found = await self._lookup.at(lane, time_ms)
        return end if found is None else found

    async def _require(self, lanes: Iterable[Lane]) -> None:
        """Raises TopicContract for a lane that does not exist, before a client could name it to a broker."""
        if all(map(self._exists, lanes)):
            return
        await self._look_again()
        for lane in lanes:
            if not self._exists(lane):
                raise no_such_lane(self._settings, lane)

    def _exists(self, lane: Lane) -> bool:
        return 0 <= lane.partition < self._partitions.get(lane.topic, 0)

    async def _look_again(self) -> dict[Topic, int]:
        self._partitions = await partition_counts(self._settings)
        return self._partitions
