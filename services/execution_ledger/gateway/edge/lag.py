"""Lag: for how long one position has not covered another, measured without a time stamp on every event."""

from __future__ import annotations

from collections.abc import Mapping

from execution_ledger.messages.events import decode_event
from execution_ledger.messages.position import Position, covers

from ..stream.ring import Frame, Ring

GOALS_MAX = 64
APART_S = 0.5  # between two goals; sparser once there are too many


class Lag:
    """Remembers goals and since when they stand; asked often, it is right within the time between two questions.

    All times are of the asker's own clock, so clocks cannot disagree. One that begins anew knows nothing of before.
    """

    def __init__(self) -> None:
        self._goals: list[tuple[float, Position]] = []  # oldest first; those that are not reached yet

    def seconds(self, now_s: float, goal: Position, reached: Position) -> float:
        """How long what was the goal at some time has not been reached since; 0 where all is reached."""
        self._goals = [(since_s, one) for since_s, one in self._goals if not covers(reached, one)]
        if not covers(reached, goal) and (not self._goals or now_s - self._goals[-1][0] >= APART_S):
            self._goals.append((now_s, dict(goal)))
            if len(self._goals) > GOALS_MAX:
                del self._goals[1::2]
        return now_s - self._goals[0][0] if self._goals else 0.0


def lag_in_log_time_s(rings: Mapping[int, Ring], reached: Position, recorded_ms: Mapping[int, int]) -> float:
    """The longest of all shards' from the oldest event that is not reached to the newest; since then it has grown.

    `recorded_ms` is of the newest event reached; it stands for the oldest that is not, where the ring no longer has it.
    """
    found = (_of_shard(ring, reached.get(shard, 0), recorded_ms.get(shard)) for shard, ring in rings.items())
    return max(found, default=0) / 1000


def _of_shard(ring: Ring, sequence: int, recorded_ms: int | None) -> int:
    missing, newest = ring.after(sequence, 1), ring.newest
    if not missing or newest is None:
        return 0
    if recorded_ms is None or ring.covers(sequence):
        recorded_ms = _recorded_ms(missing[0])
    return _recorded_ms(newest) - recorded_ms


def _recorded_ms(frame: Frame) -> int:
    return decode_event(frame.raw).recordedtime
