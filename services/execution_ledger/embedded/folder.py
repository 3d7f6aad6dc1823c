"""The data folder of an embedded ledger: one process holds it, others read in it how to reach that one.

lock          held by the process that runs; names it while it does
running.json  addresses, for other commands; believed only while the lock is held
metrics.json  where its processes show their metrics, as Prometheus' file_sd reads it
token         the bootstrap token, made once
kafka/ postgres/ objects/
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TextIO

from ..errors import Permanent
from ..running import DESCRIPTION, LOCK, TOKEN, Running, read_running, running_in

METRICS = "metrics.json"
LOCK_TRIES = 1_000
ADVICE = {
    errno.ENOSPC: "The disk is full: free some space, or choose another folder with --data-dir.",
    errno.EDQUOT: "Your quota is used up: free some space, or choose another folder with --data-dir.",
    errno.EEXIST: "There is a file of that name: choose a folder with --data-dir.",
    errno.ENOTDIR: "A part of that path is a file: choose another folder with --data-dir.",
    errno.EROFS: "The file system is read-only: choose another folder with --data-dir.",
}


class FolderInUse(Permanent):
    """Another process holds the data folder."""


class FolderUnusable(Permanent):
    """The data folder cannot be made or written."""


class DataFolder:
    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._lock: TextIO | None = None

    @property
    def objects(self) -> Path:
        """Where its services keep snapshots."""
        return self.path / "objects"

    def hold(self, url: str) -> Self:
        """Takes the folder for this process, until `release` or its end. Raises FolderInUse, FolderUnusable."""
        with self._writing():
            # Root's Postgres runs under another account, which has to pass through; each file has its own mode.
            self.path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            self._lock = self._take(_open_private(self.path / LOCK))
            self._forget_addresses()  # of a holder that was killed
            holder = Running(os.getpid(), url, datetime.now(UTC).isoformat(timespec="seconds"))
            _overwrite(self._lock, json.dumps(asdict(holder)))
        return self

    def release(self) -> None:
        """Releasing twice is safe."""
        if self._lock:
            self._forget_addresses()
            _overwrite(self._lock, "")
            self._lock.close()
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def announce(self, url: str, kafka: str, postgres: str) -> None:
        """Tells other commands how to reach us. The file is private: it holds the password of Postgres."""
        running = Running(os.getpid(), url, datetime.now(UTC).isoformat(timespec="seconds"), kafka, postgres)
        self._put(DESCRIPTION, json.dumps(asdict(running), indent=2))

    def show_metrics(self, targets: list[dict[str, Any]]) -> None:
        """Tells Prometheus where to look; it reads the file again whenever that changes."""
        self._put(METRICS, json.dumps(targets, indent=2))

    def describe(self) -> Running | None:
        """How to reach the process that holds this folder; None when no process does, or it is still starting."""
        return running_in(self.path)

    def token(self) -> str:
        """The bootstrap token: read where there is one, made where there is none."""
        path = self.path / TOKEN
        with self._writing():
            if not path.exists():
                self._put(TOKEN, secrets.token_urlsafe(32))
            return path.read_text().strip()

    def _put(self, name: str, text: str) -> None:
        """The whole file or none of it, whoever reads it meanwhile."""
        with self._writing():
            part = self.path / f"{name}.part"
            with _open_private(part) as file:
                _overwrite(file, text)
            part.replace(self.path / name)

    def _forget_addresses(self) -> None:
        for name in (DESCRIPTION, METRICS):
            (self.path / name).unlink(missing_ok=True)

    def _take(self, lock: TextIO) -> TextIO:
        """Tries again while the lock names nobody who lives: then a reader is just asking whether it is held."""
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                holder = read_running(self.path / LOCK)
                if holder and _lives(holder.pid):
                    lock.close()
                    raise self._in_use(f"by process {holder.pid}, at {holder.url} since {holder.since}") from None
                os.sched_yield()
        lock.close()
        raise self._in_use("by a process that is just starting")

    def _in_use(self, by: str) -> FolderInUse:
        return FolderInUse(
            f"{self.path} is in use {by}. Use that one, or stop it first (Ctrl-C where it runs), "
            "or start this one on another folder with --data-dir."
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            advice = ADVICE.get(error.errno or 0, "Choose a folder that you may write, with --data-dir.")
            raise FolderUnusable(f"The data folder {self.path} cannot be used: {error}. {advice}") from error


@contextlib.contextmanager
def ephemeral_folder() -> Iterator[Path]:
    """A folder for one run, deleted at its end; open to be passed through, for root's Postgres."""
    with tempfile.TemporaryDirectory(prefix="execution-ledger-") as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


def _open_private(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")


def _overwrite(file: TextIO, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
