"""Deadlines as the dispatcher watches them: by the log's time alone, each asked for until it is settled."""

from __future__ import annotations

import random

from execution_ledger.dispatcher.board import Phase, Token
from execution_ledger.dispatcher.deadlines import Deadlines
from execution_ledger.dispatcher.explain import explain
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages import events
from execution_ledger.messages.inbox import Confirmed, Start
from execution_ledger.messages.parts import Backoff, Policy
from execution_ledger.messages.reports import ReportStarted
from unit.dispatcher_stage import Cluster, Dispatcher, Runner, acting
from unit.test_dispatcher_service import Scene
from unit.test_dispatcher_service import on_stage as play

RETRIED = Policy(retries=3, backoff=Backoff(first_ms=4_000, factor=2, jitter=0))
TIMED = Policy(timeout_ms=5_000, timeout_retries=1, backoff=Backoff(first_ms=0))
WAITING = Policy(queue_ttl_ms=5_000)
ONCE = Policy(delivery="at_most_once")


def on_stage(slots: int = 10) -> tuple[Cluster, Dispatcher, Runner]:
    cluster = Cluster()
    dispatcher = acting(cluster)
    runner = Runner(cluster, slots=slots)
    runner.beat()
    dispatcher.work()
    return cluster, dispatcher, runner


def pass_time(dispatcher: Dispatcher, runner: Runner, seconds: int) -> None:
    for _ in range(seconds):
        runner.beat()
        dispatcher.tick()


def attempts(dispatcher: Dispatcher) -> list[tuple[str, int]]:
    return [(command.execution_id, command.attempt) for command in dispatcher.dispatches]


def facts(cluster: Cluster, execution_id: str) -> list[events.Fact]:
    return [event.data for event in cluster.ledgers[1].history if event.subject == execution_id]


# --- backoff ----------------------------------------------------------------------------------------------------


def in_backoff() -> tuple[Cluster, Dispatcher, Runner, str]:
    cluster, dispatcher, runner = on_stage(slots=1)
    execution = cluster.submit(policy=RETRIED)
    dispatcher.work()
    runner.start(Token(execution, 1))
    runner.fail(Token(execution, 1))
    dispatcher.work()
    return cluster, dispatcher, runner, execution


def test_a_retry_waits_for_its_time_and_holds_up_nobody() -> None:
    cluster, dispatcher, runner, execution = in_backoff()
    other = cluster.submit()
    pass_time(dispatcher, runner, 3)
    assert attempts(dispatcher) == [(execution, 1), (other, 1)]
    runner.complete(Token(other, 1))
    pass_time(dispatcher, runner, 1)
    assert attempts(dispatcher)[-1] == (execution, 2)


def test_an_abort_in_the_backoff_ends_it_at_once_and_nothing_comes_after() -> None:
    cluster, dispatcher, runner, execution = in_backoff()
    cluster.abort(execution)
    assert facts(cluster, execution)[-1] == events.Aborted(outcome="not_running")
    pass_time(dispatcher, runner, 8)
    assert attempts(dispatcher) == [(execution, 1)]
    assert not dispatcher.desk.picture.deadlines


def test_a_dispatcher_that_takes_over_keeps_the_backoff() -> None:
    cluster, _, runner, execution = in_backoff()
    successor = acting(cluster, "d2")
    runner.beat()
    successor.work()
    pass_time(successor, runner, 4)
    assert attempts(successor) == [(execution, 2)]
    assert [type(fact) for fact in facts(cluster, execution)][-2:] == [events.Requeued, events.Dispatched]


def test_explain_says_when_it_is_tried_again_and_why() -> None:
    _, dispatcher, _, execution = in_backoff()
    dispatcher.tick()
    found = explain(dispatcher.desk, execution)
    assert found
    assert found.reasons[0].code == "not_before"
    assert found.reasons[0].text == "Attempt 1 is over (user: no luck). Attempt 2 may begin in 3 s."
    assert found.not_before
    dispatcher.ticks(4)
    found = explain(dispatcher.desk, execution)
    assert found
    assert found.not_before is None


# --- timeouts ---------------------------------------------------------------------------------------------------


def test_code_that_takes_too_long_is_stopped_and_its_slot_is_held_until_it_has_stopped() -> None:
    cluster, dispatcher, runner = on_stage(slots=1)
    token = Token(cluster.submit(policy=TIMED), 1)
    dispatcher.work()
    runner.start(token)
    pass_time(dispatcher, runner, 4)
    assert not dispatcher.expiries
    pass_time(dispatcher, runner, 1)
    assert [(command.attempt, command.cause) for command in dispatcher.expiries] == [(1, "timeout")]
    assert dispatcher.told_of("closed") == [token]
    pass_time(dispatcher, runner, 3)
    assert attempts(dispatcher) == [token], "its code may still run"
    runner.listed.clear()
    pass_time(dispatcher, runner, 1)
    assert attempts(dispatcher) == [token, (token.execution_id, 2)]


