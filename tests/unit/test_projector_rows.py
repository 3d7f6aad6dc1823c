"""The fold behind the views: what it refuses, and how much it leaves for the store to write."""

from __future__ import annotations

from typing import Any

import pytest

from contract.events_builder import BEGIN_MS, History
from contract.store_case import COMPLETED, DISPATCHED, STARTED
from execution_ledger.errors import BrokenHistory
from execution_ledger.messages.events import Requeued, ShardCheckpointed, digest_of
from execution_ledger.projector.changes import StoredPosition
from execution_ledger.projector.columns import moment, storable
from execution_ledger.projector.rows import Recorded, fold


@pytest.fixture
def history() -> History:
    return History()


def position_of(history: History) -> StoredPosition:
    return fold(history.shard, None, history.events, history.offset).position


def follow(history: History, **envelope: Any) -> None:
    """Folds the history so far, then one more event that is not as it must be."""
    at = position_of(history)
    event = history.event("shard", ShardCheckpointed(ignored=0), **envelope)
    fold(1, at, [Recorded(event, b"raw", history.offset)], history.offset + 1)


def test_however_many_events_one_row_is_written(history: History) -> None:
    executions = [history.queue(), history.queue()]
    for execution in executions:
        history.add(execution, DISPATCHED, STARTED, COMPLETED)
    changes = fold(1, None, history.take(), history.offset)
    assert (len(changes.journal), len(changes.created), len(changes.progress), changes.patches()) == (8, 2, 2, [])


def test_earlier_executions_are_patched_in_the_order_of_their_ids(history: History) -> None:
    executions = [history.queue() for _ in range(3)]
    at = position_of(history)
    history.take()
    for execution in reversed(executions):
        history.add(execution, DISPATCHED)
    changes = fold(1, at, history.take(), history.offset)
    assert [progress.id for progress in changes.patches()] == executions
    assert [progress.status for progress in changes.patches()] == [None, None, None]


def test_a_patch_knows_which_event_it_continues(history: History) -> None:
    execution = history.queue()
    at = position_of(history)
    history.take()
    history.add(execution, DISPATCHED, STARTED)
    (progress,) = fold(1, at, history.take(), history.offset).patches()
    assert (progress.known_version, progress.known_digest) == (1, digest_of(history.events[0].raw))
    assert (progress.version, progress.digest) == (3, digest_of(history.events[-1].raw))


def test_back_in_the_queue_nothing_of_the_attempt_is_left(history: History) -> None:
    execution = history.queue()
    at = position_of(history)
    history.take()
    history.add(execution, DISPATCHED, STARTED, Requeued(attempt=1, cause="released"))
    (progress,) = fold(1, at, history.take(), history.offset).patches()
    assert (progress.restarted, progress.runner, progress.started_at, progress.losses) == (True, None, None, 0)


def test_the_position_is_the_readers(history: History) -> None:
    history.queue()
    position = fold(1, None, history.take(), next_offset=77).position
    assert (position.next_offset, position.kafka_offset, position.sequence) == (77, 0, 1)


def test_times_are_exact() -> None:
    assert {moment(BEGIN_MS + ms).microsecond for ms in range(1000)} == {1000 * ms for ms in range(1000)}


def test_only_what_postgres_cannot_hold_is_replaced() -> None:
    assert storable("a\x00b\x01\u2028") == "a\ufffdb\x01\u2028"
    assert storable(None) is None


@pytest.mark.parametrize("begun", [True, False])
def test_an_empty_batch_is_a_mistake(history: History, begun: bool) -> None:
    history.queue()
    with pytest.raises(ValueError, match="nothing to fold"):
        fold(1, position_of(history) if begun else None, [], 0)


# --- what must not be projected ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("sequence", "wrong"), [(1, "repeat"), (3, "gap")])
def test_a_gap_or_a_repeat_is_refused(history: History, sequence: int, wrong: str) -> None:
    history.queue()
    with pytest.raises(BrokenHistory, match=f"Shard 1 goes on with sequence {sequence} where 2 must come"):
        follow(history, sequence=sequence)


def test_a_history_begins_at_one(history: History) -> None:
    history.queue()
    history.queue()
    with pytest.raises(BrokenHistory, match="sequence 2 where 1 must come"):
        fold(1, None, history.events[1:], 2)


def test_an_owner_that_was_fenced_is_refused(history: History) -> None:
    history.ownerepoch = 2
    history.queue()
    with pytest.raises(BrokenHistory, match="owner 1, although owner 2"):
        follow(history, ownerepoch=1)


def test_time_that_goes_back_is_refused(history: History) -> None:
    history.queue()
    with pytest.raises(BrokenHistory, match="recordedtime goes back"):
        follow(history, recordedtime=BEGIN_MS)


@pytest.mark.parametrize(
    "stranger", [{"source": "/execution-ledger/log-2/1"}, {"shard": 2, "source": "/execution-ledger/log-1/2"}]
)
def test_another_log_or_shard_is_refused(history: History, stranger: dict[str, Any]) -> None:
    history.queue()
    with pytest.raises(BrokenHistory, match="views rebuild"):
        follow(history, **stranger)


@pytest.mark.parametrize("broken", [{"previous": "0" * 64}, {"version": 3}])
def test_a_chain_that_breaks_within_a_batch_is_refused(history: History, broken: dict[str, Any]) -> None:
    execution = history.queue()
    history.add(execution, DISPATCHED, **broken)
    with pytest.raises(BrokenHistory, match="does not continue"):
        fold(1, None, history.take(), history.offset)


def test_an_execution_begins_with_being_queued_and_only_once(history: History) -> None:
    execution = history.queue()
    history.add(execution, history.events[0].event.data)
    with pytest.raises(BrokenHistory, match="does not continue"):
        fold(1, None, history.take(), history.offset)
    other = History()
    other.add(other.new_id(), DISPATCHED)
    with pytest.raises(BrokenHistory, match="does not continue"):
        fold(1, None, other.take(), other.offset)


def test_a_shard_event_with_a_version_is_refused(history: History) -> None:
    history.add(history.queue(), DISPATCHED)
    execution = history.events[0].event.subject
    history.add(execution, ShardCheckpointed(ignored=0), version=3, previous=digest_of(history.events[-1].raw))
    with pytest.raises(BrokenHistory, match="not part of an execution's history"):
        fold(1, None, history.take(), history.offset)
