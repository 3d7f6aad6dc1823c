"""Bugs of a dispatcher that only come late, or first: each is found out in the calm after a run, where there is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from execution_ledger.dispatcher import desk, queue
from execution_ledger.dispatcher.board import Change, Execution, Phase
from execution_ledger.dispatcher.fleet import Fleet
from execution_ledger.dispatcher.leases import Leases
from execution_ledger.dispatcher.limits import Slots
from execution_ledger.dispatcher.picture import Picture
from execution_ledger.dispatcher.repair import Repairs, repairs
from execution_ledger.domain import states
from execution_ledger.messages.events import Event
from execution_ledger.messages.inbox import AnyInboxMessage
from execution_ledger.runner.attempts import Action, Attempts
from execution_ledger.trials.simulate.calm import EVERY, KNOWN
from execution_ledger.trials.simulate.plan import Plan
from execution_ledger.trials.simulate.run import run

Plant = Callable[[pytest.MonkeyPatch], None]
CALM = Plan(seed=EVERY, faults=[], asks=[])


def lowest_first(patch: pytest.MonkeyPatch) -> None:
    place = queue.Place
    patch.setattr(queue, "Place", lambda below, since_ms, execution: place(-below, since_ms, execution))


def youngest_first(patch: pytest.MonkeyPatch) -> None:
    place = queue.Place
    patch.setattr(queue, "Place", lambda below, since_ms, execution: place(below, -since_ms, execution))


def told_later(patch: pytest.MonkeyPatch) -> None:
    """With the next heartbeat."""
    real = desk.Desk._react

    def react(self: desk.Desk, event: Event, change: Change) -> None:
        real(self, event, change._replace(reported=True))

    patch.setattr(desk.Desk, "_react", react)


def off_by(ticks: int) -> Plant:
    return lambda patch: patch.setattr(Leases, "lapsed", lambda leases, mark: mark + ticks <= leases._lapsed)


def obeys_all(patch: pytest.MonkeyPatch) -> None:
    real = Attempts.receive

    def receive(self: Attempts, message: AnyInboxMessage, now_ms: int) -> list[Action]:
        return real(self, message.model_copy(update={"claim": 99}), now_ms)

    patch.setattr(Attempts, "receive", receive)


def repaired(change: Callable[[Repairs], None]) -> Plant:
    def fewer(*given: object) -> Repairs:
        found = repairs(*given)  # type: ignore[arg-type] # whatever it is given
        change(found)
        return found

    return lambda patch: patch.setattr(desk, "repairs", fewer)


PLANTS: dict[str, tuple[Plant, str]] = {
    "an end is told later": (told_later, "was not told at once"),
    "a lease is a tick longer": (off_by(1), "after the lease of"),
    "a lease is a tick shorter": (off_by(-1), "after the lease of"),
    "runners obey whoever says something": (obeys_all, "which was over"),
    "the lowest priority first": (lowest_first, "were dispatched in this order"),
    "the youngest first": (youngest_first, "were dispatched in this order"),
    "held ones": (
        lambda patch: patch.setattr(Execution, "dispatchable", property(lambda it: it.phase is Phase.QUEUED)),
        "must have known to be impossible",
    ),
    "those that back off": (
        lambda patch: patch.setattr(Picture, "is_backing_off", lambda picture, execution: False),
        "must have known to be impossible",
    ),
    "on silent runners": (
        lambda patch: patch.setattr(Fleet, "is_silent", lambda fleet, runner, now_ms: False),
        "and not as completed by",
    ),
    "aborts are not said again": (repaired(lambda found: found.aborts.clear()), "and not as acknowledged by"),
    "ends are not said again": (repaired(lambda found: found.closed.clear()), "still lists"),
    "places are held for ever": (
        lambda patch: patch.setattr(Slots, "held_by", lambda slots, runner: {}),
        "and not as completed by",
    ),
}


def is_found(words: str) -> bool:
    """Where heartbeats fall is chance, so three seeds are tried."""
    plans = (CALM.model_copy(update={"seed": times * EVERY}) for times in (1, 2, 3))
    return any(words in breach.what for plan in plans for breach in run(plan).breaches)


def test_a_calm_without_a_bug_is_known_beforehand() -> None:
    result = run(CALM)
    assert result.breaches == []
    assert result.executions == len(KNOWN)


@pytest.mark.parametrize("name", PLANTS)
def test_what_comes_late_or_first_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, words = PLANTS[name]
    plant(monkeypatch)
    assert is_found(words)


def test_a_ledger_that_obeys_every_dispatcher_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution_ledger.domain.execution._stale_claim", lambda claim, given: None)
    assert is_found("is the shard's newest")


def test_a_ledger_that_forgets_a_hold_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution_ledger.domain.execution.held_or_not", lambda state, fact: states.Queued())
    assert run(CALM).breaches != []


def test_other_runs_have_none() -> None:
    assert run(Plan(seed=EVERY + 3, faults=[], asks=[])).executions == 0
