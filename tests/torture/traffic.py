"""The cheapest HTTP client that can overdrive a server: ready-made bytes out, heads split by hand, no parsing of more.

One request at a time on each connection, so that the number of connections bounds what is under way.
"""

from __future__ import annotations

import asyncio
import re
from typing import NamedTuple
from urllib.parse import urlsplit

ANSWER_S = 30.0  # whoever is not answered by then counts as timed out, which the trial does not allow

_LENGTH = re.compile(rb"\ncontent-length: (\d+)\r")
_RETRY = re.compile(rb"\nretry-after: (\d+)\r")


class Reply(NamedTuple):
    status: int
    retry_after_s: int | None
    body: bytes


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._got = bytearray()
        self._answer: asyncio.Future[Reply] | None = None

    async def ask(self, request: bytes) -> Reply:
        """Raises TimeoutError, and ConnectionError when the server hangs up."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(ANSWER_S):
            return await self._answer

    def close(self) -> None:
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head_end = self._got.find(b"\r\n\r\n") + 4
        if head_end < 4:
            return
        head = bytes(self._got[:head_end])
        length = _LENGTH.search(head)
        assert length, head
        end = head_end + int(length[1])
        if len(self._got) >= end and self._answer and not self._answer.done():
            retry = _RETRY.search(head)
            body = bytes(self._got[head_end:end])
            del self._got[:end]
            self._answer.set_result(Reply(int(head[9:12]), int(retry[1]) if retry else None, body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server hung up"))


class Server:
    """Where requests go, and with which token."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._common = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"

    async def connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        return connection

    def get(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\n{self._common}\r\n".encode()

    def post(self, path: str, body: bytes, key: str | None = None) -> bytes:
        keyed = f"Idempotency-Key: {key}\r\n" if key else ""
        head = f"{self._common}{keyed}Content-Type: application/json\r\nContent-Length: {len(body)}"
        return f"POST {path} HTTP/1.1\r\n{head}\r\n\r\n".encode() + body
