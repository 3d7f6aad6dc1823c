"""The runner as a whole, on the log in memory."""

from __future__ import annotations

import asyncio
import threading

import pytest

from execution_ledger.errors import BadRequest, Unavailable
from execution_ledger.log.protocol import Lane, Record, Topic
from execution_ledger.messages.definition import Definition
from execution_ledger.messages.inbox import Token
from execution_ledger.messages.payload import Payload
from execution_ledger.messages.reports import (
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportReleased,
    ReportStarted,
)
from execution_ledger.messages.steps import CodeOrigin
from execution_ledger.sdk.attempt.context import Context
from execution_ledger.sdk.pipelines.pipeline import Pipeline, pipeline
from unit.metrics_stage import Shown
from unit.runner_stage import Stage, a_start, a_token


@pipeline(outputs={"n": "number"})
async def double(context: Context, n: int) -> dict[str, int]:
    return {"n": 2 * n}


@pipeline(outputs={"n": "number"})
def double_plainly(context: Context, n: int) -> dict[str, int]:
    return {"n": 2 * n}


@pipeline
async def linger(context: Context) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("code", [double, double_plainly])
async def test_a_start_runs_the_pipeline_and_its_outputs_come_back(code: Pipeline) -> None:
    async with Stage(code).running() as stage:
        token = await stage.start(n=21)
        completed = await stage.report(token, ReportCompleted)
        assert completed.outputs.value() == {"n": 42}
        assert [report.ordinal for report in await stage.reports(token, 2)] == [1, 2]


async def test_it_registers_before_its_first_heartbeat_and_says_what_it_offers() -> None:
    async with Stage(double, linger).running() as stage:
        assert stage.registered == [(double.definition, double.digest), (linger.definition, linger.digest)]
        beat = await stage.beat(lambda beat: True)
        assert beat.offers == {"double": double.digest, "linger": linger.digest}
        assert (beat.inbox, beat.inbox_offset, beat.slots, beat.tokens) == (0, 0, 100, [])


async def test_registering_is_tried_again_while_the_gateway_is_away() -> None:
    stage, refusals = Stage(double), iter([Unavailable("away"), Unavailable("still away")])

    async def register(definition: Definition, digest: str) -> None:
        if refusal := next(refusals, None):
            raise refusal

    stage.runner._register = register
    async with stage.running():
        assert next(refusals, None) is None


async def test_a_refused_registration_ends_the_runner() -> None:
    stage = Stage(double)

    async def register(definition: Definition, digest: str) -> None:
        raise BadRequest("name taken")

    stage.runner._register = register
    with pytest.raises(BadRequest, match="name taken"):
        await stage.runner.run()


async def test_stopping_while_it_registers_ends_it() -> None:
    stage = Stage(double)

    async def register(definition: Definition, digest: str) -> None:
        stage.runner.stop()
        await asyncio.Event().wait()

    stage.runner._register = register
    async with asyncio.timeout(5):
        await stage.runner.run()


async def test_a_start_is_reported_with_where_its_code_comes_from() -> None:
    origin = CodeOrigin(kind="git_repository", commit="5f2d")
    async with Stage(Pipeline(double.function, double.definition, origin=origin)).running() as stage:
        started = await stage.report(await stage.start(n=1), ReportStarted)
    assert started.origin == origin


async def test_messages_to_other_runners_are_not_its_business() -> None:
    async with Stage(double).running() as stage:
        foreign, own = a_token(), a_token()
        await stage.tell(a_start(foreign, double, runner="runner-other", n=1))
        await stage.start(own, n=1)
        await stage.report(own, ReportCompleted)
        beat = await stage.beat(lambda beat: beat.inbox_offset == 2)
        assert [token.execution_id for token in beat.tokens] == [own.execution_id]


async def test_a_repeated_start_does_not_run_the_code_twice() -> None:
    runs: list[int] = []

    @pipeline
    async def count(context: Context) -> None:
        runs.append(1)

    async with Stage(count).running() as stage:
        token = await stage.start()
        await stage.report(token, ReportCompleted)
        await stage.start(token)
        reports = await stage.reports(token, 3)
    assert tuple(map(type, reports)) == (ReportStarted, ReportCompleted, ReportCompleted)
    assert len(runs) == 1


