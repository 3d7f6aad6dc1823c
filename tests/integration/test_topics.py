"""Topics are made once, checked at every start, and refused with a fix where they are not as they must be."""

from __future__ import annotations

import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from execution_ledger.errors import TopicContract
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.protocol import Topic
from execution_ledger.log.topics import check_topics, create_topics, partition_counts
from execution_ledger.settings import KafkaSettings


@pytest.fixture
def settings(kafka: str) -> KafkaSettings:
    prefix = f"c{uuid.uuid4().hex[:8]}."
    return KafkaSettings(bootstrap_servers=kafka, topic_prefix=prefix, shards=3, inbox_partitions=2)


async def test_topics_are_made_once_and_pass_the_check(settings: KafkaSettings) -> None:
    assert await create_topics(settings) == [settings.topic_prefix + topic for topic in Topic]
    assert await create_topics(settings) == []
    await check_topics(settings)
    assert await partition_counts(settings) == {
        Topic.COMMANDS: 3,
        Topic.REPORTS: 3,
        Topic.EVENTS: 3,
        Topic.INBOX: 2,
        Topic.HEARTBEATS: 1,
        Topic.LOGS: 3,
    }


async def test_missing_topics_name_the_command_that_makes_them(settings: KafkaSettings) -> None:
    with pytest.raises(TopicContract, match="exledger init"):
        await check_topics(settings)
    async with KafkaLog(settings, "early") as log:
        with pytest.raises(TopicContract, match="exledger init"):
            await log.shards()
        await create_topics(settings)
        assert await log.shards() == 3


async def test_what_is_missing_is_added_and_what_is_there_is_left_alone(settings: KafkaSettings) -> None:
    await make_by_hand(settings, NewTopic(settings.topic_prefix + Topic.COMMANDS, 1, 1))
    assert len(await create_topics(settings)) == len(Topic) - 1
    with pytest.raises(TopicContract) as refused:
        await check_topics(settings)
    text = str(refused.value)
    assert "commands has 1 partitions, settings say 3" in text
    assert "commands has message.timestamp.type=CreateTime, and needs LogAppendTime" in text
    assert "kafka-configs.sh" in text
    assert "events" not in text


async def test_events_that_are_not_kept_for_ever_are_refused(settings: KafkaSettings) -> None:
    short = {"retention.ms": "60000", "cleanup.policy": "compact"}
    await make_by_hand(settings, NewTopic(settings.topic_prefix + Topic.EVENTS, 3, 1, topic_configs=short))
    await create_topics(settings)
    with pytest.raises(TopicContract, match=r"events has cleanup\.policy=compact.*retention\.ms=60000, and needs -1"):
        await check_topics(settings)


async def test_more_replicas_than_brokers_are_refused_with_the_brokers_reason(settings: KafkaSettings) -> None:
    with pytest.raises(TopicContract, match="replication_factor"):
        await create_topics(settings.model_copy(update={"replication_factor": 3}))


async def make_by_hand(settings: KafkaSettings, topic: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    try:
        await admin.start()
        await admin.create_topics([topic])
    finally:
        await admin.close()


@pytest.mark.parametrize("topic", Topic)
@pytest.mark.parametrize(
    ("partitions", "configs", "said"),
    [
        (5, {}, "has 5 partitions, settings say"),
        (None, {"message.timestamp.type": "other"}, "has message.timestamp.type="),
        (None, {"retention.ms": "1000"}, "has retention.ms=1000"),
    ],
)
async def test_a_topic_that_was_made_anew_otherwise_is_refused_with_the_fix(
    settings: KafkaSettings, topic: Topic, partitions: int | None, configs: dict[str, str], said: str
) -> None:
    count = partitions or {Topic.INBOX: settings.inbox_partitions, Topic.HEARTBEATS: 1}.get(topic, settings.shards)
    stamp = "LogAppendTime" if topic is Topic.EVENTS else "CreateTime"
    made = {key: stamp if value == "other" else value for key, value in configs.items()}
    name = settings.topic_prefix + topic
    await make_by_hand(settings, NewTopic(name, count, 1, topic_configs=made))
    await create_topics(settings)
    with pytest.raises(TopicContract) as refused:
        await check_topics(settings)
    text = str(refused.value)
    assert f"{name} {said}" in text
    assert any(fix in text for fix in ("kafka-configs.sh", "exledger init", "inbox_partitions"))
