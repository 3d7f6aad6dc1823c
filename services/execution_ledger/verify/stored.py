"""A view store in memory beside what its log must show: what `views.py` is for Postgres. Promises 7 and 8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from execution_ledger.messages.events import decode_event
from execution_ledger.projector.changes import StoredPosition
from execution_ledger.projector.memory import MemoryStore

from .findings import Breach
from .history import Stored
from .rows import TABLES, Rows, Table
from .shown import Shown

JOURNAL = Table("journal", ("shard", "sequence"))


def check_store(store: MemoryStore, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """Every row and every position, where the projector has come to the end of the log."""
    shown = Shown()
    for shard, events in history.items():
        for raw, offset in events:
            shown.follow(decode_event(raw), raw, offset)
        found, wanted = _place(store.positions.get(shard)), shown.positions.get(shard)
        if found != wanted:
            yield Breach(8, shard, None, None, f"The stored position is {found}, and the log's {wanted}.")
    for table in (JOURNAL, *TABLES):
        rows = Rows(0, table, dict(getattr(shown, table.name)))
        for row in table.folded(store).values():
            if wrong := rows.compare(row):
                yield wrong
        yield from rows.missing()


def _place(position: StoredPosition | None) -> dict[str, object] | None:
    """Where it goes on lies somewhere behind the newest event: markers take offsets, too."""
    return {name: value for name, value in position._asdict().items() if name != "next_offset"} if position else None
