"""Leases: silence is counted in this dispatcher's own ticks as the log gave them back, never by a clock.

Ticks and heartbeats lie in one lane, so a tick proves that every heartbeat before it was read. Where ticks were more
than 2 s apart (Kafka was away, this process was paused) the silence proves nothing, and the count starts anew.
"""

from __future__ import annotations

from collections import deque

_GAP_MS = 2_000  # ticks farther apart than this do not add up


class Leases:
    def __init__(self, lease_ms: int) -> None:
        self._lease_ms = lease_ms
        self._run: deque[int] = deque()  # append times of the ticks without a gap, as far as a lease back
        self._next = 0  # the ordinal of the next tick
        self._lapsed = -1  # the newest tick that lies a lease of gapless ticks back

    @property
    def newest_ms(self) -> int | None:
        """The log's time: when the newest own tick was appended."""
        return self._run[-1] if self._run else None

    @property
    def mark(self) -> int:
        """A point in the count; keep it at a heartbeat, and ask `lapsed` for it later."""
        return self._next

    def tick(self, time_ms: int) -> None:
        if self._run and not 0 <= time_ms - self._run[-1] <= _GAP_MS:
            self._run.clear()
        self._run.append(time_ms)
        self._next += 1
        while len(self._run) > 1 and time_ms - self._run[0] >= self._lease_ms:
            self._lapsed = self._next - len(self._run)
            self._run.popleft()

    def lapsed(self, mark: int) -> bool:
        """Whether a lease of ticks, none far from the next, was read after this mark."""
        return mark <= self._lapsed
