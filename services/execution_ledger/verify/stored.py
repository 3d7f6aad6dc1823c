"""A view store in memory beside the fold of its log: what `views.py` is for Postgres. Promises 7 and 8."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice

from execution_ledger.messages.events import decode_event
from execution_ledger.projector.changes import JournalRow, StoredPosition
from execution_ledger.projector.memory import MemoryStore
from execution_ledger.projector.rows import Recorded, fold

from .findings import Breach
from .history import Stored
from .rows import TABLES, Rows, compare_journal

FOLD_EVENTS = 50  # at a time: other batches than the projector's own must come to the same


async def check_store(store: MemoryStore, history: Mapping[int, Sequence[Stored]]) -> AsyncIterator[Breach]:
    """Every row and every position, where the projector has come to the end of the log."""
    folded = MemoryStore()
    for shard, events in history.items():
        for breach in compare_journal(await _fold(folded, shard, events), _journal(store, shard)):
            yield breach
        found, wanted = store.positions.get(shard), folded.positions.get(shard)
        if _place(found) != _place(wanted):
            yield Breach(
                8, shard, None, None, f"The stored position is {_place(found)}, and the log's {_place(wanted)}."
            )
    for table in TABLES:
        rows = Rows(0, table, table.folded(folded))
        for row in table.folded(store).values():
            if wrong := rows.compare(row):
                yield wrong
        for breach in rows.missing():
            yield breach


async def _fold(folded: MemoryStore, shard: int, events: Sequence[Stored]) -> list[JournalRow]:
    at: StoredPosition | None = None
    journal: list[JournalRow] = []
    rest = iter(events)
    while batch := [Recorded(decode_event(raw), raw, offset) for raw, offset in islice(rest, FOLD_EVENTS)]:
        changes = fold(shard, at, batch, batch[-1].offset + 1)
        journal += changes.journal
        await folded.apply(at, changes)
        at = changes.position
    return journal


def _journal(store: MemoryStore, shard: int) -> list[dict[str, object]]:
    return [row for (of, _), row in sorted(store.journal.items()) if of == shard]


def _place(position: StoredPosition | None) -> dict[str, object] | None:
    """Where it goes on lies somewhere behind the newest event: markers take offsets, too."""
    return {name: value for name, value in position._asdict().items() if name != "next_offset"} if position else None