def test_what_a_runner_gives_back_holds_its_place_until_its_code_is_over() -> None:
    """Code that is deaf goes on until its process is gone, and a limit counts it until then."""
    cluster, dispatcher, runner = on_stage()
    cluster.register("train", limit=1)
    token = Token(cluster.submit(limit=1), 1)
    dispatcher.work()
    runner.start(token)
    runner.release(token)
    runner.listed[token] = "running"
    pass_time(dispatcher, runner, 3)
    assert attempts(dispatcher) == [token]
    runner.listed.clear()
    pass_time(dispatcher, runner, 1)
    assert attempts(dispatcher) == [token, (token.execution_id, 2)]


def test_what_never_starts_on_its_runner_times_out() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(policy=TIMED), 1)
    dispatcher.work()
    runner.listed[token] = "waiting"
    pass_time(dispatcher, runner, 5)
    assert [(command.attempt, command.cause) for command in dispatcher.expiries] == [(1, "timeout")]


def test_an_end_in_time_leaves_no_deadline_behind() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(policy=TIMED), 1)
    dispatcher.work()
    runner.start(token)
    runner.complete(token)
    pass_time(dispatcher, runner, 8)
    assert not dispatcher.expiries
    assert not dispatcher.desk.picture.deadlines


def test_a_timeout_whose_send_was_lost_is_asked_again() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(policy=TIMED), 1)
    dispatcher.work()
    runner.start(token)
    dispatcher.work()
    dispatcher.fate = lambda: "lost"
    pass_time(dispatcher, runner, 5)
    assert len(dispatcher.expiries) == 1
    dispatcher.fate = lambda: "sent"
    pass_time(dispatcher, runner, 4)
    assert len(dispatcher.expiries) == 2
    assert any(isinstance(fact, events.Requeued) for fact in facts(cluster, token.execution_id))


def test_a_timeout_that_an_abort_has_overtaken_does_not_lengthen_its_grace() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(policy=TIMED.model_copy(update={"abort_grace_ms": 1_000})), 1)
    dispatcher.work()
    runner.start(token)
    pass_time(dispatcher, runner, 4)
    cluster.ledgers[1].is_away = True
    cluster.abort(token.execution_id)
    pass_time(dispatcher, runner, 1)
    cluster.ledgers[1].is_away = False
    cluster.decide()
    pass_time(dispatcher, runner, 2)
    assert [command.cause for command in dispatcher.expiries] == ["timeout", "abort_grace"]
    [aborted] = [fact for fact in facts(cluster, token.execution_id) if isinstance(fact, events.Aborted)]
    assert aborted.outcome == "forced"


# --- time in the queue ------------------------------------------------------------------------------------------


def test_what_waits_for_too_long_is_ended() -> None:
    cluster, dispatcher, runner = on_stage(slots=0)
    execution, patient = cluster.submit(policy=WAITING), cluster.submit()
    pass_time(dispatcher, runner, 4)
    assert not dispatcher.expired
    pass_time(dispatcher, runner, 1)
    assert dispatcher.expired == [execution]
    ended = facts(cluster, execution)[-1]
    assert isinstance(ended, events.Failed)
    assert ended.failure.kind == "expired"
    runner.slots = 1
    pass_time(dispatcher, runner, 1)
    assert attempts(dispatcher) == [(patient, 1)]


def test_what_was_dispatched_in_time_does_not_expire() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(policy=WAITING), 1)
    dispatcher.work()
    runner.start(token)
    pass_time(dispatcher, runner, 8)
    assert not dispatcher.expired


def test_an_expiry_that_may_not_have_arrived_is_asked_again_and_never_dispatched_meanwhile() -> None:
    cluster, dispatcher, runner = on_stage(slots=0)
    execution = cluster.submit(policy=WAITING)
    dispatcher.work()
    dispatcher.fate = lambda: "lost"
    pass_time(dispatcher, runner, 5)
    runner.slots = 1
    pass_time(dispatcher, runner, 3)
    assert set(dispatcher.expired) == {execution}
    dispatcher.fate = lambda: "sent"
    pass_time(dispatcher, runner, 1)
    assert isinstance(facts(cluster, execution)[-1], events.Failed)
    assert not dispatcher.dispatches


def test_many_that_expire_together_are_asked_for_in_portions() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster, due_max=2)
    for _ in range(5):
        cluster.submit(policy=WAITING)
    dispatcher.work()
    dispatcher.turns.clear()
    dispatcher.ticks(5)
    assert [len(orders.commands) for orders in dispatcher.turns if orders.commands] == [2, 2, 1]
    assert dispatcher.desk.picture.board.get(dispatcher.expired[0]) is None


# --- at most once -----------------------------------------------------------------------------------------------


def unconfirmed() -> tuple[Cluster, Dispatcher, Runner, Token]:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(policy=ONCE), 1)
    dispatcher.work()
    runner.wait_for_confirmation(token)
    return cluster, dispatcher, runner, token


def test_a_start_is_confirmed_once_its_event_was_read() -> None:
    _, dispatcher, _, token = unconfirmed()
    assert not dispatcher.told_of("confirmed")
    dispatcher.work()
    assert dispatcher.told_of("confirmed") == [token]


