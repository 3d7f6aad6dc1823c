"""A stage for the dispatcher's desk: the real ledger decides in memory, and a test plays the runners and the time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Literal

from execution_ledger.dispatcher.board import Token
from execution_ledger.dispatcher.desk import Desk, DeskSettings, Orders
from execution_ledger.dispatcher.told import Kind, Telling
from execution_ledger.ledger.deciding import decide_batch
from execution_ledger.ledger.recording import Cause, Decided, append, cursor_of
from execution_ledger.ledger.shard import initial
from execution_ledger.log.protocol import Lane, Record, Topic
from execution_ledger.messages import events
from execution_ledger.messages.base import Message
from execution_ledger.messages.commands import (
    AnyCommand,
    Dispatch,
    ExecutionCommand,
    ExpireAttempt,
    ExpireQueued,
    ForceAbort,
    RegisterPipeline,
    RequestAbort,
    Submit,
)
from execution_ledger.messages.events import decode_event
from execution_ledger.messages.heartbeats import DispatcherTick, HeldToken, RunnerBeat, TokenPhase
from execution_ledger.messages.ids import make_id, shard_of
from execution_ledger.messages.parts import Failure, Options, PipelineRef, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportReleased,
    ReportStarted,
)
from execution_ledger.settings import LedgerSettings

Fate = Literal["sent", "lost", "unknown"]  # what becomes of a send; unknown: it lands, and its answer is lost

SHARDS = 3
LEASE_MS = 20_000
START_MS = 1_700_000_000_000
OPTIONS = Options(train=False, plot=False, write=True)


class ShardLedger:
    """One shard: its lanes, and its events with the offsets that a reader sees."""

    def __init__(self, shard: int) -> None:
        created = Decided(initial(shard, SHARDS, LedgerSettings()), cursor_of(initial(shard, SHARDS, LedgerSettings())))
        facts = [events.ShardCreated(log_id="test", shards=SHARDS), events.ShardClaimed(owner="test")]
        first = append(created, f"shard/{shard}", facts, Cause(START_MS))
        self.shard, self.state, self.is_away = shard, first.state, False
        self.history = [decode_event(record.value) for record in first.outgoing]
        self._ends = {Topic.COMMANDS: 0, Topic.REPORTS: 0}
        self._pending: list[Record] = []

    def receive(self, topic: Topic, message: Message, now_ms: int) -> int:
        offset = self._ends[topic]
        self._ends[topic] += 1
        value = message.model_dump_json(exclude_none=True).encode()
        self._pending.append(Record(Lane(topic, self.shard), offset, now_ms, b"", value))
        return offset

    def decide(self) -> None:
        if self.is_away:
            return
        batch, self._pending = self._pending, []
        decided = decide_batch(self.state, cursor_of(self.state), batch)
        self.state = decided.state
        self.history += [decode_event(record.value) for record in decided.outgoing]


class Cluster:
    """What all dispatchers share: the ledgers, the heartbeats lane and the log's time."""

    def __init__(self) -> None:
        self.ledgers = [ShardLedger(shard) for shard in range(SHARDS)]
        self.heartbeats: list[tuple[RunnerBeat | DispatcherTick, int]] = []
        self.inbox: list[tuple[Telling, int]] = []  # with the claim under which it was sent
        self.now_ms = START_MS
        self._numbers = itertools.count(1)

    def submit(
        self,
        pipeline: str = "train",
        priority: int = 0,
        limit: int | None = None,
        shard: int = 1,
        losses_max: int = 3,
        policy: Policy | None = None,
    ) -> str:
        execution_id = make_id(self.now_ms, shard, next(self._numbers))
        self.ask(
            Submit(
                command_id=self.fresh_id(),
                actor="ada",
                execution_id=execution_id,
                pipeline=PipelineRef(name=pipeline, version=1, digest=f"{pipeline}-v1", limit=limit),
                inputs=json_payload({"n": 1}),
                options=OPTIONS,
                priority=priority,
                policy=policy or Policy(losses_max=losses_max),
            )
        )
        return execution_id

    def abort(self, execution_id: str) -> None:
        self.ask(
            RequestAbort(command_id=self.fresh_id(), actor="ada", reason="a typo in it", execution_id=execution_id)
        )

    def force_abort(self, execution_id: str) -> None:
        self.ask(ForceAbort(command_id=self.fresh_id(), actor="ada", execution_id=execution_id))

    def register(self, pipeline: str, limit: int | None) -> None:
        command = RegisterPipeline(
            command_id=self.fresh_id(),
            actor="ada",
            pipeline=pipeline,
            digest=self.fresh_id(),
            definition=json_payload({"name": pipeline, "limit": limit, "code": "c"}),
        )
        self.ledgers[0].receive(Topic.COMMANDS, command, self.now_ms)
        self.decide()

    def ask(self, command: ExecutionCommand) -> None:
        self.ledgers[shard_of(command.execution_id)].receive(Topic.COMMANDS, command, self.now_ms)
        self.decide()

    def report(self, report: AnyReport) -> None:
        self.ledgers[shard_of(report.execution_id)].receive(Topic.REPORTS, report, self.now_ms)
        self.decide()

    def decide(self) -> None:
        for ledger in self.ledgers:
            ledger.decide()

    def fresh_id(self) -> str:
        return f"{next(self._numbers):032x}"


