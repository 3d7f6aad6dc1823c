"""The wire: what is not even HTTP is told so as a problem like any other, and a head has a bound."""

from __future__ import annotations

import json
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .http import PROBLEM_JSON
from .problems import Problem

HEAD_BYTES_MAX = (
    256_000  # request line and headers; uvicorn itself would gather them for ever, before any token is seen
)


class Wire(HttpToolsProtocol):
    _head_bytes: int | None = None  # of the head that is being read; None in a body and between requests

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(Problem("head-too-large", f"At most {HEAD_BYTES_MAX:,} bytes are taken. Send shorter ones."))

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("not-http", "Send a request as HTTP/1.1 has it (RFC 9112); this one cannot be read."))

    def _refuse(self, problem: Problem) -> None:
        body = json.dumps(problem.document()).encode()
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
            f"content-type: {PROBLEM_JSON}",
            f"content-length: {len(body)}",
            "connection: close",
        )
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()
