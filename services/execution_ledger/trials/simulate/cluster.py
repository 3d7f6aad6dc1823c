"""A whole ledger in one virtual time: the real services over the memory log, each as a process that can die.

A process that is killed does nothing visible any more: its way to the log ends in a wait that never returns, as a
machine without power would have it. Its tasks are left to themselves, so no clean-up of its own can help it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from execution_ledger.clock import World
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.gateway.commands import CommandSender
from execution_ledger.gateway.tail import Tail
from execution_ledger.ledger.service import LedgerService
from execution_ledger.lifecycle import Service
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Chunk, Ends, Lane, Log, Outgoing, Reader, Writer
from execution_ledger.messages.definition import Definition
from execution_ledger.metrics import new_registry
from execution_ledger.projector.memory import MemoryStore
from execution_ledger.projector.service import ProjectorService
from execution_ledger.runner.outcomes import Outcome
from execution_ledger.runner.service import RunnerService
from execution_ledger.sdk.pipeline import Pipeline
from execution_ledger.settings import Settings

from .loop import VirtualLoop, virtual_world

INBOX_PARTITIONS = 2
DECIDE_WAIT_S = 30.0

Build = Callable[[Log, World, CollectorRegistry], Service]


class MortalLog:
    """One process's way to the log, until it dies."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._dead = False
        self._grave: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def die(self) -> None:
        self._dead = True

    def bury(self) -> None:
        """When all is over: what still waits on the dead process's behalf is let go."""
        self._dead = True
        self._grave.cancel()

    async def alive(self) -> None:
        if self._dead:
            await asyncio.shield(self._grave)

    async def shards(self) -> int:
        await self.alive()
        return await self._log.shards()

    @asynccontextmanager
    async def reader(self, positions: Mapping[Lane, int]) -> AsyncIterator[Reader]:
        await self.alive()
        async with self._log.reader(positions) as reader:
            yield MortalReader(self, reader)

    @asynccontextmanager
    async def take_over(self, shard: int) -> AsyncIterator[Writer]:
        await self.alive()
        async with self._log.take_over(shard) as writer:
            yield MortalWriter(self, writer)

    async def send(self, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        await self.alive()
        offsets = await self._log.send(lane, batch)
        await self.alive()
        return offsets

    async def begin(self, lane: Lane) -> int:
        await self.alive()
        return await self._log.begin(lane)

    async def end(self, lane: Lane) -> int:
        await self.alive()
        return await self._log.end(lane)

    async def position_at(self, lane: Lane, time_ms: int) -> int:
        await self.alive()
        return await self._log.position_at(lane, time_ms)


@dataclass(frozen=True)
class MortalReader:
    life: MortalLog
    reader: Reader

    async def read(self, wait_s: float) -> Mapping[Lane, Chunk]:
        await self.life.alive()
        chunks = await self.reader.read(wait_s)
        await self.life.alive()
        return chunks

    def ends(self) -> Mapping[Lane, Ends]:
        return self.reader.ends()


@dataclass(frozen=True)
class MortalWriter:
    life: MortalLog
    writer: Writer

    @property
    def shard(self) -> int:
        return self.writer.shard

    @property
    def end(self) -> int:
        return self.writer.end

    async def append(self, batch: Sequence[Outgoing]) -> int:
        await self.life.alive()
        offset = await self.writer.append(batch)
        await self.life.alive()
        return offset


@dataclass(frozen=True)
class Process:
    service: Service
    log: MortalLog
    task: asyncio.Task[None]
    registry: CollectorRegistry


class Cluster:
    """Processes by name (`ledger-a`, `runner-b`); the part before the dash says what kind each is."""

    def __init__(self, loop: VirtualLoop, seed: int, pipelines: Mapping[str, Pipeline], settings: Settings) -> None:
        self.world = virtual_world(loop, seed)
        self.log = MemoryLog(settings.kafka.shards, INBOX_PARTITIONS, now_ms=self.world.clock.now_ms)
        self.store = MemoryStore()
        self.tail = Tail(self.log)
        self.callers = CommandSender(self.log, self.world, self.tail, DECIDE_WAIT_S)
        self.processes: dict[str, Process] = {}
        self._dead: list[Process] = []
        self._pipelines, self._settings = pipelines, settings
        self._seeds = random.Random(seed)  # noqa: S311 - each process's chance follows from the run's seed
        self._loop = loop
        self._builders: dict[str, Build] = {
            "ledger": self._ledger,
            "dispatcher": self._dispatcher,
            "runner": self._runner,
            "projector": self._projector,
        }
        self.tail_task = self.world.spawn(self.tail.run(), "tail")

    def start(self, name: str) -> None:
        log = MortalLog(self.log)
        world = virtual_world(self._loop, self._seeds.getrandbits(32))
        registry = new_registry()
        service = self._builders[name.split("-")[0]](log, world, registry)
        self.processes[name] = Process(service, log, world.spawn(service.run(), name), registry)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.log.die()
        self._dead.append(process)

    async def stop(self) -> None:
        """Everything that lives, in order. Raises what any service could not handle."""
        for process in reversed(self.processes.values()):
            process.service.stop()
            await process.task

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in (*self._dead, *self.processes.values()):
            process.log.bury()
            process.task.cancel()
        self.tail_task.cancel()
        await asyncio.wait([self.tail_task, *(process.task for process in (*self._dead, *self.processes.values()))])

    async def _register(self, definition: Definition, digest: str) -> None:
        await self.callers.register(definition, actor="runner")

    def _ledger(self, log: Log, world: World, registry: CollectorRegistry) -> Service:
        return LedgerService(log, world, self._settings.ledger, self._settings.kafka.shards, registry)

    def _dispatcher(self, log: Log, world: World, registry: CollectorRegistry) -> Service:
        settings = self._settings
        return DispatcherService(
            log, world, settings.dispatcher, settings.kafka.shards, INBOX_PARTITIONS, registry=registry
        )

    def _runner(self, log: Log, world: World, registry: CollectorRegistry) -> Service:
        return RunnerService(
            log,
            world,
            self._settings.runner,
            self._pipelines,
            self._register,
            INBOX_PARTITIONS,
            call_plain=_inline,
            registry=registry,
        )

    def _projector(self, log: Log, world: World, registry: CollectorRegistry) -> Service:
        return ProjectorService(log, self.store, world, self._settings.projector, registry)


async def _inline(work: Callable[[], Outcome]) -> Outcome:
    """Plain functions without threads: at once, and in one go."""
    return work()
