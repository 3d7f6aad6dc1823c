"""A view store beside what its log must show: every column of every table is read a second time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from contract.events_builder import History
from contract.store_case import DISPATCHED, STARTED, TABLES
from execution_ledger.errors import BrokenHistory
from execution_ledger.messages.events import Aborted, AbortRequested, Event, Started, encode_event
from execution_ledger.messages.parts import Status
from execution_ledger.projector import progress
from execution_ledger.projector.memory import MemoryStore
from execution_ledger.projector.rows import Recorded, fold
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.log.history import Stored
from execution_ledger.verify.views import memory as stored
from execution_ledger.verify.views.memory import check_store
from execution_ledger.verify.views.shown import Shown
from unit.histories import recorded

Log = dict[int, list[Stored]]
EVENTS = recorded()
LOG: Log = defaultdict(list)
for event in EVENTS:
    LOG[event.shard].append((encode_event(event), event.sequence))


async def projected() -> MemoryStore:
    """In one batch a shard, which no projector would do."""
    store = MemoryStore()
    for shard in LOG:
        batch = [Recorded(event, encode_event(event), event.sequence) for event in EVENTS if event.shard == shard]
        await store.apply(None, fold(shard, None, batch, len(batch) + 1))
    return store


async def found(store: MemoryStore, log: Log = LOG) -> list[Breach]:
    return [breach async for breach in check_store(store, log)]


async def test_the_projector_shows_what_the_log_says() -> None:
    store = await projected()
    assert await found(store) == []
    assert all(getattr(store, table) for table in TABLES)


async def test_every_column_is_read() -> None:
    store = await projected()
    for name in set(TABLES) - {"positions"}:
        rows: dict[Any, Any] = getattr(store, name)
        key, row = next(iter(rows.items()))
        for column in row:
            rows[key] = row | {column: "something else"}
            assert any(f"ledger.{name} " in breach.what for breach in await found(store)), (name, column)
        rows[key] = row


async def test_other_batches_than_the_projectors_own_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    store = await projected()
    monkeypatch.setattr(progress, "_remember_abort", lambda event, row: None)
    [breach, *_] = await found(store)
    assert "abort_requested_by" in breach.what


async def test_a_mistake_of_the_projector_does_not_bless_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_remember_abort", lambda event, row: None)
    [breach, *_] = await found(await projected())
    assert breach.promise == 7
    assert "abort_requested_by" in breach.what


@pytest.fixture
def a_start_hides_the_abort() -> Iterator[None]:
    real = progress._progress.dispatch(Started)

    def started(fact: Started, event: Event, row: Any, changes: Any) -> None:
        real(fact, event, row, changes)
        row.status = Status.STARTED

    progress._progress.register(Started, started)
    yield
    progress._progress.register(Started, real)


@pytest.mark.usefixtures("a_start_hides_the_abort")
async def test_what_is_wrong_only_on_the_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "FOLD_EVENTS", (4,))  # all but the end
    history, store = History(), MemoryStore()
    requested = AbortRequested(attempt=1, grace_until=9)
    history.add(history.queue(), DISPATCHED, requested, STARTED, Aborted(attempt=1, outcome="acknowledged"))
    await store.apply(None, fold(1, None, history.events, len(history.events) + 1))
    [breach, *_] = await found(store, {1: [(each.raw, each.offset) for each in history.events]})
    assert "has status = started, and the log makes it abort_requested" in breach.what


async def test_rows_too_many_and_too_few_are_named() -> None:
    store = await projected()
    key, row = store.warnings.popitem()
    store.attempts["nobody", 1] = next(iter(store.attempts.values())) | {"execution_id": "nobody", "attempt": 1}
    store.positions[1] = store.positions[1]._replace(sequence=1)
    position, attempt, warning = (breach.what for breach in await found(store))
    assert "The stored position is" in position
    assert attempt == "The row nobody, 1 of ledger.attempts is there, and the log makes no such row."
    assert warning == f"The row {row['execution_id']}, {key[1]} of ledger.warnings is missing."


def test_an_execution_that_was_never_queued_cannot_be_shown() -> None:
    second = next(event for event in EVENTS if event.version == 2)
    with pytest.raises(BrokenHistory, match="was never queued"):
        Shown().follow(second, encode_event(second), 1)
