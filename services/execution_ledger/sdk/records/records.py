"""What a ledger answers, with types. Frozen, and open to a newer ledger: fields that this code does not know are passed
over, and words like a status are plain text, because a new one must not break who reads the others.

Times are aware datetimes of the ledger's clock; `…_ms` are milliseconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from .steps import CodeOrigin, Failure, Step, StepDefinition
from .steps import Record as Record


class ExecutionSummary(Record):
    """One line of a list: everything but payloads. `losses` are attempts whose runner went away.

    `link` is `retry` or `rerun` where it was made from another one, which `linked_to` names. `trigger` is what asked
    for it: `caller` (named by `created_by`), or `batch` (`source` says which). `waiting_ms` is from its creation to the
    start of the newest attempt (or its end, where that never started), `execution_ms` from that start to its end; so
    are those that `Client.stats` counts and a list is sorted by. What earlier attempts ran is in `waiting_ms`. `why` is
    the beginning of the message that it failed with, or of the reason that its abort was asked for with.
    """

    id: str
    number: int
    name: str
    pipeline: str
    pipeline_version: int
    twin: str | None
    mode: str
    labels: dict[str, str]
    priority: int
    pool: str
    batch_id: str | None
    created_by: str | None
    status: str
    attempt: int
    runner: str | None
    losses: int
    created_at: datetime
    queued_at: datetime
    dispatched_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    waiting_ms: int | None
    execution_ms: int | None
    total_ms: int | None
    link: str | None = None
    linked_to: str | None = None
    held_at: datetime | None = None
    business_id: str | None = None
    template: str | None = None
    experiment: str | None = None
    trigger: str | None = None
    source: str | None = None
    why: str | None = None


class Percentiles(Record):
    """Half of them took at most `p50`, 95 of 100 at most `p95`, 99 of 100 at most `p99`; in milliseconds."""

    p50: float
    p95: float
    p99: float


class StatsGroup(Record):
    """`value` is None for those without a twin; times are None where no execution of the group has them yet."""

    value: str | None
    count: int
    waiting_ms: Percentiles | None
    execution_ms: Percentiles | None


class Stats(Record):
    """The largest groups first, or the newest days; `left_off` says how many more there are."""

    by: str
    items: list[StatsGroup]
    left_off: int
    position: str


class Options(Record):
    """What the run may do."""

    train: bool
    plot: bool
    write: bool


class Backoff(Record):
    """How long a retry waits, in milliseconds."""

    first_ms: int
    factor: float
    max_ms: int
    jitter: float


class Policy(Record):
    """What happens when an attempt does not end well. Durations are milliseconds; None is the ledger's default."""

    delivery: str
    losses_max: int
    retries: int
    timeout_ms: int | None = None
    queue_ttl_ms: int | None = None
    abort_grace_ms: int
    timeout_retries: int | None = None
    infrastructure_retries: int | None = None
    backoff: Backoff | None = None


class Warned(Record):
    """What the pipeline warned of, in which step, and when the ledger wrote that down."""

    time: datetime
    attempt: int
    message: str
    step: str | None = None


class Checkpoint(Record):
    """How far the code said it had come, for the attempt that follows: who, how many bytes, and when."""

    attempt: int
    size: int
    time: datetime


class LogLine(Record):
    """A line that the code printed (`stdout`, `stderr`) or logged (`logging`, `structlog`, with a level).

    `ordinal` counts an attempt's lines from 1; of the stream `cut` is a mark in the place of lines that were not kept.
    """

    attempt: int
    ordinal: int
    time: datetime
    stream: str
    level: str | None = None
    step: str | None = None
    text: str


class Abort(Record):
    """Who asked for it; `outcome` says how it ended, once it has, and `took_ms` how long after the request."""

    requested_by: str | None
    reason: str | None
    requested_at: datetime | None
    outcome: str | None
    took_ms: int | None = None


class Hold(Record):
    """Who keeps it from being dispatched, and why."""

    by: str | None
    reason: str | None
    at: datetime


class Attempt(Record):
    """`cause` and `message` say why the next one was needed.

    Its times count from `queued_at`, its execution's creation or the end of the attempt before: `waiting_ms` to its
    start (or its end, where it never started), `execution_ms` from there to its end, `total_ms` all of it. `origin` is
    the checkout of the code that ran; None where that has steps, which have one each.
    """

    attempt: int
    status: str
    runner: str | None
    cause: str | None
    message: str | None
    queued_at: datetime | None = None
    dispatched_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    waiting_ms: int | None = None
    execution_ms: int | None = None
    total_ms: int | None = None
    origin: CodeOrigin | None = None


class Linked(Record):
    """One that was made from this one: `link` is `retry` or `rerun`."""

    id: str
    name: str
    link: str
    status: str
    created_at: datetime


