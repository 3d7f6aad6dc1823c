"""Metrics: what pipelines measured, listed and compared over executions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from execution_ledger.messages.ids import PipelineName
from execution_ledger.messages.metrics import MetricName
from execution_ledger.messages.parts import Text

from ..edge.http import MinPosition, StrictRoute, TheCaller, TheGateway
from ..reads.pages import Limit, PageCursor, digest_of_list, read_place, write_place
from ..reads.recorded import VALUES_MAX, MetricPage, metric_record
from ..reads.references import execution_id
from ..writes.answering import tell_position

router = APIRouter(prefix="/v1/metrics", tags=["metrics"], route_class=StrictRoute)


@router.get("")
async def list_metrics(
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    execution: Annotated[str | None, Query(max_length=255, description="Id, number or name")] = None,
    pipeline: Annotated[PipelineName | None, Query()] = None,
    name: Annotated[MetricName | None, Query(description="Of the metric")] = None,
    twin: Annotated[Text | None, Query()] = None,
    cursor: PageCursor = None,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> MetricPage:
    """One line for each metric of an execution, the newest executions first."""
    listed = digest_of_list("metrics", execution, pipeline, name, twin)
    place = read_place(cursor, listed, datetime, UUID, str, str)
    known = await execution_id(gateway, caller.token, execution, min_position) if execution is not None else None
    position = await gateway.reading.reach(caller.token, min_position)
    rows = await gateway.views.metrics((known, pipeline, name, twin, *place), limit + 1)
    values = await gateway.views.metric_values(known, VALUES_MAX) if known else {}
    end = rows[limit - 1] if len(rows) > limit else None
    return MetricPage(
        items=[metric_record(row, values) for row in rows[:limit]],
        next=write_place(listed, end["created_at"], end["id"], end["name"], end["step"] or "") if end else None,
        position=tell_position(request, position),
    )
