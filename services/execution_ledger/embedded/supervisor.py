"""A process per service: starts them in order, starts a dead one again, stops them in reverse order.

It knows no signals of its own; whoever runs it decides when to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal

from .process import GRACE_S, Child, ChildSpec, spawn

__all__ = ["ChildSpec", "Keeper", "OnEvent", "Supervisor", "What"]

RESTART_FIRST_S = 0.1
RESTART_MAX_S = 5.0
SETTLED_S = 30.0  # a child that lived this long has earned a restart at once

What = Literal["started", "died", "restarting", "stopped"]
OnEvent = Callable[[str, What, str], None]  # name, what, detail


class Keeper:
    """Keeps one child alive until it is stopped."""

    def __init__(self, spec: ChildSpec, on_event: OnEvent | None = None, grace_s: float = GRACE_S) -> None:
        self.spec = spec
        self._tell = on_event or (lambda name, what, detail: None)
        self._grace_s = grace_s
        self._stopping = asyncio.Event()
        self._child: Child | None = None
        self._work: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.returncode is None else None

    async def start(self, child: Child | None = None) -> None:
        """Starts the child, or takes over one that runs already. Raises OSError when it cannot be started."""
        self._child = child or await spawn(self.spec)
        self._tell(self.spec.name, "started", f"pid {self._child.pid}")
        self._work = asyncio.create_task(self._keep(self._child), name=f"keep {self.spec.name}")

    async def wait(self) -> None:
        """Returns when it was stopped."""
        if self._work:
            await asyncio.shield(self._work)

    async def stop(self) -> None:
        self._stopping.set()
        if self._child:
            await self._child.stop(self._grace_s)
        if self._work:
            await self._work

    async def _keep(self, child: Child) -> None:
        deaths, clock = 0, asyncio.get_running_loop().time
        while True:
            born = clock()
            code = await child.wait()
            if self._stopping.is_set():
                self._tell(self.spec.name, "stopped", ended(code))
                return
            deaths = 1 if clock() - born >= SETTLED_S else deaths + 1
            self._tell(self.spec.name, "died", ended(code))
            reborn = await self._restart(deaths)
            if reborn is None:
                return
            child = self._child = reborn
            self._tell(self.spec.name, "restarting", f"pid {child.pid}")
            if self._stopping.is_set():
                await child.stop(self._grace_s)

    async def _restart(self, deaths: int) -> Child | None:
        """None when it was stopped meanwhile."""
        while not await self._stopped_within(restart_delay_s(deaths)):
            try:
                return await spawn(self.spec)
            except OSError as error:
                self._tell(self.spec.name, "died", f"could not be started: {error}")
                deaths += 1
        return None

    async def _stopped_within(self, delay_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        return self._stopping.is_set()


class Supervisor:
    """`async with Supervisor(specs) as supervisor: await supervisor.wait()`; nothing of it runs after that."""

    def __init__(self, specs: Sequence[ChildSpec], on_event: OnEvent | None = None, grace_s: float = GRACE_S) -> None:
        self._keepers = [Keeper(spec, on_event, grace_s) for spec in specs]

    async def __aenter__(self) -> Supervisor:
        try:
            for keeper in self._keepers:
                await keeper.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def pids(self) -> dict[str, int]:
        return {keeper.spec.name: keeper.pid for keeper in self._keepers if keeper.pid is not None}

    async def wait(self) -> None:
        """Returns when all were stopped."""
        await asyncio.gather(*(keeper.wait() for keeper in self._keepers))

    async def stop(self) -> None:
        """In reverse order, each within the grace. Stopping twice is safe."""
        async with contextlib.AsyncExitStack() as stops:
            for keeper in self._keepers:
                stops.push_async_callback(keeper.stop)


def restart_delay_s(deaths: int) -> float:
    """How long to wait before the restart after so many deaths in a row: at once after the first."""
    return 0.0 if deaths <= 1 else min(RESTART_MAX_S, RESTART_FIRST_S * 2.0 ** min(deaths - 2, 16))


def ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
