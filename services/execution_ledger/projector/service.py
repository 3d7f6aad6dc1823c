"""The projector: reads every shard's events and writes the views, each event exactly once.

A shard is served by one task that knows nothing of the others: read a batch, fold it, write rows and position in one
transaction. Where an outcome is unknown it drops everything it knows and begins again at what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import structlog
from prometheus_client import CollectorRegistry

from execution_ledger.clock import World
from execution_ledger.errors import BrokenHistory, LogTruncated, OutcomeUnknown, Permanent, Transient, Unavailable
from execution_ledger.lifecycle import run_until
from execution_ledger.log.lags import Lags
from execution_ledger.log.protocol import Chunk, Lane, Log, Reader, Record, Topic
from execution_ledger.messages.events import decode_event, digest_of
from execution_ledger.settings import ProjectorSettings

from .changes import Changes, StoredPosition
from .metrics import ProjectorMetrics
from .rows import Recorded, fold
from .store import ViewStore

READ_WAIT_S = 1.0
IDLE_READS = 3  # without anything, until the stored position is looked at again
RETRY_S_MIN = 0.05
RETRY_S_MAX = 2.0

_log = structlog.get_logger()


class ProjectorService:
    """`ready` is set while every shard is being projected. `halted` holds the shards that have
    stopped for good, and why; `has_halted` is set with the first of them."""

    name = "projector"

    def __init__(
        self,
        log: Log,
        store: ViewStore,
        world: World,
        settings: ProjectorSettings,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.ready = asyncio.Event()
        self.halted: dict[int, Permanent] = {}
        self.has_halted = asyncio.Event()
        self._log = log
        self._store = store
        self._world = world
        self._settings = settings
        self._stopping = asyncio.Event()
        self._shards = 0
        self._serving: set[int] = set()
        self._retry_s: dict[int, float] = {}  # by shard: how long to wait before the next try
        self._lags: dict[int, Lags] = {}
        self._metrics = ProjectorMetrics(registry, self._serving, self.halted, self._lags)

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Raises Permanent when the schema or the log cannot be used, and when the last shard has halted."""
        try:
            await self._run()
        finally:
            self.ready.clear()
            await self._store.close()

    async def _run(self) -> None:
        await run_until(self._stopping, self._world.spawn, ("projector start", self._start()))
        if not self._stopping.is_set():
            shards = [(f"projector shard {shard}", self._serve(shard)) for shard in range(self._shards)]
            await run_until(self._stopping, self._world.spawn, *shards)

    async def _start(self) -> None:
        retry_s = RETRY_S_MIN
        while True:
            try:
                await self._store.prepare()
                self._shards = await self._log.shards()
                return
            except Transient as error:
                retry_s = await self._wait_to_retry(retry_s, error)

    async def _serve(self, shard: int) -> None:
        """Returns only when the service stops; raises Permanent when this was the last shard that had not halted."""
        structlog.contextvars.bind_contextvars(shard=shard)  # in every line of this task
        self._lags[shard] = Lags(self._world.clock.now_ms)
        while True:
            try:
                await self._project(shard)
            except Transient as error:
                self._set_serving(shard, False)
                if isinstance(error, OutcomeUnknown):
                    self._metrics.unknown.labels(shard).inc()
                self._retry_s[shard] = await self._wait_to_retry(self._retry_s.get(shard, RETRY_S_MIN), error)
            except Permanent as error:
                return await self._halt(shard, error)

    async def _halt(self, shard: int, error: Permanent) -> None:
        """The others go on: a lie in one shard's views would not be mended by stopping theirs."""
        self._set_serving(shard, False)
        self.halted[shard] = error
        self.has_halted.set()
        _log.error("shard halted", error=str(error))
        if len(self.halted) == self._shards:
            raise error
        await self._stopping.wait()

    async def _wait_to_retry(self, retry_s: float, error: Transient) -> float:
        """Waits with jitter, so that shards do not all knock at once, and answers with the next, longer wait."""
        _log.warning("trying again", error=str(error), retry_s=retry_s)
        await asyncio.sleep(retry_s * self._world.chance.uniform(0.5, 1.0))
        return min(2 * retry_s, RETRY_S_MAX)

    def _set_serving(self, shard: int, serving: bool) -> None:
        (self._serving.add if serving else self._serving.discard)(shard)
        (self.ready.set if len(self._serving) == self._shards else self.ready.clear)()

    async def _project(self, shard: int) -> None:
        lane = Lane(Topic.EVENTS, shard)
        at = await self._store.position(shard)
        if at is not None and await self._log.end(lane) < at.next_offset:
            raise _other_log(shard, at)
        try:
            async with self._lags[shard].reader(self._log, {lane: at.kafka_offset if at else 0}) as reader:
                await self._follow(shard, at, lane, reader)
        except LogTruncated as error:
            raise error if at is None else _other_log(shard, at) from error

    async def _follow(self, shard: int, at: StoredPosition | None, lane: Lane, reader: Reader) -> None:
        chunk = Chunk((), 0) if at is None else _behind(shard, at, await _next_chunk(lane, reader))
        self._set_serving(shard, True)
        while True:
            for records, next_offset in batches(chunk, self._settings.batch_events_max):
                changes = fold(shard, at, [_recorded(record) for record in records], next_offset)
                await self._apply(at, changes)
                at = changes.position
                self._retry_s[shard] = RETRY_S_MIN
            while (found := await _next_chunk(lane, reader)) is None:
                await self._check_stored(shard, at)
            chunk = found

    async def _check_stored(self, shard: int, at: StoredPosition | None) -> None:
        """A database that failed over may be behind what it had confirmed, and no event need ever come to tell so."""
        if await self._store.position(shard) != at:
            raise OutcomeUnknown(f"The views of shard {shard} are not where this projector left them.")

    async def _apply(self, at: StoredPosition | None, changes: Changes) -> None:
        now_s = self._world.clock.monotonic_s
        began_s = now_s()
        await self._store.apply(at, changes)
        self._metrics.commit_seconds.observe(now_s() - began_s)
        self._metrics.batch_events.observe(len(changes.journal))


