"""Views made anew on a real Postgres, while a projector moves those in use."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from contract.events_builder import BEGIN_MS, History
from contract.store_case import COMPLETED, DISPATCHED, STARTED
from execution_ledger.clock import SystemClock, World
from execution_ledger.errors import BadRequest, BadSettings, Unavailable
from execution_ledger.log.memory import MemoryLog
from execution_ledger.projector import rebuilding
from execution_ledger.projector.rebuilding import Place, Rebuilt
from execution_ledger.settings import ProjectorSettings
from integration.test_projector import events_of, projecting, ready, until, views, write

__all__ = ["views"]


def told(done: int, of: int) -> None:
    assert 0 <= done <= of


async def rebuild(log: MemoryLog, dsn: str) -> Rebuilt:
    return await rebuilding.rebuild(log, dsn, World(SystemClock(), random.Random(1)), ProjectorSettings(), told)


async def restore(log: MemoryLog, dsn: str) -> Rebuilt:
    return await rebuilding.restore(log, dsn, World(SystemClock(), random.Random(1)), ProjectorSettings(), told)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(2, now_ms=lambda: BEGIN_MS)


@pytest.fixture
async def history(log: MemoryLog) -> History:
    history = History()
    for _ in range(3):
        history.add(history.queue(twin="pump"), DISPATCHED, STARTED, COMPLETED)
    await write(log, history)
    return history


async def twins(views: Any, schema: str) -> set[str]:
    return {row["twin"] for row in await views.fetch(f"SELECT twin FROM {schema}.executions")}


async def test_what_was_wrong_is_what_the_log_says_and_the_projector_goes_on(
    log: MemoryLog, history: History, database: str, views: Any
) -> None:
    async with projecting(log, database) as service:
        await ready(service)
        await until(views, 1, history.sequence)
        await views.execute("UPDATE ledger.executions SET twin = 'forged' WHERE number % 2 = 1")
        wrong = await views.fetchval("SELECT count(*) FROM ledger.executions WHERE twin = 'forged'")
        assert await rebuild(log, database) == Rebuilt(history.sequence, wrong)
        assert wrong
        assert await twins(views, "ledger_v1") == {"pump"}
        assert "forged" in await twins(views, "ledger_v1_before")
        history.queue()
        await write(log, history)
        await until(views, 1, history.sequence)
        assert service.halted == {}
    assert await events_of(views, 1) == [recorded.raw for recorded in history.events]


async def test_what_was_replaced_can_be_put_back_once_it_has_caught_up(
    log: MemoryLog, history: History, database: str, views: Any
) -> None:
    with pytest.raises(BadRequest, match="views rebuild"):
        await restore(log, database)
    async with projecting(log, database) as service:
        await ready(service)
        await until(views, 1, history.sequence)
    await views.execute("UPDATE ledger.executions SET twin = 'old'")
    await rebuild(log, database)
    history.queue(twin="new")
    await write(log, history)
    await restore(log, database)
    assert await twins(views, "ledger_v1") == {"old", "new"}
    assert await twins(views, "ledger_v1_before") == {"pump"}
    assert await events_of(views, 1) == [recorded.raw for recorded in history.events]


async def test_a_projector_that_would_not_go_on_does_after_it(
    log: MemoryLog, history: History, database: str, views: Any
) -> None:
    await rebuild(log, database)  # there were none before
    await views.execute("DELETE FROM ledger.journal WHERE sequence > 2")
    async with projecting(log, database) as service:
        await service.has_halted.wait()
    assert "exledger views rebuild" in str(service.halted[1])
    await rebuild(log, database)
    async with projecting(log, database) as service:
        await ready(service)
        assert service.halted == {}
    assert await events_of(views, 1) == [recorded.raw for recorded in history.events]


async def test_what_others_were_granted_they_keep(log: MemoryLog, history: History, database: str, views: Any) -> None:
    await rebuild(log, database)
    role = f"bi_{random.SystemRandom().getrandbits(32)}"
    await views.execute(f'CREATE ROLE "{role}"; GRANT USAGE ON SCHEMA ledger_v1 TO "{role}"')
    await views.execute(
        f'GRANT SELECT ON ledger_v1.executions TO "{role}"; GRANT SELECT ON ledger_v1.journal TO PUBLIC'
    )
    await rebuild(log, database)
    may = "SELECT has_schema_privilege($1, 'ledger_v1', 'usage') AND has_table_privilege($1, $2, 'select')"
    found = [await views.fetchval(may, role, f"ledger_v1.{name}") for name in ("executions", "journal", "attempts")]
    assert found == [True, True, False]
    await views.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


async def test_one_at_a_time_and_only_by_whom_may(log: MemoryLog, history: History, database: str, views: Any) -> None:
    await views.execute("SELECT pg_advisory_lock($1)", rebuilding.LOCK)
    with pytest.raises(Unavailable, match="Another command"):
        await rebuild(log, database)
    await views.execute("SELECT pg_advisory_unlock_all()")
    role = f"weak_{random.SystemRandom().getrandbits(32)}"
    await views.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'weak'")
    parts = urlsplit(database)
    weak = urlunsplit(parts._replace(netloc=f"{role}:weak@{parts.netloc.rpartition('@')[2]}"))
    with pytest.raises(BadSettings, match="Nothing was replaced"):
        await rebuild(log, weak)
    await views.execute(f'DROP ROLE "{role}"')


async def test_one_that_was_interrupted_leaves_nothing_in_the_way(
    log: MemoryLog, history: History, database: str, views: Any
) -> None:
    await rebuild(log, database)
    await views.execute("CREATE SCHEMA ledger_next; CREATE TABLE ledger_next.positions (other text)")
    assert (await rebuild(log, database)).differing == 0
    left = await views.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'ledger%' ORDER BY 1")
    assert [row[0] for row in left] == ["ledger", "ledger_before", "ledger_v1", "ledger_v1_before"]


def test_views_never_go_back_but_for_those_of_another_log() -> None:
    used = {1: Place("log", 7, 9, 10)}
    assert not rebuilding._has_passed(used, {1: Place("log", 6, 8, 9)})
    assert rebuilding._has_passed(used, {1: Place("log", 7, 9, 10)})
    assert rebuilding._has_passed(used, {1: Place("other", 1, 0, 2)})


async def test_the_new_ones_are_not_behind_those_that_they_replace(
    log: MemoryLog, history: History, database: str, views: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new views take themselves for near enough at once; what is in use is further, and is reached first."""
    async with projecting(log, database) as service:
        await ready(service)
        await until(views, 1, history.sequence)
    monkeypatch.setattr(rebuilding, "_is_near", lambda ends, at: True)
    assert (await rebuild(log, database)).events == history.sequence
