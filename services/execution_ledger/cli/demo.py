"""`exledger demo`: a whole ledger at work on real data, shown and proved within half a minute; then it is gone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import BrokenHistory

if TYPE_CHECKING:
    from ..demo.ledger import LiveLedger
    from ..demo.story import Told
    from ..verify.verification import Report
    from .stack.services import Place

APP = "execution_ledger.demo.pipelines"
HOST = "127.0.0.1"
INTERRUPTED = 130
EPILOG = """\b
Examples:
  exledger demo
  exledger demo > demo.txt"""


def demo() -> None:
    """See a whole ledger at work on real data, live: in half a minute, and nothing is kept."""
    from ..demo.data import check_datasets
    from ..embedded.folder import ephemeral_folder
    from .stack.launch import until_told_to_stop
    from .terminal.demo_screen import say, title
    from .terminal.output import duration

    check_datasets()
    began = time.monotonic()
    with ephemeral_folder() as folder:
        interrupted = asyncio.run(until_told_to_stop(_demo(folder)))
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    title(f"That took {duration(time.monotonic() - began)}. Nothing of it runs any more, and nothing was kept.")
    say("Start a ledger of your own with: exledger dev")


async def _demo(folder: Path) -> None:
    from ..demo.ledger import LiveLedger
    from .stack.launch import Plan, live
    from .stack.services import usable_port
    from .terminal.demo_screen import say, show_explanation, show_history, show_report
    from .terminal.output import duration

    began = time.monotonic()
    say("A ledger at work, on real data: a Kafka, a Postgres and five services start, for this demo alone.", "bold")
    async with live(Plan(folder, HOST, usable_port(HOST, 0), APP, ephemeral=True)) as running:
        say(f"Ready after {duration(time.monotonic() - began)}. What you see now comes from the live stream of events.")
        async with LiveLedger(running.place.url, running.place.token) as ledger:
            told = await _show_live(ledger)
        show_explanation(told.explanation)
        show_history(told.aborted)
        report = await _verified(running.place)
        if not show_report(report):
            raise BrokenHistory("Not every promise was found to be kept. Please report what you see above.")


async def _show_live(ledger: LiveLedger) -> Told:
    """Until the story is over; the stream's end or a step that takes too long raises Unavailable."""
    from ..clock import spawn_task
    from ..demo.board import Board
    from ..demo.story import Stage, play
    from ..lifecycle import run_until
    from .terminal.demo_screen import LiveTable

    board = Board()
    ended: list[Told] = []
    with LiveTable(board) as table:
        stage = Stage(board, table.tell)
        async with ledger.events() as events:

            async def follow() -> None:
                async for raw in events:
                    stage.fold(raw)
                    table.show()

            async def act() -> None:
                ended.append(await play(ledger, stage))

            loops = ("follow", follow()), ("act", act()), ("time", table.keep_time())
            await run_until(asyncio.Event(), spawn_task, *loops)
    return ended[0]


async def _verified(place: Place) -> Report:
    from ..verify.verification import Place as Checked
    from ..verify.verification import verify
    from .serve import read_settings

    settings = read_settings()
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": place.kafka})
    return await verify(Checked(kafka, settings.ledger, place.dsn), [], lambda part, done, total: None)
