"""Heartbeats: who is alive, and with what. Counted against each other, never against a clock."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from .base import Message
from .ids import ExecutionId, PipelineName
from .parts import Count, Text, Whole

# waiting: told to start, code not entered (for want of a slot, or of its confirmation) · running: code entered
# ended: the last report is sent, not yet closed
TokenPhase = Literal["waiting", "running", "ended"]


class HeldToken(Message):
    execution_id: ExecutionId
    attempt: Count
    phase: TokenPhase


class RunnerBeat(Message):
    """One per runner and interval. `inbox_offset` is the next offset it will read in its inbox partition."""

    type: Literal["runner.v1"] = "runner.v1"
    process: Text
    pool: Text = "default"
    inbox: Whole
    inbox_offset: Annotated[int, Field(ge=0, le=2**63 - 1)]
    slots: Whole
    tokens: list[HeldToken]
    offers: dict[PipelineName, str]  # pipeline -> digest of the version that it holds
    draining: bool = False
    fenced: Whole | None = None  # how often it has stopped all its work, because nobody could have heard it


class LedgerTick(Message):
    """Placement counts these. `leaving`: place my shards elsewhere at once; `refused`: these, at least."""

    type: Literal["ledger.v1"] = "ledger.v1"
    process: Text
    leaving: bool = False
    refused: list[Whole] = Field(default_factory=list)  # shards that this process cannot serve and has let go


class DispatcherTick(Message):
    type: Literal["dispatcher.v1"] = "dispatcher.v1"
    process: Text
    claim: Whole | None = None  # None: a standby
    leaving: bool = False


AnyHeartbeat = RunnerBeat | LedgerTick | DispatcherTick
HEARTBEATS: TypeAdapter[AnyHeartbeat] = TypeAdapter(Annotated[AnyHeartbeat, Field(discriminator="type")])
