"""Logs over HTTP: the three ways they are written, and how many may be read at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from execution_ledger.clock import real_world
from execution_ledger.files import Files, pieces_in
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.gateway.reads.log_reading import Known, Span
from execution_ledger.gateway.routes.logs import READERS_MAX
from execution_ledger.messages.ids import make_id
from execution_ledger.messages.position import Position
from execution_ledger.objects import MemoryObjects
from unit.gateway_http_stage import check_problem, serve
from unit.test_log_reading import line

ID = make_id(1_700_000_000_000, 1, 1)
PATH = f"/v1/executions/{ID}/logs"


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    """One execution that has ended, and left two lines."""
    files = Files(MemoryObjects(), real_world(), 1_000_000)
    kept = await files.keep(pieces_in(line(1) + line(2, step="load")))

    async def spans(execution_id: str) -> Known:
        return Known(ended=True, spans=[Span(1, 1_000, 2_000, kept.sha256)])

    async def reach(token: str, min_position: str | None, shard: int | None = None) -> Position:
        return {}

    async def include(wanted: Position) -> Position:
        return {}

    async with serve() as (gateway, http):
        monkeypatch.setattr(gateway.views, "log_spans", spans)
        monkeypatch.setattr(gateway.reading, "reach", reach)
        monkeypatch.setattr(gateway.reading, "include", include)
        monkeypatch.setattr(gateway.storing, "_files", files)
        yield gateway, http


async def test_a_log_is_lines_of_json(stage: tuple[Gateway, httpx.AsyncClient]) -> None:
    response = await stage[1].get(PATH)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.content == line(1) + line(2, step="load")
    assert (await stage[1].get(PATH, params={"step": "load"})).content == line(2, step="load")
    assert (await stage[1].get(PATH, params={"after": "1.1"})).content == line(2, step="load")


async def test_a_log_is_plain_text_for_people(stage: tuple[Gateway, httpx.AsyncClient]) -> None:
    response = await stage[1].get(PATH, params={"format": "text"})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.text == "1970-01-01T00:00:00.001Z  1.1\n1970-01-01T00:00:00.001Z  1.2\n"


async def test_a_followed_log_is_a_stream_of_events_that_says_its_end(
    stage: tuple[Gateway, httpx.AsyncClient],
) -> None:
    response = await stage[1].get(PATH, params={"follow": "true"}, headers={"Last-Event-ID": "1.1"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.content == b"retry: 1000\n\nid: 1.2\ndata: %b\n\nevent: end\ndata: {}\n\n" % (
        line(2, step="load").strip()
    )


async def test_no_more_are_read_at_once_than_a_gateway_can_hold(stage: tuple[Gateway, httpx.AsyncClient]) -> None:
    gateway, http = stage
    gateway.reading_logs = READERS_MAX
    problem = check_problem(await http.get(PATH), "too-busy")
    assert "Try again in a moment" in problem["detail"]
    gateway.reading_logs = 0
    await http.get(PATH)
    assert gateway.reading_logs == 0
