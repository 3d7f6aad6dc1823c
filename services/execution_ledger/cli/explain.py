"""`exledger explain`: why an execution is not running, and what to do about it."""

from __future__ import annotations

from typing import Any

from ..sdk.client.address import DEFAULT_FOLDER, execution_path
from .connection import DataDir, connect
from .executions import Which
from .terminal.output import STYLES, AsJson, console, date_time, duration_ms, plain, show_json


def explain(which: Which, data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Say why an execution is not running, and what to do about it."""
    with connect(data_dir) as ledger:
        found = ledger.get(f"{execution_path(which)}/explain")
    if as_json:
        show_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from rich.text import Text

    screen = console()
    status = (found["status"], STYLES.get(found["status"], ""))
    screen.print(Text.assemble((plain(found["name"]), "bold"), " is ", status, f", since {date_time(found['since'])}."))
    for why in found["reasons"]:
        screen.print(Text("  " + plain(why["text"])))
        if why["next"]:
            screen.print(Text.assemble("  → ", (plain(why["next"]), "dim")))
    if place := found["place"]:
        screen.print(Text("  " + place_text(found, place)))


def place_text(found: dict[str, Any], place: dict[str, Any]) -> str:
    before = (
        f"{place['before']} before it in pool {found['pool']}" if place["before"] else f"first in pool {found['pool']}"
    )
    same = f", {place['before_of_pipeline']} of them of {found['pipeline']}" if place["before"] else ""
    return f"Its place: {before}{same}; priority {place['priority']}, waiting for {duration_ms(place['waiting_ms'])}."
