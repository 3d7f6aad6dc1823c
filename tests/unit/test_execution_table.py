"""The table of an execution's life, cell by cell: every command and report, in every state."""

from __future__ import annotations

import pytest

from execution_ledger.messages import events
from execution_ledger.messages.commands import (
    Dispatch,
    ExecutionCommand,
    ExpireAttempt,
    ExpireQueued,
    ForceAbort,
    RequestAbort,
)
from execution_ledger.messages.events import Fact
from execution_ledger.messages.parts import Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportReleased,
    ReportStarted,
    ReportWarning,
)
from unit.spec import CLAIM, ID, NOW_MS, RUNNER, abort_requested, completed, dispatched, failure, given, queued, started
from unit.spec import submit as new_submit

# Every deadline is past when a message comes, 10 s later: what is refused then is refused at any time.
DUE = Policy(timeout_ms=1_000, queue_ttl_ms=1_000)
LATER_MS = NOW_MS + 10_000

STATES: dict[str, list[Fact]] = {
    "unknown": [],
    "queued": [queued(DUE)],
    "in backoff": [
        queued(),
        dispatched(),
        started(),
        events.Requeued(attempt=1, cause="failed", not_before=LATER_MS + 1, expires_at=LATER_MS + 2),
    ],
    "dispatched": [queued(DUE), dispatched(timeout_at=NOW_MS + 1_000)],
    "started": [queued(DUE), dispatched(), started(timeout_at=NOW_MS + 1_000)],
    "abort_requested": [queued(), dispatched(), started(), abort_requested()],
    "not_entered": [queued(), dispatched(), abort_requested()],
    "terminal": [queued(), dispatched(), started(), completed()],
    "quarantined": [queued(), dispatched(), events.Quarantined(error="boom")],
}

_ASK = {"command_id": "c-1", "actor": "ada", "execution_id": ID}
_SAY = {"execution_id": ID, "attempt": 1, "ordinal": 9, "runner": RUNNER, "time": NOW_MS}

COMMANDS: dict[str, ExecutionCommand] = {
    "Submit": new_submit(),
    "Dispatch": Dispatch(**_ASK, claim=CLAIM, attempt=1, runner=RUNNER),
    "RequestAbort": RequestAbort(**_ASK),
    "ForceAbort": ForceAbort(**_ASK),
    "ExpireAttempt lost": ExpireAttempt(**_ASK, claim=CLAIM, attempt=1, cause="lost"),
    "ExpireAttempt timeout": ExpireAttempt(**_ASK, claim=CLAIM, attempt=1, cause="timeout"),
    "ExpireAttempt grace": ExpireAttempt(**_ASK, claim=CLAIM, attempt=1, cause="abort_grace"),
    "ExpireQueued": ExpireQueued(**_ASK, claim=CLAIM),
}
REPORTS: dict[str, AnyReport] = {
    "ReportStarted": ReportStarted(**_SAY),
    "ReportWarning": ReportWarning(**_SAY, message="hm"),
    "ReportCompleted": ReportCompleted(**_SAY, outputs=json_payload({})),
    "ReportFailed": ReportFailed(**_SAY, failure=failure()),
    "ReportAborted": ReportAborted(**_SAY, entered=True),
    "ReportReleased": ReportReleased(**_SAY),
}

# A refusal's code, or the facts' names; "-" where a report changes nothing. Columns: STATES in their order.
TABLE = """
Submit                | Queued            | duplicate_id           | duplicate_id           | duplicate_id      | duplicate_id   | duplicate_id            | duplicate_id            | duplicate_id  | duplicate_id
Dispatch              | unknown_execution | Dispatched             | illegal_state          | illegal_state     | illegal_state  | illegal_state           | illegal_state           | illegal_state | illegal_state
RequestAbort          | unknown_execution | AbortRequested Aborted | AbortRequested Aborted | AbortRequested    | AbortRequested | abort_already_requested | abort_already_requested | already_ended | illegal_state
ForceAbort            | unknown_execution | Aborted                | Aborted                | Aborted           | Aborted        | Aborted                 | Aborted                 | already_ended | Aborted
ExpireAttempt lost    | unknown_execution | illegal_state          | illegal_state          | Requeued          | Requeued       | Aborted                 | Aborted                 | illegal_state | illegal_state
ExpireAttempt timeout | unknown_execution | illegal_state          | illegal_state          | Failed            | Failed         | illegal_state           | illegal_state           | illegal_state | illegal_state
ExpireAttempt grace   | unknown_execution | illegal_state          | illegal_state          | illegal_state     | illegal_state  | Aborted                 | Aborted                 | illegal_state | illegal_state
ExpireQueued          | unknown_execution | Failed                 | illegal_state          | illegal_state     | illegal_state  | illegal_state           | illegal_state           | illegal_state | illegal_state
ReportStarted         | -                 | -                      | -                      | Started           | -              | -                       | Started                 | -             | -
ReportWarning         | -                 | -                      | -                      | -                 | Warned         | Warned                  | Warned                  | -             | -
ReportCompleted       | -                 | -                      | -                      | Started Completed | Completed      | Completed               | Completed               | -             | -
ReportFailed          | -                 | -                      | -                      | Started Failed    | Failed         | Failed                  | Failed                  | -             | -
ReportAborted         | -                 | -                      | -                      | -                 | Aborted        | Aborted                 | Aborted                 | -             | -
ReportReleased        | -                 | -                      | -                      | Requeued          | Requeued       | Aborted                 | Aborted                 | -             | -
"""  # noqa: E501 - it is a table

CELLS = [
    (row.split("|")[0].strip(), state, cell.strip())
    for row in TABLE.strip().splitlines()
    for state, cell in zip(STATES, row.split("|")[1:], strict=True)
]


@pytest.mark.parametrize(("message", "state", "expected"), CELLS)
def test_cell(message: str, state: str, expected: str) -> None:
    after_grace = given(*STATES[state]).at(LATER_MS).when({**COMMANDS, **REPORTS}[message])
    if expected == "-":
        after_grace.then_nothing()
    elif expected[0].islower():
        after_grace.then_refused(expected)
    else:
        after_grace.then_types(*(getattr(events, name) for name in expected.split()))


def test_every_message_has_its_row() -> None:
    assert {row for row, _, _ in CELLS} == {*COMMANDS, *REPORTS}
