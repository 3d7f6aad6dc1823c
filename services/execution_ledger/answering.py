"""Answering: a process's own small HTTP address, for questions about itself: why something waits, what was measured.

One request a connection, `GET` alone, nothing but a head, nobody without the token; everything about it is bounded,
because it shares a loop with the work. A whole HTTP framework would double such a process.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

import httptools
import structlog

from .access import AccessToken, Standing
from .errors import BadSettings
from .lifecycle import end_tasks

HEAD_BYTES_MAX = 16_000
REQUEST_S = 5.0  # from the first byte to the last
CONNECTIONS_MAX = 32
_BACKLOG = 64
_TURNED_AWAY = {
    Standing.WRONG: "Send `Authorization: Bearer TOKEN`, as to the gateway.",
    Standing.EXPIRED: "This token has expired.",
}
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not listened on

_log = structlog.get_logger()


class Reply(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"


Answer = Callable[[str], Awaitable[Reply]]  # to a path


def problem(status: HTTPStatus, detail: str) -> Reply:
    return Reply(status, json.dumps({"status": status, "detail": detail}).encode())


async def reply_to(head: bytes, token: AccessToken, answer: Answer) -> Reply:
    """The reply to a request's head: nobody without the token learns anything."""
    request = _Request()
    parser = httptools.HttpRequestParser(request)
    try:
        parser.feed_data(head)
        path = httptools.parse_url(request.url).path.decode()
    except (httptools.HttpParserError, UnicodeDecodeError):
        return problem(HTTPStatus.BAD_REQUEST, "This is not HTTP/1.1.")
    standing = token.standing(request.authorization.decode("latin-1"))
    if standing is not Standing.VALID:
        return problem(HTTPStatus.UNAUTHORIZED, _TURNED_AWAY[standing])
    if parser.get_method() != b"GET":
        return problem(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is answered here.")
    return await answer(path)


def listen(host: str, port: int, setting: str) -> socket.socket:
    """`setting` is what the names of both settings begin with. Raises BadSettings."""
    try:
        return socket.create_server((host, port), family=_family(host), backlog=_BACKLOG)
    except OSError as error:
        raise BadSettings(
            f"This process cannot listen on {host}:{port} ({error}). Free it, or set {setting}__PORT (0 takes a free "
            f"one) and {setting}__HOST (where others reach this process)."
        ) from error


class Answering:
    """Listens from its making on, so that its address can be told before it answers."""

    def __init__(self, listener: socket.socket, token: AccessToken) -> None:
        self._listener = listener
        self._token = token
        self._open: set[asyncio.Task[None]] = set()
        host, port = listener.getsockname()[:2]
        host = socket.gethostname() if host in _WILDCARDS else host
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self, answer: Answer) -> None:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._open) >= CONNECTIONS_MAX:
                writer.transport.abort()
                return
            task = asyncio.ensure_future(self._serve(reader, writer, answer))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

        server = await asyncio.start_server(connected, sock=self._listener, limit=HEAD_BYTES_MAX)
        try:
            await server.serve_forever()
        finally:
            server.close()
            await end_tasks(list(self._open))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                writer.write(raw_response(await self._reply(reader, answer)))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            _log.info("a question was not finished", error=str(error))
        finally:
            writer.transport.abort()

    async def _reply(self, reader: asyncio.StreamReader, answer: Answer) -> Reply:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"At most {HEAD_BYTES_MAX:,} bytes are read.")
        try:
            return await reply_to(head, self._token, answer)
        except Exception:  # noqa: BLE001 - a question must not end what it asks about
            _log.exception("a question could not be answered")
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "This failed here; the log of this process says why.")


class _Request:
    """What the parser tells of a head."""

    def __init__(self) -> None:
        self.url = b""
        self.authorization = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self.authorization = value


def raw_response(reply: Reply) -> bytes:
    """The whole answer, after which the connection is closed."""
    head = (
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}",
        f"content-type: {reply.content_type}",
        f"content-length: {len(reply.body)}",
        "connection: close",
    )
    return "\r\n".join([*head, "", ""]).encode() + reply.body


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
