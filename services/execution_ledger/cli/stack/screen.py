"""What `exledger dev` shows: the first download, where everything is, and what befalls the services."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from ...embedded.supervisor import What
from ...sdk.client.address import DEFAULT_FOLDER
from ..info import psql_line
from ..terminal.output import console, duration, plain
from .services import Place

SHOWN = {"died": "red", "restarting": "green"}
SAMPLES = {"number": "21", "string": "text", "boolean": "true", "array": "[1, 2]", "json": "{}", "file": "FILE"}


class Download:
    """A bar that appears only when there is something to fetch; told from the thread that fetches."""

    def __init__(self) -> None:
        self._screen = console(stderr=True)
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=self._screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self, done: int, total: int) -> None:
        if not self._bar.tasks:
            self._bar.add_task("Fetching Apache Kafka, this once (files)", total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done)

    def close(self) -> None:
        if self._bar.tasks:
            self._bar.stop()


def show_service(name: str, what: What, detail: str) -> None:
    """Deaths and returns; that all start and stop goes without saying."""
    if what in SHOWN:
        now = f"{datetime.now().astimezone():%H:%M:%S}"
        console(stderr=True).print(Text.assemble((now, "dim"), f"  {name} ", (what, SHOWN[what]), f" ({detail})"))


def show_ready(place: Place, folder: Path, pipelines: list[dict[str, Any]], took_s: float) -> None:
    rows = {
        "URL": place.url,
        "Token": str(folder / "token"),
        "Kafka": place.kafka,
        "Postgres": psql_line(place.dsn),
        "Logs": str(place.logs),
    }
    screen = console()
    screen.print(Text.assemble(("Ready", "bold green"), f" in {duration(took_s)}."))
    for name, value in rows.items():
        screen.print(Text.assemble((f"  {name:<9}", "dim"), plain(value)))
    screen.print(Text.assemble("Try: ", (try_line(pipelines, folder), "bold"), "\nCtrl-C stops everything."))


def try_line(pipelines: list[dict[str, Any]], folder: Path) -> str:
    """A command that works: the first pipeline, with a sample for each input that it needs."""
    chosen = min(pipelines, key=lambda each: (each["name"] != "double", each["name"]))
    needed = {name: port["type"] for name, port in chosen["definition"]["inputs"].items() if port.get("required", True)}
    inputs = [f"-i {shlex.quote(f'{name}={SAMPLES[port_type]}')}" for name, port_type in needed.items()]
    where = [] if folder == DEFAULT_FOLDER.absolute() else [f"--data-dir {shlex.quote(str(folder))}"]
    return " ".join(["exledger run", chosen["name"], *inputs, "--wait", *where])
