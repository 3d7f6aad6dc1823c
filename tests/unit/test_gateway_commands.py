"""Commands through the gateway: one answer per request, one execution per key, whatever goes missing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from execution_ledger.errors import OutcomeUnknown
from execution_ledger.gateway.stream.traces import Trace, Traces, Waiter
from execution_ledger.gateway.writes.commands import SUBMIT_ROUTE, CommandSender
from execution_ledger.gateway.writes.registering import definition_payload
from execution_ledger.gateway.writes.requests import AbortRequest
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.messages.events import encode_event
from execution_ledger.messages.ids import command_id_of_key, make_id, name_of, shard_of, shard_of_key
from execution_ledger.messages.parts import Backoff, Outcome, Policy, PolicyChoice, Status
from execution_ledger.messages.position import Position, covers
from unit.gateway_stage import DECIDE_WAIT_S, DOUBLE, SHARDS, TWO_INPUTS, Stage, double, on_stage, problem_of

COMMAND_LANES = {Lane(Topic.COMMANDS, shard) for shard in range(SHARDS)}


@pytest.mark.parametrize("seed", range(5))
def test_a_submit_is_answered_with_what_the_ledger_decided(seed: int) -> None:
    async def scenario(stage: Stage) -> None:
        answer = await stage.submit(2)
        [queued] = await stage.queued()
        assert answer.trace is not None
        assert (answer.subject, answer.trace.outcome.number) == (queued.subject, queued.data.number)
        assert answer.trace.outcome.name == name_of("double", queued.data.number)
        assert answer.trace.status is Status.QUEUED
        assert answer.position == {queued.shard: queued.sequence}
        assert covers(stage.tail.position, answer.position)
        assert (queued.actor, queued.data.inputs.value()) == ("ada", {"n": 2})

    on_stage(scenario, seed)


def test_submits_without_a_key_go_round_all_shards_but_the_catalogs() -> None:
    async def scenario(stage: Stage) -> None:
        shards = [shard_of((await stage.submit()).subject) for _ in range(6)]
        assert sorted(shards) == [1, 1, 2, 2, 3, 3]

    on_stage(scenario)


def test_a_repeat_of_a_key_gets_the_first_answer() -> None:
    async def scenario(stage: Stage) -> None:
        first = await stage.submit(key="k")
        again = await stage.submit(key="k")
        assert again.repeated
        assert not first.repeated
        assert again.subject == first.subject
        assert again.trace is not None
        assert first.trace is not None
        assert again.trace.outcome.number == first.trace.outcome.number
        assert len(await stage.queued()) == 1

    on_stage(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_two_callers_with_one_key_at_the_same_moment_make_one_execution(seed: int) -> None:
    async def scenario(stage: Stage) -> None:
        one, other = await asyncio.gather(stage.submit(key="k"), stage.submit(key="k"))
        assert one.subject == other.subject
        assert one.repeated != other.repeated
        assert len(await stage.queued()) == 1

    on_stage(scenario, seed)


def test_a_key_outlives_the_ledger_that_decided_it() -> None:
    async def scenario(stage: Stage) -> None:
        first = await stage.submit(key="k")
        await stage.stop_ledger()
        await stage.start_ledger()
        assert (await stage.submit(key="k")).subject == first.subject

    on_stage(scenario)


def test_a_key_with_another_body_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.submit(1, key="k")
        problem = await problem_of(stage.submit(2, key="k"))
        assert (problem.kind, problem.status) == ("key-reused", 422)
        assert len(await stage.queued()) == 1

    on_stage(scenario)


def test_a_repeat_that_no_longer_fits_the_newest_version_gets_the_first_answer() -> None:
    async def scenario(stage: Stage) -> None:
        first = await stage.submit(1, key="k")
        await stage.callers.catalog.pipeline(TWO_INPUTS, "ada")
        again = await stage.submit(1, key="k")
        assert (again.subject, again.repeated) == (first.subject, True)
        assert (await problem_of(stage.submit(2, key="k"))).kind == "key-reused"
        assert (await problem_of(stage.submit(1))).kind == "invalid-request"
        assert len(await stage.queued()) == 1

    on_stage(scenario)


def test_a_first_answer_of_long_ago_is_found_in_the_views() -> None:
    async def scenario(stage: Stage) -> None:
        first = await stage.submit(1, key="k")
        await stage.callers.catalog.pipeline(TWO_INPUTS, "ada")
        stage.tail.traces = Traces()
        assert (await problem_of(stage.submit(1, key="k"))).kind == "views-away"  # never a false 422
        journal = {event.commandid: encode_event(event) for event in await stage.history() if event.commandid}

        async def look_up(command_id: str, at_least: Position) -> bytes | None:
            assert covers(at_least, first.position)
            return journal.get(command_id)

        callers = CommandSender(stage.log, stage.world, stage.tail, DECIDE_WAIT_S, look_up=look_up)
        again = await callers.submit(double(1), "ada", "k")
        assert (again.subject, again.repeated) == (first.subject, True)
        assert (await problem_of(callers.submit(double(2), "ada", "k"))).kind == "key-reused"
        unknown = CommandSender(stage.log, stage.world, stage.tail, DECIDE_WAIT_S, look_up=nothing_found)
        assert (await problem_of(unknown.submit(double(1), "ada", "new"))).kind == "invalid-request"

    async def nothing_found(command_id: str, at_least: Position) -> bytes | None:
        return None

    on_stage(scenario)


def test_a_repeat_of_what_is_not_decided_yet_is_received_whatever_the_newest_version_says() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.stop_ledger()
        first = await stage.submit(1, key="k")
        [registered] = [event for event in await stage.history() if event.data.TYPE == "pipeline.registered.v1"]
        newer = {"version": 2, "definition": definition_payload(TWO_INPUTS)}
        stage.tail.catalog.fold(registered.model_copy(update={"data": registered.data.model_copy(update=newer)}))
        again = await stage.submit(1, key="k")
        assert (again.trace, again.command_id) == (None, first.command_id)

    on_stage(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_a_missing_acknowledgement_is_not_replaced_by_what_happened_to_a_stranger(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(stage: Stage) -> None:
        shard = shard_of_key(command_id_of_key("ada", SUBMIT_ROUTE, "k"), SHARDS)
        strangers: list[Lane] = []

        async def request(lane: Lane) -> None:
            """Rubbish of another program comes in instead of the record."""
            if strangers or lane != Lane(Topic.COMMANDS, shard):
                return
            strangers.append(lane)
            await stage.log.send(lane, [Outgoing(b"k", b"rubbish")])
            while "command.unreadable.v1" not in {event.data.TYPE for event in await stage.history()}:
                await stage.tail.moved.wait()
            await stage.tail.read_to_end(shard, DECIDE_WAIT_S)
            raise OutcomeUnknown("The record got no answer.")

        monkeypatch.setattr(stage.log, "_request", request)
        problem = await problem_of(stage.submit(key="k"))
        assert strangers
        assert (problem.kind, problem.status) == ("outcome-unknown", 503)
        assert problem.more["command_id"] == command_id_of_key("ada", SUBMIT_ROUTE, "k")

    on_stage(scenario, seed)


async def test_without_a_key_only_the_commands_own_id_settles_it() -> None:
    mine = Waiter(1, "c", "s", keyed=False, body_digest=None)
    stranger = Trace(1, 5, 7, None, Outcome(sequence=5, subject="shard/1"), error="It is not a message of ours.")
    mine.see(stranger)
    assert not mine.settle_unacknowledged()
    mine.see(replace(stranger, command_id="c", error=None))
    assert mine.settle_unacknowledged()


async def test_a_missing_acknowledgement_is_not_replaced_by_the_answer_to_another_body() -> None:
    mine = Waiter(1, "c", "s", keyed=True, body_digest="mine")
    trace = Trace(1, 5, 7, "c", Outcome(sequence=5, subject="s", body_digest="theirs"))
    mine.see(trace)
    mine.see(replace(trace, outcome=trace.outcome.model_copy(update={"body_digest": None}), error="It raised."))
    assert not mine.settle_unacknowledged()
    mine.see(replace(trace, outcome=trace.outcome.model_copy(update={"body_digest": "mine"})))
    assert mine.settle_unacknowledged()


def test_without_a_ledger_the_command_is_received_and_found_once_it_is_decided() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.stop_ledger()
        began = stage.world.clock.monotonic_s()
        answer = await stage.submit()
        assert answer.trace is None
        assert stage.world.clock.monotonic_s() - began == pytest.approx(DECIDE_WAIT_S, abs=0.1)
        waiter = stage.tail.traces.find(answer.command_id)
        assert waiter is not None
        await stage.start_ledger()
        assert (await waiter.decided()).outcome.subject == answer.subject

    on_stage(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_a_trace_that_is_read_before_the_acknowledgement_is_not_missed(seed: int) -> None:
    async def scenario(stage: Stage) -> None:
        stage.log.answering.clear()
        calls = [asyncio.create_task(stage.submit(key="k")) for _ in range(2)]
        while len([event for event in await stage.history() if event.commandid]) < 3:  # registered, queued, repeated
            await stage.tail.moved.wait()
        stage.log.answering.set()
        one, other = await asyncio.gather(*calls)
        assert one.repeated != other.repeated
        assert one.subject == other.subject

    on_stage(scenario, seed)


def test_what_the_log_never_acknowledged_is_unknown_and_names_its_command() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.stop_ledger()
        stage.log.silent |= COMMAND_LANES
        problem = await problem_of(stage.submit(key="k"))
        assert (problem.kind, problem.status) == ("outcome-unknown", 503)
        assert problem.more["command_id"] in problem.detail
        stage.log.silent.clear()
        await stage.start_ledger()
        answer = await stage.submit(key="k")
        assert answer.command_id == problem.more["command_id"]
        assert len(await stage.queued()) == 1

    on_stage(scenario)


def test_an_unknown_pipeline_is_refused_with_the_names_that_may_be_meant() -> None:
    async def scenario(stage: Stage) -> None:
        problem = await problem_of(stage.submit(pipeline="duoble"))
        assert (problem.kind, problem.status) == ("unknown-pipeline", 404)
        assert "Did you mean double? Which are: exledger pipelines, or GET" in problem.detail

    on_stage(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_a_pipeline_that_was_registered_elsewhere_a_moment_ago_is_known(seed: int) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.another_gateway() as other:
            await stage.callers.catalog.pipeline(DOUBLE.model_copy(update={"name": "new"}), "ada")
            answer = await other.submit(double(pipeline="new"), "ada")
        assert answer.trace is not None

    on_stage(scenario, seed)


def test_registering_the_same_definition_again_is_a_repeat_and_another_one_a_new_version() -> None:
    async def scenario(stage: Stage) -> None:
        again = await stage.callers.catalog.pipeline(DOUBLE, "ada")
        changed = await stage.callers.catalog.pipeline(DOUBLE.model_copy(update={"code": "c2"}), "ada")
        assert again.trace is not None
        assert changed.trace is not None
        assert (again.repeated, again.trace.outcome.version) == (True, 1)
        assert (changed.repeated, changed.trace.outcome.version) == (False, 2)
        newest = stage.tail.catalog.newest("double")
        assert newest is not None
        assert newest.ref.version == 2

    on_stage(scenario)


def test_an_execution_that_was_never_dispatched_is_aborted_at_once() -> None:
    async def scenario(stage: Stage) -> None:
        execution_id = (await stage.submit()).subject
        answer = await stage.callers.abort(execution_id, AbortRequest(reason="no"), "bob")
        assert answer.trace is not None
        assert answer.trace.status is Status.ABORTED
        ended = [event for event in await stage.history() if event.subject == execution_id][-1]
        assert ended.data.TYPE == "execution.aborted.v1"
        assert answer.position == {ended.shard: ended.sequence}
        problem = await problem_of(stage.callers.abort(execution_id, AbortRequest(), "bob"))
        assert (problem.status, problem.more["code"]) == (409, "already_ended")

    on_stage(scenario)


@pytest.mark.parametrize(("shard", "decided_by_ledger"), [(0, False), (SHARDS, False), (1, True)])
def test_aborting_what_does_not_exist_is_a_404(shard: int, decided_by_ledger: bool) -> None:
    async def scenario(stage: Stage) -> None:
        nobody = make_id(stage.world.clock.now_ms(), shard, 7)
        problem = await problem_of(stage.callers.abort(nobody, AbortRequest(), "bob"))
        assert (problem.kind, problem.status) == ("unknown-execution", 404)
        assert ("position" in problem.more) == decided_by_ledger

    on_stage(scenario)


def test_what_no_service_obeys_yet_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        problem = await problem_of(stage.submit(options={"pool": "gpu"}))
        assert [error.field for error in problem.errors] == ["options.pool"]
        assert "not yet available" in problem.detail
        assert not await stage.queued()

    on_stage(scenario)


def test_a_request_says_its_policy_and_its_pipeline_the_rest() -> None:
    async def scenario(stage: Stage) -> None:
        declared = PolicyChoice(retries=4, timeout_ms=60_000, abort_grace_ms=5, backoff=Backoff(first_ms=7))
        await stage.callers.catalog.pipeline(DOUBLE.model_copy(update={"code": "c9", "policy": declared}), "ada")
        await stage.submit()
        await stage.submit(policy={"timeout_ms": 5, "queue_ttl_ms": 9})
        await stage.submit(policy={"delivery": "at_most_once"})
        policies = [event.data.policy for event in sorted(await stage.queued(), key=lambda event: event.recordedtime)]
        own = Policy(retries=4, timeout_ms=60_000, abort_grace_ms=5, backoff=Backoff(first_ms=7))
        assert policies == [
            own,
            own.model_copy(update={"timeout_ms": 5, "queue_ttl_ms": 9}),
            own.model_copy(update={"delivery": "at_most_once", "retries": 0}),
        ]

    on_stage(scenario)


def test_at_most_once_and_retries_contradict_each_other() -> None:
    async def scenario(stage: Stage) -> None:
        problem = await problem_of(stage.submit(policy={"delivery": "at_most_once", "retries": 1}))
        assert [error.field for error in problem.errors] == ["policy.retries"]
        both = PolicyChoice(delivery="at_most_once", retries=1)
        problem = await problem_of(stage.callers.catalog.pipeline(DOUBLE.model_copy(update={"policy": both}), "ada"))
        assert [error.field for error in problem.errors] == ["policy.retries"]
        declared = DOUBLE.model_copy(update={"policy": PolicyChoice(delivery="at_most_once")})
        await stage.callers.catalog.pipeline(declared, "ada")
        problem = await problem_of(stage.submit(policy={"retries": 1}))
        assert [error.field for error in problem.errors] == ["policy.retries"]
        assert not await stage.queued()

    on_stage(scenario)


def test_too_many_undecided_commands_are_not_taken_in() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.stop_ledger()
        calls = [asyncio.create_task(stage.submit()) for _ in range(3 * 2_000)]
        await asyncio.sleep(1)
        problem = await problem_of(stage.submit())
        assert (problem.kind, problem.status, problem.retry_after_s) == ("too-busy", 429, 1)
        answers = await asyncio.gather(*calls)
        assert all(answer.trace is None for answer in answers)
        assert (await problem_of(stage.submit())).kind == "too-busy"  # although nobody waits any more
        aborted = await stage.callers.abort(answers[0].subject, AbortRequest(), "ada")
        assert aborted.trace is None
        await stage.start_ledger()
        for shard in range(SHARDS):
            await stage.tail.read_to_end(shard, DECIDE_WAIT_S)
        while stage.tail.traces.undecided(1):
            await stage.tail.moved.wait()
        assert (await stage.submit()).trace is not None

    on_stage(scenario)


def test_modes_have_their_rights_and_a_request_can_change_each() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.submit(mode="experiment")
        await stage.submit(mode="production", options={"plot": True})
        rights = {event.data.mode: event.data.options.model_dump() for event in await stage.queued()}
        assert rights["experiment"] == {"train": True, "plot": True, "write": False}
        assert rights["production"] == {"train": False, "plot": True, "write": True}

    on_stage(scenario)


@pytest.mark.parametrize("value", ["1", None, True, [1]])
def test_inputs_must_fit_what_the_pipeline_declares(value: object) -> None:
    async def scenario(stage: Stage) -> None:
        problem = await problem_of(stage.callers.submit(double(value), "ada"))
        assert [error.field for error in problem.errors] == ["inputs.n"]

    on_stage(scenario)
