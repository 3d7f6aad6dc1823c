"""The log: what every service reads and writes, and the first of the project's two seams (the other: the view store).

Two implementations, `kafka.py` and `memory.py`, pass one contract suite. A *lane* is one partition of one topic; a
shard's events are a lane too. A *position* is the offset of the next record to read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class Topic(StrEnum):
    COMMANDS = "commands"
    REPORTS = "reports"
    EVENTS = "events"
    INBOX = "inbox"
    HEARTBEATS = "heartbeats"
    LOGS = "logs"


class Lane(NamedTuple):
    topic: Topic
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record as the log holds it. `time_ms` is when the log appended it; on `events` it is the writer's."""

    lane: Lane
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None

    def __str__(self) -> str:
        return f"offset {self.offset} of {self.lane.topic}, partition {self.lane.partition}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to write. Headers repeat what a reader may want to know without parsing the value."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one read brought of one lane: `position` lies behind the records and behind any markers after them."""

    records: Sequence[Record]
    position: int


class Ends(NamedTuple):
    """Where a lane ended at the broker's last answer: `stable` is what can be read to, `high` what is written.

    Between the two lies what is not decided yet: for long only where a transaction hangs, and all readers with it.
    """

    stable: int
    high: int


class Reader(Protocol):
    """Reads several lanes at once; of `events` only what is committed."""

    async def read(self, wait_s: float) -> Mapping[Lane, Chunk]:
        """What has come, at once if there is anything, else after at most `wait_s` seconds ({} then).

        A chunk without records has only moved over markers. Raises LogTruncated where a position lies outside the
        log, and Stalled where records exist but none come; a reader that has raised is finished: open a new one.
        """
        ...

    def ends(self) -> Mapping[Lane, Ends]:
        """What reading brought along anyway, so asking costs nothing; without the lanes that no broker answered for."""
        ...


class Writer(Protocol):
    """The only one who may append to a shard's events, until someone else takes it over."""

    @property
    def shard(self) -> int: ...

    @property
    def end(self) -> int:
        """The shard's end right after the take-over: everything before it is decided for good."""
        ...

    async def append(self, batch: Sequence[Outgoing]) -> int:
        """All or nothing, decided for good when this returns, and seen by readers moments later; not to be cancelled.

        Answers with the offset of the last record, -1 for none.

        Raises Fenced when the shard was taken over. Raises OutcomeUnknown when no answer came: the writer is
        destroyed then, and only a new take-over can tell what happened. Raises BadRequest, before anything is sent,
        for a record that is too large. One writer, one append at a time.
        """
        ...


class Log(Protocol):
    async def shards(self) -> int:
        """How many shards this log has. Raises TopicContract where there is none."""
        ...

    def reader(self, positions: Mapping[Lane, int]) -> AbstractAsyncContextManager[Reader]: ...

    def take_over(self, shard: int) -> AbstractAsyncContextManager[Writer]:
        """Fences the shard's writer, resolves what it left open, and only then learns where the shard ends."""
        ...

    async def send(self, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        """Appends to a lane that has no owner; answers with the offsets once all replicas have them.

        Raises OutcomeUnknown when an answer is missing: each record may be there or not.
        """
        ...

    async def begin(self, lane: Lane) -> int:
        """The oldest position that can still be read."""
        ...

    async def end(self, lane: Lane) -> int:
        """The last stable position: what a reader can get to now."""
        ...

    async def position_at(self, lane: Lane, time_ms: int) -> int:
        """The first position appended at or after `time_ms`, or the end where there is none."""
        ...
