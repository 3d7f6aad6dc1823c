"""What `exledger demo` shows: one live table, then a closer look at what has happened in it, in plain sentences."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...demo.board import Board, Link, Row, chain
from ...demo.story import Json
from ...verify.findings import PROMISES
from ...verify.verification import Report
from ..executions import short_type, why
from .output import clock_time, console, duration, plain, show_table, styled

DIGEST_CHARS = 8  # enough to compare by eye
TICK_S = 0.1  # between two looks at the clock, for those that wait or run


class LiveTable:
    """On a terminal it changes with each event; elsewhere it is printed once, as it is at the end."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._screen = console()
        self._live = Live(get_renderable=self._moving, console=self._screen, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._screen.print(self._render(), soft_wrap=False)

    def show(self) -> None:
        self._live.refresh()

    def tell(self, sentence: str) -> None:
        """Above the table."""
        self._screen.print(plain(sentence), soft_wrap=False)

    async def keep_time(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.show()

    def _moving(self) -> Group:
        """With a line left free for what a terminal shows of a Ctrl-C, which would move the rest."""
        return Group(self._render(), "")

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("EXECUTION", "TWIN", "STATUS"):
            table.add_column(column, no_wrap=True)
        for column in ("WAITED", "RAN"):
            table.add_column(column, justify="right", no_wrap=True, min_width=len("999 ms"))
        table.add_column("RESULT", overflow="fold")
        for row in self._board.rows:
            table.add_row(*_cells(row, time.time()))
        return Group("", table)


def _cells(row: Row, now_s: float) -> list[Any]:
    ran_s = row.ran_s(now_s)
    ran = "" if ran_s is None else duration(ran_s)
    said = Text(plain(row.said), style="" if row.ended_s else "dim")
    return [row.name, plain(row.twin), styled(row.status), duration(row.waited_s(now_s)), ran, said]


def say(sentence: str, style: str = "") -> None:
    console().print(Text(plain(sentence), style=style), soft_wrap=False)


def title(sentence: str) -> None:
    console().print()
    say(sentence, "bold")


def show_explanation(found: Json) -> None:
    title(f"Why did {found['name']} not run? What `exledger explain` says, asked while it waited:")
    for reason in found["reasons"]:
        say(f"  {reason['text']}")
        if reason["next"]:
            say(f"  → {reason['next']}", "dim")


def show_history(row: Row) -> None:
    links = chain(row.events)
    title(f"What happened to {row.name}? Each event says who did it and why, and holds the digest of the one before:")
    show_table(("TIME", "EVENT", "WHO", "WHY", "CHAIN"), [_link_cells(link) for link in links])
    if all(link.holds for link in links):
        say(
            f"chain ✓  Computed anew from the bytes (SHA-256): all {len(links)} events are as they were written.",
            "green",
        )
    else:
        say("chain ✗  Computed anew from the bytes (SHA-256): these events are not as they were written.", "red")


def _link_cells(link: Link) -> tuple[Any, ...]:
    event = link.event
    mark = "✓" if link.holds else "✗"
    return (
        clock_time(event["recordedtime"]),
        short_type(event["type"]).removeprefix("execution."),
        event.get("actor"),
        why(event),
        f"{mark} {link.digest[:DIGEST_CHARS]}",
    )


def show_report(report: Report) -> bool:
    """Whether all that can be checked was checked, and holds."""
    title("Were all promises kept? `exledger verify` reads the whole log, and compares the views with it:")
    states = {number: report.state_of(number) for number in PROMISES}
    for number, state in states.items():
        mark, style = ("✓", "green") if state == "kept" else ("✗", "red")
        console().print(Text.assemble("  ", (f"{mark} {state}", style), f"  {PROMISES[number]}"))
    for note in report.notes:
        say(note, "yellow")
    looked_at = f"{report.events:,} events of {report.executions:,} executions, in {duration(report.seconds)}"
    if broken := report.breaches.total:
        say(f"{broken:,} breaches in {looked_at}: {report.breaches.kept[0].what}", "bold red")
    else:
        say(f"No breach in {looked_at}.", "bold green")
    return set(states.values()) == {"kept"}
