"""Which AOT cache belongs to a broker, and which ones are left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from execution_ledger.embedded.aot_cache import CACHES_KEPT, AotCache


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / "one.jar").write_bytes(b"the first jar")
    return folder


def keep(cache: AotCache, content: bytes) -> Path:
    made = cache.folder / "made"
    made.write_bytes(content)
    cache.keep(made)
    kept = cache.find()
    assert kept
    return kept


def test_a_cache_is_for_these_flags_and_these_very_jars(jars: Path) -> None:
    cache = AotCache.of(jars, ["-Xmx1m"])
    kept = keep(cache, b"classes")
    assert AotCache.of(jars, ["-Xmx1m"]).find() == kept
    assert AotCache.of(jars, ["-Xmx2m"]).find() is None
    os.utime(jars / "one.jar", (1, 1))
    assert AotCache.of(jars, ["-Xmx1m"]).find() is None


@pytest.mark.parametrize("damaged", [b"", b"class", b"clasSes"])
def test_a_damaged_cache_is_deleted(jars: Path, damaged: bytes) -> None:
    cache = AotCache.of(jars, [])
    kept = keep(cache, b"classes")
    kept.write_bytes(damaged)
    assert cache.find() is None
    assert not kept.exists()


def test_only_the_youngest_caches_are_kept(jars: Path) -> None:
    kept = []
    for age in range(CACHES_KEPT + 1):
        kept.append(keep(AotCache.of(jars, [f"-Xmx{age}m"]), b"classes"))
        os.utime(kept[-1], (age, age))
    youngest = keep(AotCache.of(jars, []), b"classes")
    assert sorted(jars.parent.glob("*.aot")) == sorted([*kept[-CACHES_KEPT + 1 :], youngest])


def test_one_at_a_time_makes_a_cache_and_leaves_no_parts(jars: Path) -> None:
    cache = AotCache.of(jars, [])
    with cache.workshop() as first, cache.workshop() as second:
        assert first
        assert second is None
        (first / "part").write_bytes(b"")
    assert not first.exists()
    with cache.workshop() as again:
        assert again
        assert not any(again.iterdir())