def batches(chunk: Chunk, events_max: int) -> Iterator[tuple[Sequence[Record], int]]:
    """The chunk's records in bounded pieces, each with the position behind it. Markers alone make no piece."""
    starts = range(0, len(chunk.records), events_max)
    for start in starts:
        end = start + events_max
        next_offset = chunk.records[end].offset if end < len(chunk.records) else chunk.position
        yield chunk.records[start:end], next_offset


async def _next_chunk(lane: Lane, reader: Reader) -> Chunk | None:
    """None where nothing came for a while."""
    for _ in range(IDLE_READS):
        chunk = (await reader.read(READ_WAIT_S)).get(lane)
        if chunk is not None:
            return chunk
    return None


def _behind(shard: int, at: StoredPosition, chunk: Chunk | None) -> Chunk:
    """The chunk without its first record, which must be the newest event that the views hold."""
    if chunk is None:
        raise Unavailable(f"The newest event of shard {shard} that the views hold does not come. It is read again.")
    first = chunk.records[0] if chunk.records else None
    if first is None or (first.offset, digest_of(first.value or b"")) != (at.kafka_offset, at.digest):
        raise _other_log(shard, at)
    return Chunk(chunk.records[1:], chunk.position)


def _other_log(shard: int, at: StoredPosition) -> BrokenHistory:
    return BrokenHistory(
        f"The views of shard {shard} are at sequence {at.sequence} (offset {at.kafka_offset}) of log {at.log_id!r}, "
        "but the log holds no such event there: it was made anew, or lost its end. `exledger views rebuild` makes the "
        "views anew from the log as it is."
    )


def _recorded(record: Record) -> Recorded:
    raw = record.value or b""
    return Recorded(decode_event(raw, record), raw, record.offset)
