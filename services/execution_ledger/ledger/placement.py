"""Which ledger process serves which shard: a pure function of the ticks that everybody reads.

Placement only places work. Two processes that disagree for a moment are kept apart by the fence, not by this.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from execution_ledger.messages.heartbeats import LedgerTick


@dataclass
class Placement:
    """`me` serves nothing before its own first tick was read back: until then it may be looking at old news."""

    me: str
    absent_after_ms: int
    _ticks: dict[str, int] = field(default_factory=dict)  # process -> append time of its newest tick
    _refused: dict[str, set[int]] = field(default_factory=dict)  # process -> shards that it cannot serve

    def observe(self, tick: LedgerTick, appended_ms: int) -> bool:
        """Whether `me` is heard again after such a silence that others may have taken its shards."""
        before_ms = self._ticks.get(self.me, appended_ms) if tick.process == self.me else appended_ms
        if tick.leaving:
            self._ticks.pop(tick.process, None)
        else:
            self._ticks[tick.process] = appended_ms
            self._refused[tick.process] = set(tick.refused)
        return appended_ms - before_ms > self.absent_after_ms

    def present(self) -> list[str]:
        newest = self._ticks.get(self.me)
        if newest is None:
            return []
        self._ticks = {name: at for name, at in self._ticks.items() if newest - at <= self.absent_after_ms}
        self._refused = {name: self._refused[name] for name in self._ticks}
        return sorted(self._ticks)

    def mine(self, shards: int) -> set[int]:
        present = self.present()
        return {shard for shard in range(shards) if self._owner(shard, present) == self.me}

    def _owner(self, shard: int, present: list[str]) -> str | None:
        """Rendezvous hashing: when a process comes or goes, only its own shards move."""
        able = [process for process in present if shard not in self._refused[process]]
        return max(able, key=lambda process: hashlib.sha256(f"{process}/{shard}".encode()).digest(), default=None)
