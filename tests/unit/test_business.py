"""Business ids: at most one live execution of each; a second one is refused, joined, or waits for its turn."""

from __future__ import annotations

import pytest

from execution_ledger.dispatcher.board import Token
from execution_ledger.dispatcher.explain import explain
from execution_ledger.dispatcher.keeping import LAYOUT
from execution_ledger.gateway.writes.again import ended_of, retry_of
from execution_ledger.gateway.writes.checking import Stamp
from execution_ledger.gateway.writes.requests import AbortRequest, ExecutionRequest, RetryRequest
from execution_ledger.messages import events
from execution_ledger.messages.commands import Dispatch, Submit
from execution_ledger.messages.events import encode_event
from execution_ledger.messages.ids import business_key, make_id, shard_of, shard_of_business
from execution_ledger.messages.parts import IfLive, PipelineRef
from execution_ledger.messages.payload import json_payload
from execution_ledger.verify.log.history import check_log
from unit.dispatcher_stage import OPTIONS, SHARDS, Cluster, Dispatcher, Runner, acting
from unit.gateway_stage import Stage, on_stage, problem_of
from unit.test_snapshots_equal import new_desk, written_and_read

ORDER = "order-7"
_NO_REASON, _SAME = AbortRequest(), RetryRequest()
SHARD = shard_of_business(business_key("train", ORDER), SHARDS)


def asked(if_live: IfLive = "refuse", n: int = 1) -> ExecutionRequest:
    return ExecutionRequest(pipeline="double", inputs={"n": n}, business_id=ORDER, if_live=if_live)


def submit(cluster: Cluster, if_live: IfLive | None = None) -> str:
    execution_id = make_id(cluster.now_ms, SHARD, next(cluster._numbers))
    cluster.ask(
        Submit(
            command_id=cluster.fresh_id(),
            actor="ada",
            execution_id=execution_id,
            pipeline=PipelineRef(name="train", version=1, digest="train-v1"),
            inputs=json_payload({}),
            options=OPTIONS,
            business_id=ORDER,
            if_live=if_live,
        )
    )
    return execution_id


def performing() -> tuple[Cluster, Dispatcher, Runner]:
    cluster = Cluster()
    dispatcher, runner = acting(cluster), Runner(cluster)
    runner.beat()
    dispatcher.work()
    return cluster, dispatcher, runner


def dispatched(dispatcher: Dispatcher) -> list[str]:
    dispatcher.work()
    return [command.execution_id for command in dispatcher.dispatches]


# --- what the ledger decides ------------------------------------------------------------------------------------


def test_a_second_one_is_refused_while_the_first_is_live_and_taken_after_its_end() -> None:
    async def scenario(stage: Stage) -> None:
        first = await stage.callers.submit(asked(), "ada", "one")
        refused = await problem_of(stage.callers.submit(asked(), "ada", "two"))
        assert (refused.kind, refused.more["code"]) == ("refused", "business_id_live")
        assert first.trace
        assert (first.trace.outcome.name or "?") in refused.detail
        await stage.callers.abort(first.subject, _NO_REASON, "ada")
        assert (await stage.callers.submit(asked(), "ada", "three")).subject != first.subject

    on_stage(scenario)


def test_the_first_is_the_answer_where_that_is_asked_for_and_stays_the_answer_of_its_key() -> None:
    async def scenario(stage: Stage) -> None:
        first = await stage.callers.submit(asked(), "ada")
        joined = await stage.callers.submit(asked("first"), "ada", "k")
        assert first.trace
        assert joined.trace
        assert (joined.subject, joined.repeated) == (first.subject, True)
        assert joined.trace.outcome.name == first.trace.outcome.name
        await stage.callers.abort(first.subject, _NO_REASON, "ada")
        assert (await stage.callers.submit(asked("first"), "ada", "k")).subject == first.subject
        assert (await stage.callers.submit(asked("first"), "ada", "new")).subject != first.subject

    on_stage(scenario)


def test_all_of_a_business_id_live_on_one_shard_whatever_their_keys() -> None:
    async def scenario(stage: Stage) -> None:
        ones = [await stage.callers.submit(asked("wait"), "ada", key) for key in ("a", "b", None, None)]
        assert len({shard_of(one.subject) for one in ones}) == 1
        assert (await stage.callers.submit(asked("wait"), "ada", "a")).subject == ones[0].subject
        other = ExecutionRequest(pipeline="double", inputs={"n": 1}, business_id="order-8")
        assert (await stage.callers.submit(other, "ada", "a")).subject != ones[0].subject, (
            "a key counts per business id"
        )

    on_stage(scenario)


def test_what_is_retried_keeps_its_business_id_and_is_refused_while_another_one_is_live() -> None:
    async def scenario(stage: Stage) -> None:
        first = await stage.callers.submit(asked("wait"), "ada")
        [event] = [event for event in await stage.queued() if event.subject == first.subject]
        row = {"id": event.subject, "name": event.data.name, "status": "failed", "ended_at": 1}
        ended = ended_of(row | {"event": encode_event(event)})
        again = retry_of(ended).submit(Stamp("c", "ada", execution_id=make_id(0, ended.shard, 1)))
        assert (again.business_id, again.if_live) == (ORDER, None)
        refused = await problem_of(stage.callers.retry(ended, _SAME, "ada"))
        assert refused.more["code"] == "business_id_live"

    on_stage(scenario)


