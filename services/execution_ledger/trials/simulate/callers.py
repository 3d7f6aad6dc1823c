"""Clients: they ask gateways, lose patience, and ask again with their key. What each was told is kept for the checker.

An answer is ok, failed (refused: nothing happened), or unknown, which may be either.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from execution_ledger.errors import BadRequest, Transient
from execution_ledger.gateway.edge.problems import problem_of
from execution_ledger.gateway.writes.again import check_over, ended_of, given_by, in_order
from execution_ledger.gateway.writes.batches import BatchAnswer
from execution_ledger.gateway.writes.commands import CommandSender, unknown_execution
from execution_ledger.gateway.writes.jobs import Targets
from execution_ledger.gateway.writes.requests import (
    AbortRequest,
    BadEnd,
    BatchRetryRequest,
    ExecutionRequest,
    HoldRequest,
    JobRequest,
    LabelRequest,
    RerunRequest,
    RetryRequest,
)
from execution_ledger.gateway.writes.sending import Answer
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.messages.catalog import ENTRIES, Entry, Experiment, Template, Twin
from execution_ledger.messages.commands import ChangeLabels, ForceAbort, Hold, Unhold
from execution_ledger.messages.definition import Port
from execution_ledger.messages.ids import make_id, shard_of
from execution_ledger.messages.parts import PolicyChoice
from execution_ledger.messages.position import position_text
from execution_ledger.verify.answers import RECEIVED
from execution_ledger.verify.answers import Answer as Told

from .job_views import open_jobs
from .plan import Ask, Entered

if TYPE_CHECKING:
    from .cluster import Cluster

TRIES_MAX = 8
PAUSE_S = (0.1, 2.0)
UNKNOWN = 503
RELEASED_S = 3.0
BAD_ENDS: list[BadEnd] = ["failed", "aborted"]
_GATEWAYS = ("gateway-a", "gateway-b")

_SUITABLE: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "hold": lambda row: row["status"] == "queued" and not (row["held_at"] or row["dispatched_at"]),
    "release": lambda row: row["held_at"] is not None,
    "resume": lambda row: row["status"] in ("failed", "aborted") and row["steps"] is not None,
    "retry": lambda row: row["status"] in ("failed", "aborted"),
    "rerun": lambda row: row["ended_at"] is not None,
}

Call = Callable[[CommandSender], Coroutine[Any, Any, Answer | BatchAnswer]]


@dataclass(frozen=True)
class Heard:
    """One answer of one try, for the story."""

    at_s: float
    ask: Ask
    told: Told

    @property
    def outcome(self) -> str:
        if self.told.status_code >= 500:
            return "unknown"
        return "failed" if self.told.status_code >= 400 else "ok"


@dataclass
class Client:
    """By the number of the ask: `subjects`, the execution that it was answered with; `retried`, the batch that it
    retries.
    """

    cluster: Cluster
    chance: random.Random
    history: list[Heard] = field(default_factory=list)
    subjects: dict[int, str] = field(default_factory=dict)
    retried: dict[int, str] = field(default_factory=dict)

    async def play(self, asks: Sequence[Ask], before: Sequence[Ask] = ()) -> None:
        """`before`: others that these may be about."""
        by_number = {ask.number: ask for ask in (*before, *asks)}
        async with asyncio.TaskGroup() as playing:
            for ask in asks:
                playing.create_task(self._play(ask, by_number))

    async def abort(self, execution_id: str) -> None:
        """One try, on behalf of whoever wants the end of everything."""
        ask = Ask(at_s=0, number=-1, does="abort", keyed=False)
        await self._try(ask, lambda sender: sender.abort(execution_id, AbortRequest(reason="the end"), "ada"))

    async def _play(self, ask: Ask, asks: dict[int, Ask]) -> None:
        await asyncio.sleep(ask.at_s)
        first = asks.get(ask.of) if ask.of is not None else None
        match ask.does:
            case "submit" | "batch" | "enter":
                await self._persist(ask, _call(ask, ask))
            case "resume" if found := self._suitable("resume", 1):
                await self._persist(ask, self._resume(found[0], _key(ask)))
            case "retry_failed" if batch_id := self._batch_with_failed():
                self.retried[ask.number] = batch_id
                await self._persist(ask, self._retry_failed(batch_id, ask))
            case "retry" | "rerun" if ask.of in self.subjects:
                await self._persist(ask, self._again(ask, ask))
            case "repeat" if first and first.keyed:
                await self._repeat(first, ask)
            case "abort" if ask.of in self.subjects:
                await self._abort(ask, self.subjects[ask.of])
            case "hold" | "release" | "label" if ask.of in self.subjects:
                [subject] = self._suitable(ask.does, 1) or [self.subjects[ask.of]]
                await self._persist(ask, _change(ask, subject))
                if ask.does == "hold" and ask.seconds < RELEASED_S:  # by whom held it, before long
                    await asyncio.sleep(ask.seconds)
                    release = ask.model_copy(update={"does": "release"})
                    await self._persist(release, _change(release, subject))
            case "job":
                await self._open_job(ask)
            case "force":
                await self._force(ask)
            case "junk" if ask.keyed or self.cluster.log.partition(Lane(Topic.EVENTS, 1)).records:
                # Reports come only after events: before those, a ledger would take its log for one that was lost.
                await self._send(Topic.COMMANDS if ask.keyed else Topic.REPORTS, 1, b"junk")

    async def _abort(self, ask: Ask, subject: str) -> None:
        request, key = AbortRequest(reason="enough"), f"abort-{ask.number}" if ask.keyed else None
        await self._persist(ask, lambda sender: sender.abort(subject, request, "bob", key))
        if ask.changed:  # by whom cannot wait for its end
            once_more = ask.model_copy(update={"keyed": False})
            await self._try(once_more, lambda sender: sender.abort(subject, request, "bob"))

    async def _repeat(self, first: Ask, ask: Ask) -> None:
        match first.does:
            case "submit" | "batch" | "enter":
                await self._persist(ask, _call(first, ask))
            case "retry" | "rerun" if first.of in self.subjects:
                await self._persist(ask, self._again(first, ask))
            case "retry_failed" if first.number in self.retried:
                await self._persist(ask, self._retry_failed(self.retried[first.number], ask))

    def _again(self, ask: Ask, asked: Ask) -> Call:
        """As the routes of the gateway do it. A retry's body has nothing to say, so it cannot be another one."""
        subject, key = self.subjects[ask.of or 0], _key(ask)
        changes = RerunRequest(inputs={"seconds": ask.seconds + asked.changed})

        async def again(sender: CommandSender) -> Answer:
            if not (row := await self.cluster.store.first_event(subject)):
                raise unknown_execution(subject)
            if ask.does == "retry":
                return await sender.retry(ended_of(row), RetryRequest(), "ada", key)
            return await sender.rerun(ended_of(row), changes, "ada", key)

        return again

    def _resume(self, subject: str, key: str | None) -> Call:
        """From the first step that failed, as the route does it."""

        async def resume(sender: CommandSender) -> Answer:
            if not (row := await self.cluster.store.first_event(subject)):
                raise unknown_execution(subject)
            ended = replace(ended_of(row), given=given_by(await self.cluster.store.completed_steps(subject)))
            return await sender.rerun(ended, RerunRequest(from_failed=True), "ada", key)

        return resume

    def _retry_failed(self, batch_id: str, asked: Ask) -> Call:
        """Those of a batch, as the route does it. In another body it is also those that were aborted."""
        key, statuses = _key(asked), BAD_ENDS[: 2 if asked.changed else 1]

        async def retry(sender: CommandSender) -> BatchAnswer:
            over = check_over(batch_id, await self.cluster.store.batch(batch_id))
            rows = await self.cluster.store.first_events_of_batch(batch_id, statuses)
            ended = in_order(batch_id, [*map(ended_of, rows)], over, statuses)
            return await sender.retry_batch(batch_id, ended, BatchRetryRequest(statuses=statuses), "ada", key)

        return retry

    def _batch_with_failed(self) -> str | None:
        """The newest of which one has failed, also where others are still to come."""
        executions = self.cluster.store.executions.values()
        failed = {row["batch_id"] for row in executions if row["status"] == "failed" and row["batch_id"]}
        return max(failed, default=None)

    def ask_for_jobs(self) -> None:
        """Whoever looks at a job that is not done sees to it that it goes on."""
        for job_id in open_jobs(self.cluster.store):
            self.cluster.take_job(self.chance.choice(_GATEWAYS), job_id)

    async def _open_job(self, ask: Ask) -> None:
        ids = self._suitable(ask.action, ask.count)
        if ask.action == "rerun" and ask.from_failed:  # among those of which that is possible
            ids = [*dict.fromkeys([*self._suitable("resume", 2), *ids])]
        labels: dict[str, str | None] | None = {"team": f"t{ask.number}"} if ask.action == "label" else None
        changes = RerunRequest(from_failed=ask.from_failed) if ask.action == "rerun" else None
        request = JobRequest(action=ask.action, executions=ids, labels=labels, changes=changes, reason="many")
        if ids:
            await self._persist(ask, lambda sender: sender.open_job(request, _targets(ids), "bob", _key(ask)))
            self.ask_for_jobs()

    def _suitable(self, action: str, count: int) -> list[str]:
        """The newest for which this may make sense, as a person would look for them. Labels: any."""
        needed = _SUITABLE.get(action)
        return [one for one, row in self.cluster.store.executions.items() if not needed or needed(row)][-count:]

    async def _force(self, ask: Ask) -> None:
        """An operator's command, which no gateway takes; perhaps for an execution that there never was."""
        execution_id = self.subjects.get(ask.of or 0) or make_id(self.cluster.clock.now_ms(), 1, ask.number)
        command_id = f"force-{ask.number}"
        if await self.force(execution_id, command_id):
            self._hear(ask, Told(status_code=RECEIVED, command_id=command_id))

    async def force(self, execution_id: str, command_id: str) -> bool:
        """One try; whether it has surely landed."""
        command = ForceAbort(command_id=command_id, actor="operator", execution_id=execution_id)
        raw = command.model_dump_json(exclude_none=True).encode()
        return await self._send(Topic.COMMANDS, shard_of(execution_id), raw)

    async def _send(self, topic: Topic, shard: int, raw: bytes) -> bool:
        """Whether it has surely landed."""
        try:
            await self.cluster.log.send(Lane(topic, shard), [Outgoing(b"by hand", raw)])
        except Transient:
            return False
        return True

    async def _persist(self, ask: Ask, call: Call) -> None:
        """With a key until there is a clear answer, within bounds; without one there is one try."""
        for _ in range(TRIES_MAX if ask.keyed else 1):
            if await self._try(ask, call):
                return
            await asyncio.sleep(self.chance.uniform(*PAUSE_S))

    async def _try(self, ask: Ask, call: Call) -> bool:
        body = "another" if ask.changed else "first"
        try:
            answer = await self.cluster.call(self.chance.choice(_GATEWAYS), call, ask.patience_s)
        except (Transient, BadRequest) as error:
            problem = problem_of(error)
            told = Told(status_code=problem.status, command_id=problem.more.get("command_id"), body=body)
        else:
            told = _told(ask, answer, body)
        self._hear(ask, told)
        if told.execution_id and told.status_code != RECEIVED:
            self.subjects.setdefault(ask.number, told.execution_id)
        return told.status_code not in (RECEIVED, UNKNOWN)

    def _hear(self, ask: Ask, told: Told) -> None:
        self.history.append(Heard(asyncio.get_running_loop().time(), ask, told))


