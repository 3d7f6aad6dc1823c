"""The demo's connection to its ledger: a few requests, and the event stream byte by byte, because bytes are chained."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from execution_ledger.errors import Unavailable

from .story import Json

TIMEOUT = httpx.Timeout(10.0, read=30.0)  # a stream that is silent sends a comment after 15 s
DATA = b"data: "


class LiveLedger:
    """`async with` it. Whatever is not answered as it should be raises Unavailable: nothing may go wrong in a demo."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def register(self, path: str, definition: Json) -> None:
        await self._ask("PUT", f"/v1/{path}", definition)

    async def submit(self, executions: Sequence[Json]) -> None:
        await self._ask("POST", "/v1/batches", {"executions": list(executions)})

    async def abort(self, execution_id: str, reason: str) -> None:
        await self._ask("POST", f"/v1/executions/{execution_id}/abort", {"reason": reason})

    async def explain(self, execution_id: str) -> Json:
        return await self._ask("GET", f"/v1/executions/{execution_id}/explain")

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of all events that come after it was entered."""
        try:
            async with self._http.stream("GET", "/v1/events") as response:
                if response.is_error:
                    await response.aread()
                    raise _unexpected(response)
                yield _events(response)
        except httpx.TransportError as error:
            raise Unavailable(f"The connection to the demo's ledger broke: {error!r}. Try again.") from error

    async def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Unavailable(f"The demo's ledger did not answer {path}: {error!r}. Try again.") from error
        if response.is_error:
            raise _unexpected(response)
        answer: dict[str, Any] = response.json()
        return answer


async def _events(response: httpx.Response) -> AsyncIterator[bytes]:
    """Lines end at a line feed only: an event's own bytes may hold what else Unicode takes for an end of line.

    Raises Unavailable at the end of the stream, which has none as long as all is well.
    """
    left = b""
    async for piece in response.aiter_bytes():
        *lines, left = (left + piece).split(b"\n")
        for line in lines:
            if line.startswith(DATA):
                yield line[len(DATA) :]
    raise Unavailable("The demo's ledger has ended its stream of events. Try again.")


def _unexpected(response: httpx.Response) -> Unavailable:
    path, code = response.request.url.path, response.status_code
    return Unavailable(f"The demo's ledger answered {path} with {code}: {response.text}")
