"""Whatever got lost shows as a difference between a heartbeat and the board, and is put right."""

from __future__ import annotations

from execution_ledger.dispatcher.board import Token
from unit.dispatcher_stage import LEASE_MS, Cluster, Dispatcher, Runner, acting

START = 1  # where the start lies in the inbox, behind the claim that a runner is told first


def with_one_dispatched(slots: int = 1) -> tuple[Cluster, Dispatcher, Runner, Token]:
    cluster = Cluster()
    dispatcher = acting(cluster)
    runner = Runner(cluster, slots=slots)
    runner.beat()
    token = Token(cluster.submit(), 1)
    dispatcher.work()
    assert dispatcher.told_of("start") == [token]
    return cluster, dispatcher, runner, token


def causes(dispatcher: Dispatcher) -> list[tuple[int, str]]:
    return [(command.attempt, command.cause) for command in dispatcher.expiries]


def test_a_start_is_sent_again_only_when_the_runner_has_read_past_it_and_lists_nothing() -> None:
    _, dispatcher, runner, token = with_one_dispatched()
    runner.beat(inbox_offset=START)
    dispatcher.work()
    assert dispatcher.told_of("start") == [token], "it is still on its way"
    runner.beat(inbox_offset=START + 1)
    dispatcher.work()
    assert dispatcher.told_of("start") == [token, token]


def test_a_listed_start_is_not_sent_again() -> None:
    _, dispatcher, runner, token = with_one_dispatched()
    runner.listed[token] = "waiting"
    runner.beat()
    dispatcher.work()
    assert dispatcher.told_of("start") == [token]


def test_a_start_whose_send_is_unknown_is_sent_again_with_the_next_heartbeat() -> None:
    _, dispatcher, runner, token = with_one_dispatched()
    dispatcher.desk.told.unsent(dispatcher.told[0])
    runner.beat(inbox_offset=START)
    dispatcher.work()
    assert dispatcher.told_of("start") == [token, token]


def test_started_and_unlisted_is_lost_once_the_runner_had_read_the_start() -> None:
    _, dispatcher, runner, token = with_one_dispatched()
    runner.start(token)
    runner.listed.clear()
    runner.beat(inbox_offset=START)
    dispatcher.work()
    assert not causes(dispatcher), "that heartbeat was sent before the start was read"
    runner.beat(inbox_offset=START + 1)
    dispatcher.work()
    assert causes(dispatcher) == [(1, "lost")]


def test_a_lost_attempt_is_dispatched_again() -> None:
    _, dispatcher, runner, token = with_one_dispatched(slots=2)
    runner.start(token)
    runner.listed.clear()
    runner.beat()
    dispatcher.work()
    assert [command.attempt for command in dispatcher.dispatches] == [1, 2]


def test_an_abort_is_sent_again_when_it_was_read_without_effect() -> None:
    cluster, dispatcher, runner, token = with_one_dispatched()
    runner.start(token)
    cluster.abort(token.execution_id)
    dispatcher.work()
    runner.beat(inbox_offset=START + 1)
    dispatcher.work()
    assert dispatcher.told_of("abort") == [token]
    runner.beat(inbox_offset=START + 2)
    dispatcher.work()
    assert dispatcher.told_of("abort") == [token, token]


def test_no_start_is_sent_again_once_an_abort_is_requested() -> None:
    cluster, dispatcher, runner, token = with_one_dispatched()
    cluster.abort(token.execution_id)
    runner.beat()
    dispatcher.work()
    assert dispatcher.told_of("start") == [token]


def test_all_that_is_listed_but_over_is_closed_in_one_message_and_only_once() -> None:
    cluster, dispatcher, runner, token = with_one_dispatched(slots=3)
    tokens = [token, Token(cluster.submit(), 1), Token(cluster.submit(), 1)]
    for one in tokens:
        dispatcher.work()
        runner.complete(one)
    unknown = Token("0190aaaa-0000-7001-8000-000000000000", 4)
    runner.listed[unknown] = "running"
    dispatcher.work()
    inbox_offset = len(cluster.inbox)
    runner.beat(inbox_offset)
    dispatcher.work()
    closed = [telling for telling in dispatcher.told if telling.kind == "closed"]
    assert [set(telling.tokens) for telling in closed] == [{*tokens, unknown}]
    runner.beat(inbox_offset)
    dispatcher.work()
    assert dispatcher.told_of("closed") == list(closed[0].tokens), "not read yet, so not sent again"
    runner.beat(inbox_offset + 1)
    dispatcher.work()
    assert len(dispatcher.told_of("closed")) == 2 * len(tokens) + 2


def test_an_older_attempt_that_is_still_listed_is_closed() -> None:
    _, dispatcher, runner, token = with_one_dispatched(slots=2)
    runner.start(token)
    runner.listed.clear()
    runner.beat()
    dispatcher.work()
    runner.listed = {token: "running", Token(token.execution_id, 2): "running"}
    runner.beat()
    dispatcher.work()
    assert set(dispatcher.told_of("closed")) == {token}


