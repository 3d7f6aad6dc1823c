"""Traces: how a caller that waits learns what the ledger decided about its command.

Whoever sends a command expects it *before* sending, by command id; the trace may well be read before the log's
acknowledgement tells the offset. Two callers with the same key share the command id and are told apart by offset.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

from execution_ledger.messages.commands import AnyCommand
from execution_ledger.messages.events import (
    AbortRequested,
    BatchOpened,
    CommandFailed,
    CommandRejected,
    CommandRepeated,
    CommandUnreadable,
    EntryRegistered,
    Event,
    Held,
    JobOpened,
    LabelsChanged,
    PipelineRegistered,
    Queued,
    SubmitJoined,
    TwinRemoved,
    Unheld,
)
from execution_ledger.messages.parts import Outcome, Status

UNDECIDED_KEPT_MAX = 10_000  # commands whose callers got "received" and may ask what became of them
UNCONFIRMED_KEPT_MAX = 10_000  # commands whose acknowledgement is missing: in the log, or lost
FIRSTS_KEPT_MAX = 10_000  # first answers to keyed commands

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Trace:
    """What one command left behind. `status` is its execution's right after it, where it has one."""

    shard: int
    sequence: int  # of the last event that the command caused
    offset: int
    command_id: str | None
    outcome: Outcome  # the first answer, also of a repeat
    repeated: bool = False
    same_body: bool = True
    status: Status | None = None
    error: str | None = None  # the ledger could not decide

    @property
    def position(self) -> dict[int, int]:
        return {self.shard: self.sequence}

    @property
    def asks_again(self) -> bool:
        """Refused in a way that is no answer: the same key may ask again under a fresh id."""
        return self.outcome.refused is not None and self.outcome.refused.is_no_answer

    def repeated_by(self, body_digest: str) -> Trace:
        """What the ledger would say to a repeat with this body."""
        return replace(self, repeated=True, same_body=self.outcome.body_digest in (None, body_digest))


@dataclass(eq=False)
class Waiter:
    """One command on its way. Traces of the same command id gather until its own offset is known."""

    shard: int
    command_id: str
    subject: str
    keyed: bool
    body_digest: str | None
    offset: int | None = None
    _seen: list[Trace] = field(default_factory=list)
    _found: asyncio.Future[Trace] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def trace(self) -> Trace | None:
        return self._found.result() if self._found.done() else None

    async def decided(self) -> Trace:
        return await asyncio.shield(self._found)

    def sent(self, offset: int) -> None:
        self.offset = offset
        for trace in self._seen:
            self.see(trace)
        self._seen.clear()

    def settle_unacknowledged(self) -> bool:
        """The acknowledgement is missing: a trace that was read already may answer all the same."""
        answer = next((answer for trace in self._seen if (answer := self._sure_answer(trace))), None)
        if answer is not None and not self._found.done():
            self._found.set_result(answer)
        return self._found.done()

    def _sure_answer(self, trace: Trace) -> Trace | None:
        """What the trace says to this command, whichever record it is of; None where that is not certain.

        Another caller may have used the same key for another request: only the first answer's digest tells.
        """
        if trace.command_id != self.command_id:
            return None
        if trace.repeated and self.body_digest is not None:
            return trace.repeated_by(self.body_digest)
        return trace if not self.keyed or trace.outcome.body_digest == self.body_digest else None

    def see(self, trace: Trace) -> None:
        if self.offset is None:
            self._seen.append(trace)
        elif trace.offset == self.offset and not self._found.done():
            self._found.set_result(trace)


