"""What an active dispatcher asks and tells: order, slots, limits, starts and aborts."""

from __future__ import annotations

from execution_ledger.dispatcher.board import Token
from unit.dispatcher_stage import Cluster, Dispatcher, Runner, acting


def on_stage(slots: int = 10, *offers: str) -> tuple[Cluster, Dispatcher, Runner]:
    cluster = Cluster()
    dispatcher = acting(cluster)
    runner = Runner(cluster, slots=slots, offers=offers or ("train",))
    runner.beat()
    dispatcher.work()
    return cluster, dispatcher, runner


def dispatched(dispatcher: Dispatcher) -> list[str]:
    return [command.execution_id for command in dispatcher.dispatches]


def test_higher_priority_is_dispatched_first_then_the_older() -> None:
    cluster, dispatcher, runner = on_stage(slots=1)
    cluster.now_ms += 1
    older = cluster.submit(priority=0)
    cluster.now_ms += 1
    younger = cluster.submit(priority=0, shard=2)
    cluster.now_ms += 1
    urgent = cluster.submit(priority=9)
    for execution_id in (urgent, older, younger):
        dispatcher.work()
        runner.start(Token(execution_id, 1))
        runner.complete(Token(execution_id, 1))
    assert dispatched(dispatcher) == [urgent, older, younger]


def test_no_more_than_the_slots_of_a_runner() -> None:
    cluster, dispatcher, runner = on_stage(slots=4)
    ids = [cluster.submit(shard=1 + number % 2) for number in range(6)]
    dispatcher.work()
    assert len(dispatched(dispatcher)) == 4
    runner.complete(Token(dispatched(dispatcher)[0], 1))
    dispatcher.work()
    assert len(dispatched(dispatcher)) == 5, "a reported end frees its slot at once, without a heartbeat"
    assert set(dispatched(dispatcher)) < set(ids)


def test_the_runner_with_most_free_slots_gets_the_next() -> None:
    cluster, dispatcher, _ = on_stage(slots=2)
    Runner(cluster, "r2", slots=4).beat()
    for number in range(6):
        cluster.submit(shard=1 + number % 2)
    dispatcher.work()
    runners = [command.runner for command in dispatcher.dispatches]
    assert runners[:2] == ["r2", "r2"]
    assert sorted(runners) == ["r1"] * 2 + ["r2"] * 4


def test_a_version_that_no_runner_offers_stays_queued() -> None:
    cluster, dispatcher, runner = on_stage(10, "score")
    waiting = cluster.submit("train")
    other = cluster.submit("score")
    dispatcher.work()
    assert dispatched(dispatcher) == [other]
    runner.offers["train"] = "train-v1"
    runner.beat()
    dispatcher.work()
    assert dispatched(dispatcher) == [other, waiting]


def test_a_draining_runner_gets_nothing_new() -> None:
    cluster, dispatcher, runner = on_stage()
    runner.draining = True
    runner.beat()
    cluster.submit()
    dispatcher.work()
    assert not dispatcher.dispatches


def test_a_runner_that_is_silent_for_a_third_of_its_lease_gets_nothing_new_until_it_is_heard() -> None:
    cluster, dispatcher, runner = on_stage()
    dispatcher.ticks(7)
    execution = cluster.submit()
    dispatcher.work()
    assert not dispatcher.dispatches
    runner.beat()
    dispatcher.work()
    assert dispatched(dispatcher) == [execution]


def test_a_pipeline_at_its_limit_waits_while_others_go_on() -> None:
    cluster, dispatcher, runner = on_stage(10, "train", "score")
    first = cluster.submit("train", limit=1)
    second = cluster.submit("train", limit=1, shard=2)
    other = cluster.submit("score")
    dispatcher.work()
    assert sorted(dispatched(dispatcher)) == sorted([first, other])
    runner.fail(Token(first, 1))
    dispatcher.work()
    assert dispatched(dispatcher)[-1] == second


def test_the_newest_registered_version_says_the_limit_for_all() -> None:
    cluster, dispatcher, _ = on_stage()
    cluster.register("train", limit=None)
    cluster.register("train", limit=2)
    for _ in range(5):
        cluster.submit("train", limit=9)
    dispatcher.work()
    assert len(dispatcher.dispatches) == 2


def test_a_start_is_sent_only_after_its_dispatched_event_was_read() -> None:
    cluster, dispatcher, _ = on_stage()
    execution = cluster.submit()
    dispatcher.read()
    cluster.ledgers[1].is_away = True
    dispatcher.work()
    dispatcher.ticks(2)
    assert dispatched(dispatcher) == [execution]
    assert not dispatcher.told
    cluster.ledgers[1].is_away = False
    cluster.decide()
    dispatcher.work()
    assert dispatcher.told_of("start") == [Token(execution, 1)]


