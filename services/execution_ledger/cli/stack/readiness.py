"""Whether a ledger that was just started accepts executions: asked with what Python has, so that `dev` stays small."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from .services import Place

ANSWER_S = 5.0


def registered_pipelines(place: Place) -> list[dict[str, Any]]:
    """Empty until the gateway says that it is ready and a runner is there, which registers all it offers first."""
    if _ask(place, "/readyz") is None:
        return []
    runners = _items(place, "/v1/runners")
    return _items(place, "/v1/pipelines") if any(runner["state"] == "ready" for runner in runners) else []


def _items(place: Place, path: str) -> list[dict[str, Any]]:
    return list((_ask(place, path) or {"items": []})["items"])


def _ask(place: Place, path: str) -> dict[str, Any] | None:
    """None where the answer is not 200, or there is none."""
    address = urlsplit(place.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=ANSWER_S)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {place.token}"})
        response = connection.getresponse()
        body = response.read()
        return dict(json.loads(body)) if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
