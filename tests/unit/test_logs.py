"""Log lines: JSON wherever standard error is no terminal, and what a line is about under the same names everywhere."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from execution_ledger.logs import REMEMBERED_MAX, REPEATED_S, Calm, Lossy

TESTS = Path(__file__).parents[1]
TIMEOUT_S = 60.0
ONE_LINE = (
    'from execution_ledger.logs import configure_logs as c; c("x"); import structlog as s; s.get_logger().info("hi")'
)


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """What services write when they meet trouble, standard error being a pipe."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    program = [sys.executable, "-m", "unit.log_lines"]
    done = subprocess.run(program, env=environment, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(
    ("event", "about"),
    [
        ("shard claimed", {"shard": 1, "position": "1:2"}),
        ("shard is taken over anew", {"shard": 1}),
        ("records could not be decided", {"shard": 1, "position": "1:5", "codes": ["unreadable"]}),
        ("shard lost", {"shard": 1}),
        ("trying again", {"shard": 1, "what": "sending reports"}),
        ("trying again", {"shard": 1, "retry_s": 0.05}),
        ("shard halted", {"shard": 1}),
    ],
)
def test_a_line_says_what_it_is_about(lines: list[dict[str, Any]], event: str, about: dict[str, Any]) -> None:
    of_this = [line for line in lines if line["event"] == event]
    assert any(about.items() <= line.items() for line in of_this), of_this


def test_every_line_bears_the_service_a_time_and_a_level(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert line["service"] == "trouble"
        assert line["timestamp"].endswith("Z")
        assert line["level"] in {"info", "warning", "error"}


def test_what_a_pipeline_logs_names_its_execution(lines: list[dict[str, Any]]) -> None:
    [hello] = [line for line in lines if line["event"] == "hello"]
    assert len(hello["execution"]) == 36
    assert (hello["name"], hello["attempt"]) == ("hello-1", 1)
    assert "shard" not in hello  # what one task's lines are about does not leak into another's


def test_at_a_terminal_lines_are_for_people() -> None:
    ours, terminal = os.openpty()
    try:
        subprocess.run([sys.executable, "-c", ONE_LINE], stderr=terminal, timeout=TIMEOUT_S, check=True)
        text = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(terminal)
    assert "hi" in text
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(text)


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        log = Lossy(full, "utf-8", write_through=True)
        assert log.write("lost\n") == 5
        log.flush()


def said(message: str, at_s: float) -> logging.LogRecord:
    record = logging.LogRecord("aiokafka", logging.ERROR, "", 1, message, None, None)
    record.created = at_s
    return record


def test_what_a_library_says_again_and_again_is_one_line_now_and_then() -> None:
    calm = Calm()
    written = [at for at in range(12_000) if calm.filter(said("Topic exledger.heartbeats not found", 1e9 + at / 1_000))]
    assert written == [0, 1_000 * REPEATED_S, 2_000 * REPEATED_S]
    assert calm.filter(said("Topic exledger.logs not found", 1e9 + 1))


def test_what_it_has_said_is_not_remembered_without_end() -> None:
    calm = Calm()
    assert all(calm.filter(said(f"node {at} is away", 1e9)) for at in range(10 * REMEMBERED_MAX))
    assert len(calm._said_s) <= REMEMBERED_MAX
