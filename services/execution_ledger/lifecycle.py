"""One life for every service: it runs until it is told to stop, says when it is ready, and may be stopped twice."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, Protocol

from .clock import Spawn


class Service(Protocol):
    """`run` returns after `stop`, and raises what it cannot handle; `ready` is set while it can do its work."""

    name: str
    ready: asyncio.Event

    async def run(self) -> None: ...

    def stop(self) -> None: ...


async def run_until(stopping: asyncio.Event, spawn: Spawn, *loops: tuple[str, Coroutine[Any, Any, None]]) -> None:
    """Runs all loops side by side until `stopping` is set or one of them ends or fails; then cancels the others.

    Raises the first failure. Every loop has ended when this returns.
    """
    tasks = [spawn(work, name) for name, work in loops]
    stop = spawn(until_set(stopping), "stop")
    try:
        await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks([*tasks, stop])
    for task in tasks:
        if not task.cancelled() and (failure := task.exception()):
            raise failure


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels and awaits; failures stay in the tasks for whoever asks them."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def until_set(event: asyncio.Event) -> None:
    await event.wait()


class Signal:
    """Wakes everyone who waits at that moment. Check and then wait without another `await` between."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def fire(self) -> None:
        fired, self._next = self._next, asyncio.Event()
        fired.set()

    async def wait(self) -> None:
        await self._next.wait()
