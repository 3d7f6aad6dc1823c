"""The whole check against a real broker and a real Postgres: each damage to the views is named, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from execution_ledger.clock import SystemClock, World, real_world
from execution_ledger.embedded.folder import DataFolder, ephemeral_folder
from execution_ledger.embedded.kafka import EmbeddedKafka
from execution_ledger.errors import BadSettings
from execution_ledger.ledger.keeping import keeper, name_of
from execution_ledger.ledger.shard import fold, initial
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.protocol import Lane, Log, Outgoing, Topic
from execution_ledger.log.topics import create_topics
from execution_ledger.messages.events import decode_event, digest_of
from execution_ledger.objects import open_objects
from execution_ledger.projector.postgres import PostgresStore
from execution_ledger.projector.service import ProjectorService
from execution_ledger.settings import (
    KafkaSettings,
    LedgerSettings,
    ObjectsSettings,
    ProjectorSettings,
    SnapshotSettings,
)
from execution_ledger.snapshots.form import Mark, Snapshot
from execution_ledger.verify import verification
from execution_ledger.verify.reading import read_log
from execution_ledger.verify.verification import Place
from execution_ledger.verify.views.postgres import ViewFindings, check_views
from unit.verify_stage import LAST, ONE, THREE, TWO, History, Keeper, catalog, lives, named

SHARDS = 4
ENTRIES = 7  # events of the catalog
WAIT_S = 30.0


@dataclass(frozen=True)
class Ledgered:
    """A log of two shards, and views that a projector has made of it."""

    kafka: KafkaSettings
    admin: str  # dsn
    database: str

    def dsn(self, database: str) -> str:
        return f"{self.admin.rpartition('/')[0]}/{database}"


def in_twenty_years(raw: bytes) -> bytes:
    """So that the broker, whose append times a recorded time never lies before, does not know better."""
    return raw.replace(b'"2023-', b'"2043-')


async def write(log: Log, shard: int, ledger: Keeper) -> None:
    history = History()
    history.documents = [json.loads(in_twenty_years(raw)) for raw in ledger.raw]
    history.chain()
    async with log.take_over(shard) as writer:
        await writer.append([Outgoing(b"key", raw) for raw in history.raw()[:5]])
        await writer.append([Outgoing(b"key", raw) for raw in history.raw()[5:]])
    for topic, lane in ((Topic.COMMANDS, ledger.commands), (Topic.REPORTS, ledger.reports)):
        await log.send(Lane(topic, shard), [Outgoing(b"key", in_twenty_years(raw)) for raw in lane])


async def project(log: Log, dsn: str, ends: dict[int, int]) -> None:
    service = ProjectorService(
        log, PostgresStore(dsn), World(SystemClock(), random.Random(1)), ProjectorSettings(batch_events_max=3)
    )
    task = asyncio.create_task(service.run())
    async with asyncio.timeout(WAIT_S):
        await service.ready.wait()
        views = await asyncpg.connect(dsn)
        moved = asyncio.Event()
        await views.add_listener("ledger_positions", lambda *_: moved.set())
        while {row[0]: row[1] for row in await views.fetch("SELECT shard, sequence FROM ledger.positions")} != ends:
            await moved.wait()
            moved.clear()
        await views.close()
        service.stop()
        await task


@pytest.fixture(scope="module")
async def ledgered(kafka: str, postgres: str) -> AsyncIterator[Ledgered]:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix="verify.", shards=SHARDS)
    await create_topics(settings)
    made = Ledgered(settings, postgres, f"verify_{uuid.uuid4().hex}")
    admin = await asyncpg.connect(postgres)
    await admin.execute(f"create database {made.database}")
    shards: dict[int, Keeper] = {0: catalog(limit=5), 1: lives()}
    async with KafkaLog(settings, "tests") as log:
        for shard, ledger in shards.items():
            await write(log, shard, ledger)
        await project(log, made.dsn(made.database), {shard: len(ledger.raw) for shard, ledger in shards.items()})
    yield made
    await admin.execute(f"drop database {made.database} with (force)")
    await admin.close()


@pytest.fixture
async def views(ledgered: Ledgered) -> AsyncIterator[str]:
    """The dsn of a copy that may be damaged."""
    name = f"copy_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(ledgered.admin)
    await admin.execute(f"create database {name} template {ledgered.database}")
    yield ledgered.dsn(name)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


async def checked(ledgered: Ledgered, dsn: str) -> list[ViewFindings]:
    async with KafkaLog(ledgered.kafka, "tests") as log:
        return [await check_views(log, dsn, shard, SHARDS, lambda _: None) for shard in range(SHARDS)]


async def change(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    assert not (await connection.execute(sql)).endswith(" 0"), "nothing was changed"
    await connection.close()


async def damaged(ledgered: Ledgered, dsn: str, sql: str) -> list[tuple[int, int, int | None, str | None]]:
    await change(dsn, sql)
    found = await checked(ledgered, dsn)
    assert [each.stopped for each in found] == [None] * SHARDS
    return [place for each in found for place in named(each.breaches.kept)]


async def test_views_as_the_projector_made_them_are_the_fold_of_the_log(ledgered: Ledgered, views: str) -> None:
    found = await checked(ledgered, views)
    assert [each.breaches.kept for each in found] == [[]] * SHARDS
    assert [each.events for each in found] == [ENTRIES, LAST, 0, 0]
    assert found[1].rows == LAST + 3 + 1 + 3 + 10  # journal, executions, live, attempts, commands by their ids


DAMAGES: list[tuple[str, tuple[int, int, int | None, str | None]]] = [
    (f"UPDATE ledger.executions SET status = 'failed' WHERE id = '{ONE}'", (7, 1, 7, ONE)),
    (f"UPDATE ledger.executions SET outputs = '{{}}' WHERE id = '{ONE}'", (7, 1, 7, ONE)),
    (f"UPDATE ledger.executions SET shard = 9 WHERE id = '{ONE}'", (7, 1, 7, ONE)),
    (f"DELETE FROM ledger.executions WHERE id = '{TWO}'", (7, 1, 10, TWO)),
    (f"UPDATE ledger.live_executions SET runner = 'x' WHERE id = '{THREE}'", (7, 1, None, THREE)),
    (f"DELETE FROM ledger.live_executions WHERE id = '{THREE}'", (7, 1, None, THREE)),
    (f"UPDATE ledger.attempts SET cause = 'lost' WHERE execution_id = '{THREE}' AND attempt = 1", (7, 1, None, THREE)),
    (f"DELETE FROM ledger.attempts WHERE execution_id = '{THREE}' AND attempt = 1", (7, 1, None, THREE)),
    (f"INSERT INTO ledger.attempts (execution_id, attempt, status) VALUES ('{TWO}', 1, 'lost')", (7, 1, None, TWO)),
    (f"INSERT INTO ledger.warnings (execution_id, sequence, warning) VALUES ('{ONE}', 6, '')", (7, 1, 6, ONE)),
    ("UPDATE ledger.pipelines SET digest = 'd2'", (7, 0, None, None)),
    ("UPDATE ledger.entries SET definition = NULL", (7, 0, None, None)),
    ("DELETE FROM ledger.entries", (7, 0, None, None)),
    ("DELETE FROM ledger.commands WHERE command_id = 'abort-9'", (7, 1, 19, None)),
    ("UPDATE ledger.commands SET sequence = 5 WHERE command_id = 'abort-9'", (7, 1, 19, None)),
    ("UPDATE ledger.journal SET event = event || ' ' WHERE shard = 1 AND sequence = 5", (7, 1, 5, ONE)),
    ("UPDATE ledger.journal SET kafka_offset = 99 WHERE shard = 1 AND sequence = 12", (7, 1, 12, None)),
    ("DELETE FROM ledger.journal WHERE shard = 1 AND sequence = 12", (7, 1, 12, None)),
    ("INSERT INTO ledger.journal SELECT shard, 0, kafka_offset, subject, version, type, recorded_at, event "
     "FROM ledger.journal WHERE shard = 1 AND sequence = 12", (7, 1, 0, None)),
    ("INSERT INTO ledger.journal SELECT 9, sequence, kafka_offset, subject, version, type, recorded_at, event "
     "FROM ledger.journal WHERE shard = 1 AND sequence = 12", (7, 9, 12, None)),
    ("INSERT INTO ledger.positions SELECT 9, next_offset, kafka_offset, sequence, digest, log_id, ownerepoch, "
     "recorded_at, updated_at FROM ledger.positions WHERE shard = 1",
     (7, 9, 19, None)),
    ("DELETE FROM ledger.journal WHERE shard = 1 AND sequence = 19", (8, 1, 19, None)),
    ("DELETE FROM ledger.positions WHERE shard = 1", (8, 1, None, None)),
    ("UPDATE ledger.positions SET sequence = 18 WHERE shard = 1", (8, 1, 18, None)),
    ("UPDATE ledger.positions SET sequence = 25 WHERE shard = 1", (8, 1, 25, None)),
    ("UPDATE ledger.positions SET digest = 'd' WHERE shard = 1", (8, 1, 19, None)),
    ("UPDATE ledger.positions SET kafka_offset = 1 WHERE shard = 1", (8, 1, 19, None)),
    ("UPDATE ledger.positions SET next_offset = 900 WHERE shard = 1", (8, 1, 19, None)),
    ("UPDATE ledger.positions SET log_id = 'log-2' WHERE shard = 1", (8, 1, 19, None)),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "place"), DAMAGES, ids=[sql[:70] for sql, _ in DAMAGES])
async def test_one_damage_to_the_views_is_one_breach_and_is_named(
    ledgered: Ledgered, views: str, sql: str, place: tuple[int, int, int | None, str | None]
) -> None:
    assert await damaged(ledgered, views, sql) == [place]


async def test_a_mistake_of_the_projector_is_a_breach(
    ledgered: Ledgered, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("execution_ledger.projector.progress.inline", lambda _: None)
    async with KafkaLog(ledgered.kafka, "tests") as log:
        await project(log, database, {0: ENTRIES, 1: LAST})
    found = [breach for each in await checked(ledgered, database) for breach in each.breaches.kept]
    assert any(breach.promise == 7 and "has inputs = None" in breach.what for breach in found)


@pytest.mark.parametrize("table", ["attempts", "journal"])
async def test_a_table_that_is_gone_is_a_breach_of_each_shard(ledgered: Ledgered, views: str, table: str) -> None:
    await change(views, f"DROP TABLE ledger.{table} CASCADE")
    found = [breach for each in await checked(ledgered, views) for breach in each.breaches.kept]
    assert {(breach.promise, breach.shard) for breach in found} == {(7, shard) for shard in range(SHARDS)}
    assert all(f"ledger.{table}" in breach.what for breach in found)


async def test_a_column_that_is_gone_is_named(ledgered: Ledgered, views: str) -> None:
    await change(views, "ALTER TABLE ledger.attempts DROP COLUMN cause CASCADE")
    found = [breach for each in await checked(ledgered, views) for breach in each.breaches.kept]
    assert found
    assert all("has no column cause" in breach.what for breach in found)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DELETE FROM ledger.migrations WHERE name >= '0012'", "An older release made these views"),
        ("INSERT INTO ledger.migrations VALUES ('9999_new.sql', 'x')", "a newer release made it"),
    ],
)
async def test_views_of_another_release_are_not_compared(ledgered: Ledgered, views: str, sql: str, says: str) -> None:
    await change(views, sql)
    with pytest.raises(BadSettings, match=says):
        await checked(ledgered, views)


async def test_a_postgres_without_views_has_none(ledgered: Ledgered, database: str) -> None:
    assert [each.there for each in await checked(ledgered, database)] == [False] * SHARDS


# --- the command ------------------------------------------------------------------------------------------------


def exledger(
    kafka: KafkaSettings, dsn: str, *options: str, objects: Path | str = ""
) -> subprocess.CompletedProcess[str]:
    named_by = {
        "EXLEDGER__KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "EXLEDGER__KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
        "EXLEDGER__POSTGRES__DSN": dsn,
        "EXLEDGER__OBJECTS__URL": str(objects),
    }
    return subprocess.run(
        [sys.executable, "-m", "execution_ledger", "verify", *options],
        env=os.environ | named_by,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_the_command_says_what_it_checked(ledgered: Ledgered, views: str, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"command_id": "submit-1", "execution_id": ONE, "status_code": 201}))
    options = ["--json", "--answers", str(answers)]
    done = await asyncio.to_thread(exledger, ledgered.kafka, views, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["ok"], report["events"], report["executions"], report["shards"]) == (True, LAST + 7, 3, SHARDS)
    assert [(part["name"], part["checked"]) for part in report["checked"]] == [
        ("log", LAST + 7), ("commands", 12 + 5), ("views", 36 + 14), ("answers", 1),
    ]  # fmt: skip
    assert set(report["promises"].values()) == {"kept"}
    answers.write_text(json.dumps({"execution_id": ONE, "status_code": 201, "status": "failed"}))
    done = await asyncio.to_thread(exledger, ledgered.kafka, views, *options)
    assert done.returncode == 1
    assert [(it["promise"], it["execution"]) for it in json.loads(done.stdout)["breaches"]] == [(5, ONE)]


async def test_the_command_names_a_breach_to_a_person(ledgered: Ledgered, views: str) -> None:
    connection = await asyncpg.connect(views)
    await connection.execute("UPDATE ledger.executions SET status = 'failed' WHERE id = $1", ONE)
    await connection.close()
    done = await asyncio.to_thread(exledger, ledgered.kafka, views)
    assert done.returncode == 1, done.stderr
    assert f"The row {ONE} of ledger.executions has status = failed, and the log makes it completed." in done.stdout
    assert "1 breach: 26 events of 3 executions on 4 shards" in done.stdout


async def write_snapshot(kafka: KafkaSettings, folder: Path) -> Path:
    """Of all of shard 1; its file."""
    objects = open_objects(ObjectsSettings(url=str(folder)))
    assert objects
    async with KafkaLog(kafka, "tests") as log:
        history = (await read_log(log))[1]
    state = initial(1, SHARDS, LedgerSettings())
    for raw, _ in history:
        state = fold(state, decode_event(raw), digest_of(raw))
    raw, offset = history[-1]
    kept = Snapshot((Mark(1, state.sequence, offset, digest_of(raw)),), state)
    writer = keeper(objects, real_world(), SnapshotSettings(), LedgerSettings(), SHARDS)
    await writer._write(name_of(1), state.log_id, kept)
    return folder / (await objects.names("snapshots"))[0]


async def test_the_command_compares_snapshots_with_the_log(ledgered: Ledgered, views: str, tmp_path: Path) -> None:
    async def report(*options: str) -> dict[str, Any]:
        done = await asyncio.to_thread(exledger, ledgered.kafka, views, "--json", *options, objects=tmp_path)
        assert done.returncode == bool(json.loads(done.stdout)["breaches_total"]), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    assert (await report())["notes"] == ["There are no snapshots of this code yet."]
    file = await write_snapshot(ledgered.kafka, tmp_path)
    found = await report()
    assert (found["ok"], found["notes"]) == (True, [])
    (part,) = (part for part in found["checked"] if part["name"] == "snapshots")
    assert (part["checked"], part["what"]) == (LAST, "events for 1")
    file.write_bytes(file.read_bytes().replace(b'"train-', b'"trein-', 1))
    found = await report()
    (breach,) = found["breaches"]
    assert (breach["promise"], breach["shard"], breach["sequence"]) == (7, 1, LAST)
    assert str(file.relative_to(tmp_path)) in breach["what"]
    assert found["promises"]["7"] == "broken"
    assert (await report("--no-snapshots"))["ok"]
    file.rename(file.with_name(f"{LAST:020d}-of-other-code"))
    assert "of-other-code" in (await report())["notes"][0]


async def test_topics_that_would_lose_the_log_one_day_are_a_note(ledgered: Ledgered) -> None:
    place = Place(ledgered.kafka, LedgerSettings(), None)
    assert (await verification.verify(place, [], lambda *_: None)).notes == []
    topic = ConfigResource(ConfigResourceType.TOPIC, "verify.events", {"retention.ms": "86400000"})
    as_it_was = ConfigResource(ConfigResourceType.TOPIC, "verify.events", {"retention.ms": "-1"})
    admin = AIOKafkaAdminClient(bootstrap_servers=ledgered.kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.alter_configs([topic])
        (note,) = (await verification.verify(place, [], lambda *_: None)).notes
        assert "verify.events" in note
        assert "retention.ms" in note
    finally:
        await admin.alter_configs([as_it_was])
        await admin.close()


async def test_a_long_history_is_folded_only_when_asked_to(
    ledgered: Ledgered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_snapshot(ledgered.kafka, tmp_path)
    place = Place(ledgered.kafka, LedgerSettings(), None, ObjectsSettings(url=str(tmp_path)))
    monkeypatch.setattr(verification, "FOLDED_MAX", LAST - 1)
    unasked = await verification.verify(place, [], lambda *_: None)
    assert [part.name for part in unasked.parts] == ["log", "commands"]
    assert f"since {LAST} events would have to be folded" in unasked.notes[0]
    asked = await verification.verify(replace(place, snapshots=True), [], lambda *_: None)
    assert [part.name for part in asked.parts] == ["log", "commands", "snapshots"]


async def test_out_of_reach_is_an_exit_code_of_its_own(ledgered: Ledgered, views: str, tmp_path: Path) -> None:
    nobody = ledgered.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    done = await asyncio.to_thread(exledger, nobody, views)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    done = await asyncio.to_thread(exledger, ledgered.kafka, "postgresql://postgres@127.0.0.1:1/postgres")
    assert done.returncode == 3, done.stdout
    assert "The views were not checked" in done.stderr


async def test_a_ledger_that_does_not_run_is_started_for_the_check_alone() -> None:
    with ephemeral_folder() as folder:
        async with EmbeddedKafka(folder / "kafka") as broker:
            await create_topics(KafkaSettings(bootstrap_servers=broker.bootstrap_servers))
        command = [sys.executable, "-m", "execution_ledger", "verify", "--json", "--data-dir", str(folder)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["ok"], report["events"], report["shards"]) == (True, 0, SHARDS)
        assert report["promises"]["7"] == "not checked"
        assert "no projector has ever run" in report["notes"][0]
        with DataFolder(folder).hold("nobody else has it"):
            refused = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False, timeout=60)
        assert (refused.returncode, b"in use" in refused.stderr) == (3, True)
