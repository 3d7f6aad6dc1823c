"""Commands: what a caller asks becomes a command of the ledger, and the ledger's decision the answer.

Nothing here knows HTTP: the routes call it, and so does the simulator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from execution_ledger.clock import World
from execution_ledger.log.protocol import Log
from execution_ledger.messages.base import Message
from execution_ledger.messages.commands import ChangeLabels, Hold, RequestAbort, Unhold
from execution_ledger.messages.ids import CATALOG_SHARD, shard_of, shard_of_business
from execution_ledger.messages.parts import Link, PipelineRef
from execution_ledger.messages.steps import Reusable

from ..edge.problems import Refused, invalid, refused
from ..stream.firsts import FirstAnswers, LookUp, without_views
from ..stream.tail import Tail
from .again import Ended, check_properties, rerun_request, retry_of, reused_of
from .batches import BatchAnswer, BatchSender
from .checking import Checked, Stamp, Submittable, check
from .given_files import NoFiles, Sizes, missing
from .jobs import JobSender, Targets, open_job
from .registering import Registrar
from .requests import (
    AbortRequest,
    BatchRetryRequest,
    ExecutionRequest,
    Explained,
    JobRequest,
    LabelRequest,
    RerunRequest,
    RetryRequest,
    business_of,
    digest_of_body,
    label_change,
)
from .resolving import named_in
from .sending import Answer, Sender, accepted

SUBMIT_ROUTE = "POST /v1/executions"
BATCH_ROUTE = "POST /v1/batches"
JOB_ROUTE = "POST /v1/jobs"

_VERBS = {RequestAbort: "abort", Hold: "hold", Unhold: "release", ChangeLabels: "label"}  # as in their routes


class CommandSender:
    def __init__(
        self,
        log: Log,
        world: World,
        tail: Tail,
        decide_wait_s: float,
        observe_s: Callable[[float], None] = lambda _: None,
        look_up: LookUp = without_views,
        sizes: Sizes | None = None,
    ) -> None:
        self._tail = tail
        self._wait_s = decide_wait_s
        self._sender = Sender(log, world, tail, decide_wait_s, observe_s)
        self._sizes = sizes or NoFiles()
        self.catalog = Registrar(self._sender, tail, decide_wait_s, self._sizes)
        self._first_answers = FirstAnswers(tail, decide_wait_s, look_up)
        self._batches = BatchSender(self._sender, world.clock, tail, decide_wait_s, self._first_answers, self._sizes)
        self.jobs = JobSender(self._sender, self._changed, lambda: tail.read_to_end(CATALOG_SHARD, decide_wait_s))

    async def submit(
        self, request: ExecutionRequest, actor: str, key: str | None = None, traceparent: str | None = None
    ) -> Answer:
        business = business_of(request)
        route = SUBMIT_ROUTE if business is None else f"{SUBMIT_ROUTE} {business}"
        command_id, shard = self._sender.address(actor, route, key)
        if business is not None:
            shard = shard_of_business(business, self._sender.shards())
        stamp = Stamp(command_id, actor, keyed=key is not None, traceparent=traceparent)
        return await self._submit(shard, request, self._check(request, None), stamp)

    async def retry(
        self, ended: Ended, request: RetryRequest, actor: str, key: str | None = None, traceparent: str | None = None
    ) -> Answer:
        """All as it was, the version too."""
        command_id, _ = self._sender.address(actor, f"POST /v1/executions/{ended.id}/retry", key)
        stamp = Stamp(command_id, actor, keyed=key is not None, traceparent=traceparent)
        return await self._send(ended.shard, request, retry_of(ended), stamp)

    async def rerun(
        self, ended: Ended, request: RerunRequest, actor: str, key: str | None = None, traceparent: str | None = None
    ) -> Answer:
        command_id, _ = self._sender.address(actor, f"POST /v1/executions/{ended.id}/rerun", key)
        stamp = Stamp(command_id, actor, keyed=key is not None, traceparent=traceparent)
        return await self._submit(ended.shard, request, self._changed(ended, request), stamp)

    async def _submit(self, shard: int, body: Message, found: Awaitable[Submittable], stamp: Stamp) -> Answer:
        """`found` is what to run, or raises Refused for what is wrong with the body."""
        try:
            runnable = await found
        except Refused as refusal:
            if not stamp.keyed:
                raise
            return accepted(await self._first_answers.instead_of(refusal, stamp.command_id, shard, [body]))
        return await self._send(shard, body, runnable, stamp)

    async def _send(self, shard: int, body: Message, runnable: Submittable, stamp: Stamp) -> Answer:
        self._sender.admit([shard])
        stamp = replace(stamp, execution_id=self._sender.fresh_id(shard), body_digest=digest_of_body(body))
        return await self._sender.send(shard, runnable.submit(stamp))

    async def abort(
        self,
        execution_id: str,
        request: AbortRequest,
        actor: str,
        key: str | None = None,
        traceparent: str | None = None,
    ) -> Answer:
        return await self.ask(RequestAbort, execution_id, request, actor, key, traceparent)

    async def ask(
        self,
        kind: type[RequestAbort | Hold | Unhold | ChangeLabels],
        execution_id: str,
        request: Explained,
        actor: str,
        key: str | None = None,
        traceparent: str | None = None,
    ) -> Answer:
        """Who changes labels has seen that the execution exists: its ledger may have forgotten it."""
        shard = shard_of(execution_id)
        if not CATALOG_SHARD < shard < self._sender.shards():
            raise unknown_execution(execution_id)
        command_id, _ = self._sender.address(actor, f"POST /v1/executions/{execution_id}/{_VERBS[kind]}", key)
        change = label_change(request.labels) if isinstance(request, LabelRequest) else {}
        command = kind(
            command_id=command_id,
            actor=actor,
            reason=request.reason,
            keyed=key is not None,
            body_digest=digest_of_body(request),
            traceparent=traceparent,
            execution_id=execution_id,
            **change,
        )
        return await self._sender.send(shard, command)

    async def open_batch(
        self, requests: Sequence[ExecutionRequest], actor: str, key: str | None = None, traceparent: str | None = None
    ) -> BatchAnswer:
        """Checked whole before anything exists; not atomic after: the same key completes an interrupted one."""
        command_id, shard = self._sender.address(actor, BATCH_ROUTE, key)
        self._sender.admit(range(1, self._sender.shards()))
        opening = Stamp(
            command_id=command_id,
            actor=actor,
            execution_id=self._sender.fresh_id(shard),
            keyed=key is not None,
            traceparent=traceparent,
        )
        return await self._batches.send(requests, opening, shard)

    async def retry_batch(
        self,
        batch_id: str,
        ended: Sequence[Ended],
        request: BatchRetryRequest,
        actor: str,
        key: str | None = None,
        traceparent: str | None = None,
    ) -> BatchAnswer:
        """A new batch of these executions of a batch, in this order, which must be the same for each repeat."""
        command_id, _ = self._sender.address(actor, f"POST /v1/batches/{batch_id}/retry", key)
        shard = shard_of(batch_id)
        self._sender.admit(range(1, self._sender.shards()))
        opening = Stamp(
            command_id=command_id,
            actor=actor,
            execution_id=self._sender.fresh_id(shard),
            keyed=key is not None,
            body_digest=digest_of_body(request),
            traceparent=traceparent,
        )
        return await self._batches.retry([retry_of(each) for each in ended], opening, Link(how="retry", to=batch_id))

    async def open_job(
        self,
        request: JobRequest,
        find: Callable[[], Awaitable[Targets]],
        actor: str,
        key: str | None = None,
        traceparent: str | None = None,
    ) -> Answer:
        """Only opens it: what it asks follows. `find` raises Refused where there are no such targets."""
        command_id, shard = self._sender.address(actor, JOB_ROUTE, key)
        try:
            targets = await find()
        except Refused as refusal:
            if key is None:
                raise
            return accepted(await self._first_answers.instead_of(refusal, command_id, shard, [request]))
        opening = Stamp(
            command_id=command_id,
            actor=actor,
            execution_id=self._sender.fresh_id(shard),
            keyed=key is not None,
            body_digest=digest_of_body(request),
            traceparent=traceparent,
        )
        return await self._sender.send(shard, open_job(request, targets, opening))

    async def newest(self, pipelines: Iterable[str]) -> dict[str, PipelineRef]:
        """Raises Refused for one that is unknown."""
        return {name: (await self._tail.resolve(name, self._wait_s)).ref for name in pipelines}

    async def _changed(self, ended: Ended, changes: RerunRequest, version: int | None = None) -> Submittable:
        """`version` goes before what the changes say."""
        reused = await self._reused(ended, changes) if changes.from_failed else None
        version = version or (None if changes.newest else ended.asked.pipeline.version)
        checked = await self._check(rerun_request(ended, changes), version)
        if reused:
            check_properties(ended, checked.properties)
        return replace(checked, link=Link(how="rerun", to=ended.id), reused=reused)

    async def _reused(self, ended: Ended, changes: RerunRequest) -> Reusable:
        newest = await self._tail.resolve(ended.asked.pipeline.name, self._wait_s, None)
        return reused_of(ended, changes, newest.ref)

    async def _check(self, request: ExecutionRequest, version: int | None) -> Checked:
        registered = await self._tail.resolve(request.pipeline, self._wait_s, version)
        await self._tail.learn([*named_in(request)], self._wait_s)
        checked = check(request, registered, self._tail.catalog.entries)
        errors = await missing(self._sizes, checked.files()) if isinstance(checked, Checked) else checked
        if errors or not isinstance(checked, Checked):
            raise invalid(*errors)
        return checked


def unknown_execution(reference: str) -> Refused:
    known = "Which are: exledger list, or GET /v1/executions"
    return refused("unknown-execution", f"No execution {reference[:100]!r} is known. {known}")
