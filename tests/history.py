"""The promises that a log can show, checked on every event of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from execution_ledger.log.protocol import Lane, Log, Topic
from execution_ledger.messages.events import (
    Aborted,
    Completed,
    Dispatched,
    Event,
    Failed,
    Requeued,
    decode_event,
    digest_of,
)
from execution_ledger.messages.ids import shard_of

Ends = (Aborted, Completed, Failed)


@dataclass(frozen=True)
class Entry:
    event: Event
    raw: bytes
    offset: int


async def read_history(log: Log) -> list[Entry]:
    """All shards from their first event to their present end."""
    ends = {lane: await log.end(lane) for lane in (Lane(Topic.EVENTS, shard) for shard in range(await log.shards()))}
    positions, history = dict.fromkeys(ends, 0), list[Entry]()
    async with log.reader(positions) as reader:
        while any(positions[lane] < end for lane, end in ends.items()):
            for lane, chunk in (await reader.read(1)).items():
                positions[lane] = chunk.position
                values = [(record.value or b"", record.offset) for record in chunk.records]
                history += [Entry(decode_event(raw), raw, offset) for raw, offset in values]
    return sorted(history, key=lambda entry: (entry.event.shard, entry.event.sequence))


def check_history(history: list[Entry]) -> None:
    """Dense sequences, one writer at a time, unbroken chains, dense attempts, one end, one answer per command."""
    _check_shards(history)
    _check_executions(history)
    _check_commands(history)


def _check_shards(history: list[Entry]) -> None:
    newest: dict[int, Event] = {}
    for event in (entry.event for entry in history):
        before = newest.get(event.shard)
        assert event.sequence == (before.sequence + 1 if before else 1)
        if before:
            assert event.recordedtime >= before.recordedtime
            assert event.ownerepoch >= before.ownerepoch
            assert (event.cmdoffset, event.repoffset) >= (before.cmdoffset, before.repoffset)
        newest[event.shard] = event


def _check_executions(history: list[Entry]) -> None:
    chains: dict[str, tuple[int, str | None]] = {}
    attempts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for entry in (entry for entry in history if entry.event.version is not None):
        event = entry.event
        version, previous = chains.get(event.subject, (0, None))
        assert (event.version, event.previous) == (version + 1, previous)
        assert ends[event.subject] == 0, "nothing follows an end"
        assert shard_of(event.subject) == event.shard
        chains[event.subject] = (version + 1, digest_of(entry.raw))
        if isinstance(event.data, Dispatched):
            attempts[event.subject] += 1
            assert event.data.attempt == attempts[event.subject]
        ends[event.subject] += isinstance(event.data, Ends)


def _check_commands(history: list[Entry]) -> None:
    """Decided once: further traces of a command are repeats. What follows in the same breath shares its offset."""
    decided: dict[tuple[int, str], int] = {}
    for event in (entry.event for entry in history):
        if event.commandid and not event.data.TYPE.startswith("command.repeated"):
            assert decided.setdefault((event.shard, event.commandid), event.cmdoffset) == event.cmdoffset


def check_limit(history: list[Entry], pipeline: str, limit: int) -> None:
    """Never more of this pipeline under way than its limit. Within a millisecond, ends come first."""
    of_pipeline = {e.event.subject for e in history if getattr(e.event.data, "name", "").startswith(f"{pipeline}-")}
    moves = [
        (entry.event.recordedtime, isinstance(entry.event.data, Dispatched), entry.event.subject)
        for entry in history
        if entry.event.subject in of_pipeline and isinstance(entry.event.data, (Dispatched, Requeued, *Ends))
    ]
    under_way: set[str] = set()
    for _, begins, subject in sorted(moves):
        (under_way.add if begins else under_way.discard)(subject)
        assert len(under_way) <= limit
