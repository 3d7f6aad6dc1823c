"""Start messages: an attempt, the newest checkpoint of those before it, and the inputs of its queued event.

Queued events are kept only as long as they fit a budget; checkpoints are not: few attempts follow another.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from execution_ledger.messages import inbox
from execution_ledger.messages.events import Aborted, Completed, Event, Failed, Queued
from execution_ledger.messages.payload import Payload

from .board import Execution

_OBJECT_BYTES = 4_000  # what a decoded event takes beside its text, roughly


class Kept(NamedTuple):
    event: Event
    size: int  # bytes


class QueuedEvents:
    """The queued events of executions that have not ended. Where they outgrow the budget the oldest used ones go."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0

    def follow(self, event: Event, size: int) -> None:
        """`size` is that of the event's record (bytes)."""
        match event.data:
            case Queued():
                self._keep(event, size + _OBJECT_BYTES)
            case Completed() | Failed() | Aborted():
                self._drop(event.subject)

    def get(self, execution_id: str) -> Event | None:
        if kept := self._kept.get(execution_id):
            self._kept.move_to_end(execution_id)
            return kept.event
        return None

    def _keep(self, event: Event, size: int) -> None:
        self._drop(event.subject)
        self._kept[event.subject] = Kept(event, size)
        self._size += size
        while self._size > self._bytes_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, execution_id: str) -> None:
        if kept := self._kept.pop(execution_id, None):
            self._size -= kept.size


def start_message(
    execution: Execution, queued: Event, claim: int, fenced: int | None, checkpoint: Payload | None = None
) -> inbox.Start:
    """`fenced` as the runner's newest heartbeat has it."""
    fact: Queued = queued.data
    return inbox.Start(
        runner=execution.runner,
        claim=claim,
        token=inbox.Token(execution_id=execution.id, attempt=execution.attempt),
        name=fact.name,
        pipeline=fact.pipeline,
        inputs=fact.inputs,
        properties=fact.properties,
        twin=fact.twin,
        experiment=fact.experiment,
        mode=fact.mode,
        options=fact.options,
        traceparent=queued.traceparent,
        delivery="at_most_once" if fact.policy.delivery == "at_most_once" else None,
        fenced=fenced,
        checkpoint=checkpoint,
        reused=fact.reused,
    )
