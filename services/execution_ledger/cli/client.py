"""The HTTP client of all commands: asks again where that is safe, and turns problems into errors with a next step.

Asking again is safe for every request made here: reads change nothing, and writes carry an Idempotency-Key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import httpx

from ..errors import BadRequest, BadSettings, LedgerError, Unavailable
from .connection import Address

TRIES_MAX = 6
PAUSE_FIRST_S = 0.1  # then twice as long each time: 3.1 s in all, enough for a gateway that is started again
PAUSE_MAX_S = 5.0
TIMEOUT = httpx.Timeout(10.0, read=75.0)  # a read may wait for 60 s at the gateway
BUSY = frozenset({429, 503})
GONE = frozenset({502, 504})  # a proxy that cannot reach the gateway

Json = dict[str, Any]


def open_http(address: Address) -> httpx.Client:
    """A proxy of the environment is not for a ledger on this machine. Raises BadSettings."""
    headers = {"Authorization": f"Bearer {address.token}"} if address.token else {}
    try:
        return httpx.Client(base_url=address.url, headers=headers, timeout=TIMEOUT, trust_env=address.running is None)
    except httpx.InvalidURL as error:
        raise BadSettings(f"EXLEDGER_URL is not a URL: {error}. Write it like http://127.0.0.1:8080.") from error


class Client:
    """`with` it: the connection is closed at the end. `pause` waits for so many seconds."""

    def __init__(self, address: Address, http: httpx.Client, pause: Callable[[float], object] | None = None) -> None:
        self.address = address
        self.pause = pause or threading.Event().wait
        self._http = http

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Json:
        """Params that are None are left out. Raises BadRequest, Unavailable."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._answer(self._http.build_request("GET", path, params=given))

    def post(self, path: str, body: Json, key: str) -> Json:
        """With the key of an earlier post, the same answer again. Raises BadRequest, Unavailable."""
        return self._answer(self._http.build_request("POST", path, json=body, headers={"Idempotency-Key": key}))

    def health(self, path: str) -> tuple[bool, Json]:
        """Whether all is well, and what was answered, asked once: a problem is an answer here. Raises Unavailable."""
        try:
            response = self._http.get(path)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        return response.is_success, json_object(response) or {}

    def stream(self, path: str, after: str | None) -> Iterator[str]:
        """The lines of a stream of server-sent events. Raises Unavailable when it ends, for whatever cause."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        try:
            with self._http.stream("GET", path, headers=headers) as response:
                if response.is_error:
                    response.read()
                    raise self._problem(response)
                yield from response.iter_lines()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        raise Unavailable(f"The ledger at {self.address.url} has ended the stream.")

    def _answer(self, request: httpx.Request) -> Json:
        response = self._send(request)
        if response.is_error:
            raise self._problem(response)
        body = json_object(response)
        if body is None:
            raise Unavailable(f"What answers at {self.address.url} is not a ledger. Check EXLEDGER_URL.")
        return body

    def _send(self, request: httpx.Request) -> httpx.Response:
        for tries in range(1, TRIES_MAX + 1):
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                if tries == TRIES_MAX:
                    raise self._unreachable(error) from error
                self.pause(pause_s(tries))
            else:
                if response.status_code not in BUSY or tries == TRIES_MAX:
                    return response
                self.pause(pause_s(tries, response.headers.get("Retry-After")))
        raise AssertionError("the last try returns or raises")

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(
            f"No ledger answers at {self.address.url} ({error or type(error).__name__}). "
            "Is it running? Start one with: exledger dev"
        )

    def _problem(self, response: httpx.Response) -> LedgerError:
        if response.status_code in (401, 403):
            return BadRequest(
                f"The ledger at {self.address.url} does not accept the token in {self.address.token_from}: "
                f"{problem_text(response)}"
            )
        if response.status_code in BUSY | GONE or response.is_server_error:
            return Unavailable(f"The ledger at {self.address.url} cannot answer now: {problem_text(response)}")
        return BadRequest(problem_text(response))


def pause_s(tries: int, retry_after: str | None = None) -> float:
    """What the server asks for, within reason; else exponential."""
    if retry_after and retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), PAUSE_MAX_S)
    return min(PAUSE_FIRST_S * 2.0 ** (tries - 1), PAUSE_MAX_S)


def json_object(response: httpx.Response) -> Json | None:
    """None where the body is anything else."""
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def problem_text(response: httpx.Response) -> str:
    """A problem (RFC 9457) as text: what is wrong with each field, or else its detail."""
    problem = json_object(response)
    if not problem:
        return f"HTTP {response.status_code} {response.reason_phrase}"
    if errors := problem.get("errors"):
        return "\n".join([f"{problem.get('title')}:", *(f"  {each['field']}: {each['detail']}" for each in errors)])
    return str(problem.get("detail") or problem.get("title"))
