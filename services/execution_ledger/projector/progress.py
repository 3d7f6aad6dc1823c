"""One execution: what each of its events does to its row and to those of its attempts. Pure.

The stored row may be older than this batch and is not read: what a batch does not know it leaves as it is, and only
what it cannot leave to the store (who asked first, a start after a request to abort) is a rule in the store.
"""

from __future__ import annotations

from datetime import datetime
from functools import singledispatch

from execution_ledger.errors import BrokenHistory
from execution_ledger.messages.base import Message, rfc3339
from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    ArtifactRecorded,
    Checkpointed,
    Completed,
    Dispatched,
    Event,
    Fact,
    Failed,
    Held,
    MetricRecorded,
    Quarantined,
    Queued,
    Requeued,
    Started,
    StepChanged,
    Unheld,
    Warned,
)
from execution_ledger.messages.parts import Failure, Status
from execution_ledger.messages.payload import json_text

from .changes import ArtifactRow, AttemptRow, Changes, CheckpointRow, Identity, MetricRow, Progress, StepRow, WarningRow
from .columns import inline, moment, storable

_BATCH = "batch/"  # the source of a batch's executions is batch/<its id>


def apply_to_execution(event: Event, digest: str, changes: Changes) -> None:
    """`digest` is the event's own. Raises BrokenHistory where the event does not continue the execution's chain."""
    progress = _advance(event, digest, changes)
    if isinstance(event.data, Queued):
        changes.created[event.subject] = _identity(event, event.data)
    _progress(event.data, event, progress, changes)


def _identity(event: Event, fact: Queued) -> Identity:
    source = fact.origin.source if fact.origin else ""
    return Identity(
        id=event.subject,
        shard=event.shard,
        number=fact.number,
        name=fact.name,
        pipeline=fact.pipeline.name,
        pipeline_version=fact.pipeline.version,
        pipeline_digest=fact.pipeline.digest,
        twin=fact.twin,
        mode=fact.mode,
        options=fact.options.model_dump_json(),
        inputs=inline(fact.inputs),
        properties=inline(fact.properties),
        labels=sorted(f"{key}={value}" for key, value in fact.labels.items()),
        priority=fact.priority,
        pool=fact.pool,
        batch_id=source.removeprefix(_BATCH) if source.startswith(_BATCH) else None,
        created_by=event.actor,
        reason=storable(event.reason),
        body_digest=fact.body_digest,
        created_at=moment(event.recordedtime),
        policy=fact.policy.model_dump_json(exclude_none=True),
        linked_to=fact.link.to if fact.link else None,
        link=fact.link.how if fact.link else None,
        business_id=fact.business_id,
        template=fact.template,
        experiment=fact.experiment,
        source=source or None,
        steps=json_text(fact.steps) if fact.steps else None,
    )


def _advance(event: Event, digest: str, changes: Changes) -> Progress:
    """The execution's progress, moved on to this event, which must be the next in its chain."""
    progress = changes.progress.get(event.subject)
    version = event.version or 0
    known = (progress.version, progress.digest) if progress else (version - 1, event.previous)
    begins = (isinstance(event.data, Queued), event.previous is None)
    if known != (version - 1, event.previous) or begins != (version == 1, version == 1):
        raise BrokenHistory(
            f"Shard {event.shard}, sequence {event.sequence}: version {version} of {event.subject} does not continue "
            "that execution's chain."
        )
    at = moment(event.recordedtime)
    if progress is None:
        progress = Progress(event.subject, *known, version, digest, event.sequence, at)
        changes.progress[event.subject] = progress
    progress.version, progress.digest = version, digest
    progress.sequence, progress.updated_at = event.sequence, at
    return progress


@singledispatch
def _progress(fact: Fact, event: Event, progress: Progress, changes: Changes) -> None:
    raise BrokenHistory(f"{event.type} has a version, but is not part of an execution's history.")


@_progress.register
def _queued(fact: Queued, event: Event, progress: Progress, changes: Changes) -> None:
    progress.status, progress.attempt, progress.queued_at = Status.QUEUED, 0, progress.updated_at


@_progress.register
def _dispatched(fact: Dispatched, event: Event, progress: Progress, changes: Changes) -> None:
    progress.attempt, progress.runner, progress.dispatched_at = fact.attempt, fact.runner, progress.updated_at
    progress.timeout_at = _moment(fact.timeout_at)
    attempt = _attempt(progress, fact.attempt, "dispatched", changes)
    attempt.runner, attempt.dispatched_at = fact.runner, progress.updated_at


@_progress.register
def _started(fact: Started, event: Event, progress: Progress, changes: Changes) -> None:
    if progress.status is not Status.ABORT_REQUESTED:
        progress.status = Status.STARTED
    progress.runner, progress.started_at = fact.runner, progress.updated_at
    progress.timeout_at = _moment(fact.timeout_at) or progress.timeout_at
    attempt = _attempt(progress, fact.attempt, "started", changes)
    attempt.runner, attempt.started_at = fact.runner, progress.updated_at
    attempt.origin = storable(_json(fact.origin))


@_progress.register
def _warned(fact: Warned, event: Event, progress: Progress, changes: Changes) -> None:
    warning = {"time": rfc3339(event.recordedtime), "attempt": fact.attempt, "message": fact.message}
    warning |= {"step": fact.step} if fact.step else {}
    changes.warnings.append(WarningRow(event.subject, event.sequence, json_text(warning)))


