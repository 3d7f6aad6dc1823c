"""A snapshot and the tail behind it come to what the whole log comes to, for the ledger and for the dispatcher."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution_ledger.dispatcher.desk import Desk, DeskSettings
from execution_ledger.dispatcher.keeping import LAYOUT as DISPATCHER
from execution_ledger.ledger.keeping import LAYOUT as LEDGER
from execution_ledger.ledger.memory import Remembered
from execution_ledger.ledger.shard import initial
from execution_ledger.messages.events import FACTS, Event
from execution_ledger.messages.heartbeats import DispatcherTick
from execution_ledger.settings import LedgerSettings
from execution_ledger.snapshots.layout import Layout, as_json
from unit.dispatcher_stage import LEASE_MS, SHARDS, START_MS, Cluster, Runner, acting
from unit.histories import Step, folded, interleaved, recorded, steps, story_of

# What the folds of this release make of `recorded.jsonl`. Where only these have changed, the fold has: raise
# FOLD_VERSION in ledger/shard.py or dispatcher/folded.py, so that no state of the old fold is gone on with.
LEDGER_GOLDEN = [
    "2cfdfb49a4b98a9ae0c221e59ee9be71101bfaa0ae1a31a26ac6f48105a4464a",
    "609281818d25627d9b2cf9c07087f893e33a047a9ef9d32a7afce7f22324f56d",
    "6c241c838f79991ef09df1be44d5f21633a0b46fa810fbc64a5203c582879b4a",
]
DISPATCHER_GOLDEN = "a3361347949244c7d3bcef2f0f601fd75d1dd1f3d3e19fe529630be3914f5807"


def written_and_read(layout: Layout[Any], state: Any) -> Any:
    gathering = layout.gathering()
    for line in layout.lines(state):
        gathering.add(json.loads(as_json(line)))
    return gathering.state()


def new_desk() -> Desk:
    return Desk(DeskSettings("me", SHARDS, LEASE_MS, 4_000, 500), lambda: "fresh")


def follow(desk: Desk, history: Sequence[tuple[Event, int]]) -> Desk:
    for event, offset in history:
        desk.event(event, offset)
    return desk


def seen(desk: Desk) -> dict[str, object]:
    """All that events decide, the parts that a snapshot leaves to be worked out included."""
    picture = desk.picture
    return {
        "folded": DISPATCHER.digest(desk.folded()),
        "queue": {group: sorted(places) for group, places in picture.queue.groups()},
        "live": {runner: set(picture.board.live_on(runner)) for runner in picture.board.runners()},
        "deadlines": picture.deadlines._current,
        "taken": picture.slots._taken,
        "held": picture.slots._held,
        "counts": (picture.slots._by_runner, picture.slots._by_pipeline, picture.slots._alone),
        "claims": (desk.claims.newest, desk.claims.own, desk.claims._other),
    }


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 200))
def test_a_ledger_goes_on_from_a_snapshot_as_if_it_had_read_all(told: Sequence[Step], cut: int) -> None:
    for ledger in story_of(told).ledgers:
        kept = written_and_read(LEDGER, folded(ledger.history[:cut], ledger.shard))
        assert kept == folded(ledger.history[:cut], ledger.shard)
        assert folded(ledger.history[cut:], ledger.shard, kept) == ledger.state


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 200))
def test_a_dispatcher_goes_on_from_a_snapshot_as_if_it_had_read_all(told: Sequence[Step], cut: int) -> None:
    history = list(interleaved(story_of(told)))
    before, after = new_desk(), new_desk()
    after.restore(written_and_read(DISPATCHER, follow(before, history[:cut]).folded()))
    assert seen(follow(after, history[cut:])) == seen(follow(before, history[cut:]))


def test_a_copy_of_the_board_stays_as_it_was_while_the_board_goes_on() -> None:
    cluster = Cluster()
    cluster.submit()
    dispatcher = acting(cluster)
    before = dispatcher.desk.folded()
    digest = DISPATCHER.digest(before)
    runner = Runner(cluster)
    runner.beat()
    dispatcher.ticks(2)
    assert dispatcher.dispatches
    assert DISPATCHER.digest(before) == digest != DISPATCHER.digest(dispatcher.desk.folded())


def test_a_place_that_was_proved_free_stays_free_and_one_asked_for_is_not_in_a_snapshot() -> None:
    cluster = Cluster()
    dispatcher, runner = acting(cluster), Runner(cluster, slots=1)
    first = cluster.submit(limit=1)
    runner.beat()
    dispatcher.ticks(1)
    runner.start(dispatcher.told_of("start")[0])
    cluster.force_abort(first)
    dispatcher.ticks(1)
    assert [held.runner for held in dispatcher.desk.folded().held.values()] == ["r1"]
    runner.listed.clear()
    for _ in range(2):
        runner.beat()
        dispatcher.ticks(1)
    assert dispatcher.desk.folded().held == {}
    cluster.submit(limit=1)
    dispatcher.fate = lambda: "lost"
    runner.beat()
    dispatcher.ticks(1)
    assert dispatcher.desk.picture.slots.running("train") == 1
    restarted = new_desk()
    restarted.restore(written_and_read(DISPATCHER, dispatcher.desk.folded()))
    assert restarted.picture.slots.running("train") == 0
    assert len(restarted.picture.queue) == 1


def test_a_restored_dispatcher_waits_for_the_one_that_claimed_last() -> None:
    dispatcher = acting(Cluster())
    restarted = new_desk()
    restarted.restore(dispatcher.desk.folded())
    restarted.tick(DispatcherTick(process="me"), dispatcher.cluster.now_ms)
    assert restarted.claims.other_acts
    restarted.tick(DispatcherTick(process="me"), dispatcher.cluster.now_ms + 4_001)
    assert not restarted.claims.other_acts


def test_the_recorded_history_holds_every_type_of_event() -> None:
    assert {event.data.TYPE for event in recorded()} == {fact.TYPE for fact in FACTS}, "see histories.record"


@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_ledgers_fold_is_the_one_of_its_version(shard: int) -> None:
    digest = LEDGER.digest(folded([event for event in recorded() if event.shard == shard], shard))
    assert digest == LEDGER_GOLDEN[shard], "the fold has changed: raise FOLD_VERSION, and then this digest"


def test_the_dispatchers_fold_is_the_one_of_its_version() -> None:
    desk = follow(new_desk(), [(event, event.sequence) for event in recorded()])
    digest = DISPATCHER.digest(desk.folded())
    assert digest == DISPATCHER_GOLDEN, "the fold has changed: raise FOLD_VERSION, and then this digest"


def test_a_digest_does_not_depend_on_the_order_in_which_a_map_lies() -> None:
    state = initial(1, SHARDS, LedgerSettings())
    one = state.sources.adding("a", 1, START_MS).adding("b", 2, START_MS)
    other = state.sources.adding("b", 2, START_MS).adding("a", 1, START_MS)
    layout = Layout[Any](Remembered[int])
    assert layout.digest(one) == layout.digest(other) != layout.digest(one.adding("a", 3, START_MS))
