"""Pages and filters by themselves: what a cursor belongs to, and what a filter becomes."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import get_args
from uuid import UUID

import pytest
from pydantic import TypeAdapter, ValidationError

from execution_ledger.gateway.edge.problems import Refused
from execution_ledger.gateway.reads.finding import Filters, Listing, Moment, Sort
from execution_ledger.gateway.reads.job_views import filters_of
from execution_ledger.gateway.reads.pages import (
    Cursor,
    digest_of_list,
    read_cursor,
    read_place,
    write_cursor,
    write_place,
)
from execution_ledger.gateway.writes.requests import JobRequest
from execution_ledger.messages.parts import Status
from execution_ledger.postgres import queries

ID = UUID("0199aaaa-bbbb-7001-8000-000000000000")
AT = datetime(2026, 11, 22, 6, 21, 0, 123456, tzinfo=UTC)
SQL = queries("execution_ledger.gateway", "sql/finding.sql")


@pytest.mark.parametrize(("sort", "key"), [("-created", AT), ("ended", AT), ("took", 17), ("-priority", -3)])
def test_a_cursor_names_the_place_that_it_was_made_for(sort: Sort, key: datetime | int) -> None:
    listing = Listing(Filters(twin="pump-7"), sort)
    assert read_cursor(write_cursor({"sort_key": key, "id": ID}, listing), listing) == Cursor(key, ID)


@pytest.mark.parametrize(
    "other",
    [
        Listing(Filters(twin="pump-7"), "created"),
        Listing(Filters(twin="pump-8"), "-created"),
        Listing(Filters(), "-created"),
        Listing(Filters(twin="pump-7", status=[Status.FAILED]), "-created"),
    ],
)
def test_it_names_none_in_another_list(other: Listing) -> None:
    cursor = write_cursor({"sort_key": AT, "id": ID}, Listing(Filters(twin="pump-7"), "-created"))
    with pytest.raises(Refused, match=r"cursor: belongs to another list; pass it with the filters and the `sort`"):
        read_cursor(cursor, other)


@pytest.mark.parametrize("said", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-22T06:00", "2h"])
def test_a_moment_that_cannot_be_looked_for_is_told_how_to_say_one(said: str) -> None:
    with pytest.raises(ValidationError, match=r"must be a time with its offset from UTC, like 2026-11-22T06:30:00Z"):
        TypeAdapter(Moment).validate_python(said)


def test_a_cursor_with_a_zero_in_its_text_is_none() -> None:
    listing = Listing(Filters(), "twin")
    with pytest.raises(Refused, match="is not a cursor"):
        read_cursor(write_cursor({"sort_key": "pump\x00", "id": ID}, listing), listing)


@pytest.mark.parametrize(
    "written",
    ["pump-7", "[]", "{}", "1", '["%s"]', '["%s", 1]', '["%s", "a", "b"]', '["%s", "\\ud800"]', "[" * 1_400],
    ids=lambda written: written[:20],
)
def test_what_no_page_has_ended_with_is_refused_and_told_what_to_do(written: str) -> None:
    digest = digest_of_list("pipelines")
    raw = written.replace("%s", digest).encode()
    for cursor in (written, base64.urlsafe_b64encode(raw).decode()):
        with pytest.raises(Refused, match=r"cursor: .* or leave it out"):
            read_place(cursor, digest, str)


def test_a_place_is_read_as_it_was_written() -> None:
    place = [AT, ID, 2**63 - 1, 'a.b\U0010ffff"']
    digest = digest_of_list("models", "pump", None)
    assert read_place(write_place(digest, *place), digest, datetime, UUID, int, str) == place
    with pytest.raises(Refused, match="belongs to another list"):
        read_place(write_place(digest, *place), digest_of_list("models", None, "pump"), datetime, UUID, int, str)


@pytest.mark.parametrize("written", ["true", "1.5", "9223372036854775808", "1e400", "NaN", '"1"', "null", "{}"])
def test_a_number_that_the_views_cannot_hold_is_no_place(written: str) -> None:
    cursor = base64.urlsafe_b64encode(f'["d", {written}]'.encode()).decode()
    for kind in (int, datetime):
        with pytest.raises(Refused, match="is not a cursor"):
            read_place(cursor, "d", kind)


def test_what_is_no_filter_of_a_job_is_told_as_that() -> None:
    with pytest.raises(Refused, match=r"where\.limit: is no filter of GET /v1/executions; where\.tvin: is no filter"):
        filters_of(JobRequest(action="abort", where={"tvin": "a", "twin": "a", "limit": 1}))


def test_every_order_and_every_filter_has_its_sql() -> None:
    columns = {sort.removeprefix("-") for sort in get_args(Sort)}
    assert {name.removeprefix("key_") for name in SQL if name.startswith("key_")} == columns
    filters = {name.removeprefix("filter_") for name in SQL if name.startswith("filter_")}
    assert filters == set(vars(Filters())) | {"any_pipeline", "live_status"}


def test_what_has_not_ended_is_looked_for_where_status_has_an_index() -> None:
    assert Filters(status=[Status.QUEUED]).given() == {"live_status": ["queued"]}
    assert Filters(status=[Status.QUEUED, Status.FAILED]).given() == {"status": ["queued", "failed"]}


def test_one_pipeline_is_asked_for_by_equality() -> None:
    assert Filters(pipeline=["load"]).given() == {"pipeline": "load"}
    assert Filters(pipeline=["load", "train"]).given() == {"any_pipeline": ["load", "train"]}


def test_false_narrows_too() -> None:
    assert Filters(warnings=False, priority=0).given() == {"warnings": False, "priority": 0}


def test_signs_of_patterns_mean_themselves() -> None:
    assert Filters(q="100%_\\").given() == {"q": "%100\\%\\_\\\\%"}


def test_no_list_skips_over_rows() -> None:
    assert not re.search(r"(?i)\boffset\b", "".join(SQL.values()))
