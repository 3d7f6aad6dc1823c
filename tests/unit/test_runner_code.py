"""What a pipeline's code may do: end, fail, stop, go on, print, warn; and what the runner makes of it."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from execution_ledger.messages.reports import (
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportStarted,
    ReportWarning,
)
from execution_ledger.sdk.attempt.context import Aborted, Context, NoRetry
from execution_ledger.sdk.pipelines.pipeline import pipeline
from unit.runner_stage import TIMEOUT_S, Stage

ERRORS = [
    ValueError,
    SystemExit,
    KeyboardInterrupt,
    asyncio.CancelledError,
    Aborted,
    GeneratorExit,
    MemoryError,
    RecursionError,
]


async def test_an_abort_cancels_async_code() -> None:
    cleaned_up: list[bool] = []

    @pipeline
    async def tidy(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(context.abort_requested)

    async with Stage(tidy).running() as stage:
        token = await stage.start()
        await stage.report(token, ReportStarted)
        await stage.abort(token)
        assert (await stage.report(token, ReportAborted)).entered
    assert cleaned_up == [True]


async def test_an_abort_is_seen_by_code_in_a_thread() -> None:
    told = threading.Event()

    @pipeline
    def patient(context: Context) -> None:
        told.wait(TIMEOUT_S)
        context.check_abort()

    async with Stage(patient).running() as stage:
        token = await stage.start()
        await stage.report(token, ReportStarted)
        await stage.abort(token)
        await stage.beat(lambda beat: beat.inbox_offset == 2)
        told.set()
        assert (await stage.report(token, ReportAborted)).entered


async def test_code_that_ignores_the_abort_completes() -> None:
    asked = asyncio.Event()

    @pipeline
    async def stubborn(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asked.set()

    async with Stage(stubborn).running() as stage:
        token = await stage.start()
        await stage.report(token, ReportStarted)
        await stage.abort(token)
        await asked.wait()
        await stage.report(token, ReportCompleted)


async def test_a_pipeline_aborts_itself_even_through_a_broad_except() -> None:
    @pipeline
    def picky(context: Context) -> None:
        try:
            context.abort("nothing to do")
        except Exception as error:
            raise AssertionError("swallowed") from error

    async with Stage(picky).running() as stage:
        aborted = await stage.report(await stage.start(), ReportAborted)
        assert (aborted.entered, aborted.reason) == (True, "nothing to do")


async def test_a_group_that_is_too_deep_to_be_searched_is_a_failure() -> None:
    @pipeline
    async def deep(context: Context) -> None:
        error: Exception = ValueError("the innermost")
        for _ in range(10_000):
            error = ExceptionGroup("group", [error])
        raise error

    async with Stage(deep).running() as stage:
        failed = await stage.report(await stage.start(), ReportFailed)
        assert failed.failure.message.startswith("ExceptionGroup: group")


async def test_words_that_are_no_text_are_made_text() -> None:
    @pipeline
    async def numeric(context: Context) -> None:
        await asyncio.to_thread(context.warn, 7)  # type: ignore[arg-type]
        context.abort(8)  # type: ignore[arg-type]

    async with Stage(numeric).running() as stage:
        token = await stage.start()
        assert (await stage.report(token, ReportWarning)).message == "7"
        assert (await stage.report(token, ReportAborted)).reason == "8"


async def test_an_abort_inside_a_task_group_is_an_abort() -> None:
    async def child(context: Context) -> None:
        context.abort("from a child")

    @pipeline
    async def parent(context: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child(context))

    async with Stage(parent).running() as stage:
        assert (await stage.report(await stage.start(), ReportAborted)).reason == "from a child"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_code_raises_is_its_failure_and_does_not_harm_the_runner(
    error: type[BaseException], is_async: bool
) -> None:
    @pipeline
    async def raise_async(context: Context) -> None:
        raise error

    @pipeline
    def raise_plain(context: Context) -> None:
        raise error

    async with Stage(raise_async if is_async else raise_plain).running() as stage:
        for _ in range(2):
            failed = await stage.report(await stage.start(), ReportFailed)
            assert failed.failure.kind == "user"
            assert failed.failure.message.startswith(error.__name__)
            assert failed.failure.traceback is not None
            assert "raise error" in failed.failure.traceback
            assert "executors" not in failed.failure.traceback


async def test_outputs_that_are_too_large_fail_it() -> None:
    @pipeline
    async def vast(context: Context):  # type: ignore[no-untyped-def]
        return {"text": "x" * 60_000}

    async with Stage(vast).running() as stage:
        assert (await stage.report(await stage.start(), ReportFailed)).failure.kind == "outputs_too_large"


@pytest.mark.usefixtures("capsys")
async def test_megabytes_printed_do_no_harm() -> None:
    @pipeline
    def chatty(context: Context) -> None:
        for _ in range(50):
            sys.stdout.write("x" * 100_000)

    async with Stage(chatty).running() as stage:
        await stage.report(await stage.start(), ReportCompleted)


async def test_warnings_come_from_loop_and_threads_in_order_before_the_end() -> None:
    @pipeline
    async def hesitant(context: Context) -> None:
        context.warn("one")
        await asyncio.to_thread(context.warn, "two")
        context.warn("three \ud800")

    async with Stage(hesitant).running() as stage:
        reports = await stage.reports(await stage.start(), 5)
        assert [report.message for report in reports if isinstance(report, ReportWarning)] == ["one", "two", "three ?"]
        assert isinstance(reports[-1], ReportCompleted)


async def test_code_can_say_that_trying_again_is_of_no_use() -> None:
    class NoSuchPump(NoRetry):
        pass

    @pipeline
    async def fetch(context: Context) -> None:
        raise NoSuchPump("pump-7") if context.attempt == 1 else ValueError("busy")

    async with Stage(fetch).running() as stage:
        token = await stage.start()
        failure = (await stage.report(token, ReportFailed)).failure
        assert (failure.kind, failure.message, failure.final) == ("user", "NoSuchPump: pump-7", True)
        again = await stage.start(token.model_copy(update={"attempt": 2}))
        assert (await stage.report(again, ReportFailed)).failure.final is None
