"""Files that events name, beside the object store: each is there, with its size and, where that is read, its bytes.

Artifacts name theirs outright. Inputs and outputs are values, and which of them are files is said by the definition of
the pipeline's version, in the catalog.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from execution_ledger.clock import World
from execution_ledger.errors import BrokenHistory, NoSuchObject
from execution_ledger.files import Files
from execution_ledger.messages.definition import Definition, default_files
from execution_ledger.messages.events import (
    Aborted,
    Completed,
    Fact,
    Failed,
    PipelineRegistered,
    Queued,
    StepChanged,
)
from execution_ledger.messages.files import FileRef, references_in
from execution_ledger.messages.payload import Payload
from execution_ledger.objects import Objects

from .findings import Breach
from .log.payloads import payloads_of

ENDS = frozenset({Completed, Failed, Aborted})
CONTENTS_BYTES_MAX = 1_000_000_000  # read to compare digests, unless more is asked for


class Named(NamedTuple):
    """A file, and the first event that names it: as `what`."""

    sha256: str
    size: int
    shard: int
    sequence: int
    execution: str | None
    what: str


class Declared(NamedTuple):
    """By one version of a pipeline: the inputs that are files, and the outputs that are something else.

    An output that nothing is said of is a file where it looks like one, as it is for everybody who reads it.
    """

    file_inputs: frozenset[str]
    other_outputs: frozenset[str]


class NamedFiles:
    """Told of every event of a shard in order, and of the catalog's before those of others, whose `declared` it needs.

    What two events say of one file's size may differ, so `found` has a file once for each.
    """

    def __init__(self, declared: Mapping[str, Declared]) -> None:
        self.found: dict[tuple[str, int], Named] = {}
        self.declared = dict(declared)  # by the digest of the definition
        self._live: dict[str, Declared] = {}

    def feed(self, shard: int, sequence: int, subject: str, fact: Fact) -> None:
        """What holds a payload and what ends comes by here; most of it names no file, which its text shows at once."""
        match fact:
            case Queued() if declared := self.declared.get(fact.pipeline.digest):
                self._live[subject] = declared
            case PipelineRegistered() if definition := _definition(fact.definition):
                self.declared[fact.digest] = _declared(definition)
        if any(_may_name(payload) for payload in payloads_of(fact)):
            execution = None if isinstance(fact, PipelineRegistered) else subject
            for what, file in self._files_of(subject, fact):
                named = Named(file.sha256, file.size, shard, sequence, execution, what)
                self.found.setdefault((file.sha256, file.size), named)
        if type(fact) in ENDS:
            self._live.pop(subject, None)

    def _files_of(self, subject: str, fact: Fact) -> Iterator[tuple[str, FileRef | Payload]]:
        yield from ((fact.TYPE.removesuffix(".v1"), payload) for payload in payloads_of(fact) if payload.object)
        declared = self._live.get(subject)
        match fact:
            case PipelineRegistered() if definition := _definition(fact.definition):
                defaults = default_files(definition).items()
                yield from ((f"default of input {name!r} of {fact.pipeline}", ref) for name, ref in defaults)
            case Queued() if declared:
                refs = _references(fact.inputs)
                yield from ((f"input {name!r}", ref) for name, ref in refs if name in declared.file_inputs)
            case StepChanged(outputs=Payload() as outputs) | Completed(outputs=outputs) if declared:
                refs = _references(outputs)
                yield from ((f"output {name!r}", ref) for name, ref in refs if name not in declared.other_outputs)


def _may_name(payload: Payload) -> bool:
    return payload.inline is None or '"sha256"' in payload.inline


def _references(payload: Payload) -> Iterable[tuple[str, FileRef]]:
    return references_in(_json(payload)).items()


def _json(payload: Payload) -> Any:
    """What cannot be read names nothing."""
    try:
        return from_json(payload.inline or "null")
    except ValueError:
        return None


def _definition(payload: Payload) -> Definition | None:
    try:
        return Definition.model_validate(_json(payload))
    except ValidationError:
        return None


def _declared(definition: Definition) -> Declared:
    return Declared(
        frozenset(name for name, port in definition.inputs.items() if port.type == "file"),
        frozenset(name for name, port in definition.outputs.items() if port.type != "file"),
    )


async def check_files(
    objects: Objects, world: World, named: Iterable[Named], *, contents: bool
) -> AsyncIterator[Breach]:
    """Raises Unavailable where the store does not answer."""
    files = Files(objects, world, 0)
    for one in named:
        if wrong := await _wrong(files, one, contents=contents):
            yield Breach(12, one.shard, one.sequence, one.execution, f"The file {one.sha256} ({one.what}) {wrong}.")


async def _wrong(files: Files, named: Named, *, contents: bool) -> str | None:
    size = await files.size(named.sha256)
    if size is None:
        return "is not in the object store"
    if size != named.size:
        return f"has {size:,} bytes there, and the event says {named.size:,}"
    if contents:
        try:
            async for _ in files.pieces(named.sha256):
                pass
        except (BrokenHistory, NoSuchObject) as error:
            return f"cannot be read whole: {error}"
    return None
