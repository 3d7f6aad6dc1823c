"""Retries, deadlines and at most once on a running ledger, as people declare, ask for and see them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.program import Dev, answer, exledger, lines, services

PIPELINES = """
import asyncio
from pathlib import Path
from execution_ledger import NoRetry, pipeline

HERE = Path(__file__).parent


@pipeline(retries=2, backoff=0.2, outputs={"attempt": "number"})
def third_time_lucky(ctx):
    if ctx.attempt < 3:
        raise ValueError(f"no luck in attempt {ctx.attempt}")
    return {"attempt": ctx.attempt}


@pipeline(retries=5, outputs={})
def hopeless(ctx):
    raise NoRetry("no such pump")


@pipeline(timeout="1s", outputs={})
async def too_long(ctx):
    entered = HERE / f"running-{ctx.name}-{ctx.attempt}"
    entered.touch()
    try:
        await asyncio.sleep(600)
    finally:
        entered.unlink()


@pipeline(delivery="at_most_once", outputs={"entered": "number"})
async def once(ctx, seconds: float = 0):
    with (HERE / "entered").open("a") as file:
        file.write("entered\\n")
    await asyncio.sleep(seconds)
    return {"entered": 1}


@pipeline(limit=1, outputs={})
async def one_at_a_time(ctx):
    await asyncio.sleep(600)
"""


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retried")
    (folder / "pipelines.py").write_text(PIPELINES)
    return folder


def ended(api: httpx.Client, name: str) -> dict[str, Any]:
    record: dict[str, Any] = api.get(f"/v1/executions/{name}", params={"wait": 60}).json()
    assert record["ended_at"], record
    return record


def started(api: httpx.Client, name: str) -> None:
    """Looks at the views, each time after they moved on."""
    for _ in range(100):
        if api.get(f"/v1/executions/{name}", params={"wait": 0.2}).json()["status"] == "started":
            return
    raise AssertionError(f"{name} did not start")


def none_held(dev: Dev) -> None:
    """Its runner lists an attempt until the code of it has really stopped."""
    for _ in range(100):
        if answer(dev, "runners")["items"][0]["held"] == 0:
            return
    raise AssertionError("the runner still holds what should have stopped")


def test_what_fails_twice_passes_the_third_time_with_a_growing_wait_between(dev: Dev, api: httpx.Client) -> None:
    name = answer(dev, "run", "third_time_lucky")["name"]
    record = ended(api, name)
    assert (record["status"], record["outputs"], record["attempt"]) == ("completed", {"attempt": 3}, 3)
    told = [(each["status"], each["cause"], each["message"]) for each in record["attempts"]]
    assert told == [
        ("requeued", "failed", "ValueError: no luck in attempt 1"),
        ("requeued", "failed", "ValueError: no luck in attempt 2"),
        ("completed", None, None),
    ]
    history = lines(dev, "events", name)
    dispatched = [event["recordedtime"] for event in history if event["type"].endswith("dispatched.v1")]
    not_before = [event["data"]["not_before"] for event in history if event["type"].endswith("requeued.v1")]
    assert all(waited <= begun for waited, begun in zip(not_before, dispatched[1:], strict=True))
    assert record["all_execution_ms"] == sum(each["execution_ms"] for each in record["attempts"])
    assert record["all_waiting_ms"] == sum(each["waiting_ms"] for each in record["attempts"])
    assert record["total_ms"] == record["all_waiting_ms"] + record["all_execution_ms"]
    assert record["execution_ms"] == record["attempts"][-1]["execution_ms"]
    assert record["total_ms"] == record["waiting_ms"] + record["execution_ms"]
    [listed] = api.get("/v1/executions", params={"q": name}).json()["items"]
    [counted] = api.get("/v1/executions/stats", params={"q": name}).json()["items"]
    for time in ("waiting_ms", "execution_ms"):
        assert listed[time] == record[time] == counted[time]["p50"]
    assert record["attempts"][1]["queued_at"] == record["attempts"][0]["ended_at"]
    shown = exledger(dev, "get", name).stdout
    assert "ValueError: no luck in attempt 2" in shown
    assert '"retries": 2' in shown


def test_while_it_waits_explain_says_for_what_and_an_abort_ends_it_at_once(dev: Dev, api: httpx.Client) -> None:
    name = answer(dev, "run", "third_time_lucky", "--backoff", "1h")["name"]
    for _ in range(100):
        found = answer(dev, "explain", name)
        if found["not_before"]:
            break
    assert found["reasons"][0]["code"] == "not_before"
    assert found["reasons"][0]["text"].startswith(
        "Attempt 1 is over (user: ValueError: no luck in attempt 1). Attempt 2"
    )
    assert exledger(dev, "abort", name).returncode == 0
    assert (ended(api, name)["status"], ended(api, name)["abort"]["outcome"]) == ("aborted", "not_running")


def test_code_that_knows_better_is_not_tried_again(dev: Dev, api: httpx.Client) -> None:
    record = ended(api, answer(dev, "run", "hopeless")["name"])
    assert (record["status"], record["attempt"]) == ("failed", 1)
    assert record["failure"]["message"] == "NoRetry: no such pump"


def test_what_takes_too_long_is_stopped_and_failed_or_tried_again(
    dev: Dev, api: httpx.Client, app_folder: Path
) -> None:
    record = ended(api, answer(dev, "run", "too_long")["name"])
    assert (record["status"], record["failure"]["kind"]) == ("failed", "timeout")
    assert record["failure"]["message"] == "attempt 1 did not end within 1 s"
    body = {"pipeline": "too_long", "policy": {"timeout_retries": 1, "backoff": {"first_ms": 0}}}
    again = ended(api, api.post("/v1/executions", json=body).json()["id"])
    assert [each["cause"] for each in again["attempts"]] == ["timeout", "timeout"]
    none_held(dev)
    assert list(app_folder.glob("running-*")) == []


def test_what_waits_for_too_long_is_failed(dev: Dev, api: httpx.Client) -> None:
    holder = answer(dev, "run", "one_at_a_time")["name"]
    started(api, holder)
    record = ended(api, answer(dev, "run", "one_at_a_time", "--queue-ttl", "1s")["name"])
    assert (record["status"], record["failure"]["kind"], record["attempt"]) == ("failed", "expired", 0)
    assert exledger(dev, "abort", holder).returncode == 0


def test_code_that_may_run_at_most_once_runs_once_though_its_runner_is_killed(
    dev: Dev, api: httpx.Client, app_folder: Path
) -> None:
    assert ended(api, answer(dev, "run", "once")["name"])["outputs"] == {"entered": 1}
    entered = app_folder / "entered"
    entered.unlink()
    name = answer(dev, "run", "once", "-i", "seconds=600")["name"]
    started(api, name)
    os.kill(services(dev)["runner"], signal.SIGKILL)
    dev.wait_for("runner restarting")
    record = ended(api, name)
    assert (record["status"], record["failure"]["kind"], record["attempt"]) == ("failed", "lost", 1)
    assert entered.read_text() == "entered\n"


def test_all_promises_held(dev: Dev) -> None:
    shown = exledger(dev, "verify")
    assert shown.returncode == 0, shown.stdout
