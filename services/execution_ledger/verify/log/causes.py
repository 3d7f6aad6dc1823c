"""Each event beside the record that caused it: what was asked for or reported, and by whom, is what it says.

As far as that record is still kept. Promises 5, of commands, and 3, of reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from execution_ledger.log.protocol import Record
from execution_ledger.messages.commands import COMMANDS, AnyCommand, Submit
from execution_ledger.messages.events import (
    Aborted,
    CommandRejected,
    CommandRepeated,
    Event,
    Failed,
    Quarantined,
    Queued,
    Started,
    SubmitJoined,
)
from execution_ledger.messages.reports import REPORTS, AnyReport, ReportAborted

from ..findings import Breach

M = TypeVar("M", AnyCommand, AnyReport)
Differences = dict[str, tuple[Any, Any]]  # by field: what the event says, and what it should


def check_causes(events: Iterable[Event], commands: Iterable[Record], reports: Iterable[Record]) -> Iterator[Breach]:
    """One shard: its events in their order, and what its lanes hold."""
    asked, reported = ({record.offset: record for record in lane} for lane in (commands, reports))
    causes = Causes()
    for event in events:
        yield from causes.check(event, asked.get(event.cmdoffset), reported.get(event.repoffset))


class Causes:
    """One shard, event by event in their order."""

    def __init__(self) -> None:
        self._begun: set[tuple[str, int | None]] = set()  # attempts whose start was recorded
        self._there: set[str] = set()
        self._recorded_ms = 0

    def follow(self, event: Event) -> None:
        """One whose cause is not looked at."""
        self._recorded_ms = event.recordedtime
        if isinstance(event.data, Queued):
            self._there.add(event.subject)
        if isinstance(event.data, Started):
            self._begun.add((event.subject, event.data.attempt))

    def check(self, event: Event, asked: Record | None, reported: Record | None) -> Iterator[Breach]:
        """Both as they lie where the event says to have read, where they are kept."""
        before_ms = self._recorded_ms
        self.follow(event)
        if _has_come(event) and event.subject not in self._there:
            what = f"command.rejected: it is not above its source's ordinal, and {event.subject} was never queued."
            yield Breach(4, event.shard, event.sequence, None, what)
        command, report = _message(COMMANDS, asked), _message(REPORTS, reported)
        if command and asked and event.commandid == command.command_id:
            differing = {**_differing(event, command), **_of_command(event, command)}
            yield from _breaches(5, event, differing | self._time(event, asked, before_ms))
        elif report and reported and event.commandid is None and _is_reported(event, report):
            has_begun = (event.subject, report.attempt) in self._begun
            differing = {**_differing(event, report), **_of_report(event, report, has_begun)}
            yield from _breaches(3, event, differing | self._time(event, reported, before_ms))

    def _time(self, event: Event, cause: Record, before_ms: int) -> Differences:
        self._recorded_ms = max(before_ms, cause.time_ms)
        return {"recordedtime": (event.recordedtime, self._recorded_ms)}


def by_offset(kind: TypeAdapter[M], lane: Iterable[Record]) -> dict[int, M]:
    return {record.offset: message for record in lane if (message := _message(kind, record))}


def _message(kind: TypeAdapter[M], record: Record | None) -> M | None:
    try:
        return kind.validate_json(record.value or b"") if record else None
    except ValidationError:
        return None  # it is named in its own trace


def _has_come(event: Event) -> bool:
    """Told that it has come before. Those of a source come in order, so it has."""
    return isinstance(event.data, CommandRejected) and event.data.refusal.code == "not_above_ordinal"


def _is_reported(event: Event, report: AnyReport) -> bool:
    """Beside what the ledger ends by itself, because deciding raised."""
    fact = event.data
    by_itself = isinstance(fact, Quarantined) or (isinstance(fact, Failed) and fact.failure.kind == "internal")
    return event.version is not None and event.subject == report.execution_id and not by_itself


def _differing(event: Event, message: AnyCommand | AnyReport) -> Differences:
    """Fields of one name mean the same, and are taken over: all but these two."""
    fact, same = event.data, type(event.data).model_fields.keys() & type(message).model_fields.keys()
    if isinstance(fact, SubmitJoined):
        same -= {"execution_id"}  # another one's
    if getattr(message, "claim", None) is None:
        same -= {"claim"}  # numbered here
    return {name: (getattr(fact, name), getattr(message, name)) for name in sorted(same)}


def _of_command(event: Event, command: AnyCommand) -> Differences:
    its_own: dict[str, tuple[Any, Any]] = {}
    if isinstance(event.data, CommandRepeated):
        first = event.data.first.body_digest
        its_own = {"same_body": (event.data.same_body, first in (None, command.body_digest))}
    elif isinstance(event.data, CommandRejected) and isinstance(command, Submit) and command.origin:
        its_own = {"keyed": (event.data.keyed, not _has_come(event))}  # a refused child is remembered like a key
    return {
        "actor": (event.actor, command.actor),
        "reason": (event.reason, command.reason),
        "traceparent": (event.traceparent, command.traceparent),
        "correlationid": (event.correlationid, command.correlation_id),
        "causationid": (event.causationid, command.causation_id),
        **its_own,
    }


def _of_report(event: Event, report: AnyReport, has_begun: bool) -> Differences:
    outcome = {}
    if isinstance(event.data, Aborted) and event.data.outcome != "self":
        entered = has_begun or (isinstance(report, ReportAborted) and report.entered)
        outcome = {"outcome": (event.data.outcome, "acknowledged" if entered else "never_started")}
    return {
        "actor": (event.actor, report.runner),
        "reason": (event.reason, getattr(report, "reason", None)),
        "traceparent": (event.traceparent, report.traceparent),
        "time": (event.time, report.time),
        **outcome,
    }


def _breaches(promise: int, event: Event, pairs: Differences) -> Iterator[Breach]:
    """The first, since the others are its wake."""
    for name, (said, wanted) in pairs.items():
        if said != wanted:
            execution = event.subject if event.version is not None else None
            what = f"{event.data.TYPE.removesuffix('.v1')}: its {name} is {said!r}, and its cause makes it {wanted!r}."
            yield Breach(promise, event.shard, event.sequence, execution, what)
            return
