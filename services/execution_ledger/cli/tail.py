"""`exledger tail`: every event as it happens, without loss or repeat over broken connections."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Unavailable
from .connection import DEFAULT_FOLDER, DataDir, connect
from .executions import short_type, why
from .output import AsJson, clock_time, show_event, show_json_lines, show_note

if TYPE_CHECKING:
    from .client import Client

BREAKS_MAX = 20  # in a row, without an event in between
PAUSE_S = 0.5
NAMES_MAX = 10_000


@dataclass(frozen=True)
class Frame:
    """One server-sent event; `id` is the position that it leads to. Without data it only tells the position."""

    id: str
    data: str


def tail(data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Follow all events as they happen, until Ctrl-C."""
    names: OrderedDict[str, str] = OrderedDict()
    with connect(data_dir) as ledger:
        try:
            for event in follow(ledger):
                if as_json:
                    show_json_lines([event])
                else:
                    _show(event, _name(event, names))
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def follow(ledger: Client) -> Iterator[dict[str, Any]]:
    """All events from now on; a broken connection goes on behind the last one. Raises Unavailable after too many."""
    last: str | None = None
    breaks = 0
    while True:
        try:
            for frame in frames(ledger.stream("/v1/events", after=last)):
                if last is None:
                    show_note("Following. Ctrl-C ends it.")
                last, breaks = frame.id, 0
                if frame.data:
                    yield json.loads(frame.data)
        except Unavailable as broken:
            breaks += 1
            if breaks > BREAKS_MAX:
                raise
            if breaks == 1:
                show_note(f"{broken} Trying again.")
            ledger.pause(PAUSE_S)


def frames(lines: Iterable[str]) -> Iterator[Frame]:
    """Server-sent events as the HTML standard reads them: fields up to an empty line, comments passed over."""
    data: list[str] = []
    last_id = ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            last_id = value
        elif name == "data":
            data.append(value)
        elif not line:
            yield Frame(last_id, "\n".join(data))
            data = []


def _name(event: dict[str, Any], names: OrderedDict[str, str]) -> str:
    """What the event's subject is called: only `queued` bears the name, so it is remembered for what follows."""
    subject: str = event["subject"]
    if name := event["data"].get("name"):
        names[subject] = name
        if len(names) > NAMES_MAX:
            names.popitem(last=False)
    return names.get(subject, subject)


def _show(event: dict[str, Any], name: str) -> None:
    data = event["data"]
    attempt = f"attempt {data['attempt']}" if data.get("attempt") else None
    said = [name, attempt, event.get("actor"), why(event)]
    show_event(clock_time(event["recordedtime"]), short_type(event["type"]), "  ".join(filter(None, said)))
