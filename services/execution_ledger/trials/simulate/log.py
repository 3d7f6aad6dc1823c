"""The log in memory, with what real brokers and clients do to those who use them.

Transactions take steps here, as Kafka's do: begun once the last one's markers are written, filled batch by batch,
ended by a request that may be lost, be late, or lose its answer. Whoever is asking is known by the life in whose
context the call runs, so that one process can be cut off, killed or stopped in the middle of a write.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from pydantic_core import from_json

from execution_ledger.errors import Fenced, LedgerError, OutcomeUnknown, Unavailable
from execution_ledger.log.bounds import refuse_oversized
from execution_ledger.log.memory import MARKER_S, MemoryLog, MemoryReader, MemoryWriter, Partition
from execution_ledger.log.protocol import Lane, Outgoing, Record, Topic

from .faults import Troubles
from .loop import LIFE, Life, VirtualClock
from .objects import PLACE
from .reading import Sight, SimulatedReader

TRIP_S = (0.0003, 0.004)
ANSWER_S = 5.0  # how long a client waits for an answer, as over Kafka
TAKE_OVER_S = 10.0
TRANSACTION_S = 20.0  # an open transaction that is older is aborted by the broker
LATE_S = (0.05, 6.0)
PREPARED_S = (1.0, 6.0)  # until the markers of a commit whose answer was lost
YOUNG_MS = 25_000  # what retention spares, far more than a lease
PRODUCER_IDS = 1 << 16  # an epoch here is Kafka's producer id and epoch in one number
_WRITES_TO = {  # where a fault waits for a write of each kind of process
    "ledger": Topic.EVENTS,
    "dispatcher": Topic.COMMANDS,
    "runner": Topic.REPORTS,
    "gateway": Topic.COMMANDS,
    "projector": "store",
}


@dataclass
class Coordinator:
    """What the broker knows of a shard's transactional id."""

    open: list[Record] | None = None  # written and undecided
    completing: bool = False  # decided, and its markers are on their way
    forgotten: bool = False  # the id expired: no writer that lives knows the one that comes next


