"""Appends to lanes that have no owner, over one idempotent producer for all callers of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from ..settings import KafkaSettings
from .aiokafka_inside import destroy
from .kafka_client import ANSWER_S, partition_of
from .kafka_producer import produce, start_producer, write_error
from .protocol import Lane, Outgoing


class KafkaSender:
    """The producer is made at the first send, and anew after a write without an answer: it would try that for ever,
    and a batch that failed leaves a gap in its sequence numbers that the broker never forgives.
    """

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._settings = settings
        self._client_id = f"{client_id}-sender"
        self._producer: AIOKafkaProducer | None = None
        self._making = asyncio.Lock()
        self._destroying: set[asyncio.Task[None]] = set()

    async def send(self, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        producer = await self._ready()
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._write(producer, lane, batch)
        except (KafkaError, TimeoutError, OSError) as error:
            self._give_up(producer, str(error))
            raise write_error(f"{lane.topic}/{lane.partition}", error) from error

    async def close(self) -> None:
        if self._producer:
            self._give_up(self._producer, "the log was closed")
        while self._destroying:
            await asyncio.wait(self._destroying)

    async def _write(self, producer: AIOKafkaProducer, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        partition = partition_of(self._settings, lane)
        if len(batch) > 1:
            return await produce(producer, partition, batch)
        # Alone, a record shares a batch with those of other callers that are waiting at the same time.
        [record] = batch
        answer = await producer.send(
            partition.topic, record.value, record.key, partition.partition, headers=list(record.headers)
        )
        return [(await answer).offset]

    async def _ready(self) -> AIOKafkaProducer:
        async with self._making:
            if self._producer is None:
                self._producer = await start_producer(self._settings, self._client_id, ANSWER_S)
            return self._producer

    def _give_up(self, producer: AIOKafkaProducer, cause: str) -> None:
        if self._producer is producer:
            self._producer = None
            task = destroy(producer, cause)
            self._destroying.add(task)
            task.add_done_callback(self._destroying.discard)
