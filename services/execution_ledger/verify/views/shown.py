"""What the views must show, read from the events a second time: one event after the other, as people would read them.

Were the projector's own fold what its rows are compared with, a mistake in it would bless itself. Here nothing is known
of batches, of stores, or of columns that stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from execution_ledger.errors import BrokenHistory
from execution_ledger.messages.base import Message, rfc3339
from execution_ledger.messages.events import (
    TYPE_PREFIX,
    Aborted,
    AbortRequested,
    ArtifactRecorded,
    BatchOpened,
    Checkpointed,
    CommandFailed,
    CommandRejected,
    Completed,
    Dispatched,
    EntryFact,
    Event,
    Fact,
    Failed,
    Held,
    JobOpened,
    LabelsChanged,
    MetricRecorded,
    PipelineRegistered,
    Quarantined,
    Queued,
    Requeued,
    Started,
    StepChanged,
    TwinRemoved,
    Unheld,
    Warned,
    digest_of,
    log_id_of,
)
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.parts import Failure
from execution_ledger.messages.payload import Payload, json_text

Row = dict[str, Any]

_LIVE = (
    *("id", "shard", "number", "name", "pipeline", "twin", "pool", "priority", "created_at"),
    *("status", "attempt", "runner", "queued_at"),
)
_OF_THE_ATTEMPT = ("runner", "dispatched_at", "started_at", "timeout_at")
_OF_THE_HOLD = ("held_at", "held_by", "hold_reason")
_COMES_LATER = (
    *_OF_THE_ATTEMPT,
    *_OF_THE_HOLD,
    *("not_before", "ended_at", "abort_requested_by", "abort_reason", "abort_requested_at", "abort_outcome"),
    *("outputs", "failure"),
)


class Shown:
    """Each table's rows, by their keys; `follow` every event of a shard, in its order."""

    def __init__(self) -> None:
        self.executions: dict[str, Row] = {}
        self.attempts: dict[tuple[str, int], Row] = {}
        self.steps: dict[tuple[str, int, str], Row] = {}
        self.warnings: dict[tuple[str, int], Row] = {}
        self.artifacts: dict[tuple[str, int], Row] = {}
        self.metrics: dict[tuple[str, int], Row] = {}
        self.checkpoints: dict[tuple[str, int], Row] = {}
        self.pipelines: dict[tuple[str, int], Row] = {}
        self.entries: dict[tuple[str, str, int], Row] = {}
        self.batches: dict[str, Row] = {}
        self.jobs: dict[str, Row] = {}
        self.commands: dict[tuple[str, int], Row] = {}
        self.journal: dict[tuple[int, int], Row] = {}
        self.positions: dict[int, Row] = {}
        self._labels: dict[str, dict[str, str]] = {}

    @property
    def live_executions(self) -> dict[str, Row]:
        live = {one: row for one, row in self.executions.items() if row["ended_at"] is None}
        return {one: {column: row[column] for column in _LIVE} for one, row in live.items()}

    def follow(self, event: Event, raw: bytes, offset: int) -> None:
        """Raises BrokenHistory for an execution that was never queued."""
        fact, at = event.data, _time(event.recordedtime)
        self._note(event, raw, offset, at)
        if event.version is not None:
            self._go_on(event, fact, raw, at)
        for kind, show in _SHOWN.items():
            if isinstance(fact, kind):
                show(self, event, fact, at)

    def _note(self, event: Event, raw: bytes, offset: int, at: datetime | None) -> None:
        """How far the views have come, the journal, and what came of commands."""
        self.positions[event.shard] = {
            "kafka_offset": offset,
            "sequence": event.sequence,
            "digest": digest_of(raw),
            "log_id": log_id_of(event),
            "ownerepoch": event.ownerepoch,
            "recorded_at": at,
        }
        place = {"shard": event.shard, "sequence": event.sequence, "subject": event.subject}
        row = place | {"type": event.type.removeprefix(TYPE_PREFIX), "recorded_at": at}
        self.journal[event.shard, event.sequence] = row | {
            "kafka_offset": offset,
            "version": event.version,
            "event": raw,
        }
        key = event.commandid or "", event.shard
        if event.commandid and key not in self.commands:
            cause, _, job = (event.causationid or "").partition("/")
            self.commands[key] = row | {
                "command_id": event.commandid,
                "job_id": job if cause == "job" else None,
                "refusal": _refusal(event.data),
            }

    # --- an execution and its attempts ------------------------------------------------------------------------------

    def _go_on(self, event: Event, fact: Fact, raw: bytes, at: datetime | None) -> None:
        one = event.subject
        if isinstance(fact, Queued):
            self.executions[one] = _queued(event, fact, at)
            self._labels[one] = dict(fact.labels)
        if (row := self.executions.get(one)) is None:
            raise BrokenHistory(f"Shard {event.shard}, sequence {event.sequence}: {one} was never queued.")
        row |= {"version": event.version, "digest": digest_of(raw), "sequence": event.sequence, "updated_at": at}
        self._change(row, event, fact, at)

    def _change(self, row: Row, event: Event, fact: Fact, at: datetime | None) -> None:
        one = event.subject
        match fact:
            case Dispatched():
                place = {"runner": fact.runner, "dispatched_at": at}
                row |= place | {"attempt": fact.attempt, "timeout_at": _time(fact.timeout_at)}
                self._attempt(one, fact.attempt, status="dispatched", **place)
            case Started():
                place = {"runner": fact.runner, "started_at": at}
                row |= place | {"timeout_at": _time(fact.timeout_at) or row["timeout_at"]}
                row["status"] = "abort_requested" if row["status"] == "abort_requested" else "started"
                self._attempt(one, fact.attempt, status="started", origin=_json(fact.origin), **place)
            case Requeued():
                row |= dict.fromkeys(_OF_THE_ATTEMPT)
                row |= {"status": "queued", "queued_at": at, "not_before": _time(fact.not_before)}
                row["losses"] += fact.cause == "lost"
                self._over(one, fact, "requeued", fact.cause, at, fact.failure)
            case Held():
                row |= {"held_at": at, "held_by": event.actor, "hold_reason": _text(event.reason)}
            case Unheld():
                row |= dict.fromkeys(_OF_THE_HOLD)
            case AbortRequested():
                row["status"] = "abort_requested"
                _asked_to_abort(row, event, at)
            case Aborted():
                _asked_to_abort(row, event, at)  # somebody may end it without having asked before
                self._end(row, fact, "aborted", fact.outcome, at, abort_outcome=fact.outcome)
            case Completed():
                outputs = _inline(fact.outputs)
                self._end(row, fact, "completed", None, at, outputs=outputs, abort_outcome=fact.abort)
            case Failed():
                failure = fact.failure.model_dump_json(exclude_none=True)
                self._end(row, fact, "failed", fact.failure.kind, at, failure=failure, abort_outcome=fact.abort)
            case Quarantined():
                row["failure"] = Failure(kind="quarantined", message=fact.error).model_dump_json(exclude_none=True)

    def _end(
        self,
        row: Row,
        fact: Aborted | Completed | Failed,
        status: str,
        cause: str | None,
        at: datetime | None,
        **last: str | None,
    ) -> None:
        row |= dict.fromkeys(_OF_THE_HOLD) | {"status": status, "ended_at": at} | last
        self._over(row["id"], fact, status, cause, at, fact.failure if isinstance(fact, Failed) else None)

    def _over(
        self, one: str, fact: Any, status: str, cause: str | None, at: datetime | None, failure: Failure | None
    ) -> None:
        if fact.attempt is not None:
            message = {"message": _text(failure.message)} if failure else {}
            self._attempt(one, fact.attempt, status=status, cause=_text(cause), ended_at=at, **message)

    def _attempt(self, one: str, attempt: int, **said: Any) -> None:
        empty = dict.fromkeys(("runner", "cause", "message", "dispatched_at", "started_at", "ended_at", "origin"))
        row = self.attempts.setdefault((one, attempt), {"execution_id": one, "attempt": attempt, **empty})
        row |= said

    # --- what code says -------------------------------------------------------------------------------------------

    def _warned(self, event: Event, fact: Warned, at: datetime | None) -> None:
        warning = {"time": rfc3339(event.recordedtime), "attempt": fact.attempt, "message": fact.message}
        warning |= {"step": fact.step} if fact.step else {}
        row = {"execution_id": event.subject, "sequence": event.sequence, "warning": json_text(warning)}
        self.warnings[event.subject, event.sequence] = row

    def _artifact(self, event: Event, fact: ArtifactRecorded, at: datetime | None) -> None:
        row = _recorded(event, fact, at) | {"kind": fact.kind, "name": fact.name, "step": fact.step}
        file = {"sha256": fact.file.sha256, "size": fact.file.size, "media_type": fact.file.media_type}
        self.artifacts[event.subject, event.sequence] = row | file

    def _metric(self, event: Event, fact: MetricRecorded, at: datetime | None) -> None:
        row = _recorded(event, fact, at) | {"name": fact.name, "step": fact.step}
        self.metrics[event.subject, event.sequence] = row | {"value": fact.value, "values": fact.values}

    def _checkpoint(self, event: Event, fact: Checkpointed, at: datetime | None) -> None:
        self.checkpoints[event.subject, event.sequence] = _recorded(event, fact, at) | {"size": fact.value.size}

    def _step(self, event: Event, fact: StepChanged, at: datetime | None) -> None:
        key = event.subject, fact.attempt, fact.step
        empty = dict.fromkeys(("started_at", "ended_at", "failure", "origin"))
        place = {"execution_id": event.subject, "attempt": fact.attempt, "step": fact.step}
        row = self.steps.setdefault(key, {**place, **empty})
        row |= {"status": fact.status, "tries": fact.tries, "sequence": event.sequence, "reused": fact.reused}
        if fact.status == "started":
            row["started_at"] = row["started_at"] or at  # of the first try
        else:
            row["ended_at"] = at
        row["failure"] = _json(fact.failure) or row["failure"]
        row["origin"] = _json(fact.origin) or row["origin"]

    # --- what is asked for by people --------------------------------------------------------------------------------

    def _relabel(self, event: Event, fact: LabelsChanged, at: datetime | None) -> None:
        if (labels := self._labels.get(event.subject)) is not None:
            for key in fact.removed:
                labels.pop(key, None)
            labels.update(fact.labels)
            self.executions[event.subject]["labels"] = _sorted(labels)

    def _pipeline(self, event: Event, fact: PipelineRegistered, at: datetime | None) -> None:
        row = {"name": fact.pipeline, "version": fact.version, "digest": fact.digest}
        row |= {"definition": _inline(fact.definition), "registered_at": at, "registered_by": event.actor}
        self.pipelines[fact.pipeline, fact.version] = row

    def _entry(self, event: Event, fact: EntryFact, at: datetime | None) -> None:
        """What was removed has neither."""
        gone = isinstance(fact, TwinRemoved)
        noun, key = event.subject.split("/", 1)
        content = {name: None if gone else getattr(fact, name) for name in ("digest", "definition")}
        row = {"noun": noun, "key": key, "version": fact.version, "digest": content["digest"]}
        row |= {"definition": _inline(content["definition"]), "registered_at": at, "registered_by": event.actor}
        self.entries[noun, key, fact.version] = row

    def _batch(self, event: Event, fact: BatchOpened, at: datetime | None) -> None:
        self.batches[fact.batch_id] = _opened(event, fact, at) | {
            "id": fact.batch_id,
            "linked_to": fact.link.to if fact.link else None,
            "link": fact.link.how if fact.link else None,
        }

    def _job(self, event: Event, fact: JobOpened, at: datetime | None) -> None:
        shards = sorted(shard_of(target) for target in fact.targets.value())
        self.jobs[fact.job_id] = _opened(event, fact, at) | {
            "id": fact.job_id,
            "action": fact.action,
            "shards": json_text({str(shard): shards.count(shard) for shard in dict.fromkeys(shards)}),
            "targets_digest": fact.targets.sha256,
            "arguments": _inline(fact.arguments),
            "reason": _text(event.reason),
        }


