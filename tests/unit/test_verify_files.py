"""Files that events name, beside the object store: what is missing, cut or damaged is named."""

from __future__ import annotations

import copy
import hashlib
import random
from pathlib import Path

import pytest

from execution_ledger.cli.place import place_of
from execution_ledger.clock import SystemClock, World
from execution_ledger.embedded.folder import DataFolder
from execution_ledger.messages.events import ArtifactRecorded, Warned
from execution_ledger.objects import MemoryObjects
from execution_ledger.settings import KafkaSettings, LedgerSettings
from execution_ledger.verify.files import Named, check_files, payloads_of
from execution_ledger.verify.shard import ShardCheck, ShardFindings
from execution_ledger.verify.verification import Ends, Place, Verification
from execution_ledger.verify.workers import Workers
from unit.spec import stored_file
from unit.verify_rich import RichHistory
from unit.verify_stage import stored

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


@pytest.mark.parametrize(("is_there", "url"), [(True, "objects"), (False, "memory://")])
async def test_the_object_store_of_a_dev_that_is_gone_is_empty_and_not_none(
    tmp_path: Path, is_there: bool, url: str
) -> None:
    with DataFolder(tmp_path).hold("http://nowhere") as folder:
        folder.announce("http://nowhere", "127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/none")
        if is_there:
            folder.objects.mkdir()
        async with place_of(tmp_path, "verify") as place:
            assert place.objects.url.endswith(url)
    assert folder.objects.is_dir() == is_there


async def test_files_that_cannot_be_looked_for_are_a_note() -> None:
    place = Place(KafkaSettings(), LedgerSettings(), None)
    found = ShardFindings(1, files={(SHA256, 5): NAMED})
    with Workers(1) as workers:
        check = Verification(place, [], workers, Ends({}, {}, {}), lambda *_: None)
        await check._check_files([found])
    assert check._report.notes == ["1 files that events name were not looked for: no object store is set."]
    assert check._report.state_of(12) == "not checked"


def test_one_file_that_two_events_give_two_sizes_is_looked_for_twice() -> None:
    check = ShardCheck(1, LedgerSettings())
    history = RichHistory()
    at = history.documents.index(history.find("execution.artifact_recorded"))
    history.documents.insert(at + 1, copy.deepcopy(history.documents[at]))
    history.documents[at + 1]["data"]["file"]["size"] += 1
    history.number()
    history.chain()
    for raw, offset in stored(history.raw()):
        check.feed(raw, offset)
    assert len(check.finish().files) == 2
