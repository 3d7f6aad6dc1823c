"""Files and data over HTTP: streamed within bounds, refused in words, and the way of a runner without a store."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from execution_ledger.clock import real_world
from execution_ledger.errors import BadRequest, NoSuchObject, TooLarge, Unavailable
from execution_ledger.files import pieces_in
from execution_ledger.gateway.app import create_app
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.log.memory import MemoryLog
from execution_ledger.objects import FolderObjects
from execution_ledger.runner.through_gateway import GatewayData, GatewayFiles
from execution_ledger.settings import Settings
from unit.gateway_http_stage import TOKEN, check_problem

BYTES_MAX = 3_000_000
CONTENT = b"x" * 2_500_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def gateway_at(folder: Path | None, **files: Any) -> Gateway:
    world = real_world()
    given = {
        "gateway": {"token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest()},
        "files": {"bytes_max": BYTES_MAX, **files},
        "objects": {"url": str(folder) if folder else ""},
    }
    return Gateway(MemoryLog(2, now_ms=world.clock.now_ms), world, Settings.model_validate(given))


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport(gateway), base_url="http://ledger", headers=headers) as client:
        yield client


def transport(gateway: Gateway) -> httpx.ASGITransport:
    return httpx.ASGITransport(create_app(gateway), raise_app_exceptions=False)


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(gateway_at(tmp_path)) as client:
        yield client


async def test_a_file_is_kept_whole_and_its_reference_is_the_answer(http: httpx.AsyncClient) -> None:
    for _ in range(2):
        sent = await http.post(
            "/v1/files", params={"name": "a.csv"}, content=CONTENT, headers={"Content-Type": "text/csv"}
        )
        assert sent.status_code == 201
        assert sent.json() == {"sha256": SHA256, "size": len(CONTENT), "media_type": "text/csv", "name": "a.csv"}
    got = await http.get(sent.headers["Location"])
    assert got.content == CONTENT
    assert got.headers["content-length"] == str(len(CONTENT))


async def test_what_curl_says_by_itself_is_no_media_type(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    sent = await http.post("/v1/files", content=b"x", headers=headers)
    assert sent.json()["media_type"] == "application/octet-stream"


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/files"), ("PUT", "/v1/data/a")])
async def test_a_form_is_refused_and_not_kept_with_its_boundaries(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    problem = check_problem(await http.request(method, path, files={"file": b"rows"}), "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["Content-Type"]
    assert "--data-binary @FILE" in problem["detail"]


async def test_too_much_is_refused_by_its_length_and_by_its_bytes(http: httpx.AsyncClient, tmp_path: Path) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 1_000_000

    for path, send in (("/v1/files", http.post), ("/v1/data/a", http.put)):
        for content in (b"x" * (BYTES_MAX + 1), unannounced()):
            detail = check_problem(await send(path, content=content), "body-too-large")["detail"]
            assert "3,000,000 bytes" in detail
    assert files_in(tmp_path) == []


async def test_data_is_replaced_listed_page_by_page_and_deleted_once(http: httpx.AsyncClient) -> None:
    for content in (b"one", b"other"):
        assert (await http.put("/v1/data/a/b", content=content)).status_code == 200
    for path in ("a/c", "d"):
        await http.put(f"/v1/data/{path}", content=b"")
    assert (await http.get("/v1/data/a/b")).content == b"other"
    first = (await http.get("/v1/data", params={"limit": 2})).json()
    assert first["items"] == [{"path": "a/b", "size": 5}, {"path": "a/c", "size": 0}]
    rest = (await http.get("/v1/data", params={"limit": 2, "cursor": first["next"]})).json()
    assert rest == {"items": [{"path": "d", "size": 0}], "next": None}
    assert len((await http.get("/v1/data", params={"prefix": "a"})).json()["items"]) == 2
    for existed in (True, False):
        assert (await http.delete("/v1/data/a/b")).json() == {"path": "a/b", "existed": existed}


async def test_nothing_lies_both_at_a_path_and_below_it(http: httpx.AsyncClient) -> None:
    await http.put("/v1/data/a/b", content=b"x")
    for path in ("a", "a/b/c"):
        check_problem(await http.put(f"/v1/data/{path}", content=b"x"), "invalid-request")
    await http.delete("/v1/data/a/b")
    assert (await http.put("/v1/data/a", content=b"x")).status_code == 200


@pytest.mark.parametrize("path", ["a/../b", "a//b", " a", "a/", "ä", "a\tb", "/".join("a" * 17), "a" * 300, "a#1"])
async def test_what_is_no_path_is_refused_everywhere(http: httpx.AsyncClient, path: str) -> None:
    address = "/v1/data/" + "".join(f"%{byte:02X}" for byte in path.encode())
    for method in ("PUT", "GET", "DELETE"):
        assert (await http.request(method, address)).status_code == 422, method
    assert (await http.get("/v1/data", params={"prefix": path})).status_code == 422


async def test_a_full_disk_and_too_many_uploads_are_told_before_anything_is_read(tmp_path: Path) -> None:
    gateway = gateway_at(tmp_path)
    async with serving(gateway) as http:
        gateway.admission.full_disk = "The disk is full."
        check_problem(await http.post("/v1/files", content=b"x"), "disk-full")
        check_problem(await http.put("/v1/data/a", content=b"x"), "disk-full")
        gateway.admission.full_disk = None
        gateway.storing._left = 0
        check_problem(await http.post("/v1/files", content=b"x"), "too-busy")


async def test_a_store_that_is_away_is_told_as_that_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: FolderObjects, *arguments: object) -> None:
        raise Unavailable("the bucket does not answer")

    for name in ("put", "size", "sizes", "delete"):
        monkeypatch.setattr(FolderObjects, name, away)
    async with serving(gateway_at(tmp_path)) as http:
        for asked in (
            http.post("/v1/files", content=b"x"),
            http.get(f"/v1/files/{SHA256}"),
            http.put("/v1/data/a", content=b"x"),
            http.get("/v1/data/a"),
            http.get("/v1/data"),
            http.delete("/v1/data/a"),
        ):
            response = await asked
            assert "the bucket does not answer" in check_problem(response, "store-away")["detail"]
            assert response.headers["Retry-After"]


async def test_without_a_store_it_is_told_what_to_set() -> None:
    async with serving(gateway_at(None)) as http:
        problem = check_problem(await http.post("/v1/files", content=b"x"), "store-away")
        assert "EXLEDGER__OBJECTS__URL" in problem["detail"]


async def test_what_killed_writers_left_is_swept_once_a_gateway_starts(tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "1000-a").write_bytes(b"half")
    await gateway_at(tmp_path).storing.sweep()
    assert not (tmp_path / "uploads" / "1000-a").exists()


async def test_a_runner_without_a_store_goes_through_its_gateway(tmp_path: Path) -> None:
    way = "http://ledger", TOKEN, transport(gateway_at(tmp_path))
    files, data = GatewayFiles(*way), GatewayData(*way)
    kept = await files.keep(pieces_in(CONTENT))
    assert kept == (SHA256, len(CONTENT))
    assert await whole(files.pieces(kept.sha256)) == CONTENT
    await data.put("a/b", pieces_in(b"abc"))
    assert await whole(data.pieces("a/b")) == b"abc"
    assert await data.sizes("a") == {"a/b": 3}
    assert [await data.delete("a/b") for _ in range(2)] == [True, False]
    with pytest.raises(NoSuchObject):
        await whole(files.pieces("0" * 64))
    with pytest.raises(TooLarge):
        await files.keep(pieces_in(b"x" * (BYTES_MAX + 1)))
    with pytest.raises(BadRequest):
        await data.put("../a", pieces_in(b"x"))
    with pytest.raises(Unavailable):
        await GatewayFiles("http://ledger", "another", way[2]).keep(pieces_in(b"x"))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def whole(pieces: AsyncIterable[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])