class Traces:
    def __init__(self) -> None:
        self._waiters: dict[str, list[Waiter]] = {}
        self._undecided: OrderedDict[int, Waiter] = OrderedDict()
        self._unconfirmed: OrderedDict[str, str] = OrderedDict()  # command id -> subject
        self._firsts: OrderedDict[str, Trace] = OrderedDict()
        self._unacknowledged: Counter[int] = Counter()
        self._sent_ends: dict[int, int] = {}
        self._decided_ends: dict[int, int] = {}

    @property
    def sent_ends(self) -> Mapping[int, int]:
        """By shard, the offset behind the last command that this gateway has sent there."""
        return self._sent_ends

    @property
    def decided_ends(self) -> Mapping[int, int]:
        """By shard, the offset behind the last command that its ledger is known to have decided."""
        return self._decided_ends

    def undecided(self, shard: int) -> int:
        """How many commands lie before the shard's ledger or are on their way there, as far as this gateway knows."""
        sent = self._sent_ends.get(shard, 0)
        return self._unacknowledged[shard] + max(0, sent - self._decided_ends.get(shard, sent))

    def expect(self, shard: int, command: AnyCommand) -> Waiter:
        waiter = Waiter(shard, command.command_id, command.subject, command.keyed, command.body_digest)
        self._waiters.setdefault(command.command_id, []).append(waiter)
        self._unacknowledged[shard] += 1
        return waiter

    def acknowledged(self, waiter: Waiter, offset: int) -> None:
        self._unacknowledged[waiter.shard] -= 1
        self._sent_ends[waiter.shard] = max(self._sent_ends.get(waiter.shard, 0), offset + 1)
        waiter.sent(offset)

    def forget(self, waiter: Waiter) -> None:
        """The caller is gone; one that was sent and never decided is kept for `find`, within a bound."""
        if waiter.offset is None:
            self._unacknowledged[waiter.shard] -= 1
        if waiter.offset is None and waiter.trace is None:
            _keep(self._unconfirmed, UNCONFIRMED_KEPT_MAX, waiter.command_id, waiter.subject)
        if waiter.trace is None and waiter.offset is not None:
            self._undecided[id(waiter)] = waiter
            if len(self._undecided) > UNDECIDED_KEPT_MAX:
                self._drop(self._undecided.popitem(last=False)[1])
        else:
            self._drop(waiter)

    def find(self, command_id: str) -> Waiter | None:
        """One that is safe in the log, decided or not, as far as this gateway remembers."""
        return next((waiter for waiter in self._waiters.get(command_id, ()) if waiter.offset is not None), None)

    def unconfirmed(self, command_id: str) -> str | None:
        """The subject of one that was sent, and for which the log has given no acknowledgement."""
        return self._unconfirmed.get(command_id)

    def first(self, command_id: str) -> Trace | None:
        """What a key was answered first, if that was lately."""
        return self._firsts.get(command_id)

    def feed(self, event: Event) -> None:
        fact = event.data
        self._decided_ends[event.shard] = event.cmdoffset + 1
        if getattr(fact, "keyed", False) and event.causationid is None:  # no caller knows the keys of a job's commands
            self._note_first(event)
        if isinstance(fact, CommandUnreadable | CommandFailed):
            self._feed_failure(event, fact)
        elif event.commandid in self._waiters and (trace := trace_of(event)):
            for waiter in self._waiters[event.commandid]:
                waiter.see(trace)

    def _feed_failure(self, event: Event, fact: CommandUnreadable | CommandFailed) -> None:
        """Such an event may not know the command's id: everyone on the shard looks whether the offset is theirs."""
        trace = trace_of(event)
        if trace is None:
            return
        for waiter in [waiter for waiters in self._waiters.values() for waiter in waiters]:
            if waiter.shard == event.shard:
                waiter.see(trace)

    def _note_first(self, event: Event) -> None:
        trace = trace_of(event)
        if trace is None or trace.command_id is None or trace.command_id in self._firsts or trace.asks_again:
            return
        _keep(self._firsts, FIRSTS_KEPT_MAX, trace.command_id, trace)

    def _drop(self, waiter: Waiter) -> None:
        waiters = self._waiters[waiter.command_id]
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[waiter.command_id]


def _keep(kept: OrderedDict[str, Kept], limit: int, name: str, value: Kept) -> None:
    kept[name] = value
    if len(kept) > limit:
        kept.popitem(last=False)


def trace_of(event: Event) -> Trace | None:
    """The trace that this event is; None where it is none, or none that a caller of this API waits for."""
    fact = event.data
    match fact:
        case Queued():
            return _trace(event, {"number": fact.number, "name": fact.name}, status=Status.QUEUED)
        case AbortRequested() if fact.attempt is None:  # aborted in the same breath, by the event right behind
            return _trace(event, status=Status.ABORTED, sequence=event.sequence + 1)
        case AbortRequested():
            return _trace(event, status=Status.ABORT_REQUESTED)
        case PipelineRegistered() | EntryRegistered() | TwinRemoved():
            return _trace(event, {"version": fact.version})
        case BatchOpened():
            return _trace(event, {"versions": fact.versions})
        case SubmitJoined():
            return _joined(event, fact)
        case Held() | Unheld() | LabelsChanged() | JobOpened():
            return _trace(event)
        case CommandRejected():
            return _trace(event, {"refused": fact.refusal})
        case CommandRepeated():
            return _trace(event, outcome=fact.first, repeated=True, same_body=fact.same_body)
        case CommandUnreadable() | CommandFailed() if fact.lane == "commands":
            return _trace(event, offset=fact.offset, error=fact.error)
    return None


def _joined(event: Event, fact: SubmitJoined) -> Trace:
    """Answered with an execution that is there already, as a repeat is; but the answer is this command's own."""
    known = {"sequence": event.sequence, "subject": fact.execution_id, "body_digest": fact.body_digest}
    outcome = Outcome(**known, number=fact.number, name=fact.name)
    return _trace(event, outcome=outcome, repeated=True, status=Status.QUEUED)


def _trace(event: Event, told: Mapping[str, Any] = MappingProxyType({}), **known: Any) -> Trace:
    digest = getattr(event.data, "body_digest", None)
    usual: dict[str, Any] = {
        "sequence": event.sequence,
        "offset": event.cmdoffset,
        "command_id": event.commandid,
        "outcome": Outcome(sequence=event.sequence, subject=event.subject, body_digest=digest, **told),
    }
    return Trace(event.shard, **(usual | known))
