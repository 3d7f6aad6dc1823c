"""The logs of a runner's attempts: each is captured, followed while it runs, and kept as a file when it is over.

Nothing of this may change what becomes of an execution: what cannot be sent or stored in time is given up, and said so
in this process's own log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import structlog

from execution_ledger.clock import World
from execution_ledger.errors import LedgerError
from execution_ledger.log.protocol import Log
from execution_ledger.messages.files import FileRef, file_payload
from execution_ledger.messages.inbox import Token
from execution_ledger.messages.lines import LOG_KIND, LOG_MEDIA_TYPE, log_name
from execution_ledger.messages.reports import ReportArtifact, Said
from execution_ledger.settings import RunnerSettings

from .captured import Captured, Room
from .live_lines import LiveLines
from .storing import FilesLent

KEEP_S = 3.0  # in which a log has to be stored: so long, at most, the end of its attempt waits for it
PIECE_LINES = 1_000

_log = structlog.get_logger()


class Logs:
    """Without `files` nothing is kept, and attempts can only be followed while they run."""

    def __init__(self, log: Log, world: World, files: FilesLent | None, settings: RunnerSettings) -> None:
        self._now_ms: Callable[[], int] = world.clock.now_ms
        self._files = files
        self._bytes_max = settings.log_bytes_max
        self._room = Room(settings.logs_memory_bytes_max)
        self.live = LiveLines(log)

    @property
    def bytes(self) -> int:
        """In memory."""
        return self._room.bytes

    async def run(self) -> None:
        await self.live.run()

    def begin(self, token: Token) -> Captured:
        return Captured(token, self._now_ms, self._bytes_max, self._room, self.live.tell)

    async def end(self, captured: Captured) -> Said | None:
        """What to report of it: nothing where it has said nothing, or cannot be kept."""
        kept = captured.close()
        if not kept or self._files is None:
            return None
        try:
            async with asyncio.timeout(KEEP_S):
                stored = await self._files.keep(_pieces(kept))
        except (LedgerError, TimeoutError) as error:
            token, why = captured.token, str(error) or f"not stored in {KEEP_S:.0f} s"
            _log.warning("a log was not kept", execution=token.execution_id, attempt=token.attempt, error=why)
            return None
        name = log_name(captured.token.attempt)
        ref = FileRef(sha256=stored.sha256, size=stored.size, media_type=LOG_MEDIA_TYPE, name=f"{name}.jsonl")
        return Said(ReportArtifact, {"kind": LOG_KIND, "name": name, "file": file_payload(ref)})


async def _pieces(lines: list[bytes]) -> AsyncIterator[bytes]:
    for first in range(0, len(lines), PIECE_LINES):
        yield b"".join(lines[first : first + PIECE_LINES])
