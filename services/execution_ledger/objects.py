"""Objects: named bytes that outlive every process; a folder here, a bucket elsewhere. Snapshots lie there.

An object is whole or absent, also where its writer dies in the middle. Two implementations pass one contract suite:
obstore's stores, and a dict for tests and for the simulator, which has no threads for obstore to run on.
"""

from __future__ import annotations

import asyncio
import atexit
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .errors import BadSettings, NoSuchObject, Unavailable
from .settings import ObjectsSettings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

PIECE_BYTES = 1_000_000  # what is read at a time
PARTS_AT_ONCE = 4  # of 5 MB each, and so much of what is being written is in memory
PART_S_MAX = 600.0  # a file that nobody has added to for so long has lost its writer: the longest write takes 120 s
LET_GO_S = 0.05

_PART = re.compile(r"#\d+$")  # how obstore names what is being written to a folder

_CLIENT: ClientConfig = {"connect_timeout": "5s", "timeout": "30s", "allow_http": True}  # of one request, or one part
_RETRY: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}


class Objects(Protocol):
    """Names are paths with `/`. What fails raises Unavailable, or BadSettings where the store refuses us."""

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> None:
        """Seen by others only once all pieces are there; replaces what had this name."""
        ...

    def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """Its bytes, piece by piece. Raises NoSuchObject."""
        ...

    async def names(self, folder: str) -> list[str]:
        """All that lie in this folder or deeper, sorted."""
        ...

    async def sizes(self, folder: str) -> list[tuple[str, int]]:
        """As `names`, each with its bytes."""
        ...

    async def size(self, name: str) -> int:
        """In bytes. Raises NoSuchObject."""
        ...

    async def move(self, name: str, to: str) -> None:
        """Under the other name at once, in place of what had it. Raises NoSuchObject."""
        ...

    async def delete(self, name: str) -> None:
        """What is not there counts as deleted."""
        ...


class MemoryObjects:
    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> None:
        self.held[name] = b"".join([piece async for piece in pieces])

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        if name not in self.held:
            raise _missing(name)
        whole = self.held[name]
        for start in range(0, len(whole), PIECE_BYTES):
            yield whole[start : start + PIECE_BYTES]

    async def names(self, folder: str) -> list[str]:
        return sorted(name for name in self.held if name.startswith(f"{folder}/"))

    async def sizes(self, folder: str) -> list[tuple[str, int]]:
        return [(name, len(self.held[name])) for name in await self.names(folder)]

    async def size(self, name: str) -> int:
        if name not in self.held:
            raise _missing(name)
        return len(self.held[name])

    async def move(self, name: str, to: str) -> None:
        if name not in self.held:
            raise _missing(name)
        self.held[to] = self.held.pop(name)

    async def delete(self, name: str) -> None:
        self.held.pop(name, None)


class StoredObjects:
    """What obstore can reach. It retries by itself, within bounds."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> None:
        import obstore

        with _explained(name):
            await obstore.put_async(self._store, name, pieces, max_concurrency=PARTS_AT_ONCE)

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        import obstore

        with _explained(name):
            found = await obstore.get_async(self._store, name)
            async for piece in found.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)

    async def names(self, folder: str) -> list[str]:
        return [name for name, _ in await self.sizes(folder)]

    async def sizes(self, folder: str) -> list[tuple[str, int]]:
        import obstore

        with _explained(folder):
            found = await obstore.list(self._store, folder).collect_async()
        return sorted((meta["path"], meta["size"]) for meta in found)

    async def size(self, name: str) -> int:
        import obstore

        with _explained(name):
            return (await obstore.head_async(self._store, name))["size"]

    async def move(self, name: str, to: str) -> None:
        import obstore

        with _explained(name):
            await obstore.rename_async(self._store, name, to)

    async def delete(self, name: str) -> None:
        import obstore

        try:
            with _explained(name):
                await obstore.delete_async(self._store, name)
        except NoSuchObject:
            return


class FolderObjects(StoredObjects):
    """obstore writes beside the object; what a killed process has left there it neither names nor deletes."""

    def __init__(self, folder: Path, store: ObjectStore) -> None:
        super().__init__(store)
        self._folder = folder

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> None:
        await super().put(name, pieces)
        with _explained(name), suppress(FileNotFoundError):  # others write and delete here: the next write sees to it
            await asyncio.to_thread(_delete_parts, self._folder / name)


def _delete_parts(written: Path) -> None:
    """Those beside a file just written, whose time is the file system's own: other writers may be at work there."""
    now_s = written.stat().st_mtime
    for part in written.parent.iterdir():
        if _PART.search(part.name) and now_s - part.stat().st_mtime > PART_S_MAX:
            part.unlink(missing_ok=True)


def open_objects(settings: ObjectsSettings) -> Objects | None:
    """None where no store is set. Raises BadSettings for an address that cannot be one."""
    if not settings.url:
        return None
    if settings.url == "memory://":
        return MemoryObjects()
    return _stored(settings)


@cache
def _let_go_at_exit() -> None:
    """A thread of obstore's that lets go of a Python object while the interpreter ends would abort the process (2 of 40
    did that ended right after an answer), so it gets the time for that first."""
    atexit.register(threading.Event().wait, LET_GO_S)


def _stored(settings: ObjectsSettings) -> StoredObjects:
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore, from_url

    _let_go_at_exit()
    try:
        if "://" not in settings.url:
            folder = Path(settings.url).absolute()
            return FolderObjects(folder, LocalStore(folder, mkdir=True, automatic_cleanup=True))
        options = {name: value.get_secret_value() for name, value in settings.options.items()}
        # the keys differ from store to store, and obstore checks them
        return StoredObjects(from_url(settings.url, config=options, client_options=_CLIENT, retry_config=_RETRY))  # type: ignore[call-overload]
    except (BaseError, OSError, ValueError, TypeError) as error:
        raise BadSettings(
            f"EXLEDGER__OBJECTS__URL={settings.url} cannot be used: {_first_line(error)}. It takes a folder, or "
            "s3://…, gs://…, az://… with what that store needs in EXLEDGER__OBJECTS__OPTIONS (JSON)."
        ) from error


@contextmanager
def _explained(name: str) -> Iterator[None]:
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except FileNotFoundError as error:
        raise _missing(name) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise BadSettings(f"The object store refuses {name}: {_first_line(error)}. Check its credentials.") from error
    except (BaseError, OSError) as error:
        raise Unavailable(f"The object store did not do {name}: {_first_line(error)}") from error


def _missing(name: str) -> NoSuchObject:
    return NoSuchObject(f"There is no object {name}.")


def _first_line(error: BaseException) -> str:
    """obstore adds pages of internals."""
    return str(error).strip().split("\n", 1)[0]
