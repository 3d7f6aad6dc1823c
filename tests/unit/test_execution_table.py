"""The table of an execution's life, cell by cell: every command and report, in every state."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from execution_ledger.messages import events
from execution_ledger.messages.commands import (
    Dispatch,
    ExecutionCommand,
    ExpireAttempt,
    ExpireQueued,
    ForceAbort,
    Hold,
    RequestAbort,
    Unhold,
)
from execution_ledger.messages.events import Fact
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
from execution_ledger.verify.log import life
from unit.spec import (
    CLAIM,
    ID,
    NOW_MS,
    RUNNER,
    STEPS,
    abort_requested,
    completed,
    dispatched,
    failure,
    given,
    queued,
    started,
    stored_file,
)
from unit.spec import submit as new_submit

# Every deadline is past when a message comes, 10 s later: what is refused then is refused at any time.
DUE = Policy(timeout_ms=1_000, queue_ttl_ms=1_000)
LATER_MS = NOW_MS + 10_000

STATES: dict[str, list[Fact]] = {
    "unknown": [],
    "queued": [queued(DUE, steps=STEPS)],
    "in backoff": [
        queued(steps=STEPS),
        dispatched(),
        started(),
        events.Requeued(attempt=1, cause="failed", not_before=LATER_MS + 1, expires_at=LATER_MS + 2),
    ],
    "held": [queued(DUE, steps=STEPS), events.Held()],
    "dispatched": [queued(DUE, steps=STEPS), dispatched(timeout_at=NOW_MS + 1_000)],
    "started": [queued(DUE, steps=STEPS), dispatched(), started(timeout_at=NOW_MS + 1_000)],
    "abort_requested": [queued(steps=STEPS), dispatched(), started(), abort_requested()],
    "not_entered": [queued(steps=STEPS), dispatched(), abort_requested()],
    "terminal": [queued(steps=STEPS), dispatched(), started(), completed()],
    "quarantined": [queued(steps=STEPS), dispatched(), events.Quarantined(error="boom")],
}

ENDS = {events.Aborted: "aborted", events.Completed: "completed", events.Failed: "failed"}
SEEN = {life.UNKNOWN: "[*]", life.ENTERED: "abort_requested", life.ENDED: ""}  # where the diagram has other words

_ASK = {"command_id": "c-1", "actor": "ada", "execution_id": ID}
_SAY = {"execution_id": ID, "attempt": 1, "ordinal": 9, "runner": RUNNER, "time": NOW_MS}

COMMANDS: dict[str, ExecutionCommand] = {
    "Submit": new_submit(),
    "Dispatch": Dispatch(**_ASK, claim=CLAIM, attempt=1, runner=RUNNER),
    "RequestAbort": RequestAbort(**_ASK),
    "ForceAbort": ForceAbort(**_ASK),
    "Hold": Hold(**_ASK),
    "Unhold": Unhold(**_ASK),
    "ExpireAttempt lost": ExpireAttempt(**_ASK, claim=CLAIM, attempt=1, cause="lost"),
    "ExpireAttempt timeout": ExpireAttempt(**_ASK, claim=CLAIM, attempt=1, cause="timeout"),
    "ExpireAttempt grace": ExpireAttempt(**_ASK, claim=CLAIM, attempt=1, cause="abort_grace"),
    "ExpireQueued": ExpireQueued(**_ASK, claim=CLAIM),
}
REPORTS: dict[str, AnyReport] = {
    "ReportStarted": ReportStarted(**_SAY),
    "ReportWarning": ReportWarning(**_SAY, message="hm"),
    "ReportArtifact": ReportArtifact(**_SAY, kind="plot", name="trend", file=stored_file()),
    "ReportMetric": ReportMetric(**_SAY, name="rmse", value=0.1),
    "ReportCheckpoint": ReportCheckpoint(**_SAY, value=json_payload(7)),
    "ReportStep": ReportStep(**_SAY, step="load", status="started", tries=1),
    "ReportCompleted": ReportCompleted(**_SAY, outputs=json_payload({})),
    "ReportFailed": ReportFailed(**_SAY, failure=failure()),
    "ReportAborted": ReportAborted(**_SAY, entered=True),
    "ReportReleased": ReportReleased(**_SAY),
}

LIFE = (Path(__file__).parents[2] / "services" / "life.md").read_text("utf-8")


def table() -> tuple[list[str], dict[str, list[str]]]:
    """The document's table: its states, and each message's cells."""
    first = LIFE[LIFE.index("| message ") :].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first.splitlines()]
    head, _, *body = rows
    return head[1:], {message: cells for message, *cells in body}


COLUMNS, ROWS = table()
CELLS = [(row, state, cell) for row, cells in ROWS.items() for state, cell in zip(COLUMNS, cells, strict=True)]


@pytest.mark.parametrize(("message", "state", "expected"), CELLS)
def test_cell(message: str, state: str, expected: str) -> None:
    after_grace = given(*STATES[state]).at(LATER_MS).when({**COMMANDS, **REPORTS}[message])
    if expected == "-":
        after_grace.then_nothing()
    elif expected[0].islower():
        after_grace.then_refused(expected)
    else:
        after_grace.then_types(*(getattr(events, name) for name in expected.split()))


def test_every_message_has_its_row_and_every_state_its_column() -> None:
    assert ROWS.keys() == {*COMMANDS, *REPORTS}
    assert list(STATES) == COLUMNS


def test_the_diagram_shows_what_verify_takes_for_legal() -> None:
    drawn = set(re.findall(r"^    (\S+) --> (\S+): (\w+)$", LIFE, re.MULTILINE))
    legal = {
        (SEEN.get(state, state), SEEN.get(after, after) or ENDS[fact], fact.__name__)
        for (state, fact), after in life.NEXT.items()
        if life.WITHDRAWN not in (state, after)  # which lasts no longer than the event that follows
    }
    assert drawn == {(state, after, fact) for state, after, fact in legal if state != after}