class Dispatcher:
    """A desk, and how far it has read. Nothing reaches it but through `read`."""

    def __init__(self, cluster: Cluster, process: str = "d1", due_max: int = 500) -> None:
        self.cluster, self.process = cluster, process
        self.desk = Desk(DeskSettings(process, SHARDS, LEASE_MS, 4_000, due_max), cluster.fresh_id)
        self.asked: list[AnyCommand] = []
        self.told: list[Telling] = []
        self.greeted: list[str] = []  # the runners that were told the claim
        self.turns: list[Orders] = []
        self.fate: Callable[[], Fate] = lambda: "sent"
        self._events_read = [0] * SHARDS
        self._heartbeats_read = 0

    def tick(self, after_ms: int = 1_000) -> None:
        """Time passes, and this dispatcher ticks."""
        self.cluster.now_ms += after_ms
        tick = DispatcherTick(process=self.process, claim=self.desk.claims.own)
        self.cluster.heartbeats.append((tick, self.cluster.now_ms))
        self.work()

    def ticks(self, seconds: int) -> None:
        for _ in range(seconds):
            self.tick()

    def work(self) -> None:
        """Reads and acts until nothing more comes of it."""
        while self.read() or self.desk.has_more:
            self.send(self.desk.turn())
            self.cluster.decide()

    def read(self) -> bool:
        before = (list(self._events_read), self._heartbeats_read)
        for shard, ledger in enumerate(self.cluster.ledgers):
            for event in ledger.history[self._events_read[shard] :]:
                self.desk.event(event, event.sequence)
            self._events_read[shard] = len(ledger.history)
        for message, time_ms in self.cluster.heartbeats[self._heartbeats_read :]:
            if isinstance(message, RunnerBeat):
                self.desk.beat(message, time_ms)
            else:
                self.desk.tick(message, time_ms)
        self._heartbeats_read = len(self.cluster.heartbeats)
        return before != (self._events_read, self._heartbeats_read)

    def send(self, orders: Orders) -> None:
        self.turns.append(orders)
        for shard, command in orders.commands:
            self.asked.append(command)
            self._ask(shard, command, self.fate())
        for telling in orders.tellings:
            if telling.kind == "claim":
                self.greeted.append(telling.runner)
            else:
                self.told.append(telling)
            self._tell(telling, self.fate())

    def _ask(self, shard: int, command: AnyCommand, fate: Fate) -> None:
        if fate != "lost":
            offset = self.cluster.ledgers[shard].receive(Topic.COMMANDS, command, self.cluster.now_ms)
        if fate == "sent":
            self.desk.asking.sent(command.command_id, offset)
        else:
            self.desk.asking.unknown(command.command_id)

    def _tell(self, telling: Telling, fate: Fate) -> None:
        if fate != "lost":
            self.cluster.inbox.append((telling, self.desk.acting or 0))
        if fate == "sent":
            self.desk.told.sent(telling, len(self.cluster.inbox) - 1)
        else:
            self.desk.told.unsent(telling)

    @property
    def dispatches(self) -> list[Dispatch]:
        return [command for command in self.asked if isinstance(command, Dispatch)]

    @property
    def expiries(self) -> list[ExpireAttempt]:
        return [command for command in self.asked if isinstance(command, ExpireAttempt)]

    @property
    def expired(self) -> list[str]:
        """What it asked to end in the queue."""
        return [command.execution_id for command in self.asked if isinstance(command, ExpireQueued)]

    def told_of(self, kind: Kind) -> list[Token]:
        return [token for telling in self.told if telling.kind == kind for token in telling.tokens]


class Runner:
    """Beats and reports as a test tells it to. `listed` is what its heartbeats list."""

    def __init__(self, cluster: Cluster, name: str = "r1", slots: int = 10, offers: Iterable[str] = ("train",)) -> None:
        self.cluster, self.name, self.slots = cluster, name, slots
        self.offers = {pipeline: f"{pipeline}-v1" for pipeline in offers}
        self.listed: dict[Token, TokenPhase] = {}
        self.draining = False
        self._ordinals = itertools.count(1)

    def beat(self, inbox_offset: int | None = None) -> None:
        """Says that it has read its whole inbox, unless told otherwise."""
        held = [HeldToken(execution_id=id_, attempt=n, phase=phase) for (id_, n), phase in self.listed.items()]
        beat = RunnerBeat(
            process=self.name,
            inbox=0,
            inbox_offset=len(self.cluster.inbox) if inbox_offset is None else inbox_offset,
            slots=self.slots,
            tokens=held,
            offers=self.offers,
            draining=self.draining,
        )
        self.cluster.heartbeats.append((beat, self.cluster.now_ms))

    def start(self, token: Token) -> None:
        self.listed[token] = "running"
        self._report(ReportStarted, token)

    def wait_for_confirmation(self, token: Token) -> None:
        self.listed[token] = "waiting"
        self._report(ReportStarted, token)

    def complete(self, token: Token) -> None:
        self.listed[token] = "ended"
        self._report(ReportCompleted, token, outputs=json_payload({}))

    def fail(self, token: Token) -> None:
        self.listed[token] = "ended"
        self._report(ReportFailed, token, failure=Failure(kind="user", message="no luck"))

    def acknowledge_abort(self, token: Token, *, entered: bool) -> None:
        self.listed[token] = "ended"
        self._report(ReportAborted, token, entered=entered)

    def release(self, token: Token) -> None:
        self.listed.pop(token, None)
        self._report(ReportReleased, token)

    def _report(self, kind: type[AnyReport], token: Token, **fields: object) -> None:
        report = kind(
            execution_id=token.execution_id,
            attempt=token.attempt,
            ordinal=next(self._ordinals),
            runner=self.name,
            time=self.cluster.now_ms,
            **fields,
        )
        self.cluster.report(report)


def acting(cluster: Cluster, process: str = "d1", due_max: int = 500) -> Dispatcher:
    """A dispatcher that has claimed and may act."""
    dispatcher = Dispatcher(cluster, process, due_max)
    while dispatcher.desk.acting is None:
        dispatcher.tick()
    return dispatcher