def _call(ask: Ask, asked: Ask) -> Call:
    """`asked` is the ask itself or a repeat of it, perhaps with another body."""
    key = _key(ask)
    if ask.does == "enter":
        return _entering(ask, ask.count + 1 if asked.changed else ask.count, key)
    request = _request(ask, ask.seconds + 1 if asked.changed else ask.seconds)
    if ask.does == "batch":
        requests = [request.model_copy(update={"priority": place}) for place in range(ask.count)]
        return lambda sender: sender.open_batch(requests, "ada", key)
    return lambda sender: sender.submit(request, "ada", key)


def _change(ask: Ask, subject: str) -> Call:
    if ask.does == "label":
        change = LabelRequest(labels={"team": f"t{ask.number}", f"round-{ask.number % 3}": "yes", "gone": None})
        return lambda sender: sender.ask(ChangeLabels, subject, change, "bob", _key(ask))
    kind = Hold if ask.does == "hold" else Unhold
    return lambda sender: sender.ask(kind, subject, HoldRequest(reason="not now"), "bob", _key(ask))


def _targets(ids: Sequence[str]) -> Callable[[], Coroutine[Any, Any, Targets]]:
    async def find() -> Targets:
        return Targets(ids)

    return find


def _entering(ask: Ask, content: int, key: str | None) -> Call:
    """Some are in vain: a twin without what its template has come to require, a template that its twins do not fit."""
    twin = ask.twin or "pump-a"
    kw = Port(type="number", required=content % 3 == 0, default=1)
    entries: dict[Entered, tuple[str, Entry]] = {
        "template": ("pump", Template(properties={"kw": kw} if content % 4 else {})),
        "twin": (twin, Twin(template="pump", values={"kw": content} if content % 2 else {})),
        "experiment": ("season", Experiment(name=f"Season {content}")),
    }
    if ask.entry == "gone":
        return lambda sender: sender.catalog.remove_twin(twin, "ada", key)
    name, entry = entries[ask.entry]
    return lambda sender: sender.catalog.entry(name, entry, "ada", key)