@_progress.register
def _artifact(fact: ArtifactRecorded, event: Event, progress: Progress, changes: Changes) -> None:
    file = fact.file
    changes.artifacts.append(
        ArtifactRow(
            execution_id=event.subject,
            sequence=event.sequence,
            attempt=fact.attempt,
            kind=fact.kind,
            name=fact.name,
            step=fact.step,
            sha256=file.sha256,
            size=file.size,
            media_type=file.media_type,
            recorded_at=progress.updated_at,
        )
    )


@_progress.register
def _metric(fact: MetricRecorded, event: Event, progress: Progress, changes: Changes) -> None:
    changes.metrics.append(
        MetricRow(
            execution_id=event.subject,
            sequence=event.sequence,
            attempt=fact.attempt,
            name=fact.name,
            step=fact.step,
            value=fact.value,
            values=fact.values,
            recorded_at=progress.updated_at,
        )
    )


@_progress.register
def _step_changed(fact: StepChanged, event: Event, progress: Progress, changes: Changes) -> None:
    key = (event.subject, fact.attempt, fact.step)
    row = changes.steps.setdefault(key, StepRow(*key, fact.status, fact.tries, event.sequence))
    row.status, row.tries, row.sequence = fact.status, fact.tries, event.sequence
    if fact.status != "started":
        row.ended_at = progress.updated_at
    elif fact.tries == 1:
        row.started_at = progress.updated_at
    row.failure = storable(_json(fact.failure)) or row.failure
    row.reused, row.origin = fact.reused, storable(_json(fact.origin)) or row.origin


@_progress.register
def _checkpointed(fact: Checkpointed, event: Event, progress: Progress, changes: Changes) -> None:
    row = CheckpointRow(event.subject, event.sequence, fact.attempt, fact.value.size, moment(event.recordedtime))
    changes.checkpoints.append(row)


@_progress.register
def _requeued(fact: Requeued, event: Event, progress: Progress, changes: Changes) -> None:
    _end_attempt(progress, fact.attempt, "requeued", fact.cause, changes, fact.failure)
    progress.status, progress.queued_at, progress.restarted = Status.QUEUED, progress.updated_at, True
    progress.runner = progress.dispatched_at = progress.started_at = progress.timeout_at = None
    progress.not_before = _moment(fact.not_before)
    progress.losses += fact.cause == "lost"


@_progress.register
def _held(fact: Held, event: Event, progress: Progress, changes: Changes) -> None:
    progress.holding, progress.held_at = True, progress.updated_at
    progress.held_by, progress.hold_reason = event.actor, storable(event.reason)


@_progress.register
def _unheld(fact: Unheld, event: Event, progress: Progress, changes: Changes) -> None:
    _let_go(progress)


@_progress.register
def _abort_requested(fact: AbortRequested, event: Event, progress: Progress, changes: Changes) -> None:
    progress.status = Status.ABORT_REQUESTED
    _remember_abort(event, progress)


@_progress.register
def _aborted(fact: Aborted, event: Event, progress: Progress, changes: Changes) -> None:
    _remember_abort(event, progress)  # by force, or by the pipeline itself, it may come without a request before
    progress.abort_outcome = fact.outcome
    _end(progress, Status.ABORTED, fact.attempt, fact.outcome, changes)


@_progress.register
def _completed(fact: Completed, event: Event, progress: Progress, changes: Changes) -> None:
    progress.outputs, progress.abort_outcome = inline(fact.outputs), fact.abort
    _end(progress, Status.COMPLETED, fact.attempt, None, changes)


@_progress.register
def _failed(fact: Failed, event: Event, progress: Progress, changes: Changes) -> None:
    progress.failure, progress.abort_outcome = fact.failure.model_dump_json(exclude_none=True), fact.abort
    _end(progress, Status.FAILED, fact.attempt, storable(fact.failure.kind), changes, fact.failure)


@_progress.register
def _quarantined(fact: Quarantined, event: Event, progress: Progress, changes: Changes) -> None:
    progress.failure = Failure(kind="quarantined", message=fact.error).model_dump_json(exclude_none=True)


def _remember_abort(event: Event, progress: Progress) -> None:
    """The first who asked for the abort stays the one who asked."""
    if progress.abort_requested_at is None:
        progress.abort_requested_by, progress.abort_reason = event.actor, storable(event.reason)
        progress.abort_requested_at = progress.updated_at


def _end(
    progress: Progress,
    status: Status,
    attempt: int | None,
    cause: str | None,
    changes: Changes,
    failure: Failure | None = None,
) -> None:
    progress.status, progress.ended_at = status, progress.updated_at
    _let_go(progress)
    if attempt is not None:
        _end_attempt(progress, attempt, status, cause, changes, failure)


def _let_go(progress: Progress) -> None:
    progress.holding, progress.held_at, progress.held_by, progress.hold_reason = False, None, None, None


def _end_attempt(
    progress: Progress, attempt: int, status: str, cause: str | None, changes: Changes, failure: Failure | None
) -> None:
    row = _attempt(progress, attempt, status, changes)
    row.cause, row.ended_at = cause, progress.updated_at
    row.message = storable(failure.message) if failure else None


def _json(message: Message | None) -> str | None:
    return message.model_dump_json(exclude_none=True) if message else None


def _moment(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else moment(time_ms)


def _attempt(progress: Progress, attempt: int, status: str, changes: Changes) -> AttemptRow:
    row = changes.attempts.setdefault((progress.id, attempt), AttemptRow(progress.id, attempt, status))
    row.status = status
    return row
