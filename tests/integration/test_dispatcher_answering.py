"""The dispatcher's address over real connections, and the gateway's way of asking there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

import pytest

from execution_ledger import answering as answerer
from execution_ledger.access import AccessToken
from execution_ledger.answering import CONNECTIONS_MAX, HEAD_BYTES_MAX, Answer, Answering, Reply, listen, problem
from execution_ledger.clock import SystemClock
from execution_ledger.errors import BadSettings
from execution_ledger.gateway.edge.problems import Away, Problem
from execution_ledger.gateway.stream import dispatcher
from execution_ledger.gateway.stream.catalog import Catalog
from execution_ledger.gateway.stream.dispatcher import ActiveDispatcher
from execution_ledger.lifecycle import end_tasks
from execution_ledger.settings import GatewaySettings

TOKEN = "a-token"
AUTHORIZATION = f"Bearer {TOKEN}"
SETTING = "EXLEDGER__DISPATCHER"


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """The address of one that answers so."""
    settings = GatewaySettings(token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest())
    made = Answering(listen("127.0.0.1", 0, SETTING), AccessToken(settings, SystemClock()))
    task = asyncio.get_running_loop().create_task(made.run(answer))
    try:
        yield made.address
    finally:
        await end_tasks([task])


async def echo(path: str) -> Reply:
    return Reply(HTTPStatus.OK, path.encode())


def always(reply: Reply) -> Answer:
    async def answer(path: str) -> Reply:
        return reply

    return answer


async def ask(address: str | None, what: str = "/queue", authorization: str = AUTHORIZATION) -> bytes | None:
    catalog = Catalog()
    catalog.dispatcher_address = address
    return await ActiveDispatcher(catalog).ask(what, authorization, {1: 7})


async def refused(address: str | None, authorization: str = AUTHORIZATION) -> Problem:
    with pytest.raises(Away) as raised:
        await ask(address, authorization=authorization)
    problem = raised.value.problem
    assert (problem.kind, problem.status, problem.headers) == ("dispatcher-away", 503, {"Retry-After": "2"})
    return problem


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


def head(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nAuthorization: {AUTHORIZATION}\r\nX: {more}\r\n\r\n".encode()


async def test_the_gateway_gets_what_was_answered_whatever_its_size() -> None:
    async with answering(echo) as address:
        assert await ask(address, "/explain/7") == b"/explain/7/1.7"
    async with answering(always(Reply(HTTPStatus.OK, b"x" * 3_000_000))) as address:
        assert await ask(address) == b"x" * 3_000_000


async def test_what_the_dispatcher_does_not_know_is_none() -> None:
    async with answering(always(problem(HTTPStatus.NOT_FOUND, "?"))) as address:
        assert await ask(address) is None


async def test_a_dispatcher_that_has_not_read_as_far_is_behind() -> None:
    async with answering(always(problem(HTTPStatus.GATEWAY_TIMEOUT, "?"))) as address:
        with pytest.raises(Away, match="does not yet include") as raised:
            await ask(address)
    assert raised.value.problem.kind == "dispatcher-behind"


async def test_no_dispatcher_none_that_listens_one_that_stands_by_and_a_wrong_token_are_all_told() -> None:
    assert "serve dispatcher" in (await refused(None)).detail
    async with answering(always(problem(HTTPStatus.SERVICE_UNAVAILABLE, "?"))) as address:
        assert "take over" in (await refused(address)).detail
        assert "TOKEN_SHA256" in (await refused(address, "Bearer wrong")).detail
    assert address in (await refused(address)).detail


async def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()

    server = await asyncio.start_server(cut_off, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        assert "cut off" in (await refused(f"http://{host}:{port}")).detail


async def test_one_that_is_silent_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "ANSWER_S", 0.05)
    with listen("127.0.0.1", 0, SETTING) as silent:
        host, port = silent.getsockname()
        assert "has not answered within 0.05 s" in (await refused(f"http://{host}:{port}")).detail


async def test_a_head_beyond_bounds_is_refused() -> None:
    async with answering(echo) as address, connected(address) as (reader, writer):
        writer.write(head("/queue", "x" * HEAD_BYTES_MAX))
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")


async def test_of_too_many_connections_those_that_came_first_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answerer, "REQUEST_S", 60.0)  # a busy machine may take its time here
    async with answering(echo) as address, AsyncExitStack() as connections:
        silent = [await connections.enter_async_context(connected(address)) for _ in range(CONNECTIONS_MAX)]
        await refused(address)
        for reader, writer in silent:
            writer.write(head("/queue"))
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        assert await ask(address) == b"/queue/1.7"


async def test_a_question_that_cannot_be_answered_says_so_and_ends_nothing() -> None:
    async def fails(path: str) -> Reply:
        return await echo(path) if path == "/queue/1.7" else Reply(HTTPStatus(0), b"")

    async with answering(fails) as address:
        async with connected(address) as (reader, writer):
            writer.write(head("/other"))
            assert (await reader.read()).startswith(b"HTTP/1.1 500 ")
        assert await ask(address) == b"/queue/1.7"


def test_a_port_that_is_taken_is_named_with_the_setting() -> None:
    with listen("127.0.0.1", 0, SETTING) as taken, pytest.raises(BadSettings, match="EXLEDGER__DISPATCHER__PORT"):
        listen("127.0.0.1", taken.getsockname()[1], SETTING)
