"""What a running `dev` says of itself in its data folder, and how others read it.

Written by `embedded/folder.py`, which holds the folder; read by everyone who wants to reach that ledger.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = "lock"
DESCRIPTION = "running.json"
TOKEN = "token"  # noqa: S105  # the name of a file


@dataclass(frozen=True, slots=True)
class Running:
    """What other commands need to know of the process that holds the folder."""

    pid: int
    url: str
    since: str  # RFC 3339
    kafka: str = ""
    postgres: str = ""


def running_in(folder: Path) -> Running | None:
    """How to reach the process that holds this folder; None when no process does, or it is still starting."""
    import fcntl  # not on Windows, from where a ledger elsewhere can still be reached by its URL

    try:
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return read_running(folder / DESCRIPTION)


def read_running(path: Path) -> Running | None:
    """None when it is not there, or is just being written. What a newer `dev` says beside is passed over."""
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return Running(**{name: value for name, value in found.items() if name in Running.__slots__})
    except (FileNotFoundError, ValueError, TypeError):
        return None
