"""Events beside the commands and reports that caused them: what says otherwise than its cause is named."""

from __future__ import annotations

from typing import Any

import pytest

from execution_ledger.log.protocol import Record, Topic
from execution_ledger.messages.base import Message
from execution_ledger.messages.events import Event
from execution_ledger.messages.ids import business_key, shard_of_business
from execution_ledger.messages.parts import Origin
from execution_ledger.messages.reports import (
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportMetric,
    ReportStarted,
)
from execution_ledger.verify.causes import check_causes
from unit.spec import failure, submit
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
        found = check_causes(events, self.lanes[Topic.COMMANDS], self.lanes[Topic.REPORTS])
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
