"""Which change of a step may come next: what the ledger takes, and what the checker takes for legal, side by side."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from execution_ledger.domain.execution import Execution, decide_report, evolve
from execution_ledger.messages import events
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import ReportStep
from execution_ledger.messages.steps import Reused
from execution_ledger.verify.log.steps import StepLives
from unit.spec import ID, NOW_MS, RUNNER, dispatched, failure, given, queued, started
from unit.test_deciding import new_id

OUTPUTS, OTHERS = json_payload({"rows": 3}), json_payload({"rows": 4})
BEFORE = new_id(8)
# `told` may take over what it gave before; `fit` needs both of the others.
QUEUED = queued(
    steps={"load": [], "told": [], "fit": ["load", "told"]}, reused={"told": Reused(execution=BEFORE, outputs=OUTPUTS)}
)

Change = tuple[str, str, int]
START, AGAIN = ("load", "started", 1), ("load", "started", 2)
DONE, FAILED, SKIPPED = ("load", "completed", 1), ("load", "failed", 1), ("fit", "skipped", 0)
REUSED, FIT = ("told", "reused", 0), ("fit", "started", 1)


def report(change: Change, ordinal: int = 9, **other: Any) -> ReportStep:
    step, status, tries = change
    more: dict[str, Any] = {}
    if status in ("completed", "reused"):
        more = {"outputs": OUTPUTS, "reused": BEFORE if status == "reused" else None}
    elif status == "failed" or (status, tries) == ("started", 2):
        more = {"failure": failure()}
    said = {"execution_id": ID, "attempt": 1, "ordinal": ordinal, "runner": RUNNER, "time": NOW_MS}
    said |= {"step": step, "status": status.replace("reused", "completed"), "tries": tries}
    return ReportStep.model_validate(said | more | other)


def fact(change: Change, ordinal: int = 9, **other: Any) -> events.StepChanged:
    told = report(change, ordinal, **other)
    return events.StepChanged(**{name: getattr(told, name) for name in events.StepChanged.model_fields})


def history(*changes: Change) -> list[events.Fact]:
    return [QUEUED, dispatched(), started(), *(fact(change, ordinal) for ordinal, change in enumerate(changes, 2))]


LEGAL: list[tuple[Change, ...]] = [
    (START,),
    (START, DONE),
    (START, FAILED),
    (START, AGAIN),
    (START, AGAIN, ("load", "completed", 2)),
    (START, FAILED, SKIPPED),
    (START, DONE, REUSED, FIT),
]
ILLEGAL: list[tuple[Change, ...]] = [
    (AGAIN,),
    (DONE,),
    (FAILED,),
    (FIT,),
    (SKIPPED,),
    (START, START),
    (START, ("load", "started", 3)),
    (START, ("load", "completed", 2)),
    (START, ("load", "skipped", 0)),
    (START, DONE, FIT),
    (START, DONE, SKIPPED),
    (START, DONE, FAILED),
    (START, FAILED, AGAIN),
    (REUSED, REUSED),
    (("told", "started", 1), REUSED),
    (("load", "reused", 0),),
    (("unknown", "started", 1),),
    (("told", "reused", 1),),
]


@pytest.mark.parametrize("changes", LEGAL)
def test_what_may_come_next_is_recorded_and_legal(changes: tuple[Change, ...]) -> None:
    given(*history(*changes[:-1])).when(report(changes[-1])).then(fact(changes[-1]))
    lives = StepLives(QUEUED)
    assert [wrong for change in changes for wrong in lives.follow(fact(change))] == []


@pytest.mark.parametrize("changes", ILLEGAL)
def test_what_may_not_changes_nothing_and_would_be_a_breach(changes: tuple[Change, ...]) -> None:
    given(*history(*changes[:-1])).when(report(changes[-1])).then_nothing()
    lives = StepLives(QUEUED)
    assert [wrong for change in changes[:-1] for wrong in lives.follow(fact(change))] == []
    assert list(lives.follow(fact(changes[-1])))


def test_only_what_it_was_queued_with_is_taken_over() -> None:
    """The ledger keeps digests alone, so a wrong name of an execution is the checker's to see."""
    given(*history()).when(report(REUSED, outputs=OTHERS)).then_nothing()
    for other in ({"outputs": OTHERS}, {"reused": ID}):
        assert list(StepLives(QUEUED).follow(fact(REUSED, **other)))


def test_an_end_without_outputs_or_a_failure_is_none() -> None:
    given(*history(START)).when(report(DONE, outputs=None)).then_nothing()
    given(*history(START)).when(report(FAILED, failure=None)).then_nothing()


def test_a_new_attempt_begins_all_steps_anew() -> None:
    again = [*history(START, DONE), events.Requeued(attempt=1, cause="lost"), dispatched(2), started(2)]
    begun = report(START, attempt=2)
    given(*again).when(begun).then_types(events.StepChanged)
    given(*again).when(report(FIT, attempt=2)).then_nothing()
    lives = StepLives(QUEUED)
    assert [wrong for change in (START, DONE) for wrong in lives.follow(fact(change))] == []
    lives.begin()
    assert list(lives.follow(fact(START))) == []


def test_whatever_comes_the_ledger_takes_just_what_the_checker_takes() -> None:
    """Every history of five changes that begins with legal ones."""
    statuses = ("started", "completed", "reused", "failed", "skipped")
    every = [(step, status, tries) for step, status, tries in product(("load", "told", "fit"), statuses, range(3))]
    edge: list[tuple[Execution | None, list[events.StepChanged]]] = [(given(*history()).execution, [])]
    for ordinal in range(2, 7):
        following: list[tuple[Execution | None, list[events.StepChanged]]] = []
        for execution, before in edge:
            for change in every:
                taken = decide_report(execution, report(change, ordinal), NOW_MS)
                lives = StepLives(QUEUED)
                for one in before:
                    list(lives.follow(one))
                wrong = list(lives.follow(fact(change, ordinal)))
                assert bool(taken) is not bool(wrong), (before, change)
                if taken:
                    following.append((evolve(execution, taken[0]), [*before, fact(change, ordinal)]))
        edge = following
    assert len(edge) > 20
