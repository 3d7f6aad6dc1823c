"""The dispatcher: follows events and heartbeats, and sends what the desk orders. One is active, the others stand by."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from execution_ledger.answering import Answering
from execution_ledger.clock import World
from execution_ledger.errors import Transient, Unavailable
from execution_ledger.lifecycle import run_until
from execution_ledger.log.lags import Lags
from execution_ledger.log.protocol import Chunk, Lane, Log, Outgoing, Reader, Record, Topic
from execution_ledger.messages.events import decode_event
from execution_ledger.messages.heartbeats import HEARTBEATS, DispatcherTick, RunnerBeat
from execution_ledger.settings import DispatcherSettings
from execution_ledger.snapshots.keeping import Keeper

from .answering import Answers
from .desk import Desk, DeskSettings
from .folded import Folded
from .keeping import Keeping
from .metrics import show
from .post import Post
from .starts import QueuedEvents

_HEARTBEATS = Lane(Topic.HEARTBEATS, 0)
_READ_WAIT_S = 5.0  # own ticks come every second, so waiting longer than this says nothing new
_PAUSE_S_MIN, _PAUSE_S_MAX = 0.1, 5.0
_LEAVE_S_MAX = 2.0

_log = structlog.get_logger()


class DispatcherService:
    """`ready` while somebody dispatches: this one, or another that it stands by for.

    Without `answering` it does all its work, but nobody can ask it why something waits; without a `keeper` of
    snapshots it reads the whole log at each start.
    """

    name = "dispatcher"

    def __init__(
        self,
        log: Log,
        world: World,
        settings: DispatcherSettings,
        shards: int,
        inbox_partitions: int,
        answering: Answering | None = None,
        registry: CollectorRegistry | None = None,
        keeper: Keeper[Folded] | None = None,
    ) -> None:
        self.process = f"dispatcher-{world.chance.getrandbits(48):012x}"
        self.ready = asyncio.Event()
        self._log, self._world, self._settings, self._shards = log, world, settings, shards
        self._stopping = asyncio.Event()
        self._lease_ms = round(settings.lease_s * 1000)
        desk_settings = DeskSettings(
            self.process,
            shards,
            self._lease_ms,
            settings.absent_after_ms,
            settings.due_max,
            answering.address if answering else None,
        )
        self._desk = Desk(desk_settings, lambda: f"{world.chance.getrandbits(128):032x}")
        self._acting: int | None = None
        self._queued = QueuedEvents(settings.starts_cache_bytes_max)
        self._post = Post(log, self._desk, self._queued, shards, inbox_partitions)
        self._answering = answering
        self._lags = Lags(world.clock.now_ms)
        self._keeping = Keeping(keeper, self._desk)
        self._answers = Answers(self._desk, lambda: self._keeping.position)
        if registry:
            show(registry, self._desk, self._post, self._lags, self._keeping)

    @property
    def claim(self) -> int | None:
        """Under which it dispatches; None while it stands by."""
        return self._desk.acting

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        loops = [("follow", self._follow()), ("ticks", self._tick()), *self._post.loops()]
        if self._answering:
            loops.append(("answering", self._answering.run(self._answers.answer)))
        try:
            await run_until(self._stopping, self._world.spawn, *loops)
        finally:
            self.ready.clear()
            await self._keeping.close()
            await self._leave()

    # --- ticks --------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            try:
                await self._send_tick()
            except Transient as error:
                _log.warning("a tick got no answer", error=str(error))  # leases and standbys count on this gap
            await asyncio.sleep(self._settings.tick_s)

    async def _send_tick(self, *, leaving: bool = False) -> int:
        tick = DispatcherTick(process=self.process, claim=self._desk.claims.own, leaving=leaving)
        record = Outgoing(self.process.encode(), tick.model_dump_json(exclude_none=True).encode())
        return (await self._log.send(_HEARTBEATS, [record]))[0]

    async def _leave(self) -> None:
        """Tells standbys not to wait; where that fails they find out by the silence."""
        try:
            async with asyncio.timeout(_LEAVE_S_MAX):
                await self._send_tick(leaving=True)
        except (Transient, TimeoutError) as error:
            _log.warning("could not say good-bye", error=str(error))

    # --- following ----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        positions: dict[Lane, int] = {}
        pause_s = _PAUSE_S_MIN
        while True:
            try:
                positions = positions or await self._beginning()
                async with self._lags.reader(self._log, positions) as reader:
                    while True:
                        positions |= await self._read_and_act(reader)
                        pause_s = _PAUSE_S_MIN
            except Transient as error:
                _log.warning("reading starts anew", error=str(error), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    async def _beginning(self) -> dict[Lane, int]:
        """All events behind the snapshot, and the heartbeats from a lease back: whoever is silent there is silent."""
        since_ms = await self._log_time_ms() - max(self._lease_ms, self._settings.absent_after_ms)
        lanes = [Lane(Topic.EVENTS, shard) for shard in range(self._shards)]
        positions = {lane: await self._log.begin(lane) for lane in lanes}
        positions |= {_HEARTBEATS: await self._log.position_at(_HEARTBEATS, since_ms)}
        return positions | await self._keeping.begin(self._log)

    async def _log_time_ms(self) -> int:
        """Read back from a tick of our own, because this machine's clock may differ from the log's."""
        offset = await self._send_tick()
        async with self._log.reader({_HEARTBEATS: offset}) as reader:
            chunk = (await reader.read(_READ_WAIT_S)).get(_HEARTBEATS)
        if chunk is None or not chunk.records:
            raise Unavailable(f"An own tick did not come back in {_READ_WAIT_S:.0f} s. It is tried again.")
        return chunk.records[0].time_ms

    async def _read_and_act(self, reader: Reader) -> dict[Lane, int]:
        chunks = await reader.read(0 if self._desk.has_more else _READ_WAIT_S)
        self._fold(chunks)
        self._take_turn()
        self._answers.moved.fire()
        if self._acting is not None:
            self._keeping.keep()
        await asyncio.sleep(0)  # where much has to be read, others get their turn too
        return {lane: chunk.position for lane, chunk in chunks.items()}

    def _fold(self, chunks: Mapping[Lane, Chunk]) -> None:
        """Events before heartbeats, so that a heartbeat is compared with the newest that is known."""
        for lane, chunk in sorted(chunks.items(), key=lambda item: item[0]):
            began_s = self._world.clock.monotonic_s()
            take = self._heard if lane == _HEARTBEATS else self._event
            for record in chunk.records:
                take(record)
            if lane != _HEARTBEATS:
                self._keeping.measured(len(chunk.records), self._world.clock.monotonic_s() - began_s)

    def _event(self, record: Record) -> None:
        value = record.value or b""
        event = decode_event(value, record)
        self._keeping.follow(event, record)
        self._desk.event(event, record.offset)
        self._queued.follow(event, len(value))

    def _heard(self, record: Record) -> None:
        try:
            heard = HEARTBEATS.validate_json(record.value or b"")
        except ValidationError as error:
            _log.warning("a heartbeat cannot be read", offset=record.offset, key=record.key, error=str(error))
            return
        if isinstance(heard, RunnerBeat):
            self._desk.beat(heard, record.time_ms)
        elif isinstance(heard, DispatcherTick):
            self._desk.tick(heard, record.time_ms)

    # --- acting -------------------------------------------------------------------------------------------------

    def _take_turn(self) -> None:
        if self._desk.acting != self._acting:
            self._change_claim()
        self._post.send(self._desk.turn())
        if self._acting is not None or self._desk.claims.other_acts:
            self.ready.set()
        else:
            self.ready.clear()

    def _change_claim(self) -> None:
        if self._acting is not None:
            self._post.drop_unsent()
        self._acting = self._desk.acting
        _log.info("standing by" if self._acting is None else "dispatching", process=self.process, claim=self._acting)
