"""The broker's jars are fetched once, checked at every start, and repaired whatever happened to them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from execution_ledger.embedded.jars import JarsUnavailable, ensure_jars

WAIT_S = 60.0
JARS = {"one": b"the first jar", "two": b"the second jar"}


class Repository:
    """A Maven repository on loopback whose files a test may damage."""

    def __init__(self) -> None:
        self.files = {f"/org/example/{name}/1.0/{name}-1.0.jar": body for name, body in JARS.items()}
        self.asked: list[str] = []


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    held = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.asked.append(self.path)
            body = held.files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        settings = tmp_path / "jgo.conf"
        settings.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_address[1]}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield held
        server.shutdown()
        thread.join()


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    path = tmp_path / "pins.txt"
    rows = (f"org.example:{name}:1.0 {hashlib.sha256(body).hexdigest()}\n" for name, body in JARS.items())
    path.write_text("# two jars\n" + "".join(rows))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


WHOLE = {f"{name}-1.0.jar": body for name, body in JARS.items()}


def test_jars_are_fetched_once_and_progress_is_told(tmp_path: Path, pins: Path, repository: Repository) -> None:
    steps: list[tuple[int, int]] = []
    folder = ensure_jars(tmp_path, lambda done, total: steps.append((done, total)), pins)
    assert contents(folder) == WHOLE
    assert steps == [(0, 2), (1, 2), (2, 2)]
    repository.files.clear()
    assert ensure_jars(tmp_path, None, pins) == folder


def flip_a_byte(path: Path) -> None:
    path.write_bytes(b"\xff" + path.read_bytes()[1:])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3])


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, Path.unlink])
def test_a_damaged_jar_is_fetched_again_and_no_other(
    tmp_path: Path, pins: Path, repository: Repository, damage: Callable[[Path], None]
) -> None:
    folder = ensure_jars(tmp_path, None, pins)
    repository.asked.clear()
    damage(folder / "one-1.0.jar")
    ensure_jars(tmp_path, None, pins)
    assert contents(folder) == WHOLE
    assert not any("two" in path for path in repository.asked)


def test_what_is_not_pinned_leaves_the_folder(tmp_path: Path, pins: Path, repository: Repository) -> None:
    folder = ensure_jars(tmp_path, None, pins)
    (folder / "stranger.jar").write_bytes(b"")
    ensure_jars(tmp_path, None, pins)
    assert contents(folder) == WHOLE


def test_a_jar_that_is_never_right_is_named(tmp_path: Path, pins: Path, repository: Repository) -> None:
    repository.files["/org/example/two/1.0/two-1.0.jar"] = b"something else"
    with pytest.raises(JarsUnavailable, match=r"org\.example:two:1\.0 .*sha256.* must be"):
        ensure_jars(tmp_path, None, pins)
    assert not (tmp_path / "kafka-4.3.1" / "two-1.0.jar").exists()


def test_a_jar_that_is_not_to_be_had_is_named(tmp_path: Path, pins: Path, repository: Repository) -> None:
    repository.files.clear()
    with pytest.raises(JarsUnavailable, match=r"org\.example:(one|two):1\.0"):
        ensure_jars(tmp_path, None, pins)


def test_two_processes_fetch_side_by_side(tmp_path: Path, pins: Path, repository: Repository) -> None:
    fetch = f"""
from pathlib import Path
from execution_ledger.embedded.jars import ensure_jars
ensure_jars(Path({str(tmp_path)!r}), None, Path({str(pins)!r}))
"""
    fetches = [subprocess.Popen([sys.executable, "-c", fetch]) for _ in range(2)]
    assert [each.wait(WAIT_S) for each in fetches] == [0, 0]
    assert contents(tmp_path / "kafka-4.3.1") == WHOLE
    assert sum(path.endswith(".jar") for path in repository.asked) == len(JARS)
