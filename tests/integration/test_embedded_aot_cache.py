"""The broker's AOT cache: made once beside the real work, used from then on, and never in the way of a start."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from execution_ledger.embedded.folder import ephemeral_folder
from execution_ledger.embedded.jars import ensure_jars
from execution_ledger.embedded.kafka import EmbeddedKafka, aot_cache_of
from execution_ledger.embedded.rehearsal import RehearsalFailed, rehearse

START_S = 60.0
END_S = 5.0


def linked_jars(cache: Path) -> Path:
    """A cache of its own, with the jars that this user has."""
    whole = ensure_jars()
    shutil.copytree(whole, cache / whole.name, copy_function=os.link if same_device(whole, cache) else shutil.copy2)
    return ensure_jars(cache)


def same_device(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


@pytest.fixture(scope="module")
async def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which two at once wanted to make the file."""
    cache = tmp_path_factory.mktemp("cache")
    linked_jars(cache)
    await asyncio.gather(rehearse(cache), rehearse(cache))
    assert names(cache) == {"aot.lock", *jar_names(cache), aot_file(cache).name}
    return cache


def names(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()}


def jar_names(cache: Path) -> set[str]:
    return {path.name for path in cache.glob("kafka-*") if path.suffix != ".aot"}


def aot_file(cache: Path) -> Path:
    [found] = cache.glob("*.aot")
    return found


@pytest.fixture
def cache(rehearsed: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(rehearsed, tmp_path / "cache")
    return tmp_path / "cache"


def mapped_files(pid: int | None) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_broker_starts_from_the_cache(rehearsed: Path) -> None:
    with ephemeral_folder() as folder:
        async with EmbeddedKafka(folder, cache=rehearsed) as broker:
            assert str(aot_file(rehearsed)) in mapped_files(broker.pid)
            assert "[error" not in broker.log_path.read_text()


async def test_there_is_nothing_to_do_when_there_is_a_cache(rehearsed: Path) -> None:
    before = aot_file(rehearsed).stat()
    async with asyncio.timeout(END_S):
        await rehearse(rehearsed)
    assert aot_file(rehearsed).stat() == before


async def test_a_truncated_cache_is_deleted_and_the_broker_starts_without(cache: Path) -> None:
    os.truncate(aot_file(cache), 30_000_000)
    with ephemeral_folder() as folder:
        async with EmbeddedKafka(folder, cache=cache):
            assert names(cache) == {"aot.lock", *jar_names(cache)}


def nonsense(whole: bytes) -> bytes:
    return b"no classes"


def flipped(whole: bytes) -> bytes:
    """The JVM does not notice, and crashes."""
    third = len(whole) // 3
    return whole[:third] + bytes(byte ^ 0xFF for byte in whole[third : third + 400_000]) + whole[third + 400_000 :]


@pytest.mark.parametrize("spoil", [nonsense, flipped])
async def test_a_cache_that_the_jvm_cannot_use_is_no_obstacle(cache: Path, spoil: Callable[[bytes], bytes]) -> None:
    """Not even where its digest is right."""
    made, good = cache / "made", aot_file(cache)
    made.write_bytes(spoil(good.read_bytes()))
    good.unlink()
    aot_cache_of(ensure_jars(cache)).keep(made)
    with ephemeral_folder() as folder:
        async with EmbeddedKafka(folder, cache=cache) as broker:
            assert broker.pid


async def test_a_rehearsal_that_is_cancelled_ends_at_once_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = asyncio.Event()

    async def endless_life(kafka: str) -> None:
        runs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("execution_ledger.embedded.rehearsal._a_life_in_brief", endless_life)
    linked_jars(tmp_path)
    rehearsal = asyncio.ensure_future(rehearse(tmp_path))
    async with asyncio.timeout(START_S):
        await runs.wait()
    rehearsal.cancel()
    async with asyncio.timeout(END_S):
        await asyncio.wait([rehearsal])
    assert rehearsal.cancelled()
    assert names(tmp_path) == {"aot.lock", *jar_names(tmp_path)}


async def test_a_rehearsal_that_fails_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("execution_ledger.embedded.rehearsal.NICE", ("/absent",))
    linked_jars(tmp_path)
    with pytest.raises(RehearsalFailed, match="the next one tries again"):
        await rehearse(tmp_path)
    assert names(tmp_path) == {"aot.lock", *jar_names(tmp_path)}
