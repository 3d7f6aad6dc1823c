"""Bugs of a dispatcher that only come late, or first: each is found out in the calm after a run, where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from execution_ledger.dispatcher import desk, queue
from execution_ledger.dispatcher.board import Change, Execution, Phase, Token
from execution_ledger.dispatcher.fleet import Fleet
from execution_ledger.dispatcher.leases import Leases
from execution_ledger.dispatcher.limits import Slots
from execution_ledger.dispatcher.picture import Picture
from execution_ledger.dispatcher.repair import Repairs, repairs
from execution_ledger.dispatcher.told import Kind
from execution_ledger.domain import states
from execution_ledger.messages.events import Dispatched, Event, Fact, Started
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


def not_told_of(kind: type[Fact]) -> Plant:
    """But by repair."""
    real = desk.Desk._react

    def react(self: desk.Desk, event: Event, change: Change) -> None:
        if isinstance(event.data, kind):
            self.asking.forget(change.execution.token)
        else:
            real(self, event, change)

    return lambda patch: patch.setattr(desk.Desk, "_react", react)


def told_twice(patch: pytest.MonkeyPatch) -> None:
    real = desk.Desk._tell

    def tell(self: desk.Desk, runner: str, kind: Kind, tokens: Sequence[Token]) -> None:
        for _ in range(2 if kind == "start" else 1):
            real(self, runner, kind, tokens)

    patch.setattr(desk.Desk, "_tell", tell)


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
    "starts are told later": (not_told_of(Dispatched), "was not told at once (start.v1)"),
    "confirmations are told later": (not_told_of(Started), "was not told at once (confirmed.v1)"),
    "starts are told twice": (told_twice, "was sent to its runner 2 times"),
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
    """When heartbeats come and what is late lands is chance, so some seeds are tried."""
    plans = (CALM.model_copy(update={"seed": times * EVERY}) for times in range(1, 13))
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
