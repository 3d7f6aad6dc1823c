"""A stage for snapshots: one log, one store, and services that come and go, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import _AsyncGeneratorContextManager
from typing import Any

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from execution_ledger.clock import World
from execution_ledger.dispatcher import keeping as dispatcher_keeping
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.errors import Unavailable
from execution_ledger.ledger import keeping as ledger_keeping
from execution_ledger.ledger.service import LedgerService
from execution_ledger.log.memory import MemoryLog, MemoryReader
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.ids import make_id
from execution_ledger.objects import MemoryObjects
from execution_ledger.settings import DispatcherSettings, LedgerSettings, SnapshotSettings
from unit.spec import submit
from unit.test_ledger_service import SHARDS, history, send

# Five events, at the rate that is assumed before one was measured, however much there is to write.
OFTEN = SnapshotSettings(due_s=0.0003, share_max=1_000)
EVENTS = Lane(Topic.EVENTS, 1)


class Failing(MemoryObjects):
    """Fails where and while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = ""
        self.asked = 0

    def _pass(self, what: str) -> None:
        self.asked += what == self.failing
        if what == self.failing:
            raise Unavailable(f"no {what}")

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> None:
        self._pass("put")
        await super().put(name, pieces)

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        self._pass("get")
        async for piece in super().get(name):
            yield piece

    async def names(self, folder: str) -> list[str]:
        self._pass("names")
        return await super().names(folder)

    async def delete(self, name: str) -> None:
        self._pass("delete")
        await super().delete(name)


class Counted(MemoryLog):
    """Knows from where each lane was read, so that a test can see what a start has read."""

    def __init__(self, world: World) -> None:
        super().__init__(SHARDS, now_ms=world.clock.now_ms)
        self.opened: list[tuple[Lane, int]] = []

    def reader(self, positions: Mapping[Lane, int]) -> _AsyncGeneratorContextManager[MemoryReader]:
        self.opened += positions.items()
        return super().reader(positions)


class Stage:
    """One log, one store, and services that come and go."""

    def __init__(self, world: World, objects: MemoryObjects | None = None, settings: SnapshotSettings = OFTEN) -> None:
        self.world, self.settings = world, settings
        self.log, self.objects = Counted(world), objects or MemoryObjects()
        self._numbers = iter(range(1, 10_000))

    def ledger(self, settings: LedgerSettings | None = None, registry: CollectorRegistry | None = None) -> Running:
        settings = settings or LedgerSettings()
        keeper = ledger_keeping.keeper(self.objects, self.world, self.settings, settings, SHARDS)
        return Running(LedgerService(self.log, self.world, settings, SHARDS, registry, keeper), self.world)

    def dispatcher(self, registry: CollectorRegistry | None = None) -> Running:
        keeper = dispatcher_keeping.keeper(self.objects, self.world, self.settings, SHARDS)
        service = DispatcherService(
            self.log, self.world, DispatcherSettings(), SHARDS, 2, registry=registry, keeper=keeper
        )
        return Running(service, self.world)

    async def submit(self, count: int) -> None:
        for number in (next(self._numbers) for _ in range(count)):
            command = submit(make_id(self.world.clock.now_ms(), 1, number), f"c-{number}")
            await send(self.log, Topic.COMMANDS, 1, command)
            await asyncio.sleep(0.05)

    def kept(self, name: str = "ledger-1") -> list[str]:
        return sorted(found for found in self.objects.held if f"/{name}/" in found)

    async def begin_anew(self) -> tuple[int, list[Any]]:
        """Where a new ledger went on reading shard 1, and what it said of snapshots; its state is checked, too."""
        self.log.opened.clear()
        with capture_logs() as said:
            ledger = self.ledger()
            async with asyncio.timeout(10):
                await ledger.service.ready.wait()
            began = [at for lane, at in self.log.opened if lane == EVENTS]
            await self.submit(1)
            await asyncio.sleep(1)
            await ledger.stop()
        newest = (await history(self.log, 1))[-1]
        assert newest.data.TYPE == "execution.queued.v1", "it decides, and on the state of the whole log"
        assert newest.data.number // 4096 == sum(e.data.TYPE == newest.data.TYPE for e in await history(self.log, 1))
        return began[-1], [each for each in said if each["event"] == "snapshot passed over"]


class Running:
    def __init__(self, service: LedgerService | DispatcherService, world: World) -> None:
        self.service = service
        self.task = world.spawn(service.run(), service.name)

    async def stop(self) -> None:
        self.service.stop()
        await self.task


async def used(stage: Stage, executions: int = 30) -> None:
    ledger = stage.ledger()
    await stage.submit(executions)
    await asyncio.sleep(2)
    await ledger.stop()
