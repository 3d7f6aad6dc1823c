"""The outbox: reports on their way to the log, in order per lane, and again until the log has them.

Each lane with something to send has a task of its own, so that a lane whose broker is away holds up no other. What
gathers while one batch is on its way is the next batch. Sending again keeps the ordinals, by which the ledger drops
repeats. Its size is bounded by the tokens that the runner holds; while it is `full`, the runner takes no new starts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

import structlog

from execution_ledger.clock import World
from execution_ledger.lifecycle import end_tasks
from execution_ledger.log.protocol import Lane, Log, Outgoing, Topic
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.parts import MESSAGE_BYTES_MAX, Failure
from execution_ledger.messages.reports import AnyReport, ReportFailed

from .fault import Fault
from .retry import persist

QUEUED_BYTES_MAX = 64_000_000
BATCH_BYTES_MAX = 900_000


class Outbox:
    def __init__(self, log: Log, world: World, fault: Fault) -> None:
        self._log = log
        self._world = world
        self._queues: dict[Lane, deque[Outgoing]] = {}
        self._senders: dict[Lane, asyncio.Task[None]] = {}
        self.bytes = 0
        self._fault = fault

    @property
    def full(self) -> bool:
        return self.bytes > QUEUED_BYTES_MAX

    def put(self, report: AnyReport) -> None:
        """On its way at once, if its lane is idle."""
        lane = Lane(Topic.REPORTS, shard_of(report.execution_id))
        record = encoded(report)
        self.bytes += len(record.value)
        self._queues.setdefault(lane, deque()).append(record)
        if lane not in self._senders:
            self._senders[lane] = self._world.spawn(self._send(lane), f"reports to shard {lane.partition}")

    async def flush(self) -> None:
        """Returns when the log has everything."""
        while self._senders:
            await asyncio.wait(list(self._senders.values()))

    async def close(self) -> None:
        """Drops what is not sent."""
        await end_tasks(list(self._senders.values()))

    async def _send(self, lane: Lane) -> None:
        structlog.contextvars.bind_contextvars(shard=lane.partition)  # in every line of this task
        try:
            while batch := _take(self._queues[lane]):
                await persist(partial(self._log.send, lane, batch), "sending reports", self._world.chance)
                self.bytes -= sum(len(record.value) for record in batch)
        except Exception as error:  # noqa: BLE001 - the fault raises it
            self._fault.report(error)
        finally:
            del self._senders[lane]


def encoded(report: AnyReport) -> Outgoing:
    value = report.model_dump_json(exclude_none=True).encode()
    if len(value) > MESSAGE_BYTES_MAX:
        return encoded(_too_large(report, len(value)))
    return Outgoing(report.execution_id.encode(), value, (("type", report.type.encode()),))


def _too_large(report: AnyReport, size: int) -> ReportFailed:
    message = f"The report {report.type} takes {size:,} bytes; a message may take {MESSAGE_BYTES_MAX:,}."
    return ReportFailed(
        execution_id=report.execution_id,
        attempt=report.attempt,
        ordinal=report.ordinal,
        runner=report.runner,
        time=report.time,
        traceparent=report.traceparent,
        failure=Failure(kind="report_too_large", message=message),
    )


def _take(queue: deque[Outgoing]) -> list[Outgoing]:
    """The next batch: at least one record if there is any."""
    batch: list[Outgoing] = []
    size = 0
    while queue and (not batch or size + len(queue[0].value) <= BATCH_BYTES_MAX):
        batch.append(queue.popleft())
        size += len(batch[-1].value)
    return batch
