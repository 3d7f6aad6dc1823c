"""Why an execution is not running: what the dispatcher says, while the real ledger decides and a test plays runners."""

from __future__ import annotations

from execution_ledger.dispatcher.board import Token
from execution_ledger.dispatcher.explain import duration, explain
from execution_ledger.messages.explanation import Explanation, Why
from unit.dispatcher_stage import Cluster, Dispatcher, Runner, acting


def on_stage(slots: int = 10, *offers: str) -> tuple[Cluster, Dispatcher, Runner]:
    cluster = Cluster()
    dispatcher = acting(cluster)
    runner = Runner(cluster, slots=slots, offers=offers or ("train",))
    runner.beat()
    dispatcher.work()
    return cluster, dispatcher, runner


def explained(dispatcher: Dispatcher, execution_id: str) -> Explanation:
    dispatcher.work()
    found = explain(dispatcher.desk, execution_id)
    assert found
    return found


def reason(dispatcher: Dispatcher, execution_id: str) -> Why:
    """The first one, which has to be the most telling."""
    return explained(dispatcher, execution_id).reasons[0]


def name_of(dispatcher: Dispatcher, execution_id: str) -> str:
    return explained(dispatcher, execution_id).name


def test_a_taken_limit_names_who_has_it() -> None:
    cluster, dispatcher, _ = on_stage()
    first, second = cluster.submit(limit=1), cluster.submit(limit=1, shard=2)
    why = reason(dispatcher, second)
    holder = name_of(dispatcher, first)
    assert holder.startswith("train-")
    assert (why.code, why.text) == ("limit_taken", f"The limit 1 of train is taken by {holder}.")
    assert why.next == f"Wait for one to end, or end one: exledger abort {holder}"
    use = explained(dispatcher, second).limit
    assert use
    assert (use.limit, use.used, [held.id for held in use.holders]) == (1, 1, [first])


def test_many_holders_are_counted_and_few_named() -> None:
    cluster, dispatcher, _ = on_stage(slots=30)
    for _ in range(25):
        cluster.submit(limit=25)
    dispatcher.work()
    why = reason(dispatcher, cluster.submit(limit=25))
    assert why.text.startswith("The limit 25 of train is taken by train-")
    assert why.text.endswith(" and 22 more.")


def test_a_holder_that_has_ended_without_its_runners_word_still_holds() -> None:
    cluster, dispatcher, runner = on_stage()
    first, second = cluster.submit(limit=1), cluster.submit(limit=1)
    dispatcher.work()
    runner.start(Token(first, 1))
    cluster.force_abort(first)
    why = reason(dispatcher, second)
    assert first in why.text
    assert "its code perhaps not" in why.text
    assert why.next is None


def test_without_any_runner_it_says_how_to_start_one() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster)
    why = reason(dispatcher, cluster.submit())
    assert (why.code, why.text) == ("no_runner", "No runner of pool default is heard of.")
    assert why.next
    assert "exledger serve runner" in why.next


def test_a_version_that_nobody_offers_is_named_and_who_offers_another() -> None:
    cluster, dispatcher, runner = on_stage()
    runner.offers = {"train": "train-v2"}
    runner.beat()
    execution_id = cluster.submit()
    why = reason(dispatcher, execution_id)
    assert (why.code, why.text) == ("not_offered", "No runner offers version 1 of train. r1 offers another version.")
    assert why.next
    name = name_of(dispatcher, execution_id)
    assert why.next.endswith(f"exledger abort {name}, then exledger rerun {name} --newest")


def test_runners_that_stop_or_are_silent_are_named() -> None:
    cluster, dispatcher, runner = on_stage()
    runner.draining = True
    runner.beat()
    waiting = cluster.submit()
    assert reason(dispatcher, waiting).code == "runners_away"
    runner.draining = False
    runner.beat()
    dispatcher.work()
    dispatcher.ticks(8)
    why = reason(dispatcher, cluster.submit())
    assert (why.code, why.text) == (
        "runners_away",
        "Every runner that offers version 1 of train is stopping or silent: r1.",
    )


def test_taken_slots_are_counted() -> None:
    cluster, dispatcher, _ = on_stage(slots=2)
    for shard in (1, 2):
        cluster.submit(shard=shard)
    waiting = cluster.submit()
    why = reason(dispatcher, waiting)
    assert (why.code, why.text) == ("slots_taken", "All 2 slots of the runners that offer it are taken.")
    offered = explained(dispatcher, waiting).runners
    assert offered
    assert (offered.runners, offered.slots, offered.free) == (1, 2, 0)


