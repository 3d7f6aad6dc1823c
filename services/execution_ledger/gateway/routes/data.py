"""The data store: what pipelines and people share, under paths."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Query, Request, Response

from execution_ledger.messages.base import Message
from execution_ledger.messages.data import PATH_CHARS_MAX, wrong_path
from execution_ledger.messages.files import MEDIA_TYPE

from ..edge.http import StrictRoute, TheCaller, TheGateway
from ..edge.problems import FieldError, invalid, refused
from ..reads.pages import Limit, PageCursor, digest_of_list, read_place, write_place
from ..storing import sent, told
from .files import DOWNLOAD, UPLOAD

router = APIRouter(prefix="/v1/data", tags=["data"], route_class=StrictRoute)

Where = Annotated[str, Path(max_length=PATH_CHARS_MAX, description="Like models/pump-7/scaler.bin")]
LOG = structlog.get_logger("gateway.data")


class DataAt(Message):
    path: str
    size: int


class DataKept(DataAt):
    sha256: str


class DataGone(Message):
    """`existed`: whether there was anything. Asked again there is nothing any more, which is no error."""

    path: str
    existed: bool


class DataPage(Message):
    items: list[DataAt]
    next: str | None


@router.get("")
async def list_data(
    gateway: TheGateway,
    prefix: Annotated[str, Query(max_length=PATH_CHARS_MAX, description="A path, and all below it")] = "",
    cursor: PageCursor = None,
    limit: Limit = 100,
) -> DataPage:
    """What is there, by path."""
    if prefix:
        _check(prefix, "prefix")
    listed = digest_of_list("data", prefix)
    [after] = read_place(cursor, listed, str)
    with told():
        found = await gateway.storing.data.sizes(prefix)
    behind = [DataAt(path=path, size=size) for path, size in found.items() if path > (after or "")]
    end = behind[limit - 1] if len(behind) > limit else None
    return DataPage(items=behind[:limit], next=write_place(listed, end.path) if end else None)


@router.put("/{path:path}", status_code=200, openapi_extra=UPLOAD)
async def put_data(path: Where, request: Request, gateway: TheGateway, caller: TheCaller) -> DataKept:
    """Keeps the body there, whole or not at all, in place of what was there."""
    _check(path, "path")
    with gateway.storing.taking(request) as pieces:
        kept = await gateway.storing.data.put(path, pieces)
    LOG.info("data was put", path=path, size=kept.size, sha256=kept.sha256, actor=caller.actor)
    return DataKept(path=path, size=kept.size, sha256=kept.sha256)


@router.get("/{path:path}", response_class=Response, responses=DOWNLOAD)
async def get_data(path: Where, gateway: TheGateway) -> Response:
    """The bytes that lie there."""
    _check(path, "path")
    with told():
        size = await gateway.storing.data.size(path)
    if size is None:
        raise refused("unknown-data", f"There is no data at {path}. What there is: exledger data ls, or GET /v1/data")
    return await sent(gateway.storing.data.pieces(path), size, path.rpartition("/")[2], MEDIA_TYPE)


@router.delete("/{path:path}")
async def delete_data(path: Where, gateway: TheGateway, caller: TheCaller) -> DataGone:
    """Deletes what lies there."""
    _check(path, "path")
    with told():
        existed = await gateway.storing.data.delete(path)
    LOG.info("data was deleted", path=path, existed=existed, actor=caller.actor)
    return DataGone(path=path, existed=existed)


def _check(path: str, field: str) -> None:
    """Raises Refused."""
    if wrong := wrong_path(path):
        raise invalid(FieldError(field, wrong))
