"""A disk that can be full at will: a file system of its own where mounting is allowed, else a limit on file sizes.

The limit holds for this process and all that descend from it, so that it outlives restarts; it needs no rights.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from e2e.program import descendants

SIZE = "160m"


class Disk(Protocol):
    folder: Path
    full_words: str  # in what a program says that meets it full

    def fill(self) -> None: ...

    def free(self) -> None: ...


class Mounted:
    full_words = "is full"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4_096)):
                    pass
            except OSError:
                return

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


class Limited:
    full_words = "File too large"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        self._limit(0)

    def free(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        for pid in [os.getpid(), *descendants(os.getpid())]:
            with contextlib.suppress(
                PermissionError, ProcessLookupError
            ):  # of another account, as root's Postgres; gone
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", folder], check=False).returncode:
        limited = Limited(folder)
        try:
            yield limited
        finally:
            limited.free()
        return
    try:
        yield Mounted(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
