"""A night in which nobody is awake, and after which clients and the network say again what they had said before it.

What is remembered for a while lies in generations that turn with recorded time, and none turns while a run lasts
otherwise. Nothing happens meanwhile, so a night takes no longer than a breath.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from execution_ledger.errors import Transient
from execution_ledger.log.protocol import Lane, Outgoing, Record, Topic

from .plan import SHARDS, Ask, Plan

if TYPE_CHECKING:
    from .callers import Client
    from .cluster import Cluster

NIGHTS_S = (40.0, 80.0, 120.0, 300.0)  # after the first ones something must still be known, after the last one nothing
SETTLE_S = 12.0  # until who was taken for dead has noticed that
FIRST = 2_000  # the numbers of its asks
COPIES = 20  # of commands of each shard
# What is decided first is what makes the generations turn; some of it on each shard.
NEW = [Ask(at_s=0, number=FIRST - 1 - number, does="submit", pipeline="plain") for number in range(6)]
_MAKING = (b'"submit.v1"', b'"open_batch.v1"', b'"open_job.v1"')
_REPEATED = ("submit", "batch", "retry", "rerun", "retry_failed")


async def sleep_and_ask_again(cluster: Cluster, client: Client, plan: Plan) -> None:
    lives = [process.life for process in cluster.processes.values()]
    for life in lives:
        cluster.pause(life.name)
    await asyncio.sleep(client.chance.choice(NIGHTS_S))
    for life in lives:
        cluster.go_on(life)
    await asyncio.sleep(SETTLE_S)
    await client.play(NEW)
    await asyncio.sleep(SETTLE_S)
    await client.play([*_again(plan)], plan.asks)
    await _copy(cluster, client)


def _again(plan: Plan) -> Iterator[Ask]:
    for ask in plan.asks:
        if ask.does in _REPEATED and ask.keyed:
            yield Ask(at_s=0, number=FIRST + ask.number, does="repeat", of=ask.number, patience_s=ask.patience_s)


def _makes_something(record: Record) -> bool:
    return any(kind in (record.value or b"") for kind in _MAKING)


async def _copy(cluster: Cluster, client: Client) -> None:
    """A send that was given up long ago arrives once more."""
    for shard in range(1, SHARDS):
        lane = Lane(Topic.COMMANDS, shard)
        makes = [record for record in cluster.log.partition(lane).records if _makes_something(record)]
        for record in client.chance.sample(makes, min(COPIES, len(makes))):
            try:
                await cluster.log.send(lane, [Outgoing(record.key or b"", record.value or b"")])
            except Transient:
                continue
