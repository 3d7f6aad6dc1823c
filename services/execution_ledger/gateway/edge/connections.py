"""Connections, bounded: how many there are, how long a head may take and get, how long nobody may read an answer.

uvicorn bounds none of these, and each would let memory or file descriptors grow without an end, before any token is
seen. What is not even HTTP is told so as a problem like any other.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

import structlog
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from execution_ledger.answering import Reply, raw_response

from .http import PROBLEM_JSON, problem_response
from .problems import Problem

CONNECTIONS_MAX = 2_000  # beyond it, requests are answered that there is no room …
SPARE = 200  # … and beyond these, connections are cut without a word
HEAD_BYTES_MAX = 65_536
HEAD_S = 20.0  # from the first byte of a head to its last, and from connecting to the first head
READER_S = 30.0  # how long an answer may wait for its reader to take in more of it

LOG = structlog.get_logger("gateway.connections")


class Connection(HttpToolsProtocol):
    _due: asyncio.TimerHandle | None = None  # of the head
    _reader_due: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX + SPARE:
            transport.abort()
        elif len(self.connections) > CONNECTIONS_MAX:
            self.app = _no_room
        self._due = self.loop.call_later(HEAD_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._due, self._reader_due)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._due = self._due or self.loop.call_later(HEAD_S, self.transport.abort)
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(Problem("head-too-large", f"At most {HEAD_BYTES_MAX:,} bytes are taken. Send shorter ones."))

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("not-http", "Send a request as HTTP/1.1 has it (RFC 9112); this one cannot be read."))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        _cancel(self._due)
        self._due, self._in_head = None, False
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_due = self.loop.call_later(READER_S, self._drop_reader)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._reader_due)

    def _refuse(self, problem: Problem) -> None:
        body = json.dumps(problem.document()).encode()
        self.transport.write(raw_response(Reply(HTTPStatus(problem.status), body, PROBLEM_JSON)))
        self.transport.close()

    def _drop_reader(self) -> None:
        LOG.info("a client that does not read its answer is dropped", client=self.client)
        self.transport.abort()


def _cancel(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer:
            timer.cancel()


async def _no_room(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem("too-busy", f"{CONNECTIONS_MAX:,} connections are open here. Try again soon.", retry_after_s=5)
    response = problem_response(problem)
    response.headers["Connection"] = "close"
    await response(scope, receive, send)
