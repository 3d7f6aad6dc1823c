"""`exledger tail`: every event as it happens, without loss or repeat over broken connections."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from ..sdk.client.address import DEFAULT_FOLDER
from ..sdk.client.following import follow
from .connection import DataDir, connect
from .executions import short_type, why
from .terminal.output import AsJson, clock_time, show_event, show_json_lines, show_note

if TYPE_CHECKING:
    from ..sdk.client.http import Connection

NAMES_MAX = 10_000


def tail(data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Follow all events as they happen, until Ctrl-C."""
    names: OrderedDict[str, str] = OrderedDict()
    with connect(data_dir) as ledger:
        try:
            for event in _events(ledger):
                if as_json:
                    show_json_lines([event])
                else:
                    _show(event, _name(event, names))
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def _events(ledger: Connection) -> Iterator[dict[str, Any]]:
    """From now on; before the first one the stream tells where it begins."""
    followed = follow(ledger, broken=lambda error: show_note(f"{error} Trying again."))
    for number, frame in enumerate(followed):
        if number == 0:
            show_note("Following. Ctrl-C ends it.")
        if frame.data:
            yield json.loads(frame.data)


def _name(event: dict[str, Any], names: OrderedDict[str, str]) -> str:
    """What the event's subject is called: only `queued` bears the name, so it is remembered for what follows."""
    subject: str = event["subject"]
    if short_type(event["type"]) == "execution.queued":
        name = event["data"]["name"]
        names[subject] = name
        if len(names) > NAMES_MAX:
            names.popitem(last=False)
    return names.get(subject, subject)


def _show(event: dict[str, Any], name: str) -> None:
    data = event["data"]
    attempt = f"attempt {data['attempt']}" if data.get("attempt") else None
    said = [name, attempt, event.get("actor"), why(event)]
    show_event(clock_time(event["recordedtime"]), short_type(event["type"]), "  ".join(filter(None, said)))
