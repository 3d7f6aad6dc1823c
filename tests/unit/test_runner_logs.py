"""The logs of attempts, by the whole runner: what followers get while code runs, and the file that is left of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable
from typing import Any

import pytest

from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.inbox import Token
from execution_ledger.messages.lines import LogLine
from execution_ledger.messages.reports import ReportArtifact, ReportCompleted, ReportFailed, ReportStarted
from execution_ledger.objects import MemoryObjects
from execution_ledger.runner import logs
from execution_ledger.sdk.attempt.context import Context
from execution_ledger.sdk.pipelines.pipeline import pipeline
from unit.capture_stage import redirected
from unit.runner_stage import TIMEOUT_S, Stage


class SlowObjects(MemoryObjects):
    """A put waits until it may go on; `asked` is set when one waits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> None:
        self.asked.set()
        await self.go_on.wait()
        await super().put(name, pieces)


def keeping_stage(*pipelines: Any, objects: MemoryObjects | None = None) -> Stage:
    return Stage(*pipelines, objects=objects or MemoryObjects())


@pipeline
async def chatty(context: Context) -> None:
    sys.stdout.write("loading\n")
    context.log.info("half way", rows=400)
    sys.stdout.write("done\n")


@pipeline
def chatty_plainly(context: Context) -> None:
    sys.stdout.write("loading\n")
    raise ValueError("no pump")


async def kept_lines(stage: Stage, report: ReportArtifact) -> list[LogLine]:
    assert stage.files
    whole = b"".join([piece async for piece in stage.files.pieces(report.file.sha256)])
    return [LogLine.model_validate_json(line) for line in whole.splitlines()]


@redirected
async def test_a_log_is_kept_as_a_file_that_is_reported_before_the_end() -> None:
    stage = keeping_stage(chatty)
    async with stage.running():
        started, artifact, completed = await stage.reports(await stage.start(), 3)
    assert (type(started), type(completed)) == (ReportStarted, ReportCompleted)
    assert isinstance(artifact, ReportArtifact)
    assert (artifact.kind, artifact.name, artifact.file.media_type) == ("log", "attempt-1", "application/x-ndjson")
    first, middle, last = await kept_lines(stage, artifact)
    assert (first.text, last.text, middle.stream) == ("loading", "done", "structlog")
    assert middle.text.startswith("half way ")
    assert "rows=400" in middle.text


@redirected
async def test_what_failed_code_said_is_kept_too() -> None:
    stage = keeping_stage(chatty_plainly)
    async with stage.running():
        _, artifact, failed = await stage.reports(await stage.start(), 3)
    assert isinstance(failed, ReportFailed)
    assert isinstance(artifact, ReportArtifact)
    assert [line.text for line in await kept_lines(stage, artifact)] == ["loading"]


@redirected
async def test_nothing_is_kept_of_silent_code() -> None:
    @pipeline
    async def silent(context: Context) -> None:
        """Says nothing."""

    objects = MemoryObjects()
    stage = keeping_stage(silent, objects=objects)
    async with stage.running():
        reports = await stage.reports(await stage.start(), 2)
    assert tuple(map(type, reports)) == (ReportStarted, ReportCompleted)
    assert objects.held == {}


@redirected
async def test_a_store_that_does_not_answer_holds_no_end_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "KEEP_S", 0.05)
    stage = keeping_stage(chatty, objects=SlowObjects())
    async with stage.running():
        reports = await stage.reports(await stage.start(), 2)
    assert tuple(map(type, reports)) == (ReportStarted, ReportCompleted)


@redirected
async def test_an_end_that_is_asked_for_waits_for_no_log() -> None:
    objects = SlowObjects()
    stage = keeping_stage(chatty, objects=objects)
    async with stage.running():
        token = await stage.start()
        await objects.asked.wait()
        await stage.abort(token)
        reports = await stage.reports(token, 2)
    assert tuple(map(type, reports)) == (ReportStarted, ReportCompleted)


async def lines_of(stage: Stage, token: Token, count: int) -> list[LogLine]:
    """Those that followers get, as soon as there are so many."""
    lane, found = Lane(Topic.LOGS, int(token.execution_id[15:18], 16)), list[LogLine]()
    async with asyncio.timeout(TIMEOUT_S), stage.log.reader({lane: 0}) as reader:
        while len(found) < count:
            for chunk in (await reader.read(TIMEOUT_S)).values():
                for record in chunk.records:
                    assert record.key == token.execution_id.encode()
                    found += [LogLine.model_validate_json(line) for line in (record.value or b"").splitlines()]
    return found


@redirected
async def test_followers_get_lines_while_the_code_runs() -> None:
    @pipeline
    async def slow(context: Context) -> None:
        sys.stdout.write("one\n")
        await seen.wait()
        sys.stdout.write("two\n")
        await asyncio.Event().wait()

    seen = asyncio.Event()
    async with keeping_stage(slow).running() as stage:
        token = await stage.start()
        [first] = await lines_of(stage, token, 1)
        seen.set()
        assert [line.text for line in await lines_of(stage, token, 2)] == [first.text, "two"]


@redirected
async def test_followers_miss_lines_while_the_broker_is_away_and_nothing_else_happens() -> None:
    @pipeline
    async def slow(context: Context) -> None:
        for number in range(3):
            sys.stdout.write(f"{number}\n")
            await turns.get()

    turns = asyncio.Queue[None]()
    stage = keeping_stage(slow)
    lane = Lane(Topic.LOGS, 1)
    stage.log.away.add(lane)
    async with stage.running():
        token = await stage.start()
        await stage.report(token, ReportStarted)
        await stage.log.until_refused(lane)
        stage.log.away.clear()
        turns.put_nowait(None)
        [line] = await lines_of(stage, token, 1)
        assert (line.ordinal, line.text) == (2, "1")
        turns.put_nowait(None)
        turns.put_nowait(None)
        artifact = await stage.report(token, ReportArtifact)
        await stage.report(token, ReportCompleted)
    assert [line.text for line in await kept_lines(stage, artifact)] == ["0", "1", "2"]


@redirected
async def test_what_the_runner_itself_says_is_in_nobodys_log() -> None:
    """A report that code brings about starts a task of the runner's: it must not write to the code's log."""

    @pipeline
    async def warning(context: Context) -> None:
        context.warn("careful")
        sys.stdout.write("said\n")
        await turns.get()

    turns = asyncio.Queue[None]()
    stage = keeping_stage(warning)
    async with stage.running():
        token = await stage.start()
        await stage.report(token, ReportStarted)
        stage.log.away.add(Lane(Topic.REPORTS, 1))
        turns.put_nowait(None)
        again = await stage.start()
        await stage.log.until_refused(Lane(Topic.REPORTS, 1), 3)
        stage.log.away.clear()
        artifact = await stage.report(token, ReportArtifact)
        turns.put_nowait(None)
        other = await stage.report(again, ReportArtifact)
    assert [line.text for line in await kept_lines(stage, artifact)] == ["said"]
    assert [line.text for line in await kept_lines(stage, other)] == ["said"]
