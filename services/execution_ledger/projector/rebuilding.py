"""Views made anew from the log, beside those in use, which they then replace in one transaction.

Until that moment everybody reads the old ones, and nobody waits. Afterwards the projectors find the views elsewhere
than they left them, read the position again and go on from there, as after any outcome that is not known. What was
replaced stays as it was, beside, until the next time: so it can be put back in the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from execution_ledger.clock import World
from execution_ledger.errors import BadRequest, BadSettings, Unavailable
from execution_ledger.lifecycle import end_tasks, until_set
from execution_ledger.log.protocol import Lane, Log, Topic
from execution_ledger.postgres import REFUSALS, connect, queries, reachable
from execution_ledger.settings import ProjectorSettings

from .postgres import PostgresStore
from .service import ProjectorService

if TYPE_CHECKING:
    from execution_ledger.postgres import Connection

NEXT, RETIRED, BEFORE = "_next", "_retired", "_before"
SCHEMAS = ("ledger_v1", "ledger")
LOCK = 4_158_720_012  # any number, as long as nothing else in the database locks it
HOLD_S = 5.0  # how long projectors are kept waiting: half of what they bear
HOLDS_MAX = 20
STATEMENT_TIMEOUT = "3600s"

Projecting = asyncio.Task[None]
OnProgress = Callable[[int, int], None]  # offsets projected, offsets there are
_SQL = queries("execution_ledger.projector", "sql/rebuilding.sql")


@dataclass(frozen=True)
class Rebuilt:
    """`differing`: how many executions the replaced views held otherwise; None where there were none to compare."""

    events: int
    differing: int | None


async def rebuild(log: Log, dsn: str, world: World, settings: ProjectorSettings, on_progress: OnProgress) -> Rebuilt:
    """Raises Unavailable, or BrokenHistory where the log itself cannot be projected; then nothing has changed."""
    async with _alone(dsn) as connection:
        await connection.execute(_dropped(NEXT))  # of one that was interrupted
        return await Rebuilding(log, dsn, world, settings, connection, NEXT, on_progress).run()


async def restore(log: Log, dsn: str, world: World, settings: ProjectorSettings, on_progress: OnProgress) -> Rebuilt:
    """Puts back what the last rebuild has replaced, once it has caught up. Raises as `rebuild`, and BadRequest."""
    async with _alone(dsn) as connection:
        if await connection.fetchval("SELECT to_regnamespace($1) IS NULL", f"ledger{BEFORE}"):
            raise BadRequest("There are no views to put back: `exledger views rebuild` keeps what it replaces.")
        return await Rebuilding(log, dsn, world, settings, connection, BEFORE, on_progress).run()


@asynccontextmanager
async def _alone(dsn: str) -> AsyncIterator[Connection]:
    connection = await connect(
        dsn, "exledger-rebuild", statement_timeout=STATEMENT_TIMEOUT, idle_in_transaction_session_timeout="0"
    )
    try:
        with _told():
            if not await connection.fetchval(_SQL["alone"], LOCK):
                raise Unavailable("Another command makes the views of this database anew. Wait for it to end.")
            yield connection
    finally:
        connection.terminate()


class Place(NamedTuple):
    """Where a shard's views are."""

    log_id: str
    sequence: int
    kafka_offset: int
    next_offset: int


Places = Mapping[int, Place]  # by shard


