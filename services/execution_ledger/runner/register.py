"""Registering a pipeline through the gateway, before the runner offers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import httpx

from execution_ledger.errors import BadRequest, BadSettings, Unavailable
from execution_ledger.messages.definition import Definition, definition_text

Register = Callable[[Definition, str], Awaitable[None]]
TIMEOUT_S = 10.0
_TRY_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


def register_over_http(url: str, token: str, transport: httpx.AsyncBaseTransport | None = None) -> Register:
    """What it returns raises Unavailable where trying again can help, BadRequest with the gateway's words else."""

    async def register(definition: Definition, digest: str) -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, transport=transport) as client:
            try:
                response = await client.put(
                    f"{url.rstrip('/')}/v1/pipelines/{definition.name}",
                    content=definition_text(definition).encode(),
                    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                )
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise BadSettings(f"The gateway's URL {url!r} cannot be used: {error}") from error
            except httpx.TransportError as error:
                raise Unavailable(f"The gateway at {url} does not answer ({error!r}).") from error
        _check(response, f"the pipeline {definition.name} ({digest[:12]})")

    return register


def _check(response: httpx.Response, what: str) -> None:
    if response.is_success:
        return
    answer = f"The gateway answered {response.status_code} to {what}: {_detail(response)}"
    raise Unavailable(answer) if response.is_server_error or response.status_code in _TRY_AGAIN else BadRequest(answer)


def _detail(response: httpx.Response) -> str:
    """The problem's own words (RFC 9457), or what stands there instead."""
    try:
        problem = response.json()
    except ValueError:
        return response.text[:500]
    return str(problem.get("detail") or problem.get("title") or problem)[:2_000] if isinstance(problem, dict) else ""
