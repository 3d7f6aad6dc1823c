"""`exledger simulate`: what it prints, what it keeps, and how it exits."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from execution_ledger.cli import app
from execution_ledger.trials.simulate import run as simulated
from execution_ledger.trials.simulate.plan import Plan
from execution_ledger.trials.simulate.seeds import read_cases
from execution_ledger.verify.findings import Breach


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *arguments])


def break_everything_with_a_fault(plan: Plan) -> simulated.Result:
    breaches = [Breach(6, 1, 7, None, "Two at once.")] if plan.faults else []
    return simulated.Result(
        plan, breaches, 10, 2, 60.0, 0.5, 1.0, ["1.0 s  fault  it breaks", "BROKEN 6: Two at once."]
    )


def test_a_whole_run_says_what_it_did_and_how_to_do_it_again() -> None:
    shown = simulate("--seed", "1", "--steps", "3")
    assert shown.exit_code == 0
    assert "exledger simulate --seed 1 --steps 3" in shown.output
    assert "All promises hold in 1 run: " in shown.output


def test_a_tally_shows_what_occurred_and_what_did_not() -> None:
    shown = simulate("--seed", "1", "--steps", "0", "--tally").output
    assert re.search(r"^event: shard.created.v1 +3 +1 *$", shown, re.MULTILINE)
    assert re.search(r"^fault: kill +0 +0 *$", shown, re.MULTILINE)


def test_a_fresh_seed_is_printed() -> None:
    shown = simulate("--seeds", "1", "--steps", "0")
    assert shown.exit_code == 0
    assert "--seed " in shown.output


def test_a_failure_is_made_small_told_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(simulated, "run", break_everything_with_a_fault)
    shown = simulate("--seed", "1", "--steps", "40", "--keep", str(tmp_path))
    assert shown.exit_code == 1
    assert "A promise is broken in 1 of 1 run: " in shown.output
    assert "1 of 40 steps are enough" in shown.output
    assert "BROKEN 6: Two at once." in shown.output
    (kept,) = read_cases(tmp_path).values()
    assert kept.plan.steps == 1
    assert simulate("--case", str(tmp_path / "seed-1.json")).exit_code == 1


def test_a_file_that_is_no_case_is_refused(tmp_path: Path) -> None:
    shown = simulate("--case", str(tmp_path / "nothing.json"))
    assert shown.exit_code == 2
    assert "is no case" in shown.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_interrupted_leaves_nothing_behind_and_says_nothing_of_it(number: signal.Signals) -> None:
    command = [str(Path(sys.executable).with_name("exledger")), "simulate", "--seeds", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        first = running.stderr.readline()
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert first.startswith("Seeds ")
    assert "semaphore" not in said
    assert "Traceback" not in said
