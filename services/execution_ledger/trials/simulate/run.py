"""One run: a plan is played on a cluster, the faults stop, everything must come to rest, and all is checked."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.projector.memory import Row
from execution_ledger.settings import (
    DispatcherSettings,
    GatewaySettings,
    KafkaSettings,
    RunnerSettings,
    Settings,
    SnapshotSettings,
)
from execution_ledger.snapshots.keeping import EVENT_S
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.reading import read_log

from .anew import Anew
from .callers import Client
from .calm import EVERY as CALM_EVERY
from .calm import Calm, may_be_calm
from .checks import check
from .cluster import Cluster
from .faults import Faults
from .job_views import open_jobs
from .log import LATE_S
from .loop import VirtualLoop
from .night import sleep_and_ask_again
from .objects import in_order
from .pipelines import LIMIT, SLOTS, WITNESS, Witness, pipelines
from .plan import LEASE_S, PROCESSES, SHARDS, SPAN_S, Plan
from .plants import planted
from .states import States
from .story import tell
from .tally import Tally, tally

STARTS_BYTES = 3_000  # so few that starts have to be fetched from the log, too
SETTINGS = Settings(
    kafka=KafkaSettings(shards=SHARDS),
    dispatcher=DispatcherSettings(lease_s=LEASE_S, starts_cache_bytes_max=STARTS_BYTES),
    runner=RunnerSettings(slots=SLOTS, heartbeat_s=1.0, lease_s=LEASE_S, drain_s=2.0),
    gateway=GatewaySettings(decide_wait_s=3.0),
    snapshots=SnapshotSettings(due_s=12 * EVENT_S, share_max=1_000),  # every twelve events, whatever that costs
)
FENCE_SHARE = 0.7  # of a lease: a runner that was not heard for so long has stopped by itself
FAULTS_END_S = SPAN_S + 15
REST_S = 240.0  # the bound of promise 9: by then everything has ended
LOOK_S = 0.5
ABORT_EVERY = 10  # looks
ANEW_AT, NIGHT_AT = 1, 2  # of so many seeds as have one calm: what others have
STOP_S = 60.0


@dataclass(frozen=True)
class Result:
    plan: Plan
    breaches: list[Breach]
    events: int
    executions: int
    virtual_s: float
    core_s: float  # of one core's time
    rest_s: float  # virtual seconds from the end of the faults until all was at rest
    story: list[str]
    tally: Tally = field(default_factory=Tally)
    digest: str = ""  # of all that the log holds in the end: a plan always makes the same

    @property
    def promises(self) -> set[int]:
        return {breach.promise for breach in self.breaches}


def run(plan: Plan) -> Result:
    began_s = time.process_time()
    loop = VirtualLoop(plan.seed)
    loop.set_exception_handler(lambda *_: None)
    with asyncio.Runner(loop_factory=lambda: loop) as runner, quiet():
        try:
            return runner.run(_run(loop, plan, began_s))
        except Exception as error:
            error.add_note(f"in the simulation of seed {plan.seed} ({plan.steps} steps)")
            raise


async def _run(loop: VirtualLoop, plan: Plan, began_s: float) -> Result:
    states = States()
    async with Cluster(loop, plan.seed, pipelines(LIMIT), SETTINGS, snapshots=plan.snapshots) as cluster:
        releases = [(fault.at_s, round(fault.amount)) for fault in plan.faults if fault.kind == "release"]
        witness = Witness(cluster.log.heard, FENCE_SHARE * LEASE_S, releases)
        WITNESS.set(witness)
        client = Client(cluster, random.Random(f"client {plan.seed}"))  # noqa: S311 - a seeded choice is the point
        calm = Anew() if plan.seed % CALM_EVERY == ANEW_AT else Calm()
        with planted(cluster.troubles), in_order(), states.watched():
            rest_s = await _play(cluster, client, plan, calm)
        breaches = await check(cluster, client, witness, states, calm, SETTINGS)
        story = await tell(plan, breaches, cluster, client, witness) if breaches else []
        events = sum(position.sequence for position in cluster.store.positions.values())
        return Result(
            plan,
            breaches,
            events,
            len(cluster.store.executions),
            loop.time(),
            time.process_time() - began_s,
            rest_s,
            story,
            tally(cluster, client, await read_log(cluster.log)),
            cluster.log.digest(),
        )


async def _play(cluster: Cluster, client: Client, plan: Plan, calm: Calm | Anew) -> float:
    """How long it took to come to rest after the faults had stopped."""
    for name in PROCESSES:
        cluster.start(name)
    asking = asyncio.create_task(client.play(plan.asks))
    faults = asyncio.create_task(Faults(cluster, plan.faults).play())
    last_s = max((fault.until_s for fault in plan.faults), default=0.0)
    await asyncio.sleep(min(max([last_s, *(ask.at_s for ask in plan.asks)]), FAULTS_END_S))
    faults.cancel()
    await asyncio.wait([faults])
    cluster.heal()
    ended_s = asyncio.get_running_loop().time()
    await _come_to_rest(cluster, client, asking)
    rest_s = asyncio.get_running_loop().time() - ended_s
    if asking.done() and at_rest(cluster):
        if plan.seed % CALM_EVERY in (0, ANEW_AT) and may_be_calm(cluster):
            await calm.play(cluster, client)
        elif plan.seed % CALM_EVERY == NIGHT_AT:
            await sleep_and_ask_again(cluster, client, plan)
            await _come_to_rest(cluster, client, asking)
    asking.cancel()
    await _stop(cluster)
    await asyncio.wait([asking])
    return rest_s


async def _stop(cluster: Cluster) -> None:
    """In the order in which they depend on each other; each sees to its end what the others wrote when they went."""
    for kinds in (("gateway", "runner", "dispatcher"), ("ledger",), ("projector",)):
        await cluster.stop([name for name in PROCESSES if name.startswith(kinds)], STOP_S)
        for _ in range(round(STOP_S / LOOK_S)):
            if at_rest(cluster):
                break
            await asyncio.sleep(LOOK_S)


async def _come_to_rest(cluster: Cluster, client: Client, asking: asyncio.Task[None]) -> None:
    """Returns when all has ended, or when there was time enough for that. What is late lands first."""
    await asyncio.sleep(LATE_S[1])
    for look in range(round(REST_S / LOOK_S)):
        if asking.done() and at_rest(cluster):
            return
        if look % ABORT_EVERY == 0:
            client.ask_for_jobs()
            await asyncio.gather(*(client.abort(execution) for execution in _hanging(cluster)))
            await asyncio.gather(*(client.force(one, f"way-{one}") for one in _in_the_way(cluster)))
        await asyncio.sleep(LOOK_S)


def at_rest(cluster: Cluster) -> bool:
    """Every execution has ended, and views and ledgers have read all there is."""
    store, log = cluster.store, cluster.log
    for shard in range(SHARDS):
        events = log.partition(Lane(Topic.EVENTS, shard))
        at = store.positions.get(shard)
        if at is None or not events.records or at.kafka_offset != events.records[-1].offset:
            return False
        if any(log.unread(Lane(topic, shard)) for topic in (Topic.COMMANDS, Topic.REPORTS)):
            return False
    if open_jobs(store):
        return False
    return all(_is_set_apart(store.executions[one]) for one in store.live_executions)


def _hanging(cluster: Cluster) -> list[str]:
    """What ends only where somebody asks for it: code that waits for ever, what is held, and versions that no runner
    offers now."""
    offered = {one.name: one.digest for one in pipelines(LIMIT).values()}
    executions = cluster.store.executions
    return [
        one
        for one, row in cluster.store.live_executions.items()
        if row["status"] != "abort_requested"
        and (
            executions[one]["held_at"]
            or '"hang"' in (executions[one]["inputs"] or "")
            or executions[one]["pipeline_digest"] != offered[row["pipeline"]]
        )
    ]


def _in_the_way(cluster: Cluster) -> list[str]:
    """What was set apart and only an operator can end, where others of its business id wait for that."""
    executions = cluster.store.executions
    live = [executions[one] for one in cluster.store.live_executions]
    waited_for = Counter((row["pipeline"], row["business_id"]) for row in live if row["business_id"])
    return [row["id"] for row in live if _is_set_apart(row) and waited_for[row["pipeline"], row["business_id"]] > 1]


def _is_set_apart(row: Row) -> bool:
    return "quarantined" in (row["failure"] or "")


@contextmanager
def quiet() -> Iterator[None]:
    """What the services log would take most of the time, and interests nobody here."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False
    )
    try:
        yield
    finally:
        structlog.configure(**before)
