"""One shard's views beside what its log must show. Promises 7 and 8.

Everything is read in one snapshot, and the log is followed exactly to where the snapshot's own position says, so a
projector that goes on meanwhile changes nothing. What the rows must be is read by `shown.py`, not by the projector.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from execution_ledger.errors import BrokenHistory, Permanent
from execution_ledger.log.protocol import Lane, Log, Record, Topic
from execution_ledger.messages.events import Event, decode_event
from execution_ledger.postgres import REFUSALS, connect, queries, reachable
from execution_ledger.projector.changes import StoredPosition
from execution_ledger.projector.migrations import check_migrated

from ..findings import Breach, Breaches
from ..reading import Tell, records
from .rows import TABLES, Row, Rows, Table, compare_journal, text_of
from .shown import Shown

if TYPE_CHECKING:
    from execution_ledger.postgres import Connection

_SQL = queries("execution_ledger.verify.views", "views.sql")
# What says where the rows of a table live; of all others, the id of an execution.
_BY = {
    **dict.fromkeys(("batches", "jobs", "commands"), "of_the_shard"),
    **dict.fromkeys(("pipelines", "entries"), "of_the_catalog"),
}
EVENTS_MAX = 2_000  # whose journal is fetched at a time
ROWS_MAX = 2_000  # fetched at a time
STATEMENT_TIMEOUT = "3600s"  # one snapshot of everything takes as long as there is to read


@dataclass
class ViewFindings:
    """`stopped` says why the rest of the shard could not be compared; `there` is False without any views."""

    there: bool = True
    events: int = 0
    rows: int = 0
    breaches: Breaches = field(default_factory=Breaches)
    stopped: str | None = None


@asynccontextmanager
async def snapshot(dsn: str) -> AsyncIterator[Connection]:
    """Raises Unavailable."""
    connection = await connect(
        dsn, "exledger-verify", statement_timeout=STATEMENT_TIMEOUT, idle_in_transaction_session_timeout="0"
    )
    try:
        with reachable("show its views"):
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield connection
    finally:
        connection.terminate()


async def check_views(log: Log, dsn: str, shard: int, shards: int, tell: Tell) -> ViewFindings:
    """Raises Unavailable, and BadSettings for the views of another release."""
    async with snapshot(dsn) as connection:
        if not await connection.fetchval(_SQL["exists"]):
            return ViewFindings(there=False)
        await check_migrated(connection)
        lane = Lane(Topic.EVENTS, shard)
        end = await log.end(lane)  # asked after the snapshot was taken, so never behind it
        async with aclosing(records(log, lane, await log.begin(lane), end)) as pieces:
            check = ViewCheck(connection, shard, shards, pieces, tell)
            try:
                await check.run(end)
            except BrokenHistory as error:
                check.found.stopped = str(error)
            except REFUSALS as error:  # a table is gone, or is another one
                check.found.breaches.add(Breach(7, shard, None, None, f"The views cannot be read: {error}."))
        return check.found


class ViewCheck:
    def __init__(
        self,
        connection: Connection,
        shard: int,
        shards: int,
        pieces: AsyncGenerator[Sequence[Record], None],
        tell: Tell,
    ) -> None:
        self.found = ViewFindings()
        self._connection = connection
        self._shard, self._shards = shard, shards
        self._pieces = pieces
        self._tell = tell
        self._shown = Shown()
        self._ahead: deque[Record] = deque()  # read, and not followed yet
        self._journal_end = 0  # its newest sequence: what lies behind is a matter of the position's

    async def run(self, end: int) -> None:
        row = await self._connection.fetchrow(_SQL["position"], self._shard)
        newest = await self._connection.fetchrow(_SQL["newest"], self._shard)
        position = None if row is None else StoredPosition(*row)
        said = _disagreement(position, newest)
        self._journal_end = newest["sequence"] if newest else 0
        targets = {self._journal_end, position.sequence if position else 0}
        rows: list[Breaches] = []
        for target in sorted(targets):
            await self._follow_to(target)
            if position is not None and position.sequence == target:
                said = said or await self._misplaced(position, end)
            rows.append(await self._compare_tables())
        await self._name_strays()
        # Where position and journal disagree, the rows may stand with either: they are compared with the nearer one.
        self.found.breaches.join(min(rows, key=lambda breaches: breaches.total))
        if said:
            sequence = position.sequence if position else None
            self.found.breaches.add(Breach(8, self._shard, sequence, None, said))

    # --- the log's side -----------------------------------------------------------------------------------------

    @property
    def _at(self) -> Row:
        """The position that the log makes, as far as it was followed; nothing at its beginning."""
        return self._shown.positions.get(self._shard, {})

    async def _follow_to(self, sequence: int) -> None:
        while (at := self._at.get("sequence", 0)) < sequence and await self._look_ahead():
            count = min(len(self._ahead), EVENTS_MAX, sequence - at)
            await self._follow([self._ahead.popleft() for _ in range(count)])

    async def _look_ahead(self) -> bool:
        """False at the end of the log."""
        while not self._ahead:
            piece = await anext(self._pieces, None)
            if piece is None:
                return False
            self._ahead.extend(piece)
        return True

    async def _follow(self, batch: list[Record]) -> None:
        for record in batch:
            self._shown.follow(_decoded(record), record.value or b"", record.offset)
        await self._compare_journal([*self._shown.journal.values()])
        self._shown.journal.clear()  # compared, and far too much to keep
        self.found.events += len(batch)
        self._tell(len(batch))

    # --- the views' side ----------------------------------------------------------------------------------------

    async def _misplaced(self, position: StoredPosition, end: int) -> str | None:
        """What the stored position says otherwise than the log does."""
        if (reached := self._at.get("sequence", 0)) < position.sequence:
            return f"The stored position, {position.sequence}, lies behind the log's end, {reached}."
        for name, wanted in self._at.items():
            if (found := getattr(position, name)) != wanted:
                return f"The stored position has {name} = {text_of(found)}, and the log says {text_of(wanted)}."
        following = self._ahead[0].offset if await self._look_ahead() else end
        if not position.kafka_offset < position.next_offset <= following:
            return f"The stored position goes on at offset {position.next_offset}, not at the next event, {following}."
        return None

    async def _compare_journal(self, wanted: list[Row]) -> None:
        first, last = wanted[0]["sequence"], min(wanted[-1]["sequence"], self._journal_end)
        stored = await self._connection.fetch(_SQL["journal"], self._shard, first, last)
        self.found.rows += len(stored)
        reached = [row for row in wanted if row["sequence"] <= last]
        for breach in compare_journal(reached, [dict(row) for row in stored]):
            self.found.breaches.add(breach)

    async def _name_strays(self) -> None:
        for name, shard, sequence in await self._connection.fetch(_SQL["strays"], self._shard, self._shards):
            what = f"The row {shard}, {sequence} of ledger.{name} is there, and the log makes no such row."
            self.found.breaches.add(Breach(7, shard, sequence, None, what))

    async def _compare_tables(self) -> Breaches:
        breaches = Breaches()
        for table in TABLES:
            rows = Rows(self._shard, table, table.rows_of(self._shown))
            async for stored in self._rows(table):
                if breach := rows.compare(stored):
                    breaches.add(breach)
            for breach in rows.missing():
                breaches.add(breach)
        return breaches

    async def _rows(self, table: Table) -> AsyncIterator[Any]:
        query = _SQL[_BY.get(table.name, "of_executions")].format(table=table.name, id=table.key[0])
        async for row in self._connection.cursor(query, self._shard, self._shards, prefetch=ROWS_MAX):
            self.found.rows += 1
            yield row


def _disagreement(position: StoredPosition | None, newest: Any) -> str | None:
    """How the stored position and the newest journal row disagree."""
    if position is None or newest is None:
        if position is None and newest is None:
            return None
        return "There is a stored position without a journal." if position else "There is a journal without a position."
    if position.sequence != newest["sequence"]:
        return f"The stored position is at {position.sequence}, and its journal's newest row is {newest['sequence']}."
    return None


def _decoded(record: Record) -> Event:
    try:
        return decode_event(record.value or b"", record)
    except Permanent as error:
        raise BrokenHistory(str(error)) from error
