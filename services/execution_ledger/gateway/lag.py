"""Lag: for how long one position has not covered another, measured without a time stamp on every event."""

from __future__ import annotations

from execution_ledger.messages.position import Position, covers


class Lag:
    """Remembers a goal and since when it stands; asked often, it is right within the time between two questions."""

    def __init__(self) -> None:
        self._goal: Position = {}
        self._since_s = 0.0

    def seconds(self, now_s: float, goal: Position, reached: Position) -> float:
        """How long what was the goal at some time has not been reached since; 0 where it has."""
        if covers(reached, self._goal):
            self._goal, self._since_s = dict(goal), now_s
        return 0.0 if covers(reached, self._goal) else now_s - self._since_s
