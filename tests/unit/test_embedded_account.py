"""Where Postgres may live when it runs under another account than ours."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from execution_ledger.embedded import account as account_module
from execution_ledger.embedded.account import reachable_binaries, reachable_home

STRANGER = pwd.struct_passwd(("stranger", "x", 54_321, 54_321, "", "/", "/bin/sh"))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(account_module, "ELSEWHERE", tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def test_our_own_postgres_lives_in_the_folder(tmp_path: Path) -> None:
    assert reachable_home(tmp_path, None) == tmp_path


def test_a_closed_folder_gets_a_home_elsewhere_that_stays_the_same(tmp_path: Path, elsewhere: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = reachable_home(closed / "cluster", STRANGER)
    assert home.parent == elsewhere
    assert home == reachable_home(closed / "cluster", STRANGER) != reachable_home(closed / "other", STRANGER)


def test_an_open_folder_is_used_as_it_is() -> None:
    assert reachable_home(Path("/absent/cluster"), STRANGER) == Path("/absent/cluster")


def test_binaries_out_of_reach_are_copied_with_their_libraries(tmp_path: Path, elsewhere: Path) -> None:
    closed = tmp_path / "closed"
    programs = closed / "package" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs / "postgres").touch(mode=0o700)
    (closed / "package.libs").mkdir()
    (closed / "package.libs" / "libpq.so").touch(mode=0o600)
    closed.chmod(0o700)
    copied = reachable_binaries(closed / "package", "18.6.3", STRANGER)
    assert copied.is_relative_to(elsewhere)
    assert os.access(copied / "postgres", os.X_OK)
    assert (copied.parents[2] / "package.libs" / "libpq.so").stat().st_mode & 0o044 == 0o044
    assert reachable_binaries(closed / "package", "18.6.3", STRANGER) == copied
