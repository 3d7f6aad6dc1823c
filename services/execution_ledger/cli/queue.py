"""`exledger queue`: what waits, how long, and whether anything could run it."""

from __future__ import annotations

from typing import Any

from ..sdk.client.address import DEFAULT_FOLDER
from .connection import DataDir, connect
from .terminal.output import AsJson, duration_ms, show_json, show_note, show_table

COLUMNS = ("POOL", "PIPELINE", "VERSION", "WAITING", "OLDEST", "LIMIT", "RUNNERS", "SLOTS FREE")


def queue(data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show what waits to be run."""
    with connect(data_dir) as ledger:
        report = ledger.get("/v1/queue")
    if as_json:
        show_json(report)
        return
    show_table(COLUMNS, [_row(line) for line in report["items"]])
    if not report["items"]:
        show_note("Nothing waits.")
    elif report["left_off"]:
        show_note(f"And {report['left_off']} shorter lines.")
    else:
        show_note("To see what one of them waits for: exledger explain EXECUTION")


def _row(line: dict[str, Any]) -> tuple[Any, ...]:
    runners = line["runners"]
    return (
        line["pool"],
        line["pipeline"],
        line["version"],
        line["waiting"],
        duration_ms(line["oldest_ms"]),
        f"{line['used']} of {line['limit']} taken" if line["limit"] else "none",
        runners["runners"] or "none ready",
        f"{runners['free']} of {runners['slots']}",
    )
