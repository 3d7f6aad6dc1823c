"""The ring: the newest events of each shard as the log holds them, for followers that are nearly up to date.

Bounded by count and bytes; whoever has fallen behind it reads the journal until the ring covers them again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import accumulate, islice
from typing import NamedTuple

RING_EVENTS_MAX = 4_000  # per shard
RING_BYTES_MAX = 4_000_000  # per shard
PIECE_BYTES_MAX = 256_000  # of a follower at a time, who may never read it


class Frame(NamedTuple):
    """One event as a stream sends it: its own bytes, and what a follower needs to know without parsing them."""

    shard: int
    sequence: int
    type: str
    subject: str
    raw: bytes


class Ring:
    """One shard's newest events; their sequences are dense."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0

    def add(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += len(frame.raw)
        while len(self._frames) > RING_EVENTS_MAX or self._bytes > RING_BYTES_MAX:
            self._bytes -= len(self._frames.popleft().raw)

    @property
    def newest(self) -> Frame | None:
        return self._frames[-1] if self._frames else None

    def covers(self, sequence: int) -> bool:
        """Whether everything after `sequence` that is known is here."""
        return bool(self._frames) and self._frames[0].sequence <= sequence + 1

    def after(self, sequence: int, limit: int) -> list[Frame]:
        """At least one where there is one, and few enough to be copied; only true where `covers(sequence)` is."""
        start = max(0, sequence + 1 - self._frames[0].sequence) if self._frames else 0
        frames = list(islice(self._frames, start, start + limit))
        sizes = accumulate(len(frame.raw) for frame in frames)
        return frames[: max(1, bisect_right(list(sizes), PIECE_BYTES_MAX))]
