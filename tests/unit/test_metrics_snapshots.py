"""What ledger and dispatcher show of their snapshots: an operator sees that a restart would be quick, or why not."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from execution_ledger.clock import World
from unit.metrics_stage import Shown
from unit.snapshot_stage import Failing, Stage
from unit.test_ledger_service import history, in_virtual_time

BEHIND, BEHIND_S = "exledger_ledger_snapshot_behind_events", "exledger_ledger_snapshot_behind_seconds"


def newest_kept(stage: Stage, name: str) -> int:
    """How many events it includes."""
    return int(stage.kept(name)[-1].rpartition("/")[2].partition("-")[0])


def test_what_lies_behind_the_newest_snapshot_is_shown_by_shard() -> None:
    async def scenario(world: World) -> None:
        stage, registry = Stage(world), CollectorRegistry()
        ledger = stage.ledger(registry=registry)
        await stage.submit(30)
        await asyncio.sleep(2)
        shown, events = Shown(registry), len(await history(stage.log, 1))
        assert shown.value("exledger_ledger_snapshots_total", outcome="written") >= 2
        assert shown.value("exledger_ledger_snapshots_total", outcome="failed") == 0
        assert shown.value(BEHIND, shard="1") == events - newest_kept(stage, "ledger-1") < 10
        assert shown.value(BEHIND, shard="2") == 2, "too few for a snapshot"
        assert shown.value(BEHIND_S, shard="2") == 2 * 60e-6
        await ledger.stop()

    in_virtual_time(scenario)


def test_a_restart_knows_how_old_the_snapshot_is_that_it_began_with() -> None:
    async def scenario(world: World) -> None:
        stage, registry = Stage(world), CollectorRegistry()
        ledger = stage.ledger()
        await stage.submit(30)
        await ledger.stop()
        ledger = stage.ledger(registry=registry)
        await asyncio.sleep(2)
        assert Shown(registry).value(BEHIND, shard="1") < 10
        await ledger.stop()

    in_virtual_time(scenario)


def test_a_store_that_fails_shows_in_failures_and_in_what_lies_behind() -> None:
    async def scenario(world: World) -> None:
        objects = Failing()
        objects.failing = "put"
        stage, registry = Stage(world, objects), CollectorRegistry()
        ledger = stage.ledger(registry=registry)
        await stage.submit(30)
        await asyncio.sleep(2)
        shown = Shown(registry)
        assert shown.value("exledger_ledger_snapshots_total", outcome="failed") == objects.asked > 0
        assert shown.value("exledger_ledger_snapshots_total", outcome="written") == 0
        assert shown.value(BEHIND, shard="1") == len(await history(stage.log, 1)) > 30
        await ledger.stop()

    in_virtual_time(scenario)


def test_only_the_dispatcher_that_acts_says_how_far_its_snapshot_is_behind() -> None:
    async def scenario(world: World) -> None:
        stage, registries = Stage(world), (CollectorRegistry(), CollectorRegistry())
        ledger, active = stage.ledger(), stage.dispatcher(registries[0])
        await asyncio.sleep(2)
        standby = stage.dispatcher(registries[1])
        await stage.submit(30)
        await asyncio.sleep(2)
        acting, standing_by = map(Shown, registries)
        assert acting.value("exledger_dispatcher_snapshots_total", outcome="written") > 0
        assert acting.value("exledger_dispatcher_snapshot_behind_events") < 10
        assert standing_by.labelled("exledger_dispatcher_snapshot_behind_events") == []
        for one in (active, standby, ledger):
            await one.stop()

    in_virtual_time(scenario)
