"""Finding executions: lists in any order, and counts with percentiles. Both take the same filters."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from ..edge.http import MinPosition, StrictRoute, TheCaller, TheGateway
from ..reads.finding import By, Listing, Sort, TheFilters
from ..reads.pages import Limit, PageCursor, read_cursor, write_cursor
from ..reads.records import ExecutionPage, Stats, stats_group, summary
from ..writes.answering import tell_position

_SORT = (
    "With - the largest first; what has no such value is last. `waiting`, `took` and `total` are `waiting_ms`, "
    "`execution_ms` and `total_ms` of the record"
)

router = APIRouter(prefix="/v1/executions", tags=["executions"], route_class=StrictRoute)


@router.get("")
async def list_executions(
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    filters: TheFilters,
    sort: Annotated[Sort, Query(description=_SORT)] = "-created",
    cursor: PageCursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> ExecutionPage:
    """By default the newest first. What changes while pages are read may move in an order of what changes."""
    listing = Listing(filters, sort)
    behind = read_cursor(cursor, listing)
    position = await gateway.reading.reach(caller.token, min_position)
    rows = await gateway.views.page(listing, behind, limit + 1)
    return ExecutionPage(
        items=[summary(row) for row in rows[:limit]],
        next=write_cursor(rows[limit - 1], listing) if len(rows) > limit else None,
        position=tell_position(request, position),
    )


@router.get("/stats")
async def count_executions(
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    filters: TheFilters,
    by: Annotated[By, Query(description="`day` is that of its creation, in UTC")] = "status",
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Stats:
    """How many, and the percentiles of how long they waited and ran, in milliseconds.

    These are `waiting_ms` and `execution_ms` of the records: up to the start of the newest attempt, and from there on.
    What earlier attempts ran counts as waiting for the one that counts.
    """
    position = await gateway.reading.reach(caller.token, min_position)
    rows = await gateway.views.stats(by, filters, limit)
    return Stats(
        by=by,
        items=[stats_group(row) for row in rows],
        left_off=rows[0]["groups"] - len(rows) if rows else 0,
        position=tell_position(request, position),
    )
