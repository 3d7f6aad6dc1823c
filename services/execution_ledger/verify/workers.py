"""The same checks in processes of their own: shards are independent of each other, and Python uses one core a process.

There are more processes than cores where there are more shards, so that the last one does not run alone for long.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized, SynchronizedArray
from typing import Self, TypeVar

from execution_ledger.errors import Unavailable
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.messages.ids import SHARDS_MAX
from execution_ledger.objects import open_objects
from execution_ledger.settings import KafkaSettings, LedgerSettings, ObjectsSettings

from .findings import Gap
from .folds.comparing import subjects
from .folds.snapshots import SnapshotCheck, SnapshotFindings
from .kept import check_kept
from .log.shard import WHOLE, Known, ShardCheck, ShardFindings
from .reading import LaneFindings, Tell, beyond_its_lanes, check_events, check_lane
from .views.postgres import ViewFindings, check_views

CLIENT = "exledger-verify"
COUNTERS = SHARDS_MAX + 1  # one for each shard, and one for what is of all shards
COLLECT_EVERY = 100_000  # objects; what a check keeps is never garbage, and looking through it takes time

J = TypeVar("J")
R = TypeVar("R")

_counted: SynchronizedArray[int]
_stopped: Synchronized[bool]


@dataclass(frozen=True)
class Job:
    """One shard. `end` is where its lane ended when the check began."""

    kafka: KafkaSettings
    shard: int
    end: int
    wanted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class EventsJob(Job):
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    known: Known = field(default_factory=Known)
    settled: int = WHOLE


@dataclass(frozen=True)
class LaneJob(Job):
    """`reports` is how many the events say to have been read."""

    traces: array[int] = field(default_factory=lambda: array("I"))
    reports: int = 0
    gaps: tuple[Gap, ...] = ()
    named: frozenset[int] = frozenset()  # sequences of whose events something is known to be wrong


@dataclass(frozen=True)
class ViewsJob(Job):
    dsn: str = ""
    shards: int = 0


@dataclass(frozen=True)
class SnapshotsJob(Job):
    """The snapshots of one name: a shard's, or the dispatcher's."""

    objects: ObjectsSettings = field(default_factory=ObjectsSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    shards: int = 0
    log_id: str = ""
    name: str = ""
    found: tuple[str, ...] = ()


class Workers:
    """`with Workers(shards) as workers: await workers.run(check_events_of, jobs)`."""

    def __init__(self, shards: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._counted = context.Array("q", COUNTERS, lock=False)
        self._stopped = context.Value("b", lock=False)
        processes = min(shards, 2 * (os.cpu_count() or 1))
        self._processes = processes
        self._pool = ProcessPoolExecutor(processes, context, _begin, (self._counted, self._stopped))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """What still runs, because something else failed or the user has had enough, ends at its next piece."""
        self._stopped.value = True
        self._pool.shutdown(cancel_futures=True)

    async def start(self) -> None:
        """Comes back when the processes are there."""
        await self.run(_ready, range(self._processes))

    @property
    def counted(self) -> int:
        """How many records all of them have read so far."""
        return sum(self._counted)

    async def run(self, check: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        """Raises whatever a check raises."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.gather(*(loop.run_in_executor(self._pool, check, job) for job in jobs))
        except BrokenProcessPool as error:
            raise Unavailable("A process of the check was killed, perhaps for want of memory. Check again.") from error


def _begin(counted: SynchronizedArray[int], stopped: Synchronized[bool]) -> None:
    global _counted, _stopped  # what a pool's initializer gives, its calls can only find here
    _counted, _stopped = counted, stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)


def _ready(_: int) -> None:
    """Nothing: that it was called is the answer."""


def check_events_of(job: EventsJob) -> ShardFindings:
    return asyncio.run(_check_events(job))


def check_lane_of(job: LaneJob) -> LaneFindings:
    return asyncio.run(_check_lane(job))


def check_snapshots_of(job: SnapshotsJob) -> SnapshotFindings:
    return asyncio.run(_check_snapshots(job))


def check_views_of(job: ViewsJob) -> ViewFindings:
    return asyncio.run(_check_views(job))


async def _check_events(job: EventsJob) -> ShardFindings:
    check = ShardCheck(job.shard, job.ledger, job.known, job.wanted, job.settled)
    async with KafkaLog(job.kafka, CLIENT) as log:
        await check_events(log, check, job.shard, job.end, _teller(job))
    return check.finish()


async def _check_lane(job: LaneJob) -> LaneFindings:
    async with KafkaLog(job.kafka, CLIENT) as log:
        found = await check_lane(log, job.shard, job.end, job.traces, job.gaps, job.wanted, _teller(job))
        found.breaches.extend(await beyond_its_lanes(log, job.shard, len(job.traces), job.reports))
        found.breaches.join(await check_kept(log, job.shard, job.named, _teller(job)))
        return found


async def _check_views(job: ViewsJob) -> ViewFindings:
    async with KafkaLog(job.kafka, CLIENT) as log:
        return await check_views(log, job.dsn, job.shard, job.shards, _teller(job))


async def _check_snapshots(job: SnapshotsJob) -> SnapshotFindings:
    objects = open_objects(job.objects)
    assert objects, "the job is about what lies there"
    subject = subjects(objects, job.ledger, job.shards)[job.name]
    async with KafkaLog(job.kafka, CLIENT) as log:
        return await SnapshotCheck(log, subject, job.log_id, _teller(job)).run(job.found)


def _teller(job: Job) -> Tell:
    def tell(more: int) -> None:
        _counted[job.shard] += more
        if _stopped.value:
            raise Unavailable("The check was given up.")

    return tell