_SHOWN: Mapping[type[Fact], Callable[[Shown, Event, Any, datetime | None], None]] = {
    Warned: Shown._warned,
    ArtifactRecorded: Shown._artifact,
    MetricRecorded: Shown._metric,
    Checkpointed: Shown._checkpoint,
    StepChanged: Shown._step,
    LabelsChanged: Shown._relabel,
    PipelineRegistered: Shown._pipeline,
    EntryFact: Shown._entry,
    BatchOpened: Shown._batch,
    JobOpened: Shown._job,
}


def _queued(event: Event, fact: Queued, at: datetime | None) -> Row:
    source = fact.origin.source if fact.origin else None
    of, _, batch = (source or "").partition("/")
    same = ("number", "name", "twin", "mode", "priority", "pool", "body_digest", "business_id")
    return {
        **{name: getattr(fact, name) for name in same},
        **dict.fromkeys(_COMES_LATER),
        "id": event.subject,
        "shard": event.shard,
        "pipeline": fact.pipeline.name,
        "pipeline_version": fact.pipeline.version,
        "pipeline_digest": fact.pipeline.digest,
        "options": fact.options.model_dump_json(),
        "inputs": _inline(fact.inputs),
        "properties": _inline(fact.properties),
        "labels": _sorted(fact.labels),
        "batch_id": batch if of == "batch" else None,
        "created_by": event.actor,
        "reason": _text(event.reason),
        "created_at": at,
        "queued_at": at,
        "policy": fact.policy.model_dump_json(exclude_none=True),
        "linked_to": fact.link.to if fact.link else None,
        "link": fact.link.how if fact.link else None,
        "template": fact.template,
        "experiment": fact.experiment,
        "source": source,
        "steps": json_text(fact.steps) if fact.steps else None,
        "status": "queued",
        "attempt": 0,
        "losses": 0,
    }


