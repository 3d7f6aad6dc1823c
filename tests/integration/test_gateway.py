"""The gateway over real HTTP, a real Kafka and a real Postgres, with ledger and projector beside it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from execution_ledger.clock import real_world
from execution_ledger.gateway.service import GatewayService
from execution_ledger.gateway.stream.ring import Ring
from execution_ledger.ledger.service import LedgerService
from execution_ledger.lifecycle import Service
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.topics import create_topics
from execution_ledger.messages.ids import make_id
from execution_ledger.messages.position import covers, parse_position
from execution_ledger.postgres import connect
from execution_ledger.projector.postgres import PostgresStore
from execution_ledger.projector.service import ProjectorService
from execution_ledger.settings import KafkaSettings, Settings

SHARDS = 3
TOKEN = "a-token"
WAIT_S = 30.0
DEFINITION = {"name": "double", "inputs": {"n": {"type": "json"}}, "outputs": {}, "code": "c1"}


@dataclass
class Cluster:
    """Services by name, each started and stopped by itself, over one Kafka and one Postgres."""

    log: KafkaLog
    settings: Settings

    @asynccontextmanager
    async def running(self, service: Service) -> AsyncIterator[None]:
        life = asyncio.create_task(service.run())
        ready = asyncio.create_task(service.ready.wait())
        await asyncio.wait([life, ready], timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        assert service.ready.is_set(), life
        try:
            yield
        finally:
            service.stop()
            await asyncio.wait_for(life, WAIT_S)

    def ledger(self) -> LedgerService:
        return LedgerService(self.log, real_world(), self.settings.ledger, SHARDS)

    def projector(self) -> ProjectorService:
        store = PostgresStore(self.settings.postgres.dsn.get_secret_value())
        return ProjectorService(self.log, store, real_world(), self.settings.projector)

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[tuple[GatewayService, httpx.AsyncClient]]:
        service = GatewayService(self.log, real_world(), self.settings)
        async with self.running(service):
            url = f"http://127.0.0.1:{service.port}"
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S, trust_env=False) as http:
                yield service, http


@pytest.fixture
async def cluster(kafka: str, database: str) -> AsyncIterator[Cluster]:
    prefix = f"gw-{uuid.uuid4().hex[:8]}."
    kafka_settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=prefix, shards=SHARDS)
    await create_topics(kafka_settings)
    settings = Settings.model_validate(
        {
            "kafka": kafka_settings,
            "postgres": {"dsn": database},
            "gateway": {"token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "port": 0, "decide_wait_s": 3.0},
        }
    )
    async with KafkaLog(kafka_settings, "gateway-test") as log:
        yield Cluster(log, settings)


async def submit(http: httpx.AsyncClient, n: Any = 1, **more: Any) -> dict[str, Any]:
    response = await http.post("/v1/executions", json={"pipeline": "double", "inputs": {"n": n}, **more})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def get(http: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    response = await http.get(path, params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert response.headers["Ledger-Position"] == answer["position"]
    return answer


async def ready(service: GatewayService, http: httpx.AsyncClient) -> None:
    """Until the gateway can read, and `double` and some twins are registered."""
    views = service.gateway.views.positions
    async with asyncio.timeout(WAIT_S):
        while not views.known:
            await views.moved.wait()
    assert (await http.get("/readyz")).status_code == 200
    assert (await http.put("/v1/pipelines/double", json=DEFINITION)).status_code in (200, 201)
    for twin in (*(f"pump-{n}" for n in range(8)), "a"):
        assert (await http.put(f"/v1/twins/{twin}", json={})).status_code in (200, 201)


@asynccontextmanager
async def everything(cluster: Cluster) -> AsyncIterator[tuple[GatewayService, httpx.AsyncClient]]:
    services = cluster.running(cluster.ledger()), cluster.running(cluster.projector())
    async with services[0], services[1], cluster.gateway() as (service, http):
        await ready(service, http)
        yield service, http


async def test_what_was_answered_is_what_the_very_next_read_shows(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        for n in range(20):
            answer = await submit(http, n, labels={"n": str(n)}, twin="pump-1")
            record = await get(http, f"/v1/executions/{answer['id']}")
            assert (record["status"], record["inputs"], record["number"]) == ("queued", {"n": n}, answer["number"])
            assert covers(parse_position(record["position"]), parse_position(answer["position"]))
            page = await get(http, "/v1/executions", limit=1)
            assert [item["id"] for item in page["items"]] == [answer["id"]]
        for reference in (str(answer["number"]), answer["name"]):
            assert (await get(http, f"/v1/executions/{reference}"))["id"] == answer["id"]
        assert (await http.get(f"/v1/executions/other-{answer['name']}")).status_code == 404
        assert (await http.get(f"/v1/executions/{make_id(1, 1, 1)}")).status_code == 404
        assert record["created_by"] == "admin"
        assert record["labels"] == {"n": "19"}
        assert record["created_at"].endswith("Z")


async def test_lists_page_by_key_and_narrow(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        ids = [
            (await submit(http, n, mode="experiment" if n % 2 else "production", labels={"odd": str(n % 2)}))["id"]
            for n in range(7)
        ]
        await http.post(f"/v1/executions/{ids[0]}/abort", json={"reason": "no"})
        found: list[str] = []
        cursor = None
        while cursor is not None or not found:
            page = await get(http, "/v1/executions", limit=3, **({"cursor": cursor} if cursor else {}))
            found += [item["id"] for item in page["items"]]
            cursor = page["next"]
        assert found == ids[::-1]
        narrowed: list[tuple[dict[str, Any], list[str]]] = [
            ({"mode": "experiment"}, ids[1::2]),
            ({"label": "odd=1"}, ids[1::2]),
            ({"status": "aborted"}, ids[:1]),
            ({"status": ["queued", "started"]}, ids[1:]),
            ({"status": ["queued", "aborted"], "mode": "production"}, ids[0::2]),
            ({"pipeline": "double", "twin": "nobody"}, []),
            ({"created_after": "2099-01-01T00:00:00Z"}, []),
            ({"created_before": "2099-01-01T00:00:00Z"}, ids),
            ({"batch": make_id(1, 1, 1)}, []),
        ]
        for params, wanted in narrowed:
            page = await get(http, "/v1/executions", **params)
            assert [item["id"] for item in page["items"]] == wanted[::-1], params


async def test_a_read_can_wait_for_the_end(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        answer = await submit(http)
        path = f"/v1/executions/{answer['id']}"
        assert (await get(http, path, wait=0.05))["status"] == "queued"
        waiting = asyncio.create_task(get(http, path, wait=30))
        assert (await get(http, path))["status"] == "queued"
        aborted = (await http.post(f"{path}/abort", json={"reason": "enough"})).json()
        record = await waiting
        assert (aborted["status"], record["status"]) == ("aborted", "aborted")
        assert record["abort"] | {"requested_at": None} == {
            "requested_by": "admin",
            "reason": "enough",
            "requested_at": None,
            "outcome": "never_started",
            "took_ms": 0,
        }
        journal = await get(http, f"{path}/events")
        assert [event["type"].removeprefix("executionledger.execution.") for event in journal["items"]] == [
            "queued.v1",
            "abort_requested.v1",
            "aborted.v1",
        ]
        first = await get(http, f"{path}/events", limit=1)
        rest = await get(http, f"{path}/events", cursor=first["next"])
        assert first["items"] + rest["items"] == journal["items"]
        command = await get(http, f"/v1/commands/{answer['command_id']}")
        assert (command["status"], command["id"], command["number"]) == ("accepted", answer["id"], answer["number"])


async def test_a_key_survives_the_ledger_and_answers_when_it_is_back(cluster: Cluster) -> None:
    body = {"pipeline": "double", "inputs": {"n": 1}}
    key = {"Idempotency-Key": "k"}
    async with cluster.running(cluster.projector()), cluster.gateway() as (service, http):
        async with cluster.running(cluster.ledger()):
            await ready(service, http)
        response = await http.post("/v1/executions", json=body, headers=key)
        assert (response.status_code, response.json()["status"]) == (202, "received")
        command = response.headers["Location"]
        assert (await get(http, command))["status"] == "received"
        async with cluster.running(cluster.ledger()):
            again = await http.post("/v1/executions", json=body, headers=key)
            assert again.status_code == 200
            known = await get(http, command)
            assert (known["status"], known["id"]) == ("accepted", again.json()["id"])
        page = await get(http, "/v1/executions")
        assert [item["id"] for item in page["items"]] == [again.json()["id"]]


async def test_outputs_of_any_depth_are_read_as_they_were_stored(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        answer = await submit(http)
        deep = '{"n": ' + "[" * 3_000 + "]" * 3_000 + "}"
        await get(http, f"/v1/executions/{answer['id']}")
        postgres = await connect(cluster.settings.postgres.dsn.get_secret_value(), "deep-outputs")
        await postgres.execute("UPDATE ledger.executions SET outputs = $1 WHERE id = $2", deep, answer["id"])
        await postgres.close()
        response = await http.get(f"/v1/executions/{answer['id']}")
        assert response.status_code == 200, response.text
        assert f'"outputs":{deep}' in response.text


async def test_executions_go_on_without_postgres_and_reads_say_that_it_is_away(cluster: Cluster) -> None:
    async with cluster.running(cluster.ledger()), cluster.gateway() as (service, http):
        assert (await http.put("/v1/pipelines/double", json=DEFINITION)).status_code == 201
        answer = await submit(http)
        response = await http.get(f"/v1/executions/{answer['id']}")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert (await http.get("/readyz")).status_code == 503
        async with cluster.running(cluster.projector()):
            await ready(service, http)
            assert (await get(http, f"/v1/executions/{answer['id']}"))["status"] == "queued"


async def test_a_thousand_executions_come_in_one_batch(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        body = {"executions": [{"pipeline": "double", "inputs": {"n": n}} for n in range(1_000)]}
        first = await http.post("/v1/batches", json=body, headers={"Idempotency-Key": "k"})
        again = await http.post("/v1/batches", json=body, headers={"Idempotency-Key": "k"})
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json()["executions"] == first.json()["executions"]
        assert {child["status"] for child in first.json()["executions"]} == {"queued"}
        page = await get(http, "/v1/executions", batch=first.json()["id"], limit=500)
        last = await get(http, "/v1/executions", batch=first.json()["id"], limit=500, cursor=page["next"])
        listed = {item["id"] for item in page["items"] + last["items"]}
        assert listed == {child["id"] for child in first.json()["executions"]}


async def streamed(http: httpx.AsyncClient, count: int, after: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    async with asyncio.timeout(WAIT_S), http.stream("GET", "/v1/events", headers={"Last-Event-ID": after}) as response:
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            fields = fields | {name: value} if line else {}
            if name == "data":
                found.append(fields)
            if len(found) == count:
                break
    return found


async def test_a_stream_goes_on_from_the_journal_to_the_ring_without_loss_or_repeat(cluster: Cluster) -> None:
    async with everything(cluster) as (service, http):
        for n in range(10):
            await submit(http, n)
        tail = service.gateway.tail
        tail.rings = {shard: Ring() for shard in range(SHARDS)}  # whatever was read is now in the journal alone
        known = sum(tail.position.values())
        following = asyncio.create_task(streamed(http, known + 5, "0.0"))
        for n in range(5):
            await submit(http, n)
        events = await following
        everything_once = {(shard, sequence) for shard, end in tail.position.items() for sequence in range(1, end + 1)}
        seen = [_own(event) for event in events]
        assert len(set(seen)) == len(seen)
        assert set(seen) <= everything_once
        assert [event["event"] for event in events] == [json.loads(event["data"])["type"] for event in events]
        resumed = await streamed(http, len(everything_once) - 4, events[3]["id"])
        assert {_own(event) for event in [*events[:4], *resumed]} == everything_once


def _own(event: dict[str, str]) -> tuple[int, int]:
    """Shard and sequence, from the event's own id."""
    shard, _, sequence = str(json.loads(event["data"])["id"]).partition("-")
    return int(shard), int(sequence)


async def test_a_gateway_that_stops_ends_its_streams_and_lets_clients_resume(cluster: Cluster) -> None:
    async with cluster.running(cluster.ledger()), cluster.running(cluster.projector()):
        async with cluster.gateway() as (service, http):
            await ready(service, http)
            async with http.stream("GET", "/v1/events", params={"after": ""}) as response:
                lines = response.aiter_lines()
                first = [await anext(lines) for _ in range(2)]
                service.stop()
                service.stop()
                rest = [line async for line in lines]
        ids = [line.removeprefix("id: ") for line in first + rest if line.startswith("id: ")]
        seen = [_own({"data": line.removeprefix("data: ")}) for line in rest if line.startswith("data: ")]
        async with cluster.gateway() as (service, http):
            await ready(service, http)
            answer = await submit(http)
            everything_once = sum(service.gateway.tail.position.values())
            resumed = await streamed(http, everything_once - len(seen), ids[-1])
            assert len({*seen, *(_own(event) for event in resumed)}) == everything_once
            assert answer["id"] in {json.loads(event["data"])["subject"] for event in resumed}
