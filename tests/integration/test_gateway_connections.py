"""What one client can hold of a gateway is bounded: connections, heads, and answers that nobody reads."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from execution_ledger.clock import real_world
from execution_ledger.gateway.edge import connections as bounds
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.gateway.service import GatewayService
from execution_ledger.gateway.stream.ring import Frame
from execution_ledger.ledger.service import LedgerService
from execution_ledger.lifecycle import end_tasks
from execution_ledger.log.memory import MemoryLog
from execution_ledger.settings import LedgerSettings, Settings

SHARDS = 2
TOKEN = "a-token"
HEAD = f"Host: ledger\r\nAuthorization: Bearer {TOKEN}\r\n"
WAIT_S = 30.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def service() -> AsyncIterator[GatewayService]:
    """A gateway on a real port, before a log in memory and without Postgres."""
    world = real_world()
    log = MemoryLog(SHARDS, now_ms=world.clock.now_ms)
    ledger = LedgerService(log, world, LedgerSettings(), SHARDS)
    token = hashlib.sha256(TOKEN.encode()).hexdigest()
    nowhere = {"dsn": "postgresql://nobody@127.0.0.1:1/none"}
    settings = Settings.model_validate({"gateway": {"token_sha256": token, "port": 0}, "postgres": nowhere})
    gateway = GatewayService(log, world, settings)
    tasks = [world.spawn(ledger.run(), "ledger")]
    await ledger.ready.wait()
    tasks.append(world.spawn(gateway.run(), "gateway"))
    async with asyncio.timeout(WAIT_S):
        await gateway.ready.wait()
    yield gateway
    gateway.stop()
    ledger.stop()
    await asyncio.wait(tasks, timeout=WAIT_S)
    await end_tasks(tasks)


async def connect(service: GatewayService, opened: AsyncExitStack, buffer_bytes: int = 65_536) -> Streams:
    """`buffer_bytes` is what the kernel keeps for a client that does not read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", service.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=buffer_bytes)
    opened.callback(hang_up, writer)
    return reader, writer


def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What still comes before the server hangs up."""
    got = b""
    async with asyncio.timeout(WAIT_S):
        try:
            while piece := await reader.read(65_536):
                got += piece
        except ConnectionError:
            return got
    return got


async def ask(streams: Streams) -> bytes:
    reader, writer = streams
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: ledger\r\n\r\n")
    async with asyncio.timeout(WAIT_S):
        return await reader.readuntil(b"\r\n\r\n")


async def test_a_follower_that_does_not_read_is_dropped(
    service: GatewayService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "READER_S", 0.3)
    gateway = service.gateway
    async with AsyncExitStack() as opened:
        reader, writer = await connect(service, opened, buffer_bytes=4_096)
        writer.write(f"GET /v1/events HTTP/1.1\r\n{HEAD}\r\n".encode())
        await reader.readuntil(b"retry: 1000")
        assert gateway.following == 1
        fill(gateway)
        async with asyncio.timeout(WAIT_S):
            while gateway.following:  # noqa: ASYNC110  # nobody is told of it
                await asyncio.sleep(0.02)


def fill(gateway: Gateway) -> None:
    """More than any buffer between the two holds, and not more than the ring."""
    tail = gateway.tail
    for _ in range(38):
        sequence = tail.position[1] + 1
        tail.rings[1].add(Frame(1, sequence, "t", "s", b"x" * 100_000))
        tail._sequences[1] = sequence
        tail.moved.fire()


async def test_a_follower_that_reads_slowly_is_kept(service: GatewayService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "READER_S", 5.0)
    async with AsyncExitStack() as opened:
        reader, writer = await connect(service, opened, buffer_bytes=4_096)
        writer.write(f"GET /v1/events HTTP/1.1\r\n{HEAD}\r\n".encode())
        await reader.readuntil(b"retry: 1000")
        fill(service.gateway)
        async with asyncio.timeout(WAIT_S):
            await reader.readexactly(3_000_000)
        assert service.gateway.following == 1


async def test_a_head_has_its_time_and_its_size(service: GatewayService, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncExitStack() as opened:
        reader, writer = await connect(service, opened)
        writer.write(b"GET /healthz HTTP/1.1\r\n" + b"X-More: " + b"x" * bounds.HEAD_BYTES_MAX)
        assert (await ended(reader)).startswith(b"HTTP/1.1 431 ")
        monkeypatch.setattr(bounds, "HEAD_S", 0.2)
        silent, _ = await connect(service, opened)
        halting, writer = await connect(service, opened)
        assert b" 200 OK" in await ask((halting, writer))
        writer.write(b"GET /heal")
        assert await ended(silent) == b""
        await ended(halting)


async def test_connections_are_bounded_and_whoever_finds_no_room_is_told(
    service: GatewayService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "CONNECTIONS_MAX", 3)
    monkeypatch.setattr(bounds, "SPARE", 1)
    async with AsyncExitStack() as opened:
        inside = [await connect(service, opened) for _ in range(3)]
        for one in inside:
            assert b" 200 OK" in await ask(one)
        told = await connect(service, opened)
        answer = (await ask(told)).lower()
        assert b" 429 " in answer
        assert b"retry-after: 5" in answer
        cut = [await connect(service, opened) for _ in range(3)]
        assert await ended(cut[2][0]) == b""
        assert b" 200 OK" in await ask(inside[0])
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", trust_env=False) as http:
        assert (await http.get("/healthz")).status_code == 200
