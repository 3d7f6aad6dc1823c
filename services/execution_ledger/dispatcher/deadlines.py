"""Deadlines: for each execution the next moment at which something is due, in one heap.

Looking costs as much as there is due, never as much as there is. A deadline that was moved leaves its old entry in the
heap until that comes up or until most of the heap is such.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

_STALE_MIN = 64  # below this the heap is not worth rebuilding


class Deadline(NamedTuple):
    at_ms: int
    execution_id: str


class Deadlines:
    def __init__(self) -> None:
        self._heap: list[Deadline] = []
        self._current: dict[str, Deadline] = {}

    def __len__(self) -> int:
        return len(self._current)

    def set(self, execution_id: str, at_ms: int | None) -> None:
        """In place of the one before; None: it has none any more."""
        if at_ms is None:
            self._current.pop(execution_id, None)
        else:
            self._current[execution_id] = deadline = Deadline(at_ms, execution_id)
            heappush(self._heap, deadline)
        if len(self._heap) > 2 * len(self._current) + _STALE_MIN:
            self._heap = list(self._current.values())
            heapify(self._heap)

    def is_due(self, now_ms: int) -> bool:
        while self._heap and self._current.get(self._heap[0].execution_id) is not self._heap[0]:
            heappop(self._heap)
        return bool(self._heap) and self._heap[0].at_ms <= now_ms

    def take_due(self, now_ms: int) -> Iterator[str]:
        """Takes out what is due, the oldest first, as far as it is asked for."""
        while self.is_due(now_ms):
            execution_id = heappop(self._heap).execution_id
            del self._current[execution_id]
            yield execution_id