def test_a_shard_whose_ledger_is_away_holds_only_its_share_of_the_slots() -> None:
    cluster, dispatcher, runner = on_stage(slots=10)
    for _ in range(20):
        cluster.submit(shard=1)
    healthy = [cluster.submit(shard=2) for _ in range(20)]
    cluster.ledgers[1].is_away = True
    for _ in range(4):
        dispatcher.work()
        for token in set(dispatcher.told_of("start")) - runner.listed.keys():
            runner.complete(token)
    assert len([one for one in dispatched(dispatcher) if one in healthy]) == 20
    assert len([one for one in dispatched(dispatcher) if one not in healthy]) == 5


def test_an_abort_of_a_dispatched_execution_goes_to_its_runner_with_the_reason() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(), 1)
    dispatcher.work()
    cluster.abort(token.execution_id)
    dispatcher.work()
    assert dispatcher.told_of("abort") == [token]
    execution = dispatcher.desk.picture.board.live(token)
    assert execution is not None
    assert execution.abort_reason == "a typo in it"
    runner.acknowledge_abort(token, entered=False)
    dispatcher.work()
    assert dispatcher.desk.picture.board.get(token.execution_id) is None


def test_an_abort_that_comes_first_frees_what_the_dispatch_had_taken() -> None:
    cluster, dispatcher, _ = on_stage(slots=1)
    execution = cluster.submit()
    dispatcher.read()
    orders = dispatcher.desk.turn()
    cluster.abort(execution)
    dispatcher.send(orders)
    cluster.decide()
    dispatcher.work()
    following = cluster.submit()
    dispatcher.work()
    assert dispatched(dispatcher) == [execution, following]
    assert not dispatcher.told_of("abort")


def test_an_abort_that_is_ignored_is_enforced_when_its_grace_is_past() -> None:
    cluster, dispatcher, runner = on_stage()
    token = Token(cluster.submit(), 1)
    dispatcher.work()
    runner.start(token)
    cluster.abort(token.execution_id)
    for _ in range(9):
        runner.beat()
        dispatcher.tick()
    assert not dispatcher.expiries
    dispatcher.tick()
    assert [(command.attempt, command.cause) for command in dispatcher.expiries] == [(1, "abort_grace")]
    assert dispatcher.told_of("closed") == [token], "its code must stop: told at once"


def test_a_forced_end_holds_the_slot_until_the_runner_no_longer_lists_the_token() -> None:
    cluster, dispatcher, runner = on_stage(slots=1)
    token = Token(cluster.submit(), 1)
    dispatcher.work()
    runner.start(token)
    following = cluster.submit()
    cluster.force_abort(token.execution_id)
    dispatcher.work()
    runner.beat()
    dispatcher.work()
    assert dispatched(dispatcher) == [token.execution_id]
    del runner.listed[token]
    runner.beat()
    dispatcher.work()
    assert dispatched(dispatcher) == [token.execution_id, following]


def test_what_is_released_by_a_draining_runner_is_dispatched_again() -> None:
    cluster, dispatcher, runner = on_stage()
    execution = cluster.submit()
    dispatcher.work()
    runner.start(Token(execution, 1))
    runner.draining = True
    runner.release(Token(execution, 1))
    runner.beat()
    Runner(cluster, "r2").beat()
    dispatcher.work()
    assert [(command.attempt, command.runner) for command in dispatcher.dispatches] == [(1, "r1"), (2, "r2")]


def test_a_dispatch_that_may_not_have_arrived_is_asked_again_for_the_same_runner_and_keeps_its_place() -> None:
    cluster, dispatcher, runner = on_stage(slots=1)
    dispatcher.fate = lambda: "lost"
    first = cluster.submit()
    cluster.submit()
    dispatcher.work()
    dispatcher.tick()
    assert dispatched(dispatcher) == [first, first]
    dispatcher.fate = lambda: "sent"
    runner.beat()
    dispatcher.tick()
    assert dispatched(dispatcher) == [first, first, first]
    assert len({command.command_id for command in dispatcher.dispatches}) == 3
    assert dispatcher.told_of("start") == [Token(first, 1)]


def test_a_dispatch_whose_answer_was_lost_is_decided_once() -> None:
    cluster, dispatcher, runner = on_stage(slots=1)
    dispatcher.fate = lambda: "unknown"
    execution = cluster.submit()
    dispatcher.work()
    dispatcher.fate = lambda: "sent"
    runner.beat()
    dispatcher.tick()
    assert dispatched(dispatcher) == [execution]
    assert dispatcher.desk.picture.slots.used_by("r1") == 1
