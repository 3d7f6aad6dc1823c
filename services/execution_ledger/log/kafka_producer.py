"""Making a producer, filling it with record batches, and waiting for every answer; what both ways of writing share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from ..errors import LedgerError, OutcomeUnknown, TopicContract
from ..settings import KafkaSettings
from .aiokafka_inside import destroy
from .kafka_client import TRANSACTION_TIMEOUT_MS, answered, client_options
from .protocol import Outgoing

BATCH_BYTES_MAX = 1_048_576  # a record batch must fit into max.message.bytes


async def start_producer(
    settings: KafkaSettings, client_id: str, deadline_s: float, transactional_id: str | None = None
) -> AIOKafkaProducer:
    """Returns with a producer id; with a transactional id the old writer is fenced then. Raises Unavailable."""
    transaction: dict[str, Any] = {}
    if transactional_id:
        transaction = {"transactional_id": transactional_id, "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS}
    producer = AIOKafkaProducer(
        **client_options(settings, client_id),
        **transaction,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=BATCH_BYTES_MAX,
    )
    try:
        async with answered(settings, "starting a producer", deadline_s):
            await producer.start()
    except BaseException:
        await destroy(producer, "it did not start")
        raise
    return producer


async def produce(producer: AIOKafkaProducer, partition: TopicPartition, batch: Sequence[Outgoing]) -> list[int]:
    """Sends in as few record batches as hold them, in order, and waits for each one's answer; answers with offsets.

    Raises the first error of any of them, so that nobody commits a transaction of which a part failed.
    """
    answers = []
    for count, builder in _record_batches(producer, batch):
        answers.append((count, await producer.send_batch(builder, partition.topic, partition=partition.partition)))
    metadata = await asyncio.gather(*(answer for _, answer in answers))
    if any(found.offset < 0 for found in metadata):  # the broker knows the batch, and not where it put it
        raise KafkaError("The broker no longer knows the offsets of a batch that was sent twice")
    return [found.offset + index for (count, _), found in zip(answers, metadata, strict=True) for index in range(count)]


def _record_batches(producer: AIOKafkaProducer, batch: Sequence[Outgoing]) -> list[tuple[int, Any]]:
    builders = [producer.create_batch()]
    for record in batch:
        if not _add(builders[-1], record):
            builders.append(producer.create_batch())
            _add(builders[-1], record)
    for builder in builders:
        builder.close()  # else single sends could join it
    return [(builder.record_count(), builder) for builder in builders]


def _add(builder: Any, record: Outgoing) -> bool:
    headers = list(record.headers)
    return builder.append(timestamp=None, key=record.key, value=record.value, headers=headers) is not None


def write_error(where: str, error: BaseException) -> LedgerError:
    """What a failed write means for its caller, when nothing more is known than that some of it may have landed."""
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        return TopicContract(
            f"The broker refused a batch for {where} as too large, so max.message.bytes of the topic is lower than the "
            f"ledger needs. Set it to {BATCH_BYTES_MAX + 12} or more; `exledger init` does so for topics that it makes."
        )
    return OutcomeUnknown(
        f"A write to {where} got no clear answer ({error!r}). It may have landed or not; only the log can tell."
    )
