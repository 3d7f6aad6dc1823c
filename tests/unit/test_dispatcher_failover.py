"""One dispatcher acts; another takes over in silence, and only what bears the newest claim counts."""

from __future__ import annotations

from execution_ledger.dispatcher.board import Token
from execution_ledger.messages.commands import ClaimDispatch
from execution_ledger.messages.events import CommandRejected
from execution_ledger.messages.heartbeats import DispatcherTick
from unit.dispatcher_stage import SHARDS, Cluster, Dispatcher, Runner, acting


def claims(dispatcher: Dispatcher) -> list[int | None]:
    return [command.claim for command in dispatcher.asked if isinstance(command, ClaimDispatch)]


def test_with_nobody_active_it_claims_with_its_first_tick_and_acts_when_all_shards_have_recorded_it() -> None:
    cluster = Cluster()
    cluster.ledgers[2].is_away = True
    dispatcher = Dispatcher(cluster)
    dispatcher.tick()
    assert claims(dispatcher) == [None, 1, 1]
    assert dispatcher.desk.acting is None
    dispatcher.tick()
    assert claims(dispatcher) == [None, 1, 1], "asked a second ago"
    dispatcher.tick()
    assert claims(dispatcher) == [None, 1, 1, 1]
    cluster.ledgers[2].is_away = False
    cluster.decide()
    dispatcher.work()
    assert dispatcher.desk.acting == 1


def test_a_standby_claims_only_after_four_seconds_without_a_tick_of_the_active_one() -> None:
    cluster = Cluster()
    active = acting(cluster)
    standby = Dispatcher(cluster, "d2")
    for _ in range(10):
        active.tick(500)
        standby.tick(500)
    standby.tick(499)
    for _ in range(3):
        standby.tick(1_000)
    assert not claims(standby)
    standby.tick(1)
    assert claims(standby)[:1] == [None]
    assert standby.desk.acting == 2


def test_a_standby_claims_at_once_when_the_active_one_leaves() -> None:
    cluster = Cluster()
    active = acting(cluster)
    standby = Dispatcher(cluster, "d2")
    standby.tick()
    assert not claims(standby)
    cluster.heartbeats.append((DispatcherTick(process="d1", claim=active.desk.acting, leaving=True), cluster.now_ms))
    standby.work()
    assert standby.desk.acting == 2


def test_two_standbys_that_claim_together_leave_one_active_and_the_later_claim_wins() -> None:
    cluster = Cluster()
    first, second = Dispatcher(cluster, "d1"), Dispatcher(cluster, "d2")
    for dispatcher in (first, second):
        cluster.heartbeats.append((DispatcherTick(process=dispatcher.process, claim=None), cluster.now_ms))
    for dispatcher in (first, second):
        dispatcher.read()
        dispatcher.send(dispatcher.desk.turn())
    cluster.decide()
    for _ in range(3):
        first.work()
        second.work()
    assert (first.desk.acting, second.desk.acting) == (None, 2)
    assert claims(first).count(None) == 1


def test_the_loser_drops_what_it_asked_and_a_lower_claim_is_refused() -> None:
    cluster = Cluster()
    old = acting(cluster)
    runner = Runner(cluster)
    runner.beat()
    old.work()
    execution = cluster.submit()
    old.read()
    orders = old.desk.turn()
    new = Dispatcher(cluster, "d2")
    while new.desk.acting is None:
        new.tick()
    old.send(orders)
    cluster.decide()
    refusals = [
        event.data.refusal.code for event in cluster.ledgers[1].history if isinstance(event.data, CommandRejected)
    ]
    assert refusals == ["stale_claim"]
    old.work()
    assert old.desk.acting is None
    assert old.desk.picture.slots.used_by("r1") == 1, "the new one's attempt, and nothing of its own"
    assert [command.execution_id for command in new.dispatches] == [execution]


def test_a_new_dispatcher_starts_again_what_was_dispatched_but_never_reached_its_runner() -> None:
    cluster = Cluster()
    old = acting(cluster)
    runner = Runner(cluster)
    runner.beat()
    old.work()
    token = Token(cluster.submit(), 1)
    old.read()
    old.send(old.desk.turn())
    cluster.decide()
    assert not old.told, "it died before it read the dispatched event"
    new = Dispatcher(cluster, "d2")
    while new.desk.acting is None:
        new.tick()
    assert not new.told
    runner.beat()
    new.work()
    assert new.told_of("start") == [token]
    assert not new.dispatches


