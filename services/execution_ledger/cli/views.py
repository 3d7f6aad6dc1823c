"""`exledger views`: the tables that people query, made anew from the log, or put back as they were before that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from ..errors import BadSettings
from ..sdk.client.address import DEFAULT_FOLDER
from .connection import DataDir
from .place import NAMED_POSTGRES, place_of
from .terminal.examples import examples
from .terminal.output import bars, duration, show_note

if TYPE_CHECKING:
    from ..projector.rebuilding import Rebuilt

views = typer.Typer(no_args_is_help=True, help="Make the views anew, or put them back.", rich_markup_mode=None)


@views.command(epilog=examples("views rebuild"))
def rebuild(data_dir: DataDir = DEFAULT_FOLDER) -> None:
    """Make all views anew from the log, beside those in use, and then replace them in one moment.

    Everything goes on meanwhile, and readers see the old views until the new ones have caught up. The old ones stay in
    the schemas ledger_before and ledger_v1_before until the next time: see `exledger views restore`.
    """
    made, seconds = asyncio.run(_make(data_dir, "rebuild"))
    show_note(f"The views were made anew from {made.events:,} events in {duration(seconds)}, and are in use now.")
    if made.differing:
        show_note(f"{made.differing:,} executions were told otherwise by the views before: see ledger_v1_before.")
    show_note("A projector that had stopped at a shard goes on there once it is started again.")


@views.command(epilog=examples("views restore"))
def restore(data_dir: DataDir = DEFAULT_FOLDER) -> None:
    """Put back the views that the last rebuild has replaced, once they have caught up with the log."""
    made, seconds = asyncio.run(_make(data_dir, "restore"))
    show_note(f"The views of before are in use again, at {made.events:,} events, after {duration(seconds)}.")


async def _make(folder: Path, what: Literal["rebuild", "restore"]) -> tuple[Rebuilt, float]:
    from ..clock import real_world
    from ..log.kafka import KafkaLog
    from ..projector import rebuilding
    from ..settings import ProjectorSettings

    world = real_world()
    begun_s = world.clock.monotonic_s()
    async with place_of(folder, f"exledger views {what}") as place:
        if place.dsn is None:
            raise BadSettings(f"Name the database of the views by {NAMED_POSTGRES}.")
        async with KafkaLog(place.kafka, "exledger-views") as log:
            with bars(quiet=False) as tell:
                make = rebuilding.rebuild if what == "rebuild" else rebuilding.restore
                made = await make(log, place.dsn, world, ProjectorSettings(), lambda done, of: tell("views", done, of))
    return made, world.clock.monotonic_s() - begun_s
