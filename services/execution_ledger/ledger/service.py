"""The ledger: places shards among its processes, and serves those that are its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from prometheus_client import CollectorRegistry

from execution_ledger.clock import World
from execution_ledger.errors import Fenced, LogTruncated, OutcomeUnknown, Permanent, Transient
from execution_ledger.lifecycle import run_until
from execution_ledger.log.protocol import Lane, Log, Outgoing, Record, Topic
from execution_ledger.messages.heartbeats import HEARTBEATS, LedgerTick
from execution_ledger.settings import LedgerSettings
from execution_ledger.snapshots.keeping import Keeper

from .metrics import LedgerMetrics, Standing
from .placement import Placement
from .shard import ShardState
from .writing import Shard, ShardServer

PROCESS_PREFIX = "ledger-"
LOOKBACK = 1_000  # heartbeats: far more than come in the time after which a process counts as absent
RETAKE_S_MIN, RETAKE_S_MAX = 0.05, 2.0
_HEARTBEATS = Lane(Topic.HEARTBEATS, 0)

_log = structlog.get_logger()


class LedgerService:
    """Commands and reports in, events out. `ready` while every shard placed here is being served."""

    name = "ledger"

    def __init__(
        self,
        log: Log,
        world: World,
        settings: LedgerSettings,
        shards: int,
        registry: CollectorRegistry | None = None,
        keeper: Keeper[ShardState] | None = None,
    ) -> None:
        self._log, self._world, self._settings, self._shards = log, world, settings, shards
        self._keeper = keeper
        self.process = f"{PROCESS_PREFIX}{world.chance.getrandbits(48):012x}"
        self.ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._placement = Placement(self.process, settings.absent_after_ms)
        self._servers: dict[int, ShardServer] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.serving: set[int] = set()
        self._refused: set[int] = set()  # what this process cannot serve; another one may
        self._placed = 0  # how often placement was worked out
        self._bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log_time_ms = 0  # the newest append time read
        self._metrics = LedgerMetrics(registry, self._standings, world.clock.now_ms, keeper)

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        loops = (("ticks", self._tick()), ("placement", self._place()), ("bugs", self._raise_bug()))
        try:
            await run_until(self._stopping, self._world.spawn, *loops)
        finally:
            await self._leave()

    async def _tick(self) -> None:
        while True:
            await self._send_tick(leaving=False)
            await asyncio.sleep(self._settings.tick_s)

    async def _send_tick(self, *, leaving: bool) -> None:
        tick = LedgerTick(process=self.process, leaving=leaving, refused=sorted(self._refused))
        record = Outgoing(self.process.encode(), tick.model_dump_json(exclude_none=True).encode())
        try:
            await self._log.send(_HEARTBEATS, [record])
        except Transient as error:
            _log.warning("tick not acknowledged", error=str(error))  # absence is what its silence will tell

    async def _place(self) -> None:
        position: int | None = None
        while True:
            try:
                if position is None:
                    position = await self._a_little_back()
                async with self._log.reader({_HEARTBEATS: position}) as reader:
                    while True:
                        chunk = (await reader.read(wait_s=60)).get(_HEARTBEATS)
                        if chunk is not None:
                            position = chunk.position
                            self._observe(chunk.records)
            except LogTruncated as error:  # this process stood still for as long as they are kept
                _log.warning("heartbeats were missed", error=str(error))
                position = None
            except Transient as error:
                _log.warning("heartbeats cannot be read", error=str(error))
                await asyncio.sleep(self._settings.tick_s)

    async def _a_little_back(self) -> int:
        """Counted in records, not in time: this machine's clock may differ from the log's."""
        return max(await self._log.begin(_HEARTBEATS), await self._log.end(_HEARTBEATS) - LOOKBACK)

    def _observe(self, records: Sequence[Record]) -> None:
        placement_is_due = False
        for record in records:
            self._log_time_ms = record.time_ms
            tick = _ledger_tick(record)
            if tick is not None:
                if self._placement.observe(tick, record.time_ms):
                    self._doubt_all()
                placement_is_due = placement_is_due or tick.process == self.process or tick.leaving
        if placement_is_due:
            self._serve_what_is_placed_here()

    def _doubt_all(self) -> None:
        """Placement names the same as before the silence, so nothing else would tell what was taken meanwhile."""
        for server in self._servers.values():
            server.doubt()

    def _serve_what_is_placed_here(self) -> None:
        self._placed += 1
        mine = self._placement.mine(self._shards)
        for shard in self._servers.keys() - mine:
            self._servers.pop(shard).let_go()
        for shard in sorted(mine - self._servers.keys()):
            self._begin(shard)
        self._update_readiness()

    def _begin(self, number: int) -> None:
        shard = Shard(number, self._shards)
        server = ShardServer(
            self._log,
            self._world,
            self._settings,
            shard,
            self.process,
            lambda: self._log_time_ms,
            self._metrics,
            self._keeper,
        )
        self._servers[number] = server
        previous = self._tasks.get(number)
        self._tasks[number] = self._world.spawn(self._keep_serving(number, server, previous), f"shard-{number}")
        self._tasks[number].add_done_callback(self._notice_bug)

    def _notice_bug(self, task: asyncio.Task[None]) -> None:
        """What `_keep_serving` does not handle is a bug here: it ends the whole process, loudly."""
        if not task.cancelled() and (error := task.exception()) and not self._bug.done():
            self._bug.set_exception(error)

    async def _raise_bug(self) -> None:
        await asyncio.shield(self._bug)

    async def _keep_serving(self, number: int, server: ShardServer, previous: asyncio.Task[None] | None) -> None:
        """Serves until let go; anything transient means taking over anew, after a jittered pause."""
        if previous is not None:
            await asyncio.wait([previous])
        structlog.contextvars.bind_contextvars(shard=number)  # in every line of this task
        pause_s, not_before = RETAKE_S_MIN, 0
        while server.wanted:
            try:
                await server.serve(partial(self._serves, number))
            except Fenced as error:
                # Someone else was placed here; only a placement that still names us two ticks later brings us back.
                self._metrics.fenced.labels(number).inc()
                _log.info("shard lost", why=str(error))
                not_before = self._placed + 2
            except Transient as error:
                if isinstance(error, OutcomeUnknown):
                    self._metrics.unknown.labels(number).inc()
                _log.warning("shard is taken over anew", why=str(error))
                pause_s = RETAKE_S_MIN if number in self.serving else min(2 * pause_s, RETAKE_S_MAX)
            except Permanent as error:
                _log.error("shard stopped", error=str(error))
                self._refused.add(number)
                return
            finally:
                self._mark(number, serving=False)
            await self._rest(server, pause_s, not_before)

    async def _rest(self, server: ShardServer, pause_s: float, not_before: int) -> None:
        """At least once, and until placement was worked out `not_before` times."""
        await server.rest(pause_s * (0.5 + self._world.chance.random()))
        while server.wanted and self._placed < not_before:
            await server.rest(self._settings.tick_s * (0.5 + self._world.chance.random()))

    def _serves(self, number: int) -> None:
        self._metrics.takeovers.labels(number).inc()
        self._mark(number, serving=True)

    def _standings(self) -> dict[int, Standing]:
        standings = {shard: self._servers[shard].standing for shard in self.serving & self._servers.keys()}
        return {shard: standing for shard, standing in sorted(standings.items()) if standing}

    def _mark(self, shard: int, *, serving: bool) -> None:
        (self.serving.add if serving else self.serving.discard)(shard)
        self._update_readiness()

    def _update_readiness(self) -> None:
        if self._placement.present() and not self._refused and self.serving >= self._servers.keys():
            self.ready.set()
        else:
            self.ready.clear()

    async def _leave(self) -> None:
        """Lets all shards go, then says so, so that others need not wait for our silence."""
        servers, self._servers = self._servers, {}
        for server in servers.values():
            server.let_go()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        if self._keeper:
            await self._keeper.close()
        await self._send_tick(leaving=True)
        if self._bug.done():
            await self._bug


def _ledger_tick(record: Record) -> LedgerTick | None:
    """Other processes' heartbeats are none of a ledger's business, and neither is what cannot be read."""
    if not (record.key or b"").startswith(PROCESS_PREFIX.encode()):
        return None
    try:
        heartbeat = HEARTBEATS.validate_json(record.value or b"")
    except ValueError:
        return None
    return heartbeat if isinstance(heartbeat, LedgerTick) else None
