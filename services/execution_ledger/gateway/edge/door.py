"""The door: nobody gets past without a token, or for executions when there are too many; and everyone is counted.

No body is read before that.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from execution_ledger.errors import LedgerError

from ..gateway import Gateway
from .admission import submit_route
from .auth import OPEN_PATHS, caller_of
from .http import counted_problem
from .problems import Problem, problem_of

STREAMS = frozenset({"/v1/events"})  # counted, not timed


class Door:
    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._gateway.world.clock.monotonic_s()
        status = 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _tell_position(scope, MutableHeaders(scope=message))
            await send(message)

        try:
            await self._admit(scope, receive, counted)
        finally:
            self._count(scope, status, self._gateway.world.clock.monotonic_s() - began)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in OPEN_PATHS:
            try:
                caller = caller_of(Headers(scope=scope).get("authorization", ""), self._gateway.token)
            except LedgerError as error:
                await self._refuse(problem_of(error), scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = caller
        if submit_route(scope["method"], scope["path"]):
            await self._admit_submit(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _admit_submit(self, scope: Scope, receive: Receive, send: Send) -> None:
        admission = self._gateway.admission
        if problem := admission.refusal():
            await self._refuse(problem, scope, receive, send)
            return
        taken = 0

        async def whole() -> Message:
            """It counts from its body's end on: whoever sends slowly must not shut the others out."""
            nonlocal taken
            message = await receive()
            if not taken and not message.get("more_body"):
                taken = 1
                admission.at_once += taken
            return message

        try:
            await self._app(scope, whole, send)
        finally:
            admission.at_once -= taken

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        await counted_problem(self._gateway, problem)(scope, receive, send)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        refused_here = submit_route(scope["method"], scope["path"])
        route = getattr(scope.get("route"), "path", refused_here or "none")
        metrics = self._gateway.metrics
        metrics.requests.labels(scope["method"], route, status).inc()
        if route not in STREAMS:
            metrics.request_seconds.labels(scope["method"], route).observe(seconds)


def _tell_position(scope: Scope, headers: MutableHeaders) -> None:
    position = scope.get("state", {}).get("position")
    if position is not None:
        headers["Ledger-Position"] = position
