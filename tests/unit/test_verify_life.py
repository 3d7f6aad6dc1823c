"""The checker's own table beside the one that decides, and its documents beside the events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from execution_ledger.domain.execution import Circumstances, Execution, decide, decide_report, evolve
from execution_ledger.errors import BrokenHistory, UnknownVersion
from execution_ledger.messages import events
from execution_ledger.messages.base import Message
from execution_ledger.messages.commands import (
    Dispatch,
    ExecutionCommand,
    ExpireAttempt,
    ExpireQueued,
    ForceAbort,
    Hold,
    Unhold,
)
from execution_ledger.messages.events import Event, Fact, decode_event
from execution_ledger.messages.parts import Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportArtifact,
    ReportCheckpoint,
    ReportCompleted,
    ReportFailed,
    ReportMetric,
    ReportReleased,
    ReportStarted,
    ReportStep,
    ReportWarning,
)
from execution_ledger.verify.log.documents import Document, read_document, time_ms
from execution_ledger.verify.log.life import AFTERWARDS, ENDED, HELD, NEXT, UNKNOWN, WITHDRAWN
from unit.spec import CLAIM, ID, NOW_MS, RUNNER, STEPS, failure, stored_file, submit
from unit.test_deciding import abort
from unit.verify_stage import catalog, lives, said

POLICIES = [
    Policy(),
    Policy(losses_max=0),
    Policy(delivery="at_most_once"),
    Policy(retries=1),
    Policy(timeout_ms=1, timeout_retries=1, queue_ttl_ms=1),
]
LATER_MS = NOW_MS + 1_000_000


def messages(execution: Execution | None) -> Iterator[ExecutionCommand | AnyReport]:
    attempt = execution.attempt if execution else 0
    ordinal = execution.ordinal + 1 if execution else 1
    asked = {"command_id": "c", "actor": "d", "execution_id": ID}
    yield abort(ID)
    yield ForceAbort(**asked)
    yield Dispatch(**asked, claim=CLAIM, attempt=attempt + 1, runner=RUNNER)
    yield ExpireQueued(**asked, claim=CLAIM)
    yield Hold(**asked)
    yield Unhold(**asked)
    if attempt:
        for cause in ("lost", "timeout", "abort_grace"):
            yield ExpireAttempt(**asked, claim=CLAIM, attempt=attempt, cause=cause)
        report = said(ID, attempt) | {"ordinal": ordinal}
        yield ReportStarted(**report)
        yield ReportWarning(**report, message="m")
        yield ReportStep(**report, step="load", status="started", tries=1)
        yield ReportArtifact(**report, kind="plot", name="trend", file=stored_file())
        yield ReportMetric(**report, name="rmse", value=0.1)
        yield ReportCheckpoint(**report, value=json_payload(7))
        yield ReportCompleted(**report, outputs=json_payload({}))
        yield ReportFailed(**report, failure=failure())
        yield ReportReleased(**report)
        yield from (ReportAborted(**report, entered=entered) for entered in (True, False))


def walk(policy: Policy) -> set[tuple[str, type[Fact]]]:
    """Every step that deciding can take within a few messages, each followed in the checker's table."""
    seen: set[tuple[str, type[Fact]]] = set()
    start: tuple[Execution | None, str] = (None, UNKNOWN)
    edge, known = [start], {start}
    for _ in range(8):
        following = []
        for execution, state in edge:
            for after in steps(execution, state, policy, seen):
                if after not in known:
                    known.add(after)
                    following.append(after)
        edge = following
    return seen


def steps(
    execution: Execution | None, state: str, policy: Policy, seen: set[tuple[str, type[Fact]]]
) -> Iterator[tuple[Execution | None, str]]:
    """What is asked comes later than any deadline that was set."""
    given = Circumstances(NOW_MS if execution is None else LATER_MS, next_number=4097, claim=CLAIM)
    asked: list[Message] = [submit(policy=policy, steps=STEPS)] if execution is None else list(messages(execution))
    for message in asked:
        is_command = isinstance(message, ExecutionCommand)
        decision = decide(execution, message, given) if is_command else decide_report(execution, message, NOW_MS)  # type: ignore[arg-type]
        if not isinstance(decision, list):
            continue
        evolved, reached = execution, state
        for fact in decision:
            seen.add((reached, type(fact)))
            assert (reached, type(fact)) in NEXT, f"{fact.TYPE} while {reached}"
            evolved, reached = evolve(evolved, fact), NEXT[reached, type(fact)]
        if evolved is not None and reached != ENDED:
            yield evolved, reached


def test_what_is_decided_is_in_the_checkers_table_and_hardly_more_is() -> None:
    seen = set[tuple[str, type[Fact]]]().union(*map(walk, POLICIES))
    never_by_messages = {(state, fact) for state, fact in NEXT if events.Quarantined is fact or state == "quarantined"}
    only_by_a_bug = {(HELD, events.Failed)}
    assert set(NEXT) - seen == never_by_messages | only_by_a_bug


def test_every_fact_of_a_life_has_a_place_to_go_on_from() -> None:
    assert set(AFTERWARDS) == {fact for _, fact in NEXT}
    assert {state for state, _ in NEXT} | {ENDED} >= set(NEXT.values()) >= {WITHDRAWN}


def test_a_document_has_the_fields_of_an_event() -> None:
    assert set(Document.__annotations__) == set(Event.model_fields)


def test_documents_say_what_events_say() -> None:
    for raw in [*lives().raw, *catalog().raw]:
        event, document = decode_event(raw), read_document(raw)
        told = {name: value for name, value in event if value is not None}
        told |= {name: getattr(event, name) for name in ("time", "recordedtime")}
        read = dict(document) | {name: time_ms(str(dict(document)[name])) for name in ("time", "recordedtime")}
        assert read == told


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b'"specversion":"1.0"', b'"specversion":"2.0"', BrokenHistory),
        (b'"shard":1', b'"shard":"one"', BrokenHistory),
        (b'"actor":', b'"actress":', BrokenHistory),
        (b"queued.v1", b"queued.v2", UnknownVersion),
        (b'"number":', b'"numero":', BrokenHistory),
    ],
)
def test_a_document_is_refused_where_an_event_is(old: bytes, new: bytes, error: type[Exception]) -> None:
    raw = lives().raw[3]
    assert old in raw
    with pytest.raises(error):
        read_document(raw.replace(old, new))
