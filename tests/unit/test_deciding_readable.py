"""What all others have to read for ever is read by the ledger first: nothing unreadable becomes an event."""

from __future__ import annotations

import pytest

from execution_ledger.messages.commands import RegisterPipeline
from execution_ledger.messages.events import CommandFailed, CommandRejected, Failed
from execution_ledger.messages.payload import Payload
from execution_ledger.messages.reports import ReportCheckpoint, ReportCompleted, ReportStarted
from unit.spec import ID, NOW_MS, RUNNER, submit
from unit.test_deciding import Ledger, dispatch


@pytest.mark.parametrize("text", ["", "[", "[]", "null", "3", '{"n": NaN}', "[" * 100_000])
@pytest.mark.parametrize("field", ["inputs", "properties"])
def test_an_execution_whose_inputs_nobody_could_read_is_refused(field: str, text: str) -> None:
    """It would end every runner that is told to start it, one after the other."""
    unreadable = Payload(sha256="a", size=1, inline=text)
    [event] = Ledger().do(submit().model_copy(update={field: unreadable}))
    assert isinstance(event.data, CommandRejected)
    assert event.data.refusal.code == "invalid_payload"


def test_outputs_that_nobody_could_read_fail_their_execution() -> None:
    ledger = Ledger()
    ledger.do(submit(), dispatch(ID))
    outputs = Payload(sha256="a", size=1, inline="[")
    report = ReportCompleted(execution_id=ID, attempt=1, ordinal=1, runner=RUNNER, time=NOW_MS, outputs=outputs)
    [trace, failed] = ledger.report(report.model_dump_json().encode())
    assert isinstance(trace.data, CommandFailed)
    assert isinstance(failed.data, Failed)
    assert "is no JSON" in failed.data.failure.message


def test_a_checkpoint_that_nobody_could_read_fails_its_execution() -> None:
    """It would end every runner that is told to begin with it."""
    ledger = Ledger()
    said = {"execution_id": ID, "attempt": 1, "runner": RUNNER, "time": NOW_MS}
    ledger.do(submit(), dispatch(ID))
    ledger.report(ReportStarted(**said, ordinal=1).model_dump_json().encode())
    report = ReportCheckpoint(**said, ordinal=2, value=Payload(sha256="a", size=1, inline="["))
    [trace, failed] = ledger.report(report.model_dump_json().encode())
    assert isinstance(trace.data, CommandFailed)
    assert isinstance(failed.data, Failed)
    assert "is no JSON" in failed.data.failure.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "[" * 100_000,
        "{}",
        '{"name": "train"}',
        '{"name": "other", "code": "c"}',
        '{"name": "train", "code": "c", "limit": 2147483648}',
        '{"name": "train", "code": "c", "limit": true}',
    ],
)
def test_what_no_gateway_could_read_is_no_version(text: str) -> None:
    """Every gateway reads the whole catalog at its start: one unreadable definition in it would stop them all."""
    command = RegisterPipeline(
        command_id="1", actor="r", pipeline="train", digest="a", definition=Payload(sha256="a", size=1, inline=text)
    )
    [event] = Ledger(shard=0).do(command)
    assert isinstance(event.data, CommandRejected)
    assert event.data.refusal.code == "invalid_definition"
