"""Business ids: unique among the live executions of a pipeline, but for those that wait for their turn. Pure."""

from __future__ import annotations

from typing import NamedTuple

from execution_ledger.messages.commands import Submit
from execution_ledger.messages.events import Fact, SubmitJoined
from execution_ledger.messages.parts import Refusal


class Ahead(NamedTuple):
    """The earliest live execution of a business id, where another one asks."""

    id: str
    number: int
    name: str


def taken(command: Submit, ahead: Ahead) -> list[Fact] | Refusal | None:
    """The answer to a Submit whose business id is taken; None where it may wait."""
    if command.if_live == "wait":
        return None
    if command.if_live == "first":
        return [
            SubmitJoined(
                execution_id=ahead.id,
                number=ahead.number,
                name=ahead.name,
                business_id=command.business_id or "",
                body_digest=command.body_digest,
                keyed=command.keyed,
            )
        ]
    return Refusal(
        code="business_id_live",
        detail=f"{ahead.name} has the business id {command.business_id!r} and has not ended. Wait for its end or abort "
        "it; or ask with `if_live`: `first` to be answered with it, `wait` to run after it.",
    )
