"""The board: every execution that has not ended, as the events tell it. A fold, so a restart rebuilds it exactly.

It holds no payloads: where the queued event and the newest checkpoint lie is enough to build a start message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, fields
from enum import Enum
from operator import attrgetter
from typing import Any, NamedTuple

from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    Checkpointed,
    Completed,
    Dispatched,
    Event,
    Failed,
    Held,
    Quarantined,
    Queued,
    Requeued,
    Started,
    Unheld,
)
from execution_ledger.messages.ids import business_key
from execution_ledger.messages.parts import Failure

CAUSE_CHARS_MAX = 200
LOSSES_SHARED_MAX = 2  # what was lost so often may have killed its runners, so it gets one for itself


class Token(NamedTuple):
    """What a runner holds: one attempt of one execution."""

    execution_id: str
    attempt: int


class Phase(Enum):
    QUEUED = "queued"
    DISPATCHED = "dispatched"
    STARTED = "started"
    ENDED = "ended"


class Hold(NamedTuple):
    """Who wants it to wait, since when and why."""

    by: str
    since_ms: int
    reason: str


@dataclass(slots=True, eq=False)
class Execution:
    id: str
    shard: int
    offset: int  # of its queued event
    pool: str
    pipeline: str
    digest: str
    priority: int
    since_ms: int  # recordedtime at which its phase began, or its end was asked for
    phase: Phase = Phase.QUEUED
    attempt: int = 0  # the last one dispatched
    runner: str = ""
    aborting: bool = False
    grace_until: int | None = None
    abort_reason: str | None = None
    name: str = ""
    version: int = 0  # of its pipeline
    at_most_once: bool = False
    not_before: int | None = None
    expires_at: int | None = None  # in the queue
    timeout_at: int | None = None  # on its runner
    cause: str = ""  # why the attempt before is over, in a few words
    losses: int = 0
    losses_max: int = 0  # as its policy says: the next one is its end
    hold: Hold | None = None
    business: str = ""  # its business id, with its pipeline
    checkpoint: int | None = None  # the offset of the newest one

    @property
    def token(self) -> Token:
        return Token(self.id, self.attempt)

    @property
    def dispatchable(self) -> bool:
        return self.phase is Phase.QUEUED and not self.aborting and not self.hold

    @property
    def alone(self) -> bool:
        """Whether nothing else may be on its runner, so that its next loss is no neighbour's fault and harms none."""
        return 0 < min(LOSSES_SHARED_MAX, self.losses_max) <= self.losses

    @property
    def deadline(self) -> int | None:
        """By when its present phase must be over."""
        if self.runner:
            return self.grace_until if self.aborting else self.timeout_at
        return self.expires_at


_fields: Callable[[Execution], tuple[Any, ...]] = attrgetter(*(field.name for field in fields(Execution)))


class Change(NamedTuple):
    """What an event did. `ended` is the attempt that it ended, on `runner`; `reported`: that one said so itself."""

    execution: Execution
    ended: Token | None = None
    runner: str = ""
    reported: bool = False


