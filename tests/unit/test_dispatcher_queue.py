"""Who is next: priority, then age, and whole groups passed over where they may not run."""

from __future__ import annotations

import random

from execution_ledger.dispatcher.board import Execution
from execution_ledger.dispatcher.queue import Group, Queue


def waiting(name: str, priority: int = 0, since_ms: int = 0, pipeline: str = "train") -> Execution:
    return Execution(name, 1, 0, "default", pipeline, "d", priority, since_ms)


def served(queue: Queue, *closed: str) -> list[str]:
    return [execution_id for execution_id, _ in queue.take_open(lambda group: group.pipeline not in closed)]


def filled(*executions: Execution) -> Queue:
    queue = Queue()
    for execution in executions:
        queue.add(execution)
    return queue


def test_higher_priority_comes_first_then_age_then_id() -> None:
    queue = filled(
        waiting("late", since_ms=9),
        waiting("b", since_ms=5, pipeline="score"),
        waiting("a", since_ms=5),
        waiting("urgent", priority=5, since_ms=99),
        waiting("idle", priority=-1, since_ms=1),
    )
    assert served(queue) == ["urgent", "a", "b", "late", "idle"]


def test_a_closed_pipeline_is_passed_over_and_keeps_its_place() -> None:
    queue = filled(waiting("first", since_ms=1), waiting("second", since_ms=2, pipeline="score"))
    assert served(queue, "train") == ["second"]
    assert served(queue) == ["first"]


def test_a_group_that_closes_during_the_walk_gives_no_more() -> None:
    queue = filled(*(waiting(f"e{number}", since_ms=number) for number in range(5)))
    taken: list[str] = []

    def two_only(_: Group) -> bool:
        return len(taken) < 2

    for execution_id, _ in queue.take_open(two_only):
        taken.append(execution_id)
    assert taken == ["e0", "e1"]
    assert len(queue) == 3


def test_what_was_dropped_is_never_served_and_what_came_back_waits_from_then_on() -> None:
    queue = filled(waiting("dropped", since_ms=1), waiting("back", since_ms=2), waiting("other", since_ms=3))
    queue.drop("dropped")
    queue.add(waiting("back", since_ms=4))
    assert served(queue) == ["other", "back"]


def test_it_serves_as_a_sorted_list_would_under_churn() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        queue, model = Queue(), dict[str, tuple[int, int, str]]()
        for number in range(1_000):
            execution = waiting(
                f"e{chance.randrange(300)}", chance.randrange(3), number, chance.choice(["train", "score", "plot"])
            )
            if chance.random() < 0.45:
                queue.drop(execution.id)
                model.pop(execution.id, None)
            else:
                queue.add(execution)
                model[execution.id] = (-execution.priority, number, execution.id)
        assert len(queue) == len(model)
        assert served(queue) == sorted(model, key=lambda name: model[name])
