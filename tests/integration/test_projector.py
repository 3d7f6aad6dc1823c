"""The projector on a real Postgres: over a real Kafka, and over connections that break where it hurts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from contract.events_builder import BEGIN_MS, History
from contract.store_case import COMPLETED, DISPATCHED, STARTED
from execution_ledger.clock import SystemClock, World
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Log, Outgoing
from execution_ledger.log.topics import create_topics
from execution_ledger.postgres import connect
from execution_ledger.projector.postgres import PostgresStore
from execution_ledger.projector.service import ProjectorService
from execution_ledger.settings import KafkaSettings, ProjectorSettings

WAIT_S = 20.0


class Wire:
    """A connection to Postgres that can be cut: right after a commit was carried out, before its answer is back."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.commits_to_cut = 0
        self.away = False
        self.refused = asyncio.Event()

    @property
    def dsn(self) -> str:
        port = self._server.sockets[0].getsockname()[1] if self._server else 1
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{port}"))

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.away:
            to_client.close()
            self.refused.set()
            return
        from_server, to_server = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        cut = asyncio.Event()
        ask = _pump(from_client, to_server, lambda data: self._watch(data, cut))
        answer = _pump(from_server, to_client, lambda data: not cut.is_set())
        self._tasks |= {asyncio.ensure_future(pump) for pump in (ask, answer)}

    def _watch(self, data: bytes, cut: asyncio.Event) -> bool:
        if b"COMMIT" in data and self.commits_to_cut:
            self.commits_to_cut -= 1
            cut.set()
        return True  # the commit itself goes through


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, passes: Callable[[bytes], bool]) -> None:
    """Carries bytes until either side ends, or until `passes` says no to some."""
    try:
        while (data := await source.read(65_536)) and passes(data):
            target.write(data)
            await target.drain()
    except ConnectionError:
        return  # the other side has let go: so does this one
    finally:
        target.close()


@pytest.fixture
async def wire(database: str) -> AsyncIterator[Wire]:
    async with Wire(database) as wire:
        yield wire


@pytest.fixture
async def views(database: str) -> AsyncIterator[Any]:
    views = await connect(database, "tests")
    yield views
    await views.close()


@asynccontextmanager
async def projecting(log: Log, dsn: str) -> AsyncIterator[ProjectorService]:
    world = World(SystemClock(), random.Random(1))
    service = ProjectorService(log, PostgresStore(dsn), world, ProjectorSettings())
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        service.stop()
        async with asyncio.timeout(WAIT_S):
            await task


async def write(log: Log, history: History) -> None:
    batch = [Outgoing(recorded.event.subject.encode(), recorded.raw) for recorded in history.take()]
    async with log.take_over(history.shard) as writer:
        await writer.append(batch)


async def until(views: Any, shard: int, sequence: int) -> None:
    """Waits for the announcement, not for a while."""
    announced = asyncio.Event()
    await views.add_listener("ledger_positions", lambda *_: announced.set())
    query = "SELECT sequence FROM ledger_v1.positions WHERE shard = $1"
    async with asyncio.timeout(WAIT_S):
        while ((await views.fetchval(query, shard)) or 0) < sequence:
            await announced.wait()
            announced.clear()
    await views.reset()


async def ready(service: ProjectorService) -> None:
    async with asyncio.timeout(WAIT_S):
        await service.ready.wait()


async def events_of(views: Any, shard: int) -> list[bytes]:
    rows = await views.fetch("SELECT event FROM ledger_v1.journal WHERE shard = $1 ORDER BY sequence", shard)
    return [row["event"] for row in rows]


async def test_from_kafka_to_the_views(kafka: str, database: str, views: Any) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix="projector.", shards=2)
    await create_topics(settings)
    history = History()
    execution = history.queue()
    async with KafkaLog(settings, "tests") as log:
        await write(log, history)
        async with projecting(log, database) as service:
            await ready(service)
            await until(views, 1, 1)
        history.add(execution, DISPATCHED, STARTED, COMPLETED)
        await write(log, history)  # while no projector runs
        async with projecting(log, database) as service:
            await ready(service)
            await until(views, 1, 4)
            history.queue()
            await write(log, history)
            await until(views, 1, 5)
    assert await events_of(views, 1) == [recorded.raw for recorded in history.events]
    row = await views.fetchrow("SELECT status, outputs FROM ledger_v1.executions WHERE id = $1", execution)
    assert tuple(row) == ("completed", '{"out":1}')


async def test_commits_whose_answers_are_lost_double_nothing(wire: Wire, views: Any) -> None:
    log = MemoryLog(2, now_ms=lambda: BEGIN_MS)
    history = History()
    async with projecting(log, wire.dsn) as service:
        await ready(service)
        for sequence in range(1, 6):
            wire.commits_to_cut = 1
            history.queue()
            await write(log, history)
            await until(views, 1, sequence)
            assert wire.commits_to_cut == 0
        assert service.halted == {}
    assert await events_of(views, 1) == [recorded.raw for recorded in history.events]


async def test_connections_that_are_killed_all_the_time_lose_nothing(database: str, views: Any) -> None:
    log = MemoryLog(2, now_ms=lambda: BEGIN_MS)
    history = History()
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'exledger-projector-1'"
    async with projecting(log, database) as service:
        await ready(service)
        for _ in range(10):
            execution = history.queue()
            history.add(execution, DISPATCHED, STARTED, COMPLETED)
            await write(log, history)
            await views.execute(kill)
        await until(views, 1, history.sequence)
        assert service.halted == {}
    assert await events_of(views, 1) == [recorded.raw for recorded in history.events]
    assert await views.fetchval("SELECT count(*) FROM ledger_v1.executions WHERE status = 'completed'") == 10


async def test_two_projectors_at_once_project_each_event_once(database: str, views: Any) -> None:
    log = MemoryLog(2, now_ms=lambda: BEGIN_MS)
    history = History()
    async with projecting(log, database) as one, projecting(log, database) as other:
        await ready(one)
        await ready(other)
        for _ in range(20):
            history.queue()
            await write(log, history)
        await until(views, 1, 20)
        assert one.halted == other.halted == {}
    assert await events_of(views, 1) == [recorded.raw for recorded in history.events]


async def test_postgres_may_come_later(wire: Wire, views: Any) -> None:
    log = MemoryLog(2, now_ms=lambda: BEGIN_MS)
    history = History()
    history.queue()
    await write(log, history)
    wire.away = True
    async with projecting(log, wire.dsn) as service:
        async with asyncio.timeout(WAIT_S):
            await wire.refused.wait()
        assert not service.ready.is_set()
        wire.away = False
        await ready(service)
        await until(views, 1, 1)
