"""Reading your own writes: which position a read must include, and the bounded wait until the views do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from execution_ledger.messages.position import Position, covers, joined, parse_position, position_text

from ..edge.problems import Away, Refused, refused
from .positions import ViewsPosition

TOKENS_MAX = 10_000
_BEHIND = ("views-behind", "dispatcher-behind")


class Reading:
    """Remembers, by token, the highest position that this gateway has answered."""

    def __init__(self, views: ViewsPosition, log: Callable[[], Position], wait_s: float) -> None:
        """`log` tells how far this gateway has read the events, which is ahead of the views."""
        self._views = views
        self._log = log
        self._wait_s = wait_s
        self._answered: OrderedDict[str, Position] = OrderedDict()

    def answered(self, token: str, position: Position) -> None:
        self._answered[token] = joined(self._answered.pop(token, {}), position)
        if len(self._answered) > TOKENS_MAX:
            self._answered.popitem(last=False)

    async def reach(self, token: str, min_position: str | None, shard: int | None = None) -> Position:
        """Waits for what the caller wants, of one shard or of all; the answer is read at this position or later.

        Raises BadRequest for what is no position, Refused for one that the log does not reach either, and Away when
        the views do not get there in time.
        """
        asked = self.asked(token, min_position, shard)
        with self.not_ahead(asked):
            return await self.include(asked)

    def asked(self, token: str, min_position: str | None, shard: int | None = None) -> Position:
        """What an answer to this caller must include, of one shard or of all. Raises BadRequest."""
        asked = self._answered.get(token, {}) if min_position is None else parse_position(min_position)
        return {it: sequence for it, sequence in asked.items() if shard in (None, it)}

    @contextmanager
    def not_ahead(self, asked: Position) -> Iterator[None]:
        """Turns an Away for being behind into a Refused where the log does not reach this position either."""
        try:
            yield
        except Away as late:
            if late.problem.kind in _BEHIND and not covers(self._log(), asked):
                raise position_ahead(self._log(), asked) from late
            raise

    async def include(self, wanted: Position) -> Position:
        await self._views.reach(wanted, self._wait_s)
        return self._views.position


def position_ahead(reached: Position, asked: Position) -> Refused:
    return refused(
        "position-ahead",
        f"The log is at {position_text(reached)}: {position_text(asked)} is of another log, or not yet. Pass a "
        "position that this API gave you, or leave it out.",
    )