def test_a_batch_takes_them_but_not_somebody_elses_execution() -> None:
    async def scenario(stage: Stage) -> None:
        answer = await stage.callers.open_batch([asked("wait"), asked("wait", 2), asked("refuse", 3)], "ada", "k")
        assert [child.status for child in answer.children] == ["queued", "queued", "rejected"]
        again = await stage.callers.open_batch([asked("wait"), asked("wait", 2), asked("refuse", 3)], "ada", "k")
        assert [child.execution_id for child in again.children] == [child.execution_id for child in answer.children]
        refused = await problem_of(stage.callers.open_batch([asked("first")], "ada"))
        assert [error.field for error in refused.errors] == ["executions[0].if_live"]

    on_stage(scenario)


def test_a_refused_child_stays_refused_for_as_long_as_its_batch_is_known() -> None:
    async def scenario(stage: Stage) -> None:
        requests = [asked("wait"), asked("refuse", 2)]
        answer = await stage.callers.open_batch(requests, "ada", "k")
        await stage.callers.abort(answer.children[0].execution_id, _NO_REASON, "ada")
        for wait_s in (600, 80_000):
            await stage.pass_time(wait_s)
            before = len(await stage.queued())
            again = await stage.callers.open_batch(requests, "ada", "k")
            assert again.children[1] == answer.children[1]
            assert again.children[1].status == "rejected"
            assert len(await stage.queued()) == before

    on_stage(scenario)


def test_if_live_belongs_to_a_business_id() -> None:
    async def scenario(stage: Stage) -> None:
        request = ExecutionRequest(pipeline="double", inputs={"n": 1}, if_live="wait")
        assert [error.field for error in (await problem_of(stage.callers.submit(request, "ada"))).errors] == ["if_live"]

    on_stage(scenario)


def a_ledger_dispatches_one_at_a_time() -> None:
    """Whatever a dispatcher may ask for: it is the ledger's word that no two run."""
    cluster = Cluster()
    dispatcher = acting(cluster)
    submit(cluster)
    second = submit(cluster, "wait")
    cluster.ask(
        Dispatch(
            command_id="early",
            actor="d",
            claim=dispatcher.desk.acting or 0,
            execution_id=second,
            attempt=1,
            runner="r1",
        )
    )
    refusal = cluster.ledgers[SHARD].history[-1].data
    assert isinstance(refusal, events.CommandRejected)
    assert refusal.refusal.code == "illegal_state"


def test_a_ledger_dispatches_one_at_a_time() -> None:
    a_ledger_dispatches_one_at_a_time()


# --- what the dispatcher does -----------------------------------------------------------------------------------


def test_they_run_one_after_the_other_in_their_order() -> None:
    cluster, dispatcher, runner = performing()
    ones = [submit(cluster, "wait") for _ in range(3)]
    for count, one in enumerate(ones, 1):
        assert dispatched(dispatcher) == ones[:count]
        runner.start(Token(one, 1))
        dispatcher.ticks(2)
        assert dispatched(dispatcher) == ones[:count], "nothing more while it runs"
        runner.complete(Token(one, 1))
    assert dispatched(dispatcher) == ones


def test_one_that_waits_and_is_aborted_holds_nobody_up() -> None:
    cluster, dispatcher, runner = performing()
    first, second, third = (submit(cluster, "wait") for _ in range(3))
    dispatcher.work()
    cluster.abort(second)
    runner.start(Token(first, 1))
    runner.complete(Token(first, 1))
    assert dispatched(dispatcher) == [first, third]


def test_it_says_for_which_one_it_waits() -> None:
    cluster, dispatcher, _ = performing()
    first, second = submit(cluster), submit(cluster, "wait")
    dispatcher.work()
    ahead, found = explain(dispatcher.desk, first), explain(dispatcher.desk, second)
    assert ahead
    assert found
    [why] = found.reasons
    assert why.code == "behind"
    assert why.text == f"It waits for the end of {ahead.name}, which has the same business id 'order-7' and came first."
    assert found.place is None


def test_a_dispatcher_that_takes_over_from_a_snapshot_knows_their_order() -> None:
    cluster, dispatcher, _ = performing()
    ones = [submit(cluster, "wait") for _ in range(3)]
    dispatcher.work()
    restored = new_desk()
    restored.restore(written_and_read(LAYOUT, dispatcher.desk.folded()))
    board = restored.picture.board
    waiting = [board.ahead(execution) for one in ones if (execution := board.get(one))]
    assert [each and each.id for each in waiting] == [None, ones[0], ones[0]]
    assert len(restored.picture.queue) == 0


# --- what is checked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("if_live", ["wait", None])
def test_two_at_the_same_time_are_a_breach(if_live: IfLive | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution_ledger.ledger.shard.ShardState.ahead", lambda *_: None)
    monkeypatch.setattr("execution_ledger.dispatcher.board.Board.ahead", lambda *_: None)
    cluster, dispatcher, _ = performing()
    first, second = submit(cluster), submit(cluster, if_live)
    assert dispatched(dispatcher) == [first, second]
    log = {
        ledger.shard: [(encode_event(event), event.sequence) for event in ledger.history] for ledger in cluster.ledgers
    }
    breaches = check_log(log).breaches.kept
    assert {(breach.promise, breach.execution) for breach in breaches} == {(6, second)}
    assert first in breaches[0].what
