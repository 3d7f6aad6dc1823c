"""What all answers to writes have in common: where to look next, and a position for the caller's next read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Response

from execution_ledger.messages.parts import Status
from execution_ledger.messages.position import Position, position_text

from ..edge.auth import Caller
from ..edge.http import IdempotencyKey, TheCaller, TheGateway, Traceparent
from ..gateway import Gateway
from .answers import ExecutionAnswer, ReceivedAnswer
from .sending import Answer

SUBMITTED: dict[int | str, dict[str, Any]] = {
    200: {"model": ExecutionAnswer, "description": "A repeat of its key: the first answer"},
    202: {"model": ReceivedAnswer, "description": "Safe in the log; the ledger has not decided yet"},
}


@dataclass(frozen=True, slots=True)
class Writing:
    """A write that has come in: who asks, by which key, and the answer that it gets."""

    gateway: Gateway
    caller: Caller
    key: str | None
    traceparent: str | None
    request: Request
    response: Response

    @property
    def actor(self) -> str:
        return self.caller.actor

    def submitted(self, answer: Answer) -> ExecutionAnswer | ReceivedAnswer:
        """What everyone hears who asks for a new execution."""
        if answer.trace is None:
            return self.received(answer, None if self.key is not None else answer.subject)
        first = answer.trace.outcome
        self.response.status_code = 200 if answer.repeated else 201
        self.response.headers["Location"] = f"/v1/executions/{first.subject}"
        return ExecutionAnswer(
            id=first.subject,
            number=first.number or 0,
            name=first.name or "",
            status=Status.QUEUED,
            position=self.written(answer.position),
            command_id=answer.command_id,
        )

    def received(self, answer: Answer, execution_id: str | None = None) -> ReceivedAnswer:
        self.response.status_code = 202
        self.response.headers["Location"] = f"/v1/commands/{answer.command_id}"
        return ReceivedAnswer(command_id=answer.command_id, id=execution_id)

    def written(self, position: Position) -> str:
        return written(self.request, self.gateway, self.caller, position)


def writing(
    request: Request,
    response: Response,
    gateway: TheGateway,
    caller: TheCaller,
    traceparent: Traceparent,
    idempotency_key: IdempotencyKey = None,
) -> Writing:
    return Writing(gateway, caller, idempotency_key, traceparent, request, response)


TheWrite = Annotated[Writing, Depends(writing)]


def written(request: Request, gateway: Gateway, caller: Caller, position: Position) -> str:
    """Notes that this token knows of the write, so that its next read includes it."""
    gateway.reading.answered(caller.token, position)
    return tell_position(request, position)


def tell_position(request: Request, position: Position) -> str:
    """The position's text, which the answer's header then bears too."""
    text = position_text(position)
    request.state.position = text
    return text
