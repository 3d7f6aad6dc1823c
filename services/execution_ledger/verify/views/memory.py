"""A view store in memory beside what its log must show: what `views.py` is for Postgres. Promises 7 and 8."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import cycle, islice

from execution_ledger.messages.events import decode_event
from execution_ledger.projector.changes import StoredPosition
from execution_ledger.projector.memory import MemoryStore
from execution_ledger.projector.rows import Recorded, fold

from ..findings import Breach
from ..log.history import Stored
from .rows import TABLES, Row, Rows, Table
from .shown import Shown

JOURNAL = Table("journal", ("shard", "sequence"))
FOLD_EVENTS = (1, 2, 20, 1, 7)  # at a time, in turns: other batches than the projector's own must come to the same
CHANGING = tuple(table for table in TABLES if table.name in ("executions", "live_executions", "attempts", "steps"))


async def check_store(store: MemoryStore, history: Mapping[int, Sequence[Stored]]) -> AsyncIterator[Breach]:
    """Every row and every position, where the projector has come to the end of the log; its fold also on the way there,
    since much that is wrong is gone when everything has ended."""
    shown, folded, on_the_way = Shown(), MemoryStore(), list[Breach]()
    for shard, events in history.items():
        on_the_way += await _fold(folded, shown, shard, events)
        found, wanted = _place(store.positions.get(shard)), shown.positions.get(shard)
        if found != wanted:
            yield Breach(8, shard, None, None, f"The stored position is {found}, and the log's {wanted}.")
    for breach in [*_differing(store, shown)] or on_the_way:
        yield breach


def _differing(
    store: MemoryStore, shown: Shown, tables: Iterable[Table] = (JOURNAL, *TABLES), about: Set[str] | None = None
) -> Iterator[Breach]:
    """`about`: only rows of these executions."""
    for table in tables:
        wanted, found = (_rows(table, where, about) for where in (shown, store))
        rows = Rows(0, table, wanted)
        for row in found.values():
            if wrong := rows.compare(row):
                yield wrong
        yield from rows.missing()


def _rows(table: Table, where: MemoryStore | Shown, about: Set[str] | None) -> dict[Hashable, Row]:
    rows = table.rows_of(where)
    return rows if about is None else {key: row for key, row in rows.items() if row[table.key[0]] in about}


async def _fold(folded: MemoryStore, shown: Shown, shard: int, events: Sequence[Stored]) -> list[Breach]:
    """What differs after a batch, for the first of which anything does."""
    at: StoredPosition | None = None
    differing = list[Breach]()
    rest, sizes = iter(events), cycle(FOLD_EVENTS)
    while batch := [Recorded(decode_event(raw), raw, offset) for raw, offset in islice(rest, next(sizes))]:
        for recorded in batch:
            shown.follow(*recorded)
        changes = fold(shard, at, batch, batch[-1].offset + 1)
        await folded.apply(at, changes)
        at = changes.position
        differing = differing or [*_differing(folded, shown, CHANGING, changes.progress.keys())]
    return differing or [*_differing(folded, shown)]


def _place(position: StoredPosition | None) -> dict[str, object] | None:
    """Where it goes on lies somewhere behind the newest event: markers take offsets, too."""
    return {name: value for name, value in position._asdict().items() if name != "next_offset"} if position else None
