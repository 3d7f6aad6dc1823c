"""Defences of the log and of those who write to it, taken out. What brokers and aiokafka do is modelled in memory, so
what is taken out there is the model of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from execution_ledger.errors import LedgerError, OutcomeUnknown, Unavailable
from execution_ledger.log.memory import MemoryWriter, Partition
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.trials.simulate.cluster import Cluster
from execution_ledger.trials.simulate.log import SimulatedLog
from execution_ledger.trials.simulate.loop import LIFE
from removal.instead import instead

TRIES = 3


class LateWriter(MemoryWriter):
    """Fences the writer before it only when it writes for the first time itself."""

    _log: SimulatedLog

    async def append(self, batch: Sequence[Outgoing]) -> int:
        if self._epoch < 0:
            self._epoch = await self._log.fence(Lane(Topic.EVENTS, self.shard))
        return await super().append(batch)


@contextmanager
def takeover_order() -> Iterator[None]:
    @asynccontextmanager
    async def take_over(self: SimulatedLog, shard: int) -> AsyncIterator[MemoryWriter]:
        writer = LateWriter(self, shard, -1, await self.end(Lane(Topic.EVENTS, shard)))
        try:
            yield writer
        finally:
            writer.let_go()

    with instead(SimulatedLog, "take_over", take_over):
        yield


@contextmanager
def fenced_producer() -> Iterator[None]:
    def any_epoch_will_do(self: SimulatedLog, lane: Lane, epoch: int) -> None:
        pass

    with instead(SimulatedLog, "_check_epoch", any_epoch_will_do):
        yield


@contextmanager
def gather_before_commit() -> Iterator[None]:
    def look_at_none(self: SimulatedLog, answers: Iterable[LedgerError | None]) -> None:
        pass

    with instead(SimulatedLog, "gather", look_at_none):
        yield


@contextmanager
def destroy_on_unknown_outcome() -> Iterator[None]:
    """The same producer writes the same batch again."""

    async def append(self: MemoryWriter, batch: Sequence[Outgoing]) -> int:
        for _ in range(TRIES):
            try:
                return await self._log.transact(self.shard, self._epoch, batch)
            except OutcomeUnknown:
                continue
        return await self._log.transact(self.shard, self._epoch, batch)

    with instead(MemoryWriter, "append", append):
        yield


@contextmanager
def end_sent_once() -> Iterator[None]:
    """A commit that gets no answer is silently asked for again, as aiokafka would over a new connection."""
    real = SimulatedLog._commit

    async def commit(self: SimulatedLog, lane: Lane, epoch: int) -> None:
        for _ in range(TRIES):
            try:
                return await real(self, lane, epoch)
            except Unavailable:
                continue
        return await real(self, lane, epoch)

    with instead(SimulatedLog, "_commit", commit):
        yield


@contextmanager
def log_append_time() -> Iterator[None]:
    """Each record bears the time of its sender's clock."""
    wrong_ms: dict[str, int] = {}
    set_clock: Callable[..., Any] = Cluster.set_clock

    def noted(self: Cluster, name: str, ahead_ms: int) -> None:
        wrong_ms[name] = 0 if name == "log" else ahead_ms
        set_clock(self, name, ahead_ms)

    def append_ms(self: SimulatedLog, partition: Partition) -> int:
        life = LIFE.get()
        return self._clock.now_ms() + (wrong_ms.get(life.name, 0) if life else 0)

    with ExitStack() as stack:
        stack.enter_context(instead(Cluster, "set_clock", noted))
        stack.enter_context(instead(SimulatedLog, "_append_ms", append_ms))
        yield
