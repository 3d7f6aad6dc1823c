"""How steps are told in lines."""

from __future__ import annotations

from typing import Any

from execution_ledger.cli.executions import why
from execution_ledger.cli.terminal.steps import declared_steps, readable_origins, readable_steps

ORIGIN = {"kind": "git_repository", "repository": "https://example.org/p.git", "branch": "main", "commit": "5f2d"}


def step(name: str, status: str, **more: Any) -> dict[str, Any]:
    usual = {"attempt": 1, "needs": [], "tries": 0, "failure": None, "reused": None, "origin": None}
    return usual | {"name": name, "status": status, "started_at": None, "ended_at": None} | more


def test_a_step_is_a_line() -> None:
    times = {"started_at": "2026-11-22T06:20:59.000Z", "ended_at": "2026-11-22T06:21:01.500Z"}
    failure = {"kind": "user", "message": "ValueError: no"}
    told = readable_steps(
        [
            step("load", "completed", tries=2, origin=ORIGIN, **times),
            step("fit", "failed", tries=1, origin=ORIGIN, failure=failure),
            step("told", "completed", reused="x-1"),
            step("score", "skipped"),
        ]
    )
    assert told["steps"].splitlines() == [
        "load  completed  2.5 s  try 2",
        "fit  failed  ValueError: no",
        "told  completed  as in x-1",
        "score  skipped",
    ]
    assert readable_steps([]) == {"steps": ""}


def test_the_origin_that_attempts_and_steps_share_is_one_line() -> None:
    other = {"kind": "local", "requirements": "pyproject.toml"}
    attempts: list[dict[str, Any]] = [{"attempt": 1, "origin": ORIGIN}, {"attempt": 2}]
    steps = [step("load", "completed", origin=ORIGIN), step("fit", "failed", origin=other), step("score", "skipped")]
    told = readable_origins([*attempts, *steps])
    assert told["origin"].splitlines() == [
        "git_repository  https://example.org/p.git  main  5f2d",
        "local  pyproject.toml",
    ]
    assert readable_origins([]) == {"origin": ""}


def test_where_there_were_several_attempts_each_line_names_its_own() -> None:
    told = readable_steps([step("load", "failed"), step("load", "started", attempt=2)])
    assert told["steps"].splitlines() == ["attempt 1  load  failed", "attempt 2  load  started"]


def test_an_event_says_what_became_of_its_step() -> None:
    data = {"step": "load", "status": "started", "tries": 2, "failure": {"message": "busy"}}
    event = {"type": "executionledger.execution.step_changed.v1", "data": data}
    assert why(event) == "load  started  try 2  busy"


def test_a_declared_step_names_its_needs() -> None:
    steps = [{"name": "load", "needs": [], "retries": 2}, {"name": "fit", "needs": ["load"], "retries": 0}]
    assert declared_steps(steps).splitlines() == ["load  retries 2", "fit  needs load"]
