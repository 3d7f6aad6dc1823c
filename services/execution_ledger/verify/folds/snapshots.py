"""Snapshots against the log, promise 7: each must hold what folding the log up to its marks comes to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar

from execution_ledger.errors import NoSuchObject, Permanent, Unavailable
from execution_ledger.log.protocol import Lane, Log, Record, Topic
from execution_ledger.messages.events import decode_event, digest_of
from execution_ledger.objects import Objects
from execution_ledger.snapshots.form import Mark, Snapshot, Unusable
from execution_ledger.snapshots.keeping import EVENT_S, READ_S_MAX, events_in, folder_of

from ..findings import Breach, Breaches
from ..reading import Tell, records
from .comparing import Subject

NAMED_MAX = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """A log's snapshots: `own` by whose they are, oldest first, and what other code has written."""

    own: dict[str, list[str]]
    others: list[str]

    @property
    def events(self) -> int:
        """How many have to be folded."""
        return sum(events_in(found[-1]) for found in self.own.values())

    def cost(self) -> str:
        seconds = self.events * EVENT_S / (os.cpu_count() or 1)
        return f"since {self.events:,} events would have to be folded, some {seconds:.0f} s"

    def notes(self) -> Iterator[str]:
        if self.others:
            listed = ", ".join(self.others[:NAMED_MAX]) + (", …" if len(self.others) > NAMED_MAX else "")
            yield f"Snapshots of other code or settings were passed over ({len(self.others)}): {listed}"
        if not self.own:
            yield "There are no snapshots of this code yet."


async def kept_of(objects: Objects, log_id: str, whose: Mapping[str, Subject[Any]]) -> Kept:
    """Raises Unavailable."""
    own: dict[str, list[str]] = {}
    others = []
    for found in await objects.names(folder_of(log_id)) if log_id else ():
        name = PurePosixPath(found).parent.name
        if name in whose and whose[name].keeper.is_own(found):
            own.setdefault(name, []).append(found)
        else:
            others.append(found)
    return Kept(own, others)


@dataclass
class SnapshotFindings:
    snapshots: int = 0
    events: int = 0
    breaches: Breaches = field(default_factory=Breaches)


class SnapshotCheck(Generic[T]):
    """The snapshots of one subject, of a log without breaches; it is folded once, from the oldest to the newest."""

    def __init__(self, log: Log, subject: Subject[T], log_id: str, tell: Tell) -> None:
        self.found = SnapshotFindings()
        self._log, self._subject, self._log_id, self._tell = log, subject, log_id, tell
        self._begin()

    async def run(self, names: Sequence[str]) -> SnapshotFindings:
        """Raises Unavailable where the store or the log is away."""
        for name in sorted(names):
            try:
                await self._check(name)
            except NoSuchObject:
                continue  # its writer has replaced it meanwhile
            except TimeoutError:
                raise Unavailable(f"The object store did not give {name} in time.") from None
            except Unusable as why:
                self._say(name, self._subject.shard, self._sequence(name), str(why))
        return self.found

    def _begin(self) -> None:
        self._fold = self._subject.fold()
        self._newest: dict[int, Mark] = {}  # by shard, of what was folded

    async def _check(self, name: str) -> None:
        async with asyncio.timeout(READ_S_MAX):
            kept = await self._subject.keeper.read(name, self._log_id)
        self.found.snapshots += 1
        if any(mark.shard in self._newest and self._newest[mark.shard].offset > mark.offset for mark in kept.marks):
            self._begin()
        try:
            await self._compare(name, kept)
        except Permanent as error:
            self._say(name, self._subject.shard, self._sequence(name), f"the log cannot be folded up to there: {error}")
            self._begin()

    async def _compare(self, name: str, kept: Snapshot[T]) -> None:
        for mark in kept.marks:
            if mark.shard not in self._subject.shards or await self._fold_to(mark) != mark:
                what = f"the log has no event of this sequence and digest at offset {mark.offset} of shard {mark.shard}"
                return self._say(name, mark.shard, mark.sequence, what)
        if differing := self._fold.differing(kept.state):
            what = f"what the log up to there comes to differs in {', '.join(differing)}"
            self._say(name, self._subject.shard, self._sequence(name), what)
        return None

    async def _fold_to(self, mark: Mark) -> Mark | None:
        """The newest event that was then folded of this shard."""
        lane, newest = Lane(Topic.EVENTS, mark.shard), self._newest.get(mark.shard)
        start, end = newest.offset + 1 if newest else 0, min(mark.offset + 1, await self._log.end(lane))
        async with aclosing(records(self._log, lane, start, end)) as pieces:
            async for piece in pieces:
                self._take(piece)
        return self._newest.get(mark.shard)

    def _take(self, piece: Sequence[Record]) -> None:
        for record in piece:
            event = decode_event(record.value or b"", record)
            self._fold.take(event, record)
        if piece:
            self._newest[event.shard] = Mark(event.shard, event.sequence, record.offset, digest_of(record.value or b""))
        self.found.events += len(piece)
        self._tell(len(piece))

    def _sequence(self, name: str) -> int | None:
        """A dispatcher's is of several shards, so none is its own."""
        return events_in(name) if len(self._subject.shards) == 1 else None

    def _say(self, name: str, shard: int, sequence: int | None, what: str) -> None:
        self.found.breaches.add(Breach(7, shard, sequence, None, f"Snapshot {name}: {what}."))
