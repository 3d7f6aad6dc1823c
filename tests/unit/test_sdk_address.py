"""People and programs find the ledger that the environment names, else the `dev` that holds the data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from execution_ledger.embedded.folder import DataFolder
from execution_ledger.errors import BadRequest, BadSettings, Unavailable
from execution_ledger.sdk.client.address import (
    DEFAULT_FOLDER,
    batch_path,
    entry_path,
    execution_path,
    find_ledger,
    job_path,
    pipeline_path,
)

URL = "http://127.0.0.1:8080"


def test_a_running_dev_is_found_by_its_folder_with_its_token(tmp_path: Path) -> None:
    with DataFolder(tmp_path).hold(URL) as folder:
        token = folder.token()
        folder.announce(URL, "127.0.0.1:9092", "postgresql://x")
        found = find_ledger(tmp_path, {})
    assert (found.url, found.token, found.token_from) == (URL, token, str(tmp_path / "token"))
    assert found.running is not None
    assert found.running.kafka == "127.0.0.1:9092"


def test_the_environment_comes_first(tmp_path: Path) -> None:
    with DataFolder(tmp_path).hold(URL) as folder:
        folder.announce(URL, "", "")
        found = find_ledger(tmp_path, {"EXLEDGER_URL": "https://ledger.example/", "EXLEDGER_TOKEN": "secret"})
    assert (found.url, found.token, found.running) == ("https://ledger.example", "secret", None)
    assert "secret" not in repr(found), "addresses end up in logs and tracebacks"


def test_an_empty_folder_has_no_ledger_and_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=f"exledger dev --data-dir {tmp_path}"):
        find_ledger(tmp_path, {})


def test_a_ledger_that_is_still_starting_is_not_there_yet(tmp_path: Path) -> None:
    with DataFolder(tmp_path).hold(URL), pytest.raises(Unavailable, match="not ready yet"):
        find_ledger(tmp_path, {})


def test_what_a_killed_dev_left_behind_is_not_believed(tmp_path: Path) -> None:
    left = '{"pid": 1, "url": "http://127.0.0.1:1", "since": "2026-01-01T00:00:00Z", "kafka": "", "postgres": ""}'
    (tmp_path / "running.json").write_text(left)
    (tmp_path / "lock").touch()
    with pytest.raises(Unavailable, match="No ledger runs"):
        find_ledger(tmp_path, {})


def test_the_default_folder_needs_no_option_in_the_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unavailable, match="Start one with: exledger dev\n"):
        find_ledger(DEFAULT_FOLDER, {})


def test_the_default_folder_is_found_from_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "notebooks" / "drafts"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    with DataFolder(tmp_path / DEFAULT_FOLDER).hold(URL) as folder:
        folder.token()
        folder.announce(URL, "", "")
        assert find_ledger(DEFAULT_FOLDER, {}).url == URL
        (tmp_path / "notebooks" / DEFAULT_FOLDER).mkdir()
        with pytest.raises(Unavailable, match="No ledger runs"):  # the nearest one is meant, and it does not run
            find_ledger(DEFAULT_FOLDER, {})


def test_a_token_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with DataFolder(tmp_path).hold(URL) as folder:
        folder.announce(URL, "", "")
        with pytest.raises(BadSettings, match="token cannot be read"):
            find_ledger(tmp_path, {})


@pytest.mark.parametrize("which", ["", " ", ".", "..", "../../x", "a/b"])
def test_what_would_be_another_address_names_nothing(which: str) -> None:
    """An empty variable of a script must not ask for the whole list, or for what is not part of the API."""
    for path in (execution_path, batch_path, job_path, pipeline_path):
        with pytest.raises(BadRequest, match="cannot name"):
            path(which)
    with pytest.raises(BadRequest, match="cannot name a twin"):
        entry_path("twin", which)
