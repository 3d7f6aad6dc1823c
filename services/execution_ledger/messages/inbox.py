"""Inbox: what the active dispatcher tells one runner. Everything here can be sent again without harm."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from .base import Message
from .ids import ExecutionId, Key
from .parts import Count, Mode, Options, PipelineRef, Reason, Text, Whole
from .payload import Payload
from .steps import Reusable


class InboxMessage(Message):
    """`claim` is the sending dispatcher's: a runner drops what bears a lower one than it has seen."""

    runner: Text
    claim: Whole


class Token(Message):
    execution_id: ExecutionId
    attempt: Count


class Start(InboxMessage):
    """Sent only after the attempt's `dispatched` event was read, so the attempt exists."""

    type: Literal["start.v1"] = "start.v1"
    token: Token
    name: Text
    pipeline: PipelineRef
    inputs: Payload
    properties: Payload | None = None
    twin: Text | None = None
    experiment: Key | None = None
    mode: Mode
    options: Options
    traceparent: Text | None = None
    delivery: Literal["at_most_once"] | None = None  # its code waits for Confirmed
    fenced: Whole | None = None  # as the runner's heartbeat had it: void where it has stopped its work once more since
    checkpoint: Payload | None = None  # the newest of the attempts before
    reused: Reusable | None = None  # steps that are not to run again


class Confirmed(InboxMessage):
    """The attempt's `started` event was read: code that may run at most once may begin now."""

    type: Literal["confirmed.v1"] = "confirmed.v1"
    token: Token


class Abort(InboxMessage):
    type: Literal["abort.v1"] = "abort.v1"
    token: Token
    reason: Reason | None = None


class Closed(InboxMessage):
    """The ledger has ended these attempts: forget them, and stop their code if it still runs."""

    type: Literal["closed.v1"] = "closed.v1"
    tokens: list[Token]


AnyInboxMessage = Start | Confirmed | Abort | Closed
INBOX: TypeAdapter[AnyInboxMessage] = TypeAdapter(Annotated[AnyInboxMessage, Field(discriminator="type")])
