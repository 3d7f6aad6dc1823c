"""Jobs: the same action on many executions, each asked by a command of its own, once.

Whose turn it is follows from the job alone: the commands' ids are made from the job's and the target's, and the ids of
new executions from the job's and the target's place. So whoever completes a job, and however often, comes to the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from execution_ledger.messages.commands import AnyCommand, ChangeLabels, Decline, Hold, OpenJob, RequestAbort, Unhold
from execution_ledger.messages.events import Event, JobOpened
from execution_ledger.messages.ids import child_id, command_id_of_job, shard_of
from execution_ledger.messages.parts import JobAction, Origin, PipelineRef, Refusal
from execution_ledger.messages.payload import Payload, json_payload
from execution_ledger.messages.steps import Reusable

from ..edge.problems import Problem, Refused, away, refused
from .again import Ended, retry_of
from .checking import Stamp, Submittable
from .requests import JobRequest, RerunRequest, label_change
from .sending import Sender

CHUNK = 100  # targets of one shard at a time: the next ones follow when those are decided

NEW = frozenset({"retry", "rerun"})  # these make new executions

T = TypeVar("T")

Rerun = Callable[[Ended, RerunRequest, int | None], Awaitable[Submittable]]


class Past(Protocol):
    """What has been: raises Away where it cannot be read now."""

    async def first_events(self, execution_ids: Sequence[str]) -> Mapping[str, Ended]:
        """The executions of these ids that have ended, as they were asked for."""
        ...

    async def given(self, execution_id: str) -> Reusable:
        """By the steps of its last attempt that have completed."""
        ...


@dataclass(frozen=True)
class Targets:
    """What a job acts on, in this order; `versions` are what a rerun of the newest versions runs."""

    ids: Sequence[str]
    versions: Mapping[str, PipelineRef] = field(default_factory=dict)

    @property
    def payload(self) -> Payload:
        return json_payload(list(self.ids))


class Target(NamedTuple):
    place: int
    id: str


@dataclass(frozen=True)
class Job:
    id: str
    actor: str
    reason: str | None
    traceparent: str | None
    opened: JobOpened

    @property
    def action(self) -> JobAction:
        return self.opened.action

    def targets(self) -> list[Target]:
        ids: list[str] = self.opened.targets.value()
        return [Target(place, one) for place, one in enumerate(ids)]

    def command_id(self, target: Target) -> str:
        return command_id_of_job(self.id, target.id)

    @property
    def cause(self) -> dict[str, Any]:
        """What each of its commands bears beside its own id."""
        subject = f"job/{self.id}"
        return {"reason": self.reason, "correlation_id": subject, "causation_id": subject}

    def arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = self.opened.arguments.value() if self.opened.arguments else {}
        return arguments

    def changes(self) -> RerunRequest:
        return RerunRequest.model_validate(self.arguments().get("changes", {}))


def job_of(event: Event) -> Job:
    return Job(event.data.job_id, event.actor or "", event.reason, event.traceparent, event.data)


def open_job(request: JobRequest, targets: Targets, opening: Stamp) -> OpenJob:
    """`opening.execution_id` is the job's id, unless this repeats one that has its own."""
    return OpenJob(
        command_id=opening.command_id,
        actor=opening.actor,
        reason=request.reason,
        keyed=opening.keyed,
        body_digest=opening.body_digest,
        traceparent=opening.traceparent,
        job_id=opening.execution_id,
        action=request.action,
        count=len(targets.ids),
        targets=targets.payload,
        arguments=_arguments(request),
        versions=dict(targets.versions) or None,
    )


def _arguments(request: JobRequest) -> Payload | None:
    if request.labels is not None:
        return json_payload({"labels": request.labels})
    if request.changes is not None:
        return json_payload({"changes": request.changes.model_dump(mode="json", exclude_unset=True)})
    return None