def test_only_code_that_may_run_at_most_once_is_confirmed() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(), 1)
    dispatcher.work()
    runner.wait_for_confirmation(token)
    pass_time(dispatcher, runner, 3)
    assert not dispatcher.told_of("confirmed")


def test_a_confirmation_that_was_read_without_effect_is_sent_again() -> None:
    cluster, dispatcher, runner, token = unconfirmed()
    dispatcher.work()
    unread = len(cluster.inbox) - 1
    runner.beat(inbox_offset=unread)
    dispatcher.work()
    assert dispatcher.told_of("confirmed") == [token], "it is still on its way"
    runner.beat(inbox_offset=unread + 1)
    dispatcher.work()
    assert dispatcher.told_of("confirmed") == [token, token]
    runner.listed[token] = "running"
    runner.beat()
    dispatcher.work()
    assert dispatcher.told_of("confirmed") == [token, token]


def test_a_dispatcher_that_takes_over_confirms_what_waits() -> None:
    cluster, _, runner, token = unconfirmed()
    successor = acting(cluster, "d2")
    runner.beat()
    successor.work()
    assert successor.told_of("confirmed") == [token]


def test_nothing_is_confirmed_that_is_being_expired() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(policy=ONCE.model_copy(update={"timeout_ms": 2_000})), 1)
    dispatcher.work()
    runner.wait_for_confirmation(token)
    dispatcher.fate = lambda: "lost"
    dispatcher.work()
    dispatcher.fate = lambda: "sent"
    cluster.ledgers[1].is_away = True
    dispatcher.ticks(2)
    assert [command.cause for command in dispatcher.expiries] == ["timeout"]
    told_before = len(dispatcher.told_of("confirmed"))
    pass_time(dispatcher, runner, 2)
    assert len(dispatcher.told_of("confirmed")) == told_before


def test_nothing_is_confirmed_that_is_to_be_aborted() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(policy=ONCE), 1)
    dispatcher.work()
    cluster.abort(token.execution_id)
    runner.wait_for_confirmation(token)
    pass_time(dispatcher, runner, 2)
    assert not dispatcher.told_of("confirmed")
    assert token in dispatcher.told_of("abort")


def test_code_that_may_run_at_most_once_is_not_dispatched_again_when_its_runner_is_lost() -> None:
    cluster, dispatcher, runner, token = unconfirmed()
    dispatcher.work()
    runner.listed.clear()
    runner.beat()
    dispatcher.work()
    ended = facts(cluster, token.execution_id)[-1]
    assert isinstance(ended, events.Failed)
    assert ended.failure.kind == "lost"
    assert attempts(dispatcher) == [token]


def test_what_was_lost_on_its_way_is_dispatched_again() -> None:
    cluster, dispatcher, _ = on_stage()
    token = Token(cluster.submit(policy=ONCE), 1)
    dispatcher.work()
    dispatcher.ticks(21)
    assert [(command.attempt, command.cause) for command in dispatcher.expiries] == [(1, "lost")]
    execution = dispatcher.desk.picture.board.get(token.execution_id)
    assert execution
    assert execution.phase is Phase.QUEUED


def test_a_runner_is_told_to_wait_for_the_confirmation_and_then_that_it_may_begin() -> None:
    async def scenario(scene: Scene) -> None:
        dispatcher = scene.dispatcher()
        await dispatcher.ready.wait()
        await scene.beat()
        await scene.submit(policy=ONCE)
        [start] = await scene.inbox(1)
        assert isinstance(start, Start)
        assert start.delivery == "at_most_once"
        said = {"execution_id": start.token.execution_id, "attempt": 1, "ordinal": 1, "runner": start.runner}
        await scene.send(Lane(Topic.REPORTS, 1), ReportStarted(**said, time=scene.world.clock.now_ms()))
        confirmed = (await scene.inbox(2))[1]
        assert isinstance(confirmed, Confirmed)
        assert (confirmed.runner, confirmed.token, confirmed.claim) == (start.runner, start.token, start.claim)

    play(scenario)


# --- the heap ---------------------------------------------------------------------------------------------------


def test_deadlines_come_in_their_order_however_often_they_were_moved() -> None:
    chance = random.Random(5)
    deadlines, naive = Deadlines(), dict[str, int]()
    for _ in range(5_000):
        name, at_ms = f"e{chance.randrange(50)}", chance.randrange(1_000)
        deadlines.set(name, None if at_ms < 100 else at_ms)
        naive.pop(name, None)
        if at_ms >= 100:
            naive[name] = at_ms
    assert len(deadlines) == len(naive)
    due = list(deadlines.take_due(600))
    assert [naive[name] for name in due] == sorted(at_ms for at_ms in naive.values() if at_ms <= 600)
    assert not deadlines.is_due(600)
    assert len(deadlines) == len(naive) - len(due)
    assert len(deadlines._heap) < 5_000, "what was moved does not pile up"
