"""Reads of the views. Everything asked here is bounded, and a Postgres that is away is never an empty answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg

from execution_ledger.errors import Unavailable
from execution_ledger.messages.events import TYPE_PREFIX
from execution_ledger.messages.parts import TERMINAL
from execution_ledger.postgres import open_pool, queries

from .positions import ANSWER_S, ViewsPosition, views_there
from .problems import away, refused
from .ring import Frame

if TYPE_CHECKING:
    from execution_ledger.postgres import Pool

POOL_SIZE_MAX = 8

_SQL = queries("execution_ledger.gateway", "sql/executions.sql")
_JOURNAL = queries("execution_ledger.gateway", "sql/journal.sql")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cursor:
    """Where a page ends: the next one begins below it."""

    created_at: datetime
    id: str


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; None and empty do not narrow."""

    pipeline: str | None = None
    mode: str | None = None
    twin: str | None = None
    batch: str | None = None
    labels: Sequence[str] = field(default_factory=tuple)  # each "key=value", all must hold
    created_after: datetime | None = None
    created_before: datetime | None = None
    status: Sequence[str] = field(default_factory=tuple)  # any of them

    def given(self) -> dict[str, Any]:
        """The value of each filter that narrows, by the name of its query."""
        asked = {name: value for name, value in vars(self).items() if value}
        if "status" in asked and not TERMINAL & set(self.status):
            asked["live_status"] = asked.pop("status")
        return asked


class Views:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: Pool | None = None
        self.positions = ViewsPosition(dsn)

    async def run(self) -> None:
        self._pool = await open_pool(self._dsn, "exledger-gateway", POOL_SIZE_MAX)  # connects when first needed
        try:
            await self.positions.run()
        finally:
            self._pool.terminate()

    async def execution(self, execution_id: str) -> Row | None:
        rows = await self._fetch(_SQL["whole"], execution_id)
        return rows[0] if rows else None

    async def id_of_number(self, number: int) -> Row | None:
        rows = await self._fetch(_SQL["id_of_number"], number)
        return rows[0] if rows else None

    async def attempts(self, execution_id: str) -> Sequence[Row]:
        return await self._fetch(_SQL["attempts"], execution_id)

    async def of_batch(self, batch_id: str) -> Sequence[Row]:
        return await self._fetch(_SQL["of_batch"], batch_id)

    async def page(self, filters: Filters, below: Cursor, limit: int) -> Sequence[Row]:
        given = filters.given()
        conditions = [_SQL[f"filter_{name}"].format(value=f"${number}") for number, name in enumerate(given, start=4)]
        query = _SQL["page"].format(filters="\n".join(conditions))
        return await self._fetch(query, below.created_at, below.id, limit, *given.values())

    async def shard_frames(self, shard: int, after: int, limit: int) -> list[Frame]:
        return _frames(await self._fetch(_JOURNAL["of_shard"], shard, after, limit))

    async def subject_frames(self, subject: str, after: int, limit: int) -> list[Frame]:
        return _frames(await self._fetch(_JOURNAL["of_subject"], subject, after, limit))

    async def command_event(self, command_id: str) -> bytes | None:
        rows = await self._fetch(_JOURNAL["of_command"], command_id)
        return rows[0]["event"] if rows else None

    async def _fetch(self, query: str, *values: Any) -> Sequence[Row]:
        """Raises Away where Postgres does not answer in time, and Refused where it cannot hold such a value."""
        try:
            with views_there():
                if self._pool is None:
                    raise Unavailable("This gateway has not begun to read the views.")
                async with asyncio.timeout(ANSWER_S):
                    return [dict(row) for row in await self._pool.fetch(query, *values)]
        except Unavailable as error:
            raise away("views-away", f"{error} Executions go on meanwhile; read again soon.") from error
        except asyncpg.DataError as error:  # a time before the year 1 in UTC, for one
            raise refused("invalid-request", f"A value of this request cannot be looked for: {error}.") from error


def _frames(rows: Sequence[Row]) -> list[Frame]:
    """The journal leaves the prefix of types out; a stream says the whole type, wherever its event comes from."""
    return [
        Frame(row["shard"], row["sequence"], TYPE_PREFIX + row["type"], row["subject"], row["event"]) for row in rows
    ]
