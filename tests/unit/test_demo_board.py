"""The demo's table is a fold over events, and its chain is computed from their bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from execution_ledger.demo.board import Board, Row, chain
from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    Completed,
    Dispatched,
    Fact,
    Failed,
    Queued,
    Started,
    Warned,
    digest_of,
    encode_event,
    make_event,
)
from execution_ledger.messages.parts import Failure, Options, Origin, PipelineRef, Policy
from execution_ledger.messages.payload import json_payload

BEGIN_S = 1_795_000_000


def queued(ordinal: int = 0, pipeline: str = "trend") -> Queued:
    return Queued(
        number=ordinal + 1,
        name=f"{pipeline}-{ordinal + 1}",
        pipeline=PipelineRef(name=pipeline, version=1, digest="d"),
        inputs=json_payload({}),
        twin="Japan",
        mode="production",
        options=Options(train=False, plot=False, write=True),
        priority=0,
        pool="default",
        policy=Policy(),
        origin=Origin(source="batch", ordinal=ordinal),
    )


def history(*facts: Fact, subject: str = "e-1", **envelope: Any) -> list[bytes]:
    """As a ledger writes it: a second between two events, each with the digest of the one before."""
    raws: list[bytes] = []
    for version, fact in enumerate(facts, 1):
        at = (BEGIN_S + version) * 1_000
        event = make_event(
            fact,
            id=f"0-{version}",
            source="/execution-ledger/x/0",
            subject=subject,
            time=at,
            recordedtime=at,
            shard=0,
            sequence=version,
            version=version,
            previous=digest_of(raws[-1]) if raws else None,
            ownerepoch=1,
            cmdoffset=0,
            repoffset=0,
            **envelope,
        )
        raws.append(encode_event(event))
    return raws


def board_of(*histories: Iterable[bytes]) -> Board:
    board = Board()
    for raw in (raw for events in histories for raw in events):
        board.fold(raw)
    return board


def row_of(*facts: Fact, **envelope: Any) -> Row:
    [row] = board_of(history(queued(), *facts, **envelope)).rows
    return row


def dispatched() -> Dispatched:
    return Dispatched(attempt=1, runner="runner-1", claim=1)


def started() -> Started:
    return Started(attempt=1, runner="runner-1", ordinal=1)


def now(seconds: float) -> float:
    return BEGIN_S + seconds


def test_what_is_dispatched_still_waits() -> None:
    row = row_of(dispatched())
    assert (row.status, row.waited_s(now(5)), row.ran_s(now(5))) == ("queued", 4.0, None)


def test_what_has_started_waits_no_longer_and_runs() -> None:
    row = row_of(dispatched(), started())
    assert (row.status, row.waited_s(now(9)), row.ran_s(now(9))) == ("started", 2.0, 6.0)


def test_what_has_completed_says_what_came_out() -> None:
    row = row_of(dispatched(), started(), Completed(attempt=1, outputs=json_payload({"summary": "all went up"})))
    assert (row.status, row.said, row.ran_s(now(9))) == ("completed", "all went up", 1.0)


def test_what_has_failed_says_why() -> None:
    failure = Failure(kind="user", message="ValueError: no such country")
    row = row_of(dispatched(), started(), Failed(attempt=1, failure=failure))
    assert (row.status, row.said) == ("failed", "ValueError: no such country")


def test_what_was_aborted_in_the_queue_says_who_wanted_it_and_never_ran() -> None:
    row = row_of(AbortRequested(), Aborted(outcome="never_started"), actor="ada", reason="not needed")
    assert (row.status, row.said) == ("aborted", "by ada: not needed")
    assert (row.waited_s(now(9)), row.ran_s(now(9))) == (2.0, None)


def test_a_warning_is_shown_while_it_runs() -> None:
    row = row_of(dispatched(), started(), Warned(attempt=1, ordinal=2, message="it fell"))
    assert (row.status, row.said, row.warnings) == ("started", "it fell", 1)


def test_rows_stand_in_the_order_of_the_batch() -> None:
    board = board_of(history(queued(1), subject="e-2"), history(queued(0), subject="e-1"))
    assert [row.name for row in board.rows] == ["trend-1", "trend-2"]


def test_all_have_ended_only_when_as_many_as_expected_are_there() -> None:
    one = history(queued(), AbortRequested(), Aborted(outcome="never_started"), actor="ada", reason="why not")
    assert board_of(one).ended(1)
    assert not board_of(one).ended(2)
    assert not board_of(one, history(queued(1), subject="e-2")).ended(2)


def test_events_of_nothing_that_was_queued_here_are_passed_over() -> None:
    assert board_of(history(dispatched(), started())).rows == []


def test_an_untouched_chain_holds() -> None:
    assert [link.holds for link in chain(history(queued(), dispatched(), started()))] == [True, True, True]


def test_one_changed_byte_breaks_the_chain_behind_it() -> None:
    first, *others = history(queued(), dispatched(), started())
    forged = first.replace(b"Japan", b"Japon")
    assert [link.holds for link in chain([forged, *others])] == [True, False, True]


def test_a_missing_event_breaks_the_chain() -> None:
    first, _, last = history(queued(), dispatched(), started())
    assert [link.holds for link in chain([first, last])] == [True, False]
