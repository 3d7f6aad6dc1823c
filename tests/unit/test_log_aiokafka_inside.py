"""Pins what this project leans on inside aiokafka; if one of these fails after an upgrade, read aiokafka_inside.py."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import aiokafka
import pytest
from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError, KafkaError, NotCoordinatorError, ProducerClosed, ProducerFenced
from aiokafka.producer import producer as producer_module
from aiokafka.producer import sender as sender_module
from aiokafka.record import default_records

from execution_ledger.errors import BadSettings
from execution_ledger.log import aiokafka_inside
from execution_ledger.log.aiokafka_inside import EndTxnOnce, KnownTasksSender, destroy, prepare_aiokafka


def test_the_names_that_are_replaced_are_the_names_that_are_used() -> None:
    prepare_aiokafka()
    assert "BACKOFF_OVERRIDE" in inspect.getsource(sender_module.AddPartitionsToTxnHandler.handle_response)
    assert "EndTxnHandler(" in inspect.getsource(sender_module.Sender._do_txn_commit)
    assert "Sender(" in inspect.getsource(AIOKafkaProducer.__init__)
    assert sender_module.BACKOFF_OVERRIDE == aiokafka_inside.TRANSACTION_BACKOFF_S
    assert sender_module.EndTxnHandler is EndTxnOnce
    assert producer_module.Sender is KnownTasksSender


def test_the_tasks_that_are_remembered_are_all_that_a_producer_starts() -> None:
    source = inspect.getsource(sender_module)
    remembered = ["_sender_routine", "_send_produce_req", "_do_add_partitions_to_txn", "_do_txn_commit"]
    never_used_here = ["_do_add_offsets_to_txn", "_do_txn_offset_commit"]
    for name in remembered + never_used_here:
        assert f"create_task(self.{name}(" in source
    assert source.count("create_task(") == len(remembered + never_used_here)


async def test_the_insides_that_an_end_touches_are_there() -> None:
    prepare_aiokafka()
    producer = AIOKafkaProducer(transactional_id="unit")
    assert isinstance(producer._sender, KnownTasksSender)
    assert producer._sender.sender_task is None
    assert producer._txn_manager._transaction_waiter is None
    assert producer._message_accumulator._batches == {}
    assert producer._message_accumulator._pending_batches == set()
    assert producer.client._conns == {}
    assert AIOKafkaConnection("127.0.0.1", 1)._writer is None
    await destroy(producer, "the test is over")
    await destroy(producer, "twice is harmless")
    consumer = AIOKafkaConsumer()
    assert isinstance(consumer._client, AIOKafkaClient)
    await aiokafka_inside.end_consumer(consumer)


async def test_whoever_waits_for_a_destroyed_producer_is_told_at_once() -> None:
    prepare_aiokafka()
    producer = AIOKafkaProducer(enable_idempotence=True)
    partition = aiokafka.TopicPartition("topic", 0)
    answer = await producer._message_accumulator.add_message(partition, b"k", b"v", 1.0)
    tidied = destroy(producer, "in doubt")
    with pytest.raises(ProducerClosed, match="in doubt"):
        await answer
    await tidied


class Broker:
    """Answers a commit as told, and counts how often it was asked."""

    def __init__(self, error: KafkaError | None, code: int = 0) -> None:
        self.asked = 0
        self._error = error
        self._code = code

    async def send(self, node: int, request: Any, group: Any) -> Any:
        self.asked += 1
        if self._error:
            raise self._error
        return SimpleNamespace(error_code=self._code)


def commit(broker: Broker) -> EndTxnOnce:
    manager = SimpleNamespace(
        transactional_id="unit", producer_id=1, producer_epoch=0, complete_transaction=lambda: None
    )
    sender = SimpleNamespace(
        client=broker, _txn_manager=manager, _retry_backoff=60.0, _coordinator_dead=lambda kind: None
    )
    return EndTxnOnce(sender, 1)


async def test_a_commit_that_is_answered_well_is_done() -> None:
    broker = Broker(None)
    assert await commit(broker).do(0)
    assert broker.asked == 1


@pytest.mark.parametrize(
    ("broker", "error"),
    [
        (Broker(KafkaConnectionError("cut")), KafkaConnectionError),
        (Broker(aiokafka.errors.RequestTimedOutError()), aiokafka.errors.RequestTimedOutError),
        (Broker(None, NotCoordinatorError.errno), KafkaError),
        (Broker(None, 51), KafkaError),
        (Broker(None, 47), ProducerFenced),
        (Broker(None, 120), KafkaError),
    ],
)
async def test_a_commit_that_is_not_answered_well_is_not_sent_again(broker: Broker, error: type[Exception]) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(error):
            await commit(broker).do(0)
    assert broker.asked == 1


def test_another_aiokafka_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiokafka, "__version__", "0.15.0")
    with pytest.raises(BadSettings, match=r"0\.15\.0"):
        prepare_aiokafka()


def test_slow_record_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_records, "DefaultRecordBatch", default_records._DefaultRecordBatchPy)
    with pytest.raises(BadSettings, match="C extension"):
        prepare_aiokafka()
