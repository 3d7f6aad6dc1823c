"""Defences of projector and gateway, taken out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from execution_ledger.gateway.stream.tail import Tail
from execution_ledger.gateway.writes.batches import BatchAnswer, BatchSender, submits
from execution_ledger.gateway.writes.checking import Stamp
from execution_ledger.gateway.writes.requests import ExecutionRequest
from execution_ledger.log.protocol import Chunk
from execution_ledger.messages.events import Event
from execution_ledger.messages.ids import shard_of_child
from execution_ledger.projector import rows, service
from execution_ledger.projector.changes import Changes, StoredPosition
from execution_ledger.projector.memory import MemoryStore
from execution_ledger.projector.rows import Recorded
from execution_ledger.projector.service import ProjectorService
from removal.instead import instead


@contextmanager
def position_compare_and_set() -> Iterator[None]:
    real = MemoryStore.apply

    async def apply(self: MemoryStore, expected: StoredPosition | None, changes: Changes) -> None:
        await real(self, self.positions.get(changes.shard), changes)

    with instead(MemoryStore, "apply", apply):
        yield


@contextmanager
def idle_look_at_position() -> Iterator[None]:
    async def trust(self: ProjectorService, shard: int, at: StoredPosition | None) -> None:
        pass

    with instead(ProjectorService, "_check_stored", trust):
        yield


@contextmanager
def event_at_the_position() -> Iterator[None]:
    """It goes on from its position, whatever the log holds there."""

    def behind(shard: int, at: StoredPosition, chunk: Chunk | None) -> Chunk:
        return Chunk(chunk.records[1:], chunk.position) if chunk else Chunk((), at.next_offset)

    with instead(service, "_behind", behind):
        yield


@contextmanager
def no_event_missed() -> Iterator[None]:
    """They go on from whatever comes."""
    real = rows._next_position

    def next_position(shard: int, at: StoredPosition | None, recorded: Recorded, digest: str) -> StoredPosition:
        before = at._replace(sequence=recorded.event.sequence - 1) if at else None
        return real(shard, before, recorded, digest)

    with instead(rows, "_next_position", next_position):
        yield


@contextmanager
def no_event_missed_by_the_gateway() -> Iterator[None]:
    def follow(self: Tail, event: Event) -> None:
        pass

    with instead(Tail, "_check_dense", follow):
        yield


@contextmanager
def batch_opened_first() -> Iterator[None]:
    """The children do not wait for their batch."""
    real = BatchSender.send

    async def send(self: BatchSender, requests: Sequence[ExecutionRequest], opening: Stamp, shard: int) -> BatchAnswer:
        checked = await self._check(requests, await self._newest(requests))
        shards = self._sender.shards()
        places = [shard_of_child(index, shards) for index in range(len(checked))]
        lanes = sorted(set(places))
        sent = (self._sender.send_in_order(lane, submits(lane, checked, places, opening)) for lane in lanes)
        for waiters in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(waiters, list):
                self._sender.forget(waiters)
        return await real(self, requests, opening, shard)

    with instead(BatchSender, "send", send):
        yield
