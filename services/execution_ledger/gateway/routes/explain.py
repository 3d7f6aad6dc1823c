"""Explain: why an execution is not running, what waits where, and which runners are there.

Asked of the dispatcher as it is now, not of the views: so it is true at this moment only, and bears no position. It
includes what the caller was answered before, as every read does.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from execution_ledger.messages.explanation import Explanation, QueueReport, RunnersReport, Why
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.parts import TERMINAL, Failure
from execution_ledger.messages.position import Position

from ..edge.http import MinPosition, StrictRoute, TheCaller, TheGateway
from ..edge.problems import away
from ..gateway import Gateway
from ..reads.records import ExecutionRecord, record
from ..reads.references import execution_id, found_or_caught_up
from ..writes.commands import unknown_execution

router = APIRouter(prefix="/v1", tags=["explain"], route_class=StrictRoute)


def authorization_of(request: Request) -> str:
    """The caller's own, which the dispatcher checks again."""
    return request.headers["authorization"]


Authorization = Annotated[str, Depends(authorization_of)]


@router.get("/executions/{reference}/explain")
async def explain(
    reference: str,
    gateway: TheGateway,
    caller: TheCaller,
    authorization: Authorization,
    min_position: MinPosition = None,
) -> Explanation:
    """Why it is not running, and what to do about it; for one that runs or has ended, that."""
    known = await execution_id(gateway, caller.token, reference, min_position)
    asked = gateway.reading.asked(caller.token, min_position, shard_of(known))
    answer = await _ask(gateway, f"/explain/{known}", authorization, asked)
    if answer is not None:
        return Explanation.model_validate_json(answer)
    row = await found_or_caught_up(gateway, shard_of(known), lambda: gateway.views.execution(known))
    if row is None:
        raise unknown_execution(reference)
    return explain_record(record(row, (), ""))


@router.get("/queue")
async def queue(
    gateway: TheGateway, caller: TheCaller, authorization: Authorization, min_position: MinPosition = None
) -> QueueReport:
    """What waits, by pool, pipeline and version: how many, how long, and whether anything could run them."""
    asked = gateway.reading.asked(caller.token, min_position)
    return QueueReport.model_validate_json(_known(await _ask(gateway, "/queue", authorization, asked)))


@router.get("/runners")
async def runners(
    gateway: TheGateway, caller: TheCaller, authorization: Authorization, min_position: MinPosition = None
) -> RunnersReport:
    """The runners that are heard of: their slots, what they hold, what they offer."""
    asked = gateway.reading.asked(caller.token, min_position)
    return RunnersReport.model_validate_json(_known(await _ask(gateway, "/runners", authorization, asked)))


async def _ask(gateway: Gateway, what: str, authorization: str, position: Position) -> bytes | None:
    with gateway.reading.not_ahead(position):
        return await gateway.dispatcher.ask(what, authorization, position)


def _known(answer: bytes | None) -> bytes:
    if answer is None:
        raise away("dispatcher-away", "The active dispatcher is of another version, and knows no such question.", 10)
    return answer


def explain_record(found: ExecutionRecord) -> Explanation:
    """One that the dispatcher does not know has ended, as a rule; what is younger than that is on its way to it."""
    return Explanation(
        id=found.id,
        name=found.name,
        pipeline=found.pipeline,
        version=found.pipeline_version,
        pool=found.pool,
        status=found.status,
        since=found.ended_at or found.updated_at,
        attempt=found.attempt,
        runner=found.runner,
        reasons=[_why(found)],
    )


def _why(found: ExecutionRecord) -> Why:
    if found.status in TERMINAL:
        text = f"It has ended: {found.status}{_told(found.failure)}."
        return Why(code="ended", text=text, next=f"See its history: exledger events {found.name}")
    if found.failure:
        return Why(code="quarantined", text=f"It is set aside{_told(found.failure)}. Only a forced abort ends it.")
    return Why(code="not_seen", text="The dispatcher has not read of it yet.", next="Ask again in a moment.")


def _told(failure: Failure | None) -> str:
    return f" ({failure.kind}: {failure.message.rstrip('.')})" if failure else ""
