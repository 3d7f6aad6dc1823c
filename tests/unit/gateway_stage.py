"""A gateway without HTTP on the log in memory, with a real ledger behind it that can be away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from execution_ledger.clock import World
from execution_ledger.errors import OutcomeUnknown
from execution_ledger.gateway.edge.problems import Away, Problem, Refused
from execution_ledger.gateway.stream.tail import Tail
from execution_ledger.gateway.writes.commands import CommandSender
from execution_ledger.gateway.writes.requests import ExecutionRequest
from execution_ledger.gateway.writes.sending import Answer
from execution_ledger.ledger.service import LedgerService
from execution_ledger.lifecycle import end_tasks
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.catalog import Twin
from execution_ledger.messages.definition import Definition, Port
from execution_ledger.messages.events import Event, decode_event
from execution_ledger.settings import LedgerSettings
from execution_ledger.trials.simulate.loop import VirtualLoop, virtual_world

SHARDS = 4
DECIDE_WAIT_S = 5.0
DOUBLE = Definition(name="double", inputs={"n": Port(type="number")}, outputs={"n": Port(type="number")}, code="c1")
TWO_INPUTS = DOUBLE.model_copy(update={"code": "c2", "inputs": {"n": Port(type="number"), "m": Port(type="number")}})


class FrailLog(MemoryLog):
    """`answering` holds back acknowledgements; lanes in `silent` take a record and never acknowledge it.

    Lanes in `refusing` neither take nor acknowledge: to a sender that is the same.
    """

    def __init__(self, world: World) -> None:
        super().__init__(SHARDS, now_ms=world.clock.now_ms)
        self.answering = asyncio.Event()
        self.answering.set()
        self.silent: set[Lane] = set()
        self.refusing: set[Lane] = set()

    async def _request(self, lane: Lane) -> None:
        if lane in self.refusing:
            raise OutcomeUnknown(f"{lane} does not answer.")

    async def _answer(self, lane: Lane) -> None:
        if lane in self.silent:
            raise OutcomeUnknown(f"{lane} does not answer.")
        if lane.topic is Topic.COMMANDS:
            await self.answering.wait()


TWINS = ("pump-7", "pump-8")


class Stage:
    def __init__(self, world: World) -> None:
        self.world = world
        self.log = FrailLog(world)
        self.tail = Tail(self.log)
        self.callers = CommandSender(self.log, world, self.tail, DECIDE_WAIT_S)
        self._tasks = [world.spawn(self.tail.run(), "tail")]
        self._ledger: LedgerService | None = None

    async def start_ledger(self) -> None:
        ledger = self._ledger = LedgerService(self.log, self.world, LedgerSettings(), SHARDS)
        self._tasks.append(self.world.spawn(ledger.run(), "ledger"))
        await ledger.ready.wait()

    async def stop_ledger(self) -> None:
        assert self._ledger is not None
        self._ledger.stop()
        await self._tasks.pop()

    async def stop(self) -> None:
        await end_tasks(self._tasks)

    async def submit(self, n: Any = 1, **more: Any) -> Answer:
        key = more.pop("key", None)
        return await self.callers.submit(double(n, **more), "ada", key)

    @asynccontextmanager
    async def another_gateway(self) -> AsyncIterator[CommandSender]:
        tail = Tail(self.log)
        task = self.world.spawn(tail.run(), "another tail")
        await tail.caught_up.wait()
        yield CommandSender(self.log, self.world, tail, DECIDE_WAIT_S)
        await end_tasks([task])

    async def pass_time(self, seconds: float) -> None:
        """The ledger forgets by the log's time, so something is decided at its end, on every shard."""
        await asyncio.sleep(seconds)
        for _ in range(SHARDS - 1):
            await self.submit()

    async def history(self) -> list[Event]:
        lanes = {Lane(Topic.EVENTS, shard): 0 for shard in range(SHARDS)}
        async with self.log.reader(lanes) as reader:
            chunks = await reader.read(0.001)
        return [decode_event(record.value or b"") for chunk in chunks.values() for record in chunk.records]

    async def queued(self) -> list[Event]:
        return [event for event in await self.history() if event.data.TYPE == "execution.queued.v1"]


def double(n: Any = 1, **more: Any) -> ExecutionRequest:
    return ExecutionRequest(pipeline=more.pop("pipeline", "double"), inputs={"n": n}, **more)


@asynccontextmanager
async def open_stage(world: World) -> AsyncIterator[Stage]:
    stage = Stage(world)
    try:
        yield stage
    finally:
        await stage.stop()


def on_stage(scenario: Callable[[Stage], Coroutine[Any, Any, None]], seed: int = 1, ledger: bool = True) -> None:
    """Plays it in virtual time; `double` and two twins are registered when the ledger is there."""

    async def play() -> None:
        async with open_stage(virtual_world(loop, seed)) as stage:
            if ledger:
                await stage.start_ledger()
                await stage.callers.catalog.pipeline(DOUBLE, "ada")
                for twin in TWINS:
                    await stage.callers.catalog.entry(twin, Twin(), "ada")
                for shard in range(SHARDS):
                    await stage.tail.read_to_end(shard, DECIDE_WAIT_S)
            await scenario(stage)

    loop = VirtualLoop(seed)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(play())


async def problem_of(call: Coroutine[Any, Any, Any]) -> Problem:
    """What a call that must not succeed is refused with."""
    try:
        answer = await call
    except (Refused, Away) as error:
        return error.problem
    raise AssertionError(f"this was accepted: {answer}")
