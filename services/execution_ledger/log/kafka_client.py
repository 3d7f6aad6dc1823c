"""What all Kafka clients here have in common: names, deadlines, and what an error of aiokafka means for a caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from ..errors import TopicContract, Unavailable
from ..settings import KafkaSettings
from .protocol import Lane, Topic

# Deadlines nest: a commit that returned in time cannot hide a request that timed out and was sent again, and a request
# is given up before the broker gives up the transaction.
ANSWER_S = 5.0
REQUEST_TIMEOUT_MS = 8_000
TRANSACTION_TIMEOUT_MS = 20_000
TAKE_OVER_S = 15.0  # the old writer's transaction may have to be resolved first

RETRY_BACKOFF_MS = 20


def topic_name(settings: KafkaSettings, topic: Topic) -> str:
    return f"{settings.topic_prefix}{topic}"


def partition_of(settings: KafkaSettings, lane: Lane) -> TopicPartition:
    return TopicPartition(topic_name(settings, lane.topic), lane.partition)


def client_options(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": client_id,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
    }


def no_such_lane(settings: KafkaSettings, lane: Lane) -> TopicContract:
    return TopicContract(
        f"Topic {topic_name(settings, lane.topic)} has no partition {lane.partition}. "
        "Make the topics with `exledger init`, or check topic_prefix and shards in the settings."
    )


@asynccontextmanager
async def answered(settings: KafkaSettings, what: str, deadline_s: float = ANSWER_S) -> AsyncIterator[None]:
    """A question to Kafka that changes nothing: every failure of the client, and no answer in time, is Unavailable."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except (TimeoutError, KafkaError, OSError) as error:
        raise unavailable(settings, what, error) from error


def unavailable(settings: KafkaSettings, what: str, error: BaseException) -> Unavailable:
    told = f"does not answer: {error}" if isinstance(error, KafkaConnectionError) else f"did not answer: {error!r}"
    return Unavailable(f"Kafka at {settings.bootstrap_servers} {told} ({what}). It is tried again; check the broker.")
