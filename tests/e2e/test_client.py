"""The Python client against a running ledger: what a program does from the first run to the reason of a failure."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from e2e.program import Dev, exledger, services
from execution_ledger import Client, ExecutionAborted, ExecutionFailed
from execution_ledger.errors import BadRequest, StillRunning
from execution_ledger.sdk.records.records import Event

WAIT_S = 60.0
PIPELINES = """
import asyncio
from execution_ledger import Context, pipeline

@pipeline(inputs={"days": "number"}, outputs={"rows": "number"})
async def load(ctx, days=7):
    ctx.warn("only a few")
    if ctx.twin == "pump-2":
        raise ValueError("no such pump")
    return {"rows": int(days) * 24}

@pipeline(inputs={}, outputs={"told": "json"}, template="pump")
def tell(ctx):
    told = {name: getattr(ctx, name) for name in ("mode", "twin", "experiment", "properties")}
    return {"told": told | {"options": ctx.options.model_dump()}}

@pipeline(inputs={}, outputs={}, limit=1)
async def endless(ctx):
    await asyncio.sleep(600)
"""


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "pipelines.py").write_text(PIPELINES)
    return folder


@pytest.fixture(scope="module")
def client(dev: Dev) -> Iterator[Client]:
    with Client(folder=dev.folder) as client:
        client.templates.put("pump", {"rated_kw": "number"})
        for number in (0, 1, 2, 3, 7):
            client.twins.put(f"pump-{number}", template="pump", values={"rated_kw": number})
        yield client


def kinds(events: Iterator[Event]) -> list[str]:
    return [event.type.split(".")[2] for event in events]


def test_a_run_is_waited_for_and_its_record_is_whole(client: Client) -> None:
    run = client.run("load", twin="pump-7", inputs={"days": 3}, labels={"team": "blue"}, key="2026-11-22")
    execution = run.wait(WAIT_S)
    assert execution.outputs == {"rows": 72}
    assert (execution.status, run.status) == ("completed", "completed")
    assert (execution.name, execution.twin, execution.labels) == (run.name, "pump-7", {"team": "blue"})
    assert [warning.message for warning in execution.warnings] == ["only a few"]
    assert [(attempt.attempt, attempt.status) for attempt in execution.attempts] == [(1, "completed")]
    assert execution == client.execution(run.name).model_copy(update={"position": execution.position})
    whole = ["queued", "dispatched", "started", "warned", "completed"]
    assert kinds(run.history()) == whole
    assert kinds(run.events()) == whole
    assert client.run("load", twin="pump-7", inputs={"days": 3}, labels={"team": "blue"}, key="2026-11-22").id == run.id


def test_a_failure_is_raised_with_its_traceback(client: Client) -> None:
    with pytest.raises(ExecutionFailed, match="no such pump") as failed:
        client.run("load", twin="pump-2").wait(WAIT_S)
    assert "raise ValueError" in str(failed.value)
    assert client.wait(failed.value.execution.name, check=False).status == "failed"
    [newest] = islice(client.executions(pipeline="load", status="failed"), 1)
    assert newest.id == failed.value.execution.id


def test_what_runs_and_what_waits_is_explained_and_aborted(client: Client) -> None:
    first, second = client.run("endless"), client.run("endless")
    assert next(event for event in first.events() if event.type.endswith("started.v1")).actor
    assert second.explain().reasons[0].code == "limit_taken"
    [line] = client.queue().items
    assert (line.pipeline, line.waiting) == ("endless", 1)
    [runner] = client.runners().items
    assert first.name in [held.name for held in runner.tokens]
    with pytest.raises(StillRunning):
        second.wait(timeout=0.1)
    assert second.abort("not needed") == "aborted"
    assert first.abort(reason="wrong pump") == "abort_requested"
    with pytest.raises(ExecutionAborted, match=r"by admin: wrong pump"):
        first.wait(WAIT_S)
    with pytest.raises(BadRequest, match="already aborted"):
        first.abort()


def test_code_is_told_what_it_runs_on_and_for(client: Client, dev: Dev) -> None:
    client.experiments.put("winter", "Winter season")
    run = client.run(
        "tell", twin="pump-7", mode="experiment", experiment="winter", options={"plot": False}, properties={"days": 3}
    )
    execution = run.wait(WAIT_S)
    assert execution.outputs == {
        "told": {
            "mode": "experiment",
            "twin": "pump-7",
            "experiment": "winter",
            "properties": {"rated_kw": 7, "days": 3},
            "options": {"train": True, "plot": False, "write": False},
        }
    }
    assert (execution.template, execution.experiment, execution.trigger) == ("pump", "winter", "caller")
    assert [each.id for each in client.executions(experiment="winter", sort="twin")] == [run.id]
    [group] = client.stats(by="experiment", pipeline="tell").items
    assert (group.value, group.count) == ("winter", 1)
    again = exledger(dev, "rerun", run.name, "--mode", "production", "--train", "--wait", "--json")
    told = json.loads(again.stdout)["outputs"]["told"]
    assert (told["mode"], told["experiment"], told["options"]) == (
        "production",
        None,
        {"train": True, "plot": False, "write": True},
    )


def test_what_is_not_registered_is_refused_before_anything_exists(client: Client) -> None:
    before = len(list(client.executions()))
    with pytest.raises(BadRequest, match=r"exledger twins add pump-9, or PUT /v1/twins/pump-9"):
        client.multi_run("tell", ["pump-1", "pump-9"])
    with pytest.raises(BadRequest, match="tell runs on twins of template pump"):
        client.run("tell")
    with pytest.raises(BadRequest, match="exledger experiments add summer"):
        client.run("tell", twin="pump-1", mode="experiment", experiment="summer")
    with pytest.raises(BadRequest, match=r"values.rated_kw: is required"):
        client.twins.put("pump-9", template="pump")
    assert len(list(client.executions())) == before


def test_twins_are_listed_changed_and_removed(client: Client, dev: Dev) -> None:
    assert client.twins.put("pump-8", template="pump", values={"rated_kw": 8}).version == 1
    assert client.twins.put("pump-8", template="pump", values={"rated_kw": 9}, name="Eight").version == 2
    found = client.twins.get("pump-8")
    assert (found.definition.name, found.properties) == ("Eight", {"rated_kw": 9})
    assert "pump-8" in [twin.key for twin in client.twins.all(template="pump")]
    assert [template.key for template in client.templates.all()] == ["pump"]
    client.twins.remove("pump-8")
    assert "pump-8" not in [twin.key for twin in client.twins.all()]
    shown = exledger(dev, "twins", "add", "pump-8", "--template", "pump", "-v", "rated_kw=10")
    assert "version 4" in shown.stdout
    assert "rated_kw" in exledger(dev, "twins", "list", "--template", "pump").stdout
    assert exledger(dev, "twins", "remove", "pump-8").returncode == 0
    assert exledger(dev, "twins", "show", "pump-8").returncode == 2


def test_a_multi_run_has_an_outcome_for_each_twin(client: Client) -> None:
    seen: list[int] = []
    multi = client.multi_run("load", ["pump-1", "pump-2", "pump-3"], inputs={"days": 1}, key="nightly")
    outcomes = multi.wait(WAIT_S, told=lambda progress: seen.append(sum(progress.values())))
    assert [(each.twin, each.status) for each in outcomes] == [
        ("pump-1", "completed"),
        ("pump-2", "failed"),
        ("pump-3", "completed"),
    ]
    assert multi.progress() == {"completed": 2, "failed": 1}
    assert set(seen) == {3}
    failed = multi.runs[1].execution().failure
    assert failed
    assert failed.message == "ValueError: no such pump"
    assert {each.id for each in client.executions(batch=multi.id, page_size=2)} == {run.id for run in multi.runs}


def test_the_rest_of_a_multi_run_is_aborted(client: Client) -> None:
    multi = client.multi_run("endless", ["pump-1", "pump-2", "pump-3"])
    assert sorted(multi.abort("enough")) == sorted(run.name for run in multi.runs)
    assert {each.status for each in multi.wait(WAIT_S)} == {"aborted"}
    assert multi.abort() == []


def test_what_waits_is_held_released_and_labelled_and_many_are_by_a_job(client: Client) -> None:
    first, *others = [client.run("endless", labels={"team": "blue"}) for _ in range(4)]
    assert next(event for event in first.events() if event.type.endswith("started.v1"))
    others[0].hold("the pump leaks")
    assert others[0].explain().reasons[0].code == "held"
    with pytest.raises(BadRequest, match="Only what waits can be held"):
        first.hold()
    where = {"status": ["queued"], "pipeline": "endless", "label": "team=blue"}
    assert client.preview("hold", **where).count == 2  # type: ignore[arg-type]
    told = client.job("hold", [run.name for run in others], reason="all of them").wait(WAIT_S)
    assert (told.done, told.codes) == (2, {"already_held": 1})
    assert [(each.id, each.code) for each in told.refusals] == [(others[0].id, "already_held")]
    assert {each.id for each in client.executions(held=True)} == {run.id for run in others}
    first.abort()
    assert first.wait(WAIT_S, check=False).status == "aborted"
    assert {run.status for run in others} == {"queued"}
    others[2].release()
    assert next(event for event in others[2].events() if event.type.endswith("started.v1"))
    first.label({"team": None, "checked": "yes"})
    assert first.execution().labels == {"checked": "yes"}
    seen: list[int] = []
    ended = client.job("abort", label="team=blue", pipeline="endless", reason="enough").wait(
        WAIT_S, told=lambda record: seen.append(record.waiting)
    )
    assert (ended.status, ended.done, ended.reason, seen[-1]) == ("ended", 3, "enough", 0)
    assert next(client.jobs()).id == ended.id
    for run in others:
        run.wait(WAIT_S, check=False)
    retried = client.job("retry", executions=[run.id for run in others]).wait(WAIT_S)
    made = list(client.executions(job=retried.id))
    assert {each.linked_to for each in made} == {run.id for run in others}
    assert client.job("abort", [each.id for each in made]).wait(WAIT_S).waiting == 0


def test_of_one_business_id_one_runs_at_a_time(client: Client) -> None:
    first = client.run("load", business_id="order-7", inputs={"days": 1})
    second = client.run("load", business_id="order-7", if_live="wait", inputs={"days": 2})
    assert [run.wait(WAIT_S).outputs for run in (first, second)] == [{"rows": 24}, {"rows": 48}]
    assert (first.execution().ended_at or 0) <= (second.execution().dispatched_at or 0)  # type: ignore[operator]
    running = client.run("endless", business_id="order-7")
    with pytest.raises(BadRequest, match=f"{running.name} has the business id 'order-7'"):
        client.run("endless", business_id="order-7")
    assert client.run("endless", business_id="order-7", if_live="first").id == running.id
    assert {each.name for each in client.executions(business_id="order-7", pipeline="endless")} == {running.name}
    running.abort()


def test_what_failed_is_retried_and_rerun_and_each_names_the_other(client: Client) -> None:
    first = client.run("load", twin="pump-2", inputs={"days": 3}, labels={"team": "blue"})
    assert first.wait(WAIT_S, check=False).status == "failed"
    retry = first.retry(key="once-more")
    assert retry.id == first.retry(key="once-more").id
    retried = retry.wait(WAIT_S, check=False)
    assert (retried.status, retried.inputs, retried.twin) == ("failed", {"days": 3}, "pump-2")
    assert (retried.link, retried.linked_to) == ("retry", first.id)
    rerun = retry.rerun(inputs={"days": 4}, twin="pump-3").wait(WAIT_S)
    assert (rerun.outputs, rerun.labels, rerun.linked_to) == ({"rows": 96}, {"team": "blue"}, retry.id)
    assert [(each.link, each.name) for each in first.execution().linked] == [("retry", retry.name)]
    assert [each.id for each in client.executions(linked_to=retry.id)] == [rerun.id]
    with pytest.raises(BadRequest, match=f"{rerun.name} has completed, so there is nothing to retry"):
        client.retry(rerun.name)


def test_the_failed_of_a_multi_run_are_retried_and_all_promises_hold(client: Client, dev: Dev) -> None:
    multi = client.multi_run("load", ["pump-1", "pump-2", "pump-3"])
    multi.wait(WAIT_S)
    again = multi.retry_failed(key="again")
    assert [(each.twin, each.status) for each in again.wait(WAIT_S)] == [("pump-2", "failed")]
    assert [run.id for run in multi.retry_failed(key="again").runs] == [run.id for run in again.runs]
    assert again.runs[0].execution().linked_to == multi.runs[1].id
    with pytest.raises(BadRequest, match=r"No execution of batch .* has ended as aborted"):
        client.retry_batch(multi.id, ["aborted"])
    assert exledger(dev, "verify").returncode == 0


def test_a_batch_is_checked_whole_before_anything_exists(client: Client) -> None:
    newest = [each.id for each in islice(client.executions(), 1)]
    with pytest.raises(BadRequest, match=r"executions\[1\]\.inputs\.m: is not an input"):
        client.batch([{"pipeline": "load"}, {"pipeline": "load", "inputs": {"m": 2}}])
    assert [each.id for each in islice(client.executions(), 1)] == newest


def test_what_is_listed_is_what_is_registered(client: Client) -> None:
    assert [(each.name, each.definition.limit) for each in client.pipelines()] == [
        ("endless", 1),
        ("load", None),
        ("tell", None),
    ]


def test_a_gateway_that_is_killed_is_waited_for_and_no_event_is_lost(client: Client, dev: Dev) -> None:
    run = client.run("endless")
    events = run.events()
    assert next(events).type.endswith("queued.v1")
    os.kill(services(dev)["gateway"], signal.SIGKILL)
    assert run.abort() in {"aborted", "abort_requested"}
    assert run.wait(WAIT_S, check=False).status == "aborted"
    assert kinds(events)[-1] == "aborted"
