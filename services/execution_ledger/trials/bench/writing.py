"""Writes a made history into a real log: a process for each core, a shard after the other in each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.settings import KafkaSettings

from .history import Wanted, batches

LOG_ID = "bench"
LOOK_S = 0.5

OnProgress = Callable[[str, int, int], None]  # what, done, of how many


async def write_history(settings: KafkaSettings, events: int, tell: OnProgress) -> None:
    """`events` over all shards but the catalog's, roughly: an execution has four."""
    shards = settings.shards
    each = [Wanted(LOG_ID, shard, shards, events // (shards - 1)) for shard in range(shards)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()
        writing = [loop.run_in_executor(pool, write_shard, settings, wanted) for wanted in each]
        async with KafkaLog(settings, "bench") as log:
            while any(not shard.done() for shard in writing):
                await asyncio.wait(writing, timeout=LOOK_S)
                ends = [await log.end(Lane(Topic.EVENTS, shard)) for shard in range(shards)]
                tell("history", sum(ends), events)
        await asyncio.gather(*writing)


def write_shard(settings: KafkaSettings, wanted: Wanted) -> None:
    asyncio.run(_write(settings, wanted))


async def _write(settings: KafkaSettings, wanted: Wanted) -> None:
    async with KafkaLog(settings, "bench") as log, log.take_over(wanted.shard) as writer:
        for batch in batches(wanted):
            await writer.append(batch)
