"""The projector over a log and a store in memory: where it begins, when it tries again, and when it stops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from contract.events_builder import BEGIN_MS, History
from contract.store_case import COMPLETED, DISPATCHED, STARTED
from execution_ledger.clock import SystemClock, World
from execution_ledger.errors import BrokenHistory, OutcomeUnknown, Permanent, Unavailable
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Chunk, Lane, Outgoing, Record, Topic
from execution_ledger.projector.changes import Changes, StoredPosition
from execution_ledger.projector.memory import MemoryStore
from execution_ledger.projector.rows import Recorded
from execution_ledger.projector.service import ProjectorService, batches
from execution_ledger.settings import ProjectorSettings
from execution_ledger.trials.simulate.loop import VirtualLoop

WAIT_S = 5.0


class WatchedStore(MemoryStore):
    """Lets a test wait for a shard to come to a sequence, and loses answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = asyncio.Event()
        self.on_moved.append(lambda shard, sequence: self.moved.set())
        self.away = 0  # how many calls go unanswered: before anything was done …
        self.lost = 0  # … and after it was done
        self.applied: list[int] = []

    async def prepare(self) -> None:
        self.fail_if_away()

    async def apply(self, expected: StoredPosition | None, changes: Changes) -> None:
        self.fail_if_away()
        await super().apply(expected, changes)
        self.applied.append(len(changes.journal))
        if self.lost:
            self.lost -= 1
            raise OutcomeUnknown("the answer was lost")

    def fail_if_away(self) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("away")

    async def until(self, shard: int, sequence: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while shard not in self.positions or self.positions[shard].sequence < sequence:
                self.moved.clear()
                await self.moved.wait()


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(3, now_ms=lambda: BEGIN_MS)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


async def write(log: MemoryLog, history: History) -> None:
    async with log.take_over(history.shard) as writer:
        await writer.append([outgoing(recorded) for recorded in history.take()])


def outgoing(recorded: Recorded) -> Outgoing:
    return Outgoing(recorded.event.subject.encode(), recorded.raw)


@asynccontextmanager
async def projecting(
    log: MemoryLog, store: MemoryStore, settings: ProjectorSettings | None = None
) -> AsyncIterator[ProjectorService]:
    world = World(SystemClock(), random.Random(1))
    service = ProjectorService(log, store, world, settings or ProjectorSettings())
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        service.stop()
        service.stop()
        async with asyncio.timeout(WAIT_S):
            await task


async def ready(service: ProjectorService) -> None:
    async with asyncio.timeout(WAIT_S):
        await service.ready.wait()


async def halted(service: ProjectorService, shard: int) -> Permanent:
    async with asyncio.timeout(WAIT_S):
        await service.has_halted.wait()
    return service.halted[shard]


async def test_what_is_in_the_log_and_what_comes_is_projected(log: MemoryLog, store: WatchedStore) -> None:
    history = History()
    execution = history.queue()
    await write(log, history)
    async with projecting(log, store) as service:
        await store.until(1, 1)
        history.add(execution, DISPATCHED, STARTED, COMPLETED)
        await write(log, history)
        await store.until(1, 4)
        await ready(service)
    assert store.executions[execution]["status"] == "completed"
    assert not service.ready.is_set()


async def test_a_log_without_events_is_no_reason_not_to_be_ready(log: MemoryLog, store: WatchedStore) -> None:
    async with projecting(log, store) as service:
        await ready(service)
    assert store.positions == {}


async def test_a_restart_goes_on_behind_the_marker(log: MemoryLog, store: WatchedStore) -> None:
    history = History()
    execution = history.queue()
    await write(log, history)
    async with projecting(log, store):
        await store.until(1, 1)
    history.add(execution, DISPATCHED)
    await write(log, history)
    async with projecting(log, store):
        await store.until(1, 2)
    assert store.positions[1].next_offset == await log.end(Lane(Topic.EVENTS, 1))
    assert [row["version"] for row in store.journal.values()] == [1, 2]


async def test_a_lost_answer_is_looked_up(log: MemoryLog, store: WatchedStore) -> None:
    history = History()
    history.queue()
    await write(log, history)
    store.lost = 1
    async with projecting(log, store):
        await store.until(1, 1)
        history.queue()
        await write(log, history)
        await store.until(1, 2)
    assert store.applied == [1, 1]


def test_a_database_that_fell_behind_is_found_out_although_nothing_comes() -> None:
    async def play() -> None:
        log, store, history = MemoryLog(3, now_ms=lambda: BEGIN_MS), WatchedStore(), History()
        history.queue()
        await write(log, history)
        async with projecting(log, store) as service:
            await store.until(1, 1)
            await ready(service)
            for table in (store.positions, store.journal, store.executions, store.live_executions, store.commands):
                table.clear()
            store.applied.clear()
            await store.until(1, 1)

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(1)) as runner:
        runner.run(play())


