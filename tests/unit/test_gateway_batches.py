"""Batches: checked whole, opened once, completed by the same key."""

from __future__ import annotations

import pytest

from execution_ledger.gateway.writes.batches import BatchAnswer
from execution_ledger.gateway.writes.commands import BATCH_ROUTE
from execution_ledger.gateway.writes.requests import AbortRequest
from execution_ledger.gateway.writes.sending import UNDECIDED_MAX
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.commands import RequestAbort
from execution_ledger.messages.ids import child_id, command_id_of_key, make_id, shard_of_child, shard_of_key
from execution_ledger.messages.parts import Status
from execution_ledger.messages.position import covers
from unit.gateway_stage import DOUBLE, SHARDS, TWO_INPUTS, Stage, double, on_stage, problem_of


async def send(stage: Stage, count: int, key: str | None = None) -> BatchAnswer:
    return await stage.callers.open_batch([double(n) for n in range(count)], "ada", key)


@pytest.mark.parametrize("seed", range(3))
def test_children_come_in_the_order_of_the_request_with_ids_made_from_the_batch(seed: int) -> None:
    async def scenario(stage: Stage) -> None:
        answer = await send(stage, 10)
        ids = [child_id(answer.batch_id, shard_of_child(index, SHARDS), index) for index in range(10)]
        assert [child.execution_id for child in answer.children] == ids
        assert {child.status for child in answer.children} == {Status.QUEUED}
        queued = {event.subject: event for event in await stage.queued()}
        assert [queued[one].data.inputs.value() for one in ids] == [{"n": n} for n in range(10)]
        assert [queued[one].data.number for one in ids] == [child.number for child in answer.children]
        assert {queued[one].data.origin.source for one in ids} == {f"batch/{answer.batch_id}"}
        assert all(covers(answer.position, {event.shard: event.sequence}) for event in queued.values())

    on_stage(scenario, seed)


def test_one_bad_child_is_named_and_nothing_exists() -> None:
    async def scenario(stage: Stage) -> None:
        requests = [double(1), double("two"), double(3, pipeline="nobody"), double(4, options={"pool": "gpu"})]
        problem = await problem_of(stage.callers.open_batch(requests, "ada"))
        assert [error.field for error in problem.errors] == ["executions[2].pipeline"]
        problem = await problem_of(stage.callers.open_batch([*requests[:2], requests[3]], "ada"))
        assert [error.field for error in problem.errors] == ["executions[1].inputs.n", "executions[2].options.pool"]
        assert not [event for event in await stage.history() if event.data.TYPE == "batch.opened.v1"]

    on_stage(scenario)


def test_a_repeat_of_a_batch_is_the_same_batch() -> None:
    async def scenario(stage: Stage) -> None:
        first = await send(stage, 10, "k")
        again = await send(stage, 10, "k")
        assert again.opened.repeated
        assert again.children == first.children
        assert len(await stage.queued()) == 10

    on_stage(scenario)


def test_a_batch_whose_key_was_used_for_another_one_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        await send(stage, 10, "k")
        assert (await problem_of(send(stage, 11, "k"))).kind == "key-reused"
        assert len(await stage.queued()) == 10

    on_stage(scenario)


def test_a_batch_that_was_interrupted_is_completed_by_its_key_with_the_versions_of_the_first() -> None:
    async def scenario(stage: Stage) -> None:
        opened_on = shard_of_key(command_id_of_key("ada", BATCH_ROUTE, "k"), SHARDS)
        broken = Lane(Topic.COMMANDS, 1 + opened_on % (SHARDS - 1))
        stage.log.refusing.add(broken)
        problem = await problem_of(send(stage, 100, "k"))
        assert (problem.kind, problem.status) == ("outcome-unknown", 503)
        assert "with its key to complete it" in problem.detail
        assert broken.partition not in {event.shard for event in await stage.queued()}
        stage.log.refusing.clear()
        await stage.callers.catalog.pipeline(DOUBLE.model_copy(update={"code": "c2"}), "ada")
        answer = await send(stage, 100, "k")
        assert answer.batch_id == problem.more["batch_id"]
        children = await stage.queued()
        assert len(children) == len(answer.children) == 100
        assert {event.data.pipeline.version for event in children} == {1}

    on_stage(scenario)