def test_the_slot_of_a_forced_end_is_held_while_the_runner_may_not_have_read_the_start() -> None:
    cluster, dispatcher, runner, token = with_one_dispatched(slots=1)
    cluster.force_abort(token.execution_id)
    following = cluster.submit()
    runner.beat(inbox_offset=START)
    dispatcher.work()
    assert [command.execution_id for command in dispatcher.dispatches] == [token.execution_id]
    runner.beat(inbox_offset=START + 1)
    dispatcher.work()
    assert [command.execution_id for command in dispatcher.dispatches] == [token.execution_id, following]


def test_a_silent_runner_is_expired_after_a_lease_of_ticks_and_its_work_goes_to_another() -> None:
    cluster, dispatcher, runner, token = with_one_dispatched()
    runner.start(token)
    other = Runner(cluster, "r2")
    for _ in range(20):
        other.beat()
        dispatcher.tick()
    assert not causes(dispatcher)
    other.beat()
    dispatcher.tick()
    assert causes(dispatcher) == [(1, "lost")]
    assert [(command.attempt, command.runner) for command in dispatcher.dispatches] == [(1, "r1"), (2, "r2")]


def test_the_only_place_of_a_pipeline_is_free_as_soon_as_its_silent_runner_is_expired() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster)
    runner, other = Runner(cluster), Runner(cluster, "r2")
    runner.beat()
    token = Token(cluster.submit(limit=1, losses_max=0), 1)
    dispatcher.work()
    silent_ms = cluster.now_ms
    runner.start(token)
    following = cluster.submit(limit=1)
    while not causes(dispatcher):
        other.beat()
        dispatcher.tick()
    assert cluster.now_ms - silent_ms <= LEASE_MS + 2_000
    assert [command.execution_id for command in dispatcher.dispatches] == [token.execution_id, following]


def test_a_runner_that_is_heard_again_after_its_expiry_holds_its_places_again() -> None:
    cluster, dispatcher, runner, token = with_one_dispatched(slots=1)
    runner.start(token)
    while not causes(dispatcher):
        dispatcher.tick()
    runner.listed.clear()
    runner.beat()
    dispatcher.work()
    runner.start(Token(token.execution_id, 2))
    cluster.force_abort(token.execution_id)
    following = cluster.submit()
    runner.beat()
    dispatcher.work()
    assert [command.attempt for command in dispatcher.dispatches] == [1, 2], "its code may still run"
    runner.listed.clear()
    runner.beat()
    dispatcher.work()
    assert dispatcher.dispatches[-1].execution_id == following


def test_the_names_of_runners_that_are_gone_do_not_pile_up() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster)
    Runner(cluster).beat()
    dispatcher.ticks(22)
    assert "r1" not in dispatcher.desk.picture.fleet
    assert not dispatcher.desk.picture.fleet.has_lapsed("r1")


def test_a_gap_in_the_dispatchers_own_ticks_expires_nobody() -> None:
    _, dispatcher, runner, token = with_one_dispatched()
    runner.start(token)
    dispatcher.ticks(15)
    dispatcher.tick(after_ms=60_000)
    dispatcher.ticks(19)
    assert not causes(dispatcher)
    dispatcher.tick()
    assert causes(dispatcher) == [(1, "lost")]


def test_expiries_are_asked_in_portions_a_shard_and_turn() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster, due_max=2)
    runner = Runner(cluster, slots=10)
    runner.beat()
    for _ in range(5):
        cluster.submit(losses_max=0)
    dispatcher.work()
    dispatcher.turns.clear()
    dispatcher.ticks(22)
    assert [len(orders.commands) for orders in dispatcher.turns if orders.commands] == [2, 2, 1]


def test_a_runner_that_comes_back_after_its_expiry_is_told_that_all_is_closed_and_has_no_room_until_then() -> None:
    _, dispatcher, runner, token = with_one_dispatched(slots=1)
    runner.start(token)
    dispatcher.ticks(22)
    assert causes(dispatcher) == [(1, "lost")]
    runner.beat()
    dispatcher.work()
    assert dispatcher.told_of("closed") == [token]
    assert len(dispatcher.dispatches) == 1
    runner.listed.clear()
    runner.beat()
    dispatcher.work()
    assert len(dispatcher.dispatches) == 2


def test_a_start_whose_answer_was_lost_may_lie_unread_so_the_slot_is_held_until_the_runner_has_surely_passed_it() -> (
    None
):
    cluster = Cluster()
    dispatcher = acting(cluster)
    runner = Runner(cluster, slots=1)
    runner.beat()
    dispatcher.work()
    runner.beat()
    execution = cluster.submit()
    dispatcher.read()
    dispatcher.send(dispatcher.desk.turn())
    cluster.decide()
    dispatcher.fate = lambda: "unknown"
    dispatcher.work()
    dispatcher.fate = lambda: "sent"
    cluster.force_abort(execution)
    following = cluster.submit()
    for _ in range(2):
        runner.beat(inbox_offset=START)
        dispatcher.work()
    assert [command.execution_id for command in dispatcher.dispatches] == [execution]
    runner.beat()
    dispatcher.work()
    assert [command.execution_id for command in dispatcher.dispatches] == [execution, following]
