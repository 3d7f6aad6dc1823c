"""What all answers to writes have in common: where to look next, and a position for the caller's next read."""

from __future__ import annotations

from fastapi import Request, Response

from execution_ledger.messages.position import Position, position_text

from .answers import ReceivedAnswer
from .auth import Caller
from .gateway import Gateway
from .sending import Answer


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
