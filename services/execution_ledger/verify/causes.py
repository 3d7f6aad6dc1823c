"""Each event beside the record that caused it: what was asked for or reported, and by whom, is what it says.

Only where that record is still kept, so this is for logs that begin at their beginning: the simulator's and the tests'.
Promises 5, of commands, and 3, of reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from execution_ledger.log.protocol import Record
from execution_ledger.messages.commands import COMMANDS, AnyCommand, DispatcherCommand, Submit
from execution_ledger.messages.events import (
    Aborted,
    CommandFailed,
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

from .findings import Breach
from .reasons import has_reason, must_be_taken
from .standing import Standings

M = TypeVar("M", AnyCommand, AnyReport)


def check_causes(events: Iterable[Event], commands: Iterable[Record], reports: Iterable[Record]) -> Iterator[Breach]:
    """One shard: its events in their order, and what its lanes hold."""
    asked, reported = _by_offset(COMMANDS, commands), _by_offset(REPORTS, reports)
    begun = set[tuple[str, int | None]]()  # attempts whose start was recorded
    there, standings, read_to = set[str](), Standings(), -1
    for event in events:
        command, report = asked.get(event.cmdoffset), reported.get(event.repoffset)
        passed_over = [reported[offset] for offset in range(read_to + 1, event.repoffset + 1) if offset in reported]
        yield from _not_taken(event, passed_over, standings)
        if command and event.commandid == command.command_id and isinstance(event.data, CommandRejected):
            yield from _not_done(event, event.data, command, standings, there)
        elif isinstance(command, DispatcherCommand) and event.commandid == command.command_id:
            yield from _by_whom(event, command, standings.claim)
        standings.follow(event)
        read_to = event.repoffset
        if isinstance(event.data, Queued):
            there.add(event.subject)
        elif _has_come(event) and event.subject not in there:
            what = f"command.rejected: it is not above its source's ordinal, and {event.subject} was never queued."
            yield Breach(4, event.shard, event.sequence, None, what)
        if isinstance(event.data, Started):
            begun.add((event.subject, event.data.attempt))
        if command and event.commandid == command.command_id:
            yield from _breaches(5, event, {**_differing(event, command), **_of_command(event, command)})
        elif report and event.commandid is None and _is_reported(event, report):
            has_begun = (event.subject, report.attempt) in begun
            yield from _breaches(3, event, {**_differing(event, report), **_of_report(event, report, has_begun)})


def _by_offset(kind: TypeAdapter[M], records: Iterable[Record]) -> dict[int, M]:
    found = {}
    for record in records:
        try:
            found[record.offset] = kind.validate_json(record.value or b"")
        except ValidationError:
            continue  # it is named in its own trace
    return found


def _has_come(event: Event) -> bool:
    """Told that it has come before. Those of a source come in order, so it has."""
    return isinstance(event.data, CommandRejected) and event.data.refusal.code == "not_above_ordinal"


def _is_reported(event: Event, report: AnyReport) -> bool:
    """Beside what the ledger ends by itself, because deciding raised."""
    fact = event.data
    by_itself = isinstance(fact, Quarantined) or (isinstance(fact, Failed) and fact.failure.kind == "internal")
    return event.version is not None and event.subject == report.execution_id and not by_itself


def _not_taken(event: Event, reports: Sequence[AnyReport], standings: Standings) -> Iterator[Breach]:
    """Those that were read since the event before, of which the last one may be the cause of this."""
    for report in reports:
        left_trace = report is reports[-1] and event.commandid is None and _is_of_reports(event, report)
        if not left_trace and must_be_taken(report, standings.get(report.execution_id)):
            what = f"Report {report.ordinal} of attempt {report.attempt} ({report.type}) changed nothing."
            yield Breach(3, event.shard, event.sequence, report.execution_id, what)


def _is_of_reports(event: Event, report: AnyReport) -> bool:
    fact = event.data
    return event.subject == report.execution_id or (isinstance(fact, CommandFailed) and fact.lane == "reports")


def _not_done(
    event: Event, fact: CommandRejected, command: AnyCommand, standings: Standings, there: Set[str]
) -> Iterator[Breach]:
    standing, now_ms = standings.get(event.subject), event.recordedtime
    has_ended = event.subject in there and (standing is None or standing.has_ended)
    if not has_reason(fact.refusal.code, command, standings, now_ms, has_ended=has_ended):
        what = f"command.rejected: {command.type} was refused ({fact.refusal.code}), and was possible."
        yield Breach(3, event.shard, event.sequence, None, what)


def _by_whom(event: Event, command: DispatcherCommand, newest: int) -> Iterator[Breach]:
    """Only the newest dispatcher has a say."""
    if event.version is not None and command.claim != newest:
        under = f"under claim {command.claim}, while {newest} was the shard's newest"
        what = f"What {command.actor} asked for was done {under}."
        yield Breach(6, event.shard, event.sequence, event.subject, what)


Differences = Mapping[str, tuple[Any, Any]]  # by field: what the event says, and what it should


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
