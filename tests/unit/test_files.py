"""Files by their content: whole or absent, never whole in memory, and never other bytes than their digest says."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from execution_ledger.clock import SystemClock, World
from execution_ledger.errors import BrokenHistory, NoSuchObject, TooLarge, Unavailable
from execution_ledger.files import UPLOAD_MS_MAX, Files, pieces_in, pieces_of
from execution_ledger.objects import MemoryObjects

WORLD = World(SystemClock(), random.Random(1))


async def whole(files: Files, sha256: str) -> bytes:
    return b"".join([piece async for piece in files.pieces(sha256)])


def stored(objects: MemoryObjects | None = None, bytes_max: int = 10_000_000) -> tuple[Files, MemoryObjects]:
    objects = objects or MemoryObjects()
    return Files(objects, WORLD, bytes_max), objects


@pytest.mark.parametrize("content", [b"", b"one", b"x" * 2_500_000])
async def test_a_file_lies_under_its_sha256_and_is_got_back(content: bytes) -> None:
    files, objects = stored()
    kept = await files.keep(pieces_in(content))
    assert kept == (hashlib.sha256(content).hexdigest(), len(content))
    assert list(objects.held) == [f"files/{kept.sha256}"]
    assert await whole(files, kept.sha256) == content
    assert await files.size(kept.sha256) == len(content)


async def test_the_same_bytes_are_kept_once() -> None:
    files, objects = stored()
    for _ in range(2):
        await files.keep(pieces_in(b"same"))
    assert len(objects.held) == 1


async def test_nothing_is_kept_of_what_is_too_large_or_breaks() -> None:
    files, objects = stored(bytes_max=10)

    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise OSError("the disk is gone")

    with pytest.raises(TooLarge, match="10 bytes"):
        await files.keep(pieces_in(b"x" * 11))
    with pytest.raises(OSError, match="gone"):
        await files.keep(broken())
    assert objects.held == {}


async def test_a_store_that_fails_when_the_file_is_moved_leaves_nothing() -> None:
    class Failing(MemoryObjects):
        async def move(self, name: str, to: str) -> None:
            raise Unavailable("the store is away")

    files, objects = stored(Failing())
    with pytest.raises(Unavailable):
        await files.keep(pieces_in(b"x"))
    assert objects.held == {}


async def test_bytes_that_are_not_those_of_the_digest_are_never_handed_out_whole() -> None:
    files, objects = stored()
    kept = await files.keep(pieces_in(b"a" * 2_500_000))
    objects.held[f"files/{kept.sha256}"] = b"a" * 2_499_999 + b"b"
    got: list[int] = []

    async def read() -> None:
        async for piece in files.pieces(kept.sha256):
            got.append(len(piece))  # noqa: PERF401 - what was got before it broke is the point

    with pytest.raises(BrokenHistory, match="damaged"):
        await read()
    assert sum(got) < 2_500_000


async def test_what_is_not_there_is_said_to_be_so() -> None:
    files, _ = stored()
    assert await files.size("0" * 64) is None
    with pytest.raises(NoSuchObject):
        await whole(files, "0" * 64)


async def test_what_killed_writers_left_is_swept_away_once_it_is_old() -> None:
    files, objects = stored()
    now_ms = WORLD.clock.now_ms()
    objects.held = {f"uploads/{now_ms - UPLOAD_MS_MAX - 1}-a": b"", f"uploads/{now_ms}-b": b"", "uploads/odd": b""}
    await files.sweep()
    assert sorted(objects.held) == [f"uploads/{now_ms}-b", "uploads/odd"]


async def test_an_open_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123")
    with (tmp_path / "a").open("rb") as file:
        file.seek(1)
        assert [piece async for piece in pieces_of(file)] == [b"123"]


LARGE = """
import asyncio, resource, sys
from execution_ledger.clock import real_world
from execution_ledger.files import Files
from execution_ledger.objects import open_objects
from execution_ledger.settings import ObjectsSettings

async def pieces(count):
    for number in range(count):
        yield bytes([number % 256]) * 1_000_000

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_000

async def main():
    files = Files(open_objects(ObjectsSettings(url=sys.argv[1])), real_world(), 10**9)
    await files.keep(pieces(2))
    before = peak_mb()
    kept = await files.keep(pieces(300))
    read = sum([len(piece) async for piece in files.pieces(kept.sha256)])
    assert kept.size == read == 300_000_000
    sys.stdout.write(str(peak_mb() - before))

asyncio.run(main())
"""


def test_a_file_larger_than_the_memory_that_may_be_used_goes_in_and_out(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 100, "MB more at its peak, for 300 MB"
