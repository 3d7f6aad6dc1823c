"""Events beside the commands and reports that caused them: what says otherwise than its cause is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from execution_ledger.domain import execution as domain
from execution_ledger.ledger import deciding
from execution_ledger.log.protocol import Record, Topic
from execution_ledger.messages.base import Message
from execution_ledger.messages.commands import DispatcherCommand, ExpireAttempt, ExpireQueued
from execution_ledger.messages.events import Event
from execution_ledger.messages.ids import business_key, shard_of_business
from execution_ledger.messages.parts import Origin, Policy, Refusal
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportMetric,
    ReportReleased,
    ReportStarted,
)
from execution_ledger.verify.log.causes import check_causes
from execution_ledger.verify.log.reasons import check_reasons
from unit.spec import CLAIM, failure, submit
from unit.test_deciding import Ledger, abort, dispatch, types
from unit.verify_stage import ONE, OUTPUTS, THREE, TWO, said


class Lanes(Ledger):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.lanes: dict[Topic, list[Record]] = {Topic.COMMANDS: [], Topic.REPORTS: []}
        super().__init__()

    def _record(self, message: Message | bytes | None) -> Record:
        record = super()._record(message)
        self.lanes[record.lane.topic].append(record)
        return record

    def breaches(self, events: list[Event]) -> list[tuple[int, str]]:
        lanes = self.lanes[Topic.COMMANDS], self.lanes[Topic.REPORTS]
        found = (*check_causes(events, *lanes), *check_reasons(events, *lanes))
        return [(breach.promise, breach.what) for breach in found]


def lives() -> Lanes:
    """4-8 one that completes, 9-12 one whose abort is acknowledged, 13 rubbish, 14-16 repeats, 17-19 one that fails."""
    ledger = Lanes()
    asked = submit(ONE, labels={"team": "blue"}, priority=3).model_copy(update={"body_digest": "b1"})
    ledger.do(asked, dispatch(ONE), ReportStarted(**said(ONE), ordinal=1))
    ledger.do(ReportMetric(**said(ONE), ordinal=2, name="loss", value=0.5))
    ledger.do(ReportCompleted(**said(ONE), ordinal=3, outputs=OUTPUTS))
    ledger.do(submit(TWO, "submit-2"), dispatch(TWO, "dispatch-2"), abort(TWO))
    ledger.do(ReportAborted(**said(TWO), ordinal=2, entered=True, reason="enough"), b"rubbish")
    ledger.do(asked, asked.model_copy(update={"body_digest": "b2"}), abort(ONE, "late"))
    ledger.do(submit(THREE, "submit-3"), dispatch(THREE, "dispatch-3"))
    ledger.do(ReportFailed(**said(THREE), ordinal=1, failure=failure()))
    return ledger


def test_what_was_asked_for_is_what_happened() -> None:
    ledger = lives()
    assert len(ledger.events) == 20
    assert ledger.breaches(ledger.events) == []


DAMAGES: list[tuple[str, int, dict[str, Any], dict[str, Any], int]] = [
    ("a priority that nobody asked for", 4, {"priority": 0}, {}, 5),
    ("labels that were forgotten", 4, {"labels": {}}, {}, 5),
    ("an actor that was forgotten", 4, {}, {"actor": None}, 5),
    ("a runner that was not asked", 5, {"runner": "runner-2"}, {}, 5),
    ("the time of somebody else", 6, {}, {"time": 1}, 3),
    ("a metric of another name", 7, {"name": "gain"}, {}, 3),
    ("outputs that were not reported", 8, {"outputs": OUTPUTS.model_copy(update={"inline": "{}"})}, {}, 3),
    ("a reason that was forgotten", 11, {}, {"reason": None}, 5),
    ("an outcome of code that has not begun", 12, {"outcome": "never_started"}, {}, 3),
    ("a repeat of another body", 15, {"same_body": True}, {}, 5),
    ("a failure that was not reported", 20, {"failure": failure("other")}, {}, 3),
]


@pytest.mark.parametrize(
    ("sequence", "data", "envelope", "promise"), [row[1:] for row in DAMAGES], ids=[r[0] for r in DAMAGES]
)
def test_what_says_otherwise_than_its_cause_is_named(
    sequence: int, data: dict[str, Any], envelope: dict[str, Any], promise: int
) -> None:
    ledger = lives()
    event = ledger.events[sequence - 1]
    damaged = event.model_copy(update={"data": event.data.model_copy(update=data), **envelope})
    [(found, what)] = ledger.breaches([*ledger.events[: sequence - 1], damaged, *ledger.events[sequence:]])
    assert found == promise
    assert f"its {next(iter([*data, *envelope]))} is" in what


def test_what_was_refused_as_a_repeat_was_there() -> None:
    """Of its source a later one had come, although it itself never had."""
    ledger = Lanes()
    later, earlier = (Origin(source="batch/b", ordinal=ordinal) for ordinal in (1, 0))
    ledger.do(submit(ONE, origin=later), submit(TWO, "submit-2", origin=earlier))
    [(promise, what)] = ledger.breaches(ledger.events)
    assert (promise, f"{TWO} was never queued" in what) == (4, True)


def test_what_is_no_longer_kept_is_passed_over() -> None:
    ledger = lives()
    ledger.lanes = {Topic.COMMANDS: [], Topic.REPORTS: []}
    assert ledger.breaches([event.model_copy(update={"actor": "nobody"}) for event in ledger.events]) == []


def test_an_execution_that_was_joined_is_another_one() -> None:
    ledger = Lanes()
    business = next(str(n) for n in range(100) if shard_of_business(business_key("train", str(n)), 4) == 1)
    asked = [submit(ONE, business_id=business), submit(TWO, "submit-2", business_id=business, if_live="first")]
    assert types(ledger.do(*asked)) == ["execution.queued", "submit.joined"]
    assert ledger.breaches(ledger.events) == []


# --- what was not done --------------------------------------------------------------------------------------------


def refusing(code: str) -> Callable[..., Refusal]:
    return lambda *_: Refusal(code=code, detail="no")


@pytest.mark.parametrize("code", ["already_ended", "abort_already_requested", "illegal_state"])
def test_a_refusal_without_a_reason_is_named(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Lanes()
    ledger.do(submit(ONE), dispatch(ONE))
    monkeypatch.setattr(deciding, "decide", refusing(code))
    ledger.do(abort(ONE))
    [(promise, what)] = ledger.breaches(ledger.events)
    assert (promise, what) == (3, f"command.rejected: request_abort.v1 was refused ({code}), and was possible.")


EXPIRY = {"actor": "d-1", "claim": CLAIM, "execution_id": ONE}
POSSIBLE: list[DispatcherCommand] = [
    dispatch(ONE, "again").model_copy(update={"attempt": 2}),
    ExpireQueued(command_id="late", **EXPIRY),
]
IMPOSSIBLE: list[DispatcherCommand] = [
    dispatch(ONE, "again"),
    ExpireAttempt(command_id="lost", attempt=1, cause="lost", **EXPIRY),
    dispatch(ONE, "old").model_copy(update={"attempt": 2, "claim": CLAIM - 1}),
]


@pytest.mark.parametrize("asked", [*POSSIBLE, *IMPOSSIBLE])
def test_what_a_dispatcher_may_ask_for_is_not_refused(
    asked: DispatcherCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for its second attempt, and its time in the queue is over."""
    ledger = Lanes()
    ledger.do(submit(ONE, policy=Policy(queue_ttl_ms=1_000)), dispatch(ONE))
    ledger.do(ReportReleased(**said(ONE), ordinal=1))
    ledger.now_ms += 1_000
    code = "stale_claim" if asked.claim != CLAIM else "illegal_state"
    monkeypatch.setattr(deciding, "decide", refusing(code))
    ledger.do(asked)
    assert len(ledger.breaches(ledger.events)) == (asked in POSSIBLE)


