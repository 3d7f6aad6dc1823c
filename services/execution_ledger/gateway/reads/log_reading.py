"""Reading an execution's log: what is kept of attempts that are over, and what is on its way while one runs.

The topic holds a day of lines; it is read only while somebody asks, from where the attempt began. An attempt that ended
without a kept log said nothing, or its runner was lost: then the topic is all there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from execution_ledger.errors import LogTruncated, NoSuchObject
from execution_ledger.files import Files
from execution_ledger.log.protocol import Lane, Log, Record, Topic
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.lines import LogLine

READ_WAIT_S = 0.5  # also how soon the end of a log is noticed
SLACK_MS = 30_000  # lines come to the topic a moment after they were said
KEPT_MS = 86_400_000  # by the topic

Ordinal = tuple[int, int]  # attempt and line: lines come in this order


class Span(NamedTuple):
    """One attempt: when it was sent to its runner, when it was over, and the file that keeps its log."""

    attempt: int
    since_ms: int
    until_ms: int | None
    sha256: str | None


class Known(NamedTuple):
    ended: bool
    spans: Sequence[Span]


class Line(NamedTuple):
    """With its own bytes."""

    line: LogLine
    raw: bytes


class Wanted(NamedTuple):
    after: Ordinal = (0, 0)
    attempt: int | None = None
    step: str | None = None


class LogReading:
    """`look` tells how the execution stands, after all that has been read of its events."""

    def __init__(
        self,
        log: Log,
        files: Files,
        now_ms: Callable[[], int],
        execution_id: str,
        look: Callable[[], Awaitable[Known]],
        wanted: Wanted,
    ) -> None:
        self._log, self._files, self._now_ms, self._look = log, files, now_ms, look
        self._key = execution_id.encode()
        self._lane = Lane(Topic.LOGS, shard_of(execution_id))
        self._wanted = wanted
        self._at = wanted.after

    async def now(self) -> AsyncIterator[list[Line]]:
        """What there is, in pieces."""
        known = await self._look()
        for span in known.spans:
            async for piece in self._of(span):
                yield piece

    async def follow(self, ending: asyncio.Future[Any], stopping: asyncio.Event) -> AsyncIterator[list[Line]]:
        """What there is and what comes, until `ending` is done; an empty piece where nothing came for a while.

        Lines that did not reach the topic in time are missing in the middle, and not at the end.
        """
        position = await self._log.end(self._lane)  # before the look: what is said behind it comes later
        known = await self._look()
        for span in known.spans:
            if span.until_ms is None and not known.ended:
                position = await self._position(span.since_ms)
            else:
                async for piece in self._of(span):
                    yield piece
        if known.ended:
            return
        async for piece in self._live(position, ending, stopping):
            yield piece
        if ending.done():
            async for piece in self._rest():
                yield piece

    # --- what is kept ---------------------------------------------------------------------------------------------

    async def _of(self, span: Span) -> AsyncIterator[list[Line]]:
        if self._wanted.attempt not in (None, span.attempt) or span.attempt < self._at[0]:
            return
        pieces = self._kept(span.sha256) if span.sha256 else self._sent(span)
        async for piece in pieces:
            yield piece

    async def _kept(self, sha256: str) -> AsyncIterator[list[Line]]:
        begun = b""
        try:
            async with aclosing(self._files.pieces(sha256)) as found:
                async for piece in found:
                    *lines, begun = (begun + piece).split(b"\n")
                    yield self._fresh(lines)
                    await asyncio.sleep(0)  # others' turn: a piece may be thousands of lines
        except NoSuchObject:
            return

    async def _rest(self) -> AsyncIterator[list[Line]]:
        """Of what was followed: lines that never reached the topic, or reach it only now."""
        for span in (await self._look()).spans:
            if span.sha256:
                async for piece in self._of(span):
                    yield piece

    # --- the topic ------------------------------------------------------------------------------------------------

    async def _sent(self, span: Span) -> AsyncIterator[list[Line]]:
        if self._now_ms() - (span.until_ms or self._now_ms()) > KEPT_MS:
            return
        start, end = await self._position(span.since_ms), await self._log.end(self._lane)
        if span.until_ms is not None:
            end = min(end, await self._log.position_at(self._lane, span.until_ms + SLACK_MS))
        try:
            async with self._log.reader({self._lane: start}) as reader:
                while start < end:
                    if chunk := (await reader.read(READ_WAIT_S)).get(self._lane):
                        start = chunk.position
                        yield self._fresh(self._mine(record for record in chunk.records if record.offset < end))
        except LogTruncated:
            return  # the topic let go of them just now

    async def _live(
        self, position: int, ending: asyncio.Future[Any], stopping: asyncio.Event
    ) -> AsyncIterator[list[Line]]:
        end: int | None = None
        async with self._log.reader({self._lane: position}) as reader:
            while (end is None or position < end) and not stopping.is_set():
                chunk = (await reader.read(READ_WAIT_S)).get(self._lane)
                position = chunk.position if chunk else position
                for piece in self._by_attempt(chunk.records if chunk else ()):
                    if 0 < self._at[0] < piece[0].line.attempt:
                        async for earlier in self._rest():
                            yield earlier
                    yield self._unseen(piece)
                if not chunk:
                    yield []
                if end is None and ending.done():
                    end = await self._log.end(self._lane)

    def _by_attempt(self, records: Iterable[Record]) -> list[list[Line]]:
        found: dict[int, list[Line]] = {}
        for line in self._read(self._mine(records)):
            found.setdefault(line.line.attempt, []).append(line)
        return [found[attempt] for attempt in sorted(found)]

    async def _position(self, since_ms: int) -> int:
        return await self._log.position_at(self._lane, since_ms - SLACK_MS)

    # --- lines ----------------------------------------------------------------------------------------------------

    def _mine(self, records: Iterable[Record]) -> Iterable[bytes]:
        return (raw for record in records if record.key == self._key for raw in (record.value or b"").split(b"\n"))

    def _fresh(self, raw: Iterable[bytes]) -> list[Line]:
        return self._unseen(self._read(raw))

    def _unseen(self, lines: Iterable[Line]) -> list[Line]:
        """Those behind the last one that are wanted."""
        found = []
        for line in lines:
            ordinal = line.line.attempt, line.line.ordinal
            if ordinal > self._at:
                self._at = ordinal
                if self._wants(line.line):
                    found.append(line)
        return found

    def _wants(self, line: LogLine) -> bool:
        return self._wanted.attempt in (None, line.attempt) and self._wanted.step in (None, line.step)

    def _read(self, raw: Iterable[bytes]) -> list[Line]:
        return [line for each in raw if each and (line := _line(each))]


def _line(raw: bytes) -> Line | None:
    """What cannot be read was not said by a runner of this release, and is no part of any history."""
    try:
        return Line(LogLine.model_validate_json(raw), raw)
    except ValueError:
        return None
