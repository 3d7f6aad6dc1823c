"""What people know from the platforms that this ledger replaces, done here: `services/platforms.md` names these tests.

One story, as a newcomer tells it: a pipeline of two steps with a plot and a file, on three twins, of which one fails
and one is aborted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.program import Dev, answer, exledger
from execution_ledger import Client
from execution_ledger.errors import BadRequest
from execution_ledger.sdk.client.multi_run import MultiRun

WAIT_S = 60.0
PIPELINES = """
import asyncio
from pathlib import Path
from execution_ledger import File, pipeline

train = pipeline("train", inputs={"days": "number"}, outputs={"report": "file", "rows": "number"}, template="pump")


@train.step()
def load(ctx, days):
    return {"rows": days * 24}


@train.step(needs=[load])
async def fit(ctx, load):
    if ctx.twin == "pump-2":
        raise ValueError("the sensor is dead")
    if ctx.twin == "pump-3":
        await asyncio.sleep(600)
    ctx.plot("trend", "<p>rising</p>")
    ctx.metric("rmse", 0.1)
    ctx.model("pump", b"weights")
    report = Path(__file__).with_name(f"report-{ctx.name}.html")
    report.write_text(f"<p>{load['rows']} rows of {ctx.properties['rated_kw']} kW</p>")
    return {"report": File(report)}


@pipeline(outputs={"text": "string"})
def talk(ctx, size: int, more: str = ""):
    return {"text": "x" * size}


@pipeline(limit=1)
async def one_at_a_time(ctx):
    await asyncio.sleep(600)


@pipeline(outputs={"options": "json"})
def says(ctx):
    return {"options": [ctx.mode, ctx.options.train, ctx.options.plot, ctx.options.write]}
