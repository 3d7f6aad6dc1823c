"""What a ledger shows of its work: refusals, batches, lag, take-overs, and what befell its commits."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from execution_ledger.clock import World
from execution_ledger.errors import OutcomeUnknown
from execution_ledger.ledger.service import LedgerService
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.messages.commands import RequestAbort
from execution_ledger.messages.ids import make_id
from execution_ledger.settings import LedgerSettings
from unit.metrics_stage import Shown
from unit.spec import submit
from unit.test_ledger_service import SHARDS, in_virtual_time, send

EVENTS = Lane(Topic.EVENTS, 1)


class SlowLog(MemoryLog):
    """Commits wait while the door is shut; while `mute`, they are done and their answer is lost."""

    def __init__(self, world: World) -> None:
        super().__init__(SHARDS, now_ms=world.clock.now_ms)
        self.door = asyncio.Event()
        self.door.set()
        self.mute = False

    async def _request(self, lane: Lane) -> None:
        await super()._request(lane)
        if lane == EVENTS:
            await self.door.wait()

    async def _answer(self, lane: Lane) -> None:
        await super()._answer(lane)
        if lane == EVENTS and self.mute:
            self.mute = False
            raise OutcomeUnknown("no answer")


class Stage:
    def __init__(self, world: World) -> None:
        self.world, self.log, self.registry = world, SlowLog(world), CollectorRegistry()
        self.ledger = LedgerService(self.log, world, LedgerSettings(), SHARDS, self.registry)
        self._task = world.spawn(self.ledger.run(), "ledger")
        self._numbers = iter(range(1, 1_000))

    async def submit(self, count: int) -> None:
        for number in range(count):
            execution_id = make_id(self.world.clock.now_ms(), 1, next(self._numbers))
            await send(self.log, Topic.COMMANDS, 1, submit(execution_id, f"{execution_id}-{number}"))

    async def abort_what_is_not(self, count: int) -> None:
        for number in range(count):
            missing = make_id(self.world.clock.now_ms(), 1, 10_000 + number)
            command = RequestAbort(command_id=f"abort-{number}", actor="ada", execution_id=missing)
            await send(self.log, Topic.COMMANDS, 1, command)

    @property
    def shown(self) -> Shown:
        return Shown(self.registry)

    async def stop(self) -> None:
        self.ledger.stop()
        await self._task


def test_what_is_decided_and_refused_is_counted_by_batch_and_by_code() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await stage.ledger.ready.wait()
        await stage.submit(2)
        await stage.abort_what_is_not(3)
        await stage.log.send(Lane(Topic.COMMANDS, 1), [Outgoing(b"k", b"no command")])
        await asyncio.sleep(3)
        shown = stage.shown
        assert shown.value("exledger_ledger_refusals_total", code="unknown_execution") == 3
        assert shown.value("exledger_ledger_refusals_total", code="unreadable") == 1
        assert shown.value("exledger_ledger_batch_records_sum") == 6
        assert shown.value("exledger_ledger_batch_events_sum") == 6
        commits = shown.value("exledger_ledger_commit_seconds_count")
        assert commits == shown.value("exledger_ledger_decide_seconds_count") > 0
        assert shown.value("exledger_ledger_live_executions", shard="1") == 2
        assert shown.value("exledger_ledger_sequence", shard="1") == 8
        assert 2.9 < shown.value("exledger_ledger_newest_event_age_seconds", shard="1") <= 3
        assert shown.value("exledger_ledger_shards") == SHARDS == shown.total("exledger_ledger_takeovers_total")
        assert shown.total("exledger_ledger_lag_records") == 0
        await stage.stop()
        assert stage.shown.labelled("exledger_ledger_live_executions") == []  # nothing is left of what was let go

    in_virtual_time(scenario)


def test_what_waits_behind_a_commit_is_lag_in_records_and_seconds() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await stage.ledger.ready.wait()
        await stage.submit(1)
        await asyncio.sleep(60)
        stage.log.door.clear()
        await stage.submit(4)
        await asyncio.sleep(7)
        shown = stage.shown
        assert shown.value("exledger_ledger_lag_records", shard="1", topic="commands") == 4
        assert 7 <= shown.value("exledger_ledger_lag_seconds", shard="1", topic="commands") < 8  # idle time is no lag
        assert shown.value("exledger_ledger_lag_records", shard="2", topic="commands") == 0
        stage.log.door.set()
        await asyncio.sleep(1)
        assert stage.shown.total("exledger_ledger_lag_seconds") == 0
        assert stage.shown.value("exledger_ledger_commit_seconds_sum") > 6
        await stage.stop()

    in_virtual_time(scenario)


def test_a_fenced_shard_and_a_lost_answer_are_counted_with_the_take_overs_that_follow() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await stage.ledger.ready.wait()
        stage.log.mute = True
        await stage.submit(1)
        await asyncio.sleep(5)
        assert stage.shown.value("exledger_ledger_unknown_outcomes_total", shard="1") == 1
        async with stage.log.take_over(1):
            await stage.submit(1)
            await asyncio.sleep(0.6)
            assert {"shard": "1"} not in stage.shown.labelled("exledger_ledger_sequence")  # another one's now
            await asyncio.sleep(5)
        assert stage.shown.value("exledger_ledger_fenced_total", shard="1") == 1
        await asyncio.sleep(5)
        assert stage.shown.value("exledger_ledger_takeovers_total", shard="1") == 3
        assert stage.shown.value("exledger_ledger_takeovers_total", shard="2") == 1
        await stage.stop()

    in_virtual_time(scenario)
