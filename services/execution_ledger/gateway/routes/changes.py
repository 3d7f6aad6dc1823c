"""Holding an execution back, releasing it, and changing its labels."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from execution_ledger.messages.commands import ChangeLabels, Hold, Unhold
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.parts import LABELS_MAX

from ..edge.http import StrictRoute
from ..edge.problems import Refused, refused
from ..reads.job_views import too_many_labels
from ..reads.references import execution_id, found_or_caught_up
from ..writes.answering import TheWrite, Writing
from ..writes.answers import ChangedAnswer, ReceivedAnswer
from ..writes.commands import unknown_execution
from ..writes.requests import HoldRequest, LabelRequest
from ..writes.sending import Answer
from .aborts import look_for_forgotten

router = APIRouter(prefix="/v1/executions", tags=["executions"], route_class=StrictRoute)

_NO_REASON = HoldRequest()
_CHANGED: dict[int | str, dict[str, Any]] = {
    202: {"model": ReceivedAnswer, "description": "Safe in the log; the ledger has not decided yet"}
}


@router.post("/{reference}/hold", responses=_CHANGED)
async def hold(reference: str, write: TheWrite, body: HoldRequest = _NO_REASON) -> ChangedAnswer | ReceivedAnswer:
    """Keeps what waits from being dispatched, until somebody releases it. It does not expire in the queue meanwhile."""
    return await _hold_or_release(Hold, reference, write, body)


@router.post("/{reference}/release", responses=_CHANGED)
async def release(reference: str, write: TheWrite, body: HoldRequest = _NO_REASON) -> ChangedAnswer | ReceivedAnswer:
    """What is held may be dispatched again; its time in the queue begins anew."""
    return await _hold_or_release(Unhold, reference, write, body)


@router.post("/{reference}/label", responses=_CHANGED)
async def label(reference: str, write: TheWrite, body: LabelRequest) -> ChangedAnswer | ReceivedAnswer:
    """Sets labels, or takes them away (null), in every state and also long after the end."""
    gateway = write.gateway
    known = await execution_id(gateway, write.caller.token, reference, None)
    row = await found_or_caught_up(gateway, shard_of(known), lambda: gateway.views.execution(known))
    if row is None:
        raise unknown_execution(reference)
    if too_many_labels(row["labels"], [key for key, value in body.labels.items() if value is not None]):
        text = f"{row['name']} would have more than {LABELS_MAX} labels. Take some away: null for each."
        raise refused("refused", text, code="too_many_labels")
    ask = gateway.commands.ask(ChangeLabels, known, body, write.actor, write.key, write.traceparent)
    return _changed(known, await ask, write)


async def _hold_or_release(
    kind: type[Hold | Unhold], reference: str, write: Writing, body: HoldRequest
) -> ChangedAnswer | ReceivedAnswer:
    gateway = write.gateway
    known = await execution_id(gateway, write.caller.token, reference, None)
    try:
        answer = await gateway.commands.ask(kind, known, body, write.actor, write.key, write.traceparent)
    except Refused as refusal:
        await look_for_forgotten(gateway, known, refusal)
        raise
    return _changed(known, answer, write)


def _changed(known: str, answer: Answer, write: Writing) -> ChangedAnswer | ReceivedAnswer:
    if answer.trace is None:
        return write.received(answer, known)
    return ChangedAnswer(id=known, position=write.written(answer.position), command_id=answer.command_id)
