"""Ends a runner whose loop stands still, and says which line of whose code holds it up.

Such a runner sends no heartbeats and cannot fence itself, while others are about to run its attempts again: the end of
the process is the only way left to stop its code. A thread beside the loop looks after it. Code that keeps the thread
from running too (native code that does not let go of the interpreter) is ended a little later by `faulthandler`.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import structlog

from execution_ledger import mainloop
from execution_ledger.settings import RunnerSettings

from .executors import function
from .heart import FENCE_SHARE

LOOKS_PER_END = 12
WARN_AT = 4  # looks
END_MIN_S = 0.5  # where a heartbeat is not well below the lease
STDERR = 2
ADVICE = "Await what takes long, or declare the pipeline as a plain `def`, which runs in a thread of its own."
_OURS = (function.__file__, mainloop.__file__)  # what calls the users' code

_log = structlog.get_logger()


class Stillness:
    """A service beside the runner. It counts its own looks, so that a process that was stopped is not to blame."""

    name = "stillness"

    def __init__(self, settings: RunnerSettings) -> None:
        self.ready = asyncio.Event()
        self._fence_s = settings.lease_s * FENCE_SHARE
        self._look_s = max(self._fence_s - settings.heartbeat_s, END_MIN_S) / LOOKS_PER_END
        self._turned = True
        self._stopping = threading.Event()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        loop, home = asyncio.get_running_loop(), threading.get_ident()
        watch = threading.Thread(target=self._watch, args=(loop, home), name="stillness", daemon=True)
        watch.start()
        self.ready.set()
        try:
            while not self._stopped.is_set():
                self._turned = True
                faulthandler.dump_traceback_later(self._fence_s, exit=True, file=STDERR)
                await self._rest()
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._stopping.set()

    def stop(self) -> None:
        self._stopped.set()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._look_s / 2):
                await self._stopped.wait()
        except TimeoutError:
            return

    def _watch(self, loop: asyncio.AbstractEventLoop, home: int) -> None:
        looks = 0
        while not self._stopping.wait(self._look_s):
            looks = 0 if self._turned else looks + 1
            self._turned = False
            if looks == WARN_AT:
                _log.warning(f"{_stands_still(looks * self._look_s)} in {_culprit(loop, home)}. {ADVICE}")
            if looks == LOOKS_PER_END:
                culprit = _culprit(loop, home)
                _log.critical(f"{_stands_still(self._fence_s)} in {culprit}, so this process ends. {ADVICE}")
                os._exit(1)


def _stands_still(seconds: float) -> str:
    return f"the runner's loop has stood still for {seconds:.1f} s"


def _culprit(loop: asyncio.AbstractEventLoop, home: int) -> str:
    """The line of the users' code at which the loop stands, and its task, which bears the execution's name."""
    task, frames = asyncio.current_task(loop), list(_of_the_users(sys._current_frames().get(home)))
    if not frames:
        return "no code of a pipeline: the machine is short of time"
    outer = frames[-1]
    line = f'line {outer.f_lineno} of {outer.f_code.co_filename}, in "{outer.f_code.co_qualname}"'
    return f"{task.get_name()}, {line}" if task else line


def _of_the_users(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost outwards, up to what called their code."""
    while frame and frame.f_code.co_filename not in _OURS:
        yield frame
        frame = frame.f_back
