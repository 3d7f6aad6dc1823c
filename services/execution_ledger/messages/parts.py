"""Pieces that several messages hold, each with its caps, so that no message outgrows what Kafka takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from .base import Message
from .ids import ExecutionId, PipelineName, StepName

# One line without control characters: it ends up in table columns, headers and terminals.
Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Reason = Annotated[str, StringConstraints(max_length=2_000)]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$")]
LABELS_MAX = 32
Labels = Annotated[dict[LabelKey, Text], Field(max_length=LABELS_MAX)]
# From 1, and within the integers of Postgres: one that is too large must be refused before it is written down.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Whole = Annotated[int, Field(ge=0, le=2**31 - 1)]
Mode = Literal["experiment", "production"]

# What becomes of a Submit whose business id a live execution of its pipeline has: nothing, that execution is the
# answer, or it waits for that one's end.
IfLive = Literal["refuse", "first", "wait"]
BusinessId = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]

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

# How an abort ended: the code was never entered, it was between two attempts, its runner agreed, it was ended over the
# runner's head, its runner was lost meanwhile, or the pipeline aborted itself.
AbortOutcome = Literal["never_started", "not_running", "acknowledged", "forced", "lost", "self"]
# What a job asks of each of its targets.
JobAction = Literal["abort", "retry", "rerun", "label", "hold", "release"]
ExpiryCause = Literal["lost", "timeout", "abort_grace"]
# Why an attempt was over without an end of its execution. `failed`: by its code; `infrastructure`: before or around it.
RequeueCause = ExpiryCause | Literal["released", "failed", "infrastructure"]

DAY_MS = 86_400_000
Delivery = Literal["at_least_once", "at_most_once"]
Retries = Annotated[int, Field(ge=0, le=100)]
LongMs = Annotated[int, Field(gt=0, le=366 * DAY_MS)]
GraceMs = Annotated[int, Field(ge=0, le=3_600_000)]
DelayMs = Annotated[int, Field(ge=0, le=7 * DAY_MS)]


class Backoff(Message):
    """How long a retry waits: `first_ms`, then `factor` times as long each time, up to `max_ms` (at least `first_ms`).

    Up to the share `jitter` of it is taken off, so that what failed together is not tried again together.
    """

    model_config = ConfigDict(strict=True)

    first_ms: DelayMs = 1_000
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    max_ms: DelayMs = 60_000
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2


class Policy(Message):
    """What may happen when an attempt does not end well. Durations are milliseconds.

    Each kind of failure has its own number of retries: `retries` those of the code itself, `losses_max` lost attempts.
    """

    delivery: Delivery = "at_least_once"
    losses_max: Retries = 3
    retries: Retries = 0
    timeout_ms: LongMs | None = None  # of an attempt
    queue_ttl_ms: LongMs | None = None  # of each wait for a runner
    abort_grace_ms: GraceMs = 10_000
    timeout_retries: Retries | None = None  # None: 0
    infrastructure_retries: Retries | None = None  # None: 3
    backoff: Backoff | None = None  # None: Backoff()


class PolicyChoice(Message):
    """What a pipeline, or one request, says about its policy; None leaves the choice to who says less about it.

    It is taken as it is written: true is no number of retries.
    """

    model_config = ConfigDict(strict=True)

    delivery: Delivery | None = None
    losses_max: Retries | None = None
    retries: Retries | None = None
    timeout_ms: LongMs | None = None
    queue_ttl_ms: LongMs | None = None
    abort_grace_ms: GraceMs | None = None
    timeout_retries: Retries | None = None
    infrastructure_retries: Retries | None = None
    backoff: Backoff | None = None

    def over(self, other: PolicyChoice | None) -> PolicyChoice:
        """This choice, and the other one's where this one says nothing."""
        said = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        return (other or PolicyChoice()).model_copy(update=said)

    def contradiction(self) -> str | None:
        """What cannot be kept together, in words."""
        if self.delivery == "at_most_once" and self.retries:
            return "code that may run at most once is never retried: leave retries out, or choose at_least_once"
        return None

    def policy(self) -> Policy:
        return Policy.model_validate(self.model_dump(exclude_none=True))


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


class Link(Message):
    """What a new execution, or batch, was made from: the same again, or with changes. It had ended before."""

    how: Literal["retry", "rerun"]
    to: ExecutionId


class Failure(Message):
    """Why an execution failed. `kind` is a short stable word: user, lost, timeout, expired, internal, …"""

    kind: Annotated[str, StringConstraints(max_length=64)]
    message: Annotated[str, StringConstraints(max_length=4_000)]
    traceback: Annotated[str, StringConstraints(max_length=16_000)] | None = None
    final: Literal[True] | None = None  # the code said itself that trying again is of no use
    step: StepName | None = None  # in which it happened


class Refusal(Message):
    """Why a command was refused: `code` for programs, `detail` for people."""

    code: Annotated[str, StringConstraints(max_length=64)]
    detail: Reason

    @property
    def is_no_answer(self) -> bool:
        """Nobody remembers it: the same command may be asked again, under an id with a better time."""
        return self.code in ("id_too_old", "id_from_future")


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
