"""Migrations: numbered SQL files, each applied once, in order, in a transaction of its own.

A file that was applied may never change: its checksum is kept, and a database that was made by other files than these
is refused. Processes that start at once take turns under an advisory lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

import asyncpg

from execution_ledger.errors import BadSettings, BrokenHistory, Unavailable
from execution_ledger.postgres import REFUSALS, beside, connect, queries, reachable

if TYPE_CHECKING:
    from execution_ledger.postgres import Connection

FOLDER: Traversable = files("execution_ledger.projector").joinpath("sql/migrations")
LOCK = 4_158_720_011  # any number, as long as nothing else in the database locks it


@dataclass(frozen=True)
class Migration:
    """`name` is the file's, and begins with its number: 0001_ledger.sql."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations_in(folder: Traversable) -> list[Migration]:
    """In the order of their numbers, which must be 1, 2, 3, … without a gap. Raises BrokenHistory."""
    found = sorted((it.name, it.read_text()) for it in folder.iterdir() if it.name.endswith(".sql"))
    if [name[:5] for name, _ in found] != [f"{number:04d}_" for number in range(1, len(found) + 1)]:
        raise BrokenHistory(f"Migrations are numbered 0001_, 0002_, … without a gap: {[name for name, _ in found]}")
    return [Migration(name, sql) for name, sql in found]


async def migrate(dsn: str, folder: Traversable = FOLDER, wait_s: float = 30.0, suffix: str = "") -> list[str]:
    """Applies what is missing and answers with its names; `wait_s` bounds the wait for another process that does.
    `suffix` as of `postgres.beside`.

    Raises BrokenHistory where what was applied is not what `folder` holds, Unavailable where Postgres is away or the
    other process is not done.
    """
    wanted, sql = migrations_in(folder), queries("execution_ledger.projector", "sql/migrations.sql", suffix)
    async with _exclusive(dsn, wait_s) as connection:
        await connection.execute(sql["prepare"])
        missing = await _missing(connection, wanted, sql["applied"])
        for migration in missing:
            await _apply(connection, migration, beside(migration.sql, suffix), sql["remember"])
    return [migration.name for migration in missing]


async def check_migrated(connection: Connection) -> None:
    """Raises BadSettings where the tables are not those of this very release, so that comparing them says nothing."""
    wanted, sql = migrations_in(FOLDER), queries("execution_ledger.projector", "sql/migrations.sql")
    try:
        missing = await _missing(connection, wanted, sql["applied"])
    except BrokenHistory as error:
        raise BadSettings(str(error)) from error
    if missing:
        raise BadSettings(
            f"An older release made these views; {missing[0].name} is still to be applied. Use that release, or let a "
            "projector of this one bring them up to date first (it does so when it starts)."
        )


async def _missing(connection: Connection, wanted: list[Migration], query: str) -> list[Migration]:
    """What is still to be applied. Raises BrokenHistory, as `check_applied`."""
    applied: dict[str, str] = dict(await connection.fetch(query))  # type: ignore[arg-type]
    check_applied(wanted, applied)
    return [migration for migration in wanted if migration.name not in applied]


def check_applied(wanted: list[Migration], applied: Mapping[str, str]) -> None:
    """`applied` holds sha256 by name. Raises BrokenHistory where it is not a beginning of `wanted`."""
    checksums = {migration.name: migration.sha256 for migration in wanted}
    for name, sha256 in sorted(applied.items()):
        if name not in checksums:
            raise BrokenHistory(
                f"This database was migrated by {name}, which this release does not have: a newer release made it. "
                "Run that release, or use another database (all views can be made anew from the log)."
            )
        if checksums[name] != sha256:
            raise BrokenHistory(
                f"The migration {name} was changed after this database was made with it. Restore the file as it was "
                f"(sha256 {sha256}) and put the change into a new one."
            )
    if list(checksums)[: len(applied)] != sorted(applied):
        raise BrokenHistory(f"A migration is missing in this database between those applied: {sorted(applied)}")


@asynccontextmanager
async def _exclusive(dsn: str, wait_s: float) -> AsyncIterator[Connection]:
    """A connection of our own that holds the lock until it is closed. A migration may take its time."""
    connection = await connect(
        dsn, "exledger-migrations", statement_timeout="600s", lock_timeout=f"{round(wait_s * 1000)}ms"
    )
    try:
        with reachable("answer while its schema was brought up to date"):
            await _lock(connection, wait_s)
            yield connection
    finally:
        connection.terminate()


async def _lock(connection: Connection, wait_s: float) -> None:
    """Held by the session, so that it spans all transactions and ends with the connection, however that ends."""
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK, timeout=wait_s + 5)
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable(f"Another process has been migrating this database for {wait_s:g} s. Waiting on.") from error


async def _apply(connection: Connection, migration: Migration, sql: str, remember: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(sql, timeout=600)
            await connection.execute(remember, migration.name, migration.sha256)
    except REFUSALS as error:
        raise BrokenHistory(
            f"The migration {migration.name} cannot be applied to this database ({error}). Nothing of it was kept."
        ) from error
