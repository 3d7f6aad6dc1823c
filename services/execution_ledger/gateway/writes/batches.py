"""Batches: one request for many executions.

Everything is checked before anything exists. Then the batch is opened on one shard, which fixes its id and the
versions it runs; its children follow to all shards, in order, with ids made from the batch's. So a repeat meets its
first, makes the same children again, and only those that are missing come to be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from execution_ledger.clock import Clock
from execution_ledger.errors import Transient
from execution_ledger.messages.commands import OpenBatch, Submit
from execution_ledger.messages.ids import child_id, command_id_of_child, shard_of, shard_of_business, shard_of_child
from execution_ledger.messages.parts import Link, Origin, PipelineRef, Refusal, Status
from execution_ledger.messages.position import Position, joined

from ..edge.problems import Away, FieldError, Refused, away, invalid
from ..stream.catalog import Registered
from ..stream.firsts import FirstAnswers
from ..stream.tail import Tail
from ..stream.traces import Waiter
from .again import Retry
from .checking import Checked, Stamp, Submittable, check
from .given_files import Sizes, missing
from .requests import ExecutionRequest, business_of, digest_of_body
from .resolving import named_in
from .sending import Answer, Sender, accepted

ERRORS_MAX = 100  # reported in one answer
BREATH = 100  # requests checked before other tasks get a turn

_NOT_IN_A_BATCH = "`first` is not possible in a batch, whose executions are its own: use `refuse` or `wait`"

ChildStatus = Status | Literal["received", "rejected"]

ID_TOO_OLD, NOT_ANY_MORE = "id_too_old", "not_any_more"
UNSURE = frozenset({ID_TOO_OLD, NOT_ANY_MORE})  # only the views can tell whether such a child exists
# The shard has this child of the source, or a later one; or it no longer knows: the views can tell.
FORGOTTEN = frozenset({"not_above_ordinal", ID_TOO_OLD})


@dataclass(frozen=True, slots=True)
class Child:
    """`number` and `name` are absent while the child is undecided, or when the ledger has forgotten its answer."""

    execution_id: str
    status: ChildStatus
    number: int | None = None
    name: str | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    opened: Answer
    children: Sequence[Child]
    position: Position

    @property
    def batch_id(self) -> str:
        return _batch_id(self.opened)


class BatchSender:
    def __init__(
        self, sender: Sender, clock: Clock, tail: Tail, wait_s: float, first_answers: FirstAnswers, sizes: Sizes
    ) -> None:
        self._sender = sender
        self._clock = clock
        self._tail = tail
        self._wait_s = wait_s
        self._first_answers = first_answers
        self._sizes = sizes

    async def send(self, requests: Sequence[ExecutionRequest], opening: Stamp, shard: int) -> BatchAnswer:
        """`opening.execution_id` is the batch's id, unless this repeats one that has its own."""
        try:
            checked: Sequence[Checked] = await self._check(requests, await self._newest(requests))
        except Refused as refusal:
            if not opening.keyed:
                raise
            opened = accepted(await self._first_answers.instead_of(refusal, opening.command_id, shard, requests))
        else:
            opening = replace(opening, body_digest=digest_of_body(*requests))
            opened = await self._sender.send(shard, self._open(opening, checked))
        if opened.trace is not None and opened.repeated:
            try:
                checked = await self._check(requests, await self._of_first(opened.trace.outcome.versions or {}))
            except Refused as refusal:
                return _as_it_is(opened, len(requests), self._sender.shards(), refusal)
        shards = self._sender.shards()
        places = [_place(one.request, index, shards) for index, one in enumerate(checked)]
        return await self._complete(opened, checked, places, opening)

    async def retry(self, retries: Sequence[Retry], opening: Stamp, link: Link) -> BatchAnswer:
        """Each on the shard of the one that it retries, so that a shard's log alone shows what came of what."""
        opened = await self._sender.send(shard_of(link.to), self._open(opening, retries, link))
        return await self._complete(opened, retries, [retry.ended.shard for retry in retries], opening)

    async def _complete(
        self, opened: Answer, children: Sequence[Submittable], places: Sequence[int], opening: Stamp
    ) -> BatchAnswer:
        """`places` are the children's shards."""
        if opened.trace is None and not opening.keyed:
            raise _never_completed(opened)
        if opened.trace is None:
            return BatchAnswer(opened, (), {})
        return await self._send_children(opened, children, places, replace(opening, execution_id=_batch_id(opened)))

    def _open(self, opening: Stamp, checked: Sequence[Submittable], link: Link | None = None) -> OpenBatch:
        return OpenBatch(
            command_id=opening.command_id,
            actor=opening.actor,
            keyed=opening.keyed,
            body_digest=opening.body_digest,
            traceparent=opening.traceparent,
            batch_id=opening.execution_id,
            count=len(checked),
            opened=self._clock.now_ms(),
            versions={one.pipeline.name: one.pipeline for one in checked},
            link=link,
        )

    async def _newest(self, requests: Sequence[ExecutionRequest]) -> dict[str, Registered]:
        """The versions to run, by name. Raises Refused naming the first request of each unknown pipeline."""
        found: dict[str, Registered] = {}
        unknown: list[FieldError] = []
        for name, index in {request.pipeline: index for index, request in reversed([*enumerate(requests)])}.items():
            try:
                found[name] = await self._tail.resolve(name, self._wait_s)
            except Refused as refusal:
                unknown.append(FieldError(f"executions[{index}].pipeline", str(refusal)))
        if unknown:
            raise invalid(*unknown[:ERRORS_MAX])
        return found

    async def _of_first(self, versions: Mapping[str, PipelineRef]) -> dict[str, Registered]:
        """What the batch's first request resolved: the children must come out the same."""
        return {name: await self._tail.resolve(name, self._wait_s, ref.version) for name, ref in versions.items()}

    async def _check(
        self, requests: Sequence[ExecutionRequest], versions: Mapping[str, Registered]
    ) -> Sequence[Checked]:
        await self._tail.learn({named for request in requests for named in named_in(request)}, self._wait_s)
        checked: list[Checked] = []
        errors: list[FieldError] = []
        for index, request in enumerate(requests):
            one = check(request, versions[request.pipeline], self._tail.catalog.entries)
            if request.if_live == "first":
                errors.append(FieldError(f"executions[{index}].if_live", _NOT_IN_A_BATCH))
            if isinstance(one, Checked):
                checked.append(one)
            else:
                errors += [FieldError(f"executions[{index}].{error.field}", error.detail) for error in one]
            if index % BREATH == BREATH - 1:
                await asyncio.sleep(0)
        if not errors:
            files = [(f"executions[{i}].{field}", ref) for i, one in enumerate(checked) for field, ref in one.files()]
            errors = await missing(self._sizes, files)
        if errors:
            raise invalid(*errors[:ERRORS_MAX])
        return checked

    async def _send_children(
        self, opened: Answer, children: Sequence[Submittable], places: Sequence[int], batch: Stamp
    ) -> BatchAnswer:
        shards = sorted(set(places))
        sent = await asyncio.gather(
            *(self._sender.send_in_order(shard, submits(shard, children, places, batch)) for shard in shards),
            return_exceptions=True,
        )
        lanes = {shard: lane for shard, lane in zip(shards, sent, strict=True) if isinstance(lane, list)}
        try:
            for failure in sent:
                if isinstance(failure, BaseException):
                    raise _incomplete(failure, batch)
            left = {shard: iter(lane) for shard, lane in lanes.items()}
            waiters = [next(left[place]) for place in places]  # by ordinal
            await self._sender.wait_decided(waiters)
            return _answered(opened, waiters)
        finally:
            for lane in lanes.values():
                self._sender.forget(lane)


