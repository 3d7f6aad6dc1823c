"""What dispatcher, runner and projector show of their work, as whole processes over the log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from execution_ledger import Context, pipeline
from execution_ledger.dispatcher import metrics as dispatcher_metrics
from execution_ledger.gateway.writes.requests import ExecutionRequest
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.runner.heart import FENCE_SHARE
from execution_ledger.settings import Settings
from execution_ledger.trials.simulate.loop import VirtualLoop
from unit.cluster_stage import Cluster
from unit.metrics_stage import Shown

SETTINGS = Settings()
LEASE_S = SETTINGS.runner.lease_s


@pipeline(inputs={"n": "number"}, outputs={"n": "number"})
async def double(ctx: Context, n: float) -> dict[str, Any]:
    await asyncio.sleep(2)
    return {"n": 2 * n}


@pipeline(outputs={})
async def fail(ctx: Context) -> None:
    raise ValueError("as asked")


@pipeline(outputs={})
async def endless(ctx: Context) -> None:
    await asyncio.Event().wait()


PIPELINES = {one.name: one for one in (double, fail, endless)}


def on_cluster(scenario: Callable[[Cluster], Coroutine[Any, Any, None]]) -> None:
    """With a ledger and a dispatcher; the pipelines are registered."""

    async def play() -> None:
        async with Cluster(loop, 1, PIPELINES, SETTINGS) as cluster:
            cluster.start("ledger-a")
            cluster.start("dispatcher-a")
            await cluster.tail.caught_up.wait()
            for one in PIPELINES.values():
                await cluster.callers.catalog.pipeline(one.definition, "ada")
            await scenario(cluster)
            await cluster.stop()

    loop = VirtualLoop(1)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(play())


async def submit(cluster: Cluster, name: str, count: int) -> None:
    inputs = {"n": 1} if "n" in PIPELINES[name].definition.inputs else {}
    for _ in range(count):
        await cluster.callers.submit(ExecutionRequest(pipeline=name, inputs=inputs), "ada", None)


def shown(cluster: Cluster, name: str) -> Shown:
    return Shown(cluster.processes[name].registry)


def test_a_dispatcher_shows_who_waits_for_how_long_and_who_stands_by() -> None:
    async def scenario(cluster: Cluster) -> None:
        await submit(cluster, "double", 5)
        await submit(cluster, "fail", 1)
        cluster.start("dispatcher-b")
        await asyncio.sleep(30)
        active, standby = shown(cluster, "dispatcher-a"), shown(cluster, "dispatcher-b")
        assert active.value("exledger_dispatcher_queue_depth", pool="default", pipeline="double") == 5
        assert active.value("exledger_dispatcher_queue_depth", pool="default", pipeline="fail") == 1
        assert 28 < active.value("exledger_dispatcher_queue_oldest_seconds", pool="default", pipeline="double") < 31
        assert (active.value("exledger_dispatcher_claim"), standby.value("exledger_dispatcher_claim")) == (1, 0)
        assert active.value("exledger_dispatcher_slots") == active.total("exledger_dispatcher_runners") == 0
        assert active.total("exledger_dispatcher_lag_records") == 0
        assert active.value("exledger_dispatcher_unstable_records", shard="1", topic="events") == 0

    on_cluster(scenario)


def test_more_pipelines_wait_than_get_a_line_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_metrics, "LINES_MAX", 1)

    async def scenario(cluster: Cluster) -> None:
        await submit(cluster, "double", 3)
        await submit(cluster, "fail", 1)
        await submit(cluster, "endless", 1)
        await asyncio.sleep(10)
        active = shown(cluster, "dispatcher-a")
        assert active.value("exledger_dispatcher_queue_depth", pool="default", pipeline="double") == 3
        assert active.value("exledger_dispatcher_queue_depth", pool="other", pipeline="other") == 2

    on_cluster(scenario)


def test_slots_attempts_and_asks_are_shown_by_who_has_them() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.start("runner-a")
        await submit(cluster, "double", 3)
        await submit(cluster, "fail", 2)
        await submit(cluster, "endless", 4)
        await asyncio.sleep(20)
        runner, dispatcher = shown(cluster, "runner-a"), shown(cluster, "dispatcher-a")
        slots = SETTINGS.runner.slots
        assert (runner.value("exledger_runner_slots"), runner.value("exledger_runner_running")) == (slots, 4)
        assert runner.value("exledger_runner_started_total") == 9
        assert runner.value("exledger_runner_ended_total", outcome="completed") == 3
        assert runner.value("exledger_runner_ended_total", outcome="failed") == 2
        assert runner.value("exledger_runner_attempt_seconds_count") == 5
        assert 6 <= runner.value("exledger_runner_attempt_seconds_sum") < 7
        assert runner.value("exledger_runner_heartbeat_seconds_count") > 5
        assert dispatcher.value("exledger_dispatcher_runners", state="ready") == 1
        assert dispatcher.value("exledger_dispatcher_slots") == slots
        assert dispatcher.value("exledger_dispatcher_slots_free") == slots - 4
        assert dispatcher.value("exledger_dispatcher_asks_total", command="dispatch") == 9
        assert dispatcher.total("exledger_dispatcher_queue_depth") == 0

    on_cluster(scenario)


def test_what_a_dead_runner_had_is_expired_by_cause() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.start("runner-a")
        await submit(cluster, "endless", 2)
        await asyncio.sleep(10)
        cluster.kill("runner-a")
        await asyncio.sleep(LEASE_S + 10)
        dispatcher = shown(cluster, "dispatcher-a")
        assert dispatcher.value("exledger_dispatcher_expiries_total", cause="lost") == 2
        assert dispatcher.value("exledger_dispatcher_asks_total", command="expire") == 2
        assert dispatcher.total("exledger_dispatcher_runners") == 0

    on_cluster(scenario)


def test_a_projector_shows_batches_and_a_lag_that_grows_while_it_is_away_from_the_log() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.start("projector-a")
        await submit(cluster, "double", 5)
        await asyncio.sleep(10)
        projector = shown(cluster, "projector-a")
        events = sum(position.sequence for position in cluster.store.positions.values())
        assert projector.value("exledger_projector_batch_events_sum") == events
        assert projector.value("exledger_projector_commit_seconds_count") > 0
        assert projector.value("exledger_projector_shards") == SETTINGS.kafka.shards
        assert projector.total("exledger_projector_lag_records") == 0
        assert projector.total("exledger_projector_lag_seconds") == 0
        cluster.pause("projector-a")
        await submit(cluster, "double", 9)
        await asyncio.sleep(10)
        behind = shown(cluster, "projector-a")
        ends = sum([await cluster.log.end(Lane(Topic.EVENTS, shard)) for shard in range(SETTINGS.kafka.shards)])
        read = sum(position.next_offset for position in cluster.store.positions.values())
        assert behind.total("exledger_projector_lag_records") == ends - read > 9
        assert behind.total("exledger_projector_lag_seconds") >= 10
        cluster.kill("projector-a")

    on_cluster(scenario)


def test_two_projectors_that_move_the_same_positions_count_what_they_lose() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.start("projector-a")
        cluster.start("projector-b")
        await submit(cluster, "double", 20)
        await asyncio.sleep(10)
        lost = [shown(cluster, name).total("exledger_projector_unknown_outcomes_total") for name in cluster.processes]
        assert sum(lost) > 0

    on_cluster(scenario)


def test_a_runner_that_is_cut_off_counts_its_silence_and_stops_itself_once() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.start("runner-a")
        await submit(cluster, "endless", 1)
        await asyncio.sleep(5)
        cluster.trouble("cut", "runner-a")
        await asyncio.sleep(LEASE_S * FENCE_SHARE + 5)
        runner = shown(cluster, "runner-a")
        assert runner.value("exledger_runner_self_fenced_total") == 1
        assert runner.value("exledger_runner_running") == 0
        assert runner.value("exledger_runner_silent_seconds") > LEASE_S * FENCE_SHARE
        cluster.kill("runner-a")

    on_cluster(scenario)
