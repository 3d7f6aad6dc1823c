"""Notices a reader that stands still although its lanes go on.

A Kafka consumer can be stuck for good after a broker's restart without any error that its user would see. What shows
it is that a lane's end lies behind the position, and the position does not move.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from ..errors import LedgerError, Stalled, Transient
from .protocol import Lane

LOOKS_PER_STALL = 3


class Watchdog:
    """`run` looks every third of `stall_s` at lanes that have not moved since; `verdict` is what it found, if any."""

    def __init__(
        self,
        positions: Callable[[], Mapping[Lane, int]],
        ends: Callable[[Collection[Lane]], Awaitable[Mapping[Lane, int]]],
        stall_s: float,
    ) -> None:
        self._positions = positions
        self._ends = ends
        self._stall_s = stall_s
        self._moved: dict[Lane, int] = {}
        self._waiting_looks: dict[Lane, int] = {}
        self._unanswered = 0
        self.asked = False  # set by every read: where nobody reads, nothing stands still
        self.verdict: LedgerError | None = None

    async def run(self) -> None:
        while self.verdict is None:
            await asyncio.sleep(self._stall_s / LOOKS_PER_STALL)
            self.verdict = await self.look()

    async def look(self) -> LedgerError | None:
        """One look, at the lanes that stand where they stood at the last one, though somebody wanted to read."""
        asked, self.asked = self.asked, False
        positions = dict(self._positions()) if asked else {}
        still = [lane for lane, position in positions.items() if self._moved.get(lane) == position]
        self._moved = positions
        try:
            ends = await self._ends(still) if still else {}
        except Transient as error:
            return self._no_answer(error)
        self._unanswered = 0
        behind = {lane: self._waiting_looks.get(lane, 0) + 1 for lane in still if ends[lane] > positions[lane]}
        self._waiting_looks = behind
        for lane, looks in behind.items():
            if looks >= LOOKS_PER_STALL:
                return Stalled(
                    f"Nothing came of {lane.topic}/{lane.partition} for {self._stall_s:g} s, from position "
                    f"{positions[lane]}, although the log goes on to {ends[lane]}. The reader is opened anew."
                )
        return None

    def _no_answer(self, error: LedgerError) -> LedgerError | None:
        self._unanswered += 1
        return error if self._unanswered >= LOOKS_PER_STALL else None
