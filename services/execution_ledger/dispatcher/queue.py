"""The queue: higher priority first, then age. What may not run now is passed over whole, never one by one.

Executions that can only run or wait together (same shard, pool, pipeline and version, and whether they have to run
alone) form a group with a heap of its own; a turn compares the heads of the open groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

from .board import Execution

_STALE_MIN = 64  # below this a heap is not worth rebuilding


class Group(NamedTuple):
    shard: int
    pool: str
    pipeline: str
    digest: str
    alone: bool = False

    @classmethod
    def of(cls, execution: Execution) -> Group:
        return cls(execution.shard, execution.pool, execution.pipeline, execution.digest, execution.alone)


class Place(NamedTuple):
    """Sorts as executions are served. `since_ms` is when it was queued, or queued again."""

    below: int  # the priority, negated
    since_ms: int
    execution_id: str


class Queue:
    def __init__(self) -> None:
        self._heaps: dict[Group, list[Place]] = {}
        self._places: dict[str, Place] = {}
        self._sizes: dict[Group, int] = {}
        self._groups: dict[str, Group] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, execution_id: str) -> bool:
        return execution_id in self._places

    def groups(self) -> Iterator[tuple[Group, Sequence[Place]]]:
        """Each with the places of all who wait in it, in no order."""
        for group, heap in self._heaps.items():
            if size := self._sizes[group]:
                yield group, heap if len(heap) == size else self._live(group)

    def place_of(self, execution_id: str) -> Place | None:
        return self._places.get(execution_id)

    def add(self, execution: Execution) -> None:
        self.drop(execution.id)
        group = Group.of(execution)
        place = Place(-execution.priority, execution.since_ms, execution.id)
        self._places[execution.id], self._groups[execution.id] = place, group
        self._sizes[group] = self._sizes.get(group, 0) + 1
        heappush(self._heaps.setdefault(group, []), place)

    def drop(self, execution_id: str) -> None:
        """Its place in the heap stays behind until it comes up or until most of the heap is such."""
        if self._places.pop(execution_id, None) is None:
            return
        group = self._groups.pop(execution_id)
        self._sizes[group] -= 1
        if len(self._heaps[group]) > 2 * self._sizes[group] + _STALE_MIN:
            self._rebuild(group)

    def take_open(self, is_open: Callable[[Group], bool]) -> Iterator[tuple[str, Group]]:
        """Takes out the next execution of the open groups, as long as there is one.

        A group is asked when its next execution has come up, and all that go before that one have been taken. One that
        has closed stays closed for this walk.
        """
        heads = [(head, group) for group in list(self._heaps) if (head := self._head(group))]
        heapify(heads)
        while heads:
            head, group = heads[0]
            if not is_open(group):
                heappop(heads)
                continue
            self.drop(head.execution_id)
            if following := self._head(group):
                heapreplace(heads, (following, group))
            else:
                heappop(heads)
            yield head.execution_id, group

    def _head(self, group: Group) -> Place | None:
        heap = self._heaps[group]
        while heap and self._places.get(heap[0].execution_id) is not heap[0]:
            heappop(heap)
        if heap:
            return heap[0]
        del self._heaps[group], self._sizes[group]
        return None

    def _rebuild(self, group: Group) -> None:
        self._heaps[group] = self._live(group)
        heapify(self._heaps[group])

    def _live(self, group: Group) -> list[Place]:
        return [place for place in self._heaps[group] if self._places.get(place.execution_id) is place]
