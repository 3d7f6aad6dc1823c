"""What happens in `exledger demo`, in the order in which it happens. Each step waits for an event, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from execution_ledger.errors import Unavailable

from .board import Board, Row

Json = dict[str, Any]
T = TypeVar("T")

STEP_S = 30.0  # a slow machine
HEAVY = {"resamples": 200_000}  # one to three seconds of work
FALLS = 2  # that are seen before `watch` is aborted
# What executions are about: templates with their properties, and the twins that are on them. One that is no country of
# the data is registered, too: a ledger knows no geography.
TEMPLATES: dict[str, Json] = {
    "country": {"properties": {"since": {"type": "number", "required": False, "default": 1952}}},
    "stock": {"properties": {}},
}
TWINS = {"country": ("Japan", "Brazil", "Rwanda", "Atlantis"), "stock": ("AAPL", "NFLX", "FB")}
BATCH: tuple[Json, ...] = (
    *({"pipeline": "trend", "twin": country} for country in TWINS["country"]),
    *({"pipeline": "best_month", "twin": stock} for stock in ("AAPL", "NFLX")),
    {"pipeline": "watch", "twin": "FB", "inputs": {"fall": 0.1}},
    *({"pipeline": "interval", "twin": country, "inputs": HEAVY} for country in ("Japan", "Brazil", "Rwanda")),
)


class Ledger(Protocol):
    """What the story asks for."""

    async def register(self, path: str, definition: Json) -> None: ...

    async def submit(self, executions: Sequence[Json]) -> None: ...

    async def abort(self, execution_id: str, reason: str) -> None: ...

    async def explain(self, execution_id: str) -> Json: ...


class Stage:
    """The board, and a signal that it has changed. `tell` says a sentence to whoever looks on."""

    def __init__(self, board: Board, tell: Callable[[str], None]) -> None:
        self.board = board
        self.tell = tell
        self._changed = asyncio.Event()

    def fold(self, raw: bytes) -> None:
        self.board.fold(raw)
        self._changed.set()

    async def until(self, what: str, look: Callable[[Board], T | None]) -> T:
        """What `look` finds, as soon as it finds it. Raises Unavailable after STEP_S."""
        try:
            async with asyncio.timeout(STEP_S):
                while not (found := look(self.board)):
                    self._changed.clear()
                    await self._changed.wait()
                return found
        except TimeoutError:
            raise Unavailable(f"For {STEP_S:.0f} s the demo has waited until {what}. Try again.") from None


@dataclass(frozen=True)
class Told:
    """What is looked at more closely afterwards: why the one waited, what the other went through."""

    explanation: Json
    aborted: Row


async def play(ledger: Ledger, stage: Stage) -> Told:
    stage.tell("Two templates and seven twins are registered: what executions are about.")
    for template, definition in TEMPLATES.items():
        await ledger.register(f"templates/{template}", definition)
        for twin in TWINS[template]:
            await ledger.register(f"twins/{twin}", {"template": template})
    stage.tell("Ten executions are submitted in one batch.")
    await ledger.submit(BATCH)
    waiting, spare = await stage.until("two wait for one", _two_that_wait)
    explanation = await ledger.explain(waiting.id)
    waiting.said = explanation["reasons"][0]["text"]
    stage.tell(
        f"{waiting.name} has to wait: one `interval` may run at a time. {spare.name} waits, too, and is aborted."
    )
    await ledger.abort(spare.id, "one less will do")
    watch = await stage.until("prices have fallen", _watch_that_warned)
    stage.tell(f"{watch.name} would go on for ever. It is aborted while it runs.")
    await ledger.abort(watch.id, "seen enough")
    await stage.until("all have ended", lambda board: board.ended(len(BATCH)))
    return Told(explanation, watch)


def _two_that_wait(board: Board) -> tuple[Row, Row] | None:
    """Once their rival runs: then they wait for nothing else."""
    waiting = board.of("interval", "queued")
    return (waiting[0], waiting[1]) if len(waiting) == 2 and board.of("interval", "started") else None


def _watch_that_warned(board: Board) -> Row | None:
    return next((row for row in board.of("watch", "started") if row.warnings >= FALLS), None)
