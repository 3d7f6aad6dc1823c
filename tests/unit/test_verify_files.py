"""Files that events name, beside the object store: what is missing, cut or damaged is named."""

from __future__ import annotations

import hashlib
import random

import pytest

from execution_ledger.clock import SystemClock, World
from execution_ledger.messages.events import ArtifactRecorded, Warned
from execution_ledger.objects import MemoryObjects
from execution_ledger.verify.files import Named, check_files, payloads_of
from unit.spec import stored_file

WORLD = World(SystemClock(), random.Random(1))
CONTENT = b"drawn"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAMED = Named(SHA256, len(CONTENT), 1, 7, "an execution")


async def breaches(held: bytes | None, *, contents: bool = True) -> list[str]:
    objects = MemoryObjects()
    if held is not None:
        objects.held[f"files/{SHA256}"] = held
    found = [breach async for breach in check_files(objects, WORLD, [NAMED], contents=contents)]
    assert all((breach.promise, breach.shard, breach.sequence) == (12, 1, 7) for breach in found)
    return [breach.what for breach in found]


async def test_a_file_that_is_there_breaks_nothing() -> None:
    assert await breaches(CONTENT) == []


@pytest.mark.parametrize(
    ("held", "words"), [(None, "is not in the object store"), (b"cut", "has 3 bytes there"), (b"drown", "damaged")]
)
async def test_what_is_wrong_with_one_is_named(held: bytes | None, words: str) -> None:
    [what] = await breaches(held)
    assert words in what


async def test_other_bytes_of_the_same_size_are_only_found_where_they_are_read() -> None:
    assert await breaches(b"drown", contents=False) == []


def test_only_what_lies_in_the_store_is_looked_for() -> None:
    file = stored_file(CONTENT)
    fact = ArtifactRecorded(attempt=1, ordinal=2, kind="plot", name="trend", file=file)
    assert list(payloads_of(fact)) == [file]
    assert list(payloads_of(Warned(attempt=1, ordinal=2, message="m"))) == []
