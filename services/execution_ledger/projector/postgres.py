"""The view store on Postgres: one transaction per batch, one connection per shard.

The first statement is the compare-and-set of the shard's position. It alone makes the projection exactly once: a
projector that was thought dead waits on its row lock, and then finds that there is nothing left to move. So new rows
are never in conflict with old ones and go in by COPY; only what changes later is merged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import asyncpg

from execution_ledger.errors import BrokenHistory, OutcomeUnknown
from execution_ledger.postgres import AWAY, REFUSALS, connect, queries, reachable

from .changes import (
    HOT,
    LIVE_HOT,
    LIVE_IDENTITY,
    PROGRESS,
    ArtifactRow,
    AttemptRow,
    BatchRow,
    Changes,
    CheckpointRow,
    EntryRow,
    Identity,
    JobRow,
    JournalRow,
    MetricRow,
    PipelineRow,
    StepRow,
    StoredPosition,
    WarningRow,
)
from .migrations import migrate

if TYPE_CHECKING:
    from execution_ledger.postgres import Connection

_ATTEMPT = tuple(it.name for it in fields(AttemptRow))
_BATCH = tuple(it.name for it in fields(BatchRow))
_JOB = tuple(it.name for it in fields(JobRow))
_STEP = tuple(it.name for it in fields(StepRow))

_patch_values = attrgetter(*PROGRESS)
_hot_values = attrgetter(*HOT)
_attempt_values = attrgetter(*_ATTEMPT)
_batch_values = attrgetter(*_BATCH)
_job_values = attrgetter(*_JOB)
_step_values = attrgetter(*_STEP)
_live_identity_values = attrgetter(*LIVE_IDENTITY)
_live_hot_values = attrgetter(*LIVE_HOT)


class PostgresStore:
    """`suffix` as of `postgres.beside`: for views that are made anew beside those in use."""

    def __init__(self, dsn: str, suffix: str = "") -> None:
        self._dsn = dsn
        self._suffix = suffix
        self._sql = queries("execution_ledger.projector", "sql/apply.sql", suffix)
        self._connections: dict[int, Connection] = {}

    async def prepare(self) -> None:
        await migrate(self._dsn, suffix=self._suffix)

    async def close(self) -> None:
        while self._connections:
            _, connection = self._connections.popitem()
            connection.terminate()  # nothing is under way, or it may as well never have been

    async def position(self, shard: int) -> StoredPosition | None:
        with reachable("say how far the views have come"):
            async with self._connection(shard) as connection:
                row = await connection.fetchrow(self._sql["position"], shard)
        if row is None:
            return None
        *position, agrees = row
        if not agrees:
            raise BrokenHistory(
                f"The views of shard {shard} say that they are at sequence {row['sequence']}, but the newest row of "
                "their journal is another event. `exledger views rebuild` makes them anew."
            )
        return StoredPosition(*position)

    async def apply(self, expected: StoredPosition | None, changes: Changes) -> None:
        shard = changes.shard
        try:
            async with self._connection(shard) as connection, connection.transaction():
                await _move(connection, self._sql, expected, changes)
                await _insert(connection, f"ledger{self._suffix}", changes)
                await _merge(connection, self._sql, changes)
        except REFUSALS as error:
            raise BrokenHistory(
                f"Postgres refuses the rows of shard {shard} up to sequence {changes.position.sequence}: {error}. "
                "Nothing of them was stored."
            ) from error
        except (asyncpg.PostgresError, *AWAY) as error:
            raise OutcomeUnknown(
                f"Postgres did not confirm shard {shard} up to sequence {changes.position.sequence} "
                f"({str(error) or type(error).__name__}). Its stored position tells what happened; nothing "
                "is lost or doubled."
            ) from error

    @asynccontextmanager
    async def _connection(self, shard: int) -> AsyncIterator[Connection]:
        """The shard's own connection. Whatever goes wrong on it, it is not used again: its state is unknown."""
        connection = self._connections.pop(shard, None)
        if connection is None or connection.is_closed():
            connection = await connect(self._dsn, f"exledger-projector-{shard}")
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise
        self._connections[shard] = connection


async def _move(
    connection: Connection, sql: Mapping[str, str], expected: StoredPosition | None, changes: Changes
) -> None:
    position = (changes.shard, *changes.position)
    if expected is None:
        moved = await connection.fetch(sql["first_position"], *position)
    else:
        known = (expected.next_offset, expected.sequence, expected.digest)
        moved = await connection.fetch(sql["move_position"], *position, *known)
    if not moved:
        raise OutcomeUnknown(f"The views of shard {changes.shard} are not where this projector left them.")


async def _insert(connection: Connection, schema: str, changes: Changes) -> None:
    both = [(identity, changes.progress[identity.id]) for identity in changes.created.values()]
    live = [(identity, progress) for identity, progress in both if not progress.ended]
    await _copy(connection, schema, "journal", JournalRow._fields, changes.journal)
    await _copy(
        connection,
        schema,
        "executions",
        Identity._fields + HOT,
        [(*identity, *_hot_values(progress)) for identity, progress in both],
    )
    await _copy(
        connection,
        schema,
        "live_executions",
        LIVE_IDENTITY + LIVE_HOT,
        [(*_live_identity_values(identity), *_live_hot_values(progress)) for identity, progress in live],
    )
    await _copy(connection, schema, "warnings", WarningRow._fields, changes.warnings)
    await _copy(connection, schema, "artifacts", ArtifactRow._fields, changes.artifacts)
    await _copy(connection, schema, "metrics", MetricRow._fields, changes.metrics)
    await _copy(connection, schema, "checkpoints", CheckpointRow._fields, changes.checkpoints)
    await _copy(connection, schema, "pipelines", PipelineRow._fields, changes.pipelines)
    await _copy(connection, schema, "entries", EntryRow._fields, changes.entries)
    await _copy(connection, schema, "batches", _BATCH, [_batch_values(it) for it in changes.batches])
    await _copy(connection, schema, "jobs", _JOB, [_job_values(it) for it in changes.jobs])


async def _copy(
    connection: Connection, schema: str, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    if rows:
        await connection.copy_records_to_table(table, schema_name=schema, columns=columns, records=rows)


async def _merge(connection: Connection, sql: Mapping[str, str], changes: Changes) -> None:
    patches = changes.patches()
    if patches:
        found = await connection.fetchval(sql["patch_executions"], *_columns(_patch_values(it) for it in patches))
        if found != len(patches):
            raise BrokenHistory(
                f"{len(patches) - found} of {len(patches)} executions in shard {changes.shard}, up to sequence "
                f"{changes.position.sequence}, do not continue the version or digest that the views hold. "
                "`exledger views rebuild` makes them anew."
            )
    if changes.attempts:
        attempts = changes.attempts.values()
        await connection.execute(sql["put_attempts"], *_columns(_attempt_values(it) for it in attempts))
    if changes.labels:
        await connection.execute(sql["put_labels"], *_columns(changes.labels.values()))
    if changes.steps:
        await connection.execute(sql["put_steps"], *_columns(_step_values(it) for it in changes.steps.values()))
    if changes.commands:
        await connection.execute(sql["put_commands"], *_columns(changes.commands.values()))


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows as the arrays that unnest() takes: one parameter per column, whatever the number of rows."""
    return list(zip(*rows, strict=True))
