"""Every object store keeps the same contract: the dict of the simulator, a folder, and obstore's own memory."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from execution_ledger.errors import BadSettings, NoSuchObject, Unavailable
from execution_ledger.objects import PART_S_MAX, FolderObjects, MemoryObjects, Objects, StoredObjects, open_objects
from execution_ledger.settings import ObjectsSettings


async def pieces(*some: bytes) -> AsyncIterator[bytes]:
    for piece in some:
        yield piece


async def whole(objects: Objects, name: str) -> bytes:
    return b"".join([piece async for piece in objects.get(name)])


class ObjectsContract:
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        raise AssertionError("a subclass brings the store")

    async def test_what_was_put_is_got_whole(self, objects: Objects) -> None:
        await objects.put("a/b", pieces(b"one ", b"", b"x" * 7_000_000, b" two"))
        assert await whole(objects, "a/b") == b"one " + b"x" * 7_000_000 + b" two"

    async def test_the_last_one_put_under_a_name_stays(self, objects: Objects) -> None:
        await objects.put("a/b", pieces(b"longer than"))
        await objects.put("a/b", pieces(b"this"))
        assert await whole(objects, "a/b") == b"this"

    async def test_nothing_is_seen_of_one_whose_writer_fails_or_is_stopped(self, objects: Objects) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"x" * 7_000_000
            raise ZeroDivisionError("planted")

        async def endless() -> AsyncIterator[bytes]:
            yield b"x" * 7_000_000
            await asyncio.Event().wait()

        await objects.put("a/kept", pieces(b"before"))
        with pytest.raises(ZeroDivisionError):
            await objects.put("a/kept", broken())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await objects.put("a/new", endless())
        assert await objects.names("a") == ["a/kept"]
        assert await whole(objects, "a/kept") == b"before"

    async def test_names_are_those_of_a_folder_in_order(self, objects: Objects) -> None:
        for name in ("b/2", "b/10", "b/deep/er", "bb/1", "a"):
            await objects.put(name, pieces(b"."))
        assert await objects.names("b") == ["b/10", "b/2", "b/deep/er"]
        assert await objects.names("nothing") == []

    async def test_one_that_is_moved_is_whole_under_its_other_name_alone(self, objects: Objects) -> None:
        await objects.put("a/b", pieces(b"moved"))
        await objects.put("c/d", pieces(b"what was there before"))
        await objects.move("a/b", "c/d")
        assert await whole(objects, "c/d") == b"moved"
        assert await objects.size("c/d") == 5
        for call in (objects.size("a/b"), objects.move("a/b", "c/d")):
            with pytest.raises(NoSuchObject, match="a/b"):
                await call

    async def test_what_is_deleted_is_gone_and_may_be_deleted_again(self, objects: Objects) -> None:
        await objects.put("a/b", pieces(b"."))
        for _ in range(2):
            await objects.delete("a/b")
        with pytest.raises(NoSuchObject, match="a/b"):
            await whole(objects, "a/b")


class TestMemoryObjects(ObjectsContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        return MemoryObjects()


class TestFolder(ObjectsContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        found = open_objects(ObjectsSettings(url=str(tmp_path / "new" / "objects")))
        assert isinstance(found, FolderObjects)
        return found


class TestObstoreInMemory(ObjectsContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        from obstore.store import MemoryStore

        return StoredObjects(MemoryStore())


async def test_a_store_that_is_away_is_said_to_be_so_within_bounds() -> None:
    options = {"aws_endpoint": "http://127.0.0.1:1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    secret = {name: SecretStr(value) for name, value in options.items()} | {"aws_region": SecretStr("x")}
    away = open_objects(ObjectsSettings(url="s3://bucket/prefix", options=secret))
    assert away
    async with asyncio.timeout(25):
        with pytest.raises(Unavailable, match="a/b"):
            await whole(away, "a/b")


WRITER = """
import asyncio, sys
from execution_ledger.objects import open_objects
from execution_ledger.settings import ObjectsSettings

async def endless():
    yield b"x" * 20_000_000  # more than obstore keeps to itself
    print("written", flush=True)
    await asyncio.Event().wait()

asyncio.run(open_objects(ObjectsSettings(url=sys.argv[1])).put("a/killed", endless()))
"""


async def test_what_a_killed_writer_left_in_a_folder_goes_with_a_later_write(tmp_path: Path) -> None:
    objects = open_objects(ObjectsSettings(url=str(tmp_path)))
    assert objects
    argv = (sys.executable, "-c", WRITER, str(tmp_path))
    writer = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert writer.stdout
    assert await writer.stdout.readline() == b"written\n"
    writer.kill()
    await writer.wait()
    (part,) = (tmp_path / "a").iterdir()
    await objects.put("a/next", pieces(b"."))
    assert part.exists(), "so young a part may be another writer's"
    long_ago_s = part.stat().st_mtime - PART_S_MAX - 1
    os.utime(part, (long_ago_s, long_ago_s))
    await objects.put("a/next", pieces(b"."))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["next"]


async def test_a_folder_that_cannot_be_written_is_said_to_be_so(tmp_path: Path) -> None:
    objects = open_objects(ObjectsSettings(url=str(tmp_path / "objects")))
    assert objects
    (tmp_path / "objects" / "a").write_text("a file where a folder has to be")
    with pytest.raises(Unavailable, match="a/b"):
        await objects.put("a/b", pieces(b"."))


@pytest.mark.parametrize("url", ["ftp://where", "s3://", "az://container", "/proc/nowhere"])
def test_an_address_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(BadSettings, match="EXLEDGER__OBJECTS__URL"):
        open_objects(ObjectsSettings(url=url))


def test_without_an_address_there_is_no_store() -> None:
    assert open_objects(ObjectsSettings()) is None
    assert isinstance(open_objects(ObjectsSettings(url="memory://")), MemoryObjects)
    assert os.environ.get("EXLEDGER__OBJECTS__URL") is None
