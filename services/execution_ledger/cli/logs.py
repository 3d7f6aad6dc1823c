"""`exledger logs`: what the code of an execution has printed and logged, or prints while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..sdk.client.address import DEFAULT_FOLDER
from .connection import DataDir, connect
from .executions import Which
from .terminal.output import AsJson, clock_time, plain, show_json_lines, show_note

if TYPE_CHECKING:
    from ..sdk.client.http import Json

COLOURS = {"warning": "yellow", "error": "red", "exception": "red", "critical": "red"}


def logs(
    which: Which,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the execution has ended.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only this attempt's.")] = None,
    step: Annotated[str | None, typer.Option(help="Only this step's.")] = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show what an execution has printed and logged."""
    from ..sdk.client.lines import lines_of_log

    with connect(data_dir) as ledger:
        lines = lines_of_log(ledger, which, follow=follow, attempt=attempt, step=step)
        try:
            if as_json:
                show_json_lines(lines)
            else:
                _show(lines if step else _with_gaps(lines))
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def _with_gaps(lines: Iterable[Json]) -> Iterator[Json]:
    """Tells of lines that are missing, and where the next attempt begins."""
    attempt, ordinal = 1, 0
    for line in lines:
        if line["attempt"] != attempt:
            attempt, ordinal = line["attempt"], 0
            show_note(f"attempt {attempt}")
        if (missing := line["ordinal"] - ordinal - 1) and line["stream"] != "cut":
            show_note(f"… {missing:,} lines did not come through; they are shown once the attempt is over …")
        ordinal = line["ordinal"]
        yield line


def _show(lines: Iterable[Json]) -> None:
    """By typer and not by rich, which takes a second for ten thousand lines."""
    line = None
    for line in lines:
        typer.echo(f"{typer.style(clock_time(line['time']), dim=True)}  {_step(line)}{_text(line)}")
    if line is None:
        show_note("Nothing is there: nothing was printed or logged in what was asked for.")


def _step(line: Json) -> str:
    return typer.style(f"{plain(line['step'])}  ", fg="cyan") if line.get("step") else ""


def _text(line: Json) -> Any:
    style = {"dim": True} if line["stream"] == "cut" else {"fg": COLOURS.get(line.get("level", ""))}
    return typer.style(plain(line["text"]), **style)
