"""The one fenced writer of a shard: a transactional producer that lives until the first doubt.

Whatever goes wrong between the beginning of a transaction and the answer to its commit, the producer is destroyed and
never used again: it could commit a part, or a delayed request of it could end a later transaction. A new take-over
fences what is left, and reads what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from ..errors import Fenced, LedgerError, OutcomeUnknown
from ..settings import KafkaSettings
from .aiokafka_inside import destroy
from .bounds import refuse_oversized
from .kafka_client import ANSWER_S, TAKE_OVER_S, partition_of
from .kafka_lookup import KafkaLookup
from .kafka_producer import produce, start_producer, write_error
from .protocol import Lane, Outgoing, Topic


class KafkaWriter:
    def __init__(self, settings: KafkaSettings, shard: int, producer: AIOKafkaProducer, end: int) -> None:
        self._lane = Lane(Topic.EVENTS, shard)
        self._partition = partition_of(settings, self._lane)
        self._producer = producer
        self._ended: LedgerError | None = None
        self._destroying: asyncio.Task[None] | None = None
        self.shard = shard
        self.end = end

    async def append(self, batch: Sequence[Outgoing]) -> int:
        refuse_oversized(self._lane, batch)
        if self._ended:
            raise self._ended
        if not batch:
            return -1
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._transact(batch)
        except (KafkaError, TimeoutError, OSError) as error:
            raise self._end(self._explain(error)) from error
        except BaseException:  # cancelled, or a mistake of ours: the transaction may commit or not
            self._end(OutcomeUnknown(f"An append to shard {self.shard} was left in the middle; take it over anew."))
            raise

    async def let_go(self) -> None:
        self._end(Fenced(f"This writer let shard {self.shard} go; take it over anew."))
        if self._destroying:
            await self._destroying

    async def _transact(self, batch: Sequence[Outgoing]) -> int:
        await self._producer.begin_transaction()
        offsets = await produce(self._producer, self._partition, batch)  # raises before the commit if any part failed
        await self._producer.commit_transaction()
        return offsets[-1]

    def _end(self, error: LedgerError) -> LedgerError:
        if self._ended is None:
            self._ended = error
        if self._destroying is None:
            self._destroying = destroy(self._producer, str(error))
        return error

    def _explain(self, error: BaseException) -> LedgerError:
        if _is_fencing(error):
            return Fenced(f"Shard {self.shard} was taken over by another writer; nothing of this batch is visible.")
        return write_error(f"shard {self.shard}", error)


async def take_over(settings: KafkaSettings, client_id: str, shard: int, lookup: KafkaLookup) -> KafkaWriter:
    """In this order and no other: fence the old writer and resolve its transaction, then learn where the shard ends."""
    lane = Lane(Topic.EVENTS, shard)
    transactional_id = f"{settings.topic_prefix}ledger-{shard}"
    producer = await start_producer(settings, f"{client_id}-{shard}", TAKE_OVER_S, transactional_id)
    try:
        end = (await lookup.ends([lane]))[lane]
    except BaseException:
        await destroy(producer, "the shard's end is unknown")
        raise
    return KafkaWriter(settings, shard, producer, end)


def _is_fencing(error: BaseException | None) -> bool:
    """aiokafka wraps what ended its sender; the reason is then the cause."""
    while error is not None:
        if isinstance(error, ProducerFenced | InvalidProducerEpoch):
            return True
        error = error.__cause__
    return False