class Rebuilding:
    """One run: a projector of its own over the schemas with this suffix, until they are where the log is."""

    def __init__(
        self,
        log: Log,
        dsn: str,
        world: World,
        settings: ProjectorSettings,
        connection: Connection,
        suffix: str,
        on_progress: OnProgress,
    ) -> None:
        self._log = log
        self._dsn = dsn
        self._world = world
        self._connection = connection
        self._suffix = suffix
        self._on_progress = on_progress
        self._sql = queries("execution_ledger.projector", "sql/rebuilding.sql", suffix)
        self._projector = ProjectorService(log, PostgresStore(dsn, suffix), world, settings)
        self._moved = asyncio.Event()

    async def run(self) -> Rebuilt:
        projecting = self._world.spawn(self._projector.run(), "projector")
        try:
            async with self._watching() as watch:
                return await self._run(watch, projecting)
        finally:
            await self._end(projecting)

    async def _run(self, watch: Connection, projecting: Projecting) -> Rebuilt:
        await self._first_of(projecting, self._projector.ready)  # its schemas are made then
        ends = await self._ends()
        await self._until(watch, projecting, lambda at: _is_near(ends, at), ends)
        differing = await self._differing() if await self._is_used("ledger") else None
        for _ in range(HOLDS_MAX):
            with suppress(TimeoutError):
                at = await self._replace(watch, projecting)
                return Rebuilt(sum(place.sequence for place in at.values()), differing)
        raise Unavailable(
            f"The new views did not catch up with those in use, {HOLDS_MAX} times within {HOLD_S:g} s each. Nothing "
            "was replaced. Try again when less is written."
        )

    async def _replace(self, watch: Connection, projecting: Projecting) -> Places:
        """Raises TimeoutError where those in use are not reached soon; then nothing has changed."""
        async with self._connection.transaction():
            used = _places(await self._connection.fetch(_SQL["hold"])) if await self._is_used("ledger") else {}
            ends = await self._ends()
            goal = {shard: place for shard, place in used.items() if place.kafka_offset < ends.get(shard, 0)}
            async with asyncio.timeout(HOLD_S):
                at = await self._until(watch, projecting, lambda at: _has_passed(goal, at), ends)
            await self._end(projecting)
            await self._rename()
            return at

    async def _rename(self) -> None:
        used = [name for name in SCHEMAS if await self._is_used(name)]
        grants = [row[0] for row in await self._connection.fetch(_SQL["grants"])]
        for statement in [*_renames(used, self._suffix), *grants]:
            await self._connection.execute(statement)

    async def _differing(self) -> int:
        """Executions that both hold at the same version, and one of them wrongly: every column counts."""
        rows = await self._connection.fetch(
            f"SELECT FROM ledger.executions AS used JOIN ledger{self._suffix}.executions AS made "  # noqa: S608 - a constant
            "USING (id, version) WHERE used IS DISTINCT FROM made"
        )
        return len(rows)

    async def _is_used(self, schema: str) -> bool:
        return bool(await self._connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema))

    # --- how far it has come ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[Connection]:
        """A connection that hears of every batch; the other one hears nothing while it is in a transaction."""
        connection = await connect(self._dsn, "exledger-rebuild-watch")
        try:
            await connection.add_listener(f"ledger_positions{self._suffix}", lambda *_: self._moved.set())
            yield connection
        finally:
            connection.terminate()

    async def _until(
        self, watch: Connection, projecting: Projecting, reached: Callable[[Places], bool], ends: Mapping[int, int]
    ) -> Places:
        while True:
            self._moved.clear()
            at = _places(await watch.fetch(self._sql["positions"]))
            self._on_progress(sum(place.next_offset for place in at.values()), sum(ends.values()))
            if reached(at):
                return at
            await self._first_of(projecting, self._moved)

    async def _first_of(self, projecting: Projecting, hoped_for: asyncio.Event) -> None:
        """Raises what keeps the projector from going on."""
        events = [self._world.spawn(until_set(each), "event") for each in (hoped_for, self._projector.has_halted)]
        try:
            await asyncio.wait([projecting, *events], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(events)
        for error in self._projector.halted.values():
            raise error
        if projecting.done():
            projecting.result()

    async def _ends(self) -> dict[int, int]:
        return {shard: await self._log.end(Lane(Topic.EVENTS, shard)) for shard in range(await self._log.shards())}

    async def _end(self, projecting: Projecting) -> None:
        self._projector.stop()
        await asyncio.wait([projecting])


def _places(rows: Iterable[asyncpg.Record]) -> dict[int, Place]:
    return {row["shard"]: Place(*list(row.values())[1:]) for row in rows}


def _is_near(ends: Mapping[int, int], at: Places) -> bool:
    """But for a marker, which brings no batch."""
    return all(not end or (shard in at and at[shard].next_offset >= end - 1) for shard, end in ends.items())


def _has_passed(goal: Places, at: Places) -> bool:
    """Views of another log are no goal."""
    return all(shard in at and _is_past(at[shard], place) for shard, place in goal.items())


def _is_past(at: Place, place: Place) -> bool:
    return at.log_id != place.log_id or at.sequence >= place.sequence


def _renames(used: Sequence[str], suffix: str) -> Iterator[str]:
    """What is in use goes aside, what was made takes its place, and what was kept before makes room."""
    for name in SCHEMAS:
        if name in used:
            yield f"ALTER SCHEMA {name} RENAME TO {name}{RETIRED}"
        yield f"ALTER SCHEMA {name}{suffix} RENAME TO {name}"
    yield _dropped(BEFORE)
    for name in used:
        yield f"ALTER SCHEMA {name}{RETIRED} RENAME TO {name}{BEFORE}"


def _dropped(suffix: str) -> str:
    return f"DROP SCHEMA IF EXISTS {', '.join(name + suffix for name in SCHEMAS)} CASCADE"


@contextmanager
def _told() -> Iterator[None]:
    """What Postgres refuses, such as making a schema, is said with what to do."""
    try:
        with reachable("make its views anew"):
            yield
    except REFUSALS as error:
        raise BadSettings(
            f"Postgres refuses to make views anew ({error}). Its user must own the schemas {' and '.join(SCHEMAS)}, "
            "and may make new ones. Nothing was replaced."
        ) from error
