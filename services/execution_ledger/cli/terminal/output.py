"""What commands print: data to stdout, all else to stderr, colours only on a terminal.

Everything shown comes from somewhere else, so nothing of it is taken as markup, and control characters are made
visible: a failure's message must not be able to move the cursor. rich is imported when something is printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

BROKEN, CANNOT_BE_DONE, OUT_OF_REACH, STILL_RUNNING, NOBODY_READS = 1, 2, 3, 4, 141  # exit codes

AsJson = Annotated[bool, typer.Option("--json", help="Print plain JSON.")]

PIPED_WIDTH = 1_000  # a table that goes into a file is as wide as it needs to be
KIND_WIDTH = 25  # of the longest usual one, execution.abort_requested
STYLES = {
    "queued": "cyan",
    "dispatched": "cyan",
    "requeued": "yellow",
    "held": "yellow",
    "unheld": "cyan",
    "started": "blue",
    "step_changed": "blue",
    "skipped": "yellow",
    "warned": "yellow",
    "checkpointed": "blue",
    "abort_requested": "yellow",
    "aborted": "magenta",
    "completed": "green",
    "failed": "red",
    "rejected": "red",
    "quarantined": "red",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    class Honest(Console):
        def on_broken_pipe(self) -> None:
            """Rich would end with 1 here, which says that something is broken: the error itself goes on."""
            raise

    made = Honest(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = PIPED_WIDTH
    return made


def show_error(text: str) -> None:
    from rich.text import Text

    console(stderr=True).print(Text.assemble(("Error: ", "bold red"), plain(text)))


def show_note(text: str) -> None:
    console(stderr=True).print(plain(text), style="dim")


@contextmanager
def left_with(text: str) -> Iterator[None]:
    """Ctrl-C ends the watching alone, which not everybody knows: `text` says what goes on, and what can be done."""
    try:
        yield
    except KeyboardInterrupt:
        show_note(text)
        raise


def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {name: value for name, value in fields.items() if value not in (None, "", {}, [])}


def show_event(time: str, kind: str, rest: str) -> None:
    from rich.text import Text

    console().print(Text.assemble((time, "dim"), "  ", styled(f"{kind:<{KIND_WIDTH}}"), "  ", plain(rest)))


def show_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def show_json_lines(values: Iterable[Any]) -> None:
    for value in values:
        typer.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def show_table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """A cell that holds a status or an event's type is coloured by it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(styled(cell) for cell in row))
    console().print(table)


def show_fields(fields: Mapping[str, Any]) -> None:
    """One line per field; texts of several lines below their names."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        text = styled(value)
        label = f"{name:<{width}}  " if "\n" not in text.plain else f"{name}\n"
        console().print(label, text, sep="", style=None)


def several(lines: str) -> str:
    """Lines for `show_fields`: indented below their name, unless there is but one."""
    told = [line.rstrip() for line in lines.splitlines()]
    return "\n".join(f"  {line}" for line in told) if len(told) > 1 else "".join(told)


def styled(value: Any) -> Text:
    from rich.text import Text

    text = plain(value)
    return Text(text, style=STYLES.get(text.rpartition(".")[2].rstrip(), ""))


def plain(value: Any) -> str:
    """A value as a person reads it: texts as they are, the rest as JSON."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def clock_time(rfc3339: str | None) -> str:
    """The time of day here, to the millisecond."""
    return _local(rfc3339).strftime("%H:%M:%S.%f")[:-3] if rfc3339 else ""


def date_time(rfc3339: str | None) -> str:
    return _local(rfc3339).strftime("%Y-%m-%d %H:%M:%S") if rfc3339 else ""


def duration_ms(milliseconds: int | None) -> str:
    return "" if milliseconds is None else duration(milliseconds / 1_000)


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def size_text(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def _local(rfc3339: str) -> datetime:
    return datetime.fromisoformat(rfc3339).astimezone()


@contextmanager
def bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each part that is told of, on a terminal: which, how much is done, of how much."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    screen = console(stderr=True)
    columns = (TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, disable=quiet or not screen.is_terminal) as shown:
        tasks = {}

        def tell(part: str, done: int, total: int) -> None:
            if part not in tasks:
                tasks[part] = shown.add_task(part, total=total)
            shown.update(tasks[part], completed=min(done, total))

        yield tell
