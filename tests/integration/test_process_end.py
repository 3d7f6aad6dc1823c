"""Whatever the users' code does on a runner's loop or in threads, its process ends when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from execution_ledger.embedded.process import ChildSpec, spawn
from integration.lonely_runner import LEASE_S, PIPELINES, STAND_STILL

TESTS = Path(__file__).parent.parent
END_S = 10.0  # a drain of 0.1 s, 2 s for what is deaf to it, 2 s for the end, and a busy machine


def lonely_runner(pipeline: str, ends: str, stderr: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "integration.lonely_runner", pipeline, ends],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        text=True,
    )


def exit_code(pipeline: str, ends: str = "well") -> int:
    """Of a process that was told to end while the pipeline ran."""
    process = lonely_runner(pipeline, ends, subprocess.DEVNULL)
    with process:
        try:
            assert process.stdout
            assert "running\n" in iter(process.stdout.readline, "")
            process.send_signal(signal.SIGTERM)
            told = time.monotonic()
            code = process.wait(END_S + 20.0)
            assert time.monotonic() - told < END_S
            return code
        finally:
            process.kill()


@pytest.mark.parametrize("pipeline", [pipeline.name for pipeline in PIPELINES])
def test_a_runner_ends_well_whatever_its_code_does(pipeline: str) -> None:
    assert exit_code(pipeline) == 0


@pytest.mark.parametrize("pipeline", ["is_deaf", "leaves_a_thread"])
def test_a_runner_that_fails_ends_with_an_error_whatever_its_code_does(pipeline: str) -> None:
    assert exit_code(pipeline, ends="badly") == 1


@pytest.mark.parametrize("pipeline", [pipeline.name for pipeline in STAND_STILL])
def test_a_runner_whose_loop_is_held_up_ends_and_names_the_line(pipeline: str) -> None:
    """Before its lease is over: what it ran is about to run elsewhere."""
    with lonely_runner(pipeline, "well", subprocess.PIPE) as process:
        try:
            _, printed = process.communicate(timeout=LEASE_S + 20.0)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "lonely_runner.py" in printed
    if pipeline == "blocks_the_loop":
        assert "pipeline blocks_the_loop-1, line" in printed
        assert "Await what takes long" in printed


async def test_a_child_that_ignores_its_signal_is_killed_after_the_grace() -> None:
    """As a runner is whose code has replaced its signal handlers. What is ignored at the start is inherited."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        child = await spawn(ChildSpec("deaf", ["sleep", "600"]))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert await child.stop(grace_s=0.1) == -signal.SIGKILL
