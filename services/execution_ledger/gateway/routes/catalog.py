"""Templates, twins and experiments: register, read, remove. Answered from the events themselves, as pipelines are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from execution_ledger.messages.catalog import Entry, Experiment, Noun, Template, Twin, entry_payload, noun_of, resolved
from execution_ledger.messages.ids import Key

from ..edge.http import StrictRoute, TheGateway
from ..gateway import Gateway
from ..reads.pages import Limit, PageCursor, digest_of_list, read_place, write_place
from ..reads.records import (
    ExperimentAt,
    ExperimentPage,
    ExperimentRecord,
    TemplateAt,
    TemplatePage,
    TemplateRecord,
    TwinAt,
    TwinPage,
    TwinRecord,
)
from ..stream.entries import KnownEntry
from ..writes.answering import TheWrite, Writing, tell_position
from ..writes.answers import EntryAnswer, ReceivedAnswer, RemovedAnswer
from .pipelines import catalog_position, read_catalog

router = APIRouter(prefix="/v1", tags=["catalog"], route_class=StrictRoute)

REGISTERED: dict[int | str, dict[str, Any]] = {
    200: {"model": EntryAnswer, "description": "The newest version is this one already"},
    202: {"model": ReceivedAnswer, "description": "Safe in the log; the ledger has not decided yet"},
}


@router.put("/templates/{key}", status_code=201, responses=REGISTERED)
async def register_template(key: Key, body: Template, write: TheWrite) -> EntryAnswer | ReceivedAnswer:
    """A kind of asset, and what each of its twins says of itself. It may change as long as each twin still fits."""
    return await _registered(key, body, write)


@router.put("/twins/{key}", status_code=201, responses=REGISTERED)
async def register_twin(key: Key, body: Twin, write: TheWrite) -> EntryAnswer | ReceivedAnswer:
    """An asset, whose values have to fit its template. What is already queued keeps those it was queued with."""
    return await _registered(key, body, write)


@router.put("/experiments/{key}", status_code=201, responses=REGISTERED)
async def register_experiment(key: Key, body: Experiment, write: TheWrite) -> EntryAnswer | ReceivedAnswer:
    """What executions in mode experiment may belong to."""
    return await _registered(key, body, write)


@router.delete("/twins/{key}", responses={202: REGISTERED[202]})
async def remove_twin(key: Key, write: TheWrite) -> RemovedAnswer | ReceivedAnswer:
    """Nothing new runs on it; what was asked for before does, and its record stays as it is."""
    answer = await write.gateway.commands.catalog.remove_twin(key, write.actor, write.key, write.traceparent)
    if answer.trace is None:
        return write.received(answer)
    return RemovedAnswer(
        key=key,
        version=answer.trace.outcome.version or 1,
        position=write.written(answer.position),
        command_id=answer.command_id,
    )


@router.get("/templates")
async def list_templates(
    request: Request, gateway: TheGateway, cursor: PageCursor = None, limit: Limit = 50
) -> TemplatePage:
    """By key."""
    found, after = await _page(gateway, "template", cursor, limit)
    position = tell_position(request, catalog_position(gateway))
    return TemplatePage(items=[TemplateRecord.of(each) for each in found], next=after, position=position)


@router.get("/twins")
async def list_twins(
    request: Request,
    gateway: TheGateway,
    template: Annotated[Key | None, Query(description="Only those on it")] = None,
    cursor: PageCursor = None,
    limit: Limit = 50,
) -> TwinPage:
    """By key."""
    found, after = await _page(gateway, "twin", cursor, limit, template)
    position = tell_position(request, catalog_position(gateway))
    return TwinPage(items=[TwinRecord.of(each) for each in found], next=after, position=position)


@router.get("/experiments")
async def list_experiments(
    request: Request, gateway: TheGateway, cursor: PageCursor = None, limit: Limit = 50
) -> ExperimentPage:
    """By key."""
    found, after = await _page(gateway, "experiment", cursor, limit)
    position = tell_position(request, catalog_position(gateway))
    return ExperimentPage(items=[ExperimentRecord.of(each) for each in found], next=after, position=position)


@router.get("/templates/{key}")
async def get_template(key: Key, request: Request, gateway: TheGateway) -> TemplateAt:
    """What its twins have to say of themselves."""
    found = await _found(gateway, "template", key)
    return TemplateAt.of(found, position=tell_position(request, catalog_position(gateway)))


@router.get("/twins/{key}")
async def get_twin(key: Key, request: Request, gateway: TheGateway) -> TwinAt:
    """A twin; `properties` are what a run on it gets, its template's defaults included."""
    found = await _found(gateway, "twin", key)
    twin = found.definition
    assert isinstance(twin, Twin)
    template = gateway.tail.catalog.entries.template(twin.template) if twin.template else None
    properties = resolved(template, twin, {}) if template else {}
    return TwinAt.of(found, properties=properties, position=tell_position(request, catalog_position(gateway)))


@router.get("/experiments/{key}")
async def get_experiment(key: Key, request: Request, gateway: TheGateway) -> ExperimentAt:
    """Its executions: `GET /v1/executions?experiment=…`."""
    found = await _found(gateway, "experiment", key)
    return ExperimentAt.of(found, position=tell_position(request, catalog_position(gateway)))


async def _registered(key: str, entry: Entry, write: Writing) -> EntryAnswer | ReceivedAnswer:
    answer = await write.gateway.commands.catalog.entry(key, entry, write.actor, write.key, write.traceparent)
    if answer.trace is None:
        return write.received(answer)
    write.response.status_code = 200 if answer.repeated else 201
    write.response.headers["Location"] = f"/v1/{noun_of(entry)}s/{key}"
    return EntryAnswer(
        key=key,
        version=answer.trace.outcome.version or 1,
        digest=entry_payload(entry).sha256,
        position=write.written(answer.position),
        command_id=answer.command_id,
    )


async def _page(
    gateway: Gateway, noun: Noun, cursor: str | None, limit: int, template: str | None = None
) -> tuple[Sequence[KnownEntry], str | None]:
    """A page, and the cursor of the one behind it."""
    listed = digest_of_list(noun, template)
    [after] = read_place(cursor, listed, str)
    await read_catalog(gateway)
    found = gateway.tail.catalog.entries.page(noun, after or "", limit + 1, template)
    return found[:limit], write_place(listed, found[limit - 1].key) if len(found) > limit else None


async def _found(gateway: Gateway, noun: Noun, key: str) -> KnownEntry:
    await read_catalog(gateway)
    found = gateway.tail.catalog.entries.find(noun, key)
    if found is None:
        raise gateway.tail.catalog.entries.unknown(noun, key)
    return found
