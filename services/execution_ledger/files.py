"""Files by their content: streamed into the object store, and known by their sha256 from then on.

A file is written under a name of its own first, because its digest is known only at its end; then it is moved to
`files/<sha256>`. So what lies there is whole, whoever died on the way, and the same bytes are kept once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, suppress
from typing import BinaryIO, NamedTuple

from .clock import World
from .errors import BrokenHistory, LedgerError, NoSuchObject, TooLarge
from .messages.files import object_name
from .objects import PIECE_BYTES, Objects

UPLOADS = "uploads"
UPLOAD_MS_MAX = 86_400_000  # what was begun so long ago, and never moved, has lost its writer


class Kept(NamedTuple):
    sha256: str
    size: int


class Files:
    """Raises Unavailable where the store does not answer."""

    def __init__(self, objects: Objects, world: World, bytes_max: int) -> None:
        self._objects = objects
        self._world = world
        self._bytes_max = bytes_max

    async def keep(self, pieces: AsyncIterable[bytes]) -> Kept:
        """Whole or not at all. Raises TooLarge, and whatever `pieces` raises."""
        upload = f"{UPLOADS}/{self._world.clock.now_ms()}-{self._world.chance.getrandbits(64):016x}"
        measured = Measured(pieces, self._bytes_max)
        try:
            await self._objects.put(upload, measured)
        except LedgerError:
            if measured.failure:
                raise measured.failure from None
            raise
        kept = Kept(measured.sha256, measured.size)
        try:
            await self._objects.move(upload, object_name(kept.sha256))
        except LedgerError:
            with suppress(LedgerError):
                await self._objects.delete(upload)
            raise
        return kept

    async def pieces(self, sha256: str) -> AsyncGenerator[bytes, None]:
        """Raises NoSuchObject; BrokenHistory, before the last piece, for bytes that are not those of the digest."""
        async for piece in verified(self._objects.get(object_name(sha256)), sha256):
            yield piece

    async def size(self, sha256: str) -> int | None:
        """In bytes; None where there is no such file."""
        try:
            return await self._objects.size(object_name(sha256))
        except NoSuchObject:
            return None

    async def sweep(self) -> None:
        """Deletes what killed writers have left half way."""
        for name in await self._objects.names(UPLOADS):
            begun_ms = name.removeprefix(f"{UPLOADS}/").partition("-")[0]
            if begun_ms.isdecimal() and self._world.clock.now_ms() - int(begun_ms) > UPLOAD_MS_MAX:
                await self._objects.delete(name)


async def verified(pieces: AsyncGenerator[bytes, None], sha256: str) -> AsyncGenerator[bytes, None]:
    """Raises BrokenHistory, before the last piece, where they are not those of the digest."""
    digest, held = hashlib.sha256(), b""
    async with aclosing(pieces) as found:
        async for piece in found:
            if held:
                yield held
            digest.update(piece)
            held = piece
    if digest.hexdigest() != sha256:
        raise BrokenHistory(f"The object {object_name(sha256)} is damaged: restore it from a copy.")
    if held:
        yield held


class Measured:
    """Pieces on their way: their digest and size, and what broke them. Raises TooLarge beyond `bytes_max`."""

    def __init__(self, pieces: AsyncIterable[bytes], bytes_max: int) -> None:
        self.size = 0
        self.failure: Exception | None = None
        self._pieces = pieces
        self._bytes_max = bytes_max
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                self.size += len(piece)
                if self.size > self._bytes_max:
                    raise TooLarge(f"A file may have {self._bytes_max:,} bytes (EXLEDGER__FILES__BYTES_MAX).")
                self._digest.update(piece)
                yield piece
        except Exception as error:
            self.failure = error
            raise


async def pieces_of(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    """Read beside the event loop; from wherever the file stands."""
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece


async def pieces_in(content: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]
