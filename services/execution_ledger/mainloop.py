"""The loop of a process whose main task always ends it, whatever the users' code left behind.

`asyncio.run` cannot promise that: it waits without a bound for tasks that swallow their cancellation, and a SystemExit
in any task stops the loop of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

END_S = 1.0  # for the tasks that are left when the main one has ended
EXIT_S = 1.0  # for the threads that are left after that

_log = structlog.get_logger()


def run_to_end(main: Coroutine[Any, Any, None], new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Raises what `main` raises. Moments after its end the process has ended, too."""
    loop = new_loop()
    asyncio.set_event_loop(loop)
    task = loop.create_task(main)
    code = 1
    try:
        _complete(loop, task)
        code = 0
    finally:
        _cancel_left(loop)
        _exit_soon(code)


def _complete(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """A SystemExit goes to whoever awaits the task that raised it; the loop, which it has stopped, goes on.

    Ctrl-C before there is a handler for it ends the task in order.
    """
    interrupted = None
    while not task.done():
        try:
            loop.run_until_complete(task)
        except SystemExit:
            if task.done():
                raise
            _log.warning("code in a task has called for the end of the process, which goes on")
        except KeyboardInterrupt as error:
            interrupted = error
            task.cancel()
        except asyncio.CancelledError:
            raise interrupted or asyncio.CancelledError() from None


def _cancel_left(loop: asyncio.AbstractEventLoop) -> None:
    """A loop with tasks that do not end stays open: closing it would not end them either."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        _complete(loop, loop.create_task(_wait(left)))
    if deaf := [task.get_name() for task in left if not task.done()]:
        _log.warning("tasks do not end although they were cancelled; the process ends without them", tasks=deaf)
        return
    _complete(loop, loop.create_task(loop.shutdown_asyncgens()))
    loop.close()


async def _wait(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=END_S)


def _exit_soon(code: int) -> None:
    """The interpreter waits for threads that are no daemons, without a bound."""

    def exit_now() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # the users' code may have closed it
                stream.flush()
        os._exit(code)

    timer = threading.Timer(EXIT_S, exit_now)
    timer.daemon = True
    timer.start()
