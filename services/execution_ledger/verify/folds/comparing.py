"""The two folds that are kept as snapshots, a ledger's and a dispatcher's: made again from the log alone, to compare.

A dispatcher also folds heartbeats, which are not kept: they free places that the log alone would hold, and hold places
of runners nobody knew. So of the places in a snapshot only those are compared that the log knows of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from execution_ledger.clock import real_world
from execution_ledger.dispatcher import keeping as dispatcher
from execution_ledger.dispatcher.claims import Claim
from execution_ledger.dispatcher.desk import Desk, DeskSettings
from execution_ledger.dispatcher.folded import Folded
from execution_ledger.ledger import keeping as ledger
from execution_ledger.ledger.shard import ShardState, fold, initial
from execution_ledger.log.protocol import Record
from execution_ledger.messages.events import DispatcherClaimed, Event, digest_of
from execution_ledger.objects import Objects
from execution_ledger.settings import LedgerSettings, SnapshotSettings
from execution_ledger.snapshots.keeping import Keeper

from .dispatchers import KnownToDispatcher
from .ledgers import KnownToLedger

T = TypeVar("T")
K = TypeVar("K", contravariant=True)


class Fold(Protocol[K]):
    """A state that the log is folded into, from its first event on."""

    def take(self, event: Event, record: Record) -> None: ...

    def differing(self, kept: K) -> Sequence[str]:
        """What a snapshot of this point holds otherwise."""
        ...


class LedgerFold:
    """`wrong`: what the fold itself has otherwise than the events say, where it first had."""

    def __init__(self, shard: int, shards: int, settings: LedgerSettings) -> None:
        self.state = initial(shard, shards, settings)
        self.wrong: list[str] = []
        self._known = KnownToLedger(settings)

    def take(self, event: Event, record: Record) -> None:
        self.follow(event, digest_of(record.value or b""))

    def follow(self, event: Event, digest: str) -> None:
        self.state = fold(self.state, event, digest)
        self._known.follow(event, digest)
        self.wrong = self.wrong or list(self._known.differing(self.state))

    def differing(self, kept: ShardState) -> Sequence[str]:
        return ledger.LAYOUT.differing(kept, self.state) or self.wrong


class DispatcherFold:
    """A desk that hears of no runner and gives no orders."""

    def __init__(self, shards: int) -> None:
        self._desk = Desk(DeskSettings("verify", shards, lease_ms=1, absent_after_ms=1, due_max=1), str)
        self._claims = {Claim()}  # a claim's time is that of whichever shard was read first
        self._known = KnownToDispatcher()
        self.wrong: list[str] = []

    def take(self, event: Event, record: Record) -> None:
        self._desk.event(event, record.offset)
        self._known.follow(event, record.offset)
        self.wrong = self.wrong or list(self._known.differing(self._desk.picture))
        if isinstance(event.data, DispatcherClaimed):
            self._claims.add(Claim(event.data.claim, event.data.dispatcher, event.recordedtime))

    def differing(self, kept: Folded) -> Sequence[str]:
        folded = self._desk.folded()
        is_claim = kept.claim.number == folded.claim.number and kept.claim in self._claims
        held = {key: place for key, place in kept.held.items() if place.pipeline}  # the others only heartbeats tell of
        wanted = replace(
            folded,
            held={key: folded.held[key] for key in held if key in folded.held},
            claim=kept.claim if is_claim else folded.claim,
        )
        return dispatcher.LAYOUT.differing(replace(kept, held=held), wanted) or self.wrong


@dataclass(frozen=True)
class Subject(Generic[T]):
    """Whose snapshots: `shards` are those that are folded into them, `fold` begins a new fold."""

    keeper: Keeper[T]
    shards: Collection[int]
    fold: Callable[[], Fold[T]]

    @property
    def shard(self) -> int:
        return min(self.shards)


def subjects(objects: Objects, settings: LedgerSettings, shards: int) -> dict[str, Subject[Any]]:
    """By the name of their snapshots; the one that takes longest first."""
    of_ledger = ledger.keeper(objects, real_world(), SnapshotSettings(), settings, shards)
    of_dispatcher = dispatcher.keeper(objects, real_world(), SnapshotSettings(), shards)
    found: dict[str, Subject[Any]] = {
        dispatcher.NAME: Subject(of_dispatcher, range(shards), partial(DispatcherFold, shards))
    }
    for shard in range(shards):
        found[ledger.name_of(shard)] = Subject(of_ledger, [shard], partial(LedgerFold, shard, shards, settings))
    return found