def _place(request: ExecutionRequest, index: int, shards: int) -> int:
    """The child's shard."""
    business = business_of(request)
    return shard_of_child(index, shards) if business is None else shard_of_business(business, shards)


def submits(shard: int, children: Sequence[Submittable], places: Sequence[int], batch: Stamp) -> Iterator[Submit]:
    for index, (child, place) in enumerate(zip(children, places, strict=True)):
        if place == shard:
            yield child.submit(_child_stamp(batch, index, shard))


def _child_stamp(batch: Stamp, index: int, shard: int) -> Stamp:
    return Stamp(
        command_id=command_id_of_child(batch.execution_id, index),
        actor=batch.actor,
        execution_id=child_id(batch.execution_id, shard, index),
        traceparent=batch.traceparent,
        origin=Origin(source=f"batch/{batch.execution_id}", ordinal=index),
    )


def _answered(opened: Answer, waiters: Sequence[Waiter]) -> BatchAnswer:
    position: Position = opened.position
    for waiter in waiters:
        position = joined(position, waiter.trace.position if waiter.trace else {})
    return BatchAnswer(opened, [_child(waiter) for waiter in waiters], position)


def _as_it_is(opened: Answer, count: int, shards: int, refusal: Refused) -> BatchAnswer:
    """A repeat that could not be asked for any more, because a twin has gone: it completes nothing."""
    told = Refusal(code=NOT_ANY_MORE, detail=str(refusal)[:2_000])
    ids = (child_id(_batch_id(opened), shard_of_child(index, shards), index) for index in range(count))
    return BatchAnswer(opened, [Child(each, Status.QUEUED, refusal=told) for each in ids], opened.position)


def _child(waiter: Waiter) -> Child:
    trace = waiter.trace
    if trace is None or trace.error is not None:
        return Child(waiter.subject, "received")
    refusal = trace.outcome.refused
    if refusal is None:
        return Child(waiter.subject, Status.QUEUED, trace.outcome.number, trace.outcome.name)
    status: ChildStatus = Status.QUEUED if refusal.code in FORGOTTEN else "rejected"
    return Child(waiter.subject, status, refusal=refusal)


def _batch_id(opened: Answer) -> str:
    return opened.subject.removeprefix("batch/")


def _never_completed(opened: Answer) -> Away:
    return away(
        "outcome-unknown",
        f"The ledger did not open this batch in time (command {opened.command_id}), and none of its executions was "
        "asked for. Send it again with an Idempotency-Key, under which it can be completed.",
        command_id=opened.command_id,
    )


def _incomplete(failure: BaseException, batch: Stamp) -> BaseException:
    if not isinstance(failure, Transient):
        return failure
    return away(
        "outcome-unknown",
        f"Batch {batch.execution_id} was opened, but the log did not confirm all of its executions. "
        + ("Send the same again with its key to complete it." if batch.keyed else "Look at it before sending more."),
        batch_id=batch.execution_id,
    )
