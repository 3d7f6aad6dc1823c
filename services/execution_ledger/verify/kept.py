"""Events beside the commands and reports that caused them, read from the log side by side, as far as both are kept."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence, Set
from contextlib import AsyncExitStack, aclosing
from typing import Self

from execution_ledger.errors import Permanent
from execution_ledger.log.protocol import Lane, Log, Record, Topic
from execution_ledger.messages.events import decode_event

from .findings import Breaches
from .log.causes import Causes
from .reading import Tell, records

COMPARED_MAX = 1_000_000  # of the newest events of a shard; those before them are only scanned
_FOLLOWED = re.compile(rb'"type":"executionledger\.execution\.(?:queued|started)\.')


class Kept:
    """A lane that is read along with the events: what is asked for never lies before what was asked for last."""

    def __init__(self, pieces: AsyncGenerator[Sequence[Record], None]) -> None:
        self._pieces = pieces
        self._piece: Sequence[Record] = ()
        self._at = 0

    @classmethod
    async def open(cls, log: Log, lane: Lane, closing: AsyncExitStack) -> Self:
        pieces = records(log, lane, await log.begin(lane), await log.end(lane))
        return cls(await closing.enter_async_context(aclosing(pieces)))

    async def find(self, offset: int) -> Record | None:
        """None where nothing is kept there."""
        while True:
            while self._at < len(self._piece):
                record = self._piece[self._at]
                if record.offset >= offset:
                    return record if record.offset == offset else None
                self._at += 1
            piece = await anext(self._pieces, None)
            if piece is None:
                return None
            self._piece, self._at = piece, 0


async def check_kept(log: Log, shard: int, named: Set[int], tell: Tell) -> Breaches:
    """`named`: sequences of whose events something is known to be wrong."""
    lane, found, causes = Lane(Topic.EVENTS, shard), Breaches(), Causes()
    begin, end = await log.begin(lane), await log.end(lane)
    async with AsyncExitStack() as closing:
        pieces = await closing.enter_async_context(aclosing(records(log, lane, begin, end)))
        commands = await Kept.open(log, Lane(Topic.COMMANDS, shard), closing)
        reports = await Kept.open(log, Lane(Topic.REPORTS, shard), closing)
        async for piece in pieces:
            for record in piece:
                is_compared = record.offset >= end - COMPARED_MAX
                if not is_compared and not _FOLLOWED.search(record.value or b""):
                    continue
                try:
                    event = decode_event(record.value or b"", record)
                except Permanent:
                    continue  # it was named for that
                if not is_compared:
                    causes.follow(event)
                    continue
                asked, reported = await commands.find(event.cmdoffset), await reports.find(event.repoffset)
                found.extend(one for one in causes.check(event, asked, reported) if one.sequence not in named)
            tell(0)
    return found
