"""A stage for the runner: the log in memory, and a test that plays the dispatcher and reads as the ledger does."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

from prometheus_client import CollectorRegistry

from execution_ledger.clock import SystemClock, World
from execution_ledger.data import Data
from execution_ledger.errors import OutcomeUnknown
from execution_ledger.files import Files
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Outgoing, Record, Topic
from execution_ledger.messages.definition import Definition
from execution_ledger.messages.heartbeats import HEARTBEATS, RunnerBeat
from execution_ledger.messages.ids import make_id
from execution_ledger.messages.inbox import Abort, AnyInboxMessage, Closed, Start, Token
from execution_ledger.messages.parts import Options, PipelineRef
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import REPORTS, AnyReport
from execution_ledger.messages.steps import Reused
from execution_ledger.objects import Objects
from execution_ledger.runner.service import RunnerService
from execution_ledger.sdk.pipelines.pipeline import Pipeline
from execution_ledger.settings import RunnerSettings

SHARDS = 3
TIMEOUT_S = 10.0
FILE_BYTES_MAX = 1_000_000
OPTIONS = Options(train=False, plot=False, write=True)
R = TypeVar("R", bound=AnyReport)
M = TypeVar("M")

_numbers = itertools.count(1)


def a_token(shard: int = 1, attempt: int = 1) -> Token:
    return Token(execution_id=make_id(1_700_000_000_000, shard, next(_numbers)), attempt=attempt)


def a_start(
    token: Token,
    pipeline: Pipeline | None = None,
    runner: str = "r",
    claim: int = 1,
    delivery: Literal["at_most_once"] | None = None,
    **inputs: Any,
) -> Start:
    name, digest = (pipeline.name, pipeline.digest) if pipeline else ("train", "d")
    return Start(
        runner=runner,
        claim=claim,
        token=token,
        name=f"{name}-1",
        pipeline=PipelineRef(name=name, version=1, digest=digest),
        inputs=json_payload(inputs),
        mode="production",
        options=OPTIONS,
        delivery=delivery,
    )


class BreakableLog(MemoryLog):
    """Lanes in `away` do not answer; those in `mute` take what they are sent, but their answer is lost."""

    def __init__(self) -> None:
        super().__init__(SHARDS, 1, now_ms=SystemClock().now_ms)
        self.away: set[Lane] = set()
        self.mute: set[Lane] = set()
        self.refused = Counter[Lane]()
        self._news = asyncio.Event()

    async def _request(self, lane: Lane) -> None:
        await super()._request(lane)
        if lane in self.away:
            self.refused[lane] += 1
            self._news.set()
            raise OutcomeUnknown(f"{lane.topic} is away")

    async def until_refused(self, lane: Lane, times: int = 1) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.refused[lane] < times:
                self._news.clear()
                await self._news.wait()

    async def _answer(self, lane: Lane) -> None:
        await super()._answer(lane)
        if lane in self.mute:
            raise OutcomeUnknown(f"{lane.topic} gave no answer")


class Stage:
    def __init__(self, *pipelines: Pipeline, objects: Objects | None = None, **settings: Any) -> None:
        world = World(SystemClock(), random.Random(7))
        self.log = BreakableLog()
        self.files = Files(objects, world, FILE_BYTES_MAX) if objects else None
        self.registry = CollectorRegistry()
        self.registered: list[tuple[Definition, str]] = []
        self.runner = RunnerService(
            self.log,
            world,
            RunnerSettings(**{"heartbeat_s": 0.05, "drain_s": 0.2, **settings}),
            {pipeline.name: pipeline for pipeline in pipelines},
            self._register,
            inbox_partitions=1,
            registry=self.registry,
            files=self.files,
            data=Data(objects, FILE_BYTES_MAX) if objects else None,
        )
        self._pipelines = pipelines

    async def _register(self, definition: Definition, digest: str) -> None:
        self.registered.append((definition, digest))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Stage]:
        """The runner is ready inside, and has ended behind."""
        work = asyncio.create_task(self.runner.run())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self.runner.ready.wait()
            yield self
        finally:
            self.runner.stop()
            async with asyncio.timeout(TIMEOUT_S):
                await work

    async def tell(self, message: AnyInboxMessage) -> None:
        key = message.runner.encode()
        await self.log.send(Lane(Topic.INBOX, 0), [Outgoing(key, message.model_dump_json().encode())])

    async def start(
        self,
        token: Token | None = None,
        claim: int = 1,
        reused: dict[str, Reused] | None = None,
        delivery: Literal["at_most_once"] | None = None,
        **inputs: Any,
    ) -> Token:
        """Of the first pipeline."""
        token = token or a_token()
        start = a_start(token, self._pipelines[0], self.runner.process, claim, delivery, **inputs)
        await self.tell(start.model_copy(update={"reused": reused}))
        return token

    async def abort(self, token: Token, claim: int = 1) -> None:
        await self.tell(Abort(runner=self.runner.process, claim=claim, token=token, reason="enough"))

    async def close(self, token: Token) -> None:
        await self.tell(Closed(runner=self.runner.process, claim=1, tokens=[token]))

    async def report(self, token: Token, kind: type[R]) -> R:
        """The first report of this kind about a token."""

        def fits(report: AnyReport) -> bool:
            return isinstance(report, kind) and (report.execution_id, report.attempt) == (
                token.execution_id,
                token.attempt,
            )

        lanes = [Lane(Topic.REPORTS, shard) for shard in range(SHARDS)]
        found = await self._first(lanes, lambda record: REPORTS.validate_json(record.value or b""), fits)
        assert isinstance(found, kind)
        return found

    async def reports(self, token: Token, count: int) -> list[AnyReport]:
        """All that the log holds about a token, once there are at least `count`."""
        told: list[AnyReport] = []

        def enough(report: AnyReport) -> bool:
            told.extend([report] if report.execution_id == token.execution_id else [])
            return len(told) >= count

        lane = Lane(Topic.REPORTS, int(token.execution_id[15:18], 16))
        await self._first([lane], lambda record: REPORTS.validate_json(record.value or b""), enough)
        return told

    async def beat(self, fits: Callable[[RunnerBeat], bool], after: int = 0) -> RunnerBeat:
        """The first heartbeat from position `after` on that fits."""

        def read(record: Record) -> RunnerBeat:
            beat = HEARTBEATS.validate_json(record.value or b"")
            assert isinstance(beat, RunnerBeat)
            return beat

        return await self._first([Lane(Topic.HEARTBEATS, 0)], read, fits, after)

    async def beats_until_now(self) -> int:
        return self.log.partition(Lane(Topic.HEARTBEATS, 0)).end

    async def _first(
        self, lanes: Iterable[Lane], read: Callable[[Record], M], fits: Callable[[M], bool], after: int = 0
    ) -> M:
        async with asyncio.timeout(TIMEOUT_S), self.log.reader(dict.fromkeys(lanes, after)) as reader:
            while True:
                for chunk in (await reader.read(TIMEOUT_S)).values():
                    for record in chunk.records:
                        if fits(message := read(record)):
                            return message
