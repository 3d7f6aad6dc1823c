"""Why something waits, asked of a running ledger: limits and who has them, the queue, the runners, the latencies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from e2e.program import Dev, answer, exledger, services

PIPELINES = """
import asyncio
from execution_ledger import Context, pipeline
from execution_ledger.demo.first_pipelines import stamp

@pipeline(inputs={}, outputs={}, limit=1)
async def one_at_a_time(ctx):
    await asyncio.sleep(600)
"""


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    (folder / "pipelines.py").write_text(PIPELINES)
    return folder


@pytest.fixture(scope="module")
def names(dev: Dev) -> tuple[str, str]:
    """One that holds the limit, and one that waits for it."""
    holder, waiting = (answer(dev, "run", "one_at_a_time")["name"] for _ in range(2))
    return holder, waiting


def test_explain_names_the_limit_and_its_holder(dev: Dev, names: tuple[str, str]) -> None:
    holder, waiting = names
    shown = exledger(dev, "explain", waiting)
    assert shown.returncode == 0, shown.stderr
    assert f"{waiting} is queued, since " in shown.stdout
    assert f"The limit 1 of one_at_a_time is taken by {holder}." in shown.stdout
    assert f"exledger abort {holder}" in shown.stdout
    found = answer(dev, "explain", waiting)
    assert [why["code"] for why in found["reasons"]] == ["limit_taken"]
    assert (found["limit"]["limit"], [held["name"] for held in found["limit"]["holders"]]) == (1, [holder])
    assert found["place"]["before"] == 0
    assert found["runners"] == {"runners": 1, "slots": 100, "free": 99}


def test_one_that_runs_names_its_runner(dev: Dev, names: tuple[str, str]) -> None:
    found = answer(dev, "explain", names[0])
    assert (found["status"], found["reasons"][0]["code"], found["attempt"]) == ("started", "running", 1)
    assert found["runner"] in found["reasons"][0]["text"]


def test_queue_and_runners_show_what_is_there(dev: Dev, names: tuple[str, str]) -> None:
    queue = answer(dev, "queue")
    [line] = queue["items"]
    assert (queue["waiting"], line["pipeline"], line["waiting"]) == (1, "one_at_a_time", 1)
    assert (line["limit"], line["used"], line["runners"]["free"]) == (1, 1, 99)
    [runner] = answer(dev, "runners")["items"]
    assert (runner["slots"], runner["taken"], runner["held"], runner["state"]) == (100, 1, 0, "ready")
    assert [(token["name"], token["phase"]) for token in runner["tokens"]] == [(names[0], "started")]
    assert set(runner["offers"]) == {"one_at_a_time", "stamp"}
    assert runner["process"] == answer(dev, "explain", names[0])["runner"]


def test_a_pipeline_is_listed_with_its_limit(dev: Dev) -> None:
    assert answer(dev, "pipelines", "one_at_a_time")["definition"]["limit"] == 1
    assert "one_at_a_time" in exledger(dev, "pipelines").stdout


def test_one_that_has_ended_says_how_and_one_that_never_was_is_refused(dev: Dev) -> None:
    done = answer(dev, "run", "stamp", "--wait")
    found = answer(dev, "explain", done["name"])
    assert (found["status"], found["reasons"][0]["text"]) == ("completed", "It has ended: completed.")
    assert exledger(dev, "explain", "stamp-zzz1").returncode == 2


def test_latency_is_measured_in_numbers(dev: Dev) -> None:
    told = answer(dev, "bench", "latency", "--count", "20")
    assert told["count"] == 20
    for each in told["latency_ms"].values():
        assert 0 < each["p50"] <= each["p99"] <= each["max"] < 30_000


def test_a_dispatcher_that_was_killed_answers_again_at_its_new_address(dev: Dev, names: tuple[str, str]) -> None:
    os.kill(services(dev)["dispatcher"], signal.SIGKILL)
    dev.wait_for("dispatcher restarting")
    found = answer(dev, "explain", names[1])
    assert found["reasons"][0]["code"] == "limit_taken"
    assert [held["name"] for held in found["limit"]["holders"]] == [names[0]]
