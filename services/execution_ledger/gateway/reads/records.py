"""What readers get: executions, pipelines and events, and how a row of the views becomes a record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from execution_ledger.messages.base import Message, Time
from execution_ledger.messages.catalog import Entry, Experiment, Template, Twin
from execution_ledger.messages.definition import Definition
from execution_ledger.messages.parts import Failure, Mode, Options, Policy, Status
from execution_ledger.messages.steps import CodeOrigin

from ..stream.catalog import Registered
from ..stream.entries import KnownEntry
from .recorded import ArtifactRecord


class PipelineRecord(Message):
    name: str
    version: int
    digest: str
    definition: Definition
    registered_at: Time
    registered_by: str | None


class PipelineAt(PipelineRecord):
    position: str


class PipelinePage(Message):
    items: list[PipelineRecord]
    next: str | None
    position: str


class EntryRecord(Message):
    """A template, a twin or an experiment, in its newest version."""

    key: str
    version: int
    digest: str
    definition: Entry
    registered_at: Time
    registered_by: str | None

    @classmethod
    def of(cls, known: KnownEntry, **more: Any) -> Self:
        return cls(
            key=known.key,
            version=known.version,
            digest=known.digest,
            definition=known.definition,
            registered_at=known.registered_ms,
            registered_by=known.registered_by,
            **more,
        )


class TemplateRecord(EntryRecord):
    definition: Template


class TemplateAt(TemplateRecord):
    position: str


class TemplatePage(Message):
    items: list[TemplateRecord]
    next: str | None
    position: str


class TwinRecord(EntryRecord):
    definition: Twin


class TwinAt(TwinRecord):
    """`properties` are what a run on it gets: its values over its template's defaults."""

    properties: dict[str, Any]
    position: str


class TwinPage(Message):
    items: list[TwinRecord]
    next: str | None
    position: str


class ExperimentRecord(EntryRecord):
    definition: Experiment


class ExperimentAt(ExperimentRecord):
    position: str


class ExperimentPage(Message):
    items: list[ExperimentRecord]
    next: str | None
    position: str


class AttemptRecord(Message):
    """Its times count from `queued_at`: its execution's creation, or the end of the attempt before.

    `waiting_ms` goes on to its start (or its end, where it never started), `execution_ms` from there to its end.
    `origin` is the checkout of the code that ran; null where that has steps, which have one each.
    """

    attempt: int
    status: str
    runner: str | None
    cause: str | None
    message: str | None
    queued_at: Time
    dispatched_at: Time | None
    started_at: Time | None
    ended_at: Time | None
    waiting_ms: int | None
    execution_ms: int | None
    total_ms: int | None
    origin: CodeOrigin | None


class StepRecord(Message):
    """A step as it stands in an attempt: pending, started, completed, failed, skipped or aborted.

    `failure` says why it failed, or why the try before its last one did. `reused` is the execution whose outputs it
    took over instead of running. `origin` is the checkout of the code that ran.
    """

    attempt: int
    name: str
    status: str
    needs: list[str]
    tries: int
    started_at: Time | None
    ended_at: Time | None
    failure: Failure | None
    reused: str | None
    origin: CodeOrigin | None


class AbortRecord(Message):
    """Who asked for an abort and what came of it; until then `outcome` is null, and `took_ms`, from request to end."""

    requested_by: str | None
    reason: str | None
    requested_at: Time | None
    outcome: str | None
    took_ms: int | None


class HoldRecord(Message):
    """Who keeps it from being dispatched, and why."""

    by: str | None
    reason: str | None
    at: Time


class LinkedRecord(Message):
    """One that was made from this one: `link` is retry or rerun."""

    id: str
    name: str
    link: str
    status: Status
    created_at: Time


class CheckpointRecord(Message):
    """The newest: which attempt said it, its size in bytes, and when the ledger wrote it down."""

    attempt: int
    size: int
    time: Time


class ExecutionSummary(Message):
    """One line of a list: everything but payloads. Times are the ledger's.

    `link` says what it is of `linked_to`, the execution that it was made from: retry, or rerun. Else both are null.
    `trigger` is the kind of what asked for it: caller, or batch. Which batch is `source`; which caller, `created_by`.
    `waiting_ms` is from its creation to the start of the newest attempt (or its end, where that never started),
    `execution_ms` from that start to its end, `total_ms` from its creation to its end: the sum of both. So what earlier
    attempts ran is in `waiting_ms`; the record has the times of all attempts together beside it. `why` is the beginning
    of the message that it failed with, or of the reason that its abort was asked for with.
    """

    id: str
    number: int
    name: str
    pipeline: str
    pipeline_version: int
    twin: str | None
    mode: Mode
    labels: dict[str, str]
    priority: int
    pool: str
    batch_id: str | None
    created_by: str | None
    status: Status
    why: str | None
    attempt: int
    runner: str | None
    losses: int
    created_at: Time
    queued_at: Time
    dispatched_at: Time | None
    started_at: Time | None
    ended_at: Time | None
    updated_at: Time
    waiting_ms: int | None
    execution_ms: int | None
    total_ms: int | None
    link: str | None
    linked_to: str | None
    held_at: Time | None
    business_id: str | None
    template: str | None
    experiment: str | None
    trigger: str
    source: str | None


