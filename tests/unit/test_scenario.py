"""Ten seeds of one small scenario: the real services in memory, on a virtual clock, while processes die.

Every execution must end as it should, exactly once, and the views must be what the log says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from execution_ledger import Context, pipeline
from execution_ledger.gateway.writes.requests import AbortRequest, ExecutionRequest
from execution_ledger.messages.parts import TERMINAL, PolicyChoice
from execution_ledger.settings import Settings
from execution_ledger.trials.simulate.loop import VirtualLoop
from execution_ledger.verify.findings import Findings
from execution_ledger.verify.log.history import Stored
from execution_ledger.verify.reading import check_whole, read_log
from unit.cluster_stage import Cluster

ENDS_WITHIN_S = 300  # of virtual time


@pipeline(inputs={"n": "number"}, outputs={"n": "number"})
async def double(ctx: Context, n: float) -> dict[str, Any]:
    await asyncio.sleep(0.5)
    return {"n": 2 * n}


@pipeline(inputs={"n": "number"}, outputs={"n": "number"})
def halve(ctx: Context, n: float) -> dict[str, Any]:
    return {"n": n / 2}


@pipeline(outputs={})
async def fail(ctx: Context) -> None:
    raise ValueError("as asked")


@pipeline(limit=2, outputs={})
async def slow(ctx: Context) -> None:
    await asyncio.sleep(3)


@pipeline(outputs={})
async def endless(ctx: Context) -> None:
    await asyncio.Event().wait()


@pipeline(retries=2, backoff=3, outputs={})
async def flaky(ctx: Context) -> None:
    if ctx.attempt < 3:
        raise ValueError("not yet")


@pipeline(timeout=2, retries={"timeout": 1}, outputs={})
async def late(ctx: Context) -> None:
    await asyncio.Event().wait()


entered: Counter[str] = Counter()


@pipeline(delivery="at_most_once", outputs={})
async def once(ctx: Context) -> None:
    entered[ctx.execution_id] += 1
    await asyncio.sleep(2)


PIPELINES = {one.name: one for one in (double, halve, fail, slow, endless, flaky, late, once)}
EXPECTED = {
    "double": {"completed"},
    "halve": {"completed"},
    "fail": {"failed"},
    "slow": {"completed"},
    "endless": {"aborted"},
    "flaky": {"completed"},
    "late": {"failed"},
    "once": {"completed", "failed"},  # it may be lost with its runner
}


async def submitted(cluster: Cluster, name: str, number: int) -> str:
    takes_number = "n" in PIPELINES[name].definition.inputs
    request = ExecutionRequest(
        pipeline=name,
        inputs={"n": number} if takes_number else {},
        policy=PolicyChoice(losses_max=10),
    )
    answer = await cluster.callers.submit(request, actor="ada", key=f"key-{name}-{number}")
    return answer.subject


async def scenario(loop: VirtualLoop, seed: int) -> Cluster:
    entered.clear()
    async with Cluster(loop, seed, PIPELINES, Settings()) as cluster:
        for name in ("projector-a", "ledger-a", "ledger-b", "dispatcher-a", "dispatcher-b", "runner-a", "runner-b"):
            cluster.start(name)
        await until(lambda: len(cluster.tail.catalog.page("", limit=100)) == len(PIPELINES), within_s=60)
        names = ["double"] * 6 + ["halve"] * 6 + ["fail"] * 2 + ["slow"] * 6 + ["endless"] * 2
        names += ["flaky"] * 2 + ["late"] * 2 + ["once"] * 4
        calls = [asyncio.create_task(submitted(cluster, name, number)) for number, name in enumerate(names)]
        await kill_and_restart_some(cluster)
        ids = await asyncio.gather(*calls)
        await asyncio.sleep(10)
        for execution_id, name in zip(ids, names, strict=True):
            if name == "endless":
                await cluster.callers.abort(execution_id, AbortRequest(reason="it never ends"), actor="ada")
        await all_ended(cluster, ids)
        for execution_id, name in zip(ids, names, strict=True):
            assert cluster.store.executions[execution_id]["status"] in EXPECTED[name], name
        assert max(entered.values()) == 1
        await cluster.stop()
    return cluster


async def kill_and_restart_some(cluster: Cluster) -> None:
    victims = ["ledger-a", "runner-a", "dispatcher-a", "dispatcher-b"]
    cluster.world.chance.shuffle(victims)
    for victim in victims[:3]:
        await asyncio.sleep(cluster.world.chance.uniform(0.1, 2))
        cluster.kill(victim)
        await asyncio.sleep(cluster.world.chance.uniform(0.1, 2))
        cluster.start(victim)


async def all_ended(cluster: Cluster, ids: list[str]) -> None:
    statuses = cluster.store.executions
    await until(lambda: all(statuses.get(one, {}).get("status") in TERMINAL for one in ids), ENDS_WITHIN_S)


async def until(condition: Callable[[], bool], within_s: int) -> None:
    """Looks every virtual tenth of a second, which costs no real time."""
    for _ in range(10 * within_s):
        if condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {within_s} s")


def check_views(history: dict[int, list[Stored]], cluster: Cluster) -> None:
    """The journal holds the log's own bytes, all of them."""
    journal = [cluster.store.journal[key]["event"] for key in sorted(cluster.store.journal)]
    assert journal == [raw for shard in sorted(history) for raw, _ in history[shard]]


async def verified(cluster: Cluster) -> tuple[Findings, dict[int, list[Stored]]]:
    return await check_whole(cluster.log, Settings().ledger), await read_log(cluster.log)


@pytest.mark.parametrize("seed", range(10))
def test_every_execution_ends_as_it_should_whoever_dies(seed: int) -> None:
    loop = VirtualLoop(seed)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        cluster = runner.run(scenario(loop, seed))
        findings, history = runner.run(verified(cluster))
    assert findings.breaches.kept == []
    check_views(history, cluster)
