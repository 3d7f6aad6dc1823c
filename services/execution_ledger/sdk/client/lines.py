"""Lines of an execution's log, as JSON: all that there are, or as they come, over broken connections, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .address import execution_path
from .following import END, Frame, frames, resumed

if TYPE_CHECKING:
    from .http import Connection, Json


def lines_of_log(
    connection: Connection,
    which: str | int,
    *,
    follow: bool = False,
    attempt: int | None = None,
    step: str | None = None,
) -> Iterator[Json]:
    """Followed, it ends when the execution has. Raises BadRequest; Unavailable when the ledger stays away."""
    path, wanted = f"{execution_path(which)}/logs", {"attempt": attempt, "step": step}
    opened = _followed if follow else _whole
    for frame in resumed(connection, lambda last: opened(connection, path, last, wanted)):
        if frame.event == END:
            return
        if frame.data:
            yield json.loads(frame.data)


def _followed(connection: Connection, path: str, last: str | None, wanted: dict[str, Any]) -> Iterator[Frame]:
    return frames(connection.stream(path, last, follow="true", **wanted))


def _whole(connection: Connection, path: str, last: str | None, wanted: dict[str, Any]) -> Iterator[Frame]:
    for text in connection.lines(path, after=last, **wanted):
        if text:
            line = json.loads(text)
            yield Frame(f"{line['attempt']}.{line['ordinal']}", text)
