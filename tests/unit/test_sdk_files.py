"""Files on their way to and from a ledger: sent again after a broken connection, and never saved half or damaged."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from execution_ledger import File
from execution_ledger.errors import BadRequest, Unavailable
from execution_ledger.sdk.client.client import Client
from unit.client_stage import ID, NAME, page, record

CONTENT = b"1,2\n" * 1_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REF = {"sha256": SHA256, "size": len(CONTENT), "media_type": "text/csv", "name": "a.csv"}
CONTENT_ANSWER = httpx.Response(200, content=CONTENT)
ARTIFACT = {
    "sequence": 4,
    "attempt": 1,
    "kind": "table",
    "name": "rows",
    "step": None,
    "recorded_at": "2026-11-22T04:58:18.123Z",
    **{name: REF[name] for name in ("sha256", "size", "media_type")},
}


class Ledger:
    """Keeps what it is sent; the first `broken` requests get no answer."""

    def __init__(self, answer: Callable[[httpx.Request], Any], broken: int = 0) -> None:
        self._answer = answer
        self._broken = broken
        self.bodies: list[bytes] = []
        self.client = Client("http://ledger", "t", transport=httpx.MockTransport(self._handle))
        self.client.connection.pause = lambda seconds: None

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.read())
        if len(self.bodies) <= self._broken:
            raise httpx.ReadError("the connection broke")
        answer = self._answer(request)
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


def test_a_file_is_sent_again_from_its_beginning() -> None:
    ledger = Ledger(lambda _: REF, broken=2)
    assert ledger.client.upload(io.BytesIO(CONTENT)).ref
    assert ledger.bodies == [CONTENT] * 3


def test_each_file_of_a_batch_is_sent_once_and_named_in_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CONTENT)
    batch = {"id": ID, "executions": [], "position": "1.1", "command_id": "c"}
    ledger = Ledger(lambda request: REF if request.url.path == "/v1/files" else batch)
    ledger.client.multi_run("fit", ["a", "b"], inputs={"rows": path, "days": 7})
    sent, asked = ledger.bodies
    assert sent == CONTENT
    assert asked.count(SHA256.encode()) == 2


def test_a_file_that_is_not_there_is_refused_before_anything_is_sent() -> None:
    ledger = Ledger(lambda _: REF)
    with pytest.raises(BadRequest, match=r"nowhere\.csv"):
        ledger.client.run("fit", inputs={"rows": File("nowhere.csv")})
    assert ledger.bodies == []


def test_a_file_that_was_opened_as_text_is_refused_with_what_to_do(tmp_path: Path) -> None:
    ledger, path = Ledger(lambda _: REF), tmp_path / "a.csv"
    path.touch()
    with path.open() as text:
        for source in (text, io.StringIO("rows")):
            with pytest.raises(BadRequest, match=r"opened as text\. Open it for bytes"):
                ledger.client.run("fit", inputs={"rows": source})
    assert ledger.bodies == []


def test_outputs_that_are_files_are_saved_whole_after_a_broken_connection(tmp_path: Path) -> None:
    answers = {f"/v1/files/{REF['sha256']}": httpx.Response(200, content=CONTENT)}
    done = record("completed", outputs={"report": REF, "rows": 3, "same": {"report": REF}})
    ledger = Ledger(lambda request: answers.get(request.url.path, done), broken=1)
    outputs = ledger.client.execution(NAME).outputs
    assert outputs
    assert outputs["report"].save(tmp_path).read_bytes() == CONTENT
    assert (outputs["rows"], outputs["same"]) == (3, {"report": REF}), "only whole values are files"


def test_damaged_bytes_are_not_saved(tmp_path: Path) -> None:
    done = record("completed", outputs={"report": REF})
    answers = {f"/v1/files/{REF['sha256']}": httpx.Response(200, content=b"other")}
    ledger = Ledger(lambda request: answers.get(request.url.path, done))
    outputs = ledger.client.execution(NAME).outputs
    assert outputs
    with pytest.raises(Unavailable, match="damaged"):
        outputs["report"].save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_several_artifacts_with_one_name_the_newest_counts() -> None:
    older = {**ARTIFACT, "sequence": 3, "sha256": "0" * 64}
    ledger = Ledger(lambda _: page(older, ARTIFACT))
    [rows] = ledger.client.artifacts(NAME)
    assert (rows.title, rows.name, rows.kind) == ("rows", "rows.csv", "table")
    assert rows.ref
    assert rows.ref.sha256 == SHA256
    assert ledger.client.plots(NAME) == []


def test_each_step_has_its_own_of_one_name_and_none_takes_the_place_of_another(tmp_path: Path) -> None:
    lines = [{**ARTIFACT, "sequence": number, "step": step} for number, step in enumerate(("load", "fit", "fit", None))]
    other = {**ARTIFACT, "kind": "plot", "media_type": "text/html"}
    ledger = Ledger(lambda request: page(*lines, other) if "artifacts" in request.url.path else CONTENT_ANSWER)
    found = ledger.client.artifacts(NAME)
    assert [(each.title, each.step) for each in found] == [("rows", step) for step in ("load", "fit", None, None)]
    saved = [each.save(tmp_path).name for each in found]
    assert saved == ["load.rows.csv", "fit.rows.csv", "table.rows.csv", "rows.html"]
    assert {path.name for path in tmp_path.iterdir()} == set(saved)


@pytest.mark.parametrize("path", ["", "../a", "a/../../b", "/a", "a\n"])
def test_what_is_no_path_of_data_never_leaves(path: str) -> None:
    ledger = Ledger(lambda _: REF)
    for call in (ledger.client.data.get, ledger.client.data.delete, lambda it: ledger.client.data.put(it, b"x")):
        with pytest.raises(BadRequest, match="The path"):
            call(path)
    assert ledger.bodies == []
