"""Following the event stream: a broken connection goes on where the last one stopped, without loss or repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import Unavailable

if TYPE_CHECKING:
    from .http import Connection

BREAKS_MAX = 20  # in a row, without an event in between
PAUSE_S = 0.5
END = "end"  # the event that ends a stream which is complete


@dataclass(frozen=True)
class Frame:
    """One server-sent event; `id` is the position that it leads to. Without data it only tells the position."""

    id: str
    data: str
    event: str = ""


def follow(
    connection: Connection,
    after: str | None = None,
    execution: str | None = None,
    broken: Callable[[Unavailable], object] | None = None,
) -> Iterator[Frame]:
    """Without end. `after` is a position: empty, from the beginning; None, from now. `broken` hears of a first break.

    Raises Unavailable after BREAKS_MAX breaks in a row, BadRequest.
    """

    def opened(last: str | None) -> Iterator[Frame]:
        return frames(connection.stream("/v1/events", last, after=after, execution=execution))

    return resumed(connection, opened, broken)


def resumed(
    connection: Connection,
    opened: Callable[[str | None], Iterator[Frame]],
    broken: Callable[[Unavailable], object] | None = None,
) -> Iterator[Frame]:
    """`opened` begins a stream behind the frame of an id. Ends when a stream does so without an error."""
    last: str | None = None
    breaks = 0
    while True:
        try:
            for frame in opened(last):
                last, breaks = frame.id or last, 0
                yield frame
            return
        except Unavailable as error:
            breaks += 1
            if breaks > BREAKS_MAX:
                raise
            if breaks == 1 and broken:
                broken(error)
            connection.pause(PAUSE_S)


def frames(lines: Iterable[str]) -> Iterator[Frame]:
    """Server-sent events as the HTML standard reads them: fields up to an empty line, comments passed over."""
    data: list[str] = []
    last_id = event = ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            last_id = value
        elif name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif not line:
            yield Frame(last_id, "\n".join(data), event)
            data, event = [], ""
