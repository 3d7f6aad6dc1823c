"""The dispatcher's snapshots, one for all shards, written by the active one; so here is how far each shard was read.

They are its own, not the ledger's: a shard's state does not know pools, priorities and offsets, and what was proved to
be over is known here alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from execution_ledger.clock import World
from execution_ledger.errors import BrokenHistory
from execution_ledger.log.protocol import Lane, Log, Record, Topic
from execution_ledger.messages.events import Event, digest_of, log_id_of
from execution_ledger.messages.ids import CATALOG_SHARD
from execution_ledger.messages.position import Position
from execution_ledger.objects import Objects
from execution_ledger.settings import SnapshotSettings
from execution_ledger.snapshots.form import Mark, Snapshot
from execution_ledger.snapshots.keeping import Keeper
from execution_ledger.snapshots.layout import Layout
from execution_ledger.snapshots.metrics import States, snapshot_metrics

from .desk import Desk
from .folded import FOLD_VERSION, Folded

LAYOUT = Layout[Folded](Folded)
NAME = "dispatcher"


def keeper(objects: Objects, world: World, settings: SnapshotSettings, shards: int) -> Keeper[Folded]:
    return Keeper(objects, world, settings, LAYOUT, str(FOLD_VERSION), shards)


class Keeping:
    """Without a keeper every start reads the whole log."""

    def __init__(self, keeper: Keeper[Folded] | None, desk: Desk) -> None:
        self._keeper, self._desk = keeper, desk
        self._newest: dict[int, tuple[Event, Record]] = {}  # by shard: what was read since the start
        self._marks: dict[int, Mark] = {}  # those of the snapshot that it began with
        self._events = 0  # how many the desk has folded, the snapshot's included

    async def begin(self, log: Log) -> dict[Lane, int]:
        """Restores the desk from the newest snapshot; answers with where to read on in the lanes that are in it."""
        if self._keeper and (kept := await self._keeper.newest(log, NAME, CATALOG_SHARD)):
            self._desk.restore(kept.state)
            self._marks = {mark.shard: mark for mark in kept.marks}
            self._events = sum(mark.sequence for mark in kept.marks)
        return {Lane(Topic.EVENTS, mark.shard): mark.offset + 1 for mark in self._marks.values()}

    def follow(self, event: Event, record: Record) -> None:
        """Raises BrokenHistory where an event is missing before this one: what it did would be unknown for ever."""
        if event.sequence != (wanted := self._sequence(event.shard) + 1):
            raise BrokenHistory(
                f"Shard {event.shard} goes on with sequence {event.sequence} where {wanted} must come. A "
                "dispatcher that is started again reads all anew. If that ends so, too, `exledger verify` says what is "
                "missing."
            )
        self._newest[event.shard] = event, record
        self._events += 1

    @property
    def position(self) -> Position:
        """How far all shards were read."""
        return {shard: self._sequence(shard) for shard in {*self._marks, *self._newest}}

    def _sequence(self, shard: int) -> int:
        """That of the newest event which was read."""
        if shard in self._newest:
            return self._newest[shard][0].sequence
        return self._marks[shard].sequence if shard in self._marks else 0

    def measured(self, events: int, seconds: float) -> None:
        if self._keeper:
            self._keeper.measured(events, seconds)

    def metrics(self) -> Iterator[Metric]:
        """Only the active one says how far behind it is, as only that one writes."""
        states: States = {(): (NAME, self._events)} if self._desk.acting is not None else {}
        return snapshot_metrics("exledger_dispatcher", self._keeper, (), states)

    def keep(self) -> None:
        """Begins to write a snapshot where one is due."""
        if self._keeper and self._newest and self._keeper.is_due(NAME, self._events):
            self._marks |= {shard: _mark(event, record) for shard, (event, record) in self._newest.items()}
            event, _ = next(iter(self._newest.values()))
            self._keeper.keep(NAME, log_id_of(event), Snapshot(tuple(self._marks.values()), self._desk.folded()))

    async def close(self) -> None:
        if self._keeper:
            await self._keeper.close()


def _mark(event: Event, record: Record) -> Mark:
    return Mark(event.shard, event.sequence, record.offset, digest_of(record.value or b""))
