"""The data folder: one holder, who can be found by others, and secrets that only their owner can read."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from execution_ledger.embedded import folder as folder_module
from execution_ledger.embedded.folder import DataFolder, FolderInUse, FolderUnusable
from execution_ledger.running import Running

URL = "http://127.0.0.1:8080"


def test_a_second_holder_is_told_who_holds_the_folder_and_what_to_do(tmp_path: Path) -> None:
    with DataFolder(tmp_path).hold(URL), pytest.raises(FolderInUse) as refused:
        DataFolder(tmp_path).hold("http://127.0.0.1:9090")
    assert all(word in str(refused.value) for word in (str(os.getpid()), URL, str(tmp_path), "--data-dir"))


def test_a_released_folder_can_be_held_again(tmp_path: Path) -> None:
    with DataFolder(tmp_path).hold(URL):
        pass
    with DataFolder(tmp_path).hold(URL) as folder:
        assert folder.describe() is None


def test_others_find_the_holder_while_it_holds(tmp_path: Path) -> None:
    with DataFolder(tmp_path).hold(URL) as folder:
        folder.announce(URL, kafka="127.0.0.1:9092", postgres="postgresql://127.0.0.1/postgres")
        found = DataFolder(tmp_path).describe()
        assert isinstance(found, Running)
        assert (found.pid, found.url, found.kafka) == (os.getpid(), URL, "127.0.0.1:9092")
    assert DataFolder(tmp_path).describe() is None


def test_what_a_newer_holder_says_beside_is_passed_over(tmp_path: Path) -> None:
    with DataFolder(tmp_path).hold(URL) as folder:
        folder.announce(URL, kafka="", postgres="")
        described = tmp_path / "running.json"
        described.write_text(json.dumps({**json.loads(described.read_text()), "mood": "good"}))
        assert DataFolder(tmp_path).describe()


def test_nobody_runs_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert DataFolder(tmp_path / "absent").describe() is None


def test_a_holder_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    dies = f"""
import os, signal
from pathlib import Path
from execution_ledger.embedded.folder import DataFolder
folder = DataFolder(Path({str(tmp_path)!r})).hold("http://127.0.0.1:1")
folder.announce("http://127.0.0.1:1", "", "")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", dies], check=False).returncode < 0
    assert (tmp_path / "running.json").exists()
    assert DataFolder(tmp_path).describe() is None
    with DataFolder(tmp_path).hold(URL) as folder:
        assert folder.describe() is None  # not announced yet


def test_the_token_is_made_once_and_is_private(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    token = folder.token()
    assert len(token) >= 43  # 32 bytes
    assert DataFolder(tmp_path).token() == token
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_what_is_announced_is_private(tmp_path: Path) -> None:
    with DataFolder(tmp_path).hold(URL) as folder:
        folder.announce(URL, kafka="", postgres="postgresql://postgres:secret@127.0.0.1/postgres")
        assert stat.S_IMODE((tmp_path / "running.json").stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="--data-dir"):
        DataFolder(tmp_path / "file" / "folder").hold(URL)


def test_a_full_disk_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "_open_private", full)
    with pytest.raises(FolderUnusable, match="disk is full"):
        DataFolder(tmp_path).token()
