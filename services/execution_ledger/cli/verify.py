"""`exledger verify`: are the promises kept? The whole log, the views, and a client's own record, checked."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadRequest
from ..sdk.client.address import DEFAULT_FOLDER
from .connection import DataDir
from .place import place_of
from .terminal.output import BROKEN, OUT_OF_REACH, AsJson, bars, console, duration, show_json, show_note, show_table

if TYPE_CHECKING:
    from ..verify.answers import Answer
    from ..verify.verification import Report

EPILOG = """\b
Examples:
  exledger verify
  exledger verify --answers answers.jsonl --json"""

Answers = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What a client was answered: a line of JSON each, with status_code and any of command_id, key, "
        "execution_id, number, name, status, position.",
    ),
]
Snapshots = Annotated[
    bool | None,
    typer.Option(
        "--snapshots/--no-snapshots",
        help="Compare snapshots with the log, too; by default where that takes no longer than half a minute.",
        show_default=False,
    ),
]

FileContents = Annotated[
    bool | None,
    typer.Option(
        "--files/--no-files",
        help="Read the files that events name, too; by default where they have no more than 1 GB.",
        show_default=False,
    ),
]


def verify(
    data_dir: DataDir = DEFAULT_FOLDER,
    answers: Answers = None,
    snapshots: Snapshots = None,
    files: FileContents = None,
    as_json: AsJson = False,
) -> None:
    """Check every promise over the whole log, the views, the snapshots, and what a client was answered.

    Looks into the ledger that the EXLEDGER__… settings name, or the `exledger dev` of --data-dir. If that one does not
    run, its Kafka and Postgres are started for the check alone. Exit code 1: a promise is broken.
    """
    report = asyncio.run(_verify(data_dir, _read_answers(answers), snapshots, files, quiet=as_json))
    if as_json:
        show_json(as_plain(report))
    else:
        _show(report)
    if report.breaches.total:
        raise typer.Exit(BROKEN)
    if report.out_of_reach:
        raise typer.Exit(OUT_OF_REACH)


def _read_answers(path: Path | None) -> list[Answer]:
    from ..verify.answers import read_answers

    if path is None:
        return []
    try:
        return read_answers(path.read_text().split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"The answers cannot be read from {path}: {error}") from None


async def _verify(
    folder: Path, answers: list[Answer], snapshots: bool | None, files: bool | None, *, quiet: bool
) -> Report:
    from ..verify.verification import verify

    async with place_of(folder, "exledger verify") as place:
        with bars(quiet) as on_progress:
            return await verify(replace(place, snapshots=snapshots, files=files), answers, on_progress)


# --- what it shows ----------------------------------------------------------------------------------------------


def as_plain(report: Report) -> dict[str, Any]:
    from ..verify.findings import NOT_TO_BE_SEEN, PROMISES

    return {
        "ok": not report.breaches.total,
        "log_id": report.log_id,
        "shards": report.shards,
        "events": report.events,
        "executions": report.executions,
        "seconds": round(report.seconds, 3),
        "checked": [asdict(part) | {"per_second": round(part.per_second)} for part in report.parts],
        "promises": {number: report.state_of(number) for number in PROMISES},
        "not_checked": NOT_TO_BE_SEEN,
        "notes": report.notes,
        "breaches_total": report.breaches.total,
        "breaches": [breach._asdict() for breach in report.breaches.kept],
    }


def _show(report: Report) -> None:
    rows = [
        (
            part.name,
            f"{part.checked:,} {part.what}",
            duration(part.seconds),
            f"{part.per_second:,.0f}/s",
            f"{part.breaches:,}",
        )
        for part in report.parts
    ]
    show_table(("CHECKED", "", "TOOK", "RATE", "BREACHES"), rows)
    console().print()
    _show_promises(report)
    for note in report.notes:
        show_note(note)
    if report.breaches.total:
        _show_breaches(report)
    _show_verdict(report)


def _show_promises(report: Report) -> None:
    from ..verify.findings import NOT_TO_BE_SEEN, PROMISES

    kept = [(number, what, report.state_of(number)) for number, what in PROMISES.items()]
    unseen = [(number, what, "not seen in a log") for number, what in NOT_TO_BE_SEEN.items()]
    show_table(("PROMISE", "", ""), sorted(kept + unseen))
    console().print()


def _show_breaches(report: Report) -> None:
    rows = [tuple("-" if each is None else each for each in breach) for breach in report.breaches.kept]
    show_table(("BROKEN", "SHARD", "SEQUENCE", "EXECUTION", "WHAT"), rows)
    if more := report.breaches.total - len(report.breaches.kept):
        show_note(f"And {more:,} more.")
    console().print()


def _show_verdict(report: Report) -> None:
    from rich.text import Text

    broken = report.breaches.total
    verdict = ("All promises hold", "bold green")
    if broken:
        verdict = ("1 breach" if broken == 1 else f"{broken:,} breaches", "bold red")
    looked_at = f"{report.events:,} events of {report.executions:,} executions on {report.shards} shards"
    console().print(Text.assemble(verdict, f": {looked_at}, in {duration(report.seconds)}."))
