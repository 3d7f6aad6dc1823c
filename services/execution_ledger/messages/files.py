"""Files: bytes of any size that messages only name, by their sha256. The bytes lie in the object store.

A reference is what a value of the port type `file` looks like in JSON: `{"sha256", "size", "media_type", "name"}`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError

from .base import Message
from .payload import Payload, json_payload

FOLDER = "files"
MEDIA_TYPE = "application/octet-stream"  # of what nothing is known


def _leads_nowhere(name: str) -> str:
    if name in (".", ".."):
        raise ValueError("leads to another folder")
    return name


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MediaType = Annotated[str, StringConstraints(max_length=255, pattern=r"^[\x21-\x7e]+/[\x20-\x7e]+$")]
# What a file may be called where it is saved: no way out of the folder, nothing that moves a cursor.
FileName = Annotated[
    str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f/\\]+$"), AfterValidator(_leads_nowhere)
]
# Of an artifact, or the key of a model: part of an address, and of a file's name.
ArtifactName = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f/\\.][^\x00-\x1f\x7f/\\]*$")]
ArtifactKind = Annotated[str, StringConstraints(max_length=32, pattern=r"^[a-z][a-z_]*$")]


class FileRef(Message):
    """A file that is there: who has this may ask for its bytes."""

    model_config = ConfigDict(strict=True)

    sha256: Sha256
    size: Annotated[int, Field(ge=0, le=2**53)]  # bytes
    media_type: MediaType
    name: FileName


def object_name(sha256: str) -> str:
    """Where its bytes lie in the object store."""
    return f"{FOLDER}/{sha256}"


def file_payload(ref: FileRef) -> Payload:
    return Payload(sha256=ref.sha256, size=ref.size, media_type=ref.media_type, object=object_name(ref.sha256))


def _names_an_object(payload: Payload) -> Payload:
    FileRef(sha256=payload.sha256, size=payload.size, media_type=payload.media_type, name="-")
    if payload.inline is not None or payload.object != object_name(payload.sha256):
        raise ValueError("names no stored object by its sha256")
    return payload


# What lies in the object store under its digest.
FilePayload = Annotated[Payload, AfterValidator(_names_an_object)]


def wrong_reference(value: Any) -> str | None:
    """What keeps a value from being a reference, in words."""
    if not isinstance(value, dict) or value.keys() != FileRef.model_fields.keys():
        return (
            "must be a file: in Python a File (of an input also a Path or an open file), "
            "else the reference (sha256, size, …) that POST /v1/files gives"
        )
    try:
        FileRef.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        return f"is a reference to a file with a wrong {problem['loc'][0]}: {problem['msg']}"
    return None


def references_in(values: Any) -> dict[str, FileRef]:
    """The files that inputs or outputs are, by name; what only lies inside of a value is no file."""
    given = values.items() if isinstance(values, dict) else ()
    return {name: FileRef(**value) for name, value in given if wrong_reference(value) is None}


def bytes_of(payload: Payload, values: Any) -> int:
    """What counts of inputs or outputs: without the references, because files are exempt from that limit."""
    refs = references_in(values)
    return json_payload({name: one for name, one in values.items() if name not in refs}).size if refs else payload.size


_ENDINGS = {
    "text/html": ".html",
    "text/csv": ".csv",
    "text/plain": ".txt",
    "application/json": ".json",
    "application/x-ndjson": ".ndjson",
    "application/pdf": ".pdf",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/svg+xml": ".svg",
    "application/x-pickle": ".pkl",
}


def file_name(name: str, media_type: str) -> str:
    """What an artifact is called where it is saved: its name, with the ending that its media type has."""
    ending = _ENDINGS.get(media_type.partition(";")[0].strip(), "")
    return name if name.lower().endswith(ending) else name + ending
