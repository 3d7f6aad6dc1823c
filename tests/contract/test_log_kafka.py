"""The log over Kafka keeps the same contract on a real broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from contract.log_contract import SHARDS, SOON_S, LogContract
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.protocol import Ends, Lane, Log, Topic
from execution_ledger.log.topics import create_topics
from execution_ledger.settings import KafkaSettings


@pytest.fixture
async def settings(kafka: str) -> KafkaSettings:
    """Topics of this test's own."""
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=f"t{uuid.uuid4().hex[:8]}.", shards=SHARDS)
    await create_topics(settings)
    return settings


class TestKafkaLog(LogContract):
    @pytest.fixture
    async def log(self, settings: KafkaSettings) -> AsyncIterator[Log]:
        self.settings = settings
        async with KafkaLog(settings, "contract") as log:
            yield log

    async def write_bare(self, log: Log, lane: Lane, key: bytes | None, value: bytes | None) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.settings.bootstrap_servers) as producer:
            await producer.send_and_wait(self.settings.topic_prefix + lane.topic, value, key, lane.partition)

    async def forget(self, log: Log, lane: Lane, before: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        try:
            await admin.start()
            partition = TopicPartition(self.settings.topic_prefix + lane.topic, lane.partition)
            await admin.delete_records({partition: RecordsToDelete(before)})
        finally:
            await admin.close()


async def test_a_transaction_that_hangs_shows_between_the_stable_and_the_high_end(settings: KafkaSettings) -> None:
    lane = Lane(Topic.EVENTS, 1)
    stranger = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, transactional_id=settings.topic_prefix)
    async with stranger, KafkaLog(settings, "hanging") as log, log.reader({lane: 0}) as reader:
        await stranger.begin_transaction()
        await stranger.send_and_wait(settings.topic_prefix + lane.topic, b"undecided", partition=lane.partition)
        async with asyncio.timeout(SOON_S):
            while reader.ends().get(lane) != Ends(stable=0, high=1):
                assert await reader.read(0.1) == {}
        await stranger.abort_transaction()
