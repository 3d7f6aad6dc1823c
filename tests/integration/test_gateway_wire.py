"""What comes over the wire and is no request: told as a problem, within bounds, and the next caller is served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from execution_ledger.clock import real_world
from execution_ledger.gateway.edge.connections import HEAD_BYTES_MAX
from execution_ledger.gateway.edge.problems import KINDS, TYPE_PREFIX
from execution_ledger.gateway.service import GatewayService
from execution_ledger.log.memory import MemoryLog
from unit.gateway_http_stage import SHARDS, TOKEN, settings

WAIT_S = 20.0
HEADERS = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n".encode()
ENDLESS = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: "
POST = b"POST /v1/executions HTTP/1.1\r\n" + HEADERS


@pytest.fixture
async def port() -> AsyncIterator[int]:
    world = real_world()
    gateway = GatewayService(MemoryLog(SHARDS, now_ms=world.clock.now_ms), world, settings(port=0))
    life = asyncio.create_task(gateway.run())
    await asyncio.wait_for(gateway.ready.wait(), WAIT_S)
    yield gateway.port
    gateway.stop()
    await asyncio.wait_for(life, WAIT_S)


async def answered(port: int, raw: bytes) -> tuple[bytes, bytes]:
    """Head and body of everything that is answered until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    async with asyncio.timeout(WAIT_S):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"\x16\x03\x01\x02\x00 a TLS hello\r\n\r\n", "not-http"),
        (b"GET /v1/executions/\xff HTTP/1.1\r\n" + HEADERS + b"\r\n", "not-http"),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "not-http"),
        (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "not-http"),
        (POST + b"Content-Length: -1\r\n\r\n", "not-http"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "not-http"),
        (ENDLESS + b"x" * (HEAD_BYTES_MAX - len(ENDLESS) + 1), "head-too-large"),
    ],
)
async def test_what_is_no_request_is_told_so_and_the_next_one_is_answered(port: int, raw: bytes, kind: str) -> None:
    head, body = await answered(port, raw)
    problem = json.loads(body)
    assert b"content-type: application/problem+json" in head
    assert head.startswith(f"HTTP/1.1 {KINDS[kind].status} ".encode())
    assert (problem["type"], problem["status"]) == (TYPE_PREFIX + kind, KINDS[kind].status)
    head, body = await answered(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (head[:15], body) == (b"HTTP/1.1 200 OK", b'{"status":"ok"}')


async def test_head_ends_a_stream_with_its_headers_and_leaves_the_connection(port: int) -> None:
    ask = b"HEAD /v1/events HTTP/1.1\r\n" + HEADERS + b"\r\n"
    last = b"HEAD /healthz HTTP/1.1\r\nConnection: close\r\n" + HEADERS + b"\r\n"
    first, second = await answered(port, ask + last)
    assert first.startswith(b"HTTP/1.1 200")
    assert b"text/event-stream" in first
    assert second.startswith(b"HTTP/1.1 200")
    assert second.endswith(b"\r\n\r\n")
