"""Batches, and whatever else submits with growing ordinals: each child is the one that its parent makes. Promise 4.

A batch's children live on all shards, so whether it was opened with that many is judged over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from execution_ledger.messages.events import BatchOpened, Queued
from execution_ledger.messages.ids import child_id
from execution_ledger.settings import LedgerSettings

from ..findings import Breach

OF_BATCHES = "batch/"
MADE_BY = (OF_BATCHES, "job/")  # whose children have ids that follow from them


class Child(NamedTuple):
    """The one of a shard with the highest ordinal."""

    ordinal: int
    sequence: int
    execution: str
    recorded_ms: int
    place: int  # how many children of any source were queued before it


@dataclass
class Batches:
    """Of one shard."""

    settings: LedgerSettings = field(default_factory=LedgerSettings)
    opened: dict[str, int] = field(default_factory=dict)  # how many children, by source
    newest: dict[str, Child] = field(default_factory=dict)
    count: int = 0

    def open(self, fact: BatchOpened) -> None:
        self.opened[f"{OF_BATCHES}{fact.batch_id}"] = fact.count

    def has(self, batch_id: str) -> bool:
        return f"{OF_BATCHES}{batch_id}" in self.opened

    def queued(self, execution_id: str, fact: Queued, sequence: int, now_ms: int) -> str | None:
        """What is wrong with it, in words."""
        if fact.origin is None:
            return None
        source, ordinal = fact.origin.source, fact.origin.ordinal
        before = self.newest.get(source)
        self.newest[source] = Child(ordinal, sequence, execution_id, now_ms, self.count)
        self.count += 1
        if source.startswith(MADE_BY) and execution_id != _child_of(source, execution_id, ordinal):
            return f"child {ordinal} of {source} has another id"
        if before and ordinal <= before.ordinal and self._is_remembered(before, now_ms):
            return f"child {ordinal} of {source} comes after child {before.ordinal}, which was {before.execution}"
        return None

    def _is_remembered(self, child: Child, now_ms: int) -> bool:
        """Only while the ledger must still remember it, too."""
        young = now_ms - child.recorded_ms < self.settings.keyed_ms
        return young and self.count - child.place < self.settings.keyed_max


def _child_of(source: str, execution_id: str, ordinal: int) -> str | None:
    try:
        return child_id(source.partition("/")[2], int(execution_id[15:18], 16), ordinal)
    except ValueError:
        return None


def check_batches(shards: Iterable[tuple[int, Batches]], *, all_there: bool) -> Iterator[Breach]:
    """`shards` by number. `all_there`: False where events are missing, so that a batch may have been opened in them."""
    found = list(shards)
    opened = {source: count for _, batches in found for source, count in batches.opened.items()}
    for shard, batches in found:
        for source, child in batches.newest.items():
            if not source.startswith(OF_BATCHES):
                continue
            count = opened.get(source)
            if count is None and all_there:
                what = f"execution.queued: it is a child of {source}, which was never opened."
                yield Breach(4, shard, child.sequence, child.execution, what)
            elif count is not None and child.ordinal >= count:
                what = f"execution.queued: it is child {child.ordinal} of {source}, which has only {count}."
                yield Breach(4, shard, child.sequence, child.execution, what)
