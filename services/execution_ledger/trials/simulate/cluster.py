"""A whole ledger in one virtual time: the real services over one log and one store, each as a process of its own.

A process that is killed gets no turns any more, so no clean-up of its own can help it. One that ends by itself is
started anew, as a supervisor would; `crashes` keeps why it ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from prometheus_client import CollectorRegistry

from execution_ledger.clock import World
from execution_ledger.data import Data
from execution_ledger.dispatcher import keeping as dispatchers
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.errors import Unavailable
from execution_ledger.files import Files
from execution_ledger.gateway.stream.tail import Tail
from execution_ledger.gateway.writes.commands import CommandSender
from execution_ledger.gateway.writes.job_work import JobWork
from execution_ledger.ledger import keeping as ledgers
from execution_ledger.ledger.service import LedgerService
from execution_ledger.lifecycle import Service, run_until
from execution_ledger.messages.definition import Definition
from execution_ledger.metrics import new_registry
from execution_ledger.projector.service import ProjectorService
from execution_ledger.runner.outcomes import Outcome
from execution_ledger.runner.service import RunnerService
from execution_ledger.sdk.pipelines.pipeline import Pipeline
from execution_ledger.settings import Settings

from .faults import Troubles
from .job_views import JobsInStore
from .log import SimulatedLog
from .loop import LIFE, Life, VirtualClock, VirtualLoop
from .objects import SimulatedObjects
from .plan import PROCESSES
from .store import SimulatedStore

INBOX_PARTITIONS = 2
REGISTER_S = 10.0
RESTART_S = 1.0
ROUNDS_MAX = 5  # in which tasks that swallow their cancellation are cancelled again at the very end
LAST_S = 30.0

T = TypeVar("T")


class GatewayProcess:
    """What of a gateway knows no HTTP: the tail, and the sender of commands."""

    name = "gateway"

    def __init__(self, log: SimulatedLog, world: World, settings: Settings, store: SimulatedStore) -> None:
        self.ready = asyncio.Event()
        self.tail = Tail(log)
        self.commands = CommandSender(log, world, self.tail, settings.gateway.decide_wait_s)
        self.job_work = JobWork(self.commands.jobs, JobsInStore(store, lambda: self.tail.position))
        self._world, self._stopping = world, asyncio.Event()

    async def run(self) -> None:
        await run_until(self._stopping, self._world.spawn, ("tail", self.tail.run()), ("jobs", self.job_work.run()))

    def stop(self) -> None:
        self._stopping.set()


@dataclass(frozen=True)
class Process:
    life: Life
    clock: VirtualClock
    service: Service
    task: asyncio.Task[None]
    registry: CollectorRegistry


@dataclass(frozen=True)
class Crash:
    at_s: float
    name: str
    error: BaseException


class Cluster:
    """Processes by name (`ledger-a`, `runner-b`); the part before the dash says what kind each is.

    `releases`: other pipelines than the usual ones, by the runner that has them. `snapshots`: whether any are kept.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        seed: int,
        pipelines: Mapping[str, Pipeline],
        settings: Settings,
        *,
        snapshots: bool = False,
    ) -> None:
        self.chance = random.Random(f"cluster {seed}")  # noqa: S311 - each process's chance follows from the seed
        self.troubles = Troubles(self.chance)
        self.clock = VirtualClock(loop)  # the brokers'
        self.clock_jumped = False
        self.log = SimulatedLog(settings.kafka.shards, INBOX_PARTITIONS, self.clock, self.troubles, self.chance)
        self.store = SimulatedStore(self.troubles, self.chance, self.log.moment)
        chance = random.Random(f"objects {seed}")  # noqa: S311 - as above
        self.objects = SimulatedObjects(self.troubles, chance, self.log.moment)
        self.files = SimulatedObjects(self.troubles, chance, _no_moment)  # a bucket of their own
        self.processes: dict[str, Process] = {}
        self.crashes: list[Crash] = []
        self.healed_s = 0.0  # when faults stopped
        self.releases: dict[str, Mapping[str, Pipeline]] = {}
        self._loop, self._pipelines, self._settings = loop, pipelines, settings
        self._kept_in = self.objects if snapshots else None
        self._ahead_ms: dict[str, int] = {}
        self._lives: list[Life] = []
        self._leaving: list[str] = []
        self._builders: dict[str, Callable[[World, CollectorRegistry], Service]] = {
            "ledger": self._ledger,
            "dispatcher": self._dispatcher,
            "runner": self._runner,
            "projector": self._projector,
            "gateway": self._gateway,
        }

    # --- what faults do -----------------------------------------------------------------------------------------------

    def life(self, name: str) -> Life | None:
        process = self.processes.get(name)
        return process.life if process else None

    def start(self, name: str) -> None:
        """Nothing where it runs already: two faults may have killed it."""
        if name in self.processes:
            return
        life, clock = Life(name), VirtualClock(self._loop)
        self._lives.append(life)
        clock.ahead_ms = self._ahead_ms.get(name, 0)
        world = World(clock, random.Random(self.chance.getrandbits(32)))  # noqa: S311 - a seeded choice is the point
        registry = new_registry()
        service = life.context.run(self._builders[name.split("-")[0]], world, registry)
        task = self._loop.create_task(service.run(), name=name, context=life.context)
        self.processes[name] = process = Process(life, clock, service, task, registry)
        task.add_done_callback(lambda _: self._ended(name, process))

    def kill(self, name: str) -> None:
        self.processes.pop(name).life.still = True

    def restart(self, name: str) -> None:
        if name in self.processes:
            self.kill(name)
        self.start(name)

    async def drain(self, name: str, within_s: float) -> None:
        """Stops it as a supervisor does: it may see to its end what it has begun, within bounds."""
        if (process := self.processes.get(name)) is None:
            return
        process.service.stop()
        self._leaving.append(name)
        await asyncio.wait([process.task], timeout=within_s)
        self._leaving.remove(name)
        if self.processes.get(name) is process:
            self.kill(name)

    def pause(self, name: str) -> None:
        self.processes[name].life.still = True

    def go_on(self, life: Life) -> None:
        """Nothing where it was killed meanwhile."""
        if life is self.life(life.name):
            self._loop.go_on(life)

    def dispatches(self, name: str) -> bool:
        process = self.processes.get(name)
        return bool(process and isinstance(process.service, DispatcherService) and process.service.claim)

    def set_clock(self, name: str, ahead_ms: int) -> None:
        self._ahead_ms[name] = ahead_ms
        if name == "log":
            self.clock_jumped = self.clock_jumped or ahead_ms != self.clock.ahead_ms
            self.clock.ahead_ms = ahead_ms
        elif process := self.processes.get(name):
            process.clock.ahead_ms = ahead_ms

    # --- what clients do ----------------------------------------------------------------------------------------------

    async def call(self, name: str, ask: Callable[[CommandSender], Coroutine[Any, Any, T]], patience_s: float) -> T:
        """Asks a gateway, in that gateway's own life. Raises Unavailable where no answer comes: it may yet be done."""
        process = self.processes.get(name)
        if process is None or not isinstance(process.service, GatewayProcess):
            raise Unavailable(f"{name} does not run.")
        task = self._loop.create_task(ask(process.service.commands), context=process.life.context)
        await asyncio.wait([task], timeout=patience_s)
        if not task.done():
            task.add_done_callback(_hear_nobody)
            raise Unavailable(f"{name} did not answer in {patience_s:.1f} s.")
        return task.result()

    def take_job(self, name: str, job_id: str) -> None:
        """As when somebody asks this gateway for the job."""
        process = self.processes.get(name)
        if process and isinstance(process.service, GatewayProcess):
            process.life.context.copy().run(process.service.job_work.take, job_id)

    # --- the end ------------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Nothing is wrong any more, and everything runs; what has halted somebody starts again."""
        self.healed_s = self._loop.time()
        self.troubles.clear()
        self.log.disarm_all()
        for name in ("log", *self.processes):
            self.set_clock(name, 0)
        for life in self._lives:
            self.go_on(life)
        for name in PROCESSES:
            self.start(name)
        halted = [name for name, process in self.processes.items() if _has_halted(process.service)]
        for name in dict.fromkeys([*halted, *self._leaving]):  # nobody waits any more to start those that leave anew
            self.restart(name)
        self.log.wake_readers()

    async def stop(self, names: Sequence[str], within_s: float) -> None:
        """One after the other; what does not end in time counts as a crash."""
        for name, process in [(name, self.processes[name]) for name in names if name in self.processes]:
            process.service.stop()
            await asyncio.wait([process.task], timeout=within_s)
            if not process.task.done():
                self.crashes.append(Crash(self._loop.time(), name, TimeoutError(f"not stopped in {within_s:.0f} s")))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Whatever is left is cancelled; what swallows that for good is left behind."""
        self.processes.clear()
        for _ in range(ROUNDS_MAX):
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if not left:
                return
            for each in self._lives:
                self._loop.go_on(each)
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=LAST_S)

    def _ended(self, name: str, process: Process) -> None:
        if self.processes.get(name) is not process or process.task.cancelled():
            return
        error = process.task.exception()
        del self.processes[name]
        if error is not None:
            self.crashes.append(Crash(self._loop.time(), name, error))
            self._loop.call_later(RESTART_S, lambda: self.start(name))

    async def _register(self, definition: Definition, digest: str) -> None:
        name = self.chance.choice(["gateway-a", "gateway-b"])
        await self.call(name, lambda sender: sender.catalog.pipeline(definition, actor="runner"), REGISTER_S)

    def _ledger(self, world: World, registry: CollectorRegistry) -> Service:
        settings, shards = self._settings, self._settings.kafka.shards
        kept_in = self._kept_in
        keeper = ledgers.keeper(kept_in, world, settings.snapshots, settings.ledger, shards) if kept_in else None
        return LedgerService(self.log, world, settings.ledger, shards, registry, keeper)

    def _dispatcher(self, world: World, registry: CollectorRegistry) -> Service:
        settings, shards = self._settings, self._settings.kafka.shards
        keeper = dispatchers.keeper(self._kept_in, world, settings.snapshots, shards) if self._kept_in else None
        return DispatcherService(
            self.log, world, settings.dispatcher, shards, INBOX_PARTITIONS, registry=registry, keeper=keeper
        )

    def _runner(self, world: World, registry: CollectorRegistry) -> Service:
        life = LIFE.get()
        assert life is not None
        return RunnerService(
            self.log,
            world,
            self._settings.runner,
            self.releases.get(life.name, self._pipelines),
            self._register,
            INBOX_PARTITIONS,
            call_plain=_inline,
            registry=registry,
            files=Files(self.files, world, self._settings.files.bytes_max),
            data=Data(self.files, self._settings.files.bytes_max),
        )

    def _projector(self, world: World, registry: CollectorRegistry) -> Service:
        return ProjectorService(self.log, self.store, world, self._settings.projector, registry)

    def _gateway(self, world: World, registry: CollectorRegistry) -> Service:
        return GatewayProcess(self.log, world, self._settings, self.store)


def _has_halted(service: Service) -> bool:
    return isinstance(service, ProjectorService) and bool(service.halted)


def _hear_nobody(task: asyncio.Task[Any]) -> None:
    """The client has gone; what its request came to interests nobody."""
    if not task.cancelled():
        task.exception()


async def _no_moment(moment: str, place: str) -> None:
    """Faults wait for snapshots, not for these."""


async def _inline(work: Callable[[], Outcome]) -> Outcome:
    """Plain functions without threads: at once, and in one go."""
    return work()
