"""What a ledger did not do, and whether it had a reason: each refusal, and each report that left no trace.

A ledger that refuses too much harms nobody at once: who asked asks again, another defence ends what goes on. So it is
looked at by itself; all commands and reports must be there for it, so this is the simulator's and the tests'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

from execution_ledger.log.protocol import Record
from execution_ledger.messages.commands import (
    COMMANDS,
    AnyCommand,
    ClaimDispatch,
    Dispatch,
    DispatcherCommand,
    ExpireAttempt,
    ExpireQueued,
    Submit,
)
from execution_ledger.messages.events import CommandFailed, CommandRejected, Event, Queued
from execution_ledger.messages.ids import business_key
from execution_ledger.messages.reports import (
    REPORTS,
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportRecorded,
    ReportReleased,
    ReportStarted,
    ReportStep,
)

from ..findings import Breach
from ..folds.standing import Standing, Standings
from .causes import by_offset

_AT_ONCE = ReportStarted | ReportCompleted | ReportFailed | ReportReleased  # of a start that nothing was said of
_ENDS = ReportCompleted | ReportFailed | ReportAborted | ReportReleased


def check_reasons(events: Iterable[Event], commands: Iterable[Record], reports: Iterable[Record]) -> Iterator[Breach]:
    """One shard: its events in their order, and what its lanes hold."""
    asked, reported = by_offset(COMMANDS, commands), by_offset(REPORTS, reports)
    there, standings, read_to = set[str](), Standings(), -1
    for event in events:
        command = asked.get(event.cmdoffset)
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


def has_reason(code: str, command: AnyCommand, there: Standings, now_ms: int, *, has_ended: bool) -> bool:
    """Whether the refusal of this command is right, as far as its execution's own history tells.

    `has_ended`: its execution was there, and is over.
    """
    if isinstance(command, DispatcherCommand | ClaimDispatch) and code == "stale_claim":
        return command.claim is not None and _is_stale(command, there.claim)
    if isinstance(command, Submit):
        return code != "business_id_live" or bool(there.of_business(_business(command)))
    standing = there.get(getattr(command, "execution_id", ""))
    if code == "already_ended":
        return has_ended
    if standing is None:
        return True
    word: str = standing.state["word"]
    is_held: bool = standing.state.get("held", False)
    match code:
        case "abort_already_requested":
            return word == "abort_requested"
        case "already_held":
            return is_held
        case "not_held":
            return word == "queued" and not is_held
        case "not_waiting":
            return word != "queued"
        case "illegal_state":
            return not _is_possible(command, standing, there, now_ms)
    return True


def _is_stale(command: DispatcherCommand | ClaimDispatch, claim: int) -> bool:
    return (command.claim or 0) <= claim if isinstance(command, ClaimDispatch) else command.claim != claim


def _business(command: Submit) -> str | None:
    return None if command.business_id is None else business_key(command.pipeline.name, command.business_id)


def _is_possible(command: AnyCommand, standing: Standing, there: Standings, now_ms: int) -> bool:
    state, word = standing.state, standing.state["word"]
    match command:
        case Dispatch():
            is_next = word == "queued" and command.attempt == standing.attempt + 1
            waits = state.get("held") or now_ms < (state.get("not_before") or 0)
            return is_next and not waits and there.of_business(standing.business)[:1] in ((), (command.execution_id,))
        case ExpireQueued():
            return word == "queued" and _is_past(state["expires_at"], now_ms)
        case ExpireAttempt() if command.attempt != standing.attempt:
            return False
        case ExpireAttempt(cause="lost"):
            return word in ("dispatched", "started", "abort_requested")
        case ExpireAttempt(cause="timeout"):
            return word in ("dispatched", "started") and _is_past(state["timeout_at"], now_ms)
        case ExpireAttempt(cause="abort_grace"):
            return word == "abort_requested" and _is_past(state["grace_until"] or 0, now_ms)
    return word not in ("queued", "quarantined")


def _is_past(deadline: int | None, now_ms: int) -> bool:
    return deadline is not None and now_ms >= deadline


def must_be_taken(report: AnyReport, standing: Standing | None) -> bool:
    """Whether this report changes something. What is said of steps is not judged."""
    if standing is None or report.attempt != standing.attempt or report.ordinal <= standing.ordinal:
        return False
    if isinstance(report, ReportStep):
        return False
    match standing.state["word"]:
        case "dispatched":
            return isinstance(report, _AT_ONCE)
        case "started":
            return isinstance(report, ReportRecorded | _ENDS)
        case "abort_requested":
            is_start = isinstance(report, ReportStarted) and not standing.state["entered"]
            return is_start or isinstance(report, ReportRecorded | _ENDS)
    return False
