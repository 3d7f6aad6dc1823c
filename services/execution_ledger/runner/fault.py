"""An error on its way from a task that nobody awaits to a loop that somebody does, so that none is lost."""

from __future__ import annotations

import asyncio
from typing import NoReturn


class Fault:
    def __init__(self) -> None:
        self._error: Exception | None = None
        self._happened = asyncio.Event()

    def report(self, error: Exception) -> None:
        self._error = self._error or error
        self._happened.set()

    async def raised(self) -> NoReturn:
        """Waits for the first error, and raises it."""
        await self._happened.wait()
        assert self._error is not None
        raise self._error
