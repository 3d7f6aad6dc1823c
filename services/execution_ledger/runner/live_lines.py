"""Live lines: what attempts print, on its way to whoever follows. Lines that cannot be sent now are dropped.

Followers see by their ordinals that some are missing, and find them in what is kept once the attempt is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from execution_ledger.errors import LedgerError
from execution_ledger.log.bounds import RECORD_BYTES_MAX
from execution_ledger.log.protocol import Lane, Log, Outgoing, Topic
from execution_ledger.messages.ids import shard_of

from .captured import PENDING_BYTES_MAX, Captured

LINGER_S = 0.2  # so that many lines are one record; a follower waits no longer for it
ROUND_BYTES_MAX = 2_000_000  # of all attempts together, each LINGER_S

assert PENDING_BYTES_MAX < RECORD_BYTES_MAX

_log = structlog.get_logger()


class LiveLines:
    """`dropped`: bytes that never left this process."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._telling: dict[Captured, None] = {}
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_away = False
        self.dropped = 0

    def tell(self, captured: Captured) -> None:
        """That it has something to take; from any thread."""
        if self._loop:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody follows any longer
                self._loop.call_soon_threadsafe(self._hear, captured)

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            await asyncio.sleep(LINGER_S)
            self._news.clear()
            await self._send_all(self._take())

    def _hear(self, captured: Captured) -> None:
        self._telling[captured] = None
        self._news.set()

    def _take(self) -> Mapping[Lane, list[Outgoing]]:
        """Attempts take turns where all together say more than a round may hold."""
        taken, size = defaultdict[Lane, list[Outgoing]](list), 0
        telling, self._telling = list(self._telling), {}
        for number, captured in enumerate(telling):
            if size >= ROUND_BYTES_MAX:
                self._telling = dict.fromkeys(telling[number:])
                break
            if (lines := captured.take()) is None:
                self._telling[captured] = None
            elif lines:
                execution_id = captured.token.execution_id
                taken[Lane(Topic.LOGS, shard_of(execution_id))].append(Outgoing(execution_id.encode(), lines))
                size += len(lines)
        if self._telling:
            self._news.set()
        return taken

    async def _send_all(self, taken: Mapping[Lane, list[Outgoing]]) -> None:
        failures = [it for it in await asyncio.gather(*(self._send(*each) for each in taken.items())) if it]
        if failures and not self._is_away:
            _log.warning("lines of running code do not reach their followers; all is kept", error=str(failures[0]))
        self._is_away = bool(failures) or (self._is_away and not taken)

    async def _send(self, lane: Lane, records: Sequence[Outgoing]) -> LedgerError | None:
        try:
            await self._log.send(lane, records)
        except LedgerError as error:
            self.dropped += sum(len(record.value) for record in records)
            return error
        return None
