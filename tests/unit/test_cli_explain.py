"""`explain`, `queue`, `runners` and `pipelines`: what the dispatcher and the catalog say, as people read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from execution_ledger.cli.pipelines import port_text
from unit.cli_stage import fake_ledger
from unit.test_cli_commands import FakeLedger, exledger

WAITING = {
    "id": "0199aaaa-bbbb-7001-8000-000000000000",
    "name": "train-402",
    "pipeline": "train",
    "version": 1,
    "pool": "default",
    "status": "queued",
    "since": "2026-01-02T03:04:05.000Z",
    "attempt": 0,
    "runner": None,
    "reasons": [
        {"code": "limit_taken", "text": "The limit 1 of train is taken by train-401.", "next": "Wait for one to end."},
        {"code": "turn", "text": "Something \x1b[2Jelse.", "next": None},
    ],
    "place": {"before": 3, "before_of_pipeline": 2, "priority": 5, "waiting_ms": 12_000},
    "limit": None,
    "runners": None,
}
OFFER = {"runners": 1, "slots": 100, "free": 99}
LINE = {"pool": "default", "pipeline": "train", "version": 2, "waiting": 7, "oldest_ms": 61_000, "used": 1}
RUNNER = {
    "process": "runner-a",
    "pool": "default",
    "slots": 100,
    "taken": 6,
    "held": 1,
    "state": "ready",
    "silent_ms": 2_400,
    "offers": {"train": "d1", "load": "d2"},
    "tokens": [{"id": f"id-{n}", "attempt": 1, "name": n and f"train-{n}", "phase": "running"} for n in range(5)],
    "tokens_left_off": 1,
}
DEFINITION = {
    "name": "load",
    "inputs": {
        "days": {"type": "number", "required": False, "default": 7},
        "since": {"type": "json", "required": False},
        "unit": {"type": "string", "description": "of the rows"},
    },
    "outputs": {"rows": {"type": "number"}},
    "any_outputs": False,
    "limit": 2,
    "description": "Loads rows.",
}
PIPELINE = {"name": "load", "version": 3, "digest": "d", "definition": DEFINITION, "registered_by": "admin"}
PIPELINE |= {"registered_at": "2026-01-02T03:04:05.000Z", "position": ""}


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    return fake_ledger(monkeypatch)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_explain_reads_status_then_reasons_with_what_to_do_then_its_place(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/executions/train-402/explain", WAITING)
    result = exledger("explain", "train-402")
    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first.startswith("train-402 is queued, since 2026-01-0")
    assert rest == [
        "  The limit 1 of train is taken by train-401.",
        "  → Wait for one to end.",
        "  Something \\x1b[2Jelse.",
        "  Its place: 3 before it in pool default, 2 of them of train; priority 5, waiting for 12.0 s.",
    ]


def test_explain_as_json_is_what_was_answered(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/executions/train-402/explain", WAITING)
    assert json.loads(exledger("explain", "train-402", "--json").stdout) == WAITING


def test_an_unknown_execution_is_exit_code_2(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/executions/x-1/explain", {"detail": "No execution 'x-1' is known."}, status=404)
    result = exledger("explain", "x-1")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "Error: No execution 'x-1' is known.\n")


@pytest.mark.parametrize(
    ("limit", "offer", "told"),
    [
        (None, {"runners": 0, "slots": 0, "free": 0}, ["none", "none ready", "0 of 0"]),
        (1, OFFER, ["1 of 1 taken", "1", "99 of 100"]),
    ],
)
def test_queue_shows_what_each_line_waits_for(ledger: FakeLedger, limit: Any, offer: Any, told: list[str]) -> None:
    ledger.on("GET", "/v1/queue", {"waiting": 7, "items": [LINE | {"limit": limit, "runners": offer}], "left_off": 0})
    result = exledger("queue")
    assert cells(result.stdout.splitlines()[1]) == ["default", "train", "2", "7", "1.0 min", *told]
    assert "exledger explain" in result.stderr


def test_an_empty_queue_says_so(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/queue", {"waiting": 0, "items": [], "left_off": 0})
    assert exledger("queue").stderr == "Nothing waits.\n"


def test_runners_shows_slots_and_a_few_names(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/runners", {"items": [RUNNER], "left_off": 0})
    row = cells(exledger("runners").stdout.splitlines()[1])
    assert row[:7] == ["runner-a", "default", "ready", "100", "6", "1", "2.4 s ago"]
    assert row[7:] == ["id-0 (ended), train-1, train-2 and 3 more", "load, train"]


def test_without_runners_it_says_how_to_start_one(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/runners", {"items": [], "left_off": 0})
    assert "exledger serve runner" in exledger("runners").stderr


def test_pipelines_lists_inputs_with_types_and_defaults(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/pipelines", {"items": [PIPELINE], "next": None, "position": ""})
    row = cells(exledger("pipelines").stdout.splitlines()[1])
    assert row == ["load", "3", "2", "days: number = 7, since: json = null, unit: string", "Loads rows."]


def test_one_pipeline_is_shown_whole(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/pipelines/load", PIPELINE)
    result = exledger("pipelines", "load", "--version", "3")
    assert dict(ledger.requests[-1].url.params) == {"version": "3"}
    assert "limit        2" in result.stdout
    shown = "inputs\n  days: number = 7\n  since: json = null\n  unit: string  of the rows\noutputs      rows: number\n"
    assert shown in result.stdout


@pytest.mark.parametrize(
    ("port", "told"),
    [
        ({"type": "number", "min": 1, "max": 9.5, "required": False, "default": 7}, "n: number 1…9.5 = 7"),
        ({"type": "string", "required": False, "default": ""}, 'n: string = ""'),
        ({"type": "string", "required": False}, "n: string = null"),
        ({"type": "number", "min": 1}, "n: number 1…"),
        ({"type": "string", "enum": ["a", "b"]}, "n: string a | b"),
        ({"type": "array", "items": "number"}, "n: array of number"),
    ],
)
def test_an_input_says_which_values_it_takes(port: dict[str, Any], told: str) -> None:
    assert port_text("n", port) == told