class Board:
    def __init__(self) -> None:
        self._executions: dict[str, Execution] = {}
        self._live: dict[str, dict[Token, Execution]] = {}
        self._business: dict[str, dict[str, Execution]] = {}

    def executions(self) -> dict[str, Execution]:
        """Copies, which stay as they are when the board goes on; two microseconds each."""
        return {id_: Execution(*_fields(execution)) for id_, execution in self._executions.items()}

    def restore(self, execution: Execution) -> None:
        """Puts one on an empty board, as the events up to here had left it."""
        self._put(execution)
        if execution.runner:
            self._enter(execution, execution.runner)

    def apply(self, event: Event, offset: int) -> Change | None:
        """None where the event says nothing about a known execution's place here."""
        if isinstance(event.data, Queued):
            return Change(self._add(event, event.data, offset))
        execution = self._executions.get(event.subject)
        if execution and isinstance(event.data, Checkpointed):
            execution.checkpoint = offset
        return self._change(execution, event) if execution else None

    def get(self, execution_id: str) -> Execution | None:
        return self._executions.get(execution_id)

    def ahead(self, execution: Execution) -> Execution | None:
        """The one that must end before this one may begin, because both have the same business id."""
        first = self.first_of(execution.business)
        return None if first is execution else first

    def first_of(self, business: str) -> Execution | None:
        """All of a business id live on one shard, so the log's offsets are their order."""
        return min(self._business.get(business, {}).values(), key=lambda each: each.offset, default=None)

    def live(self, token: Token) -> Execution | None:
        """The execution whose current attempt this is, while a runner has it."""
        execution = self._executions.get(token.execution_id)
        is_live = execution and execution.runner and execution.attempt == token.attempt
        return execution if is_live else None

    def live_on(self, runner: str) -> Mapping[Token, Execution]:
        return self._live.get(runner, {})

    def runners(self) -> Set[str]:
        """Those that have a live attempt, heard of or not."""
        return self._live.keys()

    def _add(self, event: Event, fact: Queued, offset: int) -> Execution:
        execution = Execution(
            id=event.subject,
            shard=event.shard,
            offset=offset,
            pool=fact.pool,
            pipeline=fact.pipeline.name,
            digest=fact.pipeline.digest,
            priority=fact.priority,
            since_ms=event.recordedtime,
            name=fact.name,
            version=fact.pipeline.version,
            at_most_once=fact.policy.delivery == "at_most_once",
            expires_at=fact.expires_at,
            losses_max=fact.policy.losses_max,
            business="" if fact.business_id is None else business_key(fact.pipeline.name, fact.business_id),
        )
        self._put(execution)
        return execution

    def _put(self, execution: Execution) -> None:
        self._executions[execution.id] = execution
        if execution.business:
            self._business.setdefault(execution.business, {})[execution.id] = execution

    def _remove(self, execution: Execution) -> None:
        del self._executions[execution.id]
        if others := self._business.get(execution.business):
            del others[execution.id]
            if not others:
                del self._business[execution.business]

    def _change(self, execution: Execution, event: Event) -> Change | None:
        match event.data:
            case Dispatched() as fact:
                execution.attempt, execution.timeout_at = fact.attempt, fact.timeout_at
                self._enter(execution, fact.runner)
                self._turn(execution, Phase.DISPATCHED, event)
            case Started() as fact:
                execution.timeout_at = fact.timeout_at
                self._turn(execution, Phase.STARTED, event)
            case AbortRequested() as fact:
                execution.aborting, execution.grace_until = True, fact.grace_until
                execution.since_ms = event.recordedtime
                execution.abort_reason = event.reason
            case Held():
                execution.hold = Hold(event.actor or "", event.recordedtime, (event.reason or "")[:CAUSE_CHARS_MAX])
                execution.expires_at = None
            case Unheld() as fact:
                execution.hold, execution.expires_at = None, fact.expires_at
            case Requeued() as fact:
                execution.not_before, execution.expires_at = fact.not_before, fact.expires_at
                execution.cause = _cause(fact)
                execution.losses += fact.cause == "lost"
                return self._end_attempt(execution, Phase.QUEUED, event)
            case Quarantined() if execution.business:  # others of that business id wait until somebody ends it
                return self._end_attempt(execution, Phase.ENDED, event)
            case Completed() | Failed() | Aborted() | Quarantined():
                self._remove(execution)
                return self._end_attempt(execution, Phase.ENDED, event)
            case _:
                return None
        return Change(execution)

    def _end_attempt(self, execution: Execution, following: Phase, event: Event) -> Change:
        runner, ended = execution.runner, self._leave(execution)
        self._turn(execution, following, event)
        return Change(execution, ended, runner, _reported(event))

    def _turn(self, execution: Execution, phase: Phase, event: Event) -> None:
        execution.phase, execution.since_ms = phase, event.recordedtime

    def _enter(self, execution: Execution, runner: str) -> None:
        execution.runner = runner
        self._live.setdefault(runner, {})[execution.token] = execution

    def _leave(self, execution: Execution) -> Token | None:
        if not execution.runner:
            return None
        here = self._live[execution.runner]
        del here[execution.token]
        if not here:
            del self._live[execution.runner]
        execution.runner = ""
        return execution.token


def _cause(fact: Requeued) -> str:
    """Bounded, because the board holds it for as long as the execution lives."""
    return f"{fact.failure.kind}: {fact.failure.message}"[:CAUSE_CHARS_MAX] if fact.failure else fact.cause


def _reported(event: Event) -> bool:
    """Whether the runner said that the code is over. Only what a command asked for has a command id.

    What the ledger ended by itself says nothing of the code, and an attempt that was given back may still run: a runner
    that goes does not wait for code that is deaf.
    """
    match event.data:
        case Quarantined() | Failed(failure=Failure(kind="internal" | "released")) | Requeued(cause="released"):
            return False
        case _:
            return event.commandid is None
