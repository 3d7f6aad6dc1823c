"""Readiness: whoever is asked says so when those behind it do not keep up."""

from __future__ import annotations

import asyncio

import pytest

from execution_ledger.gateway.edge.lag import Lag
from execution_ledger.gateway.gateway import BEHIND_S_MAX, Gateway
from execution_ledger.messages.position import joined
from unit.gateway_stage import Stage, on_stage
from unit.test_gateway_following import gateway_of


def test_lag_is_counted_from_when_a_goal_was_first_missed_and_ends_when_it_is_reached() -> None:
    lag = Lag()
    assert lag.seconds(0.0, {1: 5}, {1: 5}) == 0
    assert lag.seconds(1.0, {1: 9}, {1: 5}) == 0
    assert lag.seconds(4.0, {1: 20}, {1: 8}) == 3
    assert lag.seconds(5.0, {1: 20, 2: 1}, {1: 9}) == 1
    assert lag.seconds(9.0, {1: 30, 2: 1}, {1: 20, 2: 0}) == 4
    assert lag.seconds(10.0, {1: 30}, {1: 30, 2: 1}) == 0


def show_all(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The views hold everything that the tail has read."""
    positions = gateway.views.positions
    positions.known = True
    monkeypatch.setattr(positions, "_position", joined(positions.position, gateway.tail.position))


def test_without_a_projector_a_gateway_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        gateway = gateway_of(stage)
        watch = asyncio.create_task(gateway.watch())
        show_all(gateway, monkeypatch)
        await asyncio.sleep(60)
        show_all(gateway, monkeypatch)
        await stage.submit()
        assert await gateway.unready() == []
        await asyncio.sleep(BEHIND_S_MAX + 2)
        [reason] = await gateway.unready()
        assert "is a projector running?" in reason
        show_all(gateway, monkeypatch)
        assert await gateway.unready() == []
        watch.cancel()

    on_stage(scenario)


def test_without_a_ledger_a_gateway_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        gateway = gateway_of(stage)
        watch = asyncio.create_task(gateway.watch())
        await stage.submit()
        await stage.stop_ledger()
        await stage.tail.read_to_end(1, 5.0)
        show_all(gateway, monkeypatch)
        await asyncio.sleep(60)
        assert await gateway.unready() == []  # nothing waits for it
        await stage.submit()
        await asyncio.sleep(BEHIND_S_MAX)
        [reason] = await gateway.unready()
        assert "is a ledger running?" in reason
        await stage.start_ledger()
        for shard in range(stage.tail.shards):
            await stage.tail.read_to_end(shard, 5.0)
        await stage.submit()
        show_all(gateway, monkeypatch)
        assert await gateway.unready() == []
        watch.cancel()

    on_stage(scenario)
