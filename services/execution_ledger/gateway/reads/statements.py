"""The SQL that finds executions, put together from the parts that a request needs."""

from __future__ import annotations

from typing import Any, NamedTuple

from execution_ledger.postgres import queries

from .finding import By, Filters, Listing
from .pages import Cursor

_SQL = queries("execution_ledger.gateway", "sql/finding.sql")
_JOBS = queries("execution_ledger.gateway", "sql/jobs.sql")

# What has no value comes last in both directions, as if it had this one. (asyncpg sends the year 1 as -infinity.)
_LAST = {
    True: {"last_time": "timestamptz '1900-01-01 00:00Z'", "last_number": "-1", "last_text": "''"},
    False: {
        "last_time": "timestamptz '9999-01-01 00:00Z'",
        "last_number": str(2**63 - 1),
        "last_text": "E'\\U0010FFFF'",
    },
}


class Statement(NamedTuple):
    query: str
    values: list[Any]


def page_of(listing: Listing, behind: Cursor | None, limit: int) -> Statement:
    """Each row has its `sort_key`, which the cursor of the next page needs."""
    key = _SQL[f"key_{listing.column}"].format(**_LAST[listing.descending])
    direction = "desc" if listing.descending else "asc"
    conditions = [_SQL[f"behind_{direction}"].format(key=key)] if behind else []
    values = [limit, behind.key, behind.id] if behind else [limit]
    filters = _narrowed(listing.filters, values, conditions)
    query = _SQL["page"].format(key=key, direction=direction.upper(), filters=filters)
    return Statement(query, values)


def targets_of(filters: Filters, limit: int) -> Statement:
    """The oldest first."""
    values: list[Any] = [limit]
    return Statement(_JOBS["targets"].format(filters=_narrowed(filters, values, [])), values)


def stats_of(by: By, filters: Filters, limit: int) -> Statement:
    """The largest groups; of days, the newest."""
    values: list[Any] = [limit]
    query = _SQL["stats"].format(
        by=_SQL["by_day"] if by == "day" else by,
        order="value DESC" if by == "day" else "count DESC, value",
        filters=_narrowed(filters, values, []),
    )
    return Statement(query, values)


def _narrowed(filters: Filters, values: list[Any], conditions: list[str]) -> str:
    """The conditions and those of the filters, whose values are added to `values`."""
    for name, value in filters.given().items():
        values.append(value)
        conditions.append(_SQL[f"filter_{name}"].format(value=f"${len(values)}"))
    return "\n".join(conditions)
