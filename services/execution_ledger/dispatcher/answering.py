"""Answering the gateway's questions: what only the active dispatcher knows.

`/explain/ID/POSITION`, `/queue/POSITION` and `/runners/POSITION`: an answer includes at least the events up to that
position, which may be empty. So who has just held an execution never reads that it waits for a slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from pydantic import BaseModel

from execution_ledger.answering import Reply, problem
from execution_ledger.errors import BadRequest
from execution_ledger.lifecycle import Signal
from execution_ledger.messages.position import Position, covers, parse_position, position_text

from .desk import Desk
from .explain import explain
from .overview import queue_report, runners_report

BEHIND_S_MAX = 1.0  # the gateway waits for two


class Answers:
    """`position` tells how far was read; `moved` is fired whenever that is further, and decided upon."""

    def __init__(self, desk: Desk, position: Callable[[], Position]) -> None:
        self.moved = Signal()
        self._desk, self._position = desk, position

    async def answer(self, path: str) -> Reply:
        what, _, position = path.rpartition("/")
        try:
            await self._reach(parse_position(position))
        except BadRequest:
            return problem(HTTPStatus.NOT_FOUND, "Ask for /queue/POSITION: it may be empty.")
        except TimeoutError:
            reached = position_text(self._position())
            return problem(HTTPStatus.GATEWAY_TIMEOUT, f"This dispatcher has only read as far as {reached}.")
        return answer(self._desk, what)

    async def _reach(self, wanted: Position) -> None:
        async with asyncio.timeout(BEHIND_S_MAX):
            while not covers(self._position(), wanted):
                await self.moved.wait()


def answer(desk: Desk, path: str) -> Reply:
    """What this desk has to say; only an active one knows what is asked for and what is taken."""
    if desk.acting is None:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "This dispatcher stands by. Ask the active one.")
    found = _found(desk, path)
    if found is None:
        return problem(HTTPStatus.NOT_FOUND, "Nothing is known of this here.")
    return Reply(HTTPStatus.OK, found.model_dump_json().encode())


def _found(desk: Desk, path: str) -> BaseModel | None:
    match path.split("/"):
        case ["", "explain", execution_id]:
            return explain(desk, execution_id)
        case ["", "queue"]:
            return queue_report(desk)
        case ["", "runners"]:
            return runners_report(desk)
        case _:
            return None