async def test_a_store_that_is_away_is_waited_for(log: MemoryLog, store: WatchedStore) -> None:
    history = History()
    history.queue()
    await write(log, history)
    store.away = 3  # once when it prepares, twice when it applies
    async with projecting(log, store) as service:
        await store.until(1, 1)
        await ready(service)


async def test_batches_are_bounded(log: MemoryLog, store: WatchedStore) -> None:
    history = History()
    for _ in range(7):
        history.queue()
    await write(log, history)
    async with projecting(log, store, ProjectorSettings(batch_events_max=3)):
        await store.until(1, 7)
    assert store.applied == [3, 3, 1]


@pytest.mark.parametrize("change", ["another event there", "the end was lost"])
async def test_views_of_another_log_stop_their_shard_and_no_other(
    log: MemoryLog, store: WatchedStore, change: str
) -> None:
    history = History()
    history.queue()
    await write(log, history)
    async with projecting(log, store):
        await store.until(1, 1)
    moved = {"digest": "0" * 64} if change == "another event there" else {"next_offset": 99, "kafka_offset": 98}
    store.positions[1] = store.positions[1]._replace(**moved)
    other = History(2)
    other.queue()
    async with projecting(log, store) as service:
        error = await halted(service, 1)
        await write(log, other)
        await store.until(2, 1)
        assert not service.ready.is_set()
    assert isinstance(error, BrokenHistory)
    assert "exledger views rebuild" in str(error)


async def test_views_whose_event_has_left_the_log_stop_their_shard(log: MemoryLog, store: WatchedStore) -> None:
    history = History()
    history.queue()
    await write(log, history)
    async with projecting(log, store):
        await store.until(1, 1)
    log.forget(Lane(Topic.EVENTS, 1), await log.end(Lane(Topic.EVENTS, 1)))
    async with projecting(log, store) as service:
        assert "views rebuild" in str(await halted(service, 1))


async def test_an_event_that_this_release_does_not_know_stops_its_shard_before_it(
    log: MemoryLog, store: WatchedStore
) -> None:
    history = History()
    history.queue()
    history.queue()
    known, newer = history.take()
    newer_raw = newer.raw.replace(b"execution.queued.v1", b"execution.queued.v9")
    async with projecting(log, store) as service:
        for raw in (known.raw, newer_raw):
            async with log.take_over(1) as writer:
                await writer.append([Outgoing(b"", raw)])
        assert "newer release" in str(await halted(service, 1))
    assert 1 not in store.positions or store.positions[1].sequence == 1


async def test_when_no_shard_is_left_the_service_ends_with_the_reason(store: WatchedStore) -> None:
    log = MemoryLog(2, now_ms=lambda: BEGIN_MS)
    for shard in (0, 1):
        async with log.take_over(shard) as writer:
            await writer.append([Outgoing(b"", b"not an event")])
    service = ProjectorService(log, store, World(SystemClock(), random.Random(1)), ProjectorSettings())
    with pytest.raises(BrokenHistory, match="not an event of ours"):
        await service.run()
    assert set(service.halted) == {0, 1}


# --- pieces of a chunk ------------------------------------------------------------------------------------------


def chunk(offsets: Sequence[int], position: int) -> Chunk:
    return Chunk([Record(Lane(Topic.EVENTS, 1), offset, 0, None, None) for offset in offsets], position)


def test_each_piece_ends_where_the_next_begins() -> None:
    pieces = list(batches(chunk([0, 1, 5, 6, 9], position=12), 2))
    assert [(len(records), next_offset) for records, next_offset in pieces] == [(2, 5), (2, 9), (1, 12)]


def test_markers_alone_are_no_piece() -> None:
    assert list(batches(chunk([], position=3), 2)) == []
