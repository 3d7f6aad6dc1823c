"""The dispatcher's shell with the real ledger, on the memory log and a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from execution_ledger.clock import World
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.errors import OutcomeUnknown, Unavailable
from execution_ledger.ledger.service import LedgerService
from execution_ledger.lifecycle import Service
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Chunk, Ends, Lane, Outgoing, Reader, Topic
from execution_ledger.messages.base import Message
from execution_ledger.messages.commands import COMMANDS, Dispatch, RequestAbort
from execution_ledger.messages.events import Aborted, Completed, Dispatched, Event, decode_event
from execution_ledger.messages.heartbeats import HEARTBEATS, DispatcherTick, HeldToken, RunnerBeat
from execution_ledger.messages.ids import make_id, shard_of
from execution_ledger.messages.inbox import INBOX, Abort, AnyInboxMessage, Closed, Start, Token
from execution_ledger.messages.parts import Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import ReportCompleted
from execution_ledger.settings import DispatcherSettings, LedgerSettings
from execution_ledger.trials.simulate.loop import VirtualLoop, virtual_world
from unit.metrics_stage import Shown
from unit.spec import submit

SHARDS = 3
RUNNER = "runner-1"
INBOX_LANE, HEARTBEATS_LANE = Lane(Topic.INBOX, 1), Lane(Topic.HEARTBEATS, 0)


class Link:
    """One process's way to the log. `is_down`: nothing gets through; `loses_answers`: what is sent lands, unheard."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.is_down = False
        self.loses_answers = False
        self.abort: RequestAbort | None = None  # sent right behind the first Dispatch
        self.shards, self.take_over, self.end = log.shards, log.take_over, log.end

    async def send(self, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        self._pass()
        offsets = (await self._log.send(lane, self._with_abort(batch)))[: len(batch)]
        if self.loses_answers and lane != HEARTBEATS_LANE:
            raise OutcomeUnknown("the answer was lost")
        return offsets

    async def begin(self, lane: Lane) -> int:
        self._pass()
        return await self._log.begin(lane)

    async def position_at(self, lane: Lane, time_ms: int) -> int:
        self._pass()
        return await self._log.position_at(lane, time_ms)

    @asynccontextmanager
    async def reader(self, positions: Mapping[Lane, int]) -> AsyncIterator[Reader]:
        async with self._log.reader(positions) as reader:
            yield LinkReader(self, reader)

    def _with_abort(self, batch: Sequence[Outgoing]) -> Sequence[Outgoing]:
        if self.abort is None or all(("type", b"dispatch.v1") not in record.headers for record in batch):
            return batch
        abort, self.abort = self.abort, None
        return [*batch, Outgoing(b"k", abort.model_dump_json(exclude_none=True).encode())]

    def _pass(self) -> None:
        if self.is_down:
            raise Unavailable("the broker is away")


class LinkReader:
    def __init__(self, link: Link, reader: Reader) -> None:
        self._link, self._reader = link, reader

    async def read(self, wait_s: float) -> Mapping[Lane, Chunk]:
        self._link._pass()
        chunks = await self._reader.read(wait_s)
        self._link._pass()
        return chunks

    def ends(self) -> Mapping[Lane, Ends]:
        return self._reader.ends()


class Scene:
    """A ledger, a runner that the test plays, and dispatchers, each with its own link to one log."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.log = MemoryLog(SHARDS, 2, now_ms=world.clock.now_ms)
        self.ledger = LedgerService(self.log, world, LedgerSettings(), SHARDS)
        self.links: dict[DispatcherService, Link] = {}
        self.tasks: dict[Service, asyncio.Task[None]] = {self.ledger: world.spawn(self.ledger.run(), "ledger")}
        self.numbers = iter(range(1, 1_000_000))
        self.registry = CollectorRegistry()
        self.tokens: dict[Token, None] = {}

    def dispatcher(self, settings: DispatcherSettings | None = None) -> DispatcherService:
        link = Link(self.log)
        settings = settings or DispatcherSettings()
        dispatcher = DispatcherService(link, self.world, settings, SHARDS, 2, registry=self.registry)
        self.links[dispatcher] = link
        self.tasks[dispatcher] = self.world.spawn(dispatcher.run(), dispatcher.process)
        return dispatcher

    async def stop(self) -> None:
        for service, task in self.tasks.items():
            service.stop()
            await task

    async def send(self, lane: Lane, message: Message) -> None:
        await self.log.send(lane, [Outgoing(b"k", message.model_dump_json(exclude_none=True).encode())])

    async def submit(self, shard: int = 1, limit: int | None = None, policy: Policy | None = None) -> str:
        number = next(self.numbers)
        execution_id = make_id(self.world.clock.now_ms(), shard, number)
        command = submit(execution_id, command_id=f"submit-{number}", policy=policy)
        limited = command.model_copy(update={"pipeline": command.pipeline.model_copy(update={"limit": limit})})
        await self.send(Lane(Topic.COMMANDS, shard), limited)
        return execution_id

    async def abort(self, execution_id: str) -> None:
        await self.send(Lane(Topic.COMMANDS, shard_of(execution_id)), an_abort(execution_id))

    async def beat(self, slots: int = 10) -> None:
        held = [HeldToken(execution_id=one.execution_id, attempt=one.attempt, phase="ended") for one in self.tokens]
        offset = await self.log.end(INBOX_LANE)
        beat = RunnerBeat(
            process=RUNNER, inbox=1, inbox_offset=offset, slots=slots, tokens=held, offers={"train": "d1"}
        )
        await self.send(HEARTBEATS_LANE, beat)

    async def complete(self, token: Token) -> None:
        self.tokens[token] = None
        report = ReportCompleted(
            execution_id=token.execution_id,
            attempt=token.attempt,
            ordinal=1,
            runner=RUNNER,
            time=self.world.clock.now_ms(),
            outputs=json_payload({}),
        )
        await self.send(Lane(Topic.REPORTS, shard_of(token.execution_id)), report)

    async def inbox(self, count: int) -> list[AnyInboxMessage]:
        """The first messages that say more than a claim, as soon as there are so many."""
        messages: list[AnyInboxMessage] = []
        async with asyncio.timeout(60), self.log.reader({INBOX_LANE: 0}) as reader:
            while len(messages) < count:
                for chunk in (await reader.read(60)).values():
                    new = [INBOX.validate_json(record.value or b"") for record in chunk.records]
                    messages += [one for one in new if not isinstance(one, Closed) or one.tokens]
        return messages

    async def events(self, shard: int, until: Callable[[Event], bool]) -> list[Event]:
        """Those up to and including the first that is looked for."""
        found: list[Event] = []
        async with asyncio.timeout(60), self.log.reader({Lane(Topic.EVENTS, shard): 0}) as reader:
            while True:
                for chunk in (await reader.read(60)).values():
                    for record in chunk.records:
                        found.append(decode_event(record.value or b""))
                        if until(found[-1]):
                            return found

    async def values(self, lane: Lane, count: int) -> list[bytes]:
        values: list[bytes] = []
        async with asyncio.timeout(60), self.log.reader({lane: 0}) as reader:
            while len(values) < count:
                for chunk in (await reader.read(60)).values():
                    values += [record.value or b"" for record in chunk.records]
        return values

    async def tick(self, dispatcher: DispatcherService, claim: int | None, since: int = 0) -> None:
        """Until the dispatcher says so in its ticks, from a position on."""
        async with asyncio.timeout(60), self.log.reader({HEARTBEATS_LANE: since}) as reader:
            while True:
                for chunk in (await reader.read(60)).values():
                    for record in chunk.records:
                        tick = HEARTBEATS.validate_json(record.value or b"")
                        if isinstance(tick, DispatcherTick) and (tick.process, tick.claim) == (
                            dispatcher.process,
                            claim,
                        ):
                            return

    async def ticks(self) -> list[DispatcherTick]:
        count = len(self.log.partition(HEARTBEATS_LANE).records)
        messages = [HEARTBEATS.validate_json(value) for value in await self.values(HEARTBEATS_LANE, count)]
        return [message for message in messages if isinstance(message, DispatcherTick)]


def an_abort(execution_id: str) -> RequestAbort:
    return RequestAbort(command_id="abort", actor="ada", reason="wrong data", execution_id=execution_id)


def on_stage(scenario: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    """Three seeds: three orders in which what is ready may run."""

    async def play(world: World) -> None:
        scene = Scene(world)
        async with asyncio.timeout(600):
            await scenario(scene)
            await scene.stop()

    for seed in range(3):
        loop = VirtualLoop(seed)
        with asyncio.Runner(loop_factory=lambda loop=loop: loop) as runner:  # type: ignore[misc]
            runner.run(play(virtual_world(loop, seed)))


def test_an_execution_is_dispatched_started_with_its_inputs_and_closed() -> None:
    async def scenario(scene: Scene) -> None:
        dispatcher = scene.dispatcher()
        await dispatcher.ready.wait()
        await scene.beat()
        execution_id = await scene.submit()
        [start] = await scene.inbox(1)
        assert isinstance(start, Start)
        assert (start.runner, start.claim, start.token.execution_id) == (RUNNER, 1, execution_id)
        assert start.inputs.value() == {"n": 1}
        await scene.complete(start.token)
        await scene.events(1, lambda event: isinstance(event.data, Completed))
        await scene.beat()
        assert isinstance((await scene.inbox(2))[1], Closed)

    on_stage(scenario)


def test_inputs_that_were_not_kept_are_read_again_where_they_lie() -> None:
    async def scenario(scene: Scene) -> None:
        dispatcher = scene.dispatcher(DispatcherSettings(starts_cache_bytes_max=0))
        await dispatcher.ready.wait()
        ids = {await scene.submit(shard) for shard in (1, 2, 1, 2)}
        await scene.beat()
        starts = await scene.inbox(4)
        assert {start.token.execution_id for start in starts if isinstance(start, Start)} == ids
        assert all(start.inputs.value() == {"n": 1} for start in starts if isinstance(start, Start))

    on_stage(scenario)


def test_an_abort_reaches_the_runner_with_its_reason() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.dispatcher().ready.wait()
        await scene.beat()
        execution_id = await scene.submit()
        await scene.inbox(1)
        await scene.abort(execution_id)
        abort = (await scene.inbox(2))[1]
        assert isinstance(abort, Abort)
        assert abort.reason == "wrong data"

    on_stage(scenario)


@pytest.mark.parametrize("cache_bytes", [0, 64_000_000])
def test_a_start_that_an_abort_overtook_gives_its_place_back(cache_bytes: int) -> None:
    async def scenario(scene: Scene) -> None:
        dispatcher = scene.dispatcher(DispatcherSettings(starts_cache_bytes_max=cache_bytes))
        await scene.tick(dispatcher, 1)
        await scene.beat()
        overtaken = await scene.submit(limit=1, policy=Policy(abort_grace_ms=0))
        scene.links[dispatcher].abort = an_abort(overtaken)
        await scene.events(1, lambda event: isinstance(event.data, Aborted))
        following = await scene.submit(limit=1)
        for _ in range(5):
            await scene.beat()
            await scene.tick(dispatcher, 1, await scene.log.end(HEARTBEATS_LANE))
        started = [message.token.execution_id for message in await scene.inbox(3) if isinstance(message, Start)]
        assert set(started) == {following}, "the start of the other never left"

    on_stage(scenario)


def test_a_standby_takes_over_from_a_silent_one_which_stands_by_when_it_is_back() -> None:
    async def scenario(scene: Scene) -> None:
        active = scene.dispatcher()
        await scene.tick(active, 1)
        standby = scene.dispatcher()
        await standby.ready.wait()
        assert standby.claim is None
        scene.links[active].is_down = True
        silent_ms = scene.world.clock.now_ms()
        await scene.tick(standby, 2)
        assert 3_000 <= scene.world.clock.now_ms() - silent_ms <= 6_000
        await scene.beat()
        await scene.submit()
        [start] = await scene.inbox(1)
        assert start.claim == 2
        since = await scene.log.end(HEARTBEATS_LANE)
        scene.links[active].is_down = False
        await scene.tick(active, None, since)
        await active.ready.wait()
        assert standby.claim == 2

    on_stage(scenario)


def test_a_standby_takes_over_at_once_from_one_that_is_stopped() -> None:
    async def scenario(scene: Scene) -> None:
        active = scene.dispatcher()
        await scene.tick(active, 1)
        standby = scene.dispatcher()
        await standby.ready.wait()
        active.stop()
        stopped_ms = scene.world.clock.now_ms()
        await scene.tasks[active]
        assert any(tick.leaving for tick in await scene.ticks())
        await scene.tick(standby, 2)
        assert scene.world.clock.now_ms() - stopped_ms <= 1_500

    on_stage(scenario)


def test_what_was_dispatched_before_the_failover_is_started_after_it() -> None:
    async def scenario(scene: Scene) -> None:
        active = scene.dispatcher()
        await scene.tick(active, 1)
        await scene.beat()
        await scene.submit()
        [first] = await scene.inbox(1)
        scene.links[active].is_down = True
        standby = scene.dispatcher()
        await scene.tick(standby, 2)
        await scene.beat()
        again = (await scene.inbox(2))[1]
        assert isinstance(first, Start)
        assert isinstance(again, Start)
        assert (again.token, again.claim) == (first.token, 2)
        scene.links[active].is_down = False

    on_stage(scenario)


def test_answers_that_get_lost_neither_double_nor_stop_anything() -> None:
    async def scenario(scene: Scene) -> None:
        dispatcher = scene.dispatcher()
        await scene.tick(dispatcher, 1)
        await scene.beat()
        scene.links[dispatcher].loses_answers = True
        ids = [await scene.submit(shard) for shard in (1, 2)]
        starts = await scene.inbox(2)
        scene.links[dispatcher].loses_answers = False
        for start in starts:
            assert isinstance(start, Start)
            await scene.complete(start.token)
        for shard, execution_id in zip((1, 2), ids, strict=True):
            history = await scene.events(shard, lambda event: isinstance(event.data, Completed))
            mine = [event.data for event in history if event.subject == execution_id]
            assert len([fact for fact in mine if isinstance(fact, Dispatched)]) == 1
        shown = Shown(scene.registry)
        assert shown.value("exledger_dispatcher_unknown_outcomes_total", topic="commands") >= 2
        assert shown.value("exledger_dispatcher_unknown_outcomes_total", topic="inbox") >= 1

    on_stage(scenario)


def test_a_heartbeat_that_cannot_be_read_is_passed_over() -> None:
    async def scenario(scene: Scene) -> None:
        dispatcher = scene.dispatcher()
        await scene.tick(dispatcher, 1)
        await scene.log.send(HEARTBEATS_LANE, [Outgoing(b"new", b'{"type": "runner.v9"}')])
        await scene.beat()
        await scene.submit()
        assert isinstance((await scene.inbox(1))[0], Start)

    on_stage(scenario)


def test_every_command_names_its_actor_and_claim() -> None:
    async def scenario(scene: Scene) -> None:
        dispatcher = scene.dispatcher()
        await scene.tick(dispatcher, 1)
        await scene.beat()
        await scene.submit()
        await scene.inbox(1)
        commands = [COMMANDS.validate_json(value) for value in await scene.values(Lane(Topic.COMMANDS, 1), 3)]
        [dispatch] = [command for command in commands if isinstance(command, Dispatch)]
        assert (dispatch.actor, dispatch.claim, dispatch.runner) == (dispatcher.process, 1, RUNNER)

    on_stage(scenario)