def test_its_place_counts_who_is_before_it_by_priority_and_then_age() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster)
    ids: list[str] = []
    for pipeline, priority in (("train", 0), ("load", 0), ("train", 0), ("train", 9)):
        cluster.now_ms += 1
        ids.append(cluster.submit(pipeline, priority=priority, shard=1 + len(ids) % 2))
    dispatcher.ticks(3)
    places = [explained(dispatcher, execution_id).place for execution_id in ids]
    assert [(place.before, place.before_of_pipeline) for place in places if place] == [(1, 1), (2, 0), (3, 2), (0, 0)]
    assert all(place and 3_000 <= place.waiting_ms < 3_010 for place in places)


def test_every_hindrance_is_told_not_only_the_first() -> None:
    cluster, dispatcher, _ = on_stage(slots=1)
    cluster.submit(limit=1)
    waiting = cluster.submit(limit=1, shard=2)
    assert [why.code for why in explained(dispatcher, waiting).reasons] == ["slots_taken", "limit_taken"]


def test_where_nothing_is_in_its_way_its_turn_is_told() -> None:
    cluster, dispatcher, _ = on_stage()
    cluster.submit()
    cluster.now_ms += 1
    second = cluster.submit()
    dispatcher.read()  # and no turn taken yet
    found = explain(dispatcher.desk, second)
    assert found
    assert found.reasons == [Why(code="turn", text="Nothing is in its way: 1 is before it.")]


def test_a_ledger_that_does_not_answer_is_named_for_those_asked_and_for_those_behind() -> None:
    cluster, dispatcher, runner = on_stage(slots=2)
    runner.slots = 0
    runner.beat()
    asked, behind = cluster.submit(), cluster.submit()
    dispatcher.work()
    cluster.ledgers[1].is_away = True
    runner.slots = 2
    runner.beat()
    assert reason(dispatcher, asked).code == "asked"
    dispatcher.ticks(4)
    assert reason(dispatcher, asked) == Why(
        code="ledger_away",
        text="The ledger of shard 1 was asked 4 s ago to dispatch it, and has not answered.",
        next="See that a ledger runs, and its log: exledger serve ledger",
    )
    why = reason(dispatcher, behind)
    assert why.code == "ledger_away"
    assert "has 1 others to dispatch first, the oldest asked for 4 s ago" in why.text


def test_dispatched_and_not_started_names_the_runner_and_since_when() -> None:
    cluster, dispatcher, _ = on_stage()
    execution_id = cluster.submit()
    dispatcher.work()
    dispatcher.ticks(2)
    found = explained(dispatcher, execution_id)
    assert [why.text for why in found.reasons] == ["It was dispatched to r1 2 s ago, and has not started yet."]
    assert (found.status, found.attempt, found.runner, found.place) == ("queued", 1, "r1", None)


def test_a_silent_runner_is_told_beside_what_it_runs() -> None:
    cluster, dispatcher, runner = on_stage()
    execution_id = cluster.submit()
    dispatcher.work()
    runner.start(Token(execution_id, 1))
    runner.beat()
    dispatcher.work()
    dispatcher.ticks(9)
    found = explained(dispatcher, execution_id)
    assert found.status == "started"
    assert [why.text for why in found.reasons] == [
        "It runs on r1, started 9 s ago.",
        "r1 is silent for 9 s. After 20 s the attempt counts as lost.",
    ]


def test_an_abort_tells_how_long_the_runner_has_left() -> None:
    cluster, dispatcher, runner = on_stage()
    execution_id = cluster.submit()
    dispatcher.work()
    runner.start(Token(execution_id, 1))
    dispatcher.ticks(2)
    cluster.abort(execution_id)
    asked_ms = cluster.now_ms
    dispatcher.ticks(3)
    found = explained(dispatcher, execution_id)
    assert (found.status, found.since) == ("abort_requested", asked_ms)
    assert [(why.code, why.text) for why in found.reasons] == [
        ("aborting", "It was asked to end. r1 has 7 s left to end it.")
    ]


def test_one_that_has_ended_is_not_known_any_more() -> None:
    cluster, dispatcher, runner = on_stage()
    execution_id = cluster.submit()
    dispatcher.work()
    runner.complete(Token(execution_id, 1))
    dispatcher.work()
    assert explain(dispatcher.desk, execution_id) is None


def test_durations_read_as_people_say_them() -> None:
    assert [duration(ms) for ms in (-5, 999, 1_000, 119_999, 120_000)] == [
        "less than a second",
        "less than a second",
        "1 s",
        "119 s",
        "2 min",
    ]
