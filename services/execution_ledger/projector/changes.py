"""Changes: what one batch of a shard's events does to the views, as rows that a store can write.

Field names are column names. Times are the ledger's, as aware datetimes, because that is what columns hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import NamedTuple

from execution_ledger.messages.parts import TERMINAL, Status


class StoredPosition(NamedTuple):
    """How far a shard's views have come.

    `next_offset` is where to read on: behind any markers too, so it says nothing about `kafka_offset`, which is the
    newest event's own. `digest` is the sha256 of that event's bytes.
    """

    next_offset: int
    kafka_offset: int
    sequence: int
    digest: str
    log_id: str
    ownerepoch: int
    recorded_at: datetime


class JournalRow(NamedTuple):
    shard: int
    sequence: int
    kafka_offset: int
    subject: str
    version: int | None
    type: str
    recorded_at: datetime
    event: bytes


class Identity(NamedTuple):
    """What an execution is from its first event on, and stays."""

    id: str
    shard: int
    number: int
    name: str
    pipeline: str
    pipeline_version: int
    pipeline_digest: str
    twin: str | None
    mode: str
    options: str
    inputs: str | None
    properties: str | None
    labels: list[str]
    priority: int
    pool: str
    batch_id: str | None
    created_by: str | None
    reason: str | None
    body_digest: str | None
    created_at: datetime
    policy: str
    linked_to: str | None
    link: str | None
    business_id: str | None
    template: str | None
    experiment: str | None
    source: str | None
    steps: str | None


@dataclass(slots=True)
class Progress:
    """What a batch changed of one execution: `None` leaves a column as it is, `losses` is added.

    `known_version` and `known_digest` are those of the event before, which the stored row must bear. `restarted`: it
    went back to the queue, so what belonged to the attempt before (`runner`, `dispatched_at`, …) is void.
    """

    id: str
    known_version: int
    known_digest: str | None
    version: int
    digest: str
    sequence: int
    updated_at: datetime
    status: Status | None = None
    attempt: int | None = None
    losses: int = 0
    restarted: bool = False
    runner: str | None = None
    queued_at: datetime | None = None
    dispatched_at: datetime | None = None
    started_at: datetime | None = None
    not_before: datetime | None = None
    timeout_at: datetime | None = None
    ended_at: datetime | None = None
    abort_requested_by: str | None = None
    abort_reason: str | None = None
    abort_requested_at: datetime | None = None
    abort_outcome: str | None = None
    outputs: str | None = None
    failure: str | None = None
    holding: bool | None = None  # whether it is held from now on; only then the three below count
    held_at: datetime | None = None
    held_by: str | None = None
    hold_reason: str | None = None

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


PROGRESS = tuple(it.name for it in fields(Progress))
# The columns that change, and what of identity and progress a row of live_executions repeats.
HOT = tuple(name for name in PROGRESS if name not in ("id", "known_version", "known_digest", "restarted", "holding"))
LIVE_IDENTITY = ("id", "shard", "number", "name", "pipeline", "twin", "pool", "priority", "created_at")
LIVE_HOT = ("status", "attempt", "runner", "queued_at")


@dataclass(slots=True)
class AttemptRow:
    """`None` leaves a column as it is."""

    execution_id: str
    attempt: int
    status: str
    runner: str | None = None
    cause: str | None = None
    message: str | None = None
    dispatched_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    origin: str | None = None


@dataclass(slots=True)
class StepRow:
    """What an attempt's events say of a step; `None` leaves a column as it is. `sequence` is the newest of them.

    What no event says (pending, and what the end of its attempt closes) is worked out where it is read.
    """

    execution_id: str
    attempt: int
    step: str
    status: str
    tries: int
    sequence: int
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: str | None = None
    reused: str | None = None
    origin: str | None = None


class WarningRow(NamedTuple):
    execution_id: str
    sequence: int
    warning: str


class LabelRow(NamedTuple):
    """`label` is the key and its new value; None takes it away."""

    execution_id: str
    key: str
    label: str | None


def relabelled(labels: list[str], change: LabelRow) -> list[str]:
    others = [label for label in labels if label.partition("=")[0] != change.key]
    return sorted(others if change.label is None else [*others, change.label])


class ArtifactRow(NamedTuple):
    execution_id: str
    sequence: int
    attempt: int
    kind: str
    name: str
    step: str | None
    sha256: str
    size: int
    media_type: str
    recorded_at: datetime


class MetricRow(NamedTuple):
    execution_id: str
    sequence: int
    attempt: int
    name: str
    step: str | None
    value: float | None
    values: list[float] | None
    recorded_at: datetime


class CheckpointRow(NamedTuple):
    """`size` in bytes; the value itself stays in the journal."""

    execution_id: str
    sequence: int
    attempt: int
    size: int
    recorded_at: datetime


class PipelineRow(NamedTuple):
    name: str
    version: int
    digest: str
    definition: str | None
    registered_at: datetime
    registered_by: str | None


class EntryRow(NamedTuple):
    """A version of a template, a twin or an experiment; without digest and definition it was removed."""

    noun: str
    key: str
    version: int
    digest: str | None
    definition: str | None
    registered_at: datetime
    registered_by: str | None


@dataclass(frozen=True, slots=True)
class BatchRow:  # no tuple, because `count` is a method of those
    id: str
    shard: int
    sequence: int
    count: int
    opened_at: datetime
    actor: str | None
    body_digest: str | None
    linked_to: str | None
    link: str | None


@dataclass(frozen=True, slots=True)
class JobRow:
    id: str
    shard: int
    sequence: int
    action: str
    count: int
    shards: str
    targets_digest: str
    arguments: str | None
    opened_at: datetime
    actor: str | None
    reason: str | None
    body_digest: str | None


class CommandRow(NamedTuple):
    """`job_id` is that of the job that sent it; `refusal` is the code, where it was refused."""

    command_id: str
    shard: int
    sequence: int
    type: str
    subject: str
    recorded_at: datetime
    job_id: str | None
    refusal: str | None


@dataclass(slots=True)
class Changes:
    """`position` is where the views are once all the rest is written with it, in one transaction."""

    shard: int
    position: StoredPosition
    journal: list[JournalRow] = field(default_factory=list)
    created: dict[str, Identity] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)  # of created executions and of earlier ones
    attempts: dict[tuple[str, int], AttemptRow] = field(default_factory=dict)
    steps: dict[tuple[str, int, str], StepRow] = field(default_factory=dict)
    warnings: list[WarningRow] = field(default_factory=list)
    labels: dict[tuple[str, str], LabelRow] = field(default_factory=dict)  # of executions of earlier batches
    artifacts: list[ArtifactRow] = field(default_factory=list)
    metrics: list[MetricRow] = field(default_factory=list)
    checkpoints: list[CheckpointRow] = field(default_factory=list)
    pipelines: list[PipelineRow] = field(default_factory=list)
    entries: list[EntryRow] = field(default_factory=list)
    batches: list[BatchRow] = field(default_factory=list)
    jobs: list[JobRow] = field(default_factory=list)
    commands: dict[str, CommandRow] = field(default_factory=dict)

    def patches(self) -> list[Progress]:
        """Of executions that earlier batches created, in the order of their ids, so that locks are too."""
        return sorted((it for it in self.progress.values() if it.id not in self.created), key=lambda it: it.id)
