"""Rows of the views beside the rows that the log makes: which differ, and where first. Pure. Promise 7."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from execution_ledger.projector.memory import MemoryStore

from ..findings import Breach
from .shown import Shown

Row = Mapping[str, Any]
SHOWN_MAX = 60  # characters of a value in a sentence


class Table(NamedTuple):
    """One of `ledger.*`; `key` are the columns that its rows are known by in the store in memory, too."""

    name: str
    key: tuple[str, ...]

    def key_of(self, row: Row) -> Hashable:
        values = tuple(plain(row[column]) for column in self.key)
        return values[0] if len(values) == 1 else values

    def rows_of(self, store: MemoryStore | Shown) -> dict[Hashable, Row]:
        return dict(getattr(store, self.name))


TABLES = (
    Table("executions", ("id",)),
    Table("live_executions", ("id",)),
    Table("attempts", ("execution_id", "attempt")),
    Table("steps", ("execution_id", "attempt", "step")),
    Table("warnings", ("execution_id", "sequence")),
    Table("artifacts", ("execution_id", "sequence")),
    Table("metrics", ("execution_id", "sequence")),
    Table("checkpoints", ("execution_id", "sequence")),
    Table("pipelines", ("name", "version")),
    Table("entries", ("noun", "key", "version")),
    Table("batches", ("id",)),
    Table("jobs", ("id",)),
    Table("commands", ("command_id", "shard")),
)


class Rows:
    """One table's rows as the log makes them; those that were found in the view are taken off, one by one."""

    def __init__(self, shard: int, table: Table, folded: dict[Hashable, Row]) -> None:
        self._shard = shard
        self._table = table
        self._missing = folded

    def compare(self, stored: Row) -> Breach | None:
        wanted = self._missing.pop(self._table.key_of(stored), None)
        if wanted is None:
            return self._breach(stored, "is there, and the log makes no such row")
        what = first_difference(wanted, stored)
        return self._breach(wanted, what) if what else None

    def missing(self) -> Iterator[Breach]:
        return (self._breach(row, "is missing") for row in self._missing.values())

    def _breach(self, row: Row, what: str) -> Breach:
        key = ", ".join(str(plain(row[column])) for column in self._table.key)
        execution = row.get("id" if self._table.name.endswith("executions") else "execution_id")
        sentence = f"The row {key} of ledger.{self._table.name} {what}."
        return Breach(7, self._shard, row.get("sequence"), None if execution is None else str(execution), sentence)


def compare_journal(wanted: Iterable[Row], stored: Iterable[Row]) -> Iterator[Breach]:
    """Both in the order of their sequences, over the same range of them."""
    there = {row["sequence"]: row for row in stored}
    for row in wanted:
        found = there.pop(row["sequence"], None)
        if what := "is missing" if found is None else first_difference(row, found):
            execution = None if row["version"] is None else row["subject"]
            sentence = f"The row of ledger.journal for this event {what}."
            yield Breach(7, row["shard"], row["sequence"], execution, sentence)


def first_difference(wanted: Row, stored: Row) -> str | None:
    """In words, for the first column in which the two differ."""
    for column, value in wanted.items():
        if column not in stored:
            return f"has no column {column}, and the log makes it {text_of(plain(value))}"
        if (found := plain(stored[column])) != plain(value):
            return f"has {column} = {text_of(found)}, and the log makes it {text_of(plain(value))}"
    return None


def plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def text_of(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
