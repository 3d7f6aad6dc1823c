"""Events in, rows out: the fold behind the views. Pure, and with `progress.py` all that knows what an event does.

A batch is folded before anything is written, so an execution costs one row however many events it had; only the
journal stays one row per event. On the way the shard's and every execution's history is checked: a projection of a
broken history would be a lie that looks like a report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import singledispatch
from typing import NamedTuple

from execution_ledger.errors import BrokenHistory
from execution_ledger.messages.events import (
    TYPE_PREFIX,
    BatchOpened,
    CommandFailed,
    CommandRejected,
    EntryRegistered,
    Event,
    Fact,
    JobOpened,
    LabelsChanged,
    PipelineRegistered,
    TwinRemoved,
    digest_of,
    event_source,
)
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.payload import json_text

from .changes import (
    BatchRow,
    Changes,
    CommandRow,
    EntryRow,
    JobRow,
    JournalRow,
    LabelRow,
    PipelineRow,
    StoredPosition,
    relabelled,
)
from .columns import inline, moment, storable
from .progress import apply_to_execution

_JOB = "job/"  # what a job sends is caused by job/<its id>


class Recorded(NamedTuple):
    """An event with its own bytes and where they are."""

    event: Event
    raw: bytes
    offset: int


def fold(shard: int, after: StoredPosition | None, batch: Sequence[Recorded], next_offset: int) -> Changes:
    """What at least one event does to views that are at `after`; `next_offset` is where the reader stands then.

    Raises BrokenHistory where the shard's or an execution's history does not go on as it must.
    """
    position = after
    journal, digests = [], []
    for recorded in batch:
        digest = digest_of(recorded.raw)
        position = _next_position(shard, position, recorded, digest)
        journal.append(_journal_row(recorded))
        digests.append(digest)
    if position is None or not batch:
        raise ValueError("An empty batch changes nothing: there is nothing to fold.")
    changes = Changes(shard, position._replace(next_offset=next_offset), journal)
    for recorded, digest in zip(batch, digests, strict=True):
        _apply(recorded.event, digest, changes)
    return changes


def _apply(event: Event, digest: str, changes: Changes) -> None:
    if event.commandid is not None and event.commandid not in changes.commands:
        changes.commands[event.commandid] = _command_row(event)
    if event.version is None:
        _record(event.data, event, changes)
    else:
        apply_to_execution(event, digest, changes)


# --- the history as a whole -------------------------------------------------------------------------------------


def _next_position(shard: int, at: StoredPosition | None, recorded: Recorded, digest: str) -> StoredPosition:
    event = recorded.event
    log_id = at.log_id if at else event.source.removesuffix(f"/{shard}").rpartition("/")[2]
    wanted = at.sequence + 1 if at else 1
    if event.shard != shard or event.source != event_source(log_id, shard):
        raise BrokenHistory(
            f"Shard {shard} of log {log_id!r} holds an event of {event.source!r}. These views belong to another log: "
            "`exledger views rebuild` makes them anew."
        )
    if event.sequence != wanted:
        raise BrokenHistory(f"Shard {shard} goes on with sequence {event.sequence} where {wanted} must come.")
    if at and event.ownerepoch < at.ownerepoch:
        raise BrokenHistory(
            f"Shard {shard}, sequence {event.sequence}: written by owner {event.ownerepoch}, although owner "
            f"{at.ownerepoch} had taken over before it."
        )
    recorded_at = moment(event.recordedtime)
    if at and recorded_at < at.recorded_at:
        raise BrokenHistory(f"Shard {shard}, sequence {event.sequence}: recordedtime goes back.")
    return StoredPosition(
        recorded.offset + 1, recorded.offset, event.sequence, digest, log_id, event.ownerepoch, recorded_at
    )


def _journal_row(recorded: Recorded) -> JournalRow:
    event = recorded.event
    return JournalRow(
        shard=event.shard,
        sequence=event.sequence,
        kafka_offset=recorded.offset,
        subject=event.subject,
        version=event.version,
        type=_short_type(event),
        recorded_at=moment(event.recordedtime),
        event=recorded.raw,
    )


def _command_row(event: Event) -> CommandRow:
    return CommandRow(
        command_id=event.commandid or "",
        shard=event.shard,
        sequence=event.sequence,
        type=_short_type(event),
        subject=event.subject,
        recorded_at=moment(event.recordedtime),
        job_id=(event.causationid or "").removeprefix(_JOB) if _is_of_job(event) else None,
        refusal=_refusal(event.data),
    )


def _is_of_job(event: Event) -> bool:
    return event.causationid is not None and event.causationid.startswith(_JOB)


def _refusal(fact: Fact) -> str | None:
    if isinstance(fact, CommandFailed):
        return "internal"
    return storable(fact.refusal.code) if isinstance(fact, CommandRejected) else None


# --- everything else --------------------------------------------------------------------------------------------


@singledispatch
def _record(fact: Fact, event: Event, changes: Changes) -> None:
    """Claims, checkpoints and the traces of refused commands have no rows beside the journal's."""


@_record.register
def _pipeline(fact: PipelineRegistered, event: Event, changes: Changes) -> None:
    definition = inline(fact.definition)
    at = moment(event.recordedtime)
    changes.pipelines.append(PipelineRow(fact.pipeline, fact.version, fact.digest, definition, at, event.actor))


@_record.register
def _entry(fact: EntryRegistered, event: Event, changes: Changes) -> None:
    definition, at = inline(fact.definition), moment(event.recordedtime)
    changes.entries.append(EntryRow(fact.NOUN, fact.key, fact.version, fact.digest, definition, at, event.actor))


@_record.register
def _removed(fact: TwinRemoved, event: Event, changes: Changes) -> None:
    at = moment(event.recordedtime)
    changes.entries.append(EntryRow(fact.NOUN, fact.key, fact.version, None, None, at, event.actor))


@_record.register
def _batch(fact: BatchOpened, event: Event, changes: Changes) -> None:
    at = moment(event.recordedtime)
    link = (fact.link.to, fact.link.how) if fact.link else (None, None)
    changes.batches.append(
        BatchRow(fact.batch_id, event.shard, event.sequence, fact.count, at, event.actor, fact.body_digest, *link)
    )


@_record.register
def _job(fact: JobOpened, event: Event, changes: Changes) -> None:
    changes.jobs.append(
        JobRow(
            id=fact.job_id,
            shard=event.shard,
            sequence=event.sequence,
            action=fact.action,
            count=fact.count,
            shards=_by_shard(fact),
            targets_digest=fact.targets.sha256,
            arguments=inline(fact.arguments),
            opened_at=moment(event.recordedtime),
            actor=event.actor,
            reason=storable(event.reason),
            body_digest=fact.body_digest,
        )
    )


def _by_shard(fact: JobOpened) -> str:
    counts = Counter(shard_of(target) for target in fact.targets.value() or ())
    return json_text({str(shard): counts[shard] for shard in sorted(counts)})


@_record.register
def _labels(fact: LabelsChanged, event: Event, changes: Changes) -> None:
    for row in _label_rows(event.subject, fact):
        if identity := changes.created.get(event.subject):
            changes.created[event.subject] = identity._replace(labels=relabelled(identity.labels, row))
        else:
            changes.labels[row.execution_id, row.key] = row


def _label_rows(execution_id: str, fact: LabelsChanged) -> Iterator[LabelRow]:
    yield from (LabelRow(execution_id, key, None) for key in fact.removed)
    yield from (LabelRow(execution_id, key, f"{key}={value}") for key, value in fact.labels.items())


def _short_type(event: Event) -> str:
    return event.type.removeprefix(TYPE_PREFIX)
