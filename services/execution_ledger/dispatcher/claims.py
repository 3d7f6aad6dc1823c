"""Claims: who is the active dispatcher. The ledgers number and check the claims; here is only when to ask for one.

A claim counts once every shard has recorded it: from then on no ledger accepts anything from an earlier one, and all
that an earlier one brought about has been read.
"""

from __future__ import annotations

from typing import NamedTuple

from execution_ledger.messages.events import DispatcherClaimed, Event
from execution_ledger.messages.heartbeats import DispatcherTick
from execution_ledger.messages.ids import CATALOG_SHARD

_ASK_AGAIN_MS = 2_000  # a ledger that has not answered by then is restarting, or the command was lost


class WantedClaim(NamedTuple):
    shard: int
    claim: int | None  # None: to be numbered


class Claim(NamedTuple):
    number: int = 0
    dispatcher: str = ""
    recorded_ms: int = 0


class Claims:
    def __init__(self, process: str, shards: int, absent_after_ms: int) -> None:
        self.own: int | None = None  # the number of our claim, while no later one is known
        self._process = process
        self._shards = shards
        self._absent_after_ms = absent_after_ms
        self.newest = Claim()
        self._recorded: set[int] = set()  # the shards that have recorded our claim
        self._asked_ms: dict[int, int] = {}
        self._now_ms: int | None = None
        self._other: tuple[str, int] | None = None  # another one that acts, and when it was last heard of

    @property
    def acting(self) -> int | None:
        """Our claim, once every shard has recorded it."""
        return self.own if len(self._recorded) == self._shards else None

    @property
    def other_acts(self) -> bool:
        """Whether another dispatcher was heard of lately; unknown, so false, before our own first tick came back."""
        return (
            self._now_ms is not None
            and self._other is not None
            and self._now_ms - self._other[1] < self._absent_after_ms
        )

    def claimed(self, event: Event, fact: DispatcherClaimed) -> None:
        if fact.claim > self.newest.number:
            self.newest = Claim(fact.claim, fact.dispatcher, event.recordedtime)
            self._recorded.clear()
            self._asked_ms.clear()
            self.own = fact.claim if fact.dispatcher == self._process else None
            if self.own is None:
                self._heard(fact.dispatcher, event.recordedtime)
        if fact.claim == self.own:
            self._recorded.add(event.shard)

    def restore(self, newest: Claim) -> None:
        """Another process's: every process has a name of its own."""
        self.newest = newest
        if newest.number:
            self._heard(newest.dispatcher, newest.recorded_ms)

    def own_tick(self, time_ms: int) -> None:
        self._now_ms = time_ms

    def other_tick(self, tick: DispatcherTick, time_ms: int) -> None:
        if tick.claim is None or tick.claim < self.newest.number:
            return
        if not tick.leaving:
            self._heard(tick.process, time_ms)
        elif self._other and self._other[0] == tick.process:
            self._other = None

    def wanted(self) -> list[WantedClaim]:
        """What to ask for now; counts as asked."""
        if self._now_ms is None or (self.own is None and self.other_acts):
            return []
        missing = [CATALOG_SHARD] if self.own is None else sorted(set(range(self._shards)) - self._recorded)
        now_ms = self._now_ms
        due = [shard for shard in missing if now_ms - self._asked_ms.get(shard, 0) >= _ASK_AGAIN_MS]
        self._asked_ms |= dict.fromkeys(due, now_ms)
        return [WantedClaim(shard, self.own) for shard in due]

    def _heard(self, process: str, time_ms: int) -> None:
        if self._other is None or time_ms >= self._other[1]:
            self._other = (process, time_ms)
