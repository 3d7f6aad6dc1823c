"""HTTP's edge: bodies read within bounds and parsed strictly, and every failure told as a problem."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from execution_ledger.errors import LedgerError

from ..gateway import Gateway
from .auth import Caller
from .parameters import declared
from .problems import Problem, field_errors, invalid, problem_of, refused
from .strict_json import parse

PROBLEM_JSON = "application/problem+json"
LARGE_BYTES = 200_000  # from here on a body is parsed beside the event loop
ERRORS_MAX = 100
BODY_S = 60.0  # until a body is here; a batch takes one of few turns meanwhile

_JSON_TYPE = re.compile(r"application/([\w.+-]+\+)?json\s*(;|$)", re.IGNORECASE)
_OTHER_CHARSET = re.compile(r";\s*charset\s*=(?!\s*\"?utf-?8\"?\s*(;|$))", re.IGNORECASE)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class StrictRequest(Request):
    """A request whose body is already here, bounded and parsed by our own rules."""

    def __init__(self, request: Request, raw: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._raw = raw
        self._value = value

    async def body(self) -> bytes:
        return self._raw

    async def json(self) -> Any:
        return self._value


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        parameters = declared(self.dependant)

        async def strictly(request: Request) -> Response:
            if wrong := parameters.wrong(request):
                raise invalid(*wrong[:ERRORS_MAX])
            if not self.body_field:
                return await handle(request)
            bytes_max = _bytes_max(request)
            with gateway_of(request).admission.holding(min(_length(request, bytes_max), bytes_max)):
                return await handle(await _strict(request, bytes_max))

        return strictly


def _bytes_max(request: Request) -> int:
    settings = gateway_of(request).settings
    return settings.batch_bytes_max if request.url.path == "/v1/batches" else settings.body_bytes_max


def _length(request: Request, unknown: int) -> int:
    """What the body is announced to have: uvicorn sees to it that this is true. No number is as good as the largest."""
    announced = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers:
        return unknown
    return int(announced[:20]) if announced.isdecimal() else 10**20


async def _strict(request: Request, bytes_max: int) -> StrictRequest:
    raw = await _bounded(request, bytes_max)
    if not raw:
        return StrictRequest(request, raw, None)
    media_type = request.headers.get("content-type", "")
    if not _JSON_TYPE.match(media_type) or _OTHER_CHARSET.search(media_type):
        raise refused("not-json", "Send the body as JSON in UTF-8, with `Content-Type: application/json`.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise refused("not-json", "Send the body as it is, not compressed: leave `Content-Encoding` out.")
    try:
        value = parse(raw) if len(raw) < LARGE_BYTES else await asyncio.to_thread(parse, raw)
    except ValueError as error:
        raise refused("invalid-json", f"The body is not JSON: {error}. Correct this and send it again.") from error
    return StrictRequest(request, raw, value)


async def _bounded(request: Request, bytes_max: int) -> bytes:
    too_large = refused("body-too-large", f"At most {bytes_max:,} bytes are taken here. Send less at a time.")
    if _length(request, 0) > bytes_max:
        raise too_large
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                raw += piece
                if len(raw) > bytes_max:
                    raise too_large
    except TimeoutError as late:
        raise refused("body-too-slow", f"The body did not come within {BODY_S:.0f} s. Send it again.") from late
    except ClientDisconnect as gone:
        raise refused("invalid-json", "The connection ended before the body did.") from gone
    return bytes(raw)


def gateway_of(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def traceparent_of(traceparent: Annotated[str | None, Header()] = None) -> str | None:
    """A caller's trace context; one that is malformed, however long, is ignored, as W3C demands."""
    return traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None


TheGateway = Annotated[Gateway, Depends(gateway_of)]
TheCaller = Annotated[Caller, Depends(caller_of)]
Traceparent = Annotated[str | None, Depends(traceparent_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="Send the same key again to repeat a request without doubling its effect; kept for a day.",
    ),
]
MinPosition = Annotated[
    str | None,
    Query(description="Wait (within bounds) until the answer includes this; default: what this token was answered."),
]


class ProblemResponse(JSONResponse):
    """Problems quote what callers sent, and half a surrogate pair has no bytes in UTF-8: it is told as `?`."""

    media_type = PROBLEM_JSON

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def problem_response(problem: Problem) -> ProblemResponse:
    return ProblemResponse(problem.document(), problem.status, problem.headers)


def counted_problem(gateway: Gateway, problem: Problem) -> ProblemResponse:
    gateway.metrics.problem(problem)
    return problem_response(problem)


async def on_ledger_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LedgerError)
    return counted_problem(gateway_of(request), problem_of(error))


async def on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return counted_problem(gateway_of(request), invalid(*field_errors(error.errors()[:ERRORS_MAX])).problem)


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the framework itself answers: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    kinds = {404: "not-found", 405: "method-not-allowed"}
    next_step = f"{request.method} {request.url.path} is not part of this API; `/openapi.json` describes all of it."
    problem = Problem(kinds.get(error.status_code, "internal"), next_step)
    response = counted_problem(gateway_of(request), problem)
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed(request))
    return response


def _allowed(request: Request) -> list[str]:
    """The framework would name the methods of the first route alone."""
    asked = {"GET": "GET", "HEAD": "GET", "POST": "POST", "PUT": "PUT", "DELETE": "DELETE"}
    return [
        method
        for method, like in asked.items()
        if any(route.matches({**request.scope, "method": like})[0] is Match.FULL for route in request.app.routes)
    ]


async def on_crash(request: Request, error: Exception) -> Response:
    """The server logs the traceback; a caller learns only that it is not their fault."""
    told = "An unexpected error occurred here and was logged. What was asked may have happened."
    return counted_problem(gateway_of(request), Problem("internal", told))
