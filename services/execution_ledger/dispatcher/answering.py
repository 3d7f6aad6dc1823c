"""Answering the gateway's questions: what only the active dispatcher knows."""

from __future__ import annotations

from http import HTTPStatus

from execution_ledger.answering import Reply, problem

from .desk import Desk
from .explain import explain
from .overview import queue_report, runners_report


def answer(desk: Desk, path: str) -> Reply:
    """What this desk has to say; only an active one knows what is asked for and what is taken."""
    if desk.acting is None:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "This dispatcher stands by. Ask the active one.")
    match path.split("/"):
        case ["", "explain", execution_id]:
            message = found.model_dump_json() if (found := explain(desk, execution_id)) else None
        case ["", "queue"]:
            message = queue_report(desk).model_dump_json()
        case ["", "runners"]:
            message = runners_report(desk).model_dump_json()
        case _:
            message = None
    if message is None:
        return problem(HTTPStatus.NOT_FOUND, "Nothing is known of this here.")
    return Reply(HTTPStatus.OK, message.encode())
