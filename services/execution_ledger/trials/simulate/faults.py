"""Faults at work: which ones hold right now, and what begins and ends with each."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from .pipelines import pipelines
from .plan import Fault

if TYPE_CHECKING:
    from .cluster import Cluster

ARMED_S = 5.0  # a fault that waits for its moment comes without it after this
DRAIN_S = 14.0  # a process that was told to stop and is not done by then is killed


class Troubles:
    """What log and stores ask at each trip: does this fault hit me now? `amount` is the share that it hits.

    `struck` counts how often faults of each kind were felt.
    """

    def __init__(self, chance: random.Random) -> None:
        self.struck = Counter[str]()
        self._chance = chance
        self._now: dict[str, list[Fault]] = {}

    def begin(self, fault: Fault) -> None:
        self._now.setdefault(fault.kind, []).append(fault)

    def end(self, fault: Fault) -> None:
        self._now[fault.kind].remove(fault)

    def clear(self) -> None:
        self._now.clear()

    def on(self, kind: str, *targets: str) -> Fault | None:
        fault = self._find(kind, targets)
        if fault is not None:
            self.struck[kind] += 1
        return fault

    def hits(self, kind: str, *targets: str) -> bool:
        fault = self._find(kind, targets)
        hit = fault is not None and self._chance.random() < fault.amount
        self.struck[kind] += hit
        return hit

    def _find(self, kind: str, targets: Sequence[str]) -> Fault | None:
        if not (holding := self._now.get(kind)):  # by far the most often, and asked at every trip
            return None
        return next((fault for fault in holding if fault.target in targets), None)


class Faults:
    """Plays a plan's faults on a cluster; `end` ends all that has not ended by itself."""

    def __init__(self, cluster: Cluster, faults: Sequence[Fault]) -> None:
        self._cluster = cluster
        self._faults = faults

    async def play(self) -> None:
        async with asyncio.TaskGroup() as playing:
            for fault in self._faults:
                playing.create_task(self._play(fault))

    async def _play(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        if strike := _STRIKES.get(fault.kind):
            await strike(self._cluster, fault)
        else:
            await self._hold(fault)

    async def _hold(self, fault: Fault) -> None:
        troubles = self._cluster.troubles
        troubles.begin(fault)
        await asyncio.sleep(fault.for_s)
        troubles.end(fault)
        self._cluster.log.wake_readers()


# --- what strikes instead of holding --------------------------------------------------------------------------------


async def _kill(cluster: Cluster, fault: Fault) -> None:
    if await _at_moment(cluster, fault, lambda: cluster.kill(fault.target)):
        await asyncio.sleep(fault.for_s)
        cluster.start(fault.target)


async def _pause(cluster: Cluster, fault: Fault) -> None:
    life = cluster.life(fault.target)
    if life and await _at_moment(cluster, fault, lambda: cluster.pause(fault.target)):
        await asyncio.sleep(fault.for_s)
        cluster.go_on(life)


async def _at_moment(cluster: Cluster, fault: Fault, strike: Callable[[], None]) -> bool:
    """Strikes in the middle of the target's next write, or after a while all the same; False where it is not there."""
    if fault.moment != "now":
        struck = cluster.log.arm(fault.target, fault.moment)
        with suppress(TimeoutError):
            async with asyncio.timeout(ARMED_S):
                await struck.wait()
        cluster.log.disarm(fault.target)
        cluster.troubles.struck[f"at the {fault.moment}"] += struck.is_set()
    if cluster.life(fault.target) is None:
        return False
    cluster.troubles.struck[fault.kind] += 1
    strike()
    return True


async def _drain(cluster: Cluster, fault: Fault) -> None:
    await cluster.drain(fault.target, DRAIN_S)
    cluster.troubles.struck[fault.kind] += 1
    await asyncio.sleep(fault.for_s)
    cluster.start(fault.target)


async def _release(cluster: Cluster, fault: Fault) -> None:
    """A rolling upgrade of one runner, and back."""
    cluster.releases[fault.target] = pipelines(round(fault.amount))
    try:
        await _drain(cluster, fault)
        await asyncio.sleep(fault.for_s)
    finally:
        cluster.releases.pop(fault.target, None)
        cluster.restart(fault.target)


async def _behind(cluster: Cluster, fault: Fault) -> None:
    """An older release, until it is upgraded: what it has stopped doing it does not take up by itself."""
    cluster.troubles.begin(fault)
    cluster.restart(fault.target)
    try:
        await asyncio.sleep(fault.for_s)
    finally:
        cluster.troubles.end(fault)
        cluster.restart(fault.target)


async def _clock(cluster: Cluster, fault: Fault) -> None:
    cluster.troubles.struck[fault.kind] += 1
    cluster.set_clock(fault.target, round(fault.amount))
    await asyncio.sleep(fault.for_s)
    cluster.set_clock(fault.target, 0)


async def _forget_ids(cluster: Cluster, fault: Fault) -> None:
    cluster.troubles.struck[fault.kind] += cluster.log.forget_ids()


async def _retention(cluster: Cluster, fault: Fault) -> None:
    cluster.troubles.struck[fault.kind] += cluster.log.forget_old(fault.target)


async def _store_back(cluster: Cluster, fault: Fault) -> None:
    was = cluster.store.state()
    await asyncio.sleep(fault.for_s)
    cluster.troubles.struck[fault.kind] += was != cluster.store.state()
    cluster.store.go_back(was)


async def _objects_damaged(cluster: Cluster, fault: Fault) -> None:
    cluster.troubles.struck[fault.kind] += cluster.objects.damage()


async def _objects_back(cluster: Cluster, fault: Fault) -> None:
    was = dict(cluster.objects.held)
    await asyncio.sleep(fault.for_s)
    cluster.troubles.struck[fault.kind] += was != cluster.objects.held
    cluster.objects.held = was


async def _objects_forgotten(cluster: Cluster, fault: Fault) -> None:
    cluster.troubles.struck[fault.kind] += bool(cluster.objects.held)
    cluster.objects.held.clear()


_STRIKES = {
    "kill": _kill,
    "pause": _pause,
    "drain": _drain,
    "release": _release,
    "behind": _behind,
    "clock": _clock,
    "clock_far": _clock,
    "forget_ids": _forget_ids,
    "retention": _retention,
    "store_back": _store_back,
    "objects_damaged": _objects_damaged,
    "objects_back": _objects_back,
    "objects_forgotten": _objects_forgotten,
}
