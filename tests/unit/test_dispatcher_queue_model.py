"""The queue beside a naive one: whatever is done to both, they serve the same executions in the same order.

The naive one is a dict that is searched from end to end, so there is nothing in it to get wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from execution_ledger.dispatcher.board import Execution
from execution_ledger.dispatcher.queue import Group, Place, Queue

NAMES = st.sampled_from([f"e{number}" for number in range(12)])
GROUPS = [Group(shard, "default", pipeline, "d") for shard in (1, 2) for pipeline in ("train", "score")]


class NaiveQueue:
    def __init__(self) -> None:
        self.places: dict[str, tuple[Place, Group]] = {}

    def take_open(self, is_open: Callable[[Group], bool]) -> list[tuple[str, Group]]:
        taken, closed = [], set[Group]()
        while waiting := sorted(one for one in self.places.values() if one[1] not in closed):
            place, group = waiting[0]
            if not is_open(group):
                closed.add(group)
                continue
            del self.places[place.execution_id]
            taken.append((place.execution_id, group))
        return taken


class Allowance:
    """So many of each group: it closes in the middle of a walk, as a limit does."""

    def __init__(self, allowed: dict[Group, int]) -> None:
        self._left = dict(allowed)

    def is_open(self, group: Group) -> bool:
        return self._left.get(group, 0) > 0

    def spend(self, group: Group) -> None:
        self._left[group] -= 1


def taken_from(queue: Queue, allowance: Allowance) -> list[tuple[str, Group]]:
    taken = []
    for one in queue.take_open(allowance.is_open):
        allowance.spend(one[1])
        taken.append(one)
    return taken


def taken_from_naive(naive: NaiveQueue, allowance: Allowance) -> list[tuple[str, Group]]:
    """Its walk asks about a group once for each execution that it then takes, so asking spends."""

    def is_open(group: Group) -> bool:
        was_open = allowance.is_open(group)
        if was_open:
            allowance.spend(group)
        return was_open

    return naive.take_open(is_open)


class QueueBesideNaiveQueue(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue, self.naive = Queue(), NaiveQueue()

    @rule(name=NAMES, group=st.sampled_from(GROUPS), priority=st.integers(-2, 2), since_ms=st.integers(0, 5))
    def add(self, name: str, group: Group, priority: int, since_ms: int) -> None:
        """An execution that is queued again takes its new place."""
        self.queue.add(Execution(name, group.shard, 0, group.pool, group.pipeline, group.digest, priority, since_ms))
        self.naive.places[name] = (Place(-priority, since_ms, name), group)

    @rule(name=NAMES)
    def drop(self, name: str) -> None:
        self.queue.drop(name)
        self.naive.places.pop(name, None)

    @rule(allowed=st.dictionaries(st.sampled_from(GROUPS), st.integers(0, 3)))
    def walk(self, allowed: dict[Group, int]) -> None:
        expected = taken_from_naive(self.naive, Allowance(allowed))
        assert taken_from(self.queue, Allowance(allowed)) == expected

    @rule(group=st.sampled_from(GROUPS), times=st.integers(50, 90))
    def change_minds(self, group: Group, times: int) -> None:
        """Places that were given up pile up in a heap until it is rebuilt; nobody may notice."""
        for number in range(times):
            self.add(f"passing-{number}", group, 1, number)
        for number in range(times):
            self.drop(f"passing-{number}")

    @invariant()
    def they_hold_the_same(self) -> None:
        assert len(self.queue) == len(self.naive.places)
        held = {(place, group) for group, places in self.queue.groups() for place in places}
        assert held == set(self.naive.places.values())
        assert all(self.queue.place_of(name) == place for name, (place, _) in self.naive.places.items())


QueueBesideNaiveQueue.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_the_queue_serves_as_the_naive_one_would = QueueBesideNaiveQueue.TestCase
