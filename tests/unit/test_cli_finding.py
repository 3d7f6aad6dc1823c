"""`exledger list` and `exledger stats`: what is asked for, and what is printed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from execution_ledger.cli.finding import moment
from execution_ledger.cli.terminal import output
from execution_ledger.errors import BadRequest
from unit.cli_stage import fake_ledger
from unit.test_cli_commands import COMPLETED, FakeLedger, execution, exledger

TIMES = {"p50": 5.0, "p95": 1_500.0, "p99": 90_000.0}
GROUPS = [
    {"value": "load", "count": 12, "waiting_ms": TIMES, "execution_ms": TIMES},
    {"value": None, "count": 3, "waiting_ms": None, "execution_ms": None},
]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    return fake_ledger(monkeypatch)


def params(ledger: FakeLedger) -> dict[str, Any]:
    """What the one request asked for, without what a list says by itself."""
    [request] = ledger.requests
    asked = request.url.params
    return {name: asked.get_list(name) for name in asked if name != "limit"}


def test_options_of_a_list_become_filters_and_an_order(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/executions", {"items": [COMPLETED], "next": None, "position": "1.1"})
    result = exledger(
        *("list", "--sort", "-took", "--search", "no such", "--status", "failed", "--status", "aborted"),
        *("--label", "team=blue", "--attempts", "2", "--no-warnings", "--failure", "user", "--json"),
    )
    assert [json.loads(line) for line in result.stdout.splitlines()] == [COMPLETED]
    assert params(ledger) == {
        "sort": ["-took"],
        "q": ["no such"],
        "status": ["failed", "aborted"],
        "label": ["team=blue"],
        "attempts_min": ["2"],
        "warnings": ["false"],
        "failure": ["user"],
    }


def test_a_list_says_why_something_ended_badly_where_there_is_room(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = execution("failed", why="ValueError: no such pump\n(second line)")
    ledger.on("GET", "/v1/executions", {"items": [failed, COMPLETED], "next": None, "position": "1.1"})
    heading, first, second = exledger("list").stdout.splitlines()
    assert heading.split()[-1] == "WHY"
    assert first.rstrip().endswith("ValueError: no such pump")
    assert "second line" not in first + second
    monkeypatch.setattr(output, "PIPED_WIDTH", 80)
    assert "WHY" not in exledger("list").stdout


def test_since_is_a_moment_before_now(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/executions", {"items": [], "next": None, "position": "1.1"})
    before = datetime.now(UTC)
    assert exledger("list", "--since", "2h").exit_code == 0
    [asked] = params(ledger)["created_after"]
    assert before <= datetime.fromisoformat(asked) + timedelta(hours=2) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("when", "utc"),
    [
        ("2026-11-22T06:30:00Z", "2026-11-22T06:30:00+00:00"),
        ("2026-11-22T06:30+02:00", "2026-11-22T04:30:00+00:00"),
        ("2026-11-22", datetime(2026, 11, 22).astimezone(UTC).isoformat()),
    ],
)
def test_a_date_is_a_moment_too(when: str, utc: str) -> None:
    assert moment(when) == utc


@pytest.mark.parametrize("when", ["soon", "2026-13-01", "9" * 30 + "d", "0001-01-01T00:00+23:00"])
def test_what_is_no_moment_is_refused_in_words(when: str) -> None:
    with pytest.raises(BadRequest, match=r"is no moment. Write 90s, 2h or 7d ago"):
        moment(when)


def test_stats_are_a_table_of_counts_and_percentiles(ledger: FakeLedger) -> None:
    report = {"by": "pipeline", "items": GROUPS, "left_off": 4, "position": "1.1"}
    ledger.on("GET", "/v1/executions/stats", report)
    result = exledger("stats", "--by", "pipeline", "--mode", "production")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["PIPELINE", "COUNT", "WAITED", "P50", "P95", "P99", "TOOK", "P50", "P95", "P99"],
        ["load", "12", *2 * ["5", "ms", "1.5", "s", "1.5", "min"]],
        ["none", "3"],
    ]
    assert "And 4 more" in result.stderr
    assert params(ledger) == {"by": ["pipeline"], "mode": ["production"]}
    assert json.loads(exledger("stats", "--json").stdout) == report


def test_a_label_that_is_no_pair_is_said_in_the_words_of_the_command(ledger: FakeLedger) -> None:
    done = exledger("list", "--label", "team")
    assert (done.exit_code, done.stderr) == (2, "Error: 'team' is not a pair. Write --label key=value.\n")
    assert ledger.requests == []
