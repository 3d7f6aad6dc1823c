"""The files that requests name as inputs, or pipelines as defaults: whether they are there is asked first."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

from execution_ledger.messages.files import FileRef

from ..edge.problems import FieldError

LOOKS_AT_ONCE = 16
REFERENCES_MAX = 1_000  # different files in one request


class Sizes(Protocol):
    """What checking a reference needs to know."""

    async def size(self, sha256: str) -> int | None: ...


class NoFiles:
    """Without an object store nothing is there."""

    async def size(self, sha256: str) -> int | None:
        return None


async def missing(sizes: Sizes, refs: Collection[tuple[str, FileRef]]) -> list[FieldError]:
    """Those of the references, by the fields they stand in, that name no file which is there. Raises Away."""
    distinct = {ref.sha256 for _, ref in refs}
    if len(distinct) > REFERENCES_MAX:
        return [FieldError("inputs", f"{len(distinct):,} different files: send at most {REFERENCES_MAX:,} at a time")]
    turns = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def look(sha256: str) -> tuple[str, int | None]:
        async with turns:
            return sha256, await sizes.size(sha256)

    found = dict(await asyncio.gather(*map(look, sorted(distinct))))
    return [FieldError(field, wrong) for field, ref in refs if (wrong := _wrong_size(ref, found[ref.sha256]))]


def _wrong_size(ref: FileRef, size: int | None) -> str | None:
    if size is None:
        return f"names a file that is not here ({ref.name}): send it by POST /v1/files first"
    return f"says {ref.size:,} bytes, and the file has {size:,}" if size != ref.size else None
