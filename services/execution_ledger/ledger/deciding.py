"""From the records of a shard's lanes to decisions, one record after the other.

Every command leaves exactly one trace: its events, `command.rejected`, `command.repeated`, `command.unreadable` or
`command.failed`. A report that changes nothing is only counted. A record on which deciding, folding or encoding
raises changes nothing but leaves its trace, and the batch goes on: states are immutable, so going back is free.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import ValidationError

from execution_ledger.domain.batch import BATCH_AGE_MAX_MS, open_batch
from execution_ledger.domain.catalog import CatalogCommand, change
from execution_ledger.domain.execution import Circumstances, Decision, Execution, decide, decide_report
from execution_ledger.domain.job import open_job
from execution_ledger.domain.labels import change_labels
from execution_ledger.errors import BadRequest
from execution_ledger.log.protocol import Record, Topic
from execution_ledger.messages import events
from execution_ledger.messages.commands import (
    COMMANDS,
    AnyCommand,
    ChangeLabels,
    ClaimDispatch,
    Decline,
    DispatcherCommand,
    ExecutionCommand,
    OpenBatch,
    OpenJob,
    RegisterEntry,
    RegisterPipeline,
    RemoveTwin,
    Submit,
)
from execution_ledger.messages.events import Fact, digest_of
from execution_ledger.messages.ids import (
    CATALOG_SHARD,
    business_key,
    number_of,
    shard_of,
    shard_of_business,
    time_ms_of,
)
from execution_ledger.messages.parts import Failure, Outcome, Refusal
from execution_ledger.messages.payload import no_json, unreadable
from execution_ledger.messages.reports import REPORTS, AnyReport, ReportCheckpoint, ReportCompleted, ReportStep

from .recording import Cause, Cursor, Decided, append
from .shard import ID_AGE_MAX_MS, ID_AHEAD_MAX_MS, ShardState

UNREADABLE, INTERNAL = "unreadable", "internal"
NOT_ABOVE = "not_above_ordinal"  # of its source: it has come before
_Endless = AnyReport | DispatcherCommand  # they come again until their execution has ended
DEFECTS = frozenset({UNREADABLE, INTERNAL})  # beside the refusals' codes: what was not refused for a good reason


def decide_batch(state: ShardState, cursor: Cursor, records: Iterable[Record]) -> Decided:
    decided = Decided(state, cursor)
    for record in records:
        decided = _decide_record(decided, record)
    return decided


def _decide_record(decided: Decided, record: Record) -> Decided:
    is_command = record.lane.topic is Topic.COMMANDS
    cursor = decided.cursor
    moved = Cursor(record.offset, cursor.reports) if is_command else Cursor(cursor.commands, record.offset)
    decided = Decided(decided.state, moved, decided.outgoing, decided.ignored, decided.refused)
    try:
        message = _parse(record, is_command)
    except ValidationError as error:
        return _unreadable(decided, record, str(error))
    try:
        return _decide_message(decided, record, message)
    except Exception as error:  # noqa: BLE001 - whatever it is, this record must not stop the shard
        return _failed(decided, record, message, error)


def _parse(record: Record, is_command: bool) -> AnyCommand | AnyReport:
    value = record.value or b""
    return COMMANDS.validate_json(value) if is_command else REPORTS.validate_json(value)


def _decide_message(decided: Decided, record: Record, message: AnyCommand | AnyReport) -> Decided:
    if isinstance(message, AnyReport):
        return _decide_report(decided, record, message)
    return _decide_command(decided, record, message)


def _decide_report(decided: Decided, record: Record, report: AnyReport) -> Decided:
    if isinstance(report, ReportCompleted | ReportStep) and (wrong := unreadable(report.outputs)):
        raise BadRequest(f"The text of the outputs {wrong}. Runners of this release send none like that.")
    if isinstance(report, ReportCheckpoint) and (wrong := no_json(report.value)):
        raise BadRequest(f"The text of the checkpoint {wrong}. Runners of this release send none like that.")
    tracked = decided.state.tracked(report.execution_id)
    now_ms = max(decided.state.recorded_ms, record.time_ms)
    facts = decide_report(tracked.execution if tracked else None, report, now_ms)
    if not facts:
        return Decided(decided.state, decided.cursor, decided.outgoing, decided.ignored + 1, decided.refused)
    return append(decided, report.execution_id, facts, Cause(record.time_ms, report=report))


def _decide_command(decided: Decided, record: Record, command: AnyCommand) -> Decided:
    decision = _decision(decided.state, command, record.time_ms)
    facts = [_rejected(command, decision)] if isinstance(decision, Refusal) else decision
    decided = append(decided, command.subject, facts, Cause(record.time_ms, command=command))
    if isinstance(decision, Refusal):
        decided.refused.append(decision.code)
    return decided


def _rejected(command: AnyCommand, refusal: Refusal) -> Fact:
    """A refused child is remembered like a key, as its batch is: ordinals tell only of children that came to be."""
    child = isinstance(command, Submit) and command.origin is not None and refusal.code != NOT_ABOVE
    return events.CommandRejected(
        command=command.type, body_digest=command.body_digest, keyed=command.keyed or child, refusal=refusal
    )


def _decision(state: ShardState, command: AnyCommand, appended_ms: int) -> Decision:
    if first := state.answer(command.command_id):
        return [_repeated(command, first.outcome())]
    if refusal := _misplaced(state, command):
        return refusal
    match command:
        case RegisterPipeline() | RegisterEntry() | RemoveTwin():
            return _change(state, command)
        case ClaimDispatch():
            return _claim(state, command)
        case OpenBatch():
            return _outside_its_time(command.batch_id, ID_AGE_MAX_MS, appended_ms) or open_batch(command)
        case OpenJob():
            return _outside_its_time(command.job_id, ID_AGE_MAX_MS, appended_ms) or open_job(command)
        case ChangeLabels():
            return change_labels(command)
        case Decline():
            return command.refusal
        case Submit() if wrong := _unreadable_payload(command):
            return Refusal(code="invalid_payload", detail=f"The text of its inputs or properties {wrong}."[:2_000])
        case Submit() if refusal := _unacceptable_id(state, command, appended_ms):
            return refusal
        case _:
            tracked = state.tracked(command.execution_id)
            execution = tracked.execution if tracked else None
            return decide(execution, command, _circumstances(state, command, execution, appended_ms))


def _repeated(command: AnyCommand, first: Outcome) -> Fact:
    same_body = first.body_digest is None or command.body_digest == first.body_digest
    return events.CommandRepeated(command=command.type, same_body=same_body, first=first)


def _unreadable_payload(command: Submit) -> str | None:
    reused = (each.outputs for each in (command.reused or {}).values())
    payloads = (command.inputs, command.properties, *reused)
    return next(filter(None, map(unreadable, payloads)), None)


def _circumstances(
    state: ShardState, command: ExecutionCommand, execution: Execution | None, appended_ms: int
) -> Circumstances:
    business = execution.business if execution else None
    if isinstance(command, Submit) and command.business_id is not None:
        business = business_key(command.pipeline.name, command.business_id)
    return Circumstances(
        now_ms=max(state.recorded_ms, appended_ms),
        next_number=number_of(state.ordinal + 1, state.shard),
        claim=state.claim,
        ahead=state.ahead(business, command.execution_id),
    )


def _misplaced(state: ShardState, command: AnyCommand) -> Refusal | None:
    """Every command has one home; what came elsewhere was sent by a program that miscounts the shards."""
    if isinstance(command, Submit) and command.business_id is not None:
        key = business_key(command.pipeline.name, command.business_id)
        at_home = shard_of(command.execution_id) == state.shard == shard_of_business(key, state.shards)
    elif isinstance(command, ExecutionCommand):
        at_home = shard_of(command.execution_id) == state.shard != CATALOG_SHARD
    elif isinstance(command, CatalogCommand):
        at_home = state.shard == CATALOG_SHARD
    elif isinstance(command, OpenBatch | OpenJob):
        at_home = state.shard != CATALOG_SHARD
    else:
        at_home = True
    return None if at_home else Refusal(code="wrong_shard", detail=f"{command.subject} does not live on this shard.")


def _unacceptable_id(state: ShardState, command: Submit, appended_ms: int) -> Refusal | None:
    age_max_ms = BATCH_AGE_MAX_MS if command.origin else ID_AGE_MAX_MS
    if refusal := _outside_its_time(command.execution_id, age_max_ms, appended_ms):
        return refusal
    highest = state.sources.get(command.origin.source) if command.origin else None
    if command.origin and highest is not None and command.origin.ordinal <= highest:
        return Refusal(code=NOT_ABOVE, detail=f"{command.origin.source} is at {highest} already.")
    return None


def _outside_its_time(id_: str, age_max_ms: int, appended_ms: int) -> Refusal | None:
    """Ids are remembered for a while only, so one that may have been forgotten is refused, not decided twice."""
    age_ms = appended_ms - time_ms_of(id_)
    if age_ms > age_max_ms:
        return Refusal(code="id_too_old", detail="The id was made too long ago. Ask again: a new one will be made.")
    if age_ms < -ID_AHEAD_MAX_MS:
        return Refusal(code="id_from_future", detail="The id's time lies ahead of the log's. Set the sender's clock.")
    return None


def _change(state: ShardState, command: CatalogCommand) -> Decision:
    newest = state.catalog.get(command.subject)
    decision = change(state.catalog, command)
    if decision or newest is None:
        return decision
    first = Outcome(sequence=newest.sequence, subject=command.subject, version=newest.version)
    return [events.CommandRepeated(command=command.type, same_body=True, first=first)]


def _claim(state: ShardState, command: ClaimDispatch) -> Decision:
    """Shard 0 numbers a claim; the others take the number, if it is the newest they have seen."""
    numbering = state.shard == CATALOG_SHARD
    if numbering != (command.claim is None):
        return Refusal(code="wrong_shard", detail="A claim is numbered on shard 0, and only there.")
    claim = state.claim + 1 if command.claim is None else command.claim
    if claim <= state.claim:
        return Refusal(code="stale_claim", detail=f"Claim {claim} is not above {state.claim}.")
    return [events.DispatcherClaimed(dispatcher=command.dispatcher, claim=claim, address=command.address)]


# --- traces of what cannot be decided ---------------------------------------------------------------------------


def _unreadable(decided: Decided, record: Record, error: str) -> Decided:
    fact = events.CommandUnreadable(
        lane=_lane(record), offset=record.offset, digest=digest_of(record.value or b""), error=error[:2_000]
    )
    decided.refused.append(UNREADABLE)
    return append(decided, _own_subject(decided.state), [fact], Cause(record.time_ms))


def _failed(decided: Decided, record: Record, message: AnyCommand | AnyReport, error: Exception) -> Decided:
    """Both leave `command.failed`. A report, and what a dispatcher would ask for again and again, also ends its
    execution, or at least sets it apart; what others asked for does not.
    """
    fact = events.CommandFailed(
        lane=_lane(record),
        offset=record.offset,
        digest=digest_of(record.value or b""),
        error=f"{type(error).__name__}: {error}"[:2_000],
    )
    decided.refused.append(INTERNAL)
    cause = Cause(record.time_ms, command=None if isinstance(message, AnyReport) else message)
    decided = append(decided, _own_subject(decided.state), [fact], cause)
    return _end_after_failure(decided, record, message, fact.error) if isinstance(message, _Endless) else decided


def _end_after_failure(decided: Decided, record: Record, message: _Endless, error: str) -> Decided:
    tracked = decided.state.live.get(message.execution_id)
    if tracked is None:
        return decided
    bare = Cause(record.time_ms)  # what came with the record may be what raised
    cause = Cause(record.time_ms, report=message) if isinstance(message, AnyReport) else bare
    failure = Failure(kind="internal", message=error)
    try:
        failed = events.Failed(attempt=tracked.execution.attempt or None, failure=failure)
        return append(decided, message.execution_id, [failed], cause)
    except Exception:  # noqa: BLE001 - not even failing it works, so it is set apart
        return append(decided, message.execution_id, [events.Quarantined(error=error)], bare)


def _lane(record: Record) -> Literal["commands", "reports"]:
    return "commands" if record.lane.topic is Topic.COMMANDS else "reports"


def _own_subject(state: ShardState) -> str:
    return f"shard/{state.shard}"
