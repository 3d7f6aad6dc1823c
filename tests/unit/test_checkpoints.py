"""Checkpoints: what code may say of how far it is, how often that is reported, and what the next attempt gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from execution_ledger.errors import BadRequest
from execution_ledger.messages.parts import Options
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    ReportAborted,
    ReportCheckpoint,
    ReportCompleted,
    ReportFailed,
    ReportReleased,
    Said,
)
from execution_ledger.runner.checkpoints import EVERY_S, SHARE, Checkpoints
from execution_ledger.sdk.attempt.context import Context
from execution_ledger.sdk.pipelines.pipeline import pipeline
from execution_ledger.trials.simulate.loop import VirtualLoop
from unit.runner_stage import Stage, a_start, a_token

TOKEN = a_token()


def a_context(said: list[Said]) -> Context:
    return Context(
        execution_id="e",
        name="train-1",
        attempt=2,
        mode="production",
        options=Options(train=True, plot=False, write=True),
        said=said.append,
        checkpoint=json_payload({"rows": [1, 2]}),
    )


def test_it_answers_whether_the_attempt_should_stop() -> None:
    said: list[Said] = []
    context = a_context(said)
    assert context.checkpoint({"rows": 7}) is False
    context.request_abort("enough")
    assert context.checkpoint(None) is True
    assert [(each.kind, each.fields["value"].value()) for each in said] == [
        (ReportCheckpoint, {"rows": 7}),
        (ReportCheckpoint, None),
    ]


def test_what_was_left_is_there_unharmed_however_often_it_is_read() -> None:
    context = a_context([])
    context.last_checkpoint["rows"].append(3)
    assert context.last_checkpoint == {"rows": [1, 2]}


def nested(levels: int) -> list[Any]:
    return [nested(levels - 1)] if levels else []


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (object(), "cannot be written as JSON"),
        (float("nan"), "cannot be written as JSON"),
        ("\ud800", "cannot be written as JSON"),
        ("x" * 60_000, "takes 60,002 bytes as JSON, and may take 60,000"),
        (nested(65), "nested 64 levels deep"),
        (CIRCLE, "nested 64 levels deep"),
    ],
    ids=["no value", "nan", "no text", "too large", "too deep", "a circle"],
)
def test_what_cannot_be_kept_is_refused_at_the_call(value: object, why: str) -> None:
    said: list[Said] = []
    with pytest.raises(BadRequest, match=why):
        a_context(said).checkpoint(value)
    assert said == []


# --- how often it is reported -----------------------------------------------------------------------------------


class Course:
    """What was reported, by the virtual second. `full`: there is no room."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.full = False
        self.reported: list[tuple[float, int]] = []
        self._loop = loop
        self.checkpoints = Checkpoints(loop.time, self._report, lambda: self.full)

    def say(self, rows: int) -> None:
        self.checkpoints.say(TOKEN, Said(ReportCheckpoint, {"rows": rows}))

    def _report(self, token: object, said: Said) -> None:
        self.reported.append((self._loop.time(), said.fields["rows"]))


def on_course(scenario: Callable[[Course], Awaitable[None]]) -> list[tuple[float, int]]:
    async def play() -> list[tuple[float, int]]:
        course = Course(loop)
        await scenario(course)
        return course.reported

    loop = VirtualLoop(1)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(play())


def test_of_many_in_a_second_the_first_and_the_newest_are_reported() -> None:
    async def scenario(course: Course) -> None:
        for rows in range(10):
            course.say(rows)
            await asyncio.sleep(0.3)
        await asyncio.sleep(2 * EVERY_S)

    assert on_course(scenario) == [(0.0, 0), (1.0, 3), (2.0, 6), (3.0, 9)]


def test_one_that_comes_after_a_pause_is_reported_at_once() -> None:
    async def scenario(course: Course) -> None:
        course.say(1)
        await asyncio.sleep(7.5)
        course.say(2)

    assert on_course(scenario) == [(0.0, 1), (7.5, 2)]


