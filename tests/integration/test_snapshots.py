"""A real ledger on a real broker is killed again and again, and goes on from what it has kept in a folder."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from execution_ledger.clock import real_world
from execution_ledger.ledger.keeping import LAYOUT, keeper
from execution_ledger.ledger.shard import fold, initial
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.log.topics import create_topics
from execution_ledger.messages.events import Queued, decode_event, digest_of
from execution_ledger.messages.ids import make_id
from execution_ledger.objects import open_objects
from execution_ledger.settings import KafkaSettings, LedgerSettings, ObjectsSettings, SnapshotSettings
from execution_ledger.verify.log.history import check_log
from execution_ledger.verify.reading import read_log
from unit.spec import submit

SHARDS = 3
SOON_S = 60.0
EACH = 2_500  # executions before each start: more than makes a snapshot due
DUE = SnapshotSettings(due_s=0.05)


@pytest.fixture
async def settings(kafka: str) -> KafkaSettings:
    """Topics of this test's own."""
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=f"t{uuid.uuid4().hex[:8]}.", shards=SHARDS)
    await create_topics(settings)
    return settings


class Ledger:
    """A process, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def until(self, *wanted: str) -> None:
        assert self.process.stderr
        async with asyncio.timeout(SOON_S):
            while not set(wanted) <= set(self.said):
                line = await self.process.stderr.readline()
                assert line, self.said
                found = json.loads(line) if line.startswith(b"{") else {"event": line.decode()}
                told = (str(found[key]).partition(":")[0] for key in ("event", "snapshot", "position") if key in found)
                self.said.append(" ".join(told))

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def ledger(settings: KafkaSettings, folder: Path) -> AsyncIterator[Ledger]:
    environment = {
        "EXLEDGER__KAFKA__BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "EXLEDGER__KAFKA__TOPIC_PREFIX": settings.topic_prefix,
        "EXLEDGER__KAFKA__SHARDS": str(SHARDS),
        "EXLEDGER__OBJECTS__URL": str(folder),
        "EXLEDGER__SNAPSHOTS__DUE_S": str(DUE.due_s),
        "EXLEDGER__JSON_LOGS": "true",
    }
    argv = (sys.executable, "-m", "execution_ledger", "serve", "ledger")
    process = await asyncio.create_subprocess_exec(*argv, env=os.environ | environment, stderr=asyncio.subprocess.PIPE)
    try:
        yield Ledger(process)
    finally:
        if process.returncode is None:
            await Ledger(process).kill()


async def submit_some(settings: KafkaSettings, count: int) -> None:
    async with KafkaLog(settings, "test") as log:
        ids = [make_id(time.time_ns() // 1_000_000, 1, number) for number in range(count)]
        commands = [submit(one, f"{uuid.uuid4().hex}") for one in ids]
        outgoing = [Outgoing(b"k", command.model_dump_json(exclude_none=True).encode()) for command in commands]
        await log.send(Lane(Topic.COMMANDS, 1), outgoing)


async def test_a_ledger_that_is_killed_goes_on_from_its_snapshots(settings: KafkaSettings, tmp_path: Path) -> None:
    loaded = []
    for _ in range(3):
        await submit_some(settings, EACH)
        async with ledger(settings, tmp_path) as process:
            await process.until("shard claimed 1", "snapshot written ledger-1")
            await process.kill()
            loaded.append(any(said.startswith("snapshot loaded") for said in process.said))
    assert loaded == [False, True, True]
    async with ledger(settings, tmp_path) as process:
        await process.until("shard claimed 1")
    await check(settings, tmp_path)


async def check(settings: KafkaSettings, folder: Path) -> None:
    """The log keeps its promises, and the newest snapshot is what folding it up to there gives."""
    async with KafkaLog(settings, "test") as log:
        found = await read_log(log)
        assert check_log(found).breaches.kept == []
        history = [raw for raw, _ in found[1]]
        assert sum(isinstance(decode_event(raw).data, Queued) for raw in history) >= 2 * EACH
        objects = open_objects(ObjectsSettings(url=str(folder)))
        assert objects
        kept = keeper(objects, real_world(), DUE, LedgerSettings(), SHARDS)
        newest = await kept.newest(log, "ledger-1", 1)
    assert newest
    state = initial(1, SHARDS, LedgerSettings())
    for raw in history[: newest.marks[0].sequence]:
        state = fold(state, decode_event(raw), digest_of(raw))
    assert LAYOUT.digest(newest.state) == LAYOUT.digest(state)
