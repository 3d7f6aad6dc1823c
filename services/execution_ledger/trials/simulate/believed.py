"""The snapshots of a run, read as a start would read them: what it would believe must be the fold of the log up to
there. Promise 7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from execution_ledger.dispatcher import keeping as dispatchers
from execution_ledger.dispatcher.claims import Claim
from execution_ledger.dispatcher.desk import Desk, DeskSettings
from execution_ledger.dispatcher.folded import Folded
from execution_ledger.ledger import keeping as ledgers
from execution_ledger.ledger.shard import ShardState
from execution_ledger.messages.events import digest_of
from execution_ledger.snapshots.form import Head, Mark, Snapshot, Unusable, read
from execution_ledger.snapshots.layout import Layout
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.history import Stored

from .decoded import decoded
from .states import States

_LEASE_MS = 1_000  # of no moment: the desk that folds hears no heartbeats


async def check_snapshots(
    shown: Sequence[tuple[str, bytes]], history: Mapping[int, Sequence[Stored]], states: States
) -> list[Breach]:
    """The ledgers' go to the other states that are compared with the fold; how many would be believed is counted."""
    found: list[Breach] = []
    for name, whole in dict.fromkeys(shown):
        if "/dispatcher/" in name:
            folded = await _read(name, whole, dispatchers.LAYOUT, history)
            found += _check_dispatchers(name, folded, history) if folded else []
        elif state := await _read(name, whole, ledgers.LAYOUT, history):
            states.believe(state.state, state.marks[0].digest)
    return found


async def _read(
    name: str, whole: bytes, layout: Layout[Any], history: Mapping[int, Sequence[Stored]]
) -> Snapshot[Any] | None:
    """None for one that no start would believe."""
    _, log_id, _, of = name.split("/")
    expected = Head(of.rpartition("-")[2], log_id, len(history))
    try:
        snapshot: Snapshot[ShardState | Folded] = await read(_whole(whole), layout, expected)
    except Unusable:
        return None
    return snapshot if all(_holds(history[mark.shard], mark) for mark in snapshot.marks) else None


async def _whole(whole: bytes) -> AsyncIterator[bytes]:
    yield whole


def _holds(events: Sequence[Stored], mark: Mark) -> bool:
    return any(offset == mark.offset and digest_of(raw) == mark.digest for raw, offset in events)


def _check_dispatchers(
    name: str, snapshot: Snapshot[Folded], history: Mapping[int, Sequence[Stored]]
) -> Iterator[Breach]:
    """Without the places that are held: heartbeats, too, say which those are. Limits are watched while code runs."""
    desk = Desk(DeskSettings("checker", len(history), _LEASE_MS, _LEASE_MS, 1), fresh_id=str)
    for mark in snapshot.marks:
        for raw, offset in history[mark.shard]:
            if offset <= mark.offset:
                desk.event(decoded(raw), offset)
    digest = dispatchers.LAYOUT.digest
    if digest(_comparable(desk.folded())) != digest(_comparable(snapshot.state)):
        yield Breach(7, 0, None, None, f"The snapshot {name} is not the fold of the log up to its marks.")


def _comparable(folded: Folded) -> Folded:
    """When a claim was recorded depends on which shard's record of it was read first."""
    return replace(folded, held={}, claim=Claim(folded.claim.number, folded.claim.dispatcher))
