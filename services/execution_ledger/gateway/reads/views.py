"""Reads of the views. Everything asked here is bounded, and a Postgres that is away is never an empty answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg

from execution_ledger.errors import Unavailable
from execution_ledger.messages.events import TYPE_PREFIX
from execution_ledger.messages.ids import command_id_of_child
from execution_ledger.messages.lines import LOG_KIND, LOG_MEDIA_TYPE
from execution_ledger.postgres import open_pool, queries

from ..edge.problems import Refused, away, refused
from ..stream.ring import Frame
from .finding import By, Filters, Listing
from .log_reading import Known, Span
from .pages import Cursor
from .positions import ANSWER_S, ViewsPosition, views_there
from .statements import Statement, page_of, stats_of, targets_of

if TYPE_CHECKING:
    from execution_ledger.postgres import Pool

POOL_SIZE_MAX = 8
LISTS_MAX = 5  # at once: they may look at every row, and reads of one execution must not wait for them
STATEMENT_S = 4.0  # below our own giving up, so that a statement that takes too long is told apart from silence

_SQL = queries("execution_ledger.gateway", "sql/executions.sql")
_JOBS = queries("execution_ledger.gateway", "sql/jobs.sql")
_ARTIFACTS = queries("execution_ledger.gateway", "sql/artifacts.sql")
_JOURNAL = queries("execution_ledger.gateway", "sql/journal.sql")
_LOGS = queries("execution_ledger.gateway", "sql/logs.sql")

Row = Mapping[str, Any]


class Views:
    def __init__(self, dsn: str, statement_s: float = STATEMENT_S) -> None:
        self._dsn = dsn
        self._statement_s = statement_s
        self._pool: Pool | None = None
        self._turns = asyncio.Semaphore(LISTS_MAX)
        self.positions = ViewsPosition(dsn)

    async def run(self) -> None:
        bounds = {"statement_timeout": f"{self._statement_s * 1000:.0f}ms", "lock_timeout": "3s"}
        self._pool = await open_pool(self._dsn, "exledger-gateway", POOL_SIZE_MAX, **bounds)  # connects when needed
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

    async def log_spans(self, execution_id: str) -> Known:
        """Its attempts, and where the log of each is kept."""
        rows = await self._fetch(_LOGS["spans"], execution_id, LOG_KIND, LOG_MEDIA_TYPE)
        spans = [_span(row) for row in rows if row["attempt"] is not None]
        return Known(any(row["ended"] for row in rows), spans)

    async def of_batch(self, batch_id: str) -> Sequence[Row]:
        return await self._fetch(_SQL["of_batch"], batch_id)

    async def first_event(self, execution_id: str) -> Row | None:
        """How it stands, with the event that queued it."""
        rows = await self._fetch(_SQL["first_event"], execution_id)
        return rows[0] if rows else None

    async def completed_steps(self, execution_id: str) -> Sequence[Row]:
        """Of its last attempt: the events in which they completed, in the order of the steps."""
        return await self._fetch(_SQL["completed_steps"], execution_id)

    async def batch(self, batch_id: str) -> Row | None:
        """How many it has, how many are live or have ended badly, and how many may yet come to be, as no ledger has
        decided on them.
        """
        rows = await self._fetch(_SQL["batch"], batch_id)
        if not rows:
            return None
        undecided = rows[0]["count"] - rows[0]["made"]
        if undecided:
            asked = [command_id_of_child(batch_id, index) for index in range(rows[0]["count"])]
            [refused] = await self._fetch(_SQL["refused_of_batch"], asked)
            undecided -= refused["count"]
        return {**rows[0], "undecided": undecided}

    async def first_events_of_batch(self, batch_id: str, statuses: Sequence[str]) -> Sequence[Row]:
        return await self._fetch(_SQL["first_events_of_batch"], batch_id, statuses)

    async def targets(self, filters: Filters, limit: int) -> Sequence[Row]:
        return await self._look(targets_of(filters, limit))

    async def named(self, ids: Sequence[str], numbers: Sequence[int]) -> Sequence[Row]:
        return await self._fetch(_JOBS["named"], ids, numbers)

    async def first_events(self, ids: Sequence[str]) -> Sequence[Row]:
        return await self._fetch(_JOBS["first_events"], ids)

    async def job(self, job_id: str) -> Row | None:
        rows = await self._fetch(_JOBS["job"], job_id)
        return rows[0] if rows else None

    async def job_event(self, job_id: str) -> bytes | None:
        rows = await self._fetch(_JOBS["event"], job_id)
        return rows[0]["event"] if rows else None

    async def job_outcomes(self, job_id: str) -> Sequence[Row]:
        """How many there are of each outcome, by shard."""
        return await self._fetch(_JOBS["outcomes"], job_id)

    async def job_refusals(self, job_id: str, limit: int) -> Sequence[Row]:
        return await self._fetch(_JOBS["refusals"], job_id, limit)

    async def asked_by_job(self, job_id: str) -> set[str]:
        """The ids of its commands that have left a trace."""
        return {row["command_id"] for row in await self._fetch(_JOBS["asked"], job_id)}

    async def jobs(self, behind: str | None, limit: int) -> Sequence[Row]:
        return await self._fetch(_JOBS["page"], limit, behind)

    async def open_jobs(self, limit: int) -> list[str]:
        return [str(row["id"]) for row in await self._fetch(_JOBS["open"], limit)]

    async def page(self, listing: Listing, behind: Cursor | None, limit: int) -> Sequence[Row]:
        """Each row has its `sort_key`, too."""
        return await self._look(page_of(listing, behind, limit))

    async def stats(self, by: By, filters: Filters, limit: int) -> Sequence[Row]:
        """Each row has `groups`, how many there are in all."""
        return await self._look(stats_of(by, filters, limit))

    async def artifacts(self, execution_id: str, after: int, limit: int) -> Sequence[Row]:
        return await self._fetch(_ARTIFACTS["of_execution"], execution_id, after, limit)

    async def artifact(self, execution_id: str, name: str, attempt: int | None, step: str | None) -> Row | None:
        rows = await self._fetch(_ARTIFACTS["of_name"], execution_id, name, attempt, step)
        return rows[0] if rows else None

    async def models(self, key: str | None, pipeline: str | None, place: Sequence[Any], limit: int) -> Sequence[Row]:
        return await self._look(Statement(_ARTIFACTS["models"], [key, pipeline, *place, limit]))

    async def model(self, key: str, number: int | None, attempt: int | None) -> Row | None:
        rows = await self._fetch(_ARTIFACTS["model"], key, number, attempt)
        return rows[0] if rows else None

    async def metrics(self, filters_and_place: Sequence[Any], limit: int) -> Sequence[Row]:
        return await self._look(Statement(_ARTIFACTS["metrics"], [*filters_and_place, limit]))

    async def metric_values(self, execution_id: str, most: int) -> Mapping[tuple[Any, ...], list[float]]:
        """By name, step and attempt."""
        rows = await self._look(Statement(_ARTIFACTS["values"], [execution_id, most]))
        return {(row["name"], row["step"], row["attempt"]): row["values"] for row in rows}

    async def shard_frames(self, shard: int, after: int, limit: int) -> list[Frame]:
        return _frames(await self._fetch(_JOURNAL["of_shard"], shard, after, limit))

    async def subject_frames(self, subject: str, after: int, limit: int) -> list[Frame]:
        return _frames(await self._fetch(_JOURNAL["of_subject"], subject, after, limit))

    async def command_event(self, command_id: str) -> bytes | None:
        rows = await self._fetch(_JOURNAL["of_command"], command_id)
        return rows[0]["event"] if rows else None

    async def _look(self, statement: Statement) -> Sequence[Row]:
        """As `_fetch`, but few at once. Raises Away where no turn comes."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._turns.acquire()
        except TimeoutError as late:
            raise away("too-busy", "Other lists are being looked through. Ask again in a second.") from late
        try:
            return await self._fetch(statement.query, *statement.values)
        finally:
            self._turns.release()

    async def _fetch(self, query: str, *values: Any) -> Sequence[Row]:
        """Raises Away where Postgres does not answer in time; Refused where it cannot hold such a value, or where it
        would have to look through too much.
        """
        try:
            with views_there():
                if self._pool is None:
                    raise Unavailable("This gateway has not begun to read the views.")
                async with asyncio.timeout(ANSWER_S):
                    return [dict(row) for row in await self._pool.fetch(query, *values)]
        except Unavailable as error:
            if isinstance(error.__cause__, asyncpg.QueryCanceledError):
                raise self._too_much() from error
            raise away("views-away", f"{error} Executions go on meanwhile; read again soon.") from error
        except asyncpg.DataError as error:  # a time before the year 1 in UTC, for one
            raise refused("invalid-request", f"A value of this request cannot be looked for: {error}.") from error

    def _too_much(self) -> Refused:
        return refused(
            "too-much-to-read",
            f"Looking through what these filters leave takes more than {self._statement_s:g} s. Narrow it: by "
            "`created_after`, `pipeline`, `twin`, `batch` or `label`, or sort by `created`.",
        )


def _span(row: Row) -> Span:
    since, until = row["dispatched_at"], row["ended_at"]
    return Span(row["attempt"], _ms(since), None if until is None else _ms(until), row["sha256"])


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1_000)


def _frames(rows: Sequence[Row]) -> list[Frame]:
    """The journal leaves the prefix of types out; a stream says the whole type, wherever its event comes from."""
    return [
        Frame(row["shard"], row["sequence"], TYPE_PREFIX + row["type"], row["subject"], row["event"]) for row in rows
    ]
