"""Aborting: what the ledger has already forgotten is looked up in the views before anyone hears "unknown"."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from execution_ledger.messages.parts import Status
from execution_ledger.messages.position import parse_position

from ..answering import received, written
from ..answers import AbortAnswer, ReceivedAnswer
from ..gateway import Gateway
from ..http import IdempotencyKey, StrictRoute, TheCaller, TheGateway, Traceparent
from ..problems import Away, Refused, refused
from ..references import execution_id
from ..requests import AbortRequest
from ..traces import Trace

router = APIRouter(prefix="/v1/executions", tags=["executions"], route_class=StrictRoute)

_NO_REASON = AbortRequest()


@router.post(
    "/{reference}/abort",
    responses={202: {"model": ReceivedAnswer, "description": "Safe in the log; the ledger has not decided yet"}},
)
async def abort(
    reference: str,
    request: Request,
    response: Response,
    gateway: TheGateway,
    caller: TheCaller,
    traceparent: Traceparent,
    body: AbortRequest = _NO_REASON,
    key: IdempotencyKey = None,
) -> AbortAnswer | ReceivedAnswer:
    """Asks an execution to stop; one that was never dispatched is aborted at once."""
    known = await execution_id(gateway, caller.token, reference, None)
    try:
        answer = await gateway.commands.abort(known, body, caller.actor, key, traceparent)
    except Refused as refusal:
        await _look_for_forgotten(gateway, known, refusal)
        raise
    if answer.trace is None:
        return received(answer, response, known)
    return AbortAnswer(
        id=known,
        status=answer.trace.status or await _status(gateway, known, answer.trace),
        position=written(request, gateway, caller, answer.position),
        command_id=answer.command_id,
    )


async def _look_for_forgotten(gateway: Gateway, known: str, refusal: Refused) -> None:
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
