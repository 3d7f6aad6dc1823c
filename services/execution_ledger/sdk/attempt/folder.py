"""The folder of an attempt: code of several runs shares a process, and with it the working directory."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from execution_ledger.errors import BadRequest


class AttemptFolder:
    """Made when it is first asked for, so that most attempts have none. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: tempfile.TemporaryDirectory[str] | None = None
        self._is_over = False

    @property
    def is_made(self) -> bool:
        return self._made is not None

    def path(self) -> Path:
        """Raises BadRequest once it is removed."""
        with self._lock:
            if self._is_over:
                raise BadRequest("This attempt is over, and its folder is gone.")
            if self._made is None:
                self._made = tempfile.TemporaryDirectory(prefix="exledger-", ignore_cleanup_errors=True)
            return Path(self._made.name)

    def remove(self) -> None:
        with self._lock:
            self._is_over = True
            if self._made is not None:
                self._made.cleanup()