def test_a_long_attempt_reports_ever_fewer() -> None:
    async def scenario(course: Course) -> None:
        while course.checkpoints._now_s() < 86_400:
            course.say(round(course.checkpoints._now_s()))
            await asyncio.sleep(1)

    reported = on_course(scenario)
    assert len(reported) < 6_000
    (before_s, _), (last_s, _) = reported[-2:]
    assert last_s - before_s == pytest.approx(86_400 * SHARE, abs=2)


def test_the_newest_waits_while_reports_have_no_room() -> None:
    async def scenario(course: Course) -> None:
        course.full = True
        course.say(1)
        await asyncio.sleep(2.5)
        course.say(2)
        course.full = False
        await asyncio.sleep(1)

    assert on_course(scenario) == [(3.0, 2)]


@pytest.mark.parametrize(("is_last", "reported"), [(True, [1]), (False, [1, 3])])
def test_what_was_said_last_is_reported_where_another_attempt_may_follow(is_last: bool, reported: list[int]) -> None:
    async def scenario(course: Course) -> None:
        for rows in (1, 2, 3):
            course.say(rows)
        course.checkpoints.end(TOKEN, is_last=is_last)
        await asyncio.sleep(5)

    assert [rows for _, rows in on_course(scenario)] == reported


# --- the whole runner -------------------------------------------------------------------------------------------


@pipeline
async def hasty(context: Context, ends: str) -> None:
    for rows in (1, 2, 3):
        context.checkpoint(rows)
    if ends == "by waiting":
        await asyncio.Event().wait()
    if ends == "badly":
        raise ValueError("not there yet")


async def let_it(stage: Stage, token: object) -> None:
    """It ends by itself."""


async def abort_it(stage: Stage, token: Any) -> None:
    await stage.abort(token)
    await stage.report(token, ReportAborted)


@pytest.mark.parametrize(
    ("ends", "stop", "reported"),
    [
        ("well", let_it, [1, ReportCompleted]),
        ("badly", let_it, [1, 3, ReportFailed]),
        ("by waiting", let_it, [1, 3, ReportReleased]),
        ("by waiting", abort_it, [1, 3, ReportAborted]),
    ],
    ids=["completed", "failed", "given back", "aborted"],
)
async def test_before_its_end_an_attempt_reports_what_the_next_one_needs(
    ends: str, stop: Callable[[Stage, Any], Awaitable[None]], reported: list[Any]
) -> None:
    async with Stage(hasty).running() as stage:
        token = await stage.start(ends=ends)
        await stage.report(token, ReportCheckpoint)
        await stop(stage, token)
    _, *rest = await stage.reports(token, 1 + len(reported))
    said = [report.value.value() if isinstance(report, ReportCheckpoint) else type(report) for report in rest]
    assert said == reported


async def test_code_that_is_left_behind_at_a_drain_has_its_newest_reported() -> None:
    @pipeline
    async def deaf(context: Context) -> None:
        context.checkpoint(1)
        context.checkpoint(2)
        while not leaving.is_set():
            try:
                await leaving.wait()
            except asyncio.CancelledError:
                continue

    leaving = asyncio.Event()
    async with Stage(deaf).running() as stage:
        token = await stage.start()
        await stage.report(token, ReportCheckpoint)
    _, *rest = await stage.reports(token, 4)
    leaving.set()
    assert [report.value.value() for report in rest if isinstance(report, ReportCheckpoint)] == [1, 2]
    assert isinstance(rest[-1], ReportReleased)


async def test_the_next_attempt_has_what_its_start_brought() -> None:
    @pipeline(outputs={"rows": "number"})
    def goes_on(context: Context) -> dict[str, Any]:
        return {"rows": context.last_checkpoint["rows"] + 1}

    async with Stage(goes_on).running() as stage:
        start = a_start(a_token(attempt=2), goes_on, stage.runner.process)
        await stage.tell(start.model_copy(update={"checkpoint": json_payload({"rows": 41})}))
        assert (await stage.report(start.token, ReportCompleted)).outputs.value() == {"rows": 42}
