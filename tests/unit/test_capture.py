"""Whose log it is that code writes to: prints, logging, structlog; in tasks, threads and pools of many attempts."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

from execution_ledger.messages.lines import LogLine
from execution_ledger.runner.capture import PLACE, Place, in_step, inside, redirect
from execution_ledger.runner.captured import Captured, Room
from unit.capture_stage import redirected
from unit.runner_stage import a_token


def new_log() -> Captured:
    return Captured(a_token(), lambda: 1_000, 1_000_000, Room(1_000_000), lambda captured: None)


def lines(log: Captured) -> list[LogLine]:
    return [LogLine.model_validate_json(line) for line in log.close()]


def said(log: Captured) -> list[tuple[Any, ...]]:
    return [(line.stream, line.level, line.text) for line in lines(log)]


@redirected
def test_prints_go_to_the_attempt_and_elsewhere_to_where_they_always_went(capsys: pytest.CaptureFixture[str]) -> None:
    log = new_log()
    sys.stdout.write("before\n")
    with inside(Place(log)):
        sys.stdout.writelines(["one", " line\n"])
        sys.stderr.write("oh\n")
        sys.stdout.flush()
    sys.stdout.write("after\n")
    assert said(log) == [("stdout", None, "one line"), ("stderr", None, "oh")]
    assert capsys.readouterr().out == "before\nafter\n"


@redirected
def test_what_is_logged_comes_with_its_level_and_traceback() -> None:
    log, logger = new_log(), logging.getLogger("pumps")
    with inside(Place(log)):
        logger.info("%d rows", 400)
        logger.debug("nobody asked for this")
        try:
            raise ValueError("no pump")
        except ValueError:
            logger.exception("it broke")
    first, second = said(log)
    assert first == ("logging", "info", "pumps: 400 rows")
    assert second[:2] == ("logging", "error")
    assert second[2].startswith("pumps: it broke\nTraceback")
    assert second[2].endswith("ValueError: no pump")


@redirected
def test_what_an_attempt_logs_is_no_line_of_the_runner(caplog: pytest.LogCaptureFixture) -> None:
    with inside(Place(new_log())):
        logging.getLogger("pumps").warning("of the attempt")
    logging.getLogger("kafka").warning("of the runner")
    assert caplog.messages == ["of the runner"]


@redirected
def test_structlog_comes_with_its_fields() -> None:
    log, logger = new_log(), structlog.get_logger().bind(pump=7)
    with inside(Place(log)):
        logger.warning("too hot", degrees=91.5, place="the south")
        try:
            raise ValueError("no pump")
        except ValueError:
            logger.exception("it broke")
    first, second = said(log)
    assert first == ("structlog", "warning", "too hot pump=7 degrees=91.5 place=the south")
    assert second[2].startswith("it broke pump=7\nTraceback")


@redirected
def test_what_cannot_be_formatted_says_so_in_the_log_and_harms_nothing() -> None:
    log = new_log()
    with inside(Place(log)):
        logging.getLogger("pumps").error("%d rows", "many")
    assert any("--- Logging error ---" in text for _, _, text in said(log))


@redirected
def test_warnings_of_python_are_lines_too() -> None:
    log = new_log()
    with inside(Place(log)), warnings.catch_warnings():
        warnings.simplefilter("always")
        sys.stderr.write(warnings.formatwarning("old", UserWarning, "file.py", 7))
    assert said(log)[0][2] == "file.py:7: UserWarning: old"


@redirected
async def test_tasks_that_run_side_by_side_do_not_mix() -> None:
    async def chat(name: str, log: Captured) -> None:
        with inside(Place(log)):
            for number in range(50):
                sys.stdout.write(f"{name} {number}\n")
                await asyncio.sleep(0)
            await asyncio.create_task(child(name))

    async def child(name: str) -> None:
        sys.stdout.write(f"child of {name}\n")

    logs = {name: new_log() for name in ("a", "b", "c")}
    await asyncio.gather(*(chat(name, log) for name, log in logs.items()))
    for name, log in logs.items():
        assert [line.text for line in lines(log)] == [*(f"{name} {at}" for at in range(50)), f"child of {name}"]


def in_a_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@redirected
def test_threads_write_where_they_were_started() -> None:
    log = new_log()
    with inside(Place(log, "load")):
        in_a_thread(lambda: in_a_thread(lambda: sys.stdout.write("deep down\n")))
    in_a_thread(lambda: sys.stdout.write("nobody's\n"))
    assert [(line.text, line.step) for line in lines(log)] == [("deep down", "load")]


@redirected
def test_what_a_thread_dies_of_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)

    def die() -> None:
        raise ValueError("no pump")

    log = new_log()
    with inside(Place(log)):
        in_a_thread(die)
    assert said(log)[-1][2] == "ValueError: no pump"


@redirected
async def test_the_work_of_a_pool_belongs_to_whoever_gives_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs = [new_log(), new_log()]
    with ThreadPoolExecutor(1) as pool:  # its thread is started by the first
        for number, log in enumerate(logs):
            with inside(Place(log)):
                pool.submit(sys.stdout.write, f"{number}\n").result()
                await asyncio.get_running_loop().run_in_executor(pool, sys.stdout.write, f"again {number}\n")
        pool.submit(sys.stdout.write, "nobody's\n").result()
    assert [[line.text for line in lines(log)] for log in logs] == [["0", "again 0"], ["1", "again 1"]]
    assert capsys.readouterr().out == "nobody's\n"


@redirected
def test_a_thread_that_outlives_its_attempt_is_nobodys(capsys: pytest.CaptureFixture[str]) -> None:
    def outlive() -> None:
        ended.wait(10)
        sys.stdout.write("late\n")

    log, ended = new_log(), threading.Event()
    with inside(Place(log)):
        thread = threading.Thread(target=outlive)
        thread.start()
    assert lines(log) == []
    ended.set()
    thread.join()
    assert capsys.readouterr().out == "late\n"


@redirected
def test_lines_of_a_step_bear_its_name() -> None:
    log = new_log()
    with inside(Place(log)):
        with in_step("load"):
            sys.stdout.write("rows\n")
        sys.stdout.write("between\n")
    with in_step("of nothing"):
        assert PLACE.get() is None
    assert [(line.step, line.text) for line in lines(log)] == [("load", "rows"), (None, "between")]


@redirected
def test_all_of_it_can_be_undone() -> None:
    undo = redirect()
    undo()
    assert type(sys.stdout).__name__ == "Routed", "that of the stage"
    assert len(structlog.get_config()["processors"]) == len({*structlog.get_config()["processors"]})
