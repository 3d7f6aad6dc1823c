"""One shard, served: take over, replay, then decide what comes in group commits until it is let go."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter

import structlog

from execution_ledger.clock import World
from execution_ledger.errors import BrokenHistory, LogTruncated, TopicContract, Unavailable
from execution_ledger.lifecycle import end_tasks, until_set
from execution_ledger.log.lags import Lags
from execution_ledger.log.protocol import Lane, Log, Reader, Record, Topic, Writer
from execution_ledger.messages import events
from execution_ledger.messages.events import decode_event, digest_of
from execution_ledger.messages.ids import CATALOG_SHARD
from execution_ledger.settings import LedgerSettings
from execution_ledger.snapshots.form import Mark, Snapshot
from execution_ledger.snapshots.keeping import Keeper

from .deciding import DEFECTS, decide_batch
from .keeping import name_of
from .metrics import LedgerMetrics, Standing
from .recording import Cause, Cursor, Decided, append, cursor_of
from .shard import ShardState, fold, initial

READ_WAIT_S = 0.5  # an idle shard looks up this often, to see whether it was let go and whether to write a checkpoint

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Shard:
    number: int
    count: int  # of all shards


class ShardServer:
    """Serves one shard until `let_go`; `serve` raises Fenced or OutcomeUnknown, and then has to be begun anew.

    `log_time` is the newest append time that this process has read: no event ever takes its time from a local clock.
    Without a `keeper` of snapshots every start reads the whole log.
    """

    def __init__(
        self,
        log: Log,
        world: World,
        settings: LedgerSettings,
        shard: Shard,
        owner: str,
        log_time: Callable[[], int],
        metrics: LedgerMetrics,
        keeper: Keeper[ShardState] | None = None,
    ) -> None:
        self._log, self._world, self._settings = log, world, settings
        self._shard, self._owner, self._log_time = shard, owner, log_time
        self._keeper = keeper
        self._name = name_of(shard.number)
        self._newest = (-1, b"")  # offset and bytes of the newest event that this writer has committed
        self._let_go = asyncio.Event()
        self._doubted = False
        self._next_checkpoint_s = 0.0
        self._metrics = metrics
        self._lags = Lags(world.clock.now_ms)
        self._state: ShardState | None = None  # as the last read found it

    @property
    def wanted(self) -> bool:
        return not self._let_go.is_set()

    @property
    def standing(self) -> Standing | None:
        """None where it was never served."""
        return Standing(self._state, self._lags.lags()) if self._state else None

    def let_go(self) -> None:
        """Finishes the commit under way, then returns from `serve`."""
        self._let_go.set()

    def doubt(self) -> None:
        """Another process may have taken the shard: an idle one would hear of it with its next command only, so it
        writes something at its next look.
        """
        self._doubted = True

    async def rest(self, seconds: float) -> None:
        """A pause that ends at once when the shard is let go."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._let_go.wait()

    async def serve(self, ready: Callable[[], None]) -> None:
        async with self._log.take_over(self._shard.number) as writer:
            state = await self._replay(writer.end)
            if not self.wanted:
                return  # half a replay tells nothing, neither to build upon nor to judge the log by
            log_id = await self._check_log(state)
            positions = await self._positions(cursor_of(state), state.recorded_ms)
            if self.wanted:
                state = await self._claim(writer, state, log_id)
                ready()
                await self._decide_what_comes(writer, state, positions)

    async def _replay(self, end: int) -> ShardState:
        lane = Lane(Topic.EVENTS, self._shard.number)
        if await self._log.begin(lane) > 0:
            raise LogTruncated(
                f"The events of shard {self._shard.number} do not begin at offset 0: its oldest are gone. Restore the "
                "topic from a copy; its retention must be unlimited (retention.ms=-1)."
            )
        state, position = await self._kept()
        try:
            return await self._read_on(lane, state, position, end)
        except (BrokenHistory, ValueError) as error:  # of the log, or of a state that code with a defect has kept
            if position == 0:
                raise
            _log.error("what follows does not fit the snapshot, so the whole log is read", error=str(error))
            return await self._read_on(lane, self._initial(), 0, end)

    async def _read_on(self, lane: Lane, state: ShardState, position: int, end: int) -> ShardState:
        async with self._log.reader({lane: position}) as reader:
            while position < end and self.wanted:
                for chunk in (await reader.read(READ_WAIT_S)).values():
                    position = chunk.position
                    state = self._fold(state, chunk.records)
        return state

    def _initial(self) -> ShardState:
        return initial(self._shard.number, self._shard.count, self._settings)

    async def _kept(self) -> tuple[ShardState, int]:
        """The state of the newest snapshot, and where to read on from there."""
        kept = await self._newest_snapshot(self._keeper) if self._keeper else None
        if kept is None:
            return self._initial(), 0
        return kept.state, kept.marks[0].offset + 1

    async def _newest_snapshot(self, keeper: Keeper[ShardState]) -> Snapshot[ShardState] | None:
        """None also where the shard was let go meanwhile: a store that does not answer must not hold up that."""
        reading = self._world.spawn(keeper.newest(self._log, self._name, self._shard.number), "snapshot")
        letting_go = self._world.spawn(until_set(self._let_go), "letting go")
        try:
            await asyncio.wait([reading, letting_go], return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else None
        finally:
            await end_tasks([reading, letting_go])

    def _fold(self, state: ShardState, records: Sequence[Record]) -> ShardState:
        began_s = self._world.clock.monotonic_s()
        for record in records:
            raw = record.value or b""
            state = fold(state, decode_event(raw, record), digest_of(raw))
        if self._keeper:
            self._keeper.measured(len(records), self._world.clock.monotonic_s() - began_s)
        return state

    async def _check_log(self, state: ShardState) -> str:
        """The log's id: shard 0 makes it, the others copy it from shard 0's first event, and all must agree on it."""
        if self._shard.number != CATALOG_SHARD:
            catalog = await self._first_of_catalog()
            if catalog.shards != self._shard.count or state.log_id not in ("", catalog.log_id):
                raise self._made_anew()
            return catalog.log_id
        if not state.log_id and await self._was_ever_used():
            raise self._made_anew()
        return state.log_id or f"{self._world.chance.getrandbits(128):032x}"

    async def _first_of_catalog(self) -> events.ShardCreated:
        lane = Lane(Topic.EVENTS, CATALOG_SHARD)
        async with self._log.reader({lane: 0}) as reader:
            while self.wanted:
                chunk = (await reader.read(READ_WAIT_S)).get(lane)
                if chunk is not None and chunk.records:
                    created = decode_event(chunk.records[0].value or b"", chunk.records[0]).data
                    assert isinstance(created, events.ShardCreated)
                    return created
        raise Unavailable("Shard 0 has no first event yet, so this log has no id. Start a ledger for shard 0, too.")

    async def _was_ever_used(self) -> bool:
        """Reports come only after events: where there were any, a log without a first event has lost it."""
        ends = [await self._log.end(Lane(Topic.REPORTS, shard)) for shard in range(self._shard.count)]
        return any(ends)

    def _made_anew(self) -> TopicContract:
        return TopicContract(
            f"Shard {self._shard.number} does not belong to this log: its topics were made anew, or with another "
            "number of shards, while others were kept. Restore the events topic from a copy, or begin a new log under "
            "another topic prefix."
        )

    async def _claim(self, writer: Writer, state: ShardState, log_id: str) -> ShardState:
        facts: list[events.Fact] = [events.ShardClaimed(owner=self._owner)]
        if not state.log_id:
            facts.insert(0, events.ShardCreated(log_id=log_id, shards=self._shard.count))
        claimed = self._own(state, cursor_of(state), facts)
        await self._append(writer, claimed)
        position = f"{state.shard}:{claimed.state.sequence}"
        _log.info("shard claimed", position=position, epoch=claimed.state.epoch)
        return claimed.state

    def _own(self, state: ShardState, cursor: Cursor, facts: list[events.Fact]) -> Decided:
        """Events that no record asked for. They do not move recorded time: what the lanes hold may be older."""
        cause = Cause(state.recorded_ms or self._log_time())
        return append(Decided(state, cursor), f"shard/{self._shard.number}", facts, cause)

    async def _decide_what_comes(self, writer: Writer, state: ShardState, positions: Mapping[Lane, int]) -> None:
        cursor, ignored = cursor_of(state), 0
        async with self._lags.reader(self._log, positions) as reader:
            while self.wanted:
                self._state = state
                for batch in self._batches(await self._pending(reader)):
                    decided = await self._decide(writer, state, cursor, batch)
                    state, cursor = decided.state, decided.cursor
                    ignored += decided.ignored
                if self._doubted or (cursor != cursor_of(state) and self._checkpoint_is_due()):
                    state, ignored = await self._checkpoint(writer, state, cursor, ignored), 0
                self._keep(state)

    async def _append(self, writer: Writer, decided: Decided) -> None:
        self._newest = await writer.append(decided.outgoing), decided.outgoing[-1].value

    def _keep(self, state: ShardState) -> None:
        """States are immutable, so this one is written in the background while others follow it."""
        if self._keeper and self._keeper.is_due(self._name, state.sequence):
            offset, raw = self._newest
            mark = Mark(state.shard, state.sequence, offset, digest_of(raw))
            self._keeper.keep(self._name, state.log_id, Snapshot((mark,), state))

    async def _decide(self, writer: Writer, state: ShardState, cursor: Cursor, batch: list[Record]) -> Decided:
        """Only when this returns does the new state hold."""
        now_s = self._world.clock.monotonic_s
        began_s = now_s()
        decided = decide_batch(state, cursor, batch)
        decided_s = now_s()
        if decided.outgoing:
            await self._append(writer, decided)
        self._metrics.batch(len(batch), decided, decided_s - began_s, now_s() - decided_s)
        self._tell_defects(decided)
        return decided

    def _tell_defects(self, decided: Decided) -> None:
        """What each was is in the log: `command.failed`, `command.unreadable`, at this position or a little before."""
        if defects := sorted(DEFECTS.intersection(decided.refused)):
            position = f"{self._shard.number}:{decided.state.sequence}"
            _log.error("records could not be decided", codes=defects, position=position)

    async def _positions(self, cursor: Cursor, recorded_ms: int) -> dict[Lane, int]:
        """Behind what was decided. A lane that has lost records which nobody decided is no lane to go on with."""
        commands, reports = Lane(Topic.COMMANDS, self._shard.number), Lane(Topic.REPORTS, self._shard.number)
        positions = {commands: cursor.commands + 1, reports: cursor.reports + 1}
        for lane, position in positions.items():
            begin = await self._log.begin(lane)
            if begin > position:
                raise LogTruncated(
                    f"The {lane.topic} of shard {self._shard.number} begin at {begin}, but only those before "
                    f"{position} were decided: retention has removed what nobody has read. Nothing can be decided "
                    "here until an operator has made sure what was lost."
                )
        # Every command left an event of its own time or later; what is younger than all events was never decided.
        if await self._appended_ms(commands, cursor.commands) > recorded_ms:
            raise self._made_anew()
        return positions

    async def _appended_ms(self, lane: Lane, position: int) -> int:
        """0 where nothing was read yet, or what was read there is no longer kept."""
        if position < await self._log.begin(lane):
            return 0
        async with self._log.reader({lane: position}) as reader:
            chunk = (await reader.read(READ_WAIT_S)).get(lane)
        return chunk.records[0].time_ms if chunk and chunk.records and chunk.records[0].offset == position else 0

    async def _pending(self, reader: Reader) -> Iterator[Record]:
        """What both lanes hold now, in the order of their appending: neither starves the other, and time goes on."""
        chunks = await reader.read(READ_WAIT_S)
        return heapq.merge(*(chunk.records for chunk in chunks.values()), key=attrgetter("time_ms"))

    def _batches(self, pending: Iterator[Record]) -> Iterator[list[Record]]:
        """Group commits, bounded by records and by bytes read."""
        rest = deque(pending)
        while rest:
            batch, size = [rest.popleft()], 0
            while rest and len(batch) < self._settings.batch_records_max and size < self._settings.batch_bytes_max:
                batch.append(rest.popleft())
                size += len(batch[-1].value or b"")
            yield batch

    def _checkpoint_is_due(self) -> bool:
        return self._world.clock.monotonic_s() >= self._next_checkpoint_s

    async def _checkpoint(self, writer: Writer, state: ShardState, cursor: Cursor, ignored: int) -> ShardState:
        """Keeps the place in lanes whose reports left no event; but for doubt, at most once in `checkpoint_ms`."""
        self._doubted = False
        self._next_checkpoint_s = self._world.clock.monotonic_s() + self._settings.checkpoint_ms / 1000
        decided = self._own(state, cursor, [events.ShardCheckpointed(ignored=ignored)])
        await self._append(writer, decided)
        return decided.state