class ExecutionRecord(ExecutionSummary):
    """The whole record. `version` counts its events, and `digest` is the newest one's: the head of its chain.

    `all_execution_ms` is how long all attempts together ran, `all_waiting_ms` how long none did; once it has ended they
    add up to `total_ms`. What each attempt took is in `attempts`. `artifacts` are the first 100.
    """

    pipeline_digest: str
    all_waiting_ms: int | None
    all_execution_ms: int | None
    options: Options
    policy: Policy
    not_before: Time | None
    timeout_at: Time | None
    inputs: dict[str, Any] | None
    properties: dict[str, Any] | None
    outputs: dict[str, Any] | None
    failure: Failure | None
    warnings: list[Any]
    checkpoint: CheckpointRecord | None
    abort: AbortRecord | None
    hold: HoldRecord | None
    attempts: list[AttemptRecord]
    steps: list[StepRecord]
    linked: list[LinkedRecord]
    artifacts: list[ArtifactRecord]
    version: int
    digest: str
    position: str


PERCENTILES = ("p50", "p95", "p99")
GROUP_TIMES = ("waiting_ms", "execution_ms")
PAYLOADS = ("inputs", "properties", "outputs")


class ExecutionPage(Message):
    """`next` is the cursor of the page after this one; null on the last."""

    items: list[ExecutionSummary]
    next: str | None
    position: str


class Percentiles(Message):
    p50: float
    p95: float
    p99: float


class StatsGroup(Message):
    """`value` is null for those without a twin; times are null where no execution of the group has them yet."""

    value: str | None
    count: int
    waiting_ms: Percentiles | None
    execution_ms: Percentiles | None


class Stats(Message):
    """The largest groups, or the newest days; `left_off` says how many more there are."""

    by: str
    items: list[StatsGroup]
    left_off: int
    position: str


class EventPage(Message):
    """Events as they were written, CloudEvents 1.0, oldest first."""

    items: list[dict[str, Any]]
    next: str | None
    position: str


def summary(row: Mapping[str, Any]) -> ExecutionSummary:
    return ExecutionSummary(**_plain(row, ExecutionSummary.model_fields))


def stats_group(row: Mapping[str, Any]) -> StatsGroup:
    times = {name: row[name] and Percentiles(**dict(zip(PERCENTILES, row[name], strict=True))) for name in GROUP_TIMES}
    return StatsGroup(value=row["value"], count=row["count"], **times)


def record_json(row: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], position: str) -> bytes:
    """The whole record; payloads pass through as the text they are stored as, which may be deeper than we can parse."""
    bare = record(row, attempts, position).model_dump_json(exclude=set(PAYLOADS))
    payloads = "".join(f',"{name}":{row[name] or "null"}' for name in PAYLOADS)
    return f"{bare.removesuffix('}')}{payloads}}}".encode()


def record(row: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], position: str) -> ExecutionRecord:
    """Without its payloads."""
    json_columns = ("options", "policy", "failure", "warnings", "linked", "artifacts", "checkpoint")
    return ExecutionRecord(
        **_plain(row, ExecutionSummary.model_fields),
        **{name: json.loads(row[name]) if row[name] else None for name in json_columns},
        **{name: row[name] for name in ("pipeline_digest", "version", "digest", "all_waiting_ms", "all_execution_ms")},
        **{name: _value(row[name]) for name in ("not_before", "timeout_at")},
        **dict.fromkeys(PAYLOADS),
        abort=_abort(row),
        hold=_hold(row),
        attempts=[_attempt(attempt) for attempt in attempts],
        steps=[_step(step) for step in json.loads(row["steps"])],
        position=position,
    )


def pipeline_record(registered: Registered) -> PipelineRecord:
    return PipelineRecord(
        name=registered.ref.name,
        version=registered.ref.version,
        digest=registered.ref.digest,
        definition=registered.definition,
        registered_at=registered.registered_ms,
        registered_by=registered.registered_by,
    )


def _attempt(row: Mapping[str, Any]) -> AttemptRecord:
    origin = row["origin"] and json.loads(row["origin"])
    return AttemptRecord(**_plain(row, AttemptRecord.model_fields) | {"origin": origin})


def _step(found: Mapping[str, Any]) -> StepRecord:
    return StepRecord(**{name: found[name] for name in StepRecord.model_fields})


def _abort(row: Mapping[str, Any]) -> AbortRecord | None:
    if row["abort_requested_at"] is None and row["abort_outcome"] is None:
        return None
    return AbortRecord(
        requested_by=row["abort_requested_by"],
        reason=row["abort_reason"],
        requested_at=_value(row["abort_requested_at"]),
        outcome=row["abort_outcome"],
        took_ms=row["abort_ms"],
    )


def _hold(row: Mapping[str, Any]) -> HoldRecord | None:
    if row["held_at"] is None:
        return None
    return HoldRecord(by=row["held_by"], reason=row["hold_reason"], at=_value(row["held_at"]))


def _plain(row: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: _value(row[name]) for name in names}
    if "labels" in values:
        values["labels"] = dict(label.split("=", 1) for label in values["labels"])
    return values | {
        name: str(values[name]) for name in ("id", "batch_id", "linked_to") if values.get(name) is not None
    }


def _value(value: Any) -> Any:
    return milliseconds(value) if isinstance(value, datetime) else value


def milliseconds(time: datetime) -> int:
    """Since 1970, as this project's messages hold times."""
    return round(time.timestamp() * 1000)
