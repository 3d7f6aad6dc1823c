"""Migrations against a real Postgres: in order, once, never over a changed past."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from execution_ledger.errors import BrokenHistory, Unavailable
from execution_ledger.postgres import connect
from execution_ledger.projector.migrations import FOLDER, LOCK, migrate, migrations_in


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
