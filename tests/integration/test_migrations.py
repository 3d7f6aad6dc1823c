"""Migrations against a real Postgres: in order, once, never over a changed past."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from contract.events_builder import History
from contract.store_case import DISPATCHED, STARTED
from execution_ledger.errors import BrokenHistory, Unavailable
from execution_ledger.messages.events import Failed
from execution_ledger.messages.parts import Failure, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.postgres import connect
from execution_ledger.projector.changes import HOT, JournalRow
from execution_ledger.projector.migrations import FOLDER, LOCK, migrate, migrations_in
from execution_ledger.projector.rows import fold


@pytest.fixture
async def reader(database: str) -> AsyncIterator[Any]:
    reader = await connect(database, "tests")
    yield reader
    await reader.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE ledger.first (a int)")
    (tmp_path / "0002_second.sql").write_text(
        "CREATE TABLE ledger.second (a int); INSERT INTO ledger.second VALUES (1)"
    )
    return tmp_path


async def test_all_are_applied_once(database: str, reader: Any) -> None:
    names = [migration.name for migration in migrations_in(FOLDER)]
    assert await migrate(database) == names
    assert await migrate(database) == []
    applied = await reader.fetch("SELECT name, sha256 FROM ledger.migrations ORDER BY name")
    assert [tuple(row) for row in applied] == [(it.name, it.sha256) for it in migrations_in(FOLDER)]


async def test_only_what_is_missing_is_applied(database: str, folder: Path) -> None:
    await migrate(database, folder)
    (folder / "0003_third.sql").write_text("CREATE TABLE ledger.third (a int)")
    assert await migrate(database, folder) == ["0003_third.sql"]


async def test_one_that_fails_leaves_nothing_and_stops_the_rest(database: str, folder: Path, reader: Any) -> None:
    (folder / "0002_second.sql").write_text("CREATE TABLE ledger.second (a int); SELECT 1/0")
    (folder / "0003_third.sql").write_text("CREATE TABLE ledger.third (a int)")
    with pytest.raises(BrokenHistory, match="0002_second"):
        await migrate(database, folder)
    tables = await reader.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'ledger' ORDER BY 1")
    assert [row["tablename"] for row in tables] == ["first", "migrations"]


async def test_a_changed_one_is_refused(database: str, folder: Path) -> None:
    await migrate(database, folder)
    (folder / "0001_first.sql").write_text("CREATE TABLE ledger.first (a bigint)")
    with pytest.raises(BrokenHistory, match="0001_first"):
        await migrate(database, folder)


async def test_a_database_of_a_newer_release_is_refused(database: str, folder: Path) -> None:
    await migrate(database, folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(BrokenHistory, match="newer release"):
        await migrate(database, folder)


async def test_two_at_once_take_turns(database: str, folder: Path) -> None:
    one, other = await asyncio.gather(migrate(database, folder), migrate(database, folder))
    assert sorted([one, other]) == [[], ["0001_first.sql", "0002_second.sql"]]


async def test_the_wait_for_another_one_is_bounded(database: str, folder: Path, reader: Any) -> None:
    await reader.execute("SELECT pg_advisory_lock($1)", LOCK)
    with pytest.raises(Unavailable, match="Another process"):
        await migrate(database, folder, wait_s=0.05)
    await reader.execute("SELECT pg_advisory_unlock($1)", LOCK)
    assert len(await migrate(database, folder)) == 2


def test_numbers_without_a_gap(folder: Path) -> None:
    (folder / "0004_late.sql").write_text("SELECT 1")
    with pytest.raises(BrokenHistory, match="without a gap"):
        migrations_in(folder)


async def test_retries_come_to_a_database_that_holds_executions_as_a_rebuild_would_make_them(
    database: str, tmp_path: Path, reader: Any
) -> None:
    """What 0003 adds is taken from the journal, for rows that were there before it."""
    for migration in migrations_in(FOLDER)[:2]:
        (tmp_path / migration.name).write_text(migration.sql)
    await migrate(database, tmp_path)
    history = History()
    execution = history.queue(policy=Policy(retries=2), inputs=json_payload({"text": "\x00"}))
    failure = Failure(kind="user", message="no \x00 luck")
    history.add(execution, DISPATCHED, STARTED, Failed(attempt=1, failure=failure))
    changes = fold(1, None, history.take(), 9)
    created, progress = changes.created[execution], changes.progress[execution]
    await _copy_old(reader, "journal", JournalRow._fields, [tuple(row) for row in changes.journal])
    row = created._asdict() | {name: getattr(progress, name) for name in HOT}
    await _copy_old(reader, "executions", tuple(row), [tuple(row.values())])
    attempt = asdict(changes.attempts[execution, 1])
    await _copy_old(reader, "attempts", tuple(attempt), [tuple(attempt.values())])
    assert await migrate(database) == [migration.name for migration in migrations_in(FOLDER)[2:]]
    found = await reader.fetchrow("SELECT policy, not_before FROM ledger_v1.executions")
    assert tuple(found) == (created.policy, None)
    assert await reader.fetchval("SELECT message FROM ledger_v1.attempts") == attempt["message"]


async def _copy_old(reader: Any, table: str, columns: tuple[str, ...], records: list[tuple[Any, ...]]) -> None:
    """Only what the table had before."""
    query = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'ledger' AND table_name = $1"
    known = {row["column_name"] for row in await reader.fetch(query, table)}
    kept = [index for index, column in enumerate(columns) if column in known]
    rows = [tuple(record[index] for index in kept) for record in records]
    names = [columns[index] for index in kept]
    await reader.copy_records_to_table(table, schema_name="ledger", columns=names, records=rows)
