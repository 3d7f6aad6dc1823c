"""Files: sent in before the execution that takes them, and got by their content."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError

from execution_ledger.messages.files import MEDIA_TYPE, FileName, FileRef, Sha256

from ..edge.http import StrictRoute, TheGateway
from ..edge.problems import FieldError, invalid, refused
from ..storing import sent

router = APIRouter(prefix="/v1", tags=["files"], route_class=StrictRoute)

BYTES: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
# Without a body it is an empty file.
UPLOAD: dict[str, Any] = {"requestBody": {"required": False, "content": BYTES}}
DOWNLOAD: dict[int | str, dict[str, Any]] = {200: {"description": "Its bytes", "content": {"*/*": BYTES[MEDIA_TYPE]}}}
_BY_FORMS = "application/x-www-form-urlencoded"  # what curl says where nobody tells it otherwise


@router.post("/files", status_code=201, openapi_extra=UPLOAD)
async def send_file(
    request: Request,
    response: Response,
    gateway: TheGateway,
    name: Annotated[FileName, Query(description="What it is called where it is saved")] = "file",
) -> FileRef:
    """Keeps the body as a file; the answer is what a `file` input takes as its value. Sending it again is the same."""
    media_type = request.headers.get("content-type", MEDIA_TYPE).partition(";")[0].strip()
    with gateway.storing.taking(request) as pieces:
        ref = _reference(name, media_type)
        kept = await gateway.storing.files.keep(pieces)
    response.headers["Location"] = f"/v1/files/{kept.sha256}"
    return ref.model_copy(update={"sha256": kept.sha256, "size": kept.size})


@router.get("/files/{sha256}", response_class=Response, responses=DOWNLOAD)
async def get_file(sha256: Annotated[Sha256, Path()], gateway: TheGateway) -> Response:
    """The bytes of an input, output or artifact, by the sha256 in its reference."""
    size = await gateway.storing.size(sha256)
    if size is None:
        raise refused("unknown-file", f"There is no file {sha256}: it was never stored whole, or is gone.")
    return await sent(gateway.storing.files.pieces(sha256), size, sha256, MEDIA_TYPE)


def _reference(name: str, media_type: str) -> FileRef:
    """Its digest and size come with its bytes. Raises Refused for what is no media type."""
    try:
        own = MEDIA_TYPE if media_type in ("", _BY_FORMS) else media_type
        return FileRef(sha256="0" * 64, size=0, media_type=own, name=name)
    except ValidationError as error:
        raise invalid(FieldError("Content-Type", f"{media_type[:100]!a} is not like text/csv")) from error
