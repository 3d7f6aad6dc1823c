"""How far the one who reads lanes is behind them: worked out when somebody asks, from what reading brings along anyway.

Whoever asks for more has dealt with what came before; so nothing is noted per record, and a little per read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from .protocol import Chunk, Ends, Lane, Log, Reader


class Lag(NamedTuple):
    """`records` counts offsets, so markers too. `seconds` is the age of the newest record that was dealt with, by this
    machine's clock; 0 where nothing is left. `unstable`: how many offsets are written and not decided."""

    records: int
    seconds: float
    unstable: int


class Lags:
    """Of one loop that reads; it outlives the readers that the loop opens."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._reader: Reader | None = None
        self._ends: Mapping[Lane, Ends] = {}  # at the end of the last reader
        self._reached: dict[Lane, int] = {}
        self._newest_ms: dict[Lane, int] = {}  # of the lanes of which the last read but one brought something
        self._brought: Mapping[Lane, Chunk] = {}
        self._read_ms = self._brought_ms = now_ms()

    @asynccontextmanager
    async def reader(self, log: Log, positions: Mapping[Lane, int]) -> AsyncIterator[Reader]:
        """One of the log's, followed. While none is open, the time since the last read counts as lag."""
        async with log.reader(positions) as reader:
            self._reader, self._reached, self._brought = reader, dict(positions), {}
            try:
                yield self
            finally:
                self._ends, self._reader = reader.ends(), None

    async def read(self, wait_s: float) -> Mapping[Lane, Chunk]:
        assert self._reader, "it is open"
        self._note_dealt_with()
        self._brought = await self._reader.read(wait_s)
        self._brought_ms = self._now_ms()
        return self._brought

    def ends(self) -> Mapping[Lane, Ends]:
        return self._reader.ends() if self._reader else self._ends

    def lags(self) -> dict[Lane, Lag]:
        now_ms = self._now_ms()
        return {lane: self._lag(lane, end, now_ms) for lane, end in self.ends().items()}

    def _note_dealt_with(self) -> None:
        """A lane of which a read brought nothing had been read to its end by then."""
        self._reached |= {lane: chunk.position for lane, chunk in self._brought.items()}
        self._newest_ms = {lane: chunk.records[-1].time_ms for lane, chunk in self._brought.items() if chunk.records}
        self._read_ms = self._brought_ms

    def _lag(self, lane: Lane, end: Ends, now_ms: int) -> Lag:
        records = max(0, end.stable - self._reached[lane])
        since_ms = self._newest_ms.get(lane, self._read_ms)
        seconds = max(0, now_ms - since_ms) / 1000 if records or self._reader is None else 0.0
        return Lag(records, seconds, end.high - end.stable)
