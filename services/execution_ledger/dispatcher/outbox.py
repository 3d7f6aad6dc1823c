"""An outbox: one lane's records, sent in order, one batch at a time. What comes during a send makes the next batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from execution_ledger.errors import Transient
from execution_ledger.log.protocol import Lane, Log, Outgoing, Topic

_BATCH_RECORDS_MAX = 500
_BATCH_BYTES_MAX = 4_000_000

_log = structlog.get_logger()

Key = TypeVar("Key")


class Outbox(Generic[Key]):
    """`sent` hears the offset of each record, `unknown` which ones may or may not have arrived. Nothing is sent twice.

    Bounded by its users: the desk orders nothing again before it has heard what became of it.
    """

    def __init__(self, log: Log, lane: Lane, sent: Callable[[Key, int], None], unknown: Callable[[Key], None]) -> None:
        self._log = log
        self._lane = lane
        self._sent = sent
        self._unknown = unknown
        self._waiting: deque[tuple[Key, Outgoing]] = deque()
        self._news = asyncio.Event()
        self.unknowns = 0  # records without an answer

    @property
    def name(self) -> str:
        return f"outbox-{self._lane.topic}-{self._lane.partition}"

    def put(self, key: Key, record: Outgoing) -> None:
        self._waiting.append((key, record))
        self._news.set()

    def clear(self) -> None:
        self._waiting.clear()

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                await self._send(self._next_batch())

    def _next_batch(self) -> list[tuple[Key, Outgoing]]:
        batch, size = [self._waiting.popleft()], 0
        while self._waiting and len(batch) < _BATCH_RECORDS_MAX:
            size += len(batch[-1][1].value)
            if size >= _BATCH_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _send(self, batch: list[tuple[Key, Outgoing]]) -> None:
        try:
            offsets = await self._log.send(self._lane, [record for _, record in batch])
        except Transient as error:
            self.unknowns += len(batch)
            topic, partition = self._lane
            where = {"shard": partition} if topic is Topic.COMMANDS else {"partition": partition}
            _log.warning("a send got no answer", topic=topic.value, records=len(batch), error=str(error), **where)
            for key, _ in batch:
                self._unknown(key)
            return
        for (key, _), offset in zip(batch, offsets, strict=True):
            self._sent(key, offset)
