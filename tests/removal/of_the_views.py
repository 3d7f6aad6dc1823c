"""Defences of projector and gateway, taken out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from execution_ledger.gateway.batches import BatchAnswer, BatchSender, submits
from execution_ledger.gateway.checking import Stamp
from execution_ledger.gateway.requests import ExecutionRequest
from execution_ledger.messages.ids import shard_of_child
from execution_ledger.projector.changes import Changes, StoredPosition
from execution_ledger.projector.memory import MemoryStore
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
