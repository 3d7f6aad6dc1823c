"""Executions are found over HTTP in a real Postgres: every order, every filter, search and counts."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from execution_ledger.clock import real_world
from execution_ledger.gateway.app import create_app
from execution_ledger.gateway.edge.problems import Away, Refused
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.gateway.reads.finding import Filters, Listing
from execution_ledger.gateway.reads.pages import read_cursor, write_cursor
from execution_ledger.gateway.reads.statements import page_of
from execution_ledger.gateway.reads.views import LISTS_MAX, Views
from execution_ledger.lifecycle import end_tasks
from execution_ledger.log.memory import MemoryLog
from execution_ledger.messages.parts import Status
from execution_ledger.postgres import connect
from execution_ledger.projector.migrations import migrate
from execution_ledger.settings import Settings
from integration.found_rows import (
    GROUPS,
    SORTS,
    Row,
    in_order,
    matching,
    percentile,
    random_filters,
    random_row,
    waiting_ms,
    why,
    write,
)
from unit.gateway_http_stage import SHARDS, TOKEN, check_problem

if TYPE_CHECKING:
    from execution_ledger.postgres import Connection

ROWS = 150
WAIT_S = 10.0
EVERY_SORT = [sign + column for column in SORTS for sign in ("", "-")]


def settings(dsn: str) -> Settings:
    token = sha256(TOKEN.encode()).hexdigest()
    return Settings.model_validate({"gateway": {"token_sha256": token}, "postgres": {"dsn": dsn}})


@pytest.fixture
async def stored(database: str) -> AsyncIterator[Connection]:
    """A migrated database, to be written to."""
    await migrate(database)
    connection = await connect(database, "tests")
    yield connection
    await connection.close()


@pytest.fixture
async def http(database: str, stored: Connection) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway over that database."""
    world = real_world()
    gateway = Gateway(MemoryLog(SHARDS, now_ms=world.clock.now_ms), world, settings(database))
    transport = httpx.ASGITransport(create_app(gateway), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    client = httpx.AsyncClient(transport=transport, base_url="http://ledger", headers=headers)
    async with reading(gateway.views), client:
        yield client


async def get(http: httpx.AsyncClient, path: str = "", **params: Any) -> dict[str, Any]:
    response = await http.get(f"/v1/executions{path}", params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert response.headers["Ledger-Position"] == answer["position"]
    return answer


async def walk(http: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    """All pages, one after the other."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await get(http, **params, **cursor)
        found += page["items"]
        if page["next"] is None:
            return found
        assert len(page["items"]) == params["limit"]
        cursor = {"cursor": page["next"]}


def ids(rows: list[Row]) -> list[str]:
    return [str(row["id"]) for row in rows]


@pytest.mark.parametrize("seed", range(4))
async def test_pages_hold_each_matching_row_once_and_in_order(
    http: httpx.AsyncClient, stored: Connection, seed: int
) -> None:
    random = Random(seed)
    rows = [random_row(random, ordinal) for ordinal in range(ROWS)]
    await write(stored, rows)
    for sort in EVERY_SORT:
        for filters in ({}, random_filters(random), random_filters(random)):
            found = await walk(http, sort=sort, limit=random.randint(1, 60), **filters)
            assert ids(found) == ids(in_order(matching(rows, filters), sort)), (sort, filters)
    whys = {each["id"]: each["why"] for each in await walk(http, limit=60)}
    assert whys == {str(row["id"]): why(row) for row in rows}


@pytest.mark.parametrize("seed", range(3))
async def test_counts_and_percentiles_are_those_of_a_naive_computation(
    http: httpx.AsyncClient, stored: Connection, seed: int
) -> None:
    random = Random(seed)
    rows = [random_row(random, ordinal) for ordinal in range(ROWS)]
    await write(stored, rows)
    for by in GROUPS:
        for filters in ({}, random_filters(random), random_filters(random), random_filters(random)):
            stats = await get(http, "/stats", by=by, **filters)
            assert (stats["by"], stats["left_off"]) == (by, 0)
            assert {item.pop("value"): item for item in stats["items"]} == naive_stats(by, matching(rows, filters))


def naive_stats(by: str, rows: list[Row]) -> dict[str | None, Any]:
    groups: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        groups[GROUPS[by](row)].append(row)
    return {
        value: {
            "count": len(group),
            "waiting_ms": percentiles([waiting_ms(row) for row in group]),
            "execution_ms": percentiles([SORTS["took"](row) for row in group]),
        }
        for value, group in groups.items()
    }


def percentiles(values: list[int | None]) -> dict[str, Any] | None:
    if all(value is None for value in values):
        return None
    return {f"p{share}": pytest.approx(percentile(values, share / 100)) for share in (50, 95, 99)}


async def test_groups_are_the_largest_first_and_days_the_newest(http: httpx.AsyncClient, stored: Connection) -> None:
    random = Random(1)
    rows = [random_row(random, ordinal) for ordinal in range(ROWS)]
    await write(stored, rows)
    counts = [item["count"] for item in (await get(http, "/stats", by="status"))["items"]]
    assert counts == sorted(counts, reverse=True)
    assert [item["value"] for item in (await get(http, "/stats", by="day"))["items"]] == ["2026-11-21", "2026-11-20"]
    first = await get(http, "/stats", by="status", limit=2)
    assert ([item["count"] for item in first["items"]], first["left_off"]) == (counts[:2], len(counts) - 2)
    assert (await get(http, "/stats", twin="nobody"))["items"] == []


async def test_a_cursor_of_another_list_is_refused(http: httpx.AsyncClient, stored: Connection) -> None:
    random = Random(1)
    await write(stored, [random_row(random, ordinal) for ordinal in range(9)])
    cursor = (await get(http, limit=2, priority=0))["next"] or (await get(http, limit=2))["next"]
    for other in ({"sort": "created"}, {"sort": "-ended"}, {"mode": "experiment"}, {"priority": 1}):
        problem = check_problem(await http.get("/v1/executions", params={"cursor": cursor, **other}), "invalid-request")
        assert "belongs to another list" in problem["detail"]


async def test_what_takes_too_long_to_look_through_is_refused_and_says_how_to_narrow_it(
    database: str, stored: Connection
) -> None:
    """Whatever it is that takes so long: here it is a lock, so that no machine is too quick for it."""
    random = Random(1)
    await write(stored, [random_row(random, ordinal) for ordinal in range(20)])
    views = Views(database, statement_s=0.1)
    async with reading(views), stored.transaction():
        await stored.execute("LOCK ledger.executions")
        with pytest.raises(Refused, match=r"more than 0.1 s. Narrow it: by `created_after`"):
            await views.page(Listing(Filters(q="nothing like it")), None, 10)
        with pytest.raises(Refused, match="Narrow it"):
            await views.stats("twin", Filters(), 10)
    patient = Views(database)
    async with reading(patient):
        assert len(await patient.page(Listing(Filters()), None, 10)) == 10


async def test_lists_that_take_long_leave_room_for_reads_of_one_execution(database: str, stored: Connection) -> None:
    """As many as may wait for a lock on all executions do; a read that needs no such table answers meanwhile."""
    views = Views(database, statement_s=60)
    async with reading(views), stored.transaction():
        await stored.execute("LOCK ledger.executions")
        lists = [asyncio.create_task(views.stats("twin", Filters(), 10)) for _ in range(2 * LISTS_MAX)]
        async with asyncio.timeout(WAIT_S):
            while await stored.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < LISTS_MAX:
                assert not any(each.done() for each in lists)
        assert await views.command_event("none") is None
        assert not any(each.done() for each in lists)
        refused = await asyncio.gather(*lists, return_exceptions=True)
    assert all(isinstance(each, Away) for each in refused)


@pytest.mark.parametrize(
    "listing",
    [
        Listing(Filters()),
        Listing(Filters(), "created"),
        Listing(Filters(), "-number"),
        Listing(Filters(pipeline=["train"])),
        Listing(Filters(twin="pump-1")),
        Listing(Filters(status=[Status.COMPLETED])),
    ],
    ids=lambda listing: f"{listing.sort} {listing.filters.given()}",
)
async def test_what_people_ask_for_most_reads_little_more_than_its_page(stored: Connection, listing: Listing) -> None:
    """It walks an index in the order of the page, from the cursor on."""
    random = Random(1)
    await write(stored, [random_row(random, ordinal) for ordinal in range(3_000)])
    await stored.execute("ANALYZE")
    first = page_of(listing, None, 50)
    last = (await stored.fetch(first.query, *first.values))[-1]
    behind = page_of(listing, read_cursor(write_cursor(dict(last), listing), listing), 50)
    for statement in (first, behind):
        plan = await stored.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.query}", *statement.values)
        assert rows_read(json.loads(plan[0][0])[0]["Plan"]) < 500


def rows_read(plan: dict[str, Any]) -> float:
    """By all scans: what they gave, and what they looked at in vain."""
    below = sum(rows_read(each) for each in plan.get("Plans", ()))
    if "Scan" not in plan["Node Type"]:
        return below
    looked: float = plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
    return below + looked


@asynccontextmanager
async def reading(views: Views) -> AsyncIterator[None]:
    world = real_world()
    task = world.spawn(views.run(), "views")
    while not views.positions.known:
        await views.positions.moved.wait()
    yield
    await end_tasks([task])
