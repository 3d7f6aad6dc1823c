"""Health, readiness and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from execution_ledger.messages.position import position_text
from execution_ledger.metrics import PAGE_TYPE

from ..edge.http import TheGateway
from ..edge.problems import away

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process runs and answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(gateway: TheGateway) -> dict[str, Any]:
    """Whether everything this gateway offers works right now; if not, a problem that names what does not."""
    reasons = await gateway.unready()
    if reasons:
        raise away("not-ready", f"Not ready: {'; '.join(reasons)}.", reasons=reasons)
    views = gateway.views.positions.position
    return {"status": "ready", "position": position_text(gateway.tail.position), "views": position_text(views)}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(gateway: TheGateway) -> PlainTextResponse:
    """For Prometheus: what this process measures."""
    return PlainTextResponse(gateway.metrics.page(), media_type=PAGE_TYPE)
