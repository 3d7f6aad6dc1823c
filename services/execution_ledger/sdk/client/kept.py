"""What executions have recorded, and files on their way to and from a ledger."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ...errors import Unavailable
from ...messages.files import FileRef, file_name, references_in
from ..file import Fetch, File, reading
from ..records.records import Execution, Record
from .address import execution_path, part

if TYPE_CHECKING:
    from .http import Connection

PAGE_SIZE = 100
PIECE_BYTES = 1_000_000


class Artifact(File):
    """A plot, table, model or file that an attempt has recorded; its bytes come when they are first asked for.

    `kind` is plot, table, model, file and the like. Of several with one name the newest counts, in each step.
    """

    kind: str
    attempt: int
    step: str | None
    title: str  # the name that it was recorded under; `name` has an ending, too, and its step where it needs that

    @classmethod
    def of(cls, line: Mapping[str, Any], name: str, connection: Connection) -> Artifact:
        ref = FileRef(sha256=line["sha256"], size=line["size"], media_type=line["media_type"], name=name)
        artifact = cls(name, media_type=ref.media_type)
        artifact.ref, artifact._path, artifact._fetch = ref, None, fetching(connection, ref)
        artifact.kind, artifact.attempt, artifact.step = line["kind"], line["attempt"], line["step"]
        artifact.title = line["name"]
        return artifact


class Model(Record):
    """A trained model: `Client.model` gets its bytes. `version` is `<number of the execution>.<attempt>`."""

    key: str
    version: str
    execution_id: str
    execution: str
    pipeline: str
    twin: str | None
    step: str | None
    sha256: str
    size: int
    media_type: str
    recorded_at: datetime


class Metric(Record):
    """What one execution measured: the newest value, and count, least and greatest of all.

    `values` are there for a list where one execution was asked for: the first 10,000.
    """

    execution_id: str
    execution: str
    pipeline: str
    pipeline_version: int
    twin: str | None
    mode: str
    status: str
    name: str
    step: str | None
    attempt: int
    value: float
    count: int
    min: float
    max: float
    values: list[float] | None
    recorded_at: datetime


def artifacts(connection: Connection, which: str | int) -> list[Artifact]:
    lines = recorded(connection, which)
    names = told_apart([(line["step"] or line["kind"], file_of(line)) for line in lines])
    return [Artifact.of(line, name, connection) for line, name in zip(lines, names, strict=True)]


def recorded(connection: Connection, which: str | int) -> list[dict[str, Any]]:
    """Of each name the newest, in each step, in the order in which they first came."""
    lines = connection.pages(f"{execution_path(which)}/artifacts", {}, PAGE_SIZE)
    return list({(line["step"], file_of(line)): line for line in lines}.values())


def file_of(line: Mapping[str, Any]) -> str:
    """What an artifact is called where it is saved."""
    return file_name(line["name"], line["media_type"])


def told_apart(files: Sequence[tuple[str, str]]) -> list[str]:
    """The names of files of which each comes from somewhere: where several have one name, that tells them apart.

    So none takes the place of another in the folder where all are saved.
    """
    count = Counter(name for _, name in files)
    return [name if count[name] == 1 else f"{origin}.{name}" for origin, name in files]


def model_file(connection: Connection, key: str, version: str | None) -> File:
    path = f"/v1/models/{part(key, 'a model: use its key')}"
    return File.fetched(key, lambda into: connection.fetch(path, into, version=version))


def with_files(execution: Execution, connection: Connection) -> Execution:
    """Its inputs and outputs with files that can be read in place of references."""
    sides = {"inputs": execution.inputs, "outputs": execution.outputs}
    found = {side: values | _files(values, connection) for side, values in sides.items() if values}
    return execution.model_copy(update=found)


def _files(values: Mapping[str, Any], connection: Connection) -> dict[str, File]:
    return {name: File.kept(ref, fetching(connection, ref)) for name, ref in references_in(values).items()}


def fetching(connection: Connection, ref: FileRef) -> Fetch:
    def fetch(into: BinaryIO) -> None:
        connection.fetch(f"/v1/files/{ref.sha256}", into)
        if _digest(into) != ref.sha256:
            raise Unavailable(f"The bytes of {ref.name} came damaged. Get it again.")

    return fetch


def _digest(into: BinaryIO) -> str:
    into.flush()
    with Path(into.name).open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def upload(connection: Connection, source: Path | str | BinaryIO | File) -> File:
    """Raises BadRequest where it cannot be read, or is too large."""
    file = source if isinstance(source, File) else File(_called(source))
    with reading(source) as content:
        answer = connection.send("POST", "/v1/files", content, file.media_type, name=file.name)
    ref = FileRef.model_validate(answer)
    return File.kept(ref, fetching(connection, ref))


def _called(source: Path | str | BinaryIO) -> str:
    path = source if isinstance(source, Path | str) else str(getattr(source, "name", "file"))
    return Path(path).name or "file"


def sent_inputs(connection: Connection, inputs: Mapping[str, Any], known: dict[int, File]) -> dict[str, Any]:
    """Inputs with references in place of paths, open files and files; each is sent once, which `known` remembers."""
    return {name: _sent(connection, value, known) for name, value in inputs.items()}


def _sent(connection: Connection, value: Any, known: dict[int, File]) -> Any:
    if not isinstance(value, Path | File) and not hasattr(value, "read"):
        return value
    if isinstance(value, File) and value.ref is not None:
        return value.ref.model_dump()
    file = known.get(id(value)) or upload(connection, value)
    known[id(value)] = file
    return file.ref.model_dump() if file.ref else None
