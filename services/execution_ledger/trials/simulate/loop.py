"""An event loop whose time is virtual and whose order is chosen by a seed: no threads, no sockets, no waiting.

When nothing can run, time jumps to the next timer; when nothing ever will, that is an error and not a hang. Among
callbacks that are ready, the seed picks: code that relies on an order which asyncio does not promise is found out.

Every callback belongs to the life in whose context it was made. A life that stands still gets no turns, as a process
that was stopped, swapped out or killed gets none; all it would have done meanwhile it does when it goes on.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Coroutine
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, TypeVar

from execution_ledger.clock import World

T = TypeVar("T")


class Standstill(Exception):
    """Every task waits for another one: no timer is set, so nothing can ever happen again."""


class Life:
    """One process's life, as far as the loop knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.context: Context = copy_context()
        self.context.run(LIFE.set, self)
        self.still = False
        self.held: list[asyncio.Handle] = []


LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class NumberedTask(asyncio.Task[T]):
    """asyncio keeps tasks in sets. In these they lie by their number, not by where in memory they happen to be."""

    def __init__(self, work: Coroutine[Any, Any, T], *, number: int, **given: Any) -> None:
        self._number = number  # before the rest, which puts it into a set already
        super().__init__(work, **given)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """Leans on names of asyncio's own: `_ready`, `_scheduled`, `_run_once` and a handle's `_context`."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._now_s = 0.0
        self._choice = random.Random(seed)  # noqa: S311 - a seeded choice is the point
        self.steps = 0
        numbers = count()
        self.set_task_factory(lambda loop, work, **given: NumberedTask(work, loop=loop, number=next(numbers), **given))

    def time(self) -> float:
        return self._now_s

    def go_on(self, life: Life) -> None:
        life.still = False
        self._ready.extend(life.held)
        life.held.clear()

    def _run_once(self) -> None:
        self._wake_due_timers()
        if not self._ready:
            self._jump_to_next_timer()
            self._wake_due_timers()
        self._ready.rotate(-int(self._choice.random() * len(self._ready)))
        handle = self._ready.popleft()
        if handle.cancelled():
            return
        life = handle._context.get(LIFE)  # type: ignore[attr-defined] # the context that it runs in
        if life is not None and life.still:
            life.held.append(handle)
            return
        self.steps += 1
        handle._run()

    def _wake_due_timers(self) -> None:
        while self._scheduled and self._scheduled[0].when() <= self._now_s:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False  # type: ignore[attr-defined] # as asyncio's own loop does when it pops one
            self._ready.append(timer)

    def _jump_to_next_timer(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)
        if not self._scheduled:
            raise Standstill(f"after {self.steps} steps, at {self._now_s:.3f} s")
        self._now_s = self._scheduled[0].when()

    def _write_to_self(self) -> None:
        """Other threads would be woken here; there are none."""

    def _process_events(self, event_list: list[Any]) -> None:
        """Sockets would be served here; there are none."""


START_MS = 1_700_000_000_000  # what every clock shows when the loop begins


class VirtualClock:
    """A machine's clock: `ahead_ms` is how far it is wrong just now. Its steady clock never jumps."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return START_MS + round(self._loop.time() * 1000) + self.ahead_ms

    def monotonic_s(self) -> float:
        return self._loop.time()


def virtual_world(loop: VirtualLoop, seed: int) -> World:
    """One process's surroundings in the simulation: all share the loop's time, each has its own clock and chance."""
    return World(VirtualClock(loop), random.Random(seed))  # noqa: S311 - see above
