"""The runner's heart: heartbeats, and stopping its own work when nobody can have heard them.

A runner that is cut off is held for dead after a lease, and its attempts run elsewhere. It therefore stops by itself
earlier: after FENCE_SHARE of the lease since it *sent* the last heartbeat that the log acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from execution_ledger.clock import World
from execution_ledger.errors import Transient
from execution_ledger.log.protocol import Lane, Log, Outgoing, Topic
from execution_ledger.messages.heartbeats import RunnerBeat
from execution_ledger.settings import RunnerSettings

FENCE_SHARE = 0.7
HEARTBEATS = Lane(Topic.HEARTBEATS, 0)

_log = structlog.get_logger()


class Heart:
    """Calls `revived` on the first acknowledged heartbeat and after each fencing, `fenced` in between.

    `acknowledged` hears after how many seconds each heartbeat was, None where it was not.
    """

    def __init__(
        self,
        log: Log,
        world: World,
        settings: RunnerSettings,
        beat: Callable[[], RunnerBeat],
        fenced: Callable[[], None],
        revived: Callable[[], None],
        acknowledged: Callable[[float | None], None],
    ) -> None:
        self._log = log
        self._clock = world.clock
        self._interval_s = settings.heartbeat_s
        self._fence_s = settings.lease_s * FENCE_SHARE
        self._beat = beat
        self._fenced = fenced
        self._revived = revived
        self._acknowledged = acknowledged
        self._sent_s = 0.0  # when the last acknowledged heartbeat was sent
        self._alive = asyncio.Event()
        self._hurried = asyncio.Event()

    async def beat(self) -> None:
        while True:
            self._hurried.clear()
            await self.once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._hurried.wait()

    async def watch(self) -> None:
        while True:
            await self._alive.wait()
            while (left_s := self._left_s()) > 0:  # noqa: ASYNC110 - it waits for a clock, not for an event
                await asyncio.sleep(left_s)
            self.fence_if_due()

    def fence_if_due(self) -> None:
        """A process that was stopped goes on with whatever is ready first: before it acts, it looks at the clock."""
        if self._alive.is_set() and self._left_s() <= 0:
            self._alive.clear()
            self._fenced()

    async def once(self) -> None:
        self.fence_if_due()
        beat, sent_s = self._beat(), self._clock.monotonic_s()
        try:
            await self._log.send(HEARTBEATS, [Outgoing(beat.process.encode(), beat.model_dump_json().encode())])
        except Transient as error:
            _log.warning("heartbeat not acknowledged", error=str(error))
            self._acknowledged(None)
            return
        self._acknowledged(self._clock.monotonic_s() - sent_s)
        self._sent_s = max(self._sent_s, sent_s)
        if self._left_s() > 0 and not self._alive.is_set():
            self._revived()
            self._alive.set()

    def hurry(self) -> None:
        """The next heartbeat goes at once."""
        self._hurried.set()

    def silent_s(self) -> float:
        """Since the last acknowledged heartbeat was sent; 0 before the first."""
        return self._clock.monotonic_s() - self._sent_s if self._sent_s else 0.0

    def _left_s(self) -> float:
        return self._sent_s + self._fence_s - self._clock.monotonic_s()
