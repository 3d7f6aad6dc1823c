"""The gateway's side of an explanation: whom it asks, and what it says where the dispatcher knows nothing."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from execution_ledger.clock import real_world
from execution_ledger.dispatcher.desk import Desk, DeskSettings
from execution_ledger.gateway.app import create_app, openapi_document
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.gateway.reads.records import ExecutionRecord
from execution_ledger.gateway.routes.explain import explain_record
from execution_ledger.gateway.stream.catalog import Catalog
from execution_ledger.lifecycle import end_tasks
from execution_ledger.log.memory import MemoryLog
from execution_ledger.messages.ids import make_id
from execution_ledger.messages.parts import Failure, Status
from execution_ledger.settings import Settings
from unit.dispatcher_stage import LEASE_MS, SHARDS, Cluster, Dispatcher, acting

TOKEN = "a-token"
PATHS = ["/v1/queue", "/v1/runners", f"/v1/executions/{make_id(1, 1, 1)}/explain"]


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A gateway on the log in memory, with nobody else there."""
    world = real_world()
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    settings = Settings.model_validate({"gateway": {"token_sha256": digest, "read_wait_s": 0.05}})
    gateway = Gateway(MemoryLog(SHARDS, now_ms=world.clock.now_ms), world, settings)
    tail = world.spawn(gateway.tail.run(), "tail")
    await gateway.tail.caught_up.wait()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    transport = httpx.ASGITransport(create_app(gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://ledger", headers=headers) as client:
        yield client
    await end_tasks([tail])


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_dispatcher_it_is_away_and_never_an_empty_answer(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    problem = response.json()
    assert problem["type"].endswith(":dispatcher-away")
    assert "exledger serve dispatcher" in problem["detail"]


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_asks_without_a_token(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401


async def test_no_execution_lives_on_the_catalogs_shard(http: httpx.AsyncClient) -> None:
    assert (await http.get(f"/v1/executions/{make_id(1, 0, 1)}/explain")).status_code == 404


def test_the_newest_claim_names_whom_to_ask() -> None:
    cluster = Cluster()
    catalog = Catalog()
    for number, address in enumerate(("http://a:1", "http://b:2", None), start=1):
        dispatcher = Dispatcher(cluster, f"d{number}")
        settings = DeskSettings(f"d{number}", SHARDS, LEASE_MS, 4_000, 500, address)
        dispatcher.desk = Desk(settings, cluster.fresh_id)
        cluster.now_ms += 60_000
        while dispatcher.desk.acting is None:
            dispatcher.tick()
        for event in cluster.ledgers[0].history:
            catalog.fold(event)
        assert catalog.dispatcher_address == address
    assert acting(cluster, "d4").desk.acting == 4


def explained(status: Status, failure: Failure | None = None, **times: Any) -> tuple[str, str]:
    """Code and text, of a record that the dispatcher does not know."""
    plain = {"id": make_id(1, 1, 1), "name": "train-401", "pipeline": "train", "pipeline_version": 1, "pool": "default"}
    known: dict[str, Any] = plain | {"attempt": 1, "runner": None, "ended_at": None, "updated_at": 5, **times}
    found = explain_record(ExecutionRecord.model_construct(status=status, failure=failure, **known))
    assert found.since == (times.get("ended_at") or 5)
    [why] = found.reasons
    return why.code, why.text


def test_what_the_views_know_is_told_where_the_dispatcher_knows_nothing() -> None:
    assert explained(Status.COMPLETED, ended_at=9) == ("ended", "It has ended: completed.")
    failure = Failure(kind="user", message="no such pump.")
    assert explained(Status.FAILED, failure, ended_at=9) == ("ended", "It has ended: failed (user: no such pump).")
    set_aside = explained(Status.STARTED, Failure(kind="quarantined", message="a bug"))
    assert set_aside[0] == "quarantined"
    assert explained(Status.QUEUED)[0] == "not_seen"


def test_the_api_describes_it() -> None:
    document = openapi_document()
    for path in ("/v1/executions/{reference}/explain", "/v1/queue", "/v1/runners"):
        assert document["paths"][path]["get"]["summary"]
    assert {"Explanation", "QueueReport", "RunnersReport"} <= document["components"]["schemas"].keys()
