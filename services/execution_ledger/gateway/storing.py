"""Files and data between HTTP and the object store: streamed both ways, within bounds, and never run in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import structlog
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from execution_ledger.clock import World
from execution_ledger.data import Data
from execution_ledger.errors import BadSettings, LedgerError, NoSuchObject, TooLarge, Unavailable
from execution_ledger.files import Files
from execution_ledger.messages.files import file_name
from execution_ledger.objects import open_objects
from execution_ledger.settings import Settings

from .edge.admission import Admission
from .edge.problems import Away, FieldError, Problem, Refused, away, invalid, refused

NO_STORE = "This gateway has no object store: set EXLEDGER__OBJECTS__URL where it runs."
_NO_FORM = "forms are not taken apart: send the file itself as the body, as `curl --data-binary @FILE` does"
LOG = structlog.get_logger("gateway.storing")

PIECE_S = 30.0  # how long a piece of an upload may be on its way


class Storing:
    """`files` and `data` raise Away where this gateway has no object store."""

    def __init__(self, settings: Settings, world: World, admission: Admission) -> None:
        objects, bytes_max = open_objects(settings.objects), settings.files.bytes_max
        self.bytes_max = bytes_max
        self._files = Files(objects, world, bytes_max) if objects else None
        self._data = Data(objects, bytes_max) if objects else None
        self._admission = admission
        self._left = settings.files.uploads_at_once_max

    @property
    def files(self) -> Files:
        if self._files is None:
            raise away("store-away", NO_STORE)
        return self._files

    @property
    def data(self) -> Data:
        if self._data is None:
            raise away("store-away", NO_STORE)
        return self._data

    async def size(self, sha256: str) -> int | None:
        with told():
            return await self.files.size(sha256)

    @contextmanager
    def taking(self, request: Request) -> Iterator[AsyncGenerator[bytes, None]]:
        """An upload, within its bounds. Raises Refused, and Away where there is no room or turn."""
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > self.bytes_max:
            raise _too_large(self.bytes_max)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise invalid(FieldError("Content-Encoding", "files are taken as they are: leave it out"))
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            raise invalid(FieldError("Content-Type", _NO_FORM))
        if self._admission.full_disk:
            raise Away(Problem("disk-full", f"{self._admission.full_disk} Reads go on.", retry_after_s=5))
        if not self._left:
            raise away("too-busy", "Other files are being taken in. Send this again in a second.")
        self._left -= 1
        try:
            with told():
                yield _arriving(request)
        finally:
            self._left += 1

    async def sweep(self) -> None:
        """Once in a gateway's life; where the store is away, a later one does it."""
        if self._files:
            try:
                await self._files.sweep()
            except LedgerError as error:
                LOG.warning("what killed writers left could not be swept away", error=str(error))


@contextmanager
def told() -> Iterator[None]:
    """What the object store says, as this API puts it."""
    try:
        yield
    except (Refused, Away):
        raise
    except TooLarge as error:
        raise refused("body-too-large", f"{error} Send less at a time.") from error
    except NoSuchObject as error:
        raise refused("unknown-file", "There is no such file here: it was never stored whole, or is gone.") from error
    except (Unavailable, BadSettings) as error:
        raise away("store-away", f"{error} Try again soon.") from error


async def _arriving(request: Request) -> AsyncGenerator[bytes, None]:
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(PIECE_S):
                piece = await anext(stream, None)
        except TimeoutError as late:
            raise refused("body-too-slow", f"Nothing came for {PIECE_S:.0f} s. Send it again.") from late
        except ClientDisconnect as gone:
            raise refused("body-too-slow", "The connection ended before the file did.") from gone
        if piece is None:
            return
        yield piece


def _too_large(bytes_max: int) -> Refused:
    return refused("body-too-large", f"At most {bytes_max:,} bytes are taken in one file. Send less at a time.")


async def sent(pieces: AsyncGenerator[bytes, None], size: int, name: str, media_type: str) -> Response:
    """A download. What is wrong at its beginning is still told as a problem; later the connection ends too early.

    Whatever it is, a browser must not take it for a page of this origin.
    """
    with told():
        first = await anext(pieces, b"")
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
    }
    return StreamingResponse(_whole(first, pieces), media_type=media_type, headers=headers)


async def _whole(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for piece in rest:
        yield piece


async def sent_file(storing: Storing, sha256: str, size: int, name: str, media_type: str) -> Response:
    return await sent(storing.files.pieces(sha256), size, file_name(name, media_type), media_type)