class JobSender:
    """`rerun` makes a request of what has ended and its changes, or raises Refused; `catch_up` reads all that the
    catalog holds by now.
    """

    def __init__(self, sender: Sender, rerun: Rerun, catch_up: Callable[[], Awaitable[None]]) -> None:
        self._sender = sender
        self._rerun = rerun
        self._catch_up = catch_up

    async def complete(self, job: Job, asked: Collection[str], past: Past) -> None:
        """Asks all targets but those whose commands (`asked`, by id) have left a trace.

        Raises Away where a ledger is away or busy: what was not asked then is asked the next time.
        """
        if job.action in NEW:
            await self._catch_up()  # what is declined stays so: an old catalog must not be why
        shards: dict[int, list[Target]] = {}
        for target in job.targets():
            if job.command_id(target) not in asked:
                shards.setdefault(shard_of(target.id), []).append(target)
        done = await asyncio.gather(
            *(self._ask(job, shard, targets, past) for shard, targets in shards.items()),
            return_exceptions=True,
        )
        for failure in done:
            if failure is not None:
                raise failure

    async def check(self, request: JobRequest, targets: Targets, past: Past) -> None:
        """Raises Refused, with its name, for a target that could not be run again as this asks for.

        Which ones can be from their failed steps is said of each, when its turn comes.
        """
        if request.action not in NEW or request.from_failed:
            return
        changes = request.changes or RerunRequest()
        for chunk in _chunks(targets.ids):
            for ended in (await past.first_events(chunk)).values():
                try:
                    await self._runnable(request.action, changes, targets.versions, ended)
                except Refused as refusal:
                    raise _about(ended, refusal.problem) from refusal

    async def _ask(self, job: Job, shard: int, targets: Sequence[Target], past: Past) -> None:
        for chunk in _chunks(targets):
            if job.action in NEW:
                self._sender.admit([shard])
            commands = await self._commands(job, chunk, past)
            waiters = await self._sender.send_in_order(shard, iter(commands))
            try:
                await self._sender.wait_decided(waiters)
                if any(waiter.trace is None for waiter in waiters):
                    raise away("outcome-unknown", f"The ledger of shard {shard} is away. Job {job.id} waits for it.")
            finally:
                self._sender.forget(waiters)

    async def _commands(self, job: Job, targets: Sequence[Target], past: Past) -> list[AnyCommand]:
        if job.action not in NEW:
            return [_command(job, target) for target in targets]
        ended = await past.first_events([target.id for target in targets])
        return [await self._again_or_not(job, target, ended[target.id], past) for target in targets]

    async def _again_or_not(self, job: Job, target: Target, ended: Ended, past: Past) -> AnyCommand:
        """One that cannot be run again ends no job: the ledger is told why, so whoever completes it finds an answer."""
        try:
            return await self._again(job, target, ended, past)
        except Refused as refusal:
            return Decline(**_said(job, target), refusal=_refusal(refusal.problem))

    async def _again(self, job: Job, target: Target, ended: Ended, past: Past) -> AnyCommand:
        changes = job.changes()
        if changes.from_failed:  # one after the other: together they could be far too much
            ended = replace(ended, given=await past.given(ended.id))
        runnable = await self._runnable(job.action, changes, job.opened.versions or {}, ended)
        stamp = Stamp(
            command_id=job.command_id(target),
            actor=job.actor,
            execution_id=child_id(job.id, ended.shard, target.place),
            traceparent=job.traceparent,
            origin=Origin(source=f"job/{job.id}", ordinal=target.place),
        )
        return runnable.submit(stamp).model_copy(update=job.cause)

    async def _runnable(
        self, action: JobAction, changes: RerunRequest, versions: Mapping[str, PipelineRef], ended: Ended
    ) -> Submittable:
        if action == "retry":
            return retry_of(ended)
        fixed = versions.get(ended.asked.pipeline.name)
        return await self._rerun(ended, changes, fixed.version if fixed else None)


def _about(ended: Ended, problem: Problem) -> Refused:
    return refused(problem.kind, f"{ended.name}: {problem.detail}", *problem.errors, **problem.more)


def _refusal(problem: Problem) -> Refusal:
    code = problem.more.get("code") or problem.kind.replace("-", "_")
    return Refusal(code=code, detail=problem.detail[:2_000])


def _said(job: Job, target: Target) -> dict[str, Any]:
    """Remembered by its ledger for a day, so that what two gateways send is done once."""
    return {
        "command_id": job.command_id(target),
        "actor": job.actor,
        "keyed": True,
        "traceparent": job.traceparent,
        "execution_id": target.id,
        **job.cause,
    }


def _command(job: Job, target: Target) -> AnyCommand:
    said = _said(job, target)
    match job.action:
        case "abort":
            return RequestAbort(**said)
        case "hold":
            return Hold(**said)
        case "release":
            return Unhold(**said)
        case _:
            return ChangeLabels(**said, **label_change(job.arguments()["labels"]))


def _chunks(targets: Sequence[T]) -> Iterator[Sequence[T]]:
    return (targets[first : first + CHUNK] for first in range(0, len(targets), CHUNK))
