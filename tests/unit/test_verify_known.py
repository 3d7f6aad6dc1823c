"""What ledgers and dispatchers must know is read a second time: a mistake of either fold is named."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rpds import HashTrieMap

from execution_ledger.dispatcher import board
from execution_ledger.dispatcher.limits import Limits
from execution_ledger.domain import execution as domain
from execution_ledger.domain.states import Queued
from execution_ledger.ledger import shard
from execution_ledger.ledger.memory import Remembered
from execution_ledger.log.protocol import Lane, Record, Topic
from execution_ledger.messages.commands import ClaimDispatch, ExpireAttempt, Hold, Unhold
from execution_ledger.messages.events import Requeued, decode_event, digest_of
from execution_ledger.messages.ids import business_key, shard_of_business
from execution_ledger.messages.parts import Backoff, Origin, Policy
from execution_ledger.messages.reports import ReportCheckpoint, ReportFailed, ReportStarted
from execution_ledger.settings import LedgerSettings
from execution_ledger.verify.folds.comparing import DispatcherFold, LedgerFold
from execution_ledger.verify.folds.ledgers import SPAN_MS, Owed
from unit.spec import CLAIM, STEPS, failure, submit
from unit.test_deciding import Ledger, abort, dispatch
from unit.verify_stage import ONE, OUTPUTS, THREE, TWO, catalog, lives, said

Patch = Callable[[pytest.MonkeyPatch], None]
BUSINESS = next(str(n) for n in range(100) if shard_of_business(business_key("train", str(n)), 4) == 1)
POLICY = Policy(retries=1, queue_ttl_ms=60_000, backoff=Backoff(first_ms=10_000))


def tried() -> Ledger:
    """One that is held, fails and is lost; two of a batch and of one business id, of which the first is aborted."""
    ledger = Ledger()
    one = {"actor": "ada", "execution_id": ONE}
    ledger.do(submit(ONE, policy=POLICY, steps=STEPS), Hold(command_id="hold", **one), Unhold(command_id="go", **one))
    ledger.do(dispatch(ONE), ReportStarted(**said(ONE), ordinal=1))
    ledger.do(
        ReportCheckpoint(**said(ONE), ordinal=2, value=OUTPUTS), ReportFailed(**said(ONE), ordinal=3, failure=failure())
    )
    ledger.now_ms += 10_000
    ledger.do(dispatch(ONE, "again").model_copy(update={"attempt": 2}))
    ledger.do(ExpireAttempt(command_id="lost", execution_id=ONE, actor="d-1", claim=CLAIM, attempt=2, cause="lost"))
    for number, execution in enumerate((TWO, THREE)):
        origin = Origin(source="batch/b", ordinal=number)
        ledger.do(submit(execution, f"submit-{number}", business_id=BUSINESS, if_live="wait", origin=origin))
    ledger.do(abort(TWO), submit(TWO, "submit-0"), ClaimDispatch(command_id="c", actor="d", dispatcher="d", claim=9))
    return ledger


def known(ledger: Ledger) -> list[str]:
    """What its fold has otherwise than its events say."""
    fold = LedgerFold(ledger.shard, 4, LedgerSettings())
    for raw in ledger.raw:
        fold.follow(decode_event(raw), digest_of(raw))
    return fold.wrong


def known_to_dispatcher(ledger: Ledger) -> list[str]:
    fold = DispatcherFold(4)
    for offset, raw in enumerate(ledger.raw):
        fold.take(decode_event(raw), Record(Lane(Topic.EVENTS, ledger.shard), offset, 0, b"", raw))
    return fold.wrong


@pytest.mark.parametrize("history", [tried, lives, catalog])
def test_folds_know_what_the_events_say(history: Callable[[], Ledger]) -> None:
    assert known(history()) == known_to_dispatcher(history()) == []


# --- a ledger ---------------------------------------------------------------------------------------------------------


def evolving(change: Callable[[domain.Execution, Any], domain.Execution]) -> Patch:
    real = domain._evolve_known
    return lambda patch: patch.setattr(domain, "_evolve_known", lambda before, fact: change(real(before, fact), fact))


def in_fold(name: str, instead: Callable[..., Any]) -> Patch:
    return lambda patch: patch.setattr(shard, name, instead)


def begins_at_once(after: domain.Execution, fact: Any) -> domain.Execution:
    waits = isinstance(after.state, Queued) and isinstance(fact, Requeued)
    return replace(after, state=Queued(expires_at=fact.expires_at)) if waits else after


def keeps_its_time(after: domain.Execution, fact: Any) -> domain.Execution:
    held = isinstance(after.state, Queued) and after.state.held
    return replace(after, state=Queued(expires_at=1, held=True)) if held else after


WRONG: dict[str, tuple[Patch, str]] = {
    "a retry begins at once": (evolving(begins_at_once), f"the state of {ONE}"),
    "its time in the queue goes on while held": (evolving(keeps_its_time), f"the state of {ONE}"),
    "reports are not counted": (evolving(lambda after, fact: replace(after, ordinal=0)), f"the ordinal of {ONE}"),
    "failures are not counted": (evolving(lambda after, fact: replace(after, failures=0)), f"the failures of {ONE}"),
    "steps are forgotten": (evolving(lambda after, fact: replace(after, steps=())), f"the steps of {ONE}"),
    "whose ended is alive": (in_fold("Ended", type(None)), f"whether {TWO} lives"),
    "an end leaves its business id": (in_fold("_left", lambda *_: {}), "business"),
    "no source": (in_fold("_of_queued", lambda *_: {}), "ordinal"),
    "no answers": (in_fold("_of_answer", lambda *_: {}), "answers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fold_of_a_ledger_that_is_wrong_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, (patch, what) = tried(), WRONG[name]
    patch(monkeypatch)
    assert what in known(ledger)


def long_ago() -> Ledger:
    """A command, another one half a span later, and one more when the first may be forgotten, and the second not."""
    ledger = tried()
    for half in ("first", "second", "third"):
        ledger.do(abort(ONE, half))
        ledger.now_ms += SPAN_MS // 2
    return ledger


def forgets_all(self: Remembered[Any], key: str, value: Any, now_ms: int) -> Remembered[Any]:
    if now_ms - self.since_ms < self.span_ms:
        return replace(self, recent=self.recent.insert(key, value))
    return Remembered(self.span_ms, self.entries_max, now_ms, HashTrieMap({key: value}))


def forgets_nothing(self: Remembered[Any], key: str, value: Any, now_ms: int) -> Remembered[Any]:
    return replace(self, recent=self.recent.insert(key, value))


def test_what_is_forgotten_too_early_or_never_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = long_ago()
    assert known(ledger) == []
    monkeypatch.setattr(Remembered, "adding", forgets_all)
    assert known(ledger) == ["answers"]
    ledger.now_ms += 3 * SPAN_MS
    ledger.do(abort(ONE, "next day"))
    monkeypatch.setattr(Remembered, "adding", forgets_nothing)
    assert known(ledger) == ["answers"]


# --- a dispatcher -----------------------------------------------------------------------------------------------------


def on_the_board(**instead: Any) -> Patch:
    """What these fields are after each change."""
    real = board.Board._change

    def change(self: board.Board, execution: board.Execution, event: Any) -> Any:
        changed = real(self, execution, event)
        for name, value in instead.items():
            setattr(execution, name, value)
        return changed

    return lambda patch: patch.setattr(board.Board, "_change", change)


MISTAKEN: dict[str, tuple[Patch, str]] = {
    "a retry begins at once": (on_the_board(not_before=None), f"the not_before of {ONE}"),
    "its time in the queue goes on while held": (on_the_board(expires_at=1), f"the expires_at of {ONE}"),
    "no loss is counted": (on_the_board(losses=0), f"the losses of {ONE}"),
    "checkpoints are forgotten": (on_the_board(checkpoint=None), f"the checkpoint of {ONE}"),
    "whoever ends it, its place is free": (
        lambda patch: patch.setattr(board, "_reported", lambda event: True),
        "the places on runner-1",
    ),
    "no limit is known": (lambda patch: patch.setattr(Limits, "learn", lambda *_: None), "the limit of train"),
}


def limited() -> Ledger:
    return catalog(limit=2)


@pytest.mark.parametrize("name", MISTAKEN)
def test_a_board_that_is_wrong_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, (patch, what) = limited() if "limit" in name else tried(), MISTAKEN[name]
    patch(monkeypatch)
    assert what in known_to_dispatcher(ledger)


@pytest.mark.parametrize("entries_max", [5, 1_000])
def test_whenever_a_ledger_remembers_and_forgets_it_is_as_it_must_be(entries_max: int) -> None:
    """Entries that lie just behind a turn of the generations last longest: nearly three spans."""
    chance = random.Random(7)
    for _ in range(500):
        owed, now_ms = Owed(100, entries_max), 0
        there: Remembered[int] = Remembered(100, entries_max)
        for number in range(30):
            now_ms += chance.choice((1, 10, 50, 99, 100, 101, 150, 199, 200, 300))
            owed.add(str(number), number, now_ms)
            there = there.adding(str(number), number, now_ms)
            assert not owed.differs(there, now_ms, int)


def test_a_ledger_that_never_forgets_is_named() -> None:
    owed = Owed(100)
    there: Remembered[int] = Remembered(10**9, 1_000)
    for number in range(2):
        owed.add(str(number), number, 200 * number)
        there = there.adding(str(number), number, 200 * number)
    assert owed.differs(there, 200, int)
