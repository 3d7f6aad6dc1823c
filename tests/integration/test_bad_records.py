"""Bad records on the topics of a real broker while all five services run: work goes on, and `verify` finds nothing."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from execution_ledger import Context, pipeline
from execution_ledger.clock import real_world
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.errors import BrokenHistory
from execution_ledger.gateway.service import GatewayService
from execution_ledger.ledger.service import LedgerService
from execution_ledger.lifecycle import Service
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.protocol import Topic
from execution_ledger.log.topics import create_topics, partition_counts
from execution_ledger.projector.postgres import PostgresStore
from execution_ledger.projector.service import ProjectorService
from execution_ledger.runner.register import register_over_http
from execution_ledger.runner.service import RunnerService
from execution_ledger.settings import KafkaSettings, Settings
from execution_ledger.verify.verification import Place, verify
from unit.bad_records import Bare, bad_records

SHARDS = 3
TOKEN = "a-token"
WAIT_S = 60.0
WAITING = 3  # executions that are under way when the bad records come


@pipeline(inputs={"n": "number"}, outputs={"n": "number"})
async def double(ctx: Context, n: float) -> dict[str, float]:
    await asyncio.sleep(1)
    return {"n": 2 * n}


@dataclass
class Cluster:
    log: KafkaLog
    settings: Settings
    http: httpx.AsyncClient
    runner: RunnerService
    lives: list[asyncio.Task[None]]

    async def submit(self, n: int) -> str:
        response = await self.http.post("/v1/executions", json={"pipeline": "double", "inputs": {"n": n}})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def ended(self, execution_id: str) -> tuple[str, int]:
        response = await self.http.get(f"/v1/executions/{execution_id}", params={"wait": WAIT_S})
        return response.json()["status"], response.json()["attempt"]

    async def write_bare(self, topic: Topic, records: list[Bare]) -> None:
        kafka = self.settings.kafka
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, max_request_size=2_000_000) as producer:
            for partition in range((await partition_counts(kafka))[topic]):
                sent = [
                    await producer.send(kafka.topic_prefix + topic, value, key, partition)
                    for key, value in records
                    if (key, value) != (None, None)  # aiokafka sends no such record
                ]
                await asyncio.gather(*sent)


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[asyncio.Task[None]]:
    life = asyncio.create_task(service.run())
    await asyncio.wait_for(service.ready.wait(), WAIT_S)
    yield life
    service.stop()
    await asyncio.wait_for(asyncio.wait([life]), WAIT_S)


@pytest.fixture
async def cluster(kafka: str, database: str) -> AsyncIterator[Cluster]:
    world = real_world()
    topics = KafkaSettings(bootstrap_servers=kafka, topic_prefix=f"bad-{uuid.uuid4().hex[:8]}.", shards=SHARDS)
    await create_topics(topics)
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    settings = Settings.model_validate(
        {"kafka": topics, "postgres": {"dsn": database}, "gateway": {"token_sha256": digest, "port": 0}}
    )
    async with KafkaLog(topics, "bad-records-test") as log, AsyncExitStack() as stack:
        gateway = GatewayService(log, world, settings)
        services: list[Service] = [
            LedgerService(log, world, settings.ledger, SHARDS),
            ProjectorService(log, PostgresStore(database), world, settings.projector),
            DispatcherService(log, world, settings.dispatcher, SHARDS, topics.inbox_partitions),
            gateway,
        ]
        lives = [await stack.enter_async_context(running(service)) for service in services]
        url = f"http://127.0.0.1:{gateway.port}"
        register = register_over_http(url, TOKEN)
        pipelines = {double.name: double}
        runner = RunnerService(log, world, settings.runner, pipelines, register, topics.inbox_partitions)
        lives.append(await stack.enter_async_context(running(runner)))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        http = httpx.AsyncClient(base_url=url, headers=headers, timeout=2 * WAIT_S, trust_env=False)
        yield Cluster(log, settings, await stack.enter_async_context(http), runner, lives)


async def test_work_goes_on_among_bad_records_on_every_topic(cluster: Cluster) -> None:
    before = [await cluster.submit(n) for n in range(WAITING)]
    for topic in (Topic.HEARTBEATS, Topic.INBOX, Topic.REPORTS, Topic.COMMANDS):
        await cluster.write_bare(topic, bad_records(topic, cluster.runner.process.encode(), every=23))
    after = [await cluster.submit(n) for n in range(WAITING)]
    assert [await cluster.ended(one) for one in before + after] == [("completed", 1)] * 2 * WAITING
    assert not any(life.done() for life in cluster.lives)
    settings = cluster.settings
    place = Place(settings.kafka, settings.ledger, settings.postgres.dsn.get_secret_value())
    report = await verify(place, [], lambda part, read, of: None)
    assert report.breaches.kept == []


async def test_a_stranger_among_the_events_ends_the_gateway_and_the_dispatcher_with_its_offset(
    cluster: Cluster,
) -> None:
    """Whoever cannot go on without that shard ends, and says where to look; the projector goes on with the others."""
    await cluster.write_bare(Topic.EVENTS, [(b"key", b"{")])
    ledger, projector, dispatcher, gateway, runner = cluster.lives
    await asyncio.wait_for(asyncio.wait([dispatcher, gateway]), WAIT_S)
    for life in (dispatcher, gateway):
        with pytest.raises(BrokenHistory, match=r"offset \d+ of events, partition \d.*let nobody but ledgers write"):
            await life
    assert not ledger.done()
    assert not runner.done()
    await asyncio.wait_for(asyncio.wait([projector]), WAIT_S)  # every shard has one here
    with pytest.raises(BrokenHistory, match="let nobody but ledgers write"):
        await projector