@dataclass(frozen=True)
class Armed:
    moment: str
    where: str
    struck: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class SimulatedLog(MemoryLog):
    reader_type = SimulatedReader

    def __init__(
        self, shards: int, inbox_partitions: int, clock: VirtualClock, troubles: Troubles, chance: random.Random
    ) -> None:
        super().__init__(shards, inbox_partitions, now_ms=clock.now_ms)
        self.troubles, self.sight = troubles, Sight(troubles, chance)
        self.heard: dict[Life, list[float]] = {}  # when each process's heartbeats landed (s)
        self.committed: dict[tuple[int, int], float] = {}  # when each batch of events did, by shard and first offset
        self._clock, self._chance = clock, chance
        self._coordinators = [Coordinator() for _ in range(shards)]
        self._armed: dict[str, Armed] = {}
        self._own = contextvars.copy_context()  # the broker's own life never stands still

    # --- lanes without an owner -------------------------------------------------------------------------------------

    async def send(self, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        refuse_oversized(lane, batch)
        if not batch:
            return []
        try:
            await self._request(lane)
            if self._hits("lose_request", lane):
                await self._give_up(lane)
            if self._hits("late_request", lane):
                landing = batch[: self._chance.randint(0, len(batch))]
                self._later(self._chance.uniform(*LATE_S), lambda: self._land(lane, landing))
                await self._give_up(lane)
            offsets = self._land(lane, batch)
            if self._hits("double", lane):
                self._later(self._chance.uniform(*LATE_S), lambda: self._land(lane, batch))
            await self._answer(lane)
        except Unavailable as error:
            raise OutcomeUnknown(str(error)) from error
        return offsets

    def _land(self, lane: Lane, batch: Sequence[Outgoing]) -> list[int]:
        partition = self.partition(lane)
        offsets = partition.write(lane, batch, self._append_ms(partition))
        partition.settle()
        if lane.topic is Topic.HEARTBEATS and (life := LIFE.get()):
            self.heard.setdefault(life, []).append(asyncio.get_running_loop().time())
        return offsets

    async def position_at(self, lane: Lane, time_ms: int) -> int:
        """Append times may have gone back, so the first that fits need not be the oldest."""
        await self._request(lane)
        partition = self.partition(lane)
        found = (record.offset for record in partition.records if record.time_ms >= time_ms)
        return min(next(found, partition.stable), partition.stable)

    @asynccontextmanager
    async def reader(self, positions: Mapping[Lane, int]) -> AsyncIterator[MemoryReader]:
        for lane in positions:
            await self._request(lane)
            break
        async with super().reader(positions) as reader:
            yield reader

    # --- the events: transactions -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def take_over(self, shard: int) -> AsyncIterator[MemoryWriter]:
        lane = Lane(Topic.EVENTS, shard)
        epoch = await self.fence(lane)
        writer = MemoryWriter(self, shard, epoch, await self.end(lane))
        try:
            yield writer
        finally:
            writer.let_go()

    async def fence(self, lane: Lane) -> int:
        """InitProducerId: the old writer is fenced, and what it left open is resolved before this returns."""
        await self._request(lane)
        partition, coordinator = self.partition(lane), self._coordinators[lane.partition]
        give_up_s = asyncio.get_running_loop().time() + TAKE_OVER_S
        while coordinator.open is not None or coordinator.completing:
            if coordinator.open is not None:
                partition.epoch += 1
                self._abort(lane)
            if asyncio.get_running_loop().time() > give_up_s:
                raise Unavailable(f"Shard {lane.partition} cannot be taken over: its last transaction is not resolved.")
            await asyncio.sleep(0.02)
        if coordinator.forgotten:
            coordinator.forgotten = False
            partition.epoch = (partition.epoch // PRODUCER_IDS + 1) * PRODUCER_IDS
        else:
            partition.epoch += 1
        epoch = partition.epoch
        await self._answer(lane)
        return epoch

    async def transact(self, shard: int, epoch: int, batch: Sequence[Outgoing]) -> int:
        lane = Lane(Topic.EVENTS, shard)
        try:
            await self._begin(lane, epoch)
            self.gather([await self._produce(lane, epoch, part) for part in self._parts(batch)])
            newest = self.partition(lane).end - 1
            await self._commit(lane, epoch)
        except Unavailable as error:
            raise OutcomeUnknown(str(error)) from error
        return newest

    async def _begin(self, lane: Lane, epoch: int) -> None:
        """AddPartitionsToTxn: refused as concurrent until the markers of the last transaction are written."""
        await self._request(lane)
        coordinator = self._coordinators[lane.partition]
        give_up_s = asyncio.get_running_loop().time() + ANSWER_S
        while coordinator.completing:
            if asyncio.get_running_loop().time() > give_up_s:
                raise Unavailable(f"The last transaction of shard {lane.partition} is still being completed.")
            await asyncio.sleep(0.003)
        self._check_epoch(lane, epoch)
        if coordinator.open is None:
            begun: list[Record] = []
            coordinator.open = begun
            self._later(TRANSACTION_S, lambda: self._time_out(lane, begun))

    async def _produce(self, lane: Lane, epoch: int, part: Sequence[Outgoing]) -> LedgerError | None:
        """One record batch. Gives back the error with which it failed: aiokafka's commit would not look at it."""
        await self._request(lane)
        self._check_epoch(lane, epoch)
        coordinator = self._coordinators[lane.partition]
        if coordinator.open is None or self._hits("part_fails", lane):
            return OutcomeUnknown(f"A batch for shard {lane.partition} was refused.")
        partition, time_ms = self.partition(lane), self._clock.now_ms()
        offsets = range(partition.end, partition.end + len(part))
        coordinator.open += [
            Record(lane, at, time_ms, one.key, one.value) for at, one in zip(offsets, part, strict=True)
        ]
        partition.end += len(part)
        await self.moment("middle", lane.topic)
        return None

    def gather(self, answers: Iterable[LedgerError | None]) -> None:
        """Raises the first error of any batch, so that nobody commits a transaction of which a part failed."""
        for error in answers:
            if error is not None:
                raise error

    async def _commit(self, lane: Lane, epoch: int) -> None:
        """EndTxn: sent once. A copy that comes late ends whatever transaction of the same epoch is open then."""
        await self._request(lane)
        if self._hits("lose_request", lane):
            await self._give_up(lane)
        if self._hits("late_request", lane):
            self._later(self._chance.uniform(*LATE_S), lambda: self._end_late(lane, epoch))
            await self._give_up(lane)
        self._check_epoch(lane, epoch)
        if self._hits("prepared", lane):
            self._decide(lane, self._chance.uniform(*PREPARED_S))
            await self._give_up(lane)
        late = self.troubles.on("late_markers", lane.topic)
        self._decide(lane, self._chance.uniform(0, late.amount) if late else MARKER_S)
        await self._answer(lane)

    def _end_late(self, lane: Lane, epoch: int) -> None:
        if epoch == self.partition(lane).epoch:
            self._decide(lane, MARKER_S)

    def _decide(self, lane: Lane, marker_s: float) -> None:
        partition, coordinator = self.partition(lane), self._coordinators[lane.partition]
        if coordinator.open is None:
            return
        if coordinator.open:
            self.committed[lane.partition, coordinator.open[0].offset] = asyncio.get_running_loop().time()
        partition.records += coordinator.open
        self._complete(lane, marker_s)

    def _abort(self, lane: Lane) -> None:
        """Its records keep their offsets, and nobody ever sees them."""
        self._complete(lane, MARKER_S)

    def _complete(self, lane: Lane, marker_s: float) -> None:
        coordinator = self._coordinators[lane.partition]
        coordinator.open, coordinator.completing = None, True
        self._later(marker_s, lambda: self._write_marker(lane))

    def _write_marker(self, lane: Lane) -> None:
        partition = self.partition(lane)
        partition.end += 1
        self._coordinators[lane.partition].completing = False
        partition.settle()

    def _time_out(self, lane: Lane, begun: list[Record]) -> None:
        if self._coordinators[lane.partition].open is begun:
            self.partition(lane).epoch += 1
            self._abort(lane)

    def _check_epoch(self, lane: Lane, epoch: int) -> None:
        newest = self.partition(lane).epoch
        if self._coordinators[lane.partition].forgotten or epoch // PRODUCER_IDS != newest // PRODUCER_IDS:
            raise OutcomeUnknown(f"The broker no longer knows the producer of shard {lane.partition}.")
        if epoch != newest:
            raise Fenced(f"Shard {lane.partition} was taken over: this writer holds epoch {epoch} of {newest}.")

    def _parts(self, batch: Sequence[Outgoing]) -> list[Sequence[Outgoing]]:
        """Record batches: more than one where a transaction is large, and here by chance."""
        cut = self._chance.randint(1, len(batch))
        return [batch[:cut], batch[cut:]] if cut < len(batch) else [batch]

    # --- the way there and back ---------------------------------------------------------------------------------------

    async def _request(self, lane: Lane) -> None:
        """Raises Unavailable where nobody answers."""
        await self._travel()
        await self.moment("request", lane.topic)
        if self._unreachable(lane):
            await self._give_up(lane)

    async def _answer(self, lane: Lane) -> None:
        """Raises Unavailable where the answer is lost: it has happened all the same."""
        await self.moment("answer", lane.topic)
        await self._travel()
        if self._hits("lose_answer", lane) or self._unreachable(lane):
            await self._give_up(lane)

    async def _travel(self) -> None:
        slow = self.troubles.on("slow", life.name) if (life := LIFE.get()) else None
        await asyncio.sleep(self._chance.uniform(*TRIP_S) + (self._chance.uniform(0, slow.amount) if slow else 0))

    async def _give_up(self, lane: Lane) -> None:
        await asyncio.sleep(self._chance.uniform(0.05, ANSWER_S))
        raise Unavailable(f"No answer came for {lane.topic}/{lane.partition}.")

    async def moment(self, moment: str, where: str) -> None:
        """Where a fault waits for this moment it strikes now; who stands still does not come back from here."""
        life = LIFE.get()
        armed = self._armed.get(life.name) if life else None
        if armed and armed.moment == moment and where == armed.where:
            armed.struck.set()
            await armed.over.wait()

    def _unreachable(self, lane: Lane) -> bool:
        return self.sight.cut() or self.sight.away() or self.sight.leaderless(lane)

    def _hits(self, kind: str, lane: Lane) -> bool:
        """A fault may be aimed at the topic, or at what one process writes to it."""
        life = LIFE.get()
        return self.troubles.hits(kind, lane.topic, f"{life.name if life else ''} {lane.topic}")

    def _append_ms(self, partition: Partition) -> int:
        """A broker's clock may step back, and append times with it."""
        return self._clock.now_ms()

    def _later(self, delay_s: float, act: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(delay_s, act, context=self._own)

    # --- for the faults -----------------------------------------------------------------------------------------------

    def arm(self, name: str, moment: str) -> asyncio.Event:
        where = PLACE if moment == "snapshot" else _WRITES_TO[name.split("-")[0]]
        self._armed[name] = armed = Armed(moment, where)
        return armed.struck

    def disarm(self, name: str) -> None:
        if armed := self._armed.pop(name, None):
            armed.over.set()

    def disarm_all(self) -> None:
        for name in list(self._armed):
            self.disarm(name)

    def unread(self, lane: Lane) -> bool:
        """Whether a ledger has still to read some of its commands or reports."""
        return self._decided(lane) < self.partition(lane).end

    def wake_readers(self) -> None:
        for partition in self._partitions.values():
            for news in partition.readers:
                news.set()

    def forget_ids(self) -> bool:
        """Whether there were any."""
        forgotten = False
        for shard, coordinator in enumerate(self._coordinators):
            if coordinator.open is None and self.partition(Lane(Topic.EVENTS, shard)).epoch:
                coordinator.forgotten = forgotten = True
        return forgotten

    def forget_old(self, topic: str) -> bool:
        """As retention does; of commands and reports only what was decided, as it never should do otherwise.

        Whether there was anything so old.
        """
        forgotten = False
        for lane in [lane for lane in self._partitions if lane.topic == topic]:
            records = self.partition(lane).records
            old = (record.offset for record in records if record.time_ms > self._clock.now_ms() - YOUNG_MS)
            before = next(old, self.partition(lane).stable)
            before = min(before, self._decided(lane))
            forgotten = forgotten or before > self.partition(lane).begin
            self.forget(lane, before)
        return forgotten

    def digest(self) -> str:
        """Of all that lies in all lanes."""
        digest = sha256()
        for lane, partition in self._partitions.items():
            for record in partition.records:
                digest.update(f"{lane} {record.offset} {record.time_ms} {record.key!r} {record.value!r}".encode())
        return digest.hexdigest()

    def _decided(self, lane: Lane) -> int:
        field = {Topic.COMMANDS: "cmdoffset", Topic.REPORTS: "repoffset"}.get(lane.topic)
        if field is None:
            return self.partition(lane).stable
        events = self.partition(Lane(Topic.EVENTS, lane.partition))
        settled = events.index(events.stable)
        return int(from_json(events.records[settled - 1].value or b"{}")[field]) + 1 if settled else 0
