"""Pipelines: register a version, read the catalog. Answered from the events themselves, so without Postgres too."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from execution_ledger.messages.definition import Definition
from execution_ledger.messages.ids import CATALOG_SHARD, PipelineName
from execution_ledger.messages.position import Position

from ..edge.http import StrictRoute, TheGateway
from ..edge.problems import FieldError, invalid, refused
from ..gateway import Gateway
from ..reads.pages import Limit, PageCursor, digest_of_list, read_place, write_place
from ..reads.records import PipelineAt, PipelinePage, pipeline_record
from ..writes.answering import TheWrite, tell_position
from ..writes.answers import PipelineAnswer, ReceivedAnswer
from ..writes.registering import definition_payload

router = APIRouter(prefix="/v1/pipelines", tags=["pipelines"], route_class=StrictRoute)


@router.put(
    "/{name}",
    status_code=201,
    responses={
        200: {"model": PipelineAnswer, "description": "The newest version is this one already"},
        202: {"model": ReceivedAnswer, "description": "Safe in the log; the ledger has not decided yet"},
    },
)
async def register(name: PipelineName, body: Definition, write: TheWrite) -> PipelineAnswer | ReceivedAnswer:
    """Makes this definition the newest version; what is already queued keeps the version it was queued with."""
    if body.name != name:
        raise invalid(FieldError("name", f"is {body.name!r}, but the address says {name!r}"))
    answer = await write.gateway.commands.catalog.pipeline(body, write.actor, write.key, write.traceparent)
    if answer.trace is None:
        return write.received(answer)
    write.response.status_code = 200 if answer.repeated else 201
    write.response.headers["Location"] = f"/v1/pipelines/{name}"
    return PipelineAnswer(
        name=name,
        version=answer.trace.outcome.version or 1,
        digest=definition_payload(body).sha256,
        position=write.written(answer.position),
        command_id=answer.command_id,
    )


@router.get("")
async def list_pipelines(
    request: Request,
    gateway: TheGateway,
    cursor: PageCursor = None,
    limit: Limit = 50,
) -> PipelinePage:
    """The newest version of each, by name."""
    listed = digest_of_list("pipelines")
    [after] = read_place(cursor, listed, str)
    await read_catalog(gateway)
    known = gateway.tail.catalog.page(after or "", limit + 1)
    return PipelinePage(
        items=[pipeline_record(each) for each in known[:limit]],
        next=write_place(listed, known[limit - 1].ref.name) if len(known) > limit else None,
        position=tell_position(request, catalog_position(gateway)),
    )


@router.get("/{name}")
async def get_pipeline(
    name: PipelineName,
    request: Request,
    gateway: TheGateway,
    version: Annotated[int | None, Query(ge=1, description="Default: the newest")] = None,
) -> PipelineAt:
    """One version of a pipeline, with everything that it declares."""
    await read_catalog(gateway)
    catalog = gateway.tail.catalog
    found = catalog.find(name, version)
    if found is None and catalog.newest(name) is not None:
        raise refused("unknown-pipeline", f"Pipeline {name!r} has no version {version}. Leave it out for the newest.")
    if found is None:
        raise catalog.unknown(name)
    position = tell_position(request, catalog_position(gateway))
    return PipelineAt(**dict(pipeline_record(found)), position=position)


async def read_catalog(gateway: Gateway) -> None:
    """What was registered before this request is included, through whichever gateway that was."""
    await gateway.tail.read_to_end(CATALOG_SHARD, gateway.settings.read_wait_s)


def catalog_position(gateway: Gateway) -> Position:
    return {CATALOG_SHARD: gateway.tail.position.get(CATALOG_SHARD, 0)}
