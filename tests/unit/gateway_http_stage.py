"""A gateway over HTTP without sockets: a ledger on the log in memory behind it, and no Postgres."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from execution_ledger.clock import real_world
from execution_ledger.gateway.app import create_app
from execution_ledger.gateway.edge.problems import KINDS, TYPE_PREFIX
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.ledger.service import LedgerService
from execution_ledger.lifecycle import end_tasks
from execution_ledger.log.memory import MemoryLog
from execution_ledger.settings import LedgerSettings, Settings

SHARDS = 4
TOKEN = "a-token"
BODY = {"pipeline": "double", "inputs": {"n": 1}}
TWINS = ("pump-1", "pump-2", "pump-3", "pump-7")
DEFINITION = {"name": "double", "inputs": {"n": {"type": "json"}}, "code": "c1"}


def settings(**gateway: Any) -> Settings:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    return Settings.model_validate({"gateway": {"token_sha256": digest, "read_wait_s": 0.05, **gateway}})


@asynccontextmanager
async def serve() -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    """A gateway with a ledger, on the log in memory and without Postgres; `double` and some twins are registered."""
    world = real_world()
    log = MemoryLog(SHARDS, now_ms=world.clock.now_ms)
    ledger = LedgerService(log, world, LedgerSettings(), SHARDS)
    gateway = Gateway(log, world, settings())
    tasks = [world.spawn(ledger.run(), "ledger"), world.spawn(gateway.tail.run(), "tail")]
    transport = httpx.ASGITransport(create_app(gateway), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://ledger", headers=headers) as client:
        await ledger.ready.wait()
        await gateway.tail.caught_up.wait()
        assert (await client.put("/v1/pipelines/double", json=DEFINITION)).status_code == 201
        for twin in TWINS:
            assert (await client.put(f"/v1/twins/{twin}", json={})).status_code == 201
        yield gateway, client
    ledger.stop()
    await tasks[0]
    await end_tasks(tasks[1:])


def check_problem(response: httpx.Response, kind: str) -> dict[str, Any]:
    problem: dict[str, Any] = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == TYPE_PREFIX + kind
    assert (response.status_code, problem["status"]) == (KINDS[kind].status, KINDS[kind].status)
    assert problem["title"] == KINDS[kind].title
    assert problem["detail"]
    return problem


async def post(http: httpx.AsyncClient, raw: str | bytes, path: str = "/v1/executions") -> httpx.Response:
    return await http.post(path, content=raw, headers={"Content-Type": "application/json"})
