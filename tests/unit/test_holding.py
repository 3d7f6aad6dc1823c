"""Holds: what is held is never dispatched, does not expire, and says who wants it to wait."""

from __future__ import annotations

from execution_ledger.dispatcher.board import Token
from execution_ledger.dispatcher.explain import explain
from execution_ledger.messages import events
from execution_ledger.messages.commands import Dispatch, Hold, Unhold
from execution_ledger.messages.parts import Policy
from unit.dispatcher_stage import Cluster, Dispatcher, Runner, acting
from unit.spec import CLAIM, ID, NOW_MS, RUNNER, given, queued

WAITING = Policy(queue_ttl_ms=5_000)
ASKED = {"command_id": "c-1", "actor": "ada", "execution_id": ID}


def on_stage() -> tuple[Cluster, Dispatcher, Runner]:
    cluster = Cluster()
    return cluster, acting(cluster), Runner(cluster)


def ask(cluster: Cluster, kind: type[Hold | Unhold], execution_id: str) -> None:
    cluster.ask(kind(command_id=cluster.fresh_id(), actor="grace", reason="the pump leaks.", execution_id=execution_id))


def test_a_ledger_dispatches_nothing_that_is_held() -> None:
    """The dispatcher may have asked before it read of the hold."""
    dispatch = Dispatch(**ASKED, claim=CLAIM, attempt=1, runner=RUNNER)
    given(queued(), events.Held()).when(dispatch).then_refused("illegal_state")


def test_a_release_gives_the_whole_time_in_the_queue_again() -> None:
    held = given(queued(WAITING), events.Held()).at(NOW_MS + 60_000)
    held.when(Unhold(**ASKED)).then(events.Unheld(expires_at=NOW_MS + 65_000))


def test_a_dispatcher_passes_over_what_is_held_until_it_is_released() -> None:
    cluster, dispatcher, runner = on_stage()
    held, free = cluster.submit(policy=WAITING), cluster.submit(shard=2)
    ask(cluster, Hold, held)
    for _ in range(10):
        runner.beat()
        dispatcher.tick()
    assert [command.execution_id for command in dispatcher.dispatches] == [free]
    assert dispatcher.expired == [], "its time in the queue stands still"
    ask(cluster, Unhold, held)
    runner.beat()
    dispatcher.tick()
    assert dispatcher.dispatches[-1].execution_id == held


def test_a_hold_that_meets_a_dispatch_wins_or_loses_whole() -> None:
    """The Dispatch lies behind the hold in the lane: it is refused, its place is free, and nothing is asked again."""
    cluster, dispatcher, runner = on_stage()
    runner.slots = 1
    held = cluster.submit()
    dispatcher.work()
    cluster.ledgers[1].is_away = True
    ask(cluster, Hold, held)
    runner.beat()
    dispatcher.work()
    assert [command.execution_id for command in dispatcher.dispatches] == [held]
    cluster.ledgers[1].is_away = False
    cluster.decide()
    other = cluster.submit(shard=2)
    for _ in range(8):
        runner.beat()
        dispatcher.tick()
    assert [command.execution_id for command in dispatcher.dispatches] == [held, other]
    assert dispatcher.desk.picture.slots.used_by("r1") == 1


def test_it_says_who_holds_it_since_when_and_why() -> None:
    cluster, dispatcher, _ = on_stage()
    held = cluster.submit()
    ask(cluster, Hold, held)
    dispatcher.ticks(3)
    found = explain(dispatcher.desk, held)
    assert found
    [why] = found.reasons
    assert (why.code, why.text) == ("held", "grace held it back 3 s ago: the pump leaks.")
    assert why.next == f"When it may run: exledger release {found.name}"
    assert (found.status, found.expires_at, found.place) == ("queued", None, None)


def test_what_runs_cannot_be_held() -> None:
    cluster, dispatcher, runner = on_stage()
    running = cluster.submit()
    runner.beat()
    dispatcher.work()
    runner.start(Token(running, 1))
    ask(cluster, Hold, running)
    refusal = cluster.ledgers[1].history[-1].data
    assert isinstance(refusal, events.CommandRejected)
    assert refusal.refusal.code == "not_waiting"