"""


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("platform")
    (folder / "pipelines.py").write_text(PIPELINES)
    return folder


@pytest.fixture(scope="module")
def client(dev: Dev) -> Iterator[Client]:
    for command in (
        ["templates", "add", "pump", "--property", "rated_kw=number"],
        *(["twins", "add", f"pump-{n}", "--template", "pump", "--value", "rated_kw=7.5"] for n in (1, 2, 3)),
        ["experiments", "add", "winter", "--name", "Winter season"],
    ):
        done = exledger(dev, *command)
        assert done.returncode == 0, done.stderr
    with Client(folder=dev.folder) as client:
        yield client


@pytest.fixture(scope="module")
def multi(client: Client) -> MultiRun:
    """One has completed, one has failed, one was aborted while it ran."""
    multi = client.multi_run(
        "train", ["pump-1", "pump-2", "pump-3"], inputs={"days": 2}, mode="experiment", experiment="winter"
    )
    third = multi.runs[2]
    assert next(event for event in third.events() if event.type.endswith("execution.started.v1"))
    third.abort("the pump is in repair")
    multi.wait(WAIT_S)
    return multi


def test_one_request_makes_one_execution_for_each_twin(multi: MultiRun) -> None:
    assert {each.twin: each.status for each in multi.outcomes()} == {
        "pump-1": "completed",
        "pump-2": "failed",
        "pump-3": "aborted",
    }


def test_a_record_names_what_ran_on_what_for_whom_and_when(client: Client, multi: MultiRun) -> None:
    record = multi.runs[0].execution()
    assert (record.pipeline, record.pipeline_version, record.template, record.twin) == ("train", 1, "pump", "pump-1")
    assert (record.mode, record.experiment, record.trigger, record.created_by) == (
        "experiment",
        "winter",
        "batch",
        "admin",
    )
    assert record.inputs == {"days": 2}
    times = [record.created_at, record.queued_at, record.dispatched_at, record.started_at, record.ended_at]
    assert all(times)
    assert times == sorted(times)  # type: ignore[type-var]
    assert record.updated_at >= record.created_at
    assert None not in (record.waiting_ms, record.execution_ms, record.total_ms)


def test_results_are_a_file_a_plot_a_model_and_metrics(client: Client, multi: MultiRun, tmp_path: Path) -> None:
    run = multi.runs[0]
    outputs = run.outputs
    assert outputs["rows"] == 48
    assert outputs["report"].save(tmp_path).read_text() == "<p>48 rows of 7.5 kW</p>"
    assert [(plot.name, plot.read_bytes()) for plot in run.plots()] == [("trend.html", b"<p>rising</p>")]
    assert client.model("pump").read_bytes() == b"weights"
    assert [metric.value for metric in client.metrics(pipeline="train", name="rmse")] == [0.1]


def test_the_failed_one_is_found_and_says_why(client: Client, multi: MultiRun, dev: Dev) -> None:
    [found] = client.executions(pipeline="train", status="failed")
    [counted] = client.stats(pipeline="train", status="failed").items
    assert (found.twin, counted.count) == ("pump-2", 1)
    record = client.execution(found.name)
    failure = record.failure
    assert failure
    assert found.why == record.why == failure.message
    assert (failure.step, "the sensor is dead" in failure.message) == ("fit", True)
    assert "the sensor is dead" in exledger(dev, "get", found.name).stdout
    assert answer(dev, "get", found.name)["failure"]["message"] == failure.message


def test_each_step_has_status_times_and_origin(client: Client, multi: MultiRun) -> None:
    load, fit = multi.runs[0].execution().steps
    assert [(step.name, step.status) for step in (load, fit)] == [("load", "completed"), ("fit", "completed")]
    assert None not in (load.started_at, load.ended_at, fit.started_at, fit.ended_at)
    assert load.origin
    assert load.origin.kind == "local"


def test_one_that_runs_is_aborted_by_its_runner(multi: MultiRun) -> None:
    record = multi.runs[2].execution()
    assert record.abort
    assert (record.abort.reason, record.abort.outcome) == ("the pump is in repair", "acknowledged")
    assert record.why == "the pump is in repair"


def test_all_that_are_queued_of_a_pipeline_are_aborted(client: Client) -> None:
    holder, *waiting = [client.run("one_at_a_time") for _ in range(4)]
    assert next(event for event in holder.events() if event.type.endswith("execution.started.v1"))
    done = client.job("abort", pipeline="one_at_a_time", status="queued", reason="not today").wait(WAIT_S)
    assert (done.count, done.done) == (3, 3)
    ends = [run.wait(WAIT_S, check=False).abort for run in waiting]
    assert [end and end.outcome for end in ends] == ["never_started"] * 3
    holder.abort()


def test_a_job_takes_the_filters_of_the_list(dev: Dev, multi: MultiRun) -> None:
    where = ["--experiment", "winter", "--template", "pump", "--trigger", "batch", "--status", "failed"]
    shown = exledger(dev, "jobs", "run", "label", *where, "--set", "seen=yes", "--yes")
    assert shown.returncode == 0, shown.stderr
    assert [run.execution().labels for run in multi.runs] == [{}, {"seen": "yes"}, {}]


def test_production_does_not_train_or_plot_unless_asked_to(client: Client) -> None:
    ran = [
        client.run("says"),
        client.run("says", options={"train": True, "write": False}),
        client.run("says", mode="experiment"),
    ]
    assert [run.wait(WAIT_S).outputs for run in ran] == [
        {"options": ["production", False, False, True]},
        {"options": ["production", True, False, False]},
        {"options": ["experiment", True, True, False]},
    ]


def test_inputs_and_outputs_have_a_limit_that_is_named(client: Client) -> None:
    with pytest.raises(BadRequest, match="60,000"):
        client.run("talk", inputs={"size": 1, "more": "x" * 60_001})
    record = client.run("talk", inputs={"size": 60_001}).wait(WAIT_S, check=False)
    assert record.failure
    assert (record.failure.kind, "60,000" in record.failure.message) == ("outputs_too_large", True)


def test_all_promises_hold(dev: Dev) -> None:
    shown = exledger(dev, "verify")
    assert shown.returncode == 0, shown.stdout
