"""Folders that cannot be used, and a disk that is full: at the start, and in the middle."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.program import Dev, exledger, run_to_end
from e2e.small_disk import Disk, small_disk
from e2e.test_away import check_one_execution_each, post
from execution_ledger.embedded.folder import ephemeral_folder

ACKNOWLEDGED = {200, 201, 202}
TRIES = 200
NO_WATERMARK = {"EXLEDGER__GATEWAY__DISK_FREE_BYTES_MIN": "0"}  # it would refuse before the disk is full
BACK_WITHIN_S = 60.0


@pytest.fixture
def disk() -> Iterator[Disk]:
    with ephemeral_folder() as folder, small_disk(folder) as disk:
        yield disk


def check_refused(folder: Path, words: str) -> None:
    refused = run_to_end("dev", "--port", "0", "--data-dir", str(folder))
    assert refused.returncode == 1
    assert words in refused.stderr
    assert "--data-dir" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_folder_that_cannot_be_made_or_is_a_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("keep me")
    check_refused(file, "There is a file of that name")
    check_refused(Path("/proc/ledger"), "Choose a folder that you may write")  # not even as root
    assert file.read_text() == "keep me"


def post_until_it_is_full(api: httpx.Client) -> list[str]:
    """The keys of what was acknowledged, up to the first that was not."""
    acknowledged: list[str] = []
    for number in range(TRIES):
        try:
            answer = post(api, key := f"filling-{number}")
        except httpx.TransportError:
            return acknowledged
        if answer.status_code not in ACKNOWLEDGED:
            return acknowledged
        acknowledged.append(key)
    raise AssertionError("it was never full")


def wait_until_it_works(api: httpx.Client) -> None:
    """Asked again and again, each time under the same key."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if post(api, "after").status_code in (200, 201):
                return
    raise AssertionError("it did not recover")


def test_what_was_acknowledged_before_the_disk_was_full_is_there_when_it_has_room_again(disk: Disk) -> None:
    disk.fill()
    check_refused(disk.folder / "ledger", disk.full_words)
    disk.free()
    options = ("--port", "0", "--data-dir", str(disk.folder / "ledger"))
    with Dev(*options, cwd=disk.folder, settings=NO_WATERMARK) as dev:
        dev.wait_for("Ctrl-C stops everything")
        with dev.client(retries=2) as api:
            keys = [f"before-{number}" for number in range(20)]
            assert {post(api, key).status_code for key in keys} == {201}
            disk.fill()
            keys += post_until_it_is_full(api)
            dev.wait_for("kafka died")
            disk.free()
            dev.wait_for("kafka restarting")
            wait_until_it_works(api)
            check_one_execution_each(api, [*keys, "after"])
        checked = exledger(dev, "verify")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert dev.end(signal.SIGINT) == 0, dev.printed
    assert "Traceback" not in dev.printed
