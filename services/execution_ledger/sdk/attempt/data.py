"""`ctx.data`: what pipelines share under paths of their own choice, from inside of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from execution_ledger.errors import NoSuchObject

from ..file import File, opened
from .store import Store


class PipelineData:
    """Blocks: async code calls `await asyncio.to_thread(ctx.data.put, path, content)`.

    Raises BadRequest for what is no path, StoreAway where the object store does not answer. Where the run's option
    `write` is off (by default in an experiment), `put` and `delete` do nothing but tell its log.
    """

    def __init__(self, store: Callable[[], Store], writes: bool, told: Callable[[str], object]) -> None:
        self._store = store
        self._writes = writes
        self._told = told

    def put(self, path: str, content: bytes | Path | str | File | BinaryIO) -> None:
        """Whole or not at all, in place of what was there. A `str` is the path of a file."""
        if not self._writes:
            self._told(f"not written, because the option write is off: {path}")
            return
        self._store().put_data(path, content if isinstance(content, bytes) else opened(content))

    def get(self, path: str) -> File:
        """What lies there when its bytes are first asked for. Raises NoSuchObject where nothing does now."""
        store = self._store()
        if path not in store.data(path):
            raise NoSuchObject(f"There is no data at {path}: list() names what there is.")
        return File.fetched(path.rpartition("/")[2], lambda into: store.fetch_data(path, into))

    def list(self, prefix: str = "") -> Mapping[str, int]:
        """What lies at this path or below it: sizes in bytes by path, in order."""
        return self._store().data(prefix)

    def delete(self, path: str) -> None:
        """What is not there counts as deleted."""
        if not self._writes:
            self._told(f"not deleted, because the option write is off: {path}")
            return
        self._store().delete_data(path)
