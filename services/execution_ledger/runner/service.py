"""The runner: inbox in, reports out, and the users' code in between.

Its decisions are made in `attempts.py`; this file only connects them with log, heart, outbox and executor.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import NoReturn

import structlog
from prometheus_client import CollectorRegistry

from execution_ledger.clock import World
from execution_ledger.lifecycle import run_until
from execution_ledger.log.protocol import Lane, Log, Record, Topic
from execution_ledger.messages.heartbeats import RunnerBeat
from execution_ledger.messages.inbox import INBOX, AnyInboxMessage, Start, Token
from execution_ledger.messages.payload import unreadable
from execution_ledger.messages.reports import ReportCheckpoint, Said
from execution_ledger.sdk.pipelines.pipeline import Pipeline
from execution_ledger.settings import RunnerSettings

from .attempts import Action, Attempts, Enter, Send, Stop
from .capacity import held_max
from .capture import inside
from .checkpoints import Checkpoints
from .executors.function import FunctionExecutor
from .executors.threads import PlainCall, in_daemon_thread
from .fault import Fault
from .heart import Heart
from .logs import Logs
from .metrics import RunnerMetrics
from .outbox import Outbox
from .outcomes import Completed, Outcome
from .register import Register
from .retry import persist
from .storing import AttemptStore, DataLent, FilesLent

READ_WAIT_S = 1.0
STOP_S = 1.0  # how long a drain waits for code to stop after it was told to
FLUSH_S = 5.0
LAST_BEAT_S = 2.0
START_S = 3.0  # in which a gateway that was started together with this runner comes up

_log = structlog.get_logger()


class RunnerService:
    """`process` is the id of this one process life. `call_plain` runs plain functions; a simulator runs them inline."""

    name = "runner"

    def __init__(
        self,
        log: Log,
        world: World,
        settings: RunnerSettings,
        pipelines: Mapping[str, Pipeline],
        register: Register,
        inbox_partitions: int,
        *,
        host: str = "",
        call_plain: PlainCall = in_daemon_thread,
        registry: CollectorRegistry | None = None,
        files: FilesLent | None = None,
        data: DataLent | None = None,
    ) -> None:
        self.ready = asyncio.Event()
        self.process = "-".join(filter(None, ("runner", host[:200], f"{world.chance.getrandbits(48):012x}")))
        self._log = log
        self._world = world
        self._settings = settings
        self._pipelines = pipelines
        self._register = register
        self._offers = {name: pipeline.digest for name, pipeline in pipelines.items()}
        self._inbox = Lane(Topic.INBOX, inbox_of(self.process, inbox_partitions))
        self._offset = 0
        self._fenced = 0  # how often it has stopped all its work by itself
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()
        self._idle = asyncio.Event()
        origins = {pipeline.digest: pipeline.origin for pipeline in pipelines.values()}
        self._attempts = Attempts(self.process, settings.slots, held_max(settings.slots, self._offers), origins)
        self._fault = Fault()
        self._outbox = Outbox(log, world, self._fault)
        self._heart = Heart(log, world, settings, self._beat, self._fence, self._revive, self._acknowledged)
        self._logs = Logs(log, world, files, settings)
        self._metrics = RunnerMetrics(
            registry, settings.slots, self._attempts, self._outbox, self._logs, self._heart.silent_s
        )
        self._checkpoints = Checkpoints(world.clock.monotonic_s, self._record, lambda: self._outbox.full)
        self._entered_s: dict[Token, float] = {}  # by the steady clock, while the code runs
        self._executor = FunctionExecutor(
            pipelines,
            world.spawn,
            call_plain,
            self._code_stopped,
            self._code_said,
            self._fault,
            lambda: AttemptStore(files, data, world.spawn),
            self._logs,
        )

    def stop(self) -> None:
        """Drains: no new starts, time for what runs, the rest given back."""
        self._stopping.set()

    async def run(self) -> None:
        await run_until(self._stopping, self._world.spawn, ("register", self._prepare()))
        if self._stopping.is_set():
            return
        try:
            await run_until(
                self._drained,
                self._world.spawn,
                ("inbox", self._read_inbox()),
                ("heartbeats", self._heart.beat()),
                ("fence", self._heart.watch()),
                ("faults", self._fault.raised()),
                ("logs", self._logs.run()),
                ("drain", self._drain()),
            )
        finally:
            self.ready.clear()
            await self._executor.close()
            await self._outbox.close()

    async def _prepare(self) -> None:
        """Before the first heartbeat: what it offers is known, and nothing sent to it after that can be missed."""
        for pipeline in self._pipelines.values():
            registering = partial(self._register, pipeline.definition, pipeline.digest)
            await persist(registering, "registering", self._world.chance, hurried_s=START_S)
        self._offset = await persist(partial(self._log.end, self._inbox), "finding the inbox", self._world.chance)

    # --- inbox ----------------------------------------------------------------------------------------------------

    async def _read_inbox(self) -> None:
        await persist(self._follow_inbox, "reading the inbox", self._world.chance)

    async def _follow_inbox(self) -> NoReturn:
        async with self._log.reader({self._inbox: self._offset}) as reader:
            while True:
                chunks = await reader.read(READ_WAIT_S)
                if chunk := chunks.get(self._inbox):
                    for record in chunk.records:
                        self._receive(record)
                    self._offset = chunk.position

    def _receive(self, record: Record) -> None:
        if record.key != self.process.encode() or record.value is None:
            return
        self._heart.fence_if_due()
        try:
            message = _message(record.value)
        except ValueError as error:
            _log.error("an inbox message cannot be read", lane=record.lane, offset=record.offset, error=str(error))
            return
        if not (isinstance(message, Start) and self._refuses_start(message)):  # else the dispatcher sends it again
            self._perform(self._attempts.receive(message, self._world.clock.now_ms()))

    def _refuses_start(self, start: Start) -> bool:
        """One that was meant for it before it last stopped its work may by now run elsewhere, whenever it comes."""
        return self._outbox.full or (start.fenced is not None and start.fenced < self._fenced)

    # --- what decisions come to -------------------------------------------------------------------------------------

    def _perform(self, actions: list[Action]) -> None:
        with inside(None):  # code may be what brought this about, and nothing that begins here is its own
            self._act(actions)
        if self._attempts.running:
            self._idle.clear()
        else:
            self._idle.set()

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Enter(start):
                    self._entered_s[start.token] = self._world.clock.monotonic_s()
                    self._executor.enter(start)
                case Stop(token, reason):
                    self._executor.stop(token, reason)
                case Send(report):
                    self._outbox.put(report)

    def _code_stopped(self, token: Token, outcome: Outcome) -> None:
        self._metrics.attempt_seconds.observe(self._world.clock.monotonic_s() - self._entered_s.pop(token))
        self._checkpoints.end(token, is_last=isinstance(outcome, Completed))
        self._perform(self._attempts.stopped(token, outcome, self._world.clock.now_ms()))

    def _code_said(self, token: Token, said: Said) -> None:
        if said.kind is ReportCheckpoint and token in self._entered_s:
            self._checkpoints.say(token, said)
        else:
            self._record(token, said)

    def _record(self, token: Token, said: Said) -> None:
        self._perform(self._attempts.recorded(token, said, self._world.clock.now_ms()))

    # --- heart ----------------------------------------------------------------------------------------------------

    def _beat(self) -> RunnerBeat:
        return RunnerBeat(
            process=self.process,
            inbox=self._inbox.partition,
            inbox_offset=self._offset,
            slots=self._settings.slots,
            tokens=self._attempts.tokens(),
            offers=self._offers,
            draining=self._stopping.is_set(),
            fenced=self._fenced,
        )

    def _fence(self) -> None:
        _log.error("no heartbeat was acknowledged in time: stopping all work", process=self.process)
        self.ready.clear()
        self._metrics.fenced.inc()
        self._fenced += 1
        self._perform(self._attempts.fence())

    def _revive(self) -> None:
        self._attempts.unfence()
        if not self._stopping.is_set():
            self.ready.set()

    def _acknowledged(self, seconds: float | None) -> None:
        if seconds is None:
            self._metrics.unacknowledged.inc()
        else:
            self._metrics.heartbeat_seconds.observe(seconds)

    # --- drain ----------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        await self._stopping.wait()
        self.ready.clear()
        self._perform(self._attempts.drain(self._world.clock.now_ms()))
        self._heart.hurry()
        await _within(self._settings.drain_s, self._idle.wait())
        self._perform(self._attempts.stop_running())
        await _within(STOP_S, self._idle.wait())
        self._checkpoints.end_all()
        self._perform(self._attempts.release_running(self._world.clock.now_ms()))
        await _within(FLUSH_S, self._outbox.flush())
        await _within(LAST_BEAT_S, self._heart.once())
        self._drained.set()


def _message(raw: bytes) -> AnyInboxMessage:
    """Raises ValueError. Passing one over loses nothing: what the dispatcher meant, it says again after a heartbeat."""
    message = INBOX.validate_json(raw)
    if isinstance(message, Start):
        reused = (each.outputs for each in (message.reused or {}).values())
        for wrong in filter(None, map(unreadable, (message.inputs, message.properties, *reused))):
            raise ValueError(f"the text of a payload {wrong}")
    return message


def inbox_of(process: str, inbox_partitions: int) -> int:
    """Spreads runners over the inbox's partitions; each heartbeat names the one that is read."""
    return int.from_bytes(hashlib.sha256(process.encode()).digest()[:8], "big") % inbox_partitions


async def _within(seconds: float, waiting: Awaitable[object]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting
