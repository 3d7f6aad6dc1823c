"""Readers of the simulated log, and what is hidden from them: everything, one lane, or a lane without a leader."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from execution_ledger.errors import Stalled
from execution_ledger.log.memory import MemoryReader
from execution_ledger.log.protocol import Chunk, Lane, Topic

from .faults import Troubles
from .loop import LIFE

if TYPE_CHECKING:
    from .log import SimulatedLog

STALL_S = 15.0
STALLED_SHARE = 0.2  # of the empty reads that hide something are noticed


class Sight:
    """What whoever asks now cannot see or reach."""

    def __init__(self, troubles: Troubles, chance: random.Random) -> None:
        self._troubles, self._chance = troubles, chance

    def hides(self, lane: Lane) -> bool:
        return self.leaderless(lane) or self._has("miss", f" {_words(lane)}")

    def leaderless(self, lane: Lane) -> bool:
        return self._troubles.on("leader", _words(lane)) is not None

    def away(self) -> bool:
        return self._troubles.on("away", "log") is not None

    def cut(self) -> bool:
        return self._has("cut")

    def blind(self) -> bool:
        """Whether whoever reads now gets nothing, whatever there is."""
        return self.away() or self.cut() or self._has("stall")

    def runs_out_of_patience(self) -> bool:
        """A client notices only after a while that nothing comes; how long it has been is not counted here."""
        return self._chance.random() < STALLED_SHARE

    def passes_over(self) -> bool:
        """A client may drop what was committed, as some did that took a marker for another's; its user cannot tell."""
        life = LIFE.get()
        return life is not None and self._troubles.hits("skips", life.name)

    def one_of(self, count: int) -> int:
        return self._chance.randrange(count)

    def _has(self, kind: str, of: str = "") -> bool:
        life = LIFE.get()
        return life is not None and self._troubles.on(kind, life.name + of) is not None


class SimulatedReader(MemoryReader):
    _log: SimulatedLog

    async def read(self, wait_s: float) -> Mapping[Lane, Chunk]:
        began_s = asyncio.get_running_loop().time()
        while True:
            left_s = began_s + wait_s - asyncio.get_running_loop().time()
            chunks = await super().read(min(max(0, left_s), STALL_S))
            if chunks or left_s <= STALL_S:
                break
        if not chunks and self._is_hidden() and self._log.sight.runs_out_of_patience():
            raise Stalled("A reader stands still although there is something to read. It is made anew.")
        return chunks

    def _take(self) -> dict[Lane, Chunk]:
        return {} if self._log.sight.blind() else super()._take()

    def _read(self, lane: Lane, position: int) -> Chunk:
        sight = self._log.sight
        if sight.hides(lane):
            return Chunk((), position)
        chunk = super()._read(lane, position)
        if lane.topic is Topic.EVENTS and len(chunk.records) > 1 and sight.passes_over():
            dropped = sight.one_of(len(chunk.records) - 1)  # never the last one: nobody could miss that
            return Chunk((*chunk.records[:dropped], *chunk.records[dropped + 1 :]), chunk.position)
        return chunk

    def _is_hidden(self) -> bool:
        """Whether a reader that gets nothing should have got something."""
        sight = self._log.sight
        blind = sight.blind()
        return any(
            (blind or sight.hides(lane)) and self._log.partition(lane).stable > position
            for lane, position in self._positions.items()
        )


@cache
def _words(lane: Lane) -> str:
    return f"{lane.topic}/{lane.partition}"
