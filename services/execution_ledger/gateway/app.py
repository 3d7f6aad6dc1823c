"""The HTTP application: all routes, and one shape for everything that goes wrong."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from execution_ledger.errors import LedgerError

from .edge.auth import OPEN_PATHS
from .edge.door import Door
from .edge.head import Head
from .edge.http import PROBLEM_JSON, on_crash, on_http_error, on_invalid, on_ledger_error
from .gateway import Gateway
from .routes import (
    aborts,
    again,
    artifacts,
    batches,
    catalog,
    changes,
    commands,
    data,
    events,
    executions,
    explain,
    files,
    finding,
    health,
    jobs,
    logs,
    metrics,
    pipelines,
)
from .writes.answers import ProblemDocument

_PROBLEM: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "A problem (RFC 9457)",
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
    for status in ("4XX", "5XX")
}


def create_app(gateway: Gateway | None = None) -> FastAPI:
    """Without a gateway it can only describe itself."""
    app = FastAPI(
        title="Execution Ledger",
        version="1",
        description="Asks for executions of pipelines, reads their records, and streams their events.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses=_PROBLEM,
        exception_handlers={
            LedgerError: on_ledger_error,
            RequestValidationError: on_invalid,
            HTTPException: on_http_error,
            Exception: on_crash,
        },
    )
    app.state.gateway = gateway
    for noun in (
        finding,
        executions,
        explain,
        logs,
        aborts,
        changes,
        again,
        batches,
        jobs,
        commands,
        events,
        pipelines,
        catalog,
        health,
    ):
        app.include_router(noun.router)
    for noun in (files, artifacts, metrics, data):
        app.include_router(noun.router)
    app.include_router(again.batches)
    app.add_api_route("/openapi.json", _openapi, include_in_schema=False)
    if gateway is not None:
        app.add_middleware(Door, gateway=gateway)
        app.add_middleware(Head)  # before the door, which counts one as a GET
    return app


async def _openapi() -> dict[str, Any]:
    return openapi_document()


@cache
def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 description of this API, as the routes themselves declare it."""
    document = create_app().openapi()
    components = document["components"]
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    components["schemas"]["ProblemDocument"] = ProblemDocument.model_json_schema()
    document["security"] = [{"token": []}]
    for path in OPEN_PATHS:
        document["paths"][path]["get"]["security"] = []
    return document
