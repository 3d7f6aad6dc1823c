"""Files that events name, beside the object store: what is missing, cut or damaged is named."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from execution_ledger.cli.place import place_of
from execution_ledger.clock import SystemClock, World
from execution_ledger.embedded.folder import DataFolder
from execution_ledger.messages.commands import RegisterPipeline
from execution_ledger.messages.definition import Definition, Port
from execution_ledger.messages.events import ArtifactRecorded, Completed, Fact, PipelineRegistered, StepChanged, Warned
from execution_ledger.messages.files import FileRef
from execution_ledger.messages.payload import json_payload
from execution_ledger.objects import MemoryObjects
from execution_ledger.settings import KafkaSettings, LedgerSettings
from execution_ledger.verify.files import Named, NamedFiles, check_files
from execution_ledger.verify.log.history import check_shards
from execution_ledger.verify.log.payloads import payloads_of
from execution_ledger.verify.log.shard import ShardCheck, ShardFindings
from execution_ledger.verify.verification import Ends, Place, Verification
from execution_ledger.verify.workers import Workers
from unit.spec import PIPELINE, queued, stored_file, submit
from unit.verify_rich import RichHistory
from unit.verify_stage import ONE, Keeper, catalog, stored

WORLD = World(SystemClock(), random.Random(1))
CONTENT = b"drawn"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAMED = Named(SHA256, len(CONTENT), 1, 7, "an execution", "input 'rows'")
FIT = Definition(
    name="train",
    inputs={"rows": Port(type="file"), "raw": Port(type="json")},
    outputs={"report": Port(type="file"), "raw": Port(type="json")},
    code="c",
)


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
    assert what.startswith(f"The file {SHA256} (input 'rows') ")
    assert words in what


async def test_other_bytes_of_the_same_size_are_only_found_where_they_are_read() -> None:
    assert await breaches(b"drown", contents=False) == []


def test_only_what_lies_in_the_store_is_looked_for() -> None:
    file = stored_file(CONTENT)
    fact = ArtifactRecorded(attempt=1, ordinal=2, kind="plot", name="trend", file=file)
    assert list(payloads_of(fact)) == [file]
    assert list(payloads_of(Warned(attempt=1, ordinal=2, message="m"))) == []


def reference(content: bytes, **other: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return FileRef(sha256=sha256, size=len(content), media_type="text/csv", name="a.csv").model_dump() | other


def registered(definition: Definition, digest: str = PIPELINE.digest) -> Fact:
    payload = json_payload(definition.model_dump(exclude_none=True))
    return PipelineRegistered(pipeline=definition.name, version=1, digest=digest, definition=payload)


def queued_with(**inputs: Any) -> Fact:
    return queued().model_copy(update={"inputs": json_payload(inputs)})


def completed(**outputs: Any) -> Fact:
    return Completed(attempt=1, outputs=json_payload(outputs))


def what_is_named(facts: Iterable[Fact]) -> list[str]:
    files = NamedFiles({})
    for sequence, fact in enumerate(facts, 1):
        files.feed(1, sequence, "an execution", fact)
    return [named.what for named in files.found.values()]


def test_inputs_and_outputs_that_are_declared_as_files_are_named() -> None:
    report, raw = reference(b"report"), reference(b"raw")
    asked = queued_with(rows=reference(b"rows"), raw=raw)
    assert what_is_named([registered(FIT), asked, completed(report=report, raw=raw)]) == [
        "input 'rows'",
        "output 'report'",
    ]
    assert what_is_named([asked, completed(report=report)]) == [], "nobody knows what this version declares"


def test_what_only_lies_inside_of_a_value_is_no_file() -> None:
    assert what_is_named([registered(FIT), queued_with(rows=None, raw=[reference(b"rows")])]) == []


def test_what_a_step_gives_to_the_next_one_is_a_file_where_it_looks_like_one() -> None:
    step = StepChanged(
        attempt=1, ordinal=2, step="load", status="completed", outputs=json_payload({"kept": reference(b"kept")})
    )
    assert what_is_named([registered(FIT), queued_with(rows=None), step]) == ["output 'kept'"]


def test_a_default_is_named_with_its_pipeline_and_no_execution() -> None:
    port = Port(type="file", required=False, default=reference(CONTENT))
    files = NamedFiles({})
    files.feed(0, 4, "a subject", registered(FIT.model_copy(update={"inputs": {"rows": port}})))
    what = "default of input 'rows' of train"
    assert list(files.found.values()) == [Named(SHA256, len(CONTENT), 0, 4, None, what)]


def test_a_file_is_looked_for_once_but_for_each_size_that_is_said_of_it() -> None:
    rows = reference(CONTENT)
    again = queued_with(rows=rows), completed(report=rows), queued_with(rows=rows | {"name": "b.csv"})
    assert what_is_named([registered(FIT), *again]) == ["input 'rows'"]
    assert what_is_named([registered(FIT), *again, queued_with(rows=rows | {"size": 1})]) == ["input 'rows'"] * 2


def test_shards_know_from_the_catalog_what_is_a_file() -> None:
    ledger = catalog()
    rows = json_payload({"n": reference(CONTENT)})
    definition = FIT.model_copy(update={"inputs": {"n": Port(type="file")}})
    payload = json_payload(definition.model_dump(exclude_none=True))
    ledger.do(RegisterPipeline(command_id="2", actor="r", pipeline="train", digest="d2", definition=payload))
    asked = submit(ONE).model_copy(update={"inputs": rows, "pipeline": PIPELINE.model_copy(update={"digest": "d2"})})
    shard_1 = Keeper()
    shard_1.do(asked)
    events = {0: stored(ledger.raw), 1: stored(shard_1.raw)}
    [_, found] = check_shards(events, LedgerSettings())
    assert [(named.execution, named.what) for named in found.files] == [(ONE, "input 'n'")]


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
    found = ShardFindings(1, files=[NAMED])
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
