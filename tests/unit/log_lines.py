"""A program that lets services meet trouble and writes the log lines of that to standard error, see test_logs.py."""

from __future__ import annotations

import asyncio
import random

from contract.events_builder import BEGIN_MS, History
from execution_ledger import Context, pipeline
from execution_ledger.clock import SystemClock, World
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.logs import configure_logs
from execution_ledger.messages.reports import ReportCompleted
from execution_ledger.projector.service import ProjectorService
from execution_ledger.settings import ProjectorSettings
from unit.runner_stage import Stage as RunnerStage
from unit.test_ledger_service import in_virtual_time
from unit.test_metrics_ledger import Stage as LedgerStage
from unit.test_projector_service import WatchedStore, write


@pipeline(outputs={})
async def hello(ctx: Context) -> None:
    ctx.log.info("hello")


async def ledger(world: World) -> None:
    """An answer is lost, a shard is taken away, a record cannot be read."""
    stage = LedgerStage(world)
    await stage.ledger.ready.wait()
    stage.log.mute = True
    await stage.submit(1)
    await asyncio.sleep(5)
    await stage.log.send(Lane(Topic.COMMANDS, 1), [Outgoing(b"k", b"no command")])
    await asyncio.sleep(1)
    async with stage.log.take_over(1):
        await stage.submit(1)
        await asyncio.sleep(5)
    await stage.stop()


async def runner() -> None:
    """Answers to reports are lost for a moment."""
    async with RunnerStage(hello).running() as stage:
        stage.log.mute = {Lane(Topic.REPORTS, 1)}
        token = await stage.start()
        await stage.reports(token, 2)  # the same one again
        stage.log.mute = set()
        await stage.report(token, ReportCompleted)


async def projector() -> None:
    """One answer of the store is lost, then an event cannot be read."""
    log, store = MemoryLog(3, now_ms=lambda: BEGIN_MS), WatchedStore()
    service = ProjectorService(log, store, World(SystemClock(), random.Random(1)), ProjectorSettings())
    task = asyncio.create_task(service.run())
    store.lost = 1
    history = History()
    history.queue()
    await write(log, history)
    await store.until(1, 1)
    async with log.take_over(1) as writer:
        await writer.append([Outgoing(b"", b"not an event")])
    await service.has_halted.wait()
    service.stop()
    await task


if __name__ == "__main__":
    configure_logs("trouble")
    in_virtual_time(ledger)
    asyncio.run(runner())
    asyncio.run(projector())
