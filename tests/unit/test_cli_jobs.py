"""Jobs, holds and labels on the command line: what is sent, what is shown, and what is asked before."""

from __future__ import annotations

from typing import Any

import pytest

from unit.test_cli_commands import ID, NAME, FakeLedger, execution, exledger, ledger

__all__ = ["ledger"]  # the fixture

JOB = "0199aaaa-bbbb-7001-8000-00000000000a"
TARGET = {"id": ID, "name": NAME, "status": "queued"}
PREVIEW = {"dry_run": True, "action": "abort", "count": 3, "targets_digest": "d", "sample": [TARGET], "position": ""}
OPENED = {"id": JOB, "action": "abort", "count": 3, "targets_digest": "d", "position": "", "command_id": "c"}
COUNTED = {"count": 3, "done": 2, "refused": 1, "waiting": 0, "codes": {"already_ended": 1}}
RECORD: dict[str, Any] = {
    "id": JOB,
    "action": "abort",
    "status": "ended",
    "created_by": "admin",
    "reason": "enough",
    **COUNTED,
    "refusals": [{"id": ID, "code": "already_ended", "detail": "It is already completed."}],
}


def test_a_dry_run_says_what_it_would_do_and_does_nothing(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/jobs", PREVIEW)
    result = exledger("jobs", "run", "abort", "--status", "queued", "--pipeline", "double", "--dry-run")
    assert result.exit_code == 0
    assert "This would abort 3 executions (2 are not shown). Nothing was done." in result.output
    where = {"pipeline": ["double"], "status": ["queued"]}
    assert ledger.posted() == [{"action": "abort", "where": where, "dry_run": True}]


def test_one_is_no_number_of_executions(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/jobs", PREVIEW | {"count": 1})
    assert (
        "This would abort 1 execution. Nothing was done." in exledger("jobs", "run", "abort", NAME, "--dry-run").output
    )


def test_a_label_job_without_labels_says_how_to_give_them(ledger: FakeLedger) -> None:
    result = exledger("jobs", "run", "label", "a=b", "--status", "failed", "--dry-run")
    assert (result.exit_code, ledger.requests) == (2, [])
    assert "--set KEY=VALUE" in result.stderr


def test_nobody_to_ask_is_told_to_say_yes(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/jobs", PREVIEW)
    result = exledger("jobs", "run", "abort", NAME)
    assert result.exit_code == 2
    assert "This would abort 3 executions. Add --yes to do it." in result.output
    assert [body.get("dry_run") for body in ledger.posted()] == [True]


def test_a_job_is_followed_to_its_end_and_what_was_refused_is_told(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/jobs", OPENED, status=201)
    ledger.on("GET", f"/v1/jobs/{JOB}", RECORD | {"status": "running", "waiting": 2}, RECORD)
    result = exledger("jobs", "run", "abort", NAME, "--reason", "enough", "--yes")
    assert result.exit_code == 0
    assert ledger.posted() == [{"action": "abort", "executions": [NAME], "reason": "enough"}]
    assert f"{ID}: It is already completed." in result.output


def test_who_leaves_a_job_is_told_that_it_goes_on(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/jobs", OPENED, status=201)
    ledger.interrupt(f"/v1/jobs/{JOB}")
    assert f"The job goes on: exledger jobs get {JOB}" in exledger("jobs", "run", "abort", NAME, "--yes").stderr


def test_a_rerun_from_the_failed_steps_says_so(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/jobs", OPENED, status=201)
    ledger.on("GET", f"/v1/jobs/{JOB}", RECORD)
    assert exledger("jobs", "run", "rerun", "--from-failed", "--status", "failed", "--yes").exit_code == 0
    assert ledger.posted() == [{"action": "rerun", "where": {"status": ["failed"]}, "changes": {"from_failed": True}}]


def test_labels_are_set_and_taken_away(ledger: FakeLedger) -> None:
    ledger.on("POST", f"/v1/executions/{NAME}/label", {"id": ID, "position": "", "command_id": "c"})
    ledger.on("GET", f"/v1/executions/{ID}", execution("completed", labels={"team": "blue"}, hold=None))
    result = exledger("label", NAME, "team=blue", "old=")
    assert result.exit_code == 0
    assert ledger.posted() == [{"labels": {"team": "blue", "old": None}}]
    assert '{"team": "blue"}' in result.output


@pytest.mark.parametrize("verb", ["hold", "release"])
def test_a_hold_says_who_wants_it(ledger: FakeLedger, verb: str) -> None:
    ledger.on("POST", f"/v1/executions/{NAME}/{verb}", {"id": ID, "position": "", "command_id": "c"})
    held = {"by": "grace", "reason": "leaks", "at": "2026-01-02T03:04:05.000Z"}
    ledger.on("GET", f"/v1/executions/{ID}", execution("queued", labels={}, hold=held))
    result = exledger(verb, NAME, "--reason", "leaks")
    assert (result.exit_code, ledger.posted()) == (0, [{"reason": "leaks"}])
    assert "held by grace" in result.output
