"""`exledger runners`: who does the work, with how many slots, and what is in them."""

from __future__ import annotations

from typing import Any

from ..sdk.client.address import DEFAULT_FOLDER
from .connection import DataDir, connect
from .terminal.output import AsJson, duration_ms, show_json, show_note, show_table

COLUMNS = ("RUNNER", "POOL", "STATE", "SLOTS", "TAKEN", "HELD", "HEARD", "RUNS", "OFFERS")
NAMED_MAX = 3
TICK_MS = 1_000  # the dispatcher's time comes once a second


def runners(data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show the runners, and what they run."""
    with connect(data_dir) as ledger:
        report = ledger.get("/v1/runners")
    if as_json:
        show_json(report)
        return
    show_table(COLUMNS, [_row(line) for line in report["items"]])
    if not report["items"]:
        show_note("No runner is heard of. Start one: exledger serve runner --app MODULE")
    elif report["left_off"]:
        show_note(f"And {report['left_off']} more.")


def _row(line: dict[str, Any]) -> tuple[Any, ...]:
    runs = [token["name"] or f"{token['id']} (ended)" for token in line["tokens"] if token["phase"] != "ended"]
    return (
        line["process"],
        line["pool"],
        line["state"],
        line["slots"],
        line["taken"],
        line["held"],
        f"{duration_ms(line['silent_ms'])} ago" if line["silent_ms"] >= TICK_MS else "just now",
        few(runs, line["tokens_left_off"]),
        few(sorted(line["offers"])),
    )


def few(names: list[str], left_off: int = 0) -> str:
    more = len(names) - NAMED_MAX + left_off
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