def test_a_new_dispatcher_leaves_alone_what_runs_and_counts_it_against_slots_and_limits() -> None:
    cluster = Cluster()
    old = acting(cluster)
    runner = Runner(cluster, slots=5)
    runner.beat()
    old.work()
    token = Token(cluster.submit(limit=1), 1)
    old.work()
    runner.start(token)
    waiting = cluster.submit(limit=1)
    new = Dispatcher(cluster, "d2")
    while new.desk.acting is None:
        runner.beat()
        new.tick()
    runner.beat()
    new.work()
    assert not new.asked[1 + SHARDS - 1 :]
    assert not new.told
    runner.complete(token)
    new.work()
    assert [command.execution_id for command in new.dispatches] == [waiting]


def test_a_runner_that_nobody_hears_has_a_lease_from_the_claim_on() -> None:
    cluster = Cluster()
    old = acting(cluster)
    Runner(cluster).beat()
    old.work()
    cluster.submit()
    old.work()
    cluster.heartbeats.clear()
    new = Dispatcher(cluster, "d2")
    new.tick(3_600_000)
    assert new.desk.acting == 2
    new.ticks(20)
    assert not new.expiries
    new.tick()
    assert [command.cause for command in new.expiries] == ["lost"]


def test_an_attempt_that_was_lost_long_ago_holds_no_limit_after_a_restart() -> None:
    cluster = Cluster()
    old = acting(cluster)
    Runner(cluster).beat()
    old.work()
    lost = cluster.submit(limit=1, losses_max=0)
    old.work()
    old.ticks(25)
    assert [command.execution_id for command in old.expiries] == [lost]
    cluster.heartbeats.clear()
    cluster.now_ms += 3_600_000
    following = cluster.submit(limit=1)
    Runner(cluster, "r2").beat()
    new = Dispatcher(cluster, "d2")
    new.tick()
    assert [command.execution_id for command in new.dispatches] == [following]


def after_failover(*, started: bool) -> tuple[Cluster, Dispatcher, Runner, Token]:
    """An attempt that an earlier dispatcher began, and a new one that has heard nothing of its runner yet."""
    cluster = Cluster()
    old = acting(cluster)
    runner = Runner(cluster, slots=1)
    runner.beat()
    old.work()
    token = Token(cluster.submit(limit=1), 1)
    old.work()
    if started:
        runner.start(token)
    new = Dispatcher(cluster, "d2")
    while new.desk.acting is None:
        new.tick()
    return cluster, new, runner, token


def test_each_runner_is_told_the_new_claim_once() -> None:
    cluster, new, runner, _ = after_failover(started=True)
    other = Runner(cluster, "r2")
    for _ in range(3):
        runner.beat()
        other.beat()
        new.tick()
    assert sorted(new.greeted) == ["r1", "r2"]


def test_what_an_earlier_dispatcher_started_is_lost_only_when_its_runner_knows_the_claim_and_lists_nothing() -> None:
    cluster, new, runner, _ = after_failover(started=True)
    runner.listed.clear()
    before = len(cluster.inbox)
    runner.beat(inbox_offset=before)
    new.work()
    runner.beat(inbox_offset=before)
    new.work()
    assert not new.expiries, "a start of the earlier one may still lie ahead of it"
    runner.beat(inbox_offset=before + 1)
    new.work()
    assert [command.cause for command in new.expiries] == ["lost"]


def test_what_was_forced_to_end_before_the_failover_is_held_until_its_runner_knows_the_claim() -> None:
    cluster, new, runner, token = after_failover(started=False)
    cluster.force_abort(token.execution_id)
    following = cluster.submit(limit=1)
    before = len(cluster.inbox)
    runner.beat(inbox_offset=before)
    new.work()
    assert not new.dispatches
    runner.beat()
    new.work()
    assert [command.execution_id for command in new.dispatches] == [following]
