"""Keeping: writes the snapshots of one service in the background, and finds the newest that can be trusted at a start.

A snapshot only ever saves time. Whatever is wrong with one, or with the store, the log tells the same; so nothing here
holds up a commit, and one that is not proved to be of this very log and code is passed over.

It does not matter when one is read, before or after a shard was fenced, and who wrote it, the owner or a zombie: it is
the state at its mark, the log holds that mark, and everything behind is read afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from typing import Generic, NamedTuple, TypeVar

import structlog

from ..clock import World
from ..errors import LedgerError, Stalled
from ..lifecycle import end_tasks
from ..log.protocol import Lane, Log, Record, Topic
from ..messages.events import ShardCreated, decode_event, digest_of
from ..objects import Objects
from ..settings import SnapshotSettings
from . import form
from .form import Head, Mark, Snapshot, Unusable
from .layout import Layout

KEPT = 2  # of this code, and as many of other code for the way back to it
WRITE_S_MAX, READ_S_MAX = 120.0, 60.0
REST_S_MIN, REST_S_MAX = 1.0, 60.0  # after a write that failed
EVENT_S = 60e-6  # folding one event, until this process has measured it; `exledger bench restart` says what it takes
BYTE_S = 50e-9  # writing one: 8 µs for each execution or answer that is remembered
MEASURED_MIN = 1_000  # events; fewer say little
READ_WAIT_S = 5.0

T = TypeVar("T")
_log = structlog.get_logger()


class Tail(NamedTuple):
    """What lies behind the newest snapshot: a restart has to fold it."""

    events: int
    seconds: float


class Keeper(Generic[T]):
    """`written` and `failed` count. `fold` names the code that folds: another one cannot use what this one wrote."""

    def __init__(
        self, objects: Objects, world: World, settings: SnapshotSettings, layout: Layout[T], fold: str, shards: int
    ) -> None:
        self._objects, self._world, self._settings = objects, world, settings
        self._layout, self._shards = layout, shards
        self._fingerprint = sha256(f"{fold} {layout.shape}".encode()).hexdigest()[:16]
        self._writing: asyncio.Task[None] | None = None
        self._kept: dict[str, int] = {}  # by name: the events in its newest snapshot
        self._event_s = EVENT_S
        self._sizes: dict[str, int] = {}  # by name, of the newest (bytes)
        self._rest_s, self._not_before_s = REST_S_MIN, 0.0
        self.written = self.failed = 0

    def measured(self, events: int, seconds: float) -> None:
        """How long folding took."""
        if events >= MEASURED_MIN and seconds > 0:
            self._event_s = seconds / events

    def tail(self, name: str, events: int) -> Tail:
        """Of a state that includes so many events."""
        behind = max(0, events - self._kept.get(name, 0))
        return Tail(behind, behind * self._event_s)

    def is_due(self, name: str, events: int) -> bool:
        """Whether a restart would take too long."""
        is_idle = self._writing is None or self._writing.done()
        write_s = self._sizes.get(name, 0) * BYTE_S
        is_long = self.tail(name, events).seconds >= max(self._settings.due_s, write_s / self._settings.share_max)
        return is_long and is_idle and self._world.clock.monotonic_s() >= self._not_before_s

    def keep(self, name: str, log_id: str, snapshot: Snapshot[T]) -> None:
        """Begins to write it; the state must not change any more. At most one is under way."""
        self._writing = self._world.spawn(self._keep(name, log_id, snapshot), f"snapshot {name}")

    async def close(self) -> None:
        """What is half written is never seen."""
        if self._writing:
            await end_tasks([self._writing])

    async def newest(self, log: Log, name: str, shard: int) -> Snapshot[T] | None:
        """The newest that the log bears out; `shard` is one whose first event names the log. Raises Transient."""
        self._kept.pop(name, None)
        if (log_id := await _log_id(log, shard)) is None:
            return None
        try:
            async with asyncio.timeout(READ_S_MAX):  # for all of it: nobody waits for one after the other
                return await self._newest(log, name, log_id)
        except TimeoutError:
            _log.warning("no snapshot was read in time, so the whole log is read", snapshot=name, after_s=READ_S_MAX)
            return None

    async def _newest(self, log: Log, name: str, log_id: str) -> Snapshot[T] | None:
        for found in await self._names(_folder(name, log_id)):
            try:
                snapshot = await self._try_read(found, log_id)
                await _check_marks(log, snapshot.marks)
            except Unusable as reason:
                _log.warning("snapshot passed over", snapshot=found, why=str(reason))
                continue
            self._kept[name] = _events(snapshot.marks)
            _log.info("snapshot loaded", snapshot=found)
            return snapshot
        return None

    async def _names(self, folder: str) -> list[str]:
        """Newest first. Without a store the log alone has to do."""
        try:
            return (await self._objects.names(folder))[::-1]
        except LedgerError as error:
            _log.warning("snapshots cannot be listed, so the whole log is read", folder=folder, error=repr(error))
            return []

    async def read(self, found: str, log_id: str) -> Snapshot[T]:
        """Raises Unusable for one that is damaged or another's, and whatever its store raises."""
        async with aclosing(self._objects.get(found)) as pieces:
            return await form.read(pieces, self._layout, self._head(log_id))

    def is_own(self, found: str) -> bool:
        """Whether the same code has written it, with the same settings."""
        return found.endswith(self._fingerprint)

    async def _try_read(self, found: str, log_id: str) -> Snapshot[T]:
        try:
            return await self.read(found, log_id)
        except LedgerError as error:
            raise Unusable(f"it cannot be read: {error!r}") from error

    async def _keep(self, name: str, log_id: str, snapshot: Snapshot[T]) -> None:
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                await self._write(name, log_id, snapshot)
        except Exception as error:  # noqa: BLE001 - whatever it is: no snapshot is worth a ledger that stands still
            self.failed += 1
            self._not_before_s = self._world.clock.monotonic_s() + self._rest_s
            _log.warning("snapshot not written", snapshot=name, error=repr(error), again_in_s=self._rest_s)
            self._rest_s = min(2 * self._rest_s, REST_S_MAX)
            return
        self.written += 1
        self._rest_s = REST_S_MIN

    async def _write(self, name: str, log_id: str, snapshot: Snapshot[T]) -> None:
        events, folder = _events(snapshot.marks), _folder(name, log_id)
        head = replace(self._head(log_id), marks=snapshot.marks)
        pieces = self._counted(name, form.write(head, self._layout, snapshot.state))
        written = f"{folder}/{events:020d}-{self._fingerprint}"
        await self._objects.put(written, pieces)
        self._kept[name] = events
        _log.info("snapshot written", snapshot=name, events=events)
        await self._delete_older(await self._objects.names(folder), written)

    async def _counted(self, name: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        size = 0
        async for piece in pieces:
            size += len(piece)
            yield piece
        self._sizes[name] = size

    async def _delete_older(self, names: Sequence[str], written: str) -> None:
        """Those of more events do not count: another writer is ahead, or the log was restored and is shorter now."""
        own = [name for name in names if self.is_own(name) and name <= written]
        others = [name for name in names if not self.is_own(name)]
        for name in [*own[:-KEPT], *others[:-KEPT]]:
            await self._objects.delete(name)

    def _head(self, log_id: str) -> Head:
        return Head(self._fingerprint, log_id, self._shards)


def folder_of(log_id: str) -> str:
    """Each log has its own, so that one that was made anew neither finds nor deletes what was before."""
    return f"snapshots/{log_id}"


def events_in(found: str) -> int:
    """How many events a snapshot includes, by its name."""
    return int(found.rpartition("/")[2].partition("-")[0])


def _folder(name: str, log_id: str) -> str:
    return f"{folder_of(log_id)}/{name}"


def _events(marks: Sequence[Mark]) -> int:
    return sum(mark.sequence for mark in marks)


async def _log_id(log: Log, shard: int) -> str | None:
    """None where the shard has no events yet."""
    first = (await _first_records(log, {Lane(Topic.EVENTS, shard): 0})).get(Lane(Topic.EVENTS, shard))
    created = decode_event(first.value or b"").data if first else None
    return created.log_id if isinstance(created, ShardCreated) else None


async def _check_marks(log: Log, marks: Sequence[Mark]) -> None:
    """Raises Unusable where the log does not hold these very events."""
    held = await _first_records(log, {Lane(Topic.EVENTS, mark.shard): mark.offset for mark in marks})
    for mark in marks:
        record = held.get(Lane(Topic.EVENTS, mark.shard))
        if record is None or (record.offset, digest_of(record.value or b"")) != (mark.offset, mark.digest):
            raise Unusable(f"the log of shard {mark.shard} does not hold the event at its offset {mark.offset}")


async def _first_records(log: Log, positions: Mapping[Lane, int]) -> dict[Lane, Record]:
    """What comes first from these positions on; nothing of lanes that hold none, as after an abort. Raises Stalled."""
    ends = {lane: await log.end(lane) for lane in positions}
    missing = {lane: at for lane, at in positions.items() if await log.begin(lane) <= at < ends[lane]}
    found: dict[Lane, Record] = {}
    if not missing:
        return found
    async with log.reader(missing) as reader:
        while missing:
            if not (chunks := await reader.read(READ_WAIT_S)):
                raise Stalled(f"Nothing came of {missing} in {READ_WAIT_S:.0f} s. It is tried again.")
            for lane, chunk in chunks.items():
                if chunk.records:
                    found.setdefault(lane, chunk.records[0])
                if chunk.records or chunk.position >= ends[lane]:
                    missing.pop(lane, None)
    return found
