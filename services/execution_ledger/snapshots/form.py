"""The form of a snapshot: JSON lines. A head that says what it is of, the state, and a digest of all that.

{"format": 1, "fingerprint": …, "log_id": …, "shards": 4, "marks": [[shard, sequence, offset, digest], …]}
[path, content]                                                     as `layout` has it
{"sha256": …}
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, Generic, NamedTuple, TypeVar

from .layout import Gathering, Layout, as_json

FORMAT = 1
PIECE_BYTES = 250_000  # lines are handed on in pieces of at least this

_DAMAGE = (AttributeError, LookupError, TypeError, ValueError)  # what JSON of another shape brings about

T = TypeVar("T")


class Unusable(Exception):
    """Why a snapshot is passed over."""


class Mark(NamedTuple):
    """The newest event of a shard that a state includes: it is where reading goes on, and what proves the log."""

    shard: int
    sequence: int
    offset: int
    digest: str


@dataclass(frozen=True, slots=True)
class Head:
    fingerprint: str  # of the code that folded it
    log_id: str
    shards: int
    marks: Sequence[Mark] = ()
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[T]):
    marks: Sequence[Mark]
    state: T


async def write(
    head: Head, layout: Layout[T], state: T, order: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> AsyncIterator[bytes]:
    """Others have their turn after every line. `order` is that of a map's entries, which otherwise come as they lie."""
    digest, piece = sha256(), bytearray(as_json(asdict(head)).encode() + b"\n")
    for line in layout.lines(state, order):
        piece += as_json(line).encode() + b"\n"
        if len(piece) >= PIECE_BYTES:
            digest.update(piece)
            yield bytes(piece)
            piece.clear()
        await asyncio.sleep(0)
    digest.update(piece)
    yield bytes(piece) + as_json({"sha256": digest.hexdigest()}).encode() + b"\n"


async def read(pieces: AsyncIterator[bytes], layout: Layout[T], expected: Head) -> Snapshot[T]:
    """Raises Unusable for one that is damaged or another's; whether the log holds its marks is the caller's to ask."""
    reading = _Reading(layout, expected)
    async for line in _lines(pieces):
        try:
            reading.take(line)
        except _DAMAGE as error:
            raise Unusable(f"it is damaged: {error!r} in {line[:80]!r}") from error
        await asyncio.sleep(0)
    return reading.whole()


class _Reading(Generic[T]):
    def __init__(self, layout: Layout[T], expected: Head) -> None:
        self._expected = expected
        self._head: Head | None = None
        self._gathering: Gathering[T] = layout.gathering()
        self._digest = sha256()
        self._is_whole = False

    def take(self, line: bytes) -> None:
        found: Any = json.loads(line)
        if self._is_whole:
            raise ValueError("more follows its digest")
        if self._head is None:
            self._head = _checked(found, self._expected)
        elif isinstance(found, dict):
            self._is_whole = found["sha256"] == self._digest.hexdigest()
            return
        else:
            self._gathering.add(found)
        self._digest.update(line)

    def whole(self) -> Snapshot[T]:
        if self._head is None or not self._is_whole:
            raise Unusable("its digest is missing or wrong, so it is damaged")
        try:
            return Snapshot(self._head.marks, self._gathering.state())
        except _DAMAGE as error:
            raise Unusable(f"it is damaged: {error!r} in what its lines come to") from error


def _checked(found: dict[str, Any], expected: Head) -> Head:
    if found["format"] != FORMAT:
        raise Unusable(f"its format is {found['format']}, and this code reads {FORMAT}")
    head = Head(**found | {"marks": tuple(Mark(*mark) for mark in found["marks"])})
    if replace(head, marks=()) != expected:
        raise Unusable(f"it is of another log or of other code: {replace(head, marks=())}, not {expected}")
    return head


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"
