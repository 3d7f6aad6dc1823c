"""Files, artifacts and data as the code of a pipeline has them, and what becomes of them when the store fails."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

import pytest

from execution_ledger.errors import Unavailable
from execution_ledger.messages.reports import (
    ReportArtifact,
    ReportCompleted,
    ReportFailed,
    ReportMetric,
    ReportStarted,
    ReportWarning,
)
from execution_ledger.objects import MemoryObjects
from execution_ledger.sdk.attempt import recorder
from execution_ledger.sdk.attempt.context import Context
from execution_ledger.sdk.file import File
from execution_ledger.sdk.pipelines.pipeline import Pipeline, pipeline
from unit.runner_stage import Stage


class Away(MemoryObjects):
    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> None:
        raise Unavailable("the bucket does not answer")


def reference(content: bytes, name: str, media_type: str = "text/plain") -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"sha256": sha256, "size": len(content), "media_type": media_type, "name": name}


async def completed(code: Pipeline, objects: MemoryObjects, **inputs: Any) -> dict[str, Any]:
    async with Stage(code, objects=objects).running() as stage:
        report = await stage.report(await stage.start(**inputs), ReportCompleted)
        outputs: dict[str, Any] = report.outputs.value()
        return outputs


async def failed(code: Pipeline, objects: MemoryObjects | None = None, **inputs: Any) -> ReportFailed:
    async with Stage(code, objects=objects).running() as stage:
        return await stage.report(await stage.start(**inputs), ReportFailed)


async def recorded(code: Pipeline, count: int, objects: MemoryObjects | None = None) -> list[Any]:
    """What it recorded, between its start and its end."""
    async with Stage(code, objects=objects or MemoryObjects()).running() as stage:
        reports = await stage.reports(await stage.start(), count + 2)
    assert isinstance(reports[0], ReportStarted)
    assert isinstance(reports[-1], ReportCompleted), reports[-1]
    return reports[1:-1]


async def test_each_attempt_has_a_folder_of_its_own_that_is_gone_after_it() -> None:
    """Two that wrote `report.html` where they ran took each other's."""
    folders: list[Path] = []
    together = threading.Barrier(2)

    def writes(context: Context, text: str) -> dict[str, Any]:
        report = context.folder / "report.txt"
        report.write_text(text)
        folders.append(context.folder)
        together.wait(10)
        return {"report": File(report)}

    code = pipeline("train", inputs={"text": "string"}, outputs={"report": "file"})(writes)
    async with Stage(code, objects=MemoryObjects()).running() as stage:
        tokens = [await stage.start(text=text) for text in ("one", "two")]
        reports = [await stage.report(token, ReportCompleted) for token in tokens]
        assert [report.outputs.value()["report"] for report in reports] == [
            reference(text, "report.txt") for text in (b"one", b"two")
        ]
        while gone := [task for task in asyncio.all_tasks() if task.get_name() == "removing the folder of an attempt"]:
            await asyncio.wait(gone)
    assert len(set(folders)) == 2
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_file_that_is_returned_is_stored_and_referred_to(tmp_path: Path, is_async: bool) -> None:
    (tmp_path / "report.html").write_text("<p>fine</p>")

    def plain(context: Context) -> dict[str, Any]:
        return {"report": File(tmp_path / "report.html"), "rows": 3}

    async def coroutine(context: Context) -> dict[str, Any]:
        return plain(context)

    objects = MemoryObjects()
    code = pipeline("train", outputs={"report": "file", "rows": "number"})(coroutine if is_async else plain)
    outputs = await completed(code, objects)
    assert outputs == {"report": reference(b"<p>fine</p>", "report.html", "text/html"), "rows": 3}
    assert list(objects.held.values()) == [b"<p>fine</p>"]