def _key(ask: Ask) -> str | None:
    return f"key-{ask.of if ask.does == 'repeat' else ask.number}" if ask.keyed else None


def _request(ask: Ask, seconds: float) -> ExecutionRequest:
    once = ask.delivery == "at_most_once"
    usual = PolicyChoice(losses_max=20, abort_grace_ms=4_000, delivery=ask.delivery, retries=0 if once else ask.retries)
    policy = ask.policy.over(usual) if ask.policy else usual
    return ExecutionRequest(
        pipeline=ask.pipeline,
        inputs={"manner": ask.manner, "seconds": seconds},
        policy=policy,
        priority=ask.count,
        labels={"asked": f"a{ask.number}", "gone": "soon"},
        business_id=ask.business,
        if_live=("wait" if ask.does == "batch" else ask.if_live) if ask.business else "refuse",
        twin=ask.twin,
        properties={"number": ask.number} if ask.twin else None,
        mode="experiment" if ask.experiment else "production",
        experiment=ask.experiment,
    )


def _told(ask: Ask, answer: Answer | BatchAnswer, body: str | None) -> Told:
    """As the routes of the gateway would put it."""
    if isinstance(answer, BatchAnswer):
        opened = answer.opened
        code = RECEIVED if opened.trace is None else 200 if opened.repeated else 201
        return Told(status_code=code, command_id=opened.command_id, body=body, position=position_text(answer.position))
    if answer.trace is None:
        return Told(status_code=RECEIVED, command_id=answer.command_id)
    if ask.does == "job":
        return Told(status_code=200, command_id=answer.command_id, position=position_text(answer.position))
    if ask.does in ("abort", "hold", "release", "label"):
        return Told(status_code=200, command_id=answer.command_id, execution_id=answer.subject)
    if answer.subject.partition("/")[0] in ENTRIES:
        position = position_text(answer.position)
        return Told(status_code=200 if answer.repeated else 201, command_id=answer.command_id, position=position)
    first = answer.trace.outcome
    return Told(
        status_code=200 if answer.repeated else 201,
        command_id=answer.command_id,
        key=_key(ask),
        body=body,
        execution_id=first.subject,
        number=first.number,
        name=first.name,
        status="queued",
        position=position_text(answer.position),
    )