def test_what_a_dispatcher_asks_for_after_another_one_has_claimed_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Lanes()
    ledger.do(submit(ONE), dispatch(ONE))
    monkeypatch.setattr(domain, "_stale_claim", lambda claim, given: None)
    ledger.do(ExpireAttempt(command_id="lost", attempt=1, cause="lost", **EXPIRY | {"claim": CLAIM - 1}))
    [(promise, what)] = ledger.breaches(ledger.events)
    assert (promise, what) == (6, "What d-1 asked for was done under claim 2, while 3 was the shard's newest.")


@pytest.mark.parametrize(
    "report",
    [
        ReportMetric(**said(ONE), ordinal=2, name="loss", value=0.5),
        ReportCompleted(**said(ONE), ordinal=2, outputs=OUTPUTS),
        ReportReleased(**said(ONE), ordinal=2),
        ReportStarted(**said(ONE), ordinal=2),
        ReportCompleted(**said(ONE), ordinal=1, outputs=OUTPUTS),
        ReportCompleted(**said(ONE, 2), ordinal=2, outputs=OUTPUTS),
    ],
)
def test_a_report_that_should_have_changed_something_is_named(
    report: AnyReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last three come again, or too early."""
    ledger = Lanes()
    ledger.do(submit(ONE), dispatch(ONE), ReportStarted(**said(ONE), ordinal=1))
    monkeypatch.setattr(deciding, "decide_report", lambda *_: [])
    ledger.do(report, submit(TWO, "submit-2"))
    is_new = (report.attempt, report.ordinal) == (1, 2) and not isinstance(report, ReportStarted)
    changed_nothing = f"Report 2 of attempt 1 ({report.type}) changed nothing."
    assert ledger.breaches(ledger.events) == [(3, changed_nothing)] * is_new
