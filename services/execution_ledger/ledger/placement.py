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

    def observe(self, tick: LedgerTick, appended_ms: int) -> None:
        if tick.leaving:
            self._ticks.pop(tick.process, None)
        else:
            self._ticks[tick.process] = appended_ms

    def present(self) -> list[str]:
        newest = self._ticks.get(self.me)
        if newest is None:
            return []
        self._ticks = {name: at for name, at in self._ticks.items() if newest - at <= self.absent_after_ms}
        return sorted(self._ticks)

    def mine(self, shards: int) -> set[int]:
        present = self.present()
        return {shard for shard in range(shards) if present and _owner(shard, present) == self.me}


def _owner(shard: int, present: list[str]) -> str:
    """Rendezvous hashing: when a process comes or goes, only its own shards move."""
    return max(present, key=lambda process: hashlib.sha256(f"{process}/{shard}".encode()).digest())