def test_a_batch_that_no_longer_fits_the_newest_version_is_completed_all_the_same() -> None:
    async def scenario(stage: Stage) -> None:
        opened_on = shard_of_key(command_id_of_key("ada", BATCH_ROUTE, "k"), SHARDS)
        stage.log.refusing.add(Lane(Topic.COMMANDS, 1 + opened_on % (SHARDS - 1)))
        problem = await problem_of(send(stage, 30, "k"))
        stage.log.refusing.clear()
        await stage.callers.catalog.pipeline(TWO_INPUTS, "ada")
        assert (await problem_of(send(stage, 31, "k"))).kind == "key-reused"
        answer = await send(stage, 30, "k")
        assert answer.opened.repeated
        assert answer.batch_id == problem.more["batch_id"]
        assert {event.data.pipeline.version for event in await stage.queued()} == {1}
        assert len(await stage.queued()) == 30
        assert (await problem_of(send(stage, 30, None))).kind == "invalid-request"

    on_stage(scenario)


def test_children_whose_ids_are_too_old_are_looked_for_before_anyone_calls_them_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(stage: Stage) -> None:
        first = await send(stage, 3, "k")
        next_day_ms = stage.world.clock.now_ms() + 25 * 3_600_000
        monkeypatch.setattr(stage.log, "_now_ms", lambda: next_day_ms)
        for shard in range(1, SHARDS):  # the ledger forgets as it decides something later
            await problem_of(stage.callers.abort(make_id(1, shard, 1), AbortRequest(), "ada"))
        again = await send(stage, 3, "k")
        assert [child.execution_id for child in again.children] == [child.execution_id for child in first.children]
        assert {child.refusal.code for child in again.children if child.refusal} == {"id_too_old"}
        assert {child.status for child in again.children} == {Status.QUEUED}

    on_stage(scenario)


def test_without_a_ledger_a_batch_without_a_key_is_not_taken_in() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.stop_ledger()
        problem = await problem_of(send(stage, 3))
        assert (problem.kind, problem.status) == ("outcome-unknown", 503)
        assert "with an Idempotency-Key" in problem.detail
        await stage.start_ledger()
        assert not await stage.queued()

    on_stage(scenario)


def test_a_batch_waits_until_each_shard_has_room() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.stop_ledger()
        full = 1 + shard_of_key(command_id_of_key("ada", BATCH_ROUTE, "k"), SHARDS) % (SHARDS - 1)
        stage.tail.traces.acknowledged(stage.tail.traces.expect(full, an_abort(full)), UNDECIDED_MAX)
        problem = await problem_of(send(stage, 3, "k"))
        assert (problem.kind, problem.status, problem.retry_after_s) == ("too-busy", 429, 1)

    on_stage(scenario)


def an_abort(shard: int) -> RequestAbort:
    return RequestAbort(command_id="c", actor="ada", execution_id=make_id(1, shard, 1))


def test_children_that_the_ledger_has_forgotten_are_known_to_exist() -> None:
    async def scenario(stage: Stage) -> None:
        first = await send(stage, 3, "k")
        await stage.pass_time(600)
        again = await send(stage, 3, "k")
        assert [child.execution_id for child in again.children] == [child.execution_id for child in first.children]
        assert {child.status for child in again.children} == {Status.QUEUED}
        assert len([event for event in await stage.queued() if event.data.origin]) == 3

    on_stage(scenario)


def test_without_a_ledger_a_batch_is_received_and_none_of_its_children_sent() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.stop_ledger()
        answer = await send(stage, 3, "k")
        assert answer.opened.trace is None
        assert answer.children == ()
        await stage.start_ledger()
        assert len((await send(stage, 3, "k")).children) == 3
        assert len(await stage.queued()) == 3

    on_stage(scenario)


def test_a_large_batch_is_decided_whole() -> None:
    async def scenario(stage: Stage) -> None:
        answer = await send(stage, 2_000)
        assert len({child.number for child in answer.children}) == 2_000
        assert len(await stage.queued()) == 2_000

    on_stage(scenario)
