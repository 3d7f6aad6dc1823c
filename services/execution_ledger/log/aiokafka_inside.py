"""The one place that knows aiokafka's insides: what is changed in it, what is asserted, and how a producer is ended.

Everything here leans on names and behaviour of aiokafka 0.14, read in its source and pinned by a test:

- EndTxn is sent once. aiokafka sends it again after a lost connection; a copy that was only delayed can then end a
  later transaction (KAFKA-17754). Whatever is not a plain success raises, and the producer is given up.
- Between two transactions the broker answers CONCURRENT_TRANSACTIONS while it writes markers. aiokafka waits 20 ms each
  time; here 1 ms.
- `AIOKafkaProducer.stop` waits for batches that may never be answered. `destroy` ends a producer at once: nothing that
  it still holds leaves this process any more, and everyone who waits for it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiokafka
from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed
from aiokafka.producer import producer as producer_module
from aiokafka.producer import sender as sender_module
from aiokafka.record import _crecords, default_records, memory_records

from ..errors import BadSettings

AIOKAFKA_SERIES = "0.14."
TRANSACTION_BACKOFF_S = 0.001
STOP_S = 2.0
FAST_CLASSES = ("DefaultRecord", "DefaultRecordBatch", "DefaultRecordBatchBuilder", "DefaultRecordMetadata")


class EndTxnOnce(sender_module.EndTxnHandler):  # type: ignore[misc]  # aiokafka ships no types
    async def do(self, node_id: int) -> bool:
        response = await self._sender.client.send(node_id, self.create_request(), group=self.group)
        if self.handle_response(response) is not None:
            raise KafkaError(f"EndTxn was put off by the broker (error code {response.error_code})")
        return True


class KnownTasksSender(sender_module.Sender):  # type: ignore[misc]  # aiokafka ships no types
    """Remembers the tasks that it has under way, which its base keeps in a local variable, to end them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.under_way: set[asyncio.Task[Any]] = set()

    async def _send_produce_req(self, node_id: int, batches: Any) -> None:
        with self._known():
            await super()._send_produce_req(node_id, batches)

    async def _do_add_partitions_to_txn(self, partitions: Any) -> bool:
        with self._known():
            return bool(await super()._do_add_partitions_to_txn(partitions))

    async def _do_txn_commit(self, result: Any) -> None:
        with self._known():
            await super()._do_txn_commit(result)

    @contextmanager
    def _known(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self.under_way.add(task)
        try:
            yield
        finally:
            self.under_way.discard(task)


def prepare_aiokafka() -> None:
    """Checks and changes aiokafka; doing it twice is harmless. Raises BadSettings where it is not what is expected."""
    if not aiokafka.__version__.startswith(AIOKAFKA_SERIES):
        raise BadSettings(
            f"aiokafka {aiokafka.__version__} is installed, and this code knows the insides of {AIOKAFKA_SERIES}x. "
            f"Install aiokafka {AIOKAFKA_SERIES}x."
        )
    if not record_classes_are_fast():
        raise BadSettings(
            "aiokafka runs without its C extension, which is some 35 times slower. Unset AIOKAFKA_NO_EXTENSIONS, or "
            "install a wheel of aiokafka that fits this Python and machine."
        )
    sender_module.BACKOFF_OVERRIDE = TRANSACTION_BACKOFF_S
    sender_module.EndTxnHandler = EndTxnOnce
    producer_module.Sender = KnownTasksSender


def record_classes_are_fast() -> bool:
    loaded = [getattr(default_records, name) is getattr(_crecords, name) for name in FAST_CLASSES]
    return all(loaded) and memory_records.MemoryRecords is _crecords.MemoryRecords


def destroy(producer: AIOKafkaProducer, cause: str) -> asyncio.Task[None]:
    """Ends a producer without waiting for the broker: when this returns, nothing more is sent.

    The task that it answers with only tidies up, and ends by itself.
    """
    producer._closed = True
    sender = producer._sender
    tasks = [task for task in (sender.sender_task, *sender.under_way) if task is not None]
    for task in tasks:
        task.cancel()
    _abort_connections(producer.client)
    _fail_all(producer, ProducerClosed(cause))
    return asyncio.create_task(_tidy_up(producer, tasks), name="destroy-producer")


async def _tidy_up(producer: AIOKafkaProducer, tasks: list[asyncio.Task[Any]]) -> None:
    if tasks:
        await asyncio.wait(tasks)
    _forget_failures(producer, tasks)
    await producer.client.close()


async def end_consumer(consumer: AIOKafkaConsumer) -> None:
    """`stop` alone raises CancelledError, and leaves connections open, while a failed fetch waits to be tried again."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=STOP_S)
    stopping.cancel()
    _abort_connections(consumer._client)
    await consumer._client.close()


def _abort_connections(client: AIOKafkaClient) -> None:
    for connection in client._conns.values():
        if connection._writer is not None:
            connection._writer.transport.abort()


def _fail_all(producer: AIOKafkaProducer, error: KafkaError) -> None:
    accumulator = producer._message_accumulator
    queued = [batch for batches in accumulator._batches.values() for batch in batches]
    abandoned = {*queued, *accumulator._pending_batches}
    accumulator.fail_all(error)
    for batch in abandoned:
        batch.future.exception()
        if batch._drain_waiter.done():
            batch._drain_waiter.exception()


def _forget_failures(producer: AIOKafkaProducer, tasks: list[asyncio.Task[Any]]) -> None:
    """Whoever destroys a producer has its own error to raise; asyncio would report these as never looked at."""
    manager = producer._txn_manager
    waiters = [*tasks, manager._transaction_waiter] if manager and manager._transaction_waiter else tasks
    for waiter in waiters:
        if waiter.done() and not waiter.cancelled():
            waiter.exception()