async def test_an_input_file_comes_when_it_is_read_and_goes_on_without_being_stored_again(tmp_path: Path) -> None:
    objects = MemoryObjects()
    given = reference(b"1,2\n", "rows.csv", "text/csv")
    objects.held[f"files/{given['sha256']}"] = b"1,2\n"

    @pipeline(outputs={"text": "string", "same": "file"})
    def read(context: Context, rows: File) -> dict[str, Any]:
        with rows.open() as file:
            text = file.read().decode()
        assert rows.path().read_bytes() == rows.read_bytes()
        assert rows.save(tmp_path / "new").name == "rows.csv"
        return {"text": text, "same": rows}

    outputs = await completed(read, objects, rows=given)
    assert outputs == {"text": "1,2\n", "same": given}
    assert (tmp_path / "new" / "rows.csv").read_bytes() == b"1,2\n"
    assert len(objects.held) == 1


async def test_a_file_that_has_vanished_fails_the_execution_with_its_name(tmp_path: Path) -> None:
    @pipeline(outputs={"report": "file"})
    def gone(context: Context) -> dict[str, Any]:
        return {"report": File(tmp_path / "gone.html")}

    failure = (await failed(gone, MemoryObjects())).failure
    assert failure.kind == "user"
    assert "its output 'report' is not there" in failure.message
    assert "gone.html" in failure.message


@pytest.mark.parametrize(("options", "what"), [({"name": "../a"}, "name"), ({"media_type": "text"}, "media_type")])
async def test_a_file_that_cannot_be_called_like_that_is_told_in_words(
    tmp_path: Path, options: dict[str, str], what: str
) -> None:
    @pipeline(outputs={"report": "file"})
    def badly_called(context: Context) -> dict[str, Any]:
        (tmp_path / "report.html").touch()
        return {"report": File(tmp_path / "report.html", **options)}

    failure = (await failed(badly_called, MemoryObjects())).failure
    assert failure.message.startswith(f"BadRequest: its output 'report' is a reference to a file with a wrong {what}: ")


async def test_a_path_that_is_returned_as_text_is_no_file() -> None:
    @pipeline(outputs={"report": "file"})
    def text(context: Context) -> dict[str, Any]:
        return {"report": "report.html"}

    assert "report must be a file: in Python a File " in (await failed(text, MemoryObjects())).failure.message


async def test_an_input_that_is_kept_no_longer_is_a_fault_of_the_infrastructure() -> None:
    @pipeline
    def read(context: Context, rows: File) -> dict[str, Any]:
        return {"size": len(rows.read_bytes())}

    failure = (await failed(read, MemoryObjects(), rows=reference(b"gone", "rows.csv"))).failure
    assert failure.kind == "infrastructure"
    assert "no object files/" in failure.message


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_store_that_is_away_fails_the_attempt_as_infrastructure_and_records_nothing(is_async: bool) -> None:
    def plain(context: Context) -> None:
        context.table("rows", [{"a": 1}])

    async def coroutine(context: Context) -> None:
        plain(context)

    async with Stage(pipeline("train")(coroutine if is_async else plain), objects=Away()).running() as stage:
        reports = await stage.reports(await stage.start(), 2)
    assert tuple(map(type, reports)) == (ReportStarted, ReportFailed)
    assert isinstance(reports[1], ReportFailed)
    assert reports[1].failure.kind == "infrastructure"
    assert "the bucket does not answer" in reports[1].failure.message


async def test_without_a_store_the_code_is_told_what_to_set() -> None:
    @pipeline
    def draw(context: Context) -> None:
        context.artifact("a", b"x")

    failure = (await failed(draw)).failure
    assert (failure.kind, "EXLEDGER__OBJECTS__URL" in failure.message) == ("infrastructure", True)


async def test_artifacts_are_stored_before_they_are_recorded() -> None:
    objects = MemoryObjects()

    @pipeline
    async def draw(context: Context) -> None:
        context.table("rows", [{"a": 1, "b": "x"}, {"a": 2}])
        context.artifact("notes", b"plain")

    rows, notes = await recorded(draw, 2, objects)
    assert (rows.kind, rows.name, rows.file.media_type) == ("table", "rows", "text/csv")
    assert objects.held[rows.file.object] == b"a,b\n1,x\n2,\n"
    assert (notes.kind, notes.file.size) == ("file", 5)