async def test_an_abort_before_the_start_keeps_the_code_from_running() -> None:
    async with Stage(double).running() as stage:
        token = a_token()
        await stage.abort(token)
        await stage.start(token, n=1)
        reports = await stage.reports(token, 2)
        assert [isinstance(report, ReportAborted) and not report.entered for report in reports] == [True, True]


async def test_an_abort_in_the_same_batch_as_its_start_stops_it() -> None:
    stage = Stage(linger)
    async with stage.running():
        token = a_token()
        await asyncio.gather(stage.start(token), stage.abort(token))
        await stage.report(token, ReportAborted)


async def test_a_version_that_it_does_not_hold_is_refused() -> None:
    async with Stage(double).running() as stage:
        token = a_token()
        await stage.tell(a_start(token, linger, stage.runner.process))
        assert (await stage.report(token, ReportFailed)).failure.kind == "not_offered"


async def test_closed_stops_the_code_and_it_is_listed_until_then() -> None:
    stopped = asyncio.Event()

    @pipeline
    async def forced(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with Stage(forced).running() as stage:
        token = await stage.start()
        await stage.beat(lambda beat: [held.phase for held in beat.tokens] == ["running"])
        seen = await stage.beats_until_now()
        await stage.close(token)
        await stopped.wait()
        await stage.beat(lambda beat: not beat.tokens, after=seen)
        assert [type(report) for report in await stage.reports(token, 1)] == [ReportStarted]


async def test_an_older_claim_is_not_obeyed() -> None:
    async with Stage(double).running() as stage:
        old, new = a_token(), a_token()
        await stage.start(new, claim=2, n=1)
        await stage.start(old, claim=1, n=1)
        beat = await stage.beat(lambda beat: beat.inbox_offset == 2)
        assert [held.execution_id for held in beat.tokens] == [new.execution_id]


async def test_reports_are_sent_again_with_the_same_ordinals_when_no_answer_came() -> None:
    async with Stage(double).running() as stage:
        stage.log.mute = {Lane(Topic.REPORTS, 1)}
        token = await stage.start(a_token(shard=1), n=1)
        await stage.reports(token, 3)
        stage.log.mute = set()
        await stage.report(token, ReportCompleted)
        ordinals = [report.ordinal for report in await stage.reports(token, 4)]
        assert ordinals == sorted(ordinals)
        assert set(ordinals) == {1, 2}


async def test_a_shard_that_is_away_holds_up_no_other() -> None:
    stage = Stage(double)
    async with stage.running():
        blocked, free = a_token(shard=1), a_token(shard=2)
        stage.log.away = {Lane(Topic.REPORTS, 1)}
        await stage.start(blocked, n=1)
        await stage.start(free, n=1)
        await stage.report(free, ReportCompleted)
        assert stage.log.partition(Lane(Topic.REPORTS, 1)).end == 0
        stage.log.away = set()
        await stage.report(blocked, ReportCompleted)


async def test_without_acknowledged_heartbeats_it_stops_its_work_by_itself_and_goes_on_when_heard_again() -> None:
    stopped = asyncio.Event()

    @pipeline
    async def work(context: Context, linger: bool) -> None:
        try:
            if linger:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    async with Stage(work, lease_s=0.4).running() as stage:
        token = await stage.start(linger=True)
        await stage.report(token, ReportStarted)
        stage.log.away = {Lane(Topic.HEARTBEATS, 0)}
        await stopped.wait()
        assert not stage.runner.ready.is_set()
        shown = Shown(stage.registry)
        assert shown.value("exledger_runner_self_fenced_total") == 1
        assert shown.value("exledger_runner_unacknowledged_heartbeats_total") > 0
        seen = await stage.beats_until_now()
        stage.log.away = set()
        await stage.beat(lambda beat: not beat.tokens, after=seen)
        await stage.runner.ready.wait()
        next_token = await stage.start(linger=False)
        await stage.report(next_token, ReportCompleted)
        assert [type(report) for report in await stage.reports(token, 1)] == [ReportStarted]


async def test_a_runner_that_stood_still_for_its_lease_stops_itself_before_it_takes_a_start() -> None:
    entered: list[str] = []

    @pipeline
    async def work(context: Context) -> None:
        entered.append(context.execution_id)

    async with Stage(work, lease_s=1_000, heartbeat_s=1_000).running() as stage:
        runner = stage.runner
        runner._heart._sent_s -= 2_000
        start = a_start(a_token(), work, runner.process, 1).model_dump_json().encode()
        runner._receive(Record(Lane(Topic.INBOX, 0), 0, 0, runner.process.encode(), start))
        assert not runner.ready.is_set()
        await asyncio.sleep(0)
        assert entered == []


async def test_starts_from_before_a_runner_stopped_itself_are_void_whenever_they_come() -> None:
    @pipeline
    async def work(context: Context) -> None:
        return None

    async with Stage(work, lease_s=1_000, heartbeat_s=1_000).running() as stage:
        runner = stage.runner
        before = runner._beat().fenced
        runner._fence()
        runner._revive()
        old, new = a_token(), a_token()
        for token, fenced in ((old, before), (new, runner._beat().fenced)):
            start = a_start(token, work, runner.process, 1).model_copy(update={"fenced": fenced})
            raw = start.model_dump_json().encode()
            runner._receive(Record(Lane(Topic.INBOX, 0), 0, 0, runner.process.encode(), raw))
        assert [held.execution_id for held in runner._attempts.tokens()] == [new.execution_id]


async def drained(stage: Stage) -> Token:
    """One attempt is running when the runner is told to stop."""
    async with stage.running():
        token = await stage.start()
        await stage.report(token, ReportStarted)
    return token


async def test_a_drain_lets_running_code_finish() -> None:
    gate = asyncio.Event()

    @pipeline
    async def nearly_done(context: Context) -> None:
        await gate.wait()

    stage = Stage(nearly_done, drain_s=10)
    async with stage.running():
        token, late = await stage.start(), a_token()
        await stage.report(token, ReportStarted)
        stage.runner.stop()
        await stage.beat(lambda beat: beat.draining)
        await stage.start(late)
        await stage.report(late, ReportReleased)
        gate.set()
    await stage.report(token, ReportCompleted)


async def test_a_drain_gives_back_code_that_has_to_be_stopped() -> None:
    stage = Stage(linger, drain_s=0.01)
    token = await drained(stage)
    await stage.report(token, ReportReleased)
    assert await stage.beat(lambda beat: beat.draining)


async def test_a_drain_gives_back_a_thread_that_cannot_be_stopped() -> None:
    free = threading.Event()

    @pipeline
    def deaf(context: Context) -> None:
        free.wait(30)

    stage = Stage(deaf, drain_s=0.01)
    token = await drained(stage)
    await stage.report(token, ReportReleased)
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "pipeline"] == [True]
    free.set()


async def test_stopping_twice_is_safe() -> None:
    stage = Stage(linger)
    async with stage.running():
        stage.runner.stop()
        stage.runner.stop()
    assert not stage.runner.ready.is_set()


@pytest.mark.parametrize("inputs", ["[", "[]", "null", '{"n": NaN}', "[" * 100_000])
async def test_a_start_whose_inputs_cannot_be_read_is_passed_over(inputs: str) -> None:
    """The ledger lets no such execution come to be; whoever forges a start must not end a runner."""
    async with Stage(double).running() as stage:
        start = a_start(a_token(), double, stage.runner.process, n=1)
        await stage.tell(start.model_copy(update={"inputs": Payload(sha256="", size=0, inline=inputs)}))
        await stage.tell(start)
        completed = await stage.report(start.token, ReportCompleted)
        assert completed.outputs.value() == {"n": 2}
