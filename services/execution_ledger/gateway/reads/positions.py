"""How far the views have come, as this gateway knows it: told by Postgres at every commit of the projector.

A read that must include a write waits here, never by asking again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from execution_ledger.errors import Unavailable
from execution_ledger.lifecycle import Signal
from execution_ledger.messages.position import Position, covers, joined, position_text
from execution_ledger.postgres import connect, queries, reachable

from ..edge.problems import away

if TYPE_CHECKING:
    from execution_ledger.postgres import Connection

CHANNEL = "ledger_positions"  # the projector notifies it with "shard:sequence"
PROBE_S = 5.0  # a connection that died without a word is found out after this
ANSWER_S = 5.0
RETRY_S = 0.5

LOG = structlog.get_logger("gateway.views")

_SQL = queries("execution_ledger.gateway", "sql/journal.sql")


@contextmanager
def views_there() -> Iterator[None]:
    """Turns a Postgres that is away, or that no projector has prepared yet, into one kind of error."""
    try:
        with reachable("answer a read"):
            yield
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise Unavailable("Postgres has no views yet: the projector makes them when it starts.") from error


class ViewsPosition:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._position: Position = {}
        self.recorded_ms: dict[int, int] = {}  # of each shard's newest event there, as it was at the last look
        self._gone = asyncio.Event()
        self.moved = Signal()
        self.known = False

    @property
    def position(self) -> Position:
        return self._position

    async def run(self) -> None:
        """Listens, and connects again whenever that ends; only cancellation ends it."""
        while True:
            try:
                await self._listen()
            except Unavailable as error:
                LOG.warning("the views do not answer", error=str(error))
            self.known = False
            await asyncio.sleep(RETRY_S)

    async def reach(self, wanted: Position, wait_s: float) -> None:
        """Returns when the views include `wanted`. Raises Away: at once without Postgres, else after `wait_s`."""
        try:
            async with asyncio.timeout(wait_s):
                while not covers(self._position, wanted):
                    if not self.known:
                        raise away("views-away", "Postgres does not answer now. Executions go on; read again soon.")
                    await self.moved.wait()
        except TimeoutError as late:
            raise away(
                "views-behind",
                f"The views are at {position_text(self._position) or 'their beginning'} and do not yet include "
                f"{position_text(wanted)}. Read again soon, or pass an empty `min_position` to read them as they are.",
            ) from late

    async def _listen(self) -> None:
        with views_there():
            connection = await connect(self._dsn, "exledger-gateway-positions")
            try:
                await self._follow(connection)
            finally:
                connection.terminate()

    async def _follow(self, connection: Connection) -> None:
        self._gone.clear()
        connection.add_termination_listener(lambda _: self._gone.set())
        await connection.add_listener(CHANNEL, self._notified)
        self._position = {}
        while not self._gone.is_set():
            rows = await connection.fetch(_SQL["positions"], timeout=ANSWER_S)
            self.recorded_ms = {row["shard"]: round(row["recorded_at"].timestamp() * 1000) for row in rows}
            self._move({row["shard"]: row["sequence"] for row in rows})
            self.known = True
            await self._wait_gone()

    async def _wait_gone(self) -> None:
        try:
            async with asyncio.timeout(PROBE_S):
                await self._gone.wait()
        except TimeoutError:
            return

    def _notified(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        shard, _, sequence = str(payload).partition(":")
        self._move({int(shard): int(sequence)})

    def _move(self, to: Position) -> None:
        self._position = joined(self._position, to)
        self.moved.fire()
