"""Stages for the client: a real gateway behind a transport without sockets, and one that answers what it is told to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import httpx

from execution_ledger.gateway.gateway import Gateway
from execution_ledger.gateway.reads.records import ExecutionRecord
from execution_ledger.messages.parts import Options, Policy
from execution_ledger.sdk.client.client import Client
from unit.gateway_http_stage import TOKEN, serve

ANSWER_S = 20.0
ID = "0199aaaa-bbbb-7001-8000-000000000000"
NAME = "double-401"


class GatewayTransport(httpx.BaseTransport):
    """Hands requests to a gateway that lives on an event loop in another thread; `drop` loses so many answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gateway: Gateway, http: httpx.AsyncClient) -> None:
        self._loop = loop
        self._gateway = gateway
        self._http = http
        self.drop = 0
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        asked = self._http.request(request.method, request.url, content=request.read(), headers=request.headers)
        answer = asyncio.run_coroutine_threadsafe(asked, self._loop).result(ANSWER_S)
        if self.drop:
            self.drop -= 1
            raise httpx.ReadError("the connection broke before the answer came")
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def queued(self) -> int:
        """How many executions the log holds."""
        rings = self._gateway.tail.rings.values()
        return sum(frame.type.endswith("execution.queued.v1") for ring in rings for frame in ring.after(0, 1_000))


@contextmanager
def real_gateway() -> Iterator[tuple[Client, GatewayTransport]]:
    """A ledger on the log in memory, without Postgres and without runners; `double` is registered."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stack = AsyncExitStack()
    try:
        entering = asyncio.run_coroutine_threadsafe(stack.enter_async_context(serve()), loop)
        transport = GatewayTransport(loop, *entering.result(ANSWER_S))
        with Client("http://ledger", TOKEN, transport=transport) as client:
            client.connection.pause = lambda seconds: None
            yield client, transport
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(ANSWER_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Told:
    """A ledger that answers one thing after the other; `pauses` are those between tries."""

    def __init__(self, *answers: dict[str, Any] | httpx.Response | httpx.TransportError) -> None:
        self._answers = iter(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.client = Client("http://ledger", TOKEN, transport=httpx.MockTransport(self._answer))
        self.client.connection.pause = self.pauses.append

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


def record(status: str, **fields: Any) -> dict[str, Any]:
    """What the gateway answers for an execution of this status."""
    values = dict.fromkeys(ExecutionRecord.model_fields)
    texts = dict.fromkeys(("id", "name", "pipeline", "pool", "pipeline_digest", "digest", "position", "trigger"), "x")
    times = dict.fromkeys(("created_at", "queued_at", "updated_at"), 1_700_000_000_000)
    numbers = dict.fromkeys(("number", "pipeline_version", "priority", "attempt", "losses", "version"), 1)
    more = {
        "mode": "production",
        "labels": {},
        "warnings": [],
        "attempts": [],
        "steps": [],
        "linked": [],
        "artifacts": [],
    }
    options = Options(train=False, plot=False, write=True)
    fixed = {"options": options, "policy": Policy(), "id": ID, "name": NAME}
    known = {**values, **texts, **times, **numbers, **more, **fixed}
    answer: dict[str, Any] = json.loads(ExecutionRecord.model_validate({**known, "status": status}).model_dump_json())
    return answer | fields


def page(*items: dict[str, Any], then: str | None = None) -> dict[str, Any]:
    return {"items": list(items), "next": then, "position": "1.1"}