class Recorded(Record):
    """A plot, table, model or file that it has recorded; `Client.artifacts` gets them as files."""

    sequence: int
    attempt: int
    kind: str
    name: str
    step: str | None
    sha256: str
    size: int
    media_type: str
    recorded_at: datetime


class Execution(ExecutionSummary):
    """The whole record. `version` counts its events, and `digest` is the newest one's: the head of its chain.

    `steps` are those of every attempt (the newest 1,000), the last attempt's last; none where it is one function.
    `linked` are the retries and reruns that were made from it, oldest first; `artifacts` the first 100. Those of its
    inputs and outputs that are files are a `File` each. `all_execution_ms` is how long all attempts together ran,
    `all_waiting_ms` how long none did; once it has ended they add up to `total_ms`.
    """

    pipeline_digest: str
    all_waiting_ms: int | None = None
    all_execution_ms: int | None = None
    options: Options
    policy: Policy
    not_before: datetime | None
    timeout_at: datetime | None
    inputs: dict[str, Any] | None
    properties: dict[str, Any] | None
    outputs: dict[str, Any] | None
    failure: Failure | None
    warnings: list[Warned]
    checkpoint: Checkpoint | None = None
    abort: Abort | None
    hold: Hold | None = None
    attempts: list[Attempt]
    steps: list[Step] = Field(default_factory=list)
    linked: list[Linked] = Field(default_factory=list)
    artifacts: list[Recorded] = Field(default_factory=list)
    version: int
    digest: str
    position: str


class Event(Record):
    """A CloudEvent as it was written; `data` holds the event's own fields.

    `position` is where a stream of events goes on behind this one; in a history there is none.
    """

    id: str
    type: str
    subject: str
    time: datetime
    recordedtime: datetime
    shard: int
    sequence: int
    version: int | None = None
    actor: str | None = None
    reason: str | None = None
    data: dict[str, Any]
    position: str | None = None


class Port(Record):
    """One input, output or property. `enum` are its only values, `min` and `max` of a number, `items` of an array."""

    type: str
    required: bool = True
    default: Any = None
    description: str | None = None
    enum: list[Any] | None = None
    min: float | None = None
    max: float | None = None
    items: str | None = None


class PolicyChoice(Record):
    """What a pipeline says about the policy of its executions; None: nothing."""

    delivery: str | None = None
    losses_max: int | None = None
    retries: int | None = None
    timeout_ms: int | None = None
    queue_ttl_ms: int | None = None
    abort_grace_ms: int | None = None
    timeout_retries: int | None = None
    infrastructure_retries: int | None = None
    backoff: Backoff | None = None


class Definition(Record):
    """What a pipeline declares; `limit` is how many of it may run at once, `template` what its twins are on."""

    inputs: dict[str, Port]
    outputs: dict[str, Port]
    any_outputs: bool = False
    limit: int | None = None
    description: str | None = None
    labels: dict[str, str] | None = None
    policy: PolicyChoice | None = None
    template: str | None = None
    steps: list[StepDefinition] | None = None


class PipelineVersion(Record):
    """One version of a pipeline, as it was registered."""

    name: str
    version: int
    digest: str
    definition: Definition
    registered_at: datetime
    registered_by: str | None


class Refusal(Record):
    """`code` is for programs, `detail` for people."""

    code: str
    detail: str


class Target(Record):
    """An execution that a job would act on."""

    id: str
    name: str
    status: str


class JobPreview(Record):
    """What a job would act on: how many, the oldest of them, and the digest that stands for all."""

    action: str
    count: int
    targets_digest: str
    sample: list[Target]
    position: str


class JobSummary(Record):
    """One line of a list: of `count` some are done, some were refused, the others wait. None waits once it ended."""

    id: str
    action: str
    status: str
    count: int
    done: int
    refused: int
    waiting: int
    created_by: str | None
    reason: str | None
    opened_at: datetime
    ended_at: datetime | None


class JobShard(Record):
    """A part of a job: what lives on one shard."""

    shard: int
    count: int
    done: int
    refused: int
    waiting: int


class JobRefusal(Record):
    """An execution with which nothing was done, and why."""

    id: str
    code: str
    detail: str = ""


class JobRecord(JobSummary):
    """`codes` counts the refusals by their code; `refusals` are the first 1,000 of them, one by one."""

    arguments: dict[str, Any]
    targets_digest: str
    codes: dict[str, int]
    shards: list[JobShard]
    refusals: list[JobRefusal]
    position: str


class Child(Record):
    """One execution of a batch as it was answered: queued (or already further), or rejected, and then why."""

    id: str
    status: str
    number: int | None = None
    name: str | None = None
    refusal: Refusal | None = None
