"""Admission: when nothing new is taken in, why, and that everything else goes on."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import namedtuple
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from execution_ledger.errors import BadSettings
from execution_ledger.gateway.edge import admission as bounds
from execution_ledger.gateway.edge.disks import Disks
from execution_ledger.gateway.edge.lag import GOALS_MAX, Lag
from execution_ledger.gateway.gateway import DISK_LOOKS, LOOK_S, Gateway
from execution_ledger.gateway.stream.ring import Ring
from execution_ledger.gateway.writes import sending
from execution_ledger.messages.commands import RequestAbort
from execution_ledger.messages.ids import make_id
from execution_ledger.messages.position import joined
from unit.gateway_http_stage import BODY, SHARDS, check_problem, serve
from unit.gateway_stage import Stage, on_stage
from unit.test_gateway_following import gateway_of

BATCH = {"executions": [BODY]}
Usage = namedtuple("Usage", "free")


@pytest.fixture
async def stage() -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    async with serve() as served:
        yield served


async def refused(http: httpx.AsyncClient, kind: str) -> None:
    """All ways to ask for executions, before their bodies are read; an abort and a read go through."""
    one = make_id(1, 1, 1)
    again = (f"/v1/executions/{one}/retry", f"/v1/executions/{one}/rerun", f"/v1/batches/{one}/retry")
    for path in ("/v1/executions", "/v1/batches", *again):
        response = await http.post(path, content=NeverRead(), headers={"Content-Type": "application/json"})
        check_problem(response, kind)
        assert int(response.headers["Retry-After"]) > 0
    abort = await http.post(f"/v1/executions/{make_id(1, 1, 1)}/abort")
    assert abort.json()["type"].endswith("unknown-execution") or abort.status_code == 503  # without views
    assert (await http.get("/v1/pipelines")).status_code == 200


class NeverRead:
    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("a body was read")


async def taken(http: httpx.AsyncClient) -> None:
    assert (await http.post("/v1/executions", json=BODY)).status_code == 201
    assert (await http.post("/v1/batches", json=BATCH)).status_code == 201


async def test_only_so_many_requests_for_executions_are_under_way(stage: tuple[Gateway, httpx.AsyncClient]) -> None:
    gateway, http = stage
    gateway.admission.at_once = gateway.settings.submits_at_once_max
    await refused(http, "too-busy")
    gateway.admission.at_once -= 1
    await taken(http)
    await http.post("/v1/executions", json={})
    assert gateway.admission.at_once == gateway.settings.submits_at_once_max - 1  # also after one that was wrong


async def test_whoever_sends_slowly_shuts_nobody_out(
    stage: tuple[Gateway, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, http = stage
    gateway.admission.at_once = gateway.settings.submits_at_once_max - 1
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield json.dumps(BODY).encode()
        begun.set()
        await go_on.wait()

    headers = {"Content-Type": "application/json"}
    slow = asyncio.create_task(http.post("/v1/executions", content=slowly(), headers=headers))
    await begun.wait()
    await taken(http)
    go_on.set()
    assert (await slow).status_code == 201
    assert gateway.admission.at_once == gateway.settings.submits_at_once_max - 1


async def test_where_all_shards_are_full_no_body_is_read(
    stage: tuple[Gateway, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, http = stage
    monkeypatch.setattr(sending, "UNDECIDED_MAX", 1)
    traces = gateway.tail.traces
    waiting = [traces.expect(shard, _an_abort(shard)) for shard in range(1, SHARDS - 1)]
    assert gateway.admission.refusal() is None  # one still has room
    waiting.append(traces.expect(SHARDS - 1, _an_abort(SHARDS - 1)))
    assert gateway.admission.refusal() is not None
    for path in ("/v1/executions", "/v1/batches"):
        check_problem(await http.post(path, content=NeverRead()), "too-busy")
    for waiter in waiting:
        traces.forget(waiter)
    await taken(http)


def _an_abort(shard: int) -> RequestAbort:
    return RequestAbort(command_id=f"c{shard}", actor="ada", execution_id=make_id(1, shard, 1))


async def test_while_the_views_are_far_behind_nothing_new_is_taken_in(
    stage: tuple[Gateway, httpx.AsyncClient],
) -> None:
    gateway, http = stage
    gateway.admission.views_behind_s = gateway.settings.views_behind_s_max + 1
    await refused(http, "views-too-far-behind")
    page = (await http.get("/metrics")).text
    assert 'exledger_gateway_problems_total{code="",problem="views-too-far-behind"} 5.0' in page
    gateway.admission.views_behind_s = gateway.settings.views_behind_s_max
    await taken(http)


def test_a_projector_that_is_down_refuses_new_executions_and_a_postgres_that_is_away_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(stage: Stage) -> None:
        gateway = gateway_of(stage)
        positions = gateway.views.positions
        watch = stage.world.spawn(gateway.watch(), "watch")

        async def kind_after(seconds: float) -> str | None:
            await stage.pass_time(seconds)
            await stage.pass_time(2 * LOOK_S)
            problem = gateway.admission.refusal()
            return problem.kind if problem else None

        positions.known = True
        monkeypatch.setattr(positions, "_position", gateway.tail.position)
        assert await kind_after(20) is None  # the views are a few seconds behind
        assert await kind_after(30) == "views-too-far-behind"
        positions.known = False
        assert await kind_after(1) is None
        positions.known = True
        assert await kind_after(1) == "views-too-far-behind"
        monkeypatch.setattr(positions, "_position", joined(positions.position, gateway.tail.position))
        assert await kind_after(1) is None
        watch.cancel()

    on_stage(scenario)


def test_a_gateway_that_has_just_started_sees_at_its_first_look_how_far_behind_the_views_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(stage: Stage) -> None:
        def first_look(recorded_ms: dict[int, int]) -> float:
            gateway = gateway_of(stage)
            positions = gateway.views.positions
            positions.known, positions.recorded_ms = True, recorded_ms
            monkeypatch.setattr(positions, "_position", views)
            gateway._behind()
            problem = gateway.admission.refusal()
            assert (problem.kind if problem else None) == (
                "views-too-far-behind" if gateway.admission.views_behind_s > 30 else None
            )
            return gateway.admission.views_behind_s

        await stage.pass_time(1)
        views, long_ago = stage.tail.position, dict.fromkeys(range(SHARDS), stage.world.clock.now_ms())
        assert first_look(long_ago) == 0
        await stage.pass_time(3_600)
        assert first_look(long_ago) < 1, "what came before an idle hour is there"
        await stage.pass_time(40)
        assert 40 <= first_look(long_ago) < 41
        for shard, ring in stage.tail.rings.items():
            stage.tail.rings[shard] = Ring()
            stage.tail.rings[shard].add(ring.after(0, 10_000)[-1])
        assert first_look({}) == 0, "nobody knows"
        assert first_look(long_ago) > 3_600

    on_stage(scenario)


def test_an_idle_ledger_is_never_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    lag = Lag()
    assert lag.seconds(0.0, {1: 5}, {1: 5}) == 0
    assert lag.seconds(10_000.0, {1: 6}, {1: 5}) == 0  # however old the event before is


def test_views_that_stay_the_same_time_behind_are_that_much_behind_at_every_look() -> None:
    lag = Lag()
    found = [lag.seconds(float(second), {1: second}, {1: second - 40}) for second in range(200)]
    assert set(found[50:]) == {39.0}


def test_lag_is_remembered_within_bounds_and_not_forgotten() -> None:
    lag = Lag()
    for second in range(500):
        behind_s = lag.seconds(float(second), {1: second + 1}, {1: 0})
    assert behind_s == 499
    assert len(lag._goals) <= GOALS_MAX


async def test_a_full_disk_refuses_new_executions_and_recovers_by_itself(
    stage: tuple[Gateway, httpx.AsyncClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, http = stage
    disks = Disks([tmp_path], 1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(999_999))
    gateway.admission.full_disk = await disks.full()
    await refused(http, "disk-full")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1_000_000))
    gateway.admission.full_disk = await disks.full()
    await taken(http)


async def test_a_disk_that_cannot_be_looked_at_refuses_nothing_and_a_wrong_folder_is_named_at_the_start(
    tmp_path: Path,
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    disks = Disks([gone], 2**62)
    gone.rmdir()
    assert await disks.full() is None
    assert await Disks([], 2**62).full() is None  # a cluster: the brokers' disks are out of sight
    with pytest.raises(BadSettings, match="EXLEDGER__GATEWAY__DISK_FOLDERS"):
        Disks([gone], 1)


def test_disks_are_looked_at_once_in_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    async def scenario(stage: Stage) -> None:
        gateway = gateway_of(stage)

        async def full() -> str | None:
            looks.append(stage.world.clock.monotonic_s())
            return "full" if len(looks) % 2 else None

        monkeypatch.setattr(gateway._disks, "full", full)
        watch = stage.world.spawn(gateway.watch(), "watch")
        await stage.pass_time(0.5)
        assert gateway.admission.refusal()
        await stage.pass_time(DISK_LOOKS * LOOK_S)
        assert not gateway.admission.refusal()
        watch.cancel()
        assert looks[1] - looks[0] >= DISK_LOOKS * LOOK_S

    on_stage(scenario)


async def test_bodies_in_memory_are_bounded_and_an_abort_always_fits(
    stage: tuple[Gateway, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, http = stage
    monkeypatch.setattr(bounds, "BODIES_BYTES_MAX", 1_000_000)
    definition = {"name": "double", "inputs": {}, "code": "x" * 20_000}
    with gateway.admission.holding(999_999):
        check_problem(await http.put("/v1/pipelines/double", json=definition), "too-busy")
        abort = await http.post(f"/v1/executions/{make_id(1, 1, 1)}/abort", json={"reason": "enough"})
        assert abort.status_code != 429
    assert (await http.put("/v1/pipelines/double", json=definition)).status_code != 429
