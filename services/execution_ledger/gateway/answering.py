"""What all answers to writes have in common: where to look next, and a position for the caller's next read."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from execution_ledger.messages.parts import Status
from execution_ledger.messages.position import Position, position_text

from .answers import ExecutionAnswer, ReceivedAnswer
from .auth import Caller
from .gateway import Gateway
from .sending import Answer

SUBMITTED: dict[int | str, dict[str, Any]] = {
    200: {"model": ExecutionAnswer, "description": "A repeat of its key: the first answer"},
    202: {"model": ReceivedAnswer, "description": "Safe in the log; the ledger has not decided yet"},
}


def submitted(
    answer: Answer, keyed: bool, request: Request, response: Response, gateway: Gateway, caller: Caller
) -> ExecutionAnswer | ReceivedAnswer:
    """What everyone hears who asks for a new execution."""
    if answer.trace is None:
        return received(answer, response, None if keyed else answer.subject)
    first = answer.trace.outcome
    response.status_code = 200 if answer.repeated else 201
    response.headers["Location"] = f"/v1/executions/{first.subject}"
    return ExecutionAnswer(
        id=first.subject,
        number=first.number or 0,
        name=first.name or "",
        status=Status.QUEUED,
        position=written(request, gateway, caller, answer.position),
        command_id=answer.command_id,
    )


def received(answer: Answer, response: Response, execution_id: str | None = None) -> ReceivedAnswer:
    response.status_code = 202
    response.headers["Location"] = f"/v1/commands/{answer.command_id}"
    return ReceivedAnswer(command_id=answer.command_id, id=execution_id)


def written(request: Request, gateway: Gateway, caller: Caller, position: Position) -> str:
    """Notes that this token knows of the write, so that its next read includes it."""
    gateway.reading.answered(caller.token, position)
    return tell_position(request, position)


def tell_position(request: Request, position: Position) -> str:
    """The position's text, which the answer's header then bears too."""
    text = position_text(position)
    request.state.position = text
    return text
