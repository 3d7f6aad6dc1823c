"""What a runner makes of a pipeline of steps: which run when, what is told of each, and what comes of all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from execution_ledger.messages.inbox import Confirmed
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportStarted,
    ReportStep,
    ReportWarning,
)
from execution_ledger.messages.steps import Reused
from execution_ledger.runner.executors import steps as executor
from execution_ledger.sdk.attempt.context import Context, NoRetry
from execution_ledger.sdk.pipelines.pipeline import Declaration, Pipeline, pipeline
from execution_ledger.sdk.pipelines.steps import Step
from unit.runner_stage import TIMEOUT_S, Stage, a_token

Told = list[tuple[str, str, int]]
END = (ReportCompleted, ReportFailed, ReportAborted)


@pytest.fixture(autouse=True)
def without_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "BACKOFF_S", 0.0)


def whole(declared: Declaration) -> Pipeline:
    made = declared.whole()
    assert made
    return made


async def ran(declared: Declaration, reused: dict[str, Reused] | None = None, **inputs: Any) -> Sequence[AnyReport]:
    """All that is reported of one attempt, the end last."""
    async with Stage(whole(declared)).running() as stage:
        return await told_of(stage, await stage.start(reused=reused, **inputs))


async def told_of(stage: Stage, token: Any) -> list[AnyReport]:
    waiting = [asyncio.ensure_future(stage.report(token, kind)) for kind in END]
    ended, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    await asyncio.wait(others)
    return await stage.reports(token, ended.pop().result().ordinal)


def steps_in(reports: Sequence[AnyReport]) -> Told:
    return [(each.step, each.status, each.tries) for each in reports if isinstance(each, ReportStep)]


def diamond() -> Declaration:
    made = pipeline("diamond", inputs={"days": "number"}, outputs={"n": "number"})

    @made.step
    def load(ctx: Context, days: float) -> dict[str, Any]:
        return {"rows": days}

    @made.step(needs=[load])
    async def left(ctx: Context, load: dict[str, Any]) -> dict[str, Any]:
        return {"side": load["rows"] + 1}

    @made.step(needs=[load])
    def right(ctx: Context, load: dict[str, Any], days: float) -> dict[str, Any]:
        return {"side": load["rows"] + days}

    @made.step(needs=[left, right])
    def join(ctx: Context, left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
        return {"n": left["side"] + right["side"], "of no interest": 1}

    return made


async def test_each_step_gets_the_inputs_and_steps_that_it_names() -> None:
    reports = await ran(diamond(), days=3)
    assert isinstance(reports[-1], ReportCompleted)
    assert reports[-1].outputs.value() == {"n": 10}
    assert {name for name, status, _ in steps_in(reports) if status == "completed"} == {"load", "left", "right", "join"}
    assert steps_in(reports)[:2] == [("load", "started", 1), ("load", "completed", 1)]
    assert steps_in(reports)[-2:] == [("join", "started", 1), ("join", "completed", 1)]


async def test_steps_that_need_nothing_of_each_other_run_at_once() -> None:
    made = pipeline("pair")
    here, there = threading.Event(), asyncio.Event()

    @made.step
    async def waits(ctx: Context) -> None:
        await asyncio.to_thread(here.wait, TIMEOUT_S)
        there.set()

    @made.step
    def waited_for(ctx: Context) -> None:
        here.set()

    reports = await ran(made)
    assert steps_in(reports)[:2] == [("waits", "started", 1), ("waited_for", "started", 1)]
    assert there.is_set()


async def test_no_more_than_a_few_run_at_once() -> None:
    made = pipeline("many")
    running: list[int] = []
    most = 0

    async def one(ctx: Context) -> None:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.pop()

    for number in range(executor.AT_ONCE_MAX + 4):
        made.step(name=f"s{number}")(one)
    assert isinstance((await ran(made))[-1], ReportCompleted)
    assert most == executor.AT_ONCE_MAX


async def test_what_needs_a_failed_step_is_skipped_and_the_others_go_on() -> None:
    made = pipeline("broken")

    @made.step
    def bad(ctx: Context) -> None:
        raise ValueError("no pump")

    @made.step
    async def good(ctx: Context) -> dict[str, Any]:
        return {"fine": True}

    made.step(name="after", needs=["bad"])(good.function)
    made.step(name="long_after", needs=["after", "good"])(good.function)
    made.step(name="beside", needs=["good"])(good.function)
    reports = await ran(made)
    ends = {name: status for name, status, _ in steps_in(reports)}
    wanted = {"bad": "failed", "good": "completed", "after": "skipped", "long_after": "skipped", "beside": "completed"}
    assert ends == wanted
    assert isinstance(reports[-1], ReportFailed)
    failure = reports[-1].failure
    assert (failure.kind, failure.step, failure.message) == ("user", "bad", "step bad has failed: ValueError: no pump")
    assert failure.traceback
    assert "executors" not in failure.traceback


async def test_a_step_is_tried_again_and_says_why() -> None:
    made = pipeline("patient")

    @made.step(retries=2)
    def flaky(ctx: Context) -> dict[str, Any]:
        if ctx.try_ < 3:
            raise ValueError(f"busy {ctx.try_}")
        ctx.warn(f"in {ctx.step}")
        return {"tries": ctx.try_}

    reports = await ran(made)
    assert steps_in(reports) == [("flaky", "started", number) for number in (1, 2, 3)] + [("flaky", "completed", 3)]
    failures = [each.failure.message for each in reports if isinstance(each, ReportStep) and each.failure]
    assert failures == ["ValueError: busy 1", "ValueError: busy 2"]
    assert [(each.message, each.step) for each in reports if isinstance(each, ReportWarning)] == [("in flaky", "flaky")]


@pytest.mark.parametrize("delivery", [None, "at_most_once"])
async def test_a_step_is_not_tried_again_where_that_is_of_no_use_or_forbidden(delivery: Any) -> None:
    made = pipeline("final")

    @made.step(retries=5)
    def fails(ctx: Context) -> None:
        raise ValueError("once") if delivery else NoRetry("once")

    async with Stage(whole(made)).running() as stage:
        token = await stage.start(delivery=delivery)
        await stage.report(token, ReportStarted)
        if delivery:
            await stage.tell(Confirmed(runner=stage.runner.process, claim=1, token=token))
        reports = await told_of(stage, token)
    assert steps_in(reports) == [("fails", "started", 1), ("fails", "failed", 1)]
    assert isinstance(reports[-1], ReportFailed)
    assert reports[-1].failure.final is (None if delivery else True)


async def test_an_abort_stops_all_steps_and_begins_no_other() -> None:
    made = pipeline("stopped")
    told = threading.Event()

    @made.step
    async def waits(ctx: Context) -> None:
        await asyncio.Event().wait()

    @made.step
    def listens(ctx: Context) -> None:
        told.wait(TIMEOUT_S)
        ctx.check_abort()

    made.step(name="never", needs=[listens])(waits.function)
    async with Stage(whole(made)).running() as stage:
        token = await stage.start()
        await stage.reports(token, 3)
        await stage.abort(token)
        await stage.beat(lambda beat: beat.inbox_offset == 2)
        told.set()
        reports = await told_of(stage, token)
    assert steps_in(reports) == [("waits", "started", 1), ("listens", "started", 1)]
    assert isinstance(reports[-1], ReportAborted)
    assert reports[-1].entered


async def test_an_abort_ends_the_pause_between_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "BACKOFF_S", 600.0)
    monkeypatch.setattr(executor, "BACKOFF_MAX_S", 600.0)
    made = pipeline("pausing")
    pausing, back_off = asyncio.Event(), executor.StepsRun._back_off

    async def told(run: executor.StepsRun, step: Step, tries: int) -> None:
        pausing.set()
        await back_off(run, step, tries)

    monkeypatch.setattr(executor.StepsRun, "_back_off", told)

    @made.step(retries=1)
    def fails(ctx: Context) -> None:
        raise ValueError("busy")

    async with Stage(whole(made)).running() as stage:
        token = await stage.start()
        await pausing.wait()
        await stage.abort(token)
        assert isinstance((await told_of(stage, token))[-1], ReportAborted)


async def test_a_step_that_aborts_the_execution_stops_the_others() -> None:
    made = pipeline("picky")

    @made.step
    async def waits(ctx: Context) -> None:
        await asyncio.Event().wait()

    @made.step
    def quits(ctx: Context) -> None:
        ctx.abort("nothing to do")

    end = (await ran(made))[-1]
    assert isinstance(end, ReportAborted)
    assert end.reason == "nothing to do"


async def test_reused_steps_do_not_run() -> None:
    given = {"load": Reused(execution=a_token().execution_id, outputs=json_payload({"rows": 5}))}
    reports = await ran(diamond(), given, days=3)
    assert isinstance(reports[-1], ReportCompleted)
    assert reports[-1].outputs.value() == {"n": 14}
    first = next(each for each in reports if isinstance(each, ReportStep))
    assert (first.step, first.status, first.tries, first.reused) == ("load", "completed", 0, given["load"].execution)
    assert first.outputs == given["load"].outputs
    assert [status for name, status, _ in steps_in(reports) if name == "load"] == ["completed"]


async def test_an_output_that_two_steps_return_fails_the_later_one() -> None:
    made = pipeline("twice", outputs={"n": "number"})

    @made.step
    def one(ctx: Context) -> dict[str, Any]:
        return {"n": 1}

    made.step(name="two", needs=[one])(one.function)
    end = (await ran(made))[-1]
    assert isinstance(end, ReportFailed)
    assert end.failure.message == "step two has failed: another step has returned the output 'n' already"


async def test_without_declared_outputs_the_last_steps_give_them() -> None:
    made = pipeline("open")

    @made.step
    def one(ctx: Context) -> dict[str, Any]:
        return {"n": 1}

    @made.step(needs=[one])
    def two(ctx: Context) -> dict[str, Any]:
        return {"n": 2, "m": (1, 2)}

    end = (await ran(made))[-1]
    assert isinstance(end, ReportCompleted)
    assert end.outputs.value() == {"n": 2, "m": [1, 2]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"n": "text"}, "step gives has failed: its outputs are not what it declares: n must be a number"),
        ([1], "step gives has failed: its outputs are not what it declares: a pipeline returns a dict"),
        ({"other": "x" * 60_000}, "step gives has failed: its outputs take 60,012 bytes"),
        ({"other": object()}, "step gives has failed: its output other cannot be written as JSON"),
        ({}, "its outputs are not what it declares: n was not returned"),
    ],
)
async def test_outputs_are_checked_where_they_are_returned(value: Any, message: str) -> None:
    made = pipeline("checked", outputs={"n": "number"})
    made.step(name="gives")(lambda ctx: value)
    end = (await ran(made))[-1]
    assert isinstance(end, ReportFailed)
    assert end.failure.message.startswith(message)


async def test_a_step_gets_what_would_come_back_from_the_log() -> None:
    """So that it makes no difference whether the step before ran now or is reused, or what another one does to it."""
    made = pipeline("copies", outputs={"n": "json"})

    @made.step
    def one(ctx: Context) -> dict[str, Any]:
        return {"pair": (1, 2)}

    @made.step(needs=[one])
    def two(ctx: Context, one: dict[str, Any]) -> None:
        one["pair"].append(3)

    @made.step(needs=[one, two])
    def three(ctx: Context, one: dict[str, Any]) -> dict[str, Any]:
        return {"n": one["pair"]}

    end = (await ran(made))[-1]
    assert isinstance(end, ReportCompleted)
    assert end.outputs.value() == {"n": [1, 2]}


async def test_a_step_that_was_to_begin_when_all_is_stopped_is_not_waited_for() -> None:
    """It is made ready in the very turn in which another one aborts the execution."""
    made = pipeline("turn")
    go = asyncio.Event()

    @made.step
    async def first(ctx: Context) -> None:
        await go.wait()

    @made.step
    async def quits(ctx: Context) -> None:
        await go.wait()
        ctx.abort("enough")

    @made.step
    async def opens(ctx: Context) -> None:
        go.set()

    made.step(name="never", needs=[first])(first.function)
    async with asyncio.timeout(TIMEOUT_S):
        reports = await ran(made)
    assert isinstance(reports[-1], ReportAborted)
    assert "never" not in {name for name, _, _ in steps_in(reports)}
