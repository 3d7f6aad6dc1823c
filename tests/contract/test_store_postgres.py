"""The view store on Postgres keeps the contract, and does what only a database can get wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from contract.events_builder import History
from contract.store_case import BUSY, COMPLETED, DISPATCHED, LOADED, STARTED, STEPS, TABLES, Row, folded, project
from contract.store_catalog_contract import CatalogContract
from contract.store_contract import StoreContract
from contract.store_jobs_contract import JobsContract
from contract.store_recorded_contract import RecordedContract
from contract.store_rows_contract import RowsContract
from execution_ledger.errors import BrokenHistory, OutcomeUnknown, Unavailable
from execution_ledger.messages.events import Aborted, AbortRequested, Failed, Requeued, Warned
from execution_ledger.postgres import connect
from execution_ledger.projector.changes import HOT
from execution_ledger.projector.migrations import migrate
from execution_ledger.projector.postgres import PostgresStore

WAIT_S = 30.0


@pytest.fixture(scope="module")
async def views(postgres: str) -> AsyncIterator[str]:
    """The dsn of a migrated database for all these tests: making one for each takes longer than they do."""
    admin = await connect(postgres, "tests")
    await admin.execute("CREATE DATABASE store_contract")
    dsn = f"{postgres.rpartition('/')[0]}/store_contract"
    await migrate(dsn)
    yield dsn
    await admin.execute("DROP DATABASE store_contract WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def reader(views: str) -> AsyncIterator[Any]:
    reader = await connect(views, "tests")
    await reader.execute(";".join(f"DELETE FROM ledger.{table}" for table in TABLES))
    yield reader
    await reader.close()


@pytest.fixture
async def store(views: str, reader: Any) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(views)
    yield store
    await store.close()


class TestPostgresStore(RecordedContract, StoreContract, RowsContract, CatalogContract, JobsContract):
    @pytest.fixture(autouse=True)
    def _reader(self, reader: Any) -> None:
        self.reader = reader

    async def rows(self, store: PostgresStore, table: str) -> list[Row]:
        assert table in TABLES
        return [{column: plain(value) for column, value in row.items()} for row in await self._fetch(table)]

    async def announced(self, store: PostgresStore, work: Any) -> list[tuple[int, int]]:
        heard: asyncio.Queue[str] = asyncio.Queue()
        await self.reader.add_listener("ledger_positions", lambda *said: heard.put_nowait(said[-1]))
        await work
        async with asyncio.timeout(5):
            shard, sequence = (await heard.get()).split(":")
        await self.reader.reset()
        return [(int(shard), int(sequence))]

    async def _fetch(self, table: str) -> list[Any]:
        rows: list[Any] = await self.reader.fetch(f"SELECT * FROM ledger.{table} ORDER BY 1, 2")
        return rows


def plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


async def test_the_views_belong_to_the_contract(store: PostgresStore, reader: Any) -> None:
    """Every view can be read, and says what it is."""
    views = await reader.fetch(
        "SELECT c.relname, obj_description(c.oid) AS comment FROM pg_class AS c "
        "WHERE c.relnamespace = 'ledger_v1'::regnamespace"
    )
    assert {view["relname"] for view in views} == {*TABLES, "models", "twins"}
    for view in views:
        assert view["comment"]
        assert await reader.fetch(f"SELECT * FROM ledger_v1.{view['relname']}") == []


async def test_the_view_of_executions_computes_durations_and_gathers_warnings(
    store: PostgresStore, reader: Any
) -> None:
    history = History()
    execution, waiting = history.queue(), history.queue()
    history.add(execution, DISPATCHED, STARTED)
    history.add(execution, *(Warned(attempt=1, ordinal=2, message=f"w{number}") for number in range(102)))
    history.add(execution, COMPLETED)
    await project(store, history)
    query = "SELECT waiting_ms, execution_ms, total_ms, warnings FROM ledger_v1.executions WHERE id = $1"
    done = await reader.fetchrow(query, execution)
    assert tuple(done)[:3] == (3, 103, 106)
    assert done["warnings"].count('"attempt":1') == 100
    assert tuple(await reader.fetchrow(query, waiting)) == (None, None, None, "[]")


LOST = Requeued(attempt=1, cause="lost")
AGAIN, STARTED_AGAIN, COMPLETED_AGAIN = (
    fact.model_copy(update={"attempt": 2}) for fact in (DISPATCHED, STARTED, COMPLETED)
)


@pytest.mark.parametrize(
    ("life", "newest", "together", "attempts"),
    [
        ([], (None, None, None), (None, None), []),
        ([DISPATCHED, STARTED], (2, None, None), (2, None), [(2, None, None)]),
        ([DISPATCHED, STARTED, LOST], (None, None, None), (None, 1), [(2, 1, 3)]),
        ([DISPATCHED, STARTED, LOST, AGAIN, STARTED_AGAIN], (5, None, None), (4, 1), [(2, 1, 3), (2, None, None)]),
        (
            [DISPATCHED, STARTED, LOST, AGAIN, STARTED_AGAIN, COMPLETED_AGAIN],
            (5, 1, 6),
            (4, 2),
            [(2, 1, 3), (2, 1, 3)],
        ),
        ([DISPATCHED, STARTED, LOST, Aborted(outcome="not_running")], (4, None, 4), (3, 1), [(2, 1, 3)]),
        (
            [DISPATCHED, LOST, AGAIN, Aborted(attempt=2, outcome="forced")],
            (4, None, 4),
            (4, None),
            [(2, None, 2), (2, None, 2)],
        ),
    ],
    ids=["queued", "started", "lost", "started again", "completed", "aborted between two", "never started"],
)
async def test_times_are_of_the_newest_attempt_of_all_together_and_of_each(
    store: PostgresStore, reader: Any, life: list[Any], newest: Any, together: Any, attempts: Any
) -> None:
    """A millisecond lies between two events: each attempt waits for two, and runs for one."""
    history = History()
    execution = history.queue()
    history.add(execution, *life)
    await project(store, history)
    times = "waiting_ms, execution_ms, total_ms"
    query = f"SELECT {times}, all_waiting_ms, all_execution_ms FROM ledger_v1.executions"
    assert tuple(await reader.fetchrow(query)) == (*newest, *together)
    each = await reader.fetch(f"SELECT {times} FROM ledger_v1.attempts ORDER BY attempt")
    assert [tuple(row) for row in each] == attempts


async def test_an_abort_took_from_its_request_to_the_end(store: PostgresStore, reader: Any) -> None:
    """A millisecond lies between two events."""
    history = History()
    soon, late, never = (history.queue() for _ in range(3))
    requested = AbortRequested(attempt=1, grace_until=9)
    history.add(soon, DISPATCHED, STARTED, requested, Aborted(attempt=1, outcome="acknowledged"))
    history.add(late, DISPATCHED, requested, STARTED, Aborted(attempt=1, outcome="forced"))
    history.add(never, DISPATCHED, requested)
    await project(store, history)
    query = "SELECT id::text, abort_ms FROM ledger_v1.executions"
    assert dict(await reader.fetch(query)) == {soon: 1, late: 2, never: None}


async def test_the_view_of_steps_adds_what_no_event_says(store: PostgresStore, reader: Any) -> None:
    """Pending before they begin, and closed by the end of their attempt."""
    history = History()
    waiting, running, ended, lost, failed = (history.queue(steps=STEPS) for _ in range(5))
    alone = history.queue()
    for execution in (running, ended, lost, failed, alone):
        history.add(execution, DISPATCHED, STARTED)
    for execution in (running, ended, lost, failed):
        history.add(execution, LOADED[0])
    history.add(ended, Aborted(attempt=1, outcome="self"))
    history.add(lost, Requeued(attempt=1, cause="lost"), DISPATCHED.model_copy(update={"attempt": 2}))
    history.add(failed, *LOADED[1:], Failed(attempt=1, failure=BUSY))
    await project(store, history)
    query = "SELECT attempt, step, status, tries FROM ledger_v1.steps WHERE execution_id = $1 ORDER BY attempt, place"
    found = {
        name: [tuple(row) for row in await reader.fetch(query, name)] for name in (waiting, running, ended, failed)
    }
    assert found[waiting] == [(0, "load", "pending", 0), (0, "fit", "pending", 0)]
    assert found[running] == [(1, "load", "started", 1), (1, "fit", "pending", 0)]
    assert found[ended] == [(1, "load", "aborted", 1), (1, "fit", "skipped", 0)]
    assert found[failed] == [(1, "load", "completed", 2), (1, "fit", "skipped", 0)]
    assert [tuple(row)[2] for row in await reader.fetch(query, lost)] == ["failed", "skipped", "pending", "pending"]
    assert await reader.fetch(query, alone) == []
    ends = "SELECT ended_at FROM ledger_v1.steps WHERE execution_id = $1 ORDER BY place"
    aborted_at = await reader.fetchval("SELECT ended_at FROM ledger_v1.executions WHERE id = $1", ended)
    assert [row[0] for row in await reader.fetch(ends, ended)] == [aborted_at, None]


async def test_no_index_covers_a_column_that_changes(store: PostgresStore, reader: Any) -> None:
    """Else every update of an execution would write all its indexes, instead of staying within its page."""
    rows = await reader.fetch(
        "SELECT DISTINCT a.attname FROM pg_index AS i JOIN pg_attribute AS a "
        "ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = 'ledger.executions'::regclass"
    )
    indexed = {row["attname"] for row in rows}
    assert {"id", "number", "pipeline"} <= indexed
    assert not indexed & set(HOT)


async def test_a_journal_that_lost_its_newest_row_is_noticed(store: PostgresStore, reader: Any) -> None:
    history = History()
    history.queue()
    history.queue()
    await project(store, history)
    await reader.execute("DELETE FROM ledger.journal WHERE sequence = 2")
    with pytest.raises(BrokenHistory, match="views rebuild"):
        await store.position(1)


async def test_an_answer_that_never_comes_is_an_unknown_outcome_and_the_next_call_works(
    store: PostgresStore, reader: Any
) -> None:
    history = History()
    execution = history.queue()
    await project(store, history)
    at = await store.position(1)
    history.add(execution, DISPATCHED)
    changes = await folded(store, history)
    async with reader.transaction(), asyncio.timeout(WAIT_S):
        await reader.execute("LOCK TABLE ledger.positions IN ACCESS EXCLUSIVE MODE")
        applying = asyncio.create_task(store.apply(at, changes))
        while not (waits := await reader.fetchval("SELECT pid FROM pg_locks WHERE NOT granted LIMIT 1")):
            assert not applying.done()
        await reader.execute("SELECT pg_terminate_backend($1)", waits)
        with pytest.raises(OutcomeUnknown):
            await applying
    assert await store.position(1) == at
    await store.apply(at, changes)
    assert await store.position(1) == changes.position


async def test_a_second_projector_waits_for_the_first_and_then_finds_nothing_to_do(
    views: str, store: PostgresStore, reader: Any
) -> None:
    history = History()
    history.queue()
    await project(store, history)
    at = await store.position(1)
    history.queue()
    changes = await folded(store, history)
    zombie = PostgresStore(views)
    outcomes = await asyncio.gather(store.apply(at, changes), zombie.apply(at, changes), return_exceptions=True)
    await zombie.close()
    assert [type(outcome) for outcome in outcomes if outcome] == [OutcomeUnknown]
    assert await reader.fetchval("SELECT count(*) FROM ledger.journal") == 2


async def test_rows_that_postgres_refuses_are_not_tried_for_ever(store: PostgresStore) -> None:
    history = History()
    history.queue()
    changes = await folded(store, history)
    changes.journal.append(changes.journal[0])
    with pytest.raises(BrokenHistory, match="refuses"):
        await store.apply(None, changes)
    assert await store.position(1) is None


async def test_a_server_that_is_away_is_unavailable() -> None:
    store = PostgresStore("postgresql://postgres@127.0.0.1:1/postgres")
    with pytest.raises(Unavailable):
        await store.prepare()
    with pytest.raises(Unavailable):
        await store.position(1)


async def test_a_connection_that_was_cut_is_not_used_again(store: PostgresStore, reader: Any) -> None:
    await store.position(1)
    with pytest.raises(asyncpg.PostgresError):
        async with store._connection(1) as connection:
            await connection.execute("SELECT 1/0")
    assert await store.position(1) is None
