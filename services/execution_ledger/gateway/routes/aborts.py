"""Aborting: what the ledger has already forgotten is looked up in the views before anyone hears "unknown"."""

from __future__ import annotations

from fastapi import APIRouter

from execution_ledger.messages.parts import Status
from execution_ledger.messages.position import parse_position

from ..edge.http import StrictRoute
from ..edge.problems import Away, Refused, refused
from ..gateway import Gateway
from ..reads.references import execution_id
from ..stream.traces import Trace
from ..writes.answering import TheWrite
from ..writes.answers import AbortAnswer, ReceivedAnswer
from ..writes.requests import AbortRequest

router = APIRouter(prefix="/v1/executions", tags=["executions"], route_class=StrictRoute)

_NO_REASON = AbortRequest()


@router.post(
    "/{reference}/abort",
    responses={202: {"model": ReceivedAnswer, "description": "Safe in the log; the ledger has not decided yet"}},
)
async def abort(reference: str, write: TheWrite, body: AbortRequest = _NO_REASON) -> AbortAnswer | ReceivedAnswer:
    """Asks an execution to stop; one that was never dispatched is aborted at once."""
    gateway = write.gateway
    known = await execution_id(gateway, write.caller.token, reference, None)
    try:
        answer = await gateway.commands.abort(known, body, write.actor, write.key, write.traceparent)
    except Refused as refusal:
        await look_for_forgotten(gateway, known, refusal)
        raise
    if answer.trace is None:
        return write.received(answer, known)
    return AbortAnswer(
        id=known,
        status=answer.trace.status or await _status(gateway, known, answer.trace),
        position=write.written(answer.position),
        command_id=answer.command_id,
    )


async def look_for_forgotten(gateway: Gateway, known: str, refusal: Refused) -> None:
    """The ledger forgets an execution some minutes after its end. Raises what is true instead of "unknown"."""
    problem = refusal.problem
    if problem.kind != "unknown-execution" or "position" not in problem.more:
        return
    await gateway.reading.include(parse_position(problem.more["position"]))
    row = await gateway.views.execution(known)
    if row is not None:
        more = {**problem.more, "code": "already_ended"}
        raise refused("refused", f"Execution {row['name']} has already ended: it is {row['status']}.", **more)


async def _status(gateway: Gateway, known: str, repeat: Trace) -> Status:
    """A repeat is told how the execution stands now; without the views, what the first was told at least."""
    try:
        await gateway.reading.include(repeat.position)
        row = await gateway.views.execution(known)
    except Away:
        row = None
    return Status.ABORT_REQUESTED if row is None else Status(row["status"])
