"""What the log does when Kafka, or the way to it, fails in the middle of a write or a read."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import EndTxnRequest

from execution_ledger.errors import OutcomeUnknown, Stalled, TopicContract, Unavailable
from execution_ledger.log import kafka_producer, kafka_sender, kafka_writer
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.log.topics import create_topics
from execution_ledger.settings import KafkaSettings

EVENTS = Lane(Topic.EVENTS, 0)
COMMANDS = Lane(Topic.COMMANDS, 0)
SOON_S = 10.0
SHORT_S = 0.3
MONTH_MS = 30 * 86_400_000

Send = Callable[[], Awaitable[Any]]


@pytest.fixture
async def settings(kafka: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=f"f{uuid.uuid4().hex[:8]}.", shards=2)
    await create_topics(settings)
    return settings


@pytest.fixture
async def log(settings: KafkaSettings) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(settings, "faults", stall_s=SHORT_S) as log:
        yield log


class Line:
    """Stands in a client's way to the broker, for one kind of request."""

    def __init__(self, client: Any, kind: type, fault: Callable[[Send], Awaitable[Any]]) -> None:
        self.passed = 0
        self._send = client.send
        self._kind = kind
        self._fault = fault
        client.send = self.send

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, self._kind):
            return await self._send(node, request, **options)
        self.passed += 1
        return await self._fault(lambda: self._send(node, request, **options))


async def lose_request(send: Send) -> Any:
    raise KafkaConnectionError("cut on the way there")


async def lose_answer(send: Send) -> Any:
    await send()
    raise KafkaConnectionError("cut on the way back")


async def never_answer(send: Send) -> Any:
    await asyncio.Event().wait()


async def answer(send: Send) -> Any:
    return await send()


async def history(log: KafkaLog) -> list[bytes | None]:
    async with log.take_over(0) as writer, log.reader({EVENTS: 0}) as reader:
        values: list[bytes | None] = []
        position = 0
        async with asyncio.timeout(SOON_S):
            while position < writer.end:
                if chunk := (await reader.read(SOON_S)).get(EVENTS):
                    values += [record.value for record in chunk.records]
                    position = chunk.position
        return values


@pytest.mark.parametrize(("fault", "landed"), [(lose_request, False), (lose_answer, True), (never_answer, False)])
async def test_a_commit_without_an_answer_is_unknown_and_never_sent_again(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Send], Awaitable[Any]], landed: bool
) -> None:
    async with log.take_over(0) as writer:
        await writer.append([Outgoing(b"k", b"before")])
        line = Line(writer._producer.client, EndTxnRequest, fault)
        monkeypatch.setattr(kafka_writer, "ANSWER_S", SHORT_S)
        with pytest.raises(OutcomeUnknown):
            await writer.append([Outgoing(b"k", b"doubtful")])
        with pytest.raises(OutcomeUnknown):
            await writer.append([Outgoing(b"k", b"more")])
        assert await history(log) == ([b"before", b"doubtful"] if landed else [b"before"])
        assert line.passed == 1
        assert all(not connection.connected() for connection in writer._producer.client._conns.values())


async def test_no_commit_is_sent_when_a_part_of_the_batch_failed(
    log: KafkaLog, settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_producer, "BATCH_BYTES_MAX", 2_000)
    async with log.take_over(0) as writer:
        await lower_limit(settings, 10_000)
        line = Line(writer._producer.client, EndTxnRequest, answer)
        with pytest.raises(TopicContract, match=r"max\.message\.bytes"):
            await writer.append([Outgoing(b"k", b"small" * 100), Outgoing(b"k", b"x" * 100_000)])
        assert line.passed == 0
    assert await history(log) == []


async def lower_limit(settings: KafkaSettings, limit: int) -> None:
    """Returns when the broker keeps to it, which is some time after it has said that it will."""
    name = settings.topic_prefix + Topic.EVENTS
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    try:
        await admin.start()
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": str(limit)})])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer, asyncio.timeout(30):
        with suppress(MessageSizeTooLargeError):
            while True:
                await producer.send_and_wait(name, b"x" * 2 * limit, partition=1)


async def test_a_send_without_an_answer_is_unknown_and_the_next_one_has_a_new_producer(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await log.send(COMMANDS, [Outgoing(b"k", b"a")]) == [0]
    first = log._sender._producer
    assert first is not None
    Line(first.client, ProduceRequest, never_answer)
    monkeypatch.setattr(kafka_sender, "ANSWER_S", SHORT_S)
    outcomes = await asyncio.gather(
        *(log.send(COMMANDS, [Outgoing(b"k", b"lost")]) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown] * 3
    assert await log.send(COMMANDS, [Outgoing(b"k", b"b")]) == [1]
    assert log._sender._producer is not first


async def test_a_reader_that_stands_still_although_the_log_goes_on_is_stalled(log: KafkaLog) -> None:
    async with log.reader({COMMANDS: 0}) as reader:
        Line(reader._consumer._client, FetchRequest, never_answer)
        assert await reader.read(2 * SHORT_S) == {}
        await log.send(COMMANDS, [Outgoing(b"k", b"a"), Outgoing(b"k", b"b")])
        with pytest.raises(Stalled, match="goes on"):
            await read_on(reader)


async def read_on(reader: Any) -> None:
    """The poll that was under way when the line was cut may still bring the first record."""
    async with asyncio.timeout(SOON_S):
        while True:
            await reader.read(SOON_S)


async def test_an_idle_reader_is_not_stalled(log: KafkaLog) -> None:
    async with log.take_over(0) as writer:
        await writer.append([Outgoing(b"k", b"a")])
    await history(log)
    async with log.reader({EVENTS: await log.end(EVENTS), COMMANDS: 0}) as reader:
        assert await reader.read(3 * SHORT_S) == {}


async def test_a_lane_has_the_brokers_time_and_events_the_writers(log: KafkaLog, settings: KafkaSettings) -> None:
    now_ms = int(time.time() * 1_000)
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as stranger:
        for lane in (COMMANDS, EVENTS):
            topic = settings.topic_prefix + lane.topic
            await stranger.send_and_wait(topic, b"v", b"k", lane.partition, timestamp_ms=now_ms - MONTH_MS)
    async with log.reader({COMMANDS: 0}) as reader:
        [record] = (await reader.read(SOON_S))[COMMANDS].records
        assert abs(record.time_ms - now_ms) < MONTH_MS / 2
    async with log.reader({EVENTS: 0}) as reader:
        [record] = (await reader.read(SOON_S))[EVENTS].records
        assert record.time_ms == now_ms - MONTH_MS


async def test_a_broker_that_is_away_is_unavailable() -> None:
    nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await KafkaLog(nowhere, "nobody").__aenter__()
