"""Files and data for a runner that has no object store of its own: through its gateway, by its token."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx

from execution_ledger.errors import BadRequest, NoSuchObject, TooLarge, Unavailable
from execution_ledger.files import Kept, verified
from execution_ledger.messages.data import wrong_path

TIMEOUT = httpx.Timeout(10.0, read=60.0, write=60.0)
PAGE_SIZE = 500


class _Gateway:
    """A connection for each request: they are rare and long."""

    def __init__(self, url: str, token: str, transport: httpx.AsyncBaseTransport | None) -> None:
        self._url = url
        headers = {"Authorization": f"Bearer {token}"}
        self._client = partial(
            httpx.AsyncClient, base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False, transport=transport
        )

    @asynccontextmanager
    async def asked(self, method: str, path: str, **content: Any) -> AsyncIterator[httpx.Response]:
        """Raises Unavailable, NoSuchObject, TooLarge and BadRequest."""
        try:
            async with (
                self._client() as http,
                http.stream(method, path, **content) as response,
            ):
                if response.is_error:
                    raise _refusal(response.status_code, (await response.aread()).decode(errors="replace"))
                yield response
        except httpx.TransportError as error:
            raise Unavailable(f"No gateway answers at {self._url} ({error or type(error).__name__}).") from error

    async def answer(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        async with self.asked(method, path, **content) as response:
            answer: dict[str, Any] = json.loads(await response.aread())
            return answer

    async def body(self, path: str) -> AsyncGenerator[bytes, None]:
        async with self.asked("GET", path) as response:
            async for piece in response.aiter_bytes():
                yield piece


class GatewayFiles:
    def __init__(self, url: str, token: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._gateway = _Gateway(url, token, transport)

    async def keep(self, pieces: AsyncIterable[bytes]) -> Kept:
        answer = await self._gateway.answer("POST", "/v1/files", content=pieces)
        return Kept(answer["sha256"], answer["size"])

    def pieces(self, sha256: str) -> AsyncGenerator[bytes, None]:
        return verified(self._gateway.body(f"/v1/files/{sha256}"), sha256)


class GatewayData:
    def __init__(self, url: str, token: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._gateway = _Gateway(url, token, transport)

    async def put(self, path: str, pieces: AsyncIterable[bytes]) -> Kept:
        answer = await self._gateway.answer("PUT", _address(path), content=pieces)
        return Kept(answer["sha256"], answer["size"])

    def pieces(self, path: str) -> AsyncGenerator[bytes, None]:
        return self._gateway.body(_address(path))

    async def sizes(self, prefix: str = "") -> Mapping[str, int]:
        found: dict[str, int] = {}
        cursor: str | None = ""
        while cursor is not None:
            params = {"prefix": prefix, "cursor": cursor, "limit": PAGE_SIZE}
            page = await self._gateway.answer("GET", "/v1/data", params=params)
            found |= {item["path"]: item["size"] for item in page["items"]}
            cursor = page["next"]
        return found

    async def delete(self, path: str) -> bool:
        return bool((await self._gateway.answer("DELETE", _address(path)))["existed"])


def _address(path: str) -> str:
    if wrong := wrong_path(path):
        raise BadRequest(f"The path {path[:100]!a} {wrong}.")
    return f"/v1/data/{quote(path)}"


def _refusal(status: int, problem: str) -> Exception:
    if status == 404:
        return NoSuchObject(problem)
    if status == 413:
        return TooLarge(problem)
    return BadRequest(problem) if status == 422 else Unavailable(problem)
