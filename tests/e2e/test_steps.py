"""A pipeline of steps on the real stack: what its record says, and a rerun from the step that failed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.program import Dev, exledger, lines
from execution_ledger import Client
from execution_ledger.errors import BadRequest
from execution_ledger.sdk.records.records import Execution
from execution_ledger.sdk.records.steps import CodeOrigin

WAIT_S = 60.0
PIPELINES = '''
import asyncio
from pathlib import Path
from execution_ledger import pipeline

train = pipeline("train", inputs={"days": "number"}, outputs={"rmse": "number"}, retries=0)
slow = pipeline("slow")

@train.step(retries=2)
def load(ctx, days):
    """Reads the readings."""
    if ctx.try_ == 1:
        raise ValueError("busy")
    return {"rows": days * 24}

@train.step(needs=[load])
async def clean(ctx, load):
    ctx.warn("two gaps were filled")
    return {"rows": load["rows"] - 2}

@train.step(needs=[load])
def fit(ctx, load):
    if not (Path(__file__).parent / "mended").exists():
        raise ValueError("no convergence")
    return {"model": "m1"}

@train.step(needs=[clean, fit])
def score(ctx, clean, fit):
    return {"rmse": clean["rows"] / 10}

@pipeline
def alone(ctx): ...

@slow.step
async def wait(ctx):
    await asyncio.sleep(600)

@slow.step(needs=["wait"])
async def never(ctx): ...
'''


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean checkout of a repository, as a platform's runner has it."""
    folder = tmp_path_factory.mktemp("steps")
    (folder / "pipelines.py").write_text(PIPELINES)
    (folder / "requirements.txt").write_text("numpy\n")
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["remote", "add", "origin", "https://ada:secret@example.org/pumps.git"],
        ["add", "pipelines.py", "requirements.txt"],
        ["-c", "user.name=ada", "-c", "user.email=ada@example.org", "commit", "-q", "-m", "pipelines"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def client(dev: Dev) -> Iterator[Client]:
    with Client(folder=dev.folder) as client:
        yield client


@pytest.fixture(scope="module")
def failed(client: Client) -> Execution:
    return client.run("train", inputs={"days": 3}).wait(WAIT_S, check=False)


def checkout(folder: Path) -> CodeOrigin:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    return CodeOrigin(
        kind="git_repository",
        commit=head.stdout.strip(),
        repository="https://example.org/pumps.git",
        branch="main",
        requirements="requirements.txt",
    )


def stands(execution: Execution) -> dict[str, tuple[str, int]]:
    return {step.name: (step.status, step.tries) for step in execution.steps}


def test_each_step_has_its_own_record_and_the_failure_names_its_own(failed: Execution, app_folder: Path) -> None:
    assert failed.failure
    assert (failed.failure.step, failed.failure.message) == ("fit", "step fit has failed: ValueError: no convergence")
    wanted = {"load": ("completed", 2), "clean": ("completed", 1), "fit": ("failed", 1), "score": ("skipped", 0)}
    assert stands(failed) == wanted
    load, clean, fit, score = failed.steps
    assert (load.needs, clean.needs, score.needs) == ([], ["load"], ["clean", "fit"])
    assert load.failure
    assert load.failure.message == "ValueError: busy"
    assert load.started_at
    assert load.ended_at
    assert clean.started_at
    assert load.started_at <= load.ended_at <= clean.started_at
    assert fit.failure
    assert 'raise ValueError("no convergence")' in (fit.failure.traceback or "")
    assert [(warning.message, warning.step) for warning in failed.warnings] == [("two gaps were filled", "clean")]
    assert fit.origin == checkout(app_folder)
    assert [attempt.origin for attempt in failed.attempts] == [None]


def test_an_attempt_of_one_function_names_where_its_code_came_from(client: Client, app_folder: Path, dev: Dev) -> None:
    execution = client.run("alone").wait(WAIT_S)
    assert [attempt.origin for attempt in execution.attempts] == [checkout(app_folder)]
    assert execution.steps == []
    assert "git_repository  https://example.org/pumps.git  main" in exledger(dev, "get", execution.name).stdout


def test_a_rerun_from_the_failed_step_reuses_what_has_completed(
    client: Client, failed: Execution, app_folder: Path, dev: Dev
) -> None:
    (app_folder / "mended").touch()
    again = client.rerun(failed.name, from_failed=True, key="mended")
    assert again.id == client.rerun(failed.name, from_failed=True, key="mended").id
    execution = again.wait(WAIT_S)
    assert execution.outputs == {"rmse": 7.0}
    wanted = {"load": ("completed", 0), "clean": ("completed", 0), "fit": ("completed", 1), "score": ("completed", 1)}
    assert stands(execution) == wanted
    assert [step.reused for step in execution.steps] == [failed.id, failed.id, None, None]
    assert (execution.link, execution.linked_to) == ("rerun", failed.id)
    assert execution.warnings == []
    with pytest.raises(BadRequest, match="has completed"):
        again.rerun(from_failed=True)
    with pytest.raises(BadRequest, match="inputs: cannot change"):
        client.rerun(failed.name, from_failed=True, inputs={"days": 4})
    whole = exledger(dev, "rerun", failed.name, "-i", "days=4", "--wait")
    assert (whole.returncode, whole.stdout.split()) == (0, ["rmse", "9.4"])


def test_the_command_line_shows_and_reruns_steps(dev: Dev, failed: Execution, app_folder: Path) -> None:
    shown = exledger(dev, "get", failed.name).stdout
    assert "fit  failed" in shown
    assert "score  skipped" in shown
    assert "git_repository  https://example.org/pumps.git  main" in shown
    assert "load  retries 2  Reads the readings." in exledger(dev, "pipelines", "train").stdout
    told = exledger(dev, "events", failed.name).stdout
    assert "load  started  try 2  ValueError: busy" in told
    (app_folder / "mended").touch()
    rerun = exledger(dev, "rerun", failed.name, "--from-failed", "--wait")
    assert rerun.returncode == 0, rerun.stderr
    [newest, *_] = lines(dev, "list", "--limit", "1")
    assert newest["link"] == "rerun"


def test_many_are_rerun_from_their_failed_steps_by_one_job(
    dev: Dev, client: Client, failed: Execution, app_folder: Path
) -> None:
    (app_folder / "mended").touch()
    completed = client.rerun(failed.name, from_failed=True).wait(WAIT_S)
    job = client.job("rerun", [failed.id, completed.id], changes={"from_failed": True})
    told = job.wait(WAIT_S)
    assert (told.done, told.codes) == (1, {"none_failed": 1})
    assert "has completed: none of its steps is left" in told.refusals[0].detail
    [made] = client.executions(job=job.id)
    assert [step.reused for step in client.wait(made.id, WAIT_S).steps] == [failed.id, failed.id, None, None]
    shown = exledger(dev, "jobs", "run", "rerun", "--from-failed", failed.name, completed.name, "--yes")
    assert shown.returncode == 0, shown.stderr
    assert f"{completed.id}: {completed.name} has completed" in " ".join(shown.stderr.split())


def test_an_abort_closes_the_steps_and_all_promises_hold(client: Client, dev: Dev) -> None:
    run = client.run("slow")
    begun = next(event for event in run.events() if event.data.get("step"))
    record = client.connection.get(f"/v1/executions/{run.id}", min_position=begun.position)
    assert stands(Execution.read(record)) == {"wait": ("started", 1), "never": ("pending", 0)}
    run.abort()
    assert stands(run.wait(WAIT_S, check=False)) == {"wait": ("aborted", 1), "never": ("skipped", 0)}
    with pytest.raises(BadRequest, match=r"No step of .* has completed"):
        run.rerun(from_failed=True)
    checked = exledger(dev, "verify")
    assert checked.returncode == 0, checked.stdout
