"""The fleet: the runners that are heard of, as their last heartbeats describe them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Literal, NamedTuple

from execution_ledger.messages.heartbeats import RunnerBeat

from .leases import Leases
from .limits import Slots
from .queue import Group


@dataclass(frozen=True, slots=True)
class Runner:
    beat: RunnerBeat
    beat_ms: int
    mark: int  # where in the count of ticks its last heartbeat lies


class Fleet:
    """A runner that is silent for `quiet_ms` gets nothing new until it is heard again: it may well be dead."""

    def __init__(self, quiet_ms: int) -> None:
        self._quiet_ms = quiet_ms
        self._runners: dict[str, Runner] = {}
        self._lapsed: set[str] = set()
        self._offering: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    def __contains__(self, runner: str) -> bool:
        return runner in self._runners

    def names(self) -> Set[str]:
        return self._runners.keys()

    def get(self, runner: str) -> Runner | None:
        return self._runners.get(runner)

    def offering(self, pool: str, digest: str) -> Set[str]:
        return self._offering.get((pool, digest), frozenset())

    def is_silent(self, runner: Runner, now_ms: int) -> bool:
        return now_ms - runner.beat_ms > self._quiet_ms

    def state(self, runner: Runner, now_ms: int) -> Literal["ready", "draining", "silent"]:
        if self.is_silent(runner, now_ms):
            return "silent"
        return "draining" if runner.beat.draining else "ready"

    def beat(self, beat: RunnerBeat, time_ms: int, mark: int) -> None:
        known = self._runners.get(beat.process)
        self._lapsed.discard(beat.process)
        self._runners[beat.process] = Runner(beat, time_ms, mark)
        if known is None or (known.beat.offers, known.beat.pool) != (beat.offers, beat.pool):
            self._forget_offers(beat.process, known)
            for digest in beat.offers.values():
                self._offering[beat.pool, digest].add(beat.process)

    def inbox_of(self, runner: str) -> int | None:
        known = self._runners.get(runner)
        return known.beat.inbox if known else None

    def fenced(self, runner: str) -> int | None:
        """How often it has stopped its work by itself, as far as is known."""
        known = self._runners.get(runner)
        return known.beat.fenced if known else None

    def drop_lapsed(self, leases: Leases) -> list[str]:
        """Forgets the runners whose lease is over, and names them."""
        gone = [name for name, runner in self._runners.items() if leases.lapsed(runner.mark)]
        for name in gone:
            self._forget_offers(name, self._runners.pop(name))
        self._lapsed.update(gone)
        return gone

    def has_lapsed(self, runner: str) -> bool:
        """It was silent for a lease and has not been heard since: by now it has stopped its code by itself."""
        return runner in self._lapsed

    def keep_lapsed(self, runners: Set[str]) -> None:
        """Forgets those that lapsed and are none of these."""
        self._lapsed.intersection_update(runners)

    def room(self, slots: Slots, now_ms: int) -> Room:
        """What is free now, on runners that take new work."""
        ready = {
            name: Seats(runner.beat.slots, slots.used_by(name), slots.is_alone(name))
            for name, runner in self._runners.items()
            if runner.beat.slots and not (runner.beat.draining or self.is_silent(runner, now_ms))
        }
        return Room(ready, self._offering)

    def _forget_offers(self, name: str, runner: Runner | None) -> None:
        if runner is None:
            return
        for digest in runner.beat.offers.values():
            offering = self._offering[runner.beat.pool, digest]
            offering.discard(name)
            if not offering:
                del self._offering[runner.beat.pool, digest]


class Seats(NamedTuple):
    """The slots of a runner. It is closed while it has one that nothing may be beside."""

    slots: int
    used: int
    closed: bool


class Room:
    """Free slots during one turn; each `take` makes it smaller."""

    def __init__(self, ready: Mapping[str, Seats], offering: Mapping[tuple[str, str], Set[str]]) -> None:
        self.total = sum(seats.slots for seats in ready.values())
        self.kept_back: set[str] = set()
        self._used = {name: seats.used for name, seats in ready.items()}
        self._closed = {name for name, seats in ready.items() if seats.closed}
        self._free = {
            name: seats.slots - seats.used
            for name, seats in ready.items()
            if seats.used < seats.slots and not seats.closed
        }
        self._offering = offering

    def __bool__(self) -> bool:
        return bool(self._free)

    @property
    def free(self) -> int:
        return sum(self._free.values())

    def best_for(self, group: Group) -> str | None:
        """The runner with the most free slots of those that offer this version; by name where they are equal."""
        if group.alone:
            return self._empty_for(group)
        offering = self._offering.get((group.pool, group.digest), ())
        fitting = ((self._free[name], name) for name in offering if name in self._free)
        return max(fitting, default=(0, None))[1]

    def take(self, runner: str, group: Group) -> None:
        self._free[runner] -= 1
        self._used[runner] += 1
        if group.alone:
            self._close(runner)
        elif not self._free[runner]:
            del self._free[runner]

    def keep_back(self, group: Group) -> None:
        """Lets a runner run empty for one that has to be alone: the one that has least to end.

        None where another is closed already: what is busy makes room for one after the other.
        """
        ready = self._ready_for(group)
        if ready and not ready & self._closed:
            kept = min(ready, key=lambda name: (self._used[name], name))
            self._close(kept)
            self.kept_back.add(kept)

    def _empty_for(self, group: Group) -> str | None:
        """The smallest. At most half of the runners, or one, are given away in this way; the rest is for all others."""
        ready = self._ready_for(group)
        closed = len(ready & self._closed)
        if closed and 2 * (closed + 1) > len(ready):
            return None
        empty = ((self._free[name], name) for name in ready & self._free.keys() if not self._used[name])
        return min(empty, default=(0, None))[1]

    def _ready_for(self, group: Group) -> Set[str]:
        return self._used.keys() & self._offering.get((group.pool, group.digest), frozenset())

    def _close(self, runner: str) -> None:
        self._closed.add(runner)
        self._free.pop(runner, None)