async def test_what_code_records_before_it_fails_is_kept() -> None:
    @pipeline
    async def draw(context: Context) -> None:
        context.artifact("last words", b"x")
        raise ValueError("no")

    async with Stage(draw, objects=MemoryObjects()).running() as stage:
        reports = await stage.reports(await stage.start(), 3)
    assert [type(report) for report in reports[1:]] == [ReportArtifact, ReportFailed]


async def test_production_records_no_plots_and_no_models_and_says_so_nowhere_but_in_the_log() -> None:
    """Its options: plot and train are off."""

    @pipeline
    def draw(context: Context) -> None:
        context.plot("trend", "<p>drawn</p>")
        context.model("fit", {"a": 1})
        context.metric("rmse", 0.1)

    [metric] = await recorded(draw, 1)
    assert isinstance(metric, ReportMetric)


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a\n", "x" * 129, "a\\b"])
async def test_a_name_that_cannot_be_one_is_refused_in_words(name: str) -> None:
    @pipeline
    def draw(context: Context) -> None:
        context.artifact(name, b"x")

    failure = (await failed(draw, MemoryObjects())).failure
    assert (failure.kind, "cannot be a name here" in failure.message) == ("user", True)


async def test_more_artifacts_than_an_attempt_may_record_are_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "ARTIFACTS_MAX", 2)

    @pipeline
    def draw(context: Context) -> None:
        for number in range(4):
            context.artifact(f"a{number}", b"x")

    told = await recorded(draw, 3)
    assert [type(report) for report in told] == [ReportArtifact, ReportArtifact, ReportWarning]


async def test_metrics_are_single_values_and_lists_in_pieces() -> None:
    @pipeline
    def measure(context: Context) -> None:
        context.metric("rmse", 1)
        context.metric("loss", [0.5] * 1_001)

    rmse, first, rest = await recorded(measure, 3)
    assert (rmse.name, rmse.value, rmse.values) == ("rmse", 1.0, None)
    assert (len(first.values), len(rest.values)) == (1_000, 1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "is nan"),
        ([1.0, float("inf")], "is inf"),
        (10**400, "too large"),
        (True, "is a bool, not a number"),
        ("3", "is a str, not a number"),
        (None, "is a NoneType, not a number"),
        ([], "has 0 values"),
        ({"a": 1}, "is a dict, not a number"),
    ],
)
async def test_what_is_no_number_is_refused_in_words(value: Any, words: str) -> None:
    @pipeline
    def measure(context: Context) -> None:
        context.metric("rmse", value)

    failure = (await failed(measure)).failure
    assert (failure.kind, words in failure.message) == ("user", True), failure.message


async def test_data_is_put_listed_got_and_deleted(tmp_path: Path) -> None:
    objects = MemoryObjects()

    @pipeline
    def share(context: Context) -> dict[str, Any]:
        context.data.put("models/a.bin", b"abc")
        (tmp_path / "b").write_bytes(b"defg")
        context.data.put("models/b.bin", tmp_path / "b")
        listed = dict(context.data.list("models"))
        text = context.data.get("models/a.bin").read_bytes().decode()
        context.data.delete("models/a.bin")
        context.data.delete("models/a.bin")
        return {"listed": listed, "text": text}

    outputs = await completed(share, objects)
    assert outputs == {"listed": {"models/a.bin": 3, "models/b.bin": 4}, "text": "abc"}
    assert list(objects.held) == ["data/models/b.bin"]


async def test_data_that_is_not_there_or_badly_named_is_said_to_be_so() -> None:
    @pipeline
    def read(context: Context, path: str) -> None:
        context.data.get(path)

    assert "There is no data at a/b" in (await failed(read, MemoryObjects(), path="a/b")).failure.message
    failure = (await failed(read, MemoryObjects(), path="../secret")).failure
    assert (failure.kind, "has the part '..'" in failure.message) == ("user", True)


async def test_blocking_calls_in_async_code_say_how_to_make_them() -> None:
    @pipeline
    async def share(context: Context) -> dict[str, Any]:
        await asyncio.to_thread(context.data.put, "a", b"x")
        context.data.put("b", b"x")
        return {}

    failure = (await failed(share, MemoryObjects())).failure
    assert "await asyncio.to_thread" in failure.message
