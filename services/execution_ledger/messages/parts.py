"""Pieces that several messages hold, each with its caps, so that no message outgrows what Kafka takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import Message
from .ids import PipelineName

# One line without control characters: it ends up in table columns, headers and terminals.
Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Reason = Annotated[str, StringConstraints(max_length=2_000)]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$")]
Labels = Annotated[dict[LabelKey, Text], Field(max_length=32)]
# From 1, and within the integers of Postgres: one that is too large must be refused before it is written down.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Whole = Annotated[int, Field(ge=0, le=2**31 - 1)]
Mode = Literal["experiment", "production"]

MESSAGE_BYTES_MAX = 900_000  # below Kafka's default max.message.bytes (1,048,588), with room for headers


class Status(StrEnum):
    """What people see; a dispatched execution is still `queued` to them."""

    QUEUED = "queued"
    STARTED = "started"
    ABORT_REQUESTED = "abort_requested"
    ABORTED = "aborted"
    FAILED = "failed"
    COMPLETED = "completed"


TERMINAL = frozenset({Status.ABORTED, Status.FAILED, Status.COMPLETED})

# How an abort ended: the code was never entered, its runner agreed, it was ended over the runner's head, its runner
# was lost meanwhile, or the pipeline aborted itself.
AbortOutcome = Literal["never_started", "acknowledged", "forced", "lost", "self"]
ExpiryCause = Literal["lost", "timeout", "abort_grace"]


class Policy(Message):
    """What may happen when an attempt does not end well. Durations are milliseconds."""

    delivery: Literal["at_least_once", "at_most_once"] = "at_least_once"
    losses_max: Annotated[int, Field(ge=0, le=100)] = 3  # lost attempts that are queued again before it fails
    retries: Annotated[int, Field(ge=0, le=100)] = 0  # failed attempts that are queued again
    timeout_ms: Annotated[int, Field(gt=0)] | None = None
    queue_ttl_ms: Annotated[int, Field(gt=0)] | None = None
    abort_grace_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 10_000


class Options(Message):
    """What a pipeline may do in this run; each mode has its defaults."""

    train: bool
    plot: bool
    write: bool


class PipelineRef(Message):
    """The very version that runs: resolved before the execution exists, and never looked up again."""

    name: PipelineName
    version: Count
    digest: Text
    limit: Count | None = None


class Origin(Message):
    """Who submits with growing ordinals: a batch now, schedules and rules later."""

    source: Text
    ordinal: Annotated[int, Field(ge=0)]


class Failure(Message):
    """Why an execution failed. `kind` is a short stable word: user, lost, internal, report_too_large, …"""

    kind: Annotated[str, StringConstraints(max_length=64)]
    message: Annotated[str, StringConstraints(max_length=4_000)]
    traceback: Annotated[str, StringConstraints(max_length=16_000)] | None = None


class Refusal(Message):
    """Why a command was refused: `code` for programs, `detail` for people."""

    code: Annotated[str, StringConstraints(max_length=64)]
    detail: Reason


class Outcome(Message):
    """The first answer to a command, remembered so that every repeat of it gets the same one."""

    sequence: int
    subject: Text
    body_digest: Text | None = None
    refused: Refusal | None = None
    number: int | None = None
    name: Text | None = None
    version: int | None = None
    versions: dict[PipelineName, PipelineRef] | None = None
