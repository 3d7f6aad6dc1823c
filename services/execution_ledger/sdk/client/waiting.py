"""Asking until there is an answer: until the ledger has decided a write, until an execution has ended.

The gateway holds each question until something happens, so nothing here polls. Deadlines are of `time.monotonic()`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import BadRequest, Unavailable
from .address import execution_path

if TYPE_CHECKING:
    from .http import Connection

RECEIVED = "received"  # safe in the log, and not yet decided: whether it exists at all is open
ENDED = frozenset({"completed", "failed", "aborted"})
QUESTION_S = 30.0  # how long the ledger may hold one question for an end
ASK_AGAIN_S = 1.0
WAIT_S = 3_600.0  # where nobody says how long to wait for an end
AWAY_S = 60.0  # how long a ledger that was there may be away while someone waits

Answer = TypeVar("Answer")


def write_until_decided(
    connection: Connection, method: str, path: str, body: dict[str, Any] | None, key: str, deadline: float
) -> dict[str, Any]:
    """Asks again while the ledger is away: the key makes it the same write each time.

    At the deadline the answer may still be undecided. Raises BadRequest, Unavailable.
    """
    while True:
        answer = connection.write(method, path, body, key)
        if not undecided(answer) or time.monotonic() >= deadline:
            return answer
        connection.pause(ASK_AGAIN_S)


def undecided(answer: dict[str, Any]) -> bool:
    """Of a batch: whether any of its executions is."""
    children = answer.get("executions", ())
    return answer.get("status") == RECEIVED or any(child["status"] == RECEIVED for child in children)


def deadline_of(timeout: float | None) -> float:
    """So many seconds from now; None is never. Raises BadRequest for what is no number."""
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise BadRequest(f"{timeout!r:.100} is no time to wait: give seconds, or None to wait without end.")
    return time.monotonic() + timeout


def until_end(connection: Connection, which: str, deadline: float) -> Iterator[dict[str, Any]]:
    """Its record each time that it was asked for: the last one has ended, or is as it stands at the deadline.

    Raises BadRequest, Unavailable.
    """
    while True:
        left = deadline - time.monotonic()
        wait = max(0.0, min(left, QUESTION_S))
        record = through_outage(connection, partial(connection.get, execution_path(which), wait=wait), deadline)
        yield record
        if record["status"] in ENDED or left <= QUESTION_S:
            return


def through_outage(connection: Connection, ask: Callable[[], Answer], deadline: float) -> Answer:
    """Asks again while nothing answers, for AWAY_S or up to the deadline; an error of a proxy may come at once.

    Raises Unavailable after that, and whatever else `ask` raises.
    """
    give_up = min(deadline, time.monotonic() + AWAY_S)
    while True:
        try:
            return ask()
        except Unavailable:
            if time.monotonic() >= give_up:
                raise
        connection.pause(ASK_AGAIN_S)
