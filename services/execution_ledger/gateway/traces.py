"""Traces: how a caller that waits learns what the ledger decided about its command.

Whoever sends a command expects it *before* sending, by command id; the trace may well be read before the log's
acknowledgement tells the offset. Two callers with the same key share the command id and are told apart by offset.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from execution_ledger.messages.events import (
    AbortRequested,
    BatchOpened,
    CommandFailed,
    CommandRejected,
    CommandRepeated,
    CommandUnreadable,
    Event,
    PipelineRegistered,
    Queued,
)
from execution_ledger.messages.parts import Outcome, Status

UNDECIDED_KEPT_MAX = 10_000  # commands whose callers got "received" and may ask what became of them


@dataclass(frozen=True, slots=True)
class Trace:
    """What one command left behind. `status` is its execution's right after it, where it has one."""

    shard: int
    sequence: int  # of the last event that the command caused
    offset: int
    outcome: Outcome  # the first answer, also of a repeat
    repeated: bool = False
    same_body: bool = True
    status: Status | None = None
    error: str | None = None  # the ledger could not decide

    @property
    def position(self) -> dict[int, int]:
        return {self.shard: self.sequence}


@dataclass(eq=False)
class Waiter:
    """One command on its way. Traces of the same command id gather until its own offset is known."""

    shard: int
    command_id: str
    subject: str
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
        """The acknowledgement is missing: a trace of this command id, if any was read, answers all the same."""
        if self._seen and not self._found.done():
            self._found.set_result(self._seen[0])
        return self._found.done()

    def see(self, trace: Trace) -> None:
        if self.offset is None:
            self._seen.append(trace)
        elif trace.offset == self.offset and not self._found.done():
            self._found.set_result(trace)


class Traces:
    def __init__(self) -> None:
        self._waiters: dict[str, list[Waiter]] = {}
        self._undecided: OrderedDict[int, Waiter] = OrderedDict()
        self._waiting: dict[int, int] = {}

    def waiting(self, shard: int) -> int:
        """How many commands to this shard are on their way and undecided."""
        return self._waiting.get(shard, 0)

    def expect(self, shard: int, command_id: str, subject: str) -> Waiter:
        waiter = Waiter(shard, command_id, subject)
        self._waiters.setdefault(command_id, []).append(waiter)
        self._waiting[shard] = self.waiting(shard) + 1
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """The caller is gone; one that was sent and never decided is kept for `find`, within a bound."""
        self._waiting[waiter.shard] -= 1
        if waiter.trace is None and waiter.offset is not None:
            self._undecided[id(waiter)] = waiter
            if len(self._undecided) > UNDECIDED_KEPT_MAX:
                self._drop(self._undecided.popitem(last=False)[1])
        else:
            self._drop(waiter)

    def find(self, command_id: str) -> Waiter | None:
        """One that is safe in the log, decided or not, as far as this gateway remembers."""
        return next((waiter for waiter in self._waiters.get(command_id, ()) if waiter.offset is not None), None)

    def feed(self, event: Event) -> None:
        fact = event.data
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

    def _drop(self, waiter: Waiter) -> None:
        waiters = self._waiters[waiter.command_id]
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[waiter.command_id]


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
        case PipelineRegistered():
            return _trace(event, {"version": fact.version})
        case BatchOpened():
            return _trace(event, {"versions": fact.versions})
        case CommandRejected():
            return _trace(event, {"refused": fact.refusal})
        case CommandRepeated():
            return _trace(event, outcome=fact.first, repeated=True, same_body=fact.same_body)
        case CommandUnreadable() | CommandFailed() if fact.lane == "commands":
            return _trace(event, offset=fact.offset, error=fact.error)
    return None


def _trace(event: Event, told: Mapping[str, Any] = MappingProxyType({}), **known: Any) -> Trace:
    first = Outcome(sequence=event.sequence, subject=event.subject, **told)
    usual: dict[str, Any] = {"sequence": event.sequence, "offset": event.cmdoffset, "outcome": first}
    return Trace(event.shard, **(usual | known))
