"""Artifacts: what an execution has recorded of itself, one by one; and the trained models of all."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from execution_ledger.messages.files import ArtifactName
from execution_ledger.messages.ids import PipelineName, shard_of
from execution_ledger.messages.parts import Text

from ..edge.http import MinPosition, StrictRoute, TheCaller, TheGateway
from ..edge.problems import FieldError, invalid, refused
from ..gateway import Gateway
from ..reads.pages import Limit, PageCursor, digest_of_list, read_place, write_place
from ..reads.recorded import ArtifactPage, ModelPage, artifact_record, model_record
from ..reads.references import execution_id, found_or_caught_up
from ..storing import sent_file
from ..writes.answering import tell_position
from ..writes.commands import unknown_execution
from .files import DOWNLOAD

router = APIRouter(prefix="/v1", tags=["artifacts"], route_class=StrictRoute)

Name = Annotated[ArtifactName, Path()]
_VERSION = re.compile(r"([1-9][0-9]{0,17})\.([1-9][0-9]{0,8})")


@router.get("/executions/{reference}/artifacts")
async def list_artifacts(
    reference: str,
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    cursor: Annotated[int, Query(ge=0, lt=2**63, description="`next` of the page before")] = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> ArtifactPage:
    """All that it has recorded, oldest first."""
    known = await execution_id(gateway, caller.token, reference, min_position)
    position = await gateway.reading.reach(caller.token, min_position, shard_of(known))
    rows = await gateway.views.artifacts(known, cursor, limit + 1)
    if not rows and not cursor:
        await _check_known(gateway, known)
    return ArtifactPage(
        items=[artifact_record(row) for row in rows[:limit]],
        next=str(rows[limit - 1]["sequence"]) if len(rows) > limit else None,
        position=tell_position(request, position),
    )


@router.get("/executions/{reference}/artifacts/{name}", response_class=Response, responses=DOWNLOAD)
async def get_artifact(
    reference: str,
    name: Name,
    gateway: TheGateway,
    caller: TheCaller,
    attempt: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    step: Annotated[Text | None, Query()] = None,
    min_position: MinPosition = None,
) -> Response:
    """Its bytes; of several with this name those of the newest."""
    known = await execution_id(gateway, caller.token, reference, min_position)
    await gateway.reading.reach(caller.token, min_position, shard_of(known))
    row = await found_or_caught_up(gateway, shard_of(known), lambda: gateway.views.artifact(known, name, attempt, step))
    if row is None:
        await _check_known(gateway, known)
        where = "".join(
            f" in {noun} {one!r}" for noun, one in (("attempt", attempt), ("step", step)) if one is not None
        )
        what = f"It has recorded nothing named {name!r}{where}: GET …/artifacts lists what it has."
        raise refused("unknown-artifact", what)
    return await sent_file(gateway.storing, row["sha256"], row["size"], name, row["media_type"])


@router.get("/models")
async def list_models(
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    key: Annotated[ArtifactName | None, Query()] = None,
    pipeline: Annotated[PipelineName | None, Query()] = None,
    cursor: PageCursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> ModelPage:
    """Trained models by key and version, newest first."""
    listed = digest_of_list("models", key, pipeline)
    place = read_place(cursor, listed, datetime, UUID, int)
    position = await gateway.reading.reach(caller.token, min_position)
    rows = await gateway.views.models(key, pipeline, place, limit + 1)
    end = rows[limit - 1] if len(rows) > limit else None
    return ModelPage(
        items=[model_record(row) for row in rows[:limit]],
        next=write_place(listed, end["recorded_at"], end["execution_id"], end["sequence"]) if end else None,
        position=tell_position(request, position),
    )


@router.get("/models/{key}", response_class=Response, responses=DOWNLOAD)
async def get_model(
    key: Name,
    gateway: TheGateway,
    caller: TheCaller,
    version: Annotated[str | None, Query(max_length=40, description="By default the newest")] = None,
    min_position: MinPosition = None,
) -> Response:
    """The bytes of a model."""
    found = _VERSION.fullmatch(version) if version is not None else None
    if version is not None and found is None:
        raise invalid(FieldError("version", "is not like 4097.1: the number of an execution, and the attempt"))
    number, attempt = (int(found[1]), int(found[2])) if found else (None, None)
    await gateway.reading.reach(caller.token, min_position)
    row = await gateway.views.model(key, number, attempt)
    if row is None:
        what = f"There is no model {key!r}{f' of version {version}' if version else ''}."
        raise refused("unknown-artifact", f"{what} Which are: exledger models, or GET /v1/models")
    return await sent_file(gateway.storing, row["sha256"], row["size"], key, row["media_type"])


async def _check_known(gateway: Gateway, known: str) -> None:
    """Raises Refused: what does not exist has not recorded nothing."""
    if await found_or_caught_up(gateway, shard_of(known), lambda: gateway.views.execution(known)) is None:
        raise unknown_execution(known)
