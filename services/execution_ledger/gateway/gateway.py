"""The gateway's parts in one place, for the routes."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from execution_ledger.access import AccessToken
from execution_ledger.clock import World
from execution_ledger.errors import LedgerError
from execution_ledger.log.protocol import Lane, Log, Topic
from execution_ledger.messages.ids import CATALOG_SHARD
from execution_ledger.messages.position import Position
from execution_ledger.settings import Settings

from .edge.admission import Admission
from .edge.disks import Disks
from .edge.lag import Lag, lag_in_log_time_s
from .metrics import Metrics, Now
from .reads.job_views import JobsInViews
from .reads.reading import Reading
from .reads.views import Views
from .storing import Storing
from .stream.dispatcher import ActiveDispatcher
from .stream.tail import Tail
from .writes.commands import CommandSender
from .writes.job_work import JobWork
from .writes.sending import undecided_everywhere

BATCHES_AT_ONCE = 2  # each may hold tens of megabytes while it is checked
KAFKA_ANSWER_S = 2.0
BEHIND_S_MAX = 5.0  # of views and of decisions, while this gateway counts as ready
LOOK_S = 1.0  # between two looks at how far behind they are
DISK_LOOKS = 5  # of these looks, one goes to the disks, too


class Gateway:
    """Raises BadSettings without a token."""

    def __init__(self, log: Log, world: World, settings: Settings, registry: CollectorRegistry | None = None) -> None:
        self.settings = settings.gateway
        self.world = world
        self.log = log
        self.token = AccessToken(settings.gateway, world.clock)
        self.metrics = Metrics(registry, self._now)
        self.tail = Tail(log)
        self.dispatcher = ActiveDispatcher(self.tail.catalog)
        self.views = Views(settings.postgres.dsn.get_secret_value())
        self.reading = Reading(self.views.positions, lambda: self.tail.position, settings.gateway.read_wait_s)
        self.admission = Admission(settings.gateway, lambda: undecided_everywhere(self.tail))
        self.storing = Storing(settings, world, self.admission)
        self.commands = CommandSender(
            log,
            world,
            self.tail,
            settings.gateway.decide_wait_s,
            self.metrics.decide_seconds.observe,
            self.decided,
            self.storing,
        )
        self.jobs = JobsInViews(self.views, self.reading, self.tail)
        self.job_work = JobWork(self.commands.jobs, self.jobs)
        self._disks = Disks(settings.gateway.disk_folders, settings.gateway.disk_free_bytes_min)
        self._began_s = world.clock.monotonic_s()
        self._views_lag = Lag()
        self._decisions_lag = Lag()
        self.batches = asyncio.Semaphore(BATCHES_AT_ONCE)
        self.stopping = asyncio.Event()
        self.following = 0  # open event streams
        self.reading_logs = 0  # open streams of log lines

    def stop(self) -> None:
        """Followers end their streams; everyone else is answered first."""
        self.stopping.set()
        self.tail.moved.fire()

    async def unready(self) -> list[str]:
        """Why this gateway cannot do all of its work right now; empty when it can."""
        reasons = []
        if not self.tail.caught_up.is_set():
            reasons.append("the events have not been read to their end since the start")
        elif not self.tail.reading:
            reasons.append("the reader of the events is being opened again")
        if not await self._log_answers():
            reasons.append("Kafka does not answer")
        if not self.views.positions.known:
            reasons.append("Postgres does not answer, or its views are not made yet: reads get 503, writes go on")
        return reasons + self._behind()

    async def watch(self) -> None:
        """Looks regularly how far behind the others are, and how full the disks; only cancellation ends it."""
        await self.storing.sweep()
        while True:
            self.admission.full_disk = await self._disks.full()
            for _ in range(DISK_LOOKS):
                self._behind()
                await asyncio.sleep(LOOK_S)

    def _behind(self) -> list[str]:
        views_s, traces = self._views_lag_s(), self.tail.traces
        now_s = self.world.clock.monotonic_s()
        decisions_s = self._decisions_lag.seconds(now_s, traces.sent_ends, traces.decided_ends)
        reasons = []
        self.admission.views_behind_s = views_s if self.views.positions.known else 0.0
        if self.admission.views_behind_s > BEHIND_S_MAX:
            reasons.append(f"the views are {views_s:.0f} s behind the events: is a projector running?")
        if decisions_s > BEHIND_S_MAX:
            reasons.append(f"a command of {decisions_s:.0f} s ago is not decided yet: is a ledger running?")
        return reasons

    async def decided(self, command_id: str, at_least: Position) -> bytes | None:
        """The first event of a command, from views that include a position. Raises Away where they cannot tell."""
        await self.reading.include(at_least)
        return await self.views.command_event(command_id)

    def _views_lag_s(self) -> float:
        """A gateway that has not looked for long itself asks the times in the log."""
        now_s, views = self.world.clock.monotonic_s(), self.views.positions
        seen_s = self._views_lag.seconds(now_s, self.tail.position, views.position)
        if now_s - self._began_s > self.settings.views_behind_s_max:
            return seen_s
        return max(seen_s, lag_in_log_time_s(self.tail.rings, views.position, views.recorded_ms))

    def _now(self) -> Now:
        tail, views = self.tail.position, self.views.positions.position
        return Now(
            self.following,
            {shard: self.tail.traces.undecided(shard) for shard in tail},
            {shard: max(0, sequence - views.get(shard, 0)) for shard, sequence in tail.items()},
            self._views_lag_s(),
            self.admission.at_once,
        )

    async def _log_answers(self) -> bool:
        try:
            async with asyncio.timeout(KAFKA_ANSWER_S):
                await self.log.end(Lane(Topic.EVENTS, CATALOG_SHARD))
        except (TimeoutError, LedgerError):
            return False
        return True
