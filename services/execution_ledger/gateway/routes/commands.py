"""What became of a command: for callers that got "received", or no answer at all."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from execution_ledger.messages.events import decode_event
from execution_ledger.messages.parts import Outcome
from execution_ledger.messages.position import position_text

from ..edge.http import MinPosition, StrictRoute, TheCaller, TheGateway
from ..edge.problems import Away, Refused, refused
from ..gateway import Gateway
from ..stream.traces import Trace, trace_of
from ..writes.answering import written
from ..writes.answers import CommandRecord

router = APIRouter(prefix="/v1/commands", tags=["commands"], route_class=StrictRoute)

CommandId = Annotated[str, Path(max_length=255, pattern=r"^[\x21-\x7e]+$")]


@router.get("/{command_id}")
async def get_command(
    command_id: CommandId,
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    min_position: MinPosition = None,
) -> CommandRecord:
    """received (sent, not decided), accepted, rejected, or failed (the ledger could not decide it)."""
    traces = gateway.tail.traces
    waiter = traces.find(command_id)
    if waiter is not None and waiter.trace is None:
        position = written(request, gateway, caller, gateway.tail.position)
        return CommandRecord(command_id=command_id, status="received", subject=waiter.subject, position=position)
    trace = traces.first(command_id) if waiter is None else waiter.trace
    if trace is not None:
        written(request, gateway, caller, trace.position)
        return _record(command_id, trace)
    record = await _looked_up(gateway, caller.token, command_id, min_position)
    request.state.position = record.position
    return record


async def _looked_up(gateway: Gateway, token: str, command_id: str, min_position: str | None) -> CommandRecord:
    """One that this gateway sent and whose acknowledgement is missing may still be decided: never a 404 here."""
    subject = gateway.tail.traces.unconfirmed(command_id)
    try:
        return await _from_views(gateway, token, command_id, min_position)
    except (Refused, Away):
        if subject is None:
            raise
    return CommandRecord(command_id=command_id, status="received", subject=subject, error=_UNCONFIRMED)


async def _from_views(gateway: Gateway, token: str, command_id: str, min_position: str | None) -> CommandRecord:
    await gateway.reading.reach(token, min_position)
    raw = await gateway.views.command_event(command_id)
    if raw is None:
        position = await gateway.reading.include(gateway.tail.position)
        raw = await gateway.views.command_event(command_id)
    if raw is None:
        raise _unknown(command_id, position_text(position))
    event = decode_event(raw)
    trace = trace_of(event)
    if trace is None:  # a command of the dispatcher: it was done
        return CommandRecord(
            command_id=command_id,
            status="accepted",
            subject=event.subject,
            position=position_text({event.shard: event.sequence}),
        )
    return _record(command_id, trace)


def _record(command_id: str, trace: Trace) -> CommandRecord:
    outcome = trace.outcome
    return CommandRecord(
        command_id=command_id,
        status="failed" if trace.error else "rejected" if outcome.refused else "accepted",
        subject=outcome.subject,
        id=_execution_id(outcome),
        number=outcome.number,
        name=outcome.name,
        version=outcome.version,
        refusal=outcome.refused,
        error=trace.error,
        position=position_text(trace.position),
    )


def _execution_id(outcome: Outcome) -> str | None:
    return None if "/" in outcome.subject else outcome.subject


def _unknown(command_id: str, position: str) -> Refused:
    return refused(
        "unknown-command",
        f"Up to {position} no command {command_id!r} was decided. It may still be undecided if it was sent a moment "
        "ago, or while the ledger is away: ask again. The same request with the same Idempotency-Key is always safe.",
        position=position,
    )


_UNCONFIRMED = (
    "It was sent, but the log did not confirm it: it may still be decided, or never have arrived. Ask again, or send "
    "the same again with the same Idempotency-Key."
)
