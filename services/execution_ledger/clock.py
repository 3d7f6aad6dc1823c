"""Time, chance and new tasks, handed to every shell so that a simulator can own all three.

Waiting itself goes through asyncio (`asyncio.timeout`, `asyncio.sleep`): the simulator brings an event loop whose
time is virtual, so there is nothing to inject for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Spawn(Protocol):
    """Begins a task, by the name that logs and errors give it."""

    def __call__(self, work: Coroutine[Any, Any, T], name: str, /) -> asyncio.Task[T]: ...


class Clock(Protocol):
    """Wall time in milliseconds since 1970 (UTC), and a steady clock in seconds."""

    def now_ms(self) -> int: ...

    def monotonic_s(self) -> float: ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


def spawn_task(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    return asyncio.get_running_loop().create_task(work, name=name)


@dataclass(frozen=True)
class World:
    """What a process has around it: `chance` also makes ids, so a seed makes a run repeatable."""

    clock: Clock
    chance: random.Random
    spawn: Spawn = spawn_task


def real_world() -> World:
    return World(SystemClock(), random.SystemRandom())
