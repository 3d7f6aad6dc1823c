"""Reading your own writes: which position a read must include, and the bounded wait until the views do."""

from __future__ import annotations

from collections import OrderedDict

from execution_ledger.messages.position import Position, joined, parse_position

from .positions import ViewsPosition

TOKENS_MAX = 10_000


class Reading:
    """Remembers, by token, the highest position that this gateway has answered."""

    def __init__(self, views: ViewsPosition, wait_s: float) -> None:
        self._views = views
        self._wait_s = wait_s
        self._answered: OrderedDict[str, Position] = OrderedDict()

    def answered(self, token: str, position: Position) -> None:
        self._answered[token] = joined(self._answered.pop(token, {}), position)
        if len(self._answered) > TOKENS_MAX:
            self._answered.popitem(last=False)

    async def reach(self, token: str, min_position: str | None, shard: int | None = None) -> Position:
        """Waits for what the caller wants, of one shard or of all; the answer is read at this position or later.

        Raises BadRequest for what is no position, and Away when the views do not get there in time.
        """
        asked = self._answered.get(token, {}) if min_position is None else parse_position(min_position)
        return await self.include({it: sequence for it, sequence in asked.items() if shard in (None, it)})

    async def include(self, wanted: Position) -> Position:
        await self._views.reach(wanted, self._wait_s)
        return self._views.position
