"""What a check comes to: breaches, each named so that a person can go and look, and what was looked at.

One damage is one breach: an event that breaks one promise usually breaks others in its wake, so only the first breach
of each event is kept, and every check goes on from what the event says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

BREACHES_KEPT_MAX = 100  # of each shard and kind of check; the rest is counted

PROMISES = {
    1: "dense sequences, time never goes back",
    2: "one writer at a time",
    3: "every life follows the table",
    4: "decided once, offsets never go back",
    5: "one trace a command, and true answers",
    6: "one live attempt, limits are kept",
    7: "views and snapshots are the fold of the log",
    8: "stored positions agree with the journal",
    11: "the chains of digests hold",
    12: "files that events name are there, whole",
}
OF_THE_FILES = 12
OF_THE_VIEWS = frozenset({7, 8})
NOT_TO_BE_SEEN = {9: "everything ends after faults stop", 10: "nobody is expired while alive"}


class Breach(NamedTuple):
    """`sequence` and `execution` are absent where the breach is not about one. `what` is a sentence."""

    promise: int
    shard: int
    sequence: int | None
    execution: str | None
    what: str


class Gap(NamedTuple):
    """Offsets of a lane, from `first` up to before `end`, that have no trace: a breach where commands lay there, and
    none where only the markers and aborted records of a stranger's transaction did."""

    first: int
    end: int
    breach: Breach


@dataclass
class Breaches:
    kept: list[Breach] = field(default_factory=list)
    total: int = 0
    promises: set[int] = field(default_factory=set)

    def add(self, breach: Breach) -> None:
        self.total += 1
        self.promises.add(breach.promise)
        if len(self.kept) < BREACHES_KEPT_MAX:
            self.kept.append(breach)

    def extend(self, breaches: Iterable[Breach]) -> None:
        for breach in breaches:
            self.add(breach)

    def join(self, other: Breaches) -> None:
        self.kept += other.kept
        self.total += other.total
        self.promises |= other.promises


@dataclass
class Findings:
    """Of a whole log. `executions` are those that were queued in it."""

    shards: int = 0
    events: int = 0
    executions: int = 0
    breaches: Breaches = field(default_factory=Breaches)
