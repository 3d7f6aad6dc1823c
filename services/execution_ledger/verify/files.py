"""Files that events name, beside the object store: each is there, with its size and, where that is read, its bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import NamedTuple

from execution_ledger.clock import World
from execution_ledger.errors import BrokenHistory, NoSuchObject
from execution_ledger.files import Files
from execution_ledger.messages.events import Fact
from execution_ledger.messages.payload import Payload
from execution_ledger.objects import Objects

from .findings import Breach

CONTENTS_BYTES_MAX = 1_000_000_000  # read to compare digests, unless more is asked for


class Named(NamedTuple):
    """A file, and the first event that names it."""

    sha256: str
    size: int
    shard: int
    sequence: int
    execution: str


def payloads_of(fact: Fact) -> Iterator[Payload]:
    """Those of its fields that lie in the object store."""
    for name in type(fact).model_fields:
        value = getattr(fact, name)
        if isinstance(value, Payload) and value.object is not None:
            yield value


async def check_files(
    objects: Objects, world: World, named: Iterable[Named], *, contents: bool
) -> AsyncIterator[Breach]:
    """Raises Unavailable where the store does not answer."""
    files = Files(objects, world, 0)
    for one in named:
        if what := await _wrong(files, one, contents=contents):
            yield Breach(12, one.shard, one.sequence, one.execution, f"The file {one.sha256} {what}.")


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
