"""Retry and rerun: new executions made from those that have ended, each linked to its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter

from execution_ledger.messages.ids import shard_of

from ..edge.http import StrictRoute
from ..gateway import Gateway
from ..reads.references import execution_id
from ..reads.views import Row
from ..writes.again import Ended, check_over, ended_of, in_order
from ..writes.answering import SUBMITTED, TheWrite
from ..writes.answers import BatchAnswerBody, ExecutionAnswer, ReceivedAnswer
from ..writes.batches import BREATH
from ..writes.commands import unknown_execution
from ..writes.requests import BatchRetryRequest, RerunRequest, RetryRequest
from .batches import BATCH_ANSWERS, BatchRoute, opened

router = APIRouter(prefix="/v1/executions", tags=["executions"], route_class=StrictRoute)
batches = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=BatchRoute)

_ALL_THE_SAME = RetryRequest()
_NO_CHANGES = RerunRequest()
_THE_FAILED = BatchRetryRequest()


@router.post("/{reference}/retry", status_code=201, responses=SUBMITTED)
async def retry(
    reference: str, write: TheWrite, body: RetryRequest = _ALL_THE_SAME
) -> ExecutionAnswer | ReceivedAnswer:
    """Runs what has failed or was aborted once more, with all that it was asked for, the version too."""
    ended = await _ended(write.gateway, write.caller.token, reference)
    return write.submitted(await write.gateway.commands.retry(ended, body, write.actor, write.key, write.traceparent))


@router.post("/{reference}/rerun", status_code=201, responses=SUBMITTED)
async def rerun(reference: str, write: TheWrite, body: RerunRequest = _NO_CHANGES) -> ExecutionAnswer | ReceivedAnswer:
    """Runs what has ended, however it did, with changes; what they leave out stays as it was."""
    ended = await _ended(write.gateway, write.caller.token, reference)
    if body.from_failed:
        ended = replace(ended, given=await write.gateway.jobs.given(ended.id))
    return write.submitted(await write.gateway.commands.rerun(ended, body, write.actor, write.key, write.traceparent))


@batches.post("/{batch_id}/retry", status_code=201, responses=BATCH_ANSWERS)
async def retry_batch(
    batch_id: UUID, write: TheWrite, body: BatchRetryRequest = _THE_FAILED
) -> BatchAnswerBody | ReceivedAnswer:
    """A new batch of those that failed, in their order. Only once all have ended: so a repeat finds the same ones."""
    known = str(batch_id)
    over = await _over(write.gateway, write.caller.token, known)
    found = await _read(await write.gateway.views.first_events_of_batch(known, body.statuses))
    ended = in_order(known, found, over, body.statuses)
    answer = await write.gateway.commands.retry_batch(known, ended, body, write.actor, write.key, write.traceparent)
    return await opened(answer, write)


async def _read(rows: Sequence[Row]) -> list[Ended]:
    """Reading ten thousand events takes a while, in which others get their turns."""
    ended = []
    for count, row in enumerate(rows, 1):
        ended.append(ended_of(row))
        if count % BREATH == 0:
            await asyncio.sleep(0)
    return ended


async def _ended(gateway: Gateway, token: str, reference: str) -> Ended:
    """Raises Refused for what is unknown or has not ended, at the end of the log."""
    known = await execution_id(gateway, token, reference, None)
    shard = shard_of(known)
    await gateway.reading.reach(token, None, shard)
    row = await _settled(gateway, [shard], lambda: gateway.views.first_event(known), lambda row: bool(row["ended_at"]))
    if row is None:
        raise unknown_execution(reference)
    return ended_of(row)


async def _over(gateway: Gateway, token: str, batch_id: str) -> Row:
    """How it ended. Raises Refused for a batch that is unknown, or that is not over at the end of the log."""
    shards = range(1, gateway.tail.shards)
    await gateway.reading.reach(token, None)
    row = await _settled(gateway, shards, lambda: gateway.views.batch(batch_id), _is_over)
    return check_over(batch_id, row)


def _is_over(row: Row) -> bool:
    return not row["live"] and not row["undecided"]


async def _settled(
    gateway: Gateway, shards: Sequence[int], read: Callable[[], Awaitable[Row | None]], enough: Callable[[Row], bool]
) -> Row | None:
    """What is not as it must be may have become so a moment ago: it is read again at the end of the log."""
    row = await read()
    if row is not None and enough(row):
        return row
    for shard in shards:
        await gateway.tail.read_to_end(shard, gateway.settings.read_wait_s)
    position = gateway.tail.position
    await gateway.reading.include({shard: position.get(shard, 0) for shard in shards})
    return await read()