def _asked_to_abort(row: Row, event: Event, at: datetime | None) -> None:
    if row["abort_requested_at"] is None:  # else it was somebody before
        row |= {"abort_requested_by": event.actor, "abort_reason": _text(event.reason), "abort_requested_at": at}


def _recorded(event: Event, fact: Any, at: datetime | None) -> Row:
    return {"execution_id": event.subject, "sequence": event.sequence, "attempt": fact.attempt, "recorded_at": at}


def _opened(event: Event, fact: BatchOpened | JobOpened, at: datetime | None) -> Row:
    place = {"shard": event.shard, "sequence": event.sequence, "opened_at": at, "actor": event.actor}
    return place | {"count": fact.count, "body_digest": fact.body_digest}


def _refusal(fact: Fact) -> str | None:
    if isinstance(fact, CommandFailed):
        return "internal"
    return _text(fact.refusal.code) if isinstance(fact, CommandRejected) else None


def _sorted(labels: Mapping[str, str]) -> list[str]:
    return sorted(f"{key}={value}" for key, value in labels.items())


def _time(time_ms: int | None) -> datetime | None:
    if time_ms is None:
        return None
    seconds, rest_ms = divmod(time_ms, 1_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ms * 1_000)


def _text(text: str | None) -> str | None:
    """Postgres holds no U+0000."""
    return text and text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _inline(payload: Payload | None) -> str | None:
    return _text(payload.inline) if payload else None


def _json(message: Message | None) -> str | None:
    return _text(message.model_dump_json(exclude_none=True)) if message else None
