"""The dispatcher restarts from snapshots of its own, on the memory log and a virtual clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from execution_ledger.clock import World
from execution_ledger.dispatcher import keeping as dispatcher_keeping
from execution_ledger.dispatcher.service import DispatcherService
from unit.snapshot_stage import EVENTS, Stage
from unit.test_ledger_service import in_virtual_time


def test_a_dispatcher_restarts_from_its_own_snapshot() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        ledger, dispatcher = stage.ledger(), stage.dispatcher()
        await stage.submit(30)
        await asyncio.sleep(3)
        assert 1 <= len(stage.kept("dispatcher")) <= 2
        assert isinstance(dispatcher.service, DispatcherService)
        await dispatcher.stop()
        before = dispatcher.service._desk.folded()
        stage.log.opened.clear()
        second = stage.dispatcher()
        await asyncio.sleep(3)
        assert isinstance(second.service, DispatcherService)
        after = second.service._desk.folded()
        layout = dispatcher_keeping.LAYOUT
        assert layout.digest(replace(after, claim=before.claim)) == layout.digest(before)
        assert len(after.executions) == 30
        assert second.service.claim
        assert second.service.claim > before.claim.number
        assert max(at for lane, at in stage.log.opened if lane == EVENTS) > 25
        await second.stop()
        await ledger.stop()

    in_virtual_time(scenario)


def test_a_standby_writes_no_snapshots() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        ledger, active = stage.ledger(), stage.dispatcher()
        await asyncio.sleep(2)
        standby = stage.dispatcher()
        await stage.submit(30)
        await asyncio.sleep(2)
        keepers = [
            one.service._keeping._keeper for one in (active, standby) if isinstance(one.service, DispatcherService)
        ]
        assert [keeper.written > 0 for keeper in keepers if keeper] == [True, False]
        for one in (active, standby, ledger):
            await one.stop()

    in_virtual_time(scenario)
