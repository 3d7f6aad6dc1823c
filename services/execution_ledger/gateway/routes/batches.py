"""Batches: many executions in one request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from ..edge.http import StrictRoute, gateway_of
from ..edge.problems import Away, away
from ..gateway import Gateway
from ..reads.views import Row
from ..writes.answering import TheWrite, Writing
from ..writes.answers import BatchAnswerBody, ChildAnswer, ReceivedAnswer
from ..writes.batches import UNSURE, BatchAnswer, Child
from ..writes.requests import BatchRequest


class BatchRoute(StrictRoute):
    """One of few turns is taken before the body is read, which may be tens of megabytes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def in_turn(request: Request) -> Response:
            turns = gateway_of(request).batches
            if turns.locked():
                raise away("too-busy", "Other batches are being taken in. Send this one again in a second.")
            async with turns:
                return await handle(request)

        return in_turn


router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=BatchRoute)


BATCH_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": BatchAnswerBody, "description": "A repeat of its key: the first batch, completed"},
    202: {"model": BatchAnswerBody | ReceivedAnswer, "description": "Some or all are not decided yet"},
}


@router.post("", status_code=201, responses=BATCH_ANSWERS)
async def open_batch(body: BatchRequest, write: TheWrite) -> BatchAnswerBody | ReceivedAnswer:
    """Checked whole before anything exists. Not atomic after that: the same key completes an interrupted batch."""
    answer = await write.gateway.commands.open_batch(body.executions, write.actor, write.key, write.traceparent)
    return await opened(answer, write)


async def opened(answer: BatchAnswer, write: Writing) -> BatchAnswerBody | ReceivedAnswer:
    """What everyone hears who asks for a new batch."""
    if answer.opened.trace is None:
        return write.received(answer.opened)
    position = write.written(answer.position)
    children = await with_names(write.gateway, answer)
    write.response.status_code = _status_code(answer)
    return BatchAnswerBody(
        id=answer.batch_id,
        executions=[_child(child) for child in children],
        position=position,
        command_id=answer.opened.command_id,
    )


def _status_code(answer: BatchAnswer) -> int:
    if any(child.status == "received" for child in answer.children):
        return 202
    return 200 if answer.opened.repeated else 201


async def with_names(gateway: Gateway, answer: BatchAnswer) -> list[Child]:
    """Children of a repeat whose first answer the ledger has forgotten get it from the views, where those answer.

    Raises Away where nothing else can tell whether a child exists.
    """
    children = list(answer.children)
    if not any(child.status == "queued" and child.number is None for child in children):
        return children
    try:
        await gateway.reading.include(answer.position)
        rows = {str(row["id"]): row for row in await gateway.views.of_batch(answer.batch_id)}
    except Away:
        if any(child.refusal is not None and child.refusal.code in UNSURE for child in children):
            raise
        return children
    return [_named(child, rows) for child in children]


def _named(child: Child, rows: Mapping[str, Row]) -> Child:
    """A child that the ledger refused as one that exists, and that does not, was overtaken when it was sent first."""
    row = rows.get(child.execution_id)
    if child.number is not None or child.status != "queued":
        return child
    if row is None:
        return replace(child, status="rejected")
    return replace(child, status=row["status"], number=row["number"], name=row["name"], refusal=None)


def _child(child: Child) -> ChildAnswer:
    refusal = child.refusal if child.status == "rejected" else None
    return ChildAnswer(
        id=child.execution_id, status=child.status, number=child.number, name=child.name, refusal=refusal
    )
