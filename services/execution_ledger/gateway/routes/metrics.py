"""Metrics: what pipelines measured, listed and compared over executions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from execution_ledger.messages.ids import PipelineName
from execution_ledger.messages.metrics import MetricName
from execution_ledger.messages.parts import Text

from ..edge.http import MinPosition, StrictRoute, TheCaller, TheGateway
from ..reads.pages import Limit
from ..reads.recorded import VALUES_MAX, MetricPage, metric_record, read_place, write_place
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
    cursor: Annotated[str | None, Query(max_length=2_000, description="`next` of the page before")] = None,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> MetricPage:
    """One line for each metric of an execution, the newest executions first."""
    place = read_place(cursor, 4)
    known = await execution_id(gateway, caller.token, execution, min_position) if execution is not None else None
    position = await gateway.reading.reach(caller.token, min_position)
    rows = await gateway.views.metrics((known, pipeline, name, twin, *place), limit + 1)
    values = await gateway.views.metric_values(known, VALUES_MAX) if known else {}
    end = rows[limit - 1] if len(rows) > limit else None
    return MetricPage(
        items=[metric_record(row, values) for row in rows[:limit]],
        next=write_place(end["created_at"], end["id"], end["name"], end["step"] or "") if end else None,
        position=tell_position(request, position),
    )
