"""The topics: how they must be, making them, and checking them before a service trusts them.

A topic that is not as it must be loses history or order without a word, so services refuse to start on one. Nothing
here, and no client of the log, ever names a topic that does not exist to a broker: a broker may make it up on the spot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from ..errors import TopicContract, Unavailable
from ..settings import KafkaSettings
from .kafka_client import ANSWER_S, answered, client_options, topic_name
from .protocol import Topic

_AS_MADE = ("segment.ms", "segment.bytes")  # a cluster may have its own: they only say how soon what is old goes
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOR_EVER = -1
SEGMENTS_KEPT = 4  # only whole segments are deleted, so a topic of one hour needs shorter ones than Kafka's 7 days
LOGS_BYTES = 268_435_456  # of each shard: what code prints has no other bound, and what lasts lies elsewhere
MESSAGE_BYTES = 1_048_588  # Kafka's default; set, because a cluster may have a lower one
APPEAR_LOOKS = 100
LOOK_AGAIN_S = 0.05

RETENTION_MS = {
    Topic.COMMANDS: 7 * DAY_MS,
    Topic.REPORTS: 7 * DAY_MS,
    Topic.EVENTS: FOR_EVER,
    Topic.INBOX: DAY_MS,
    Topic.HEARTBEATS: HOUR_MS,
    Topic.LOGS: DAY_MS,
}


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """How one topic must be. Numbers that a cluster may exceed are lower bounds, except the number of partitions."""

    name: str
    topic: Topic
    partitions: int
    replication: int
    retention_ms: int
    timestamps: str

    @property
    def min_insync(self) -> int:
        return 2 if self.replication >= 3 else 1

    def configs(self) -> dict[str, str]:
        wanted = {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": str(LOGS_BYTES if self.topic is Topic.LOGS else FOR_EVER),
            "message.timestamp.type": self.timestamps,
            "min.insync.replicas": str(self.min_insync),
            "max.message.bytes": str(MESSAGE_BYTES),
            "unclean.leader.election.enable": "false",
        }
        if self.retention_ms != FOR_EVER:
            wanted["segment.ms"] = str(self.retention_ms // SEGMENTS_KEPT)
        if self.topic is Topic.LOGS:
            wanted["segment.bytes"] = str(LOGS_BYTES // SEGMENTS_KEPT)
        return wanted


@dataclass(frozen=True, slots=True)
class FoundTopic:
    partitions: int
    replication: int  # of the partition that has the fewest
    configs: Mapping[str, str]


def plans(settings: KafkaSettings) -> list[TopicPlan]:
    partitions = {Topic.INBOX: settings.inbox_partitions, Topic.HEARTBEATS: 1}
    return [
        TopicPlan(
            topic_name(settings, topic),
            topic,
            partitions.get(topic, settings.shards),
            settings.replication_factor,
            RETENTION_MS[topic],
            # With the client's time, a record older than the retention is deleted as soon as it is acknowledged.
            "CreateTime" if topic is Topic.EVENTS else "LogAppendTime",
        )
        for topic in Topic
    ]


async def create_topics(settings: KafkaSettings) -> list[str]:
    """Makes what is missing, leaves what is there as it is, and answers with the names it made.

    Raises TopicContract where the cluster refuses, and Unavailable where it does not answer.
    """
    made: list[str] = []
    async with _admin(settings, "making topics") as admin:
        there = await _found(admin, settings)
        missing = [plan for plan in plans(settings) if plan.topic not in there]
        if missing:
            new = [NewTopic(p.name, p.partitions, p.replication, topic_configs=p.configs()) for p in missing]
            made = _made(settings, (await admin.create_topics(new)).topic_errors)
    await _appear(settings)
    return made


async def check_topics(settings: KafkaSettings) -> None:
    """Raises TopicContract that names each deviation with its fix."""
    async with _admin(settings, "checking topics") as admin:
        found = await _found(admin, settings)
        configs = await _configs(admin, [topic_name(settings, topic) for topic in found])
    faults: list[str] = []
    for plan in plans(settings):
        if (metadata := found.get(plan.topic)) is None:
            faults.append(f"{plan.name} does not exist: run `exledger init`")
        else:
            faults += deviations(plan, _as_found(metadata, configs[plan.name]))
    if faults:
        raise TopicContract("The topics are not as the ledger needs them. " + ". ".join(faults) + ".")


async def partition_counts(settings: KafkaSettings) -> dict[Topic, int]:
    """Of the topics that exist."""
    async with _admin(settings, "counting partitions") as admin:
        return {topic: len(metadata["partitions"]) for topic, metadata in (await _found(admin, settings)).items()}


def deviations(plan: TopicPlan, found: FoundTopic) -> Iterator[str]:
    """In words, each with what to do about it."""
    if found.partitions != plan.partitions:
        yield _wrong_partitions(plan, found.partitions)
    if found.replication < plan.replication:
        yield (
            f"{plan.name} has {found.replication} replicas, settings say {plan.replication}: add replicas with "
            "kafka-reassign-partitions.sh, or lower replication_factor if you accept the loss of a broker's data"
        )
    for name, wanted in plan.configs().items():
        actual = found.configs.get(name, "")
        if name not in _AS_MADE and not _good_enough(name, wanted, actual):
            yield (
                f"{plan.name} has {name}={actual}, and needs {wanted}: kafka-configs.sh --bootstrap-server … --alter "
                f"--entity-type topics --entity-name {plan.name} --add-config {name}={wanted}"
            )


def _wrong_partitions(plan: TopicPlan, partitions: int) -> str:
    start = f"{plan.name} has {partitions} partitions, settings say {plan.partitions}: "
    if plan.topic is Topic.INBOX:
        return start + f"set inbox_partitions to {partitions}"
    if plan.topic is Topic.HEARTBEATS:
        return start + "delete it and run `exledger init`; it holds nothing that lasts"
    return start + (
        f"the number of shards is fixed when a ledger is made. Set shards to {partitions} if this is the ledger that "
        "you mean, or another topic_prefix for a new one; if a broker made the topic up (auto.create.topics.enable), "
        "delete it while it is empty and run `exledger init`"
    )


def _good_enough(name: str, wanted: str, actual: str) -> bool:
    if name in ("min.insync.replicas", "max.message.bytes"):
        return _number(actual) >= int(wanted)
    if name in ("retention.ms", "retention.bytes"):
        return _number(actual) == FOR_EVER or FOR_EVER < int(wanted) <= _number(actual)
    return actual == wanted


def _number(text: str) -> int:
    return int(text) if text.removeprefix("-").isdigit() else 0


def _as_found(metadata: Mapping[str, Any], configs: Mapping[str, str]) -> FoundTopic:
    partitions = metadata["partitions"]
    return FoundTopic(len(partitions), min((len(p["replicas"]) for p in partitions), default=0), configs)


async def _found(admin: AIOKafkaAdminClient, settings: KafkaSettings) -> dict[Topic, Any]:
    """Asks for all topics and picks ours: a question by name could make a topic up."""
    names = {topic_name(settings, topic): topic for topic in Topic}
    return {names[row["topic"]]: row for row in await admin.describe_topics() if row["topic"] in names}


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    rows = [row for answer in answers for row in answer.resources]
    return {name: {entry[0]: entry[1] for entry in entries} for _, _, _, name, entries in rows}


def _made(settings: KafkaSettings, answers: list[tuple[str, int, str | None]]) -> list[str]:
    """Without those that someone else made in the meantime. Raises TopicContract for what the cluster refused."""
    errors = {name: (for_code(code), told) for name, code, told in answers if code}
    for name, (error, told) in errors.items():
        if error is not TopicAlreadyExistsError:
            raise TopicContract(
                f"Topic {name} could not be made: {told or error.description}. Check replication_factor "
                f"({settings.replication_factor}) against the number of brokers, and the rights of this client."
            )
    return [name for name, _, _ in answers if name not in errors]


async def _appear(settings: KafkaSettings) -> None:
    """Brokers learn of a new topic a moment after the controller has made it."""
    for _ in range(APPEAR_LOOKS):
        if len(await partition_counts(settings)) == len(Topic):
            return
        await asyncio.sleep(LOOK_AGAIN_S)
    raise Unavailable("The new topics were made, and are not known to all brokers yet. Run it again.")


@asynccontextmanager
async def _admin(settings: KafkaSettings, what: str) -> AsyncIterator[AIOKafkaAdminClient]:
    async with answered(settings, what, 2 * ANSWER_S):
        admin = AIOKafkaAdminClient(**client_options(settings, "exledger-topics"))
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()
