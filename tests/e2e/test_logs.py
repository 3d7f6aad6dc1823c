"""What code says, on a running ledger: its lines live and later, and how far it had come when it is tried again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.program import Dev, answer, exledger, lines, services
from execution_ledger import Client

WAIT_S = 60.0
PIPELINES = """
import asyncio
import logging
import threading
import time
from pathlib import Path
import structlog
from execution_ledger import Context, pipeline

GO = Path(__file__).with_name("go")
log = structlog.get_logger()

@pipeline
async def tell(ctx: Context) -> None:
    print("one")
    logging.getLogger("pumps").info("%d pumps", 7)
    log.warning("too hot", degrees=91)
    ctx.log.info("from the context")
    await asyncio.to_thread(print, "from a pool")
    print("the", "end")

@pipeline(retries=2, backoff=0)
def goes_on(ctx: Context) -> None:
    done = ctx.last_checkpoint or 0
    print(f"attempt {ctx.attempt} begins behind {done}")
    ctx.checkpoint(done + 10)
    if ctx.attempt < 3:
        thread = threading.Thread(target=print, args=("no pump",))
        thread.start()
        thread.join()
        raise ValueError("no pump")

@pipeline
async def waits(ctx: Context) -> None:
    print("waiting")
    while not GO.exists():
        await asyncio.sleep(0.05)
    print("gone on")

@pipeline
def floods(ctx: Context) -> None:
    for number in range(200_000):
        print(f"line {number} " + 60 * "x")

@pipeline
async def silent(ctx: Context) -> None:
    pass
"""


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tells")
    (folder / "pipelines.py").write_text(PIPELINES)
    return folder


@pytest.fixture(scope="module")
def client(dev: Dev) -> Iterator[Client]:
    with Client(folder=dev.folder) as client:
        yield client


def test_all_that_code_says_is_its_log(dev: Dev, client: Client) -> None:
    run = client.run("tell")
    run.wait(WAIT_S)
    told = [(line.stream, line.level, line.text) for line in run.logs()]
    assert told[:3] == [
        ("stdout", None, "one"),
        ("logging", "info", "pumps: 7 pumps"),
        ("structlog", "warning", "too hot degrees=91"),
    ]
    assert told[3][2].startswith("from the context ")
    assert [text for _, _, text in told[4:]] == ["from a pool", "the end"]
    assert [line["text"] for line in lines(dev, "logs", run.name)] == [text for _, _, text in told]
    shown = exledger(dev, "logs", run.name).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in shown] == [text for _, _, text in told]
    assert "one" not in (dev.folder / "logs" / "runner.log").read_text().split()


def test_each_attempt_begins_with_the_newest_checkpoint_and_has_a_log_of_its_own(dev: Dev, client: Client) -> None:
    run = client.run("goes_on")
    record = run.wait(WAIT_S)
    assert record.checkpoint
    assert (record.checkpoint.attempt, record.checkpoint.size) == (3, 2)
    told = [(line.attempt, line.ordinal, line.text) for line in run.logs()]
    assert told == [
        (1, 1, "attempt 1 begins behind 0"),
        (1, 2, "no pump"),
        (2, 1, "attempt 2 begins behind 10"),
        (2, 2, "no pump"),
        (3, 1, "attempt 3 begins behind 20"),
    ]
    assert [line.text for line in run.logs(attempt=2)] == [text for attempt, _, text in told if attempt == 2]
    assert list(run.logs(step="load")) == []
    assert "attempt 3  2 bytes" in exledger(dev, "get", run.name).stdout
    again = client.rerun(run.name)
    again.wait(WAIT_S)
    assert next(again.logs()).text == "attempt 1 begins behind 0", "another execution inherits nothing"


def test_followers_see_lines_as_they_come_and_end_with_the_execution(client: Client, app_folder: Path) -> None:
    run = client.run("waits")
    followed = run.logs(follow=True)
    assert next(followed).text == "waiting"
    assert run.status == "started"
    assert [line.text for line in run.logs()] == ["waiting"], "it is read while the code runs, too"
    (app_folder / "go").touch()
    assert [line.text for line in followed] == ["gone on"]
    assert run.status == "completed"
    assert [line.text for line in run.logs(follow=True)] == ["waiting", "gone on"]


def test_a_flood_is_cut_with_a_mark_and_slows_nobody(dev: Dev, client: Client) -> None:
    flood = client.run("floods")
    quick = [client.run("silent").wait(WAIT_S).execution_ms or 0 for _ in range(5)]
    assert max(quick) < 5_000
    assert flood.wait(WAIT_S).status == "completed"
    kept = list(flood.logs())
    [mark] = [line for line in kept if line.stream == "cut"]
    assert "were cut here" in mark.text
    assert (kept[0].ordinal, kept[-1].ordinal) == (1, 200_000)
    [artifact] = [event for event in flood.history() if event.type.split(".")[2] == "artifact_recorded"]
    assert artifact.data["kind"] == "log"
    assert 9_000_000 < artifact.data["file"]["size"] < 10_100_000


def test_silent_code_leaves_nothing(client: Client) -> None:
    run = client.run("silent")
    run.wait(WAIT_S)
    assert [event.type.split(".")[2] for event in run.history()] == ["queued", "dispatched", "started", "completed"]
    assert list(run.logs()) == list(run.logs(follow=True)) == []


def test_of_an_attempt_whose_runner_died_there_is_what_it_had_sent(dev: Dev, client: Client, app_folder: Path) -> None:
    (app_folder / "go").unlink(missing_ok=True)
    run = client.run("waits")
    followed = run.logs(follow=True)
    assert next(followed).text == "waiting"
    os.kill(services(dev)["runner"], signal.SIGKILL)
    again = next(followed)
    assert (again.attempt, again.text) == (2, "waiting")
    (app_folder / "go").touch()
    assert [(line.attempt, line.text) for line in followed] == [(2, "gone on")]
    assert [(line.attempt, line.text) for line in run.logs()] == [(1, "waiting"), (2, "waiting"), (2, "gone on")]
    assert answer(dev, "get", run.name)["checkpoint"] is None
