"""The ledger's shell on the memory log and a virtual clock: placement, take-over, fencing, checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from execution_ledger.clock import World
from execution_ledger.errors import OutcomeUnknown
from execution_ledger.ledger.service import LedgerService
from execution_ledger.log.memory import MemoryLog, MemoryReader
from execution_ledger.log.protocol import Chunk, Lane, Outgoing, Topic
from execution_ledger.messages.base import Message
from execution_ledger.messages.events import Event, decode_event
from execution_ledger.messages.heartbeats import HEARTBEATS, LedgerTick
from execution_ledger.messages.ids import make_id
from execution_ledger.messages.reports import ReportStarted
from execution_ledger.settings import LedgerSettings
from execution_ledger.trials.simulate.loop import VirtualLoop, virtual_world
from unit.spec import RUNNER, submit

SHARDS = 4
HEARTBEATS_LANE = Lane(Topic.HEARTBEATS, 0)
Read = Callable[[float], Awaitable[Mapping[Lane, Chunk]]]


def in_virtual_time(scenario: Callable[[World], Coroutine[Any, Any, None]], seed: int = 1) -> None:
    loop = VirtualLoop(seed)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario(virtual_world(loop, seed)))


def new_log(world: World) -> MemoryLog:
    return MemoryLog(SHARDS, now_ms=world.clock.now_ms)


class Running:
    """A ledger process: started, stopped in order, or dead at once."""

    def __init__(self, log: MemoryLog, world: World) -> None:
        self.service = LedgerService(log, world, LedgerSettings(), SHARDS)
        self.task = world.spawn(self.service.run(), "ledger")

    async def stop(self) -> None:
        self.service.stop()
        await self.task


async def history(log: MemoryLog, shard: int) -> list[Event]:
    lane = Lane(Topic.EVENTS, shard)
    end, position, events = await log.end(lane), 0, list[Event]()
    async with log.reader({lane: 0}) as reader:
        while position < end:
            chunk = (await reader.read(1))[lane]
            events += [decode_event(record.value or b"") for record in chunk.records]
            position = chunk.position
    return events


async def send(log: MemoryLog, topic: Topic, shard: int, message: Message) -> None:
    value = message.model_dump_json(exclude_none=True).encode()
    await log.send(Lane(topic, shard), [Outgoing(b"key", value)])


def kinds(events: list[Event]) -> list[str]:
    return [event.data.TYPE for event in events]


def test_the_first_ledger_makes_every_shard_of_one_log() -> None:
    async def scenario(world: World) -> None:
        log = new_log(world)
        ledger = Running(log, world)
        async with asyncio.timeout(5):
            await ledger.service.ready.wait()
        await asyncio.sleep(0.1)  # virtual: commits are seen moments after they are made
        histories = [await history(log, shard) for shard in range(SHARDS)]
        assert all(kinds(events) == ["shard.created.v1", "shard.claimed.v1"] for events in histories)
        assert len({events[0].data.log_id for events in histories}) == 1
        await ledger.stop()

    in_virtual_time(scenario)


def test_a_restarted_ledger_goes_on_under_the_next_epoch_where_the_last_one_stopped() -> None:
    async def scenario(world: World) -> None:
        log = new_log(world)
        one = submit(make_id(world.clock.now_ms(), 1, 1), "c-1")
        await send(log, Topic.COMMANDS, 1, one)
        for _ in range(2):
            ledger = Running(log, world)
            async with asyncio.timeout(5):
                await ledger.service.ready.wait()
            await asyncio.sleep(1)
            await ledger.stop()
        events = await history(log, 1)
        assert [event.ownerepoch for event in events] == [0, 1, 1, 2]
        assert kinds(events).count("execution.queued.v1") == 1

    in_virtual_time(scenario)


def test_shards_move_when_a_ledger_dies_and_nothing_the_dead_one_writes_becomes_visible() -> None:
    async def scenario(world: World) -> None:
        log = new_log(world)
        first, second = Running(log, world), Running(log, world)
        await asyncio.sleep(3)
        served = [set(ledger.service.serving) for ledger in (first, second)]
        assert sorted([*served[0], *served[1]]) == list(range(SHARDS))
        assert served[0]
        assert served[1]
        first.task.cancel()  # leaves a little like a crash would not; what counts is who serves next
        await asyncio.wait([first.task])
        await asyncio.sleep(8)
        assert second.service.serving == set(range(SHARDS))
        assert second.service.ready.is_set()
        await second.stop()

    in_virtual_time(scenario)


def test_a_fenced_ledger_lets_the_shard_go_and_comes_back_only_while_placement_names_it() -> None:
    async def scenario(world: World) -> None:
        log = new_log(world)
        ledger = Running(log, world)
        await asyncio.sleep(2)
        async with log.take_over(1) as thief:
            await send(log, Topic.COMMANDS, 1, submit(make_id(world.clock.now_ms(), 1, 1)))
            await asyncio.sleep(0.5)
            assert thief.end == await log.end(Lane(Topic.EVENTS, 1))
            assert 1 not in ledger.service.serving
        await asyncio.sleep(5)
        assert kinds(await history(log, 1))[-2:] == ["shard.claimed.v1", "execution.queued.v1"]
        await ledger.stop()

    in_virtual_time(scenario)


def test_reports_that_leave_no_event_are_checkpointed_at_most_once_a_second() -> None:
    async def scenario(world: World) -> None:
        log = new_log(world)
        ledger = Running(log, world)
        await asyncio.sleep(1)
        one = make_id(world.clock.now_ms(), 1, 1)
        for ordinal in range(1, 11):
            said = ReportStarted(execution_id=one, attempt=1, ordinal=ordinal, runner=RUNNER, time=0)
            await send(log, Topic.REPORTS, 1, said)
            await asyncio.sleep(0.2)
        await asyncio.sleep(3)
        checkpoints = [event for event in await history(log, 1) if event.data.TYPE == "shard.checkpointed.v1"]
        assert 2 <= len(checkpoints) <= 4
        assert sum(event.data.ignored for event in checkpoints) == 10
        assert checkpoints[-1].repoffset == 9
        await ledger.stop()

    in_virtual_time(scenario)


def test_lanes_that_lost_undecided_records_are_not_gone_on_with() -> None:
    async def scenario(world: World) -> None:
        log = new_log(world)
        for bits in range(3):
            await send(log, Topic.COMMANDS, 1, submit(make_id(world.clock.now_ms(), 1, bits), f"c-{bits}"))
        log.forget(Lane(Topic.COMMANDS, 1), 2)
        ledger = Running(log, world)
        await asyncio.sleep(5)
        assert not ledger.service.ready.is_set()
        assert "execution.queued.v1" not in kinds(await history(log, 1))
        await ledger.stop()

    in_virtual_time(scenario)


def test_a_claim_does_not_move_recorded_time() -> None:
    """What waits in the lanes is older than a claim; memory by recorded time must not jump over it."""

    async def scenario(world: World) -> None:
        log = new_log(world)
        for _ in range(2):
            ledger = Running(log, world)
            await asyncio.sleep(300)
            await ledger.stop()
        assert len({event.recordedtime for event in await history(log, 1)}) == 1

    in_virtual_time(scenario)


class Restored(MemoryLog):
    """A log of which some topics were made anew while others were kept."""

    def take_over_from(self, other: MemoryLog, *topics: Topic) -> None:
        for topic in topics:
            for shard in range(SHARDS):
                self._partitions[Lane(topic, shard)] = other.partition(Lane(topic, shard))


async def used_log(world: World) -> MemoryLog:
    log = new_log(world)
    ledger = Running(log, world)
    await ledger.service.ready.wait()  # reports come only after events
    for bits in range(3):
        await send(log, Topic.COMMANDS, 1, submit(make_id(world.clock.now_ms(), 1, bits), f"c-{bits}"))
    said = ReportStarted(execution_id=make_id(0, 1, 1), attempt=1, ordinal=1, runner=RUNNER, time=0)
    await send(log, Topic.REPORTS, 1, said)
    await asyncio.sleep(5)
    await ledger.stop()
    return log


def test_events_that_were_made_anew_while_the_lanes_were_kept_are_refused() -> None:
    async def scenario(world: World) -> None:
        log = Restored(SHARDS, now_ms=world.clock.now_ms)
        log.take_over_from(await used_log(world), Topic.COMMANDS, Topic.REPORTS)
        ledger = Running(log, world)
        await asyncio.sleep(5)
        assert not ledger.service.ready.is_set()
        assert await history(log, 0) == await history(log, 1) == []
        await ledger.stop()

    in_virtual_time(scenario)


def test_a_lane_that_was_made_anew_while_the_events_were_kept_is_refused() -> None:
    async def scenario(world: World) -> None:
        log = Restored(SHARDS, now_ms=world.clock.now_ms)
        log.take_over_from(await used_log(world), Topic.EVENTS, Topic.REPORTS)
        for bits in range(5):
            await send(log, Topic.COMMANDS, 1, submit(make_id(world.clock.now_ms(), 1, 9 + bits), f"new-{bits}"))
        before = await history(log, 1)
        ledger = Running(log, world)
        await asyncio.sleep(5)
        assert not ledger.service.ready.is_set()
        assert await history(log, 1) == before
        await ledger.stop()

    in_virtual_time(scenario)


class Deaf(MemoryLog):
    """Takes nothing that some processes say of themselves."""

    def __init__(self, world: World) -> None:
        super().__init__(SHARDS, now_ms=world.clock.now_ms)
        self.unheard: set[str] = set()

    async def send(self, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        if lane.topic is Topic.HEARTBEATS and batch[0].key.decode() in self.unheard:
            raise OutcomeUnknown("no answer")
        return await super().send(lane, batch)


def test_a_process_that_nobody_hears_does_not_steal_its_shards_back() -> None:
    async def scenario(world: World) -> None:
        log = Deaf(world)
        first, second = Running(log, world), Running(log, world)
        await asyncio.sleep(3)
        log.unheard.add(first.service.process)
        await asyncio.sleep(8)
        for step in range(40):
            for shard in range(1, SHARDS):
                one = make_id(world.clock.now_ms(), shard, step)
                await send(log, Topic.COMMANDS, shard, submit(one, f"c-{step}"))
            await asyncio.sleep(1)
        for shard in range(SHARDS):
            owners = [e.data.owner for e in await history(log, shard) if e.data.TYPE == "shard.claimed.v1"]
            assert owners[-1] == second.service.process
            assert len(owners) <= 3
        await first.stop()
        await second.stop()

    in_virtual_time(scenario)


def test_an_idle_shard_that_was_taken_in_a_silence_is_not_called_ready_and_is_taken_back() -> None:
    async def scenario(world: World) -> None:
        log = Deaf(world)
        first, second = Running(log, world), Running(log, world)
        await asyncio.sleep(3)
        mine = set(first.service.serving)
        log.unheard.add(first.service.process)
        await asyncio.sleep(8)
        assert second.service.serving == set(range(SHARDS))
        log.unheard.clear()
        await asyncio.sleep(1.8)
        assert not first.service.ready.is_set()
        assert not first.service.serving
        await asyncio.sleep(5)
        assert first.service.ready.is_set()
        assert first.service.serving == mine
        for shard in mine:
            assert (await history(log, shard))[-1].data.owner == first.service.process
        await first.stop()
        await second.stop()

    in_virtual_time(scenario)


def test_a_process_that_stood_still_for_longer_than_heartbeats_are_kept_goes_on() -> None:
    class Stalling(MemoryLog):
        """Its readers of heartbeats get nothing unless they may."""

        def __init__(self, world: World) -> None:
            super().__init__(SHARDS, now_ms=world.clock.now_ms)
            self.may_read = asyncio.Event()
            self.may_read.set()

        @asynccontextmanager
        async def reader(self, positions: Mapping[Lane, int]) -> AsyncIterator[MemoryReader]:
            async with super().reader(positions) as reader:
                if HEARTBEATS_LANE in positions:
                    reader.read = partial(self.read, reader.read)  # type: ignore[method-assign]
                yield reader

        async def read(self, real: Read, wait_s: float) -> Mapping[Lane, Chunk]:
            found = await real(wait_s)
            await self.may_read.wait()
            return found

    async def scenario(world: World) -> None:
        log = Stalling(world)
        ledger = Running(log, world)
        await asyncio.sleep(3)
        log.may_read.clear()
        await asyncio.sleep(5)
        log.forget(HEARTBEATS_LANE, await log.end(HEARTBEATS_LANE))
        log.may_read.set()
        await asyncio.sleep(3)
        await send(log, Topic.COMMANDS, 1, submit(make_id(world.clock.now_ms(), 1, 1), "c-1"))
        await asyncio.sleep(1)
        assert "execution.queued.v1" in kinds(await history(log, 1))
        await ledger.stop()

    in_virtual_time(scenario)


def test_stopping_in_the_middle_of_a_replay_takes_a_moment_and_claims_nothing() -> None:
    class Slow(MemoryLog):
        @asynccontextmanager
        async def reader(self, positions: Mapping[Lane, int]) -> AsyncIterator[MemoryReader]:
            async with super().reader(positions) as reader:
                if any(lane.topic is Topic.EVENTS for lane in positions):
                    await asyncio.sleep(0)
                    reader.read = partial(slowly, reader)  # type: ignore[method-assign]
                yield reader

    async def slowly(reader: MemoryReader, wait_s: float) -> Mapping[Lane, Chunk]:
        await asyncio.sleep(wait_s)
        return {}

    async def scenario(world: World) -> None:
        used = await used_log(world)
        log = Slow(SHARDS, now_ms=world.clock.now_ms)
        log._partitions = used._partitions
        before = await used.end(Lane(Topic.EVENTS, 1))
        ledger = Running(log, world)
        await asyncio.sleep(5)
        async with asyncio.timeout(2):
            await ledger.stop()
        assert await used.end(Lane(Topic.EVENTS, 1)) == before
        ticks = [HEARTBEATS.validate_json(r.value or b"") for r in used.partition(Lane(Topic.HEARTBEATS, 0)).records]
        assert all(tick.refused == [] for tick in ticks if isinstance(tick, LedgerTick)), "let go is not unable"

    in_virtual_time(scenario)
