"""From facts to events: stamp the envelope, chain, encode once, fold.

All facts of one record are taken together or not at all; states are immutable, so going back costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from execution_ledger.log.protocol import Outgoing
from execution_ledger.messages import events
from execution_ledger.messages.commands import AnyCommand
from execution_ledger.messages.events import Event, Fact, digest_of, encode_event, event_id, event_source, make_event
from execution_ledger.messages.parts import MESSAGE_BYTES_MAX
from execution_ledger.messages.reports import AnyReport

from .shard import ShardState, fold


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far both lanes were read; ahead of the state while reports change nothing."""

    commands: int
    reports: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What a batch came to: a state that holds only once its events are committed."""

    state: ShardState
    cursor: Cursor
    outgoing: list[Outgoing] = field(default_factory=list)
    ignored: int = 0  # reports that changed nothing
    refused: list[str] = field(default_factory=list)  # a code for each record that was

    @property
    def size(self) -> int:
        return sum(len(record.value) for record in self.outgoing)


@dataclass(frozen=True, slots=True)
class Cause:
    """What the envelope takes from the record that caused the event."""

    time_ms: int
    command: AnyCommand | None = None
    report: AnyReport | None = None


def cursor_of(state: ShardState) -> Cursor:
    return Cursor(state.cmd_offset, state.rep_offset)


def append(decided: Decided, subject: str, facts: list[Fact], cause: Cause) -> Decided:
    """All these facts as events, or none: raising leaves `decided` as it was."""
    state, outgoing = decided.state, list[Outgoing]()
    for fact in facts:
        event = _stamp(state, decided.cursor, subject, fact, cause)
        raw = encode_event(event)
        if len(raw) > MESSAGE_BYTES_MAX:
            raise ValueError(f"{fact.TYPE} takes {len(raw)} bytes, more than the {MESSAGE_BYTES_MAX} that fit a record")
        state = fold(state, event, digest_of(raw))
        outgoing.append(Outgoing(subject.encode(), raw, _headers(event)))
    decided.outgoing.extend(outgoing)
    return Decided(state, decided.cursor, decided.outgoing, decided.ignored, decided.refused)


def _stamp(state: ShardState, cursor: Cursor, subject: str, fact: Fact, cause: Cause) -> Event:
    recorded_ms = max(state.recorded_ms, cause.time_ms)
    log_id = fact.log_id if isinstance(fact, events.ShardCreated) else state.log_id
    epoch = state.epoch + 1 if isinstance(fact, events.ShardClaimed) else state.epoch
    command, report = cause.command, cause.report
    return make_event(
        fact,
        id=event_id(state.shard, state.sequence + 1),
        source=event_source(log_id, state.shard),
        subject=subject,
        time=report.time if report else recorded_ms,
        recordedtime=recorded_ms,
        shard=state.shard,
        sequence=state.sequence + 1,
        ownerepoch=epoch,
        cmdoffset=cursor.commands,
        repoffset=cursor.reports,
        commandid=command.command_id if command else None,
        actor=command.actor if command else report.runner if report else None,
        reason=command.reason if command else getattr(report, "reason", None),
        traceparent=command.traceparent if command else report.traceparent if report else None,
        correlationid=command.correlation_id if command else None,
        causationid=command.causation_id if command else None,
        **_chain(state, subject, fact),
    )


def _chain(state: ShardState, subject: str, fact: Fact) -> dict[str, int | str | None]:
    if not fact.TYPE.startswith("execution."):
        return {}
    tracked = state.tracked(subject)
    return {"version": tracked.version + 1, "previous": tracked.previous} if tracked else {"version": 1}


def _headers(event: Event) -> tuple[tuple[str, bytes], ...]:
    wanted = (("type", event.type), ("commandid", event.commandid), ("traceparent", event.traceparent))
    return tuple((name, value.encode()) for name, value in wanted if value)
